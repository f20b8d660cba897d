"""The house: which room may import which, no import circles, and few small files."""

import ast
import doctest
import importlib
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from icm_engine.jobs import KINDS, PLAIN, WORKER
from tests.support.paths import ROOT

ENGINE = ROOT / "icm_engine"
RUNTIMES = {"torch", "transformers", "bitsandbytes", "accelerate", "safetensors", "peft", "trl"}

# What each room may import besides itself.
ALLOWED = {
    "core": "",
    "baselines": "core",
    "access": "core",
    "models": "core baselines",
    "store": "core",
    "runs": "core baselines store",
    "jobs": "core store runs cluster",
    "cluster": "core store runs jobs",
    "training": "core baselines models store runs jobs",
    "data": "core store runs jobs",
    "analysis": "core baselines store runs jobs cluster data",
    "experiments": "core store runs jobs cluster data analysis",
    "cli": "core baselines access store runs jobs cluster data analysis experiments",
}
# What one file may import beyond its room, inside a function and only when it is needed.
FACTORIES = {"runs/worker.py": {"models", "training"}}
# What pages may import: no SQL, no model, nothing that searches.
FOR_PAGES = (
    "access", "analysis", "data", "experiments", "jobs", "runs.control", "store.store", "store.events",
    "store.datasets", "core.errors", "core.text", "core.server_address", "core.consistency", "core.resources",
)  # fmt: skip


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    paths = [ROOT / "app.py", *sorted(ENGINE.rglob("*.py")), *sorted((ROOT / "pages").rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


MODULES = modules()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> tuple[tuple[str, int], ...]:
    """Every module a file imports, with the indentation of the statement (0: at import time)."""
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.col_offset) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield (name if name in MODULES else str(node.module)), node.col_offset


def files(room: str) -> list[Path]:
    found = sorted((ENGINE / room).rglob("*.py"))
    assert found
    return found


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "icm_engine" and len(parts) > 1 else None


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_what_the_table_allows(room: str) -> None:
    allowed = {room, *ALLOWED[room].split()}
    for path in files(room):
        factories = FACTORIES.get(str(path.relative_to(ENGINE)), set())
        for module, indent in imported(path):
            target = room_of(module)
            assert target is None or target in allowed or (indent > 0 and target in factories), (
                f"{path} imports {module}"
            )


def test_every_room_is_in_the_table() -> None:
    assert {path.name for path in ENGINE.iterdir() if (path / "__init__.py").exists()} == set(ALLOWED)


def test_there_are_no_import_circles() -> None:
    """Imports inside functions and for type checking count: where there is no circle, none has to be avoided."""
    graph = {
        name: sorted({module for module, _ in imported(path) if module in MODULES and module != name})
        for name, path in MODULES.items()
    }
    done, path_here = set[str](), list[str]()

    def visit(name: str) -> None:
        assert name not in path_here, "circle: " + " -> ".join([*path_here[path_here.index(name) :], name])
        if name not in done:
            path_here.append(name)
            for module in graph[name]:
                visit(module)
            path_here.pop()
            done.add(name)

    for name in graph:
        visit(name)


# Files of fewer than 40 lines, each with its reason; docstrings of packages are not counted.
SMALL = {
    "app.py": "the file that Streamlit is started with",
    "icm_engine/__init__.py": "the names of the notebook interface, loaded when they are used",
    "icm_engine/__main__.py": "python -m icm_engine",
    "icm_engine/jobs/__main__.py": "python -m icm_engine.jobs, the process of jobs without a model",
}


def is_docstring(path: Path) -> bool:
    """Say whether a file is the docstring of its package, and at most its version."""
    body = tree(path).body
    return path.name == "__init__.py" and not any(isinstance(node, ast.Import | ast.FunctionDef) for node in body)


def test_there_are_few_files_and_fewer_small_ones() -> None:
    assert len(MODULES) <= 200
    small = {
        str(path.relative_to(ROOT))
        for path in MODULES.values()
        if len(path.read_text(encoding="utf-8").splitlines()) < 40 and not is_docstring(path)
    }
    assert small == set(SMALL)


def test_every_room_names_its_files() -> None:
    for room in (*(ENGINE / name for name in ALLOWED), ROOT / "pages" / "parts"):
        if room.name in ("jobs", "cluster", "training"):  # their docstrings are about what they hold themselves
            continue
        about = ast.get_docstring(tree(room / "__init__.py")) or ""
        missing = [path.name for path in room.glob("*.py") if path.stem not in about and path.name != "__init__.py"]
        assert not missing, f"{room.name}: {missing}"


@pytest.mark.parametrize("name", [name for name, path in MODULES.items() if ">>> " in path.read_text(encoding="utf-8")])
def test_the_examples_in_docstrings_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed


def test_no_class_has_the_name_of_another() -> None:
    places = defaultdict[str, list[str]](list)
    for path in MODULES.values():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert not {name: found for name, found in places.items() if len(found) > 1}


def test_core_baselines_and_access_need_the_standard_library_alone() -> None:
    for path in (*files("core"), *files("baselines"), *files("access")):
        for module, _ in imported(path):
            top = module.split(".")[0]
            assert top in sys.stdlib_module_names or top == "icm_engine", f"{path} imports {module}"


def test_only_models_know_a_runtime_and_nothing_knows_streamlit() -> None:
    for room in ALLOWED:
        for path in files(room):
            tops = {module.split(".")[0] for module, _ in imported(path)}
            assert "streamlit" not in tops, path
            assert room in ("models", "training") or not tops & RUNTIMES, path
            assert room == "models" or "httpx2" not in tops, path  # who talks to a server


def test_pages_import_no_model_no_sql_and_no_worker() -> None:
    pages = [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py"))]
    for path in pages:
        for module, _ in imported(path):
            assert module.split(".")[0] not in RUNTIMES, f"{path} imports {module}"
            if room_of(module):
                name = module.removeprefix("icm_engine.")
                assert any(name == allowed or name.startswith(f"{allowed}.") for allowed in FOR_PAGES), (
                    f"{path} imports {module}"
                )


def test_no_file_imports_a_page() -> None:
    for path in MODULES.values():
        for module, _ in imported(path):
            assert not module.startswith("pages.") or module.startswith("pages.parts"), f"{path} imports {module}"


def loaded_by(statement: str) -> set[str]:
    """The modules in a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys; print(*sys.modules)"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True
        ).stdout.split()
    )


KNOW_GOLD = ("icm_engine.data", "icm_engine.analysis", "icm_engine.experiments")


def modules_of(process: str) -> set[str]:
    """The modules with the functions of the kinds of jobs that this process does."""
    return {kind.function.partition(":")[0] for kind in KINDS.values() if kind.process == process}


@cache
def loaded_by_workers() -> set[str]:
    """What workers of runs and jobs can load: all trainers, and the functions of kinds, which are named by text."""
    return loaded_by(
        "import pkgutil, importlib, icm_engine.training, icm_engine.runs.worker, icm_engine.jobs.job_worker, "
        "icm_engine.cluster.remote_worker, icm_engine.cluster.store_server, icm_engine.models.server_scorer, "
        "icm_engine.models.loading, icm_engine.models.transformers_scorer\n"
        "for found in pkgutil.iter_modules(icm_engine.training.__path__, 'icm_engine.training.'):\n"
        "    importlib.import_module(found.name)\n"
        f"import {', '.join(sorted(modules_of(WORKER)))}"
    )


def test_nothing_that_the_worker_reaches_knows_gold() -> None:
    loaded = loaded_by_workers()
    assert {"icm_engine.runs.worker", "torch", *modules_of(WORKER)} <= loaded
    assert not [module for module in loaded if module.startswith(KNOW_GOLD)]


def test_every_kind_of_job_names_a_function_of_a_job_and_at_most_a_scorer() -> None:
    """The functions are read in their files: importing all of them would load every runtime."""
    for kind in KINDS.values():
        module, _, name = kind.function.partition(":")
        (function,) = (n for n in tree(MODULES[module]).body if isinstance(n, ast.FunctionDef) and n.name == name)
        taken = [argument.arg for argument in function.args.args]
        assert taken == (["job", "scorer"] if kind.model == "scores" else ["job"]), kind.name
        assert kind.process == WORKER or kind.model == "none", kind.name


def test_kinds_of_the_other_process_load_no_model() -> None:
    loaded = loaded_by(f"import {PLAIN}, {', '.join(sorted(modules_of(PLAIN)))}")
    assert modules_of(PLAIN) <= loaded
    assert not [module for module in loaded if module.startswith(tuple(RUNTIMES))]


@pytest.mark.slow
def test_a_worker_that_does_not_train_never_loads_a_trainer() -> None:
    loaded = loaded_by("import icm_engine.runs.worker, icm_engine.jobs.job_worker, icm_engine.models.loading")
    assert not [module for module in loaded if module.startswith("icm_engine.training")]
    assert not loaded & {"peft", "trl"}


@pytest.mark.slow
def test_a_worker_of_a_served_model_loads_no_runtime() -> None:
    loaded = loaded_by("import icm_engine.runs.worker, icm_engine.models.server_scorer")
    assert "icm_engine.models.server_client" in loaded
    assert not loaded & RUNTIMES


def test_what_chooses_among_chains_knows_neither_gold_nor_a_model() -> None:
    loaded = loaded_by("import icm_engine.jobs.restarts, icm_engine.cluster.driver")
    assert "ray" not in loaded  # it is optional
    assert not [module for module in loaded if module.startswith(KNOW_GOLD)]
    assert not loaded & RUNTIMES


def test_what_drives_batches_knows_neither_gold_nor_a_model() -> None:
    loaded = loaded_by("import icm_engine.jobs.batches, icm_engine.jobs.scheduler")
    assert "icm_engine.core.batching" in loaded
    assert not [module for module in loaded if module.startswith(KNOW_GOLD)]
    assert not loaded & RUNTIMES


def test_what_pages_import_does_not_bring_torch_along() -> None:
    loaded = loaded_by(
        "import pkgutil, importlib, icm_engine.analysis, icm_engine.data, icm_engine.experiments\n"
        "for package in (icm_engine.analysis, icm_engine.data, icm_engine.experiments):\n"
        "    for found in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(found.name)\n"
        "import icm_engine.runs.control"
    )
    assert "icm_engine.analysis.views" in loaded
    assert not loaded & RUNTIMES


def test_the_help_of_the_command_line_loads_no_slow_library() -> None:
    loaded = loaded_by("from icm_engine.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass")
    assert "icm_engine.cli.train" in loaded
    assert not loaded & {*RUNTIMES, "pandas", "plotly", "pyarrow", "sqlite_utils", "statsmodels", "streamlit"}
