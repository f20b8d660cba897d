"""What the tests share: a small problem with a table for a model, and a database of its own for every test."""

import os
import shutil
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models: threads of several processes only wait for each other

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

pytest.register_assert_rewrite("tests.support", "tests.golden")  # a failed assertion of a helper shows its values too

from icm_engine.core.labeling import Example, Task  # noqa: E402
from icm_engine.runs import worker  # noqa: E402
from icm_engine.store.datasets import Dataset  # noqa: E402
from icm_engine.store.store import Store  # noqa: E402
from tests.support.app_server import Server, end_workers, serving  # noqa: E402
from tests.support.faults import Fault, of  # noqa: E402
from tests.support.machines import BatchMachine, RestartMachine  # noqa: E402
from tests.support.processes import score_by, spawn_by, workers_as_threads  # noqa: E402
from tests.support.stores import moody_belief, small_dataset  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Browser

hypothesis.settings.register_profile("untimed", deadline=None)  # no test depends on how busy the machine is
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database without anything in it: a copy of it takes less time than all migrations."""
    path: Path = tmp_path_factory.mktemp("empty") / "icm.db"
    Store(path).close()
    return path


@pytest.fixture
def store(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A database that is nobody else's; pages and workers find it through ICM_DB."""
    monkeypatch.setenv("ICM_DB", str(tmp_path / "icm.db"))
    shutil.copyfile(empty_database, tmp_path / "icm.db")
    with Store(tmp_path / "icm.db") as made:
        yield made


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run and no job launches a process; a worker in the test's own does not wait while its run is paused."""
    spawn_by(monkeypatch, lambda store, module, name: None)
    monkeypatch.setattr(worker, "IDLE", 0.05)


@pytest.fixture
def workers_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs, and jobs with a model, are done in this process, which has loaded what their processes would load."""
    with workers_as_threads(monkeypatch):
        yield


@pytest.fixture
def moody_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model of every run is a table with moods: it rejects some proposals."""
    score_by(monkeypatch, moody_belief)


@pytest.fixture
def batch_machine(store: Store, monkeypatch: pytest.MonkeyPatch) -> BatchMachine:
    """A machine for batched runs, and a small data set."""
    small_dataset(store)
    made = BatchMachine(store)
    made.take_over(monkeypatch)
    return made


@pytest.fixture
def restart_machine(store: Store, monkeypatch: pytest.MonkeyPatch) -> RestartMachine:
    """A machine for restarts, and a small data set."""
    small_dataset(store)
    made = RestartMachine(store)
    made.take_over(monkeypatch)
    return made


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torture", action="store_true", help="try every fault often: `make torture`")


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Iterator[Fault]:
    """How often to try the fault of this test; its row is kept if the test said what happened, with --torture."""
    made = of(request)
    yield made
    if made.torture and made.happened:
        made.write(request.node.nodeid)


@pytest.fixture
def subnormal_floats() -> None:
    """Let hypothesis draw the smallest floats: a model that was loaded in this process takes them for zero."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture
def our_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this project's attention be the faster one, with 640 tokens per call, whatever the processor is."""
    from icm_engine.models import attention  # only now: it imports torch

    monkeypatch.setattr(attention, "fastest", lambda dtype, width: (attention.OURS, 640))


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    """A headless Chromium for the tests of a module: while it runs, it holds the event loop of this process."""
    from tests.support.chromium import browsing

    with browsing() as browser:
        yield browser


@pytest.fixture
def browser(chromium: "Browser") -> Iterator["Browser"]:
    """The Chromium; afterwards its page shows nothing, so that nothing ticks beside other tests."""
    yield chromium
    for context in chromium.contexts:
        for page in context.pages:
            page.goto("about:blank")
        context.clear_cookies()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the database of a module's server is; afterwards the workers of its runs are ended."""
    path: Path = tmp_path_factory.mktemp("served") / "icm.db"
    yield path
    end_workers(path)


@pytest.fixture(scope="module")
def server(database: Path) -> Iterator[Server]:
    """The app on that database, for the tests of a module."""
    with serving(database) as server:
        yield server


@pytest.fixture
def pairs() -> Dataset:
    """Forty claims in twenty groups of two, of which exactly one is True."""
    examples = tuple(Example(f"e{i}", {"text": f"claim {i}"}, f"g{i // 2}") for i in range(40))
    task = Task("pairs", "{text} is", rule="exactly-one", fields=("text",))
    return Dataset("pairs", task, examples, tuple({"text": e.fields["text"]} for e in examples), ("text",))


MEMORY = Path("/dev/shm")  # Linux keeps these files in memory
ROOM = 4 * 2**30  # bytes; the tests of `make test` fill a seventh of it


def pytest_configure(config: pytest.Config) -> None:
    """Keep the temporary files of `make test` in memory, where that is possible, unless --basetemp says where.

    SQLite waits for the disk at every commit, which is what many of these tests did for most of their time.
    """
    wanted = config.option.markexpr == "not slow" and config.option.basetemp is None
    if wanted and not hasattr(config, "workerinput") and _is_roomy(MEMORY):
        place = tempfile.mkdtemp(prefix="icm-tests-", dir=MEMORY)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = place
        config.add_cleanup(lambda: shutil.rmtree(place, ignore_errors=True))


def _is_roomy(folder: Path) -> bool:
    """Whether a folder can be written to, has room, and lets a test run a program that it installed there."""
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return False
    now = os.statvfs(folder)
    return now.f_bavail * now.f_frsize > ROOM and not now.f_flag & os.ST_NOEXEC


SLOW_KINDS = {"browser", "cluster", "fault", "server"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as slow what belongs to `make test-all` alone, and put what needs much behind the rest.

    Of the kinds that take minutes (a browser, a cluster, faults, a real server) `make test` runs the tests marked
    `smoke`. Those with a browser or a cluster take longest and come first, or one process would end long after the
    others.
    """
    for item in items:
        if SLOW_KINDS & set(item.keywords) and "smoke" not in item.keywords:
            item.add_marker("slow")
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    if "smoke" in item.keywords and {"browser", "cluster"} & set(item.keywords):
        return -1
    if "browser" in item.keywords:
        return 2
    return int(bool({"model", "cluster", "server"} & set(item.keywords)))
