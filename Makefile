# make app: set-up and the app on sample data.  make setup: the environment with all that tests need.
# make test: set-up and the tests of every part, in minutes.  make test-all: every test.  PROCESSES files of them at once:
#   three in the first, which waits for browsers and processes; two in the second, whose slow tests keep the cores busy.
# make torture: the tests that break things on purpose, as often as docs/reliability.md says (hours), and its table.
# make coverage: which lines of icm_engine and pages the tests reach, in their own process and in those they start, with a
#   page a file in build/coverage/html. All tests, or only some: make coverage TESTS="tests/core tests/jobs".
# make server: a server with the sample model, for --model http://127.0.0.1:8000/v1 (an environment of its own, 3.5 GB).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROCESSES ?=

PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder

# Python keeps what it compiled: the tests start hundreds of processes, and each would compile the project again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: app setup test test-all torture coverage check server

app: $(VENV)/app-ready
	$(BIN)/python -m streamlit run app.py

setup: $(VENV)/dev-ready

test: $(VENV)/dev-ready
	$(PYTEST) --numprocesses $(or $(PROCESSES),3) -m "not slow" --durations 40

test-all: $(VENV)/dev-ready
	$(PYTEST) --numprocesses $(or $(PROCESSES),2) --durations 80

torture: $(VENV)/dev-ready
	$(BIN)/python -m pytest -m fault --torture --timeout 7200 -v
	$(BIN)/python -m tools.reliability

coverage: $(VENV)/dev-ready
	mkdir -p build/coverage
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest --numprocesses $(or $(PROCESSES),2) --dist loadfile --timeout 1200 $(TESTS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage html --quiet
	$(BIN)/python -m coverage report --skip-covered --sort cover

check: $(VENV)/dev-ready
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

server:
	PYTHON=$(PYTHON) tools/server.sh serve

$(VENV)/app-ready: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

$(VENV)/dev-ready: $(VENV)/app-ready requirements-dev.txt
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@
