"""Who may import whom: the rooms of the house, held by a test."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGINE = ROOT / "icm_engine"
ROOMS = ("core", "doors", "models", "runs", "training", "data", "analysis")
RUNTIMES = {"torch", "transformers", "bitsandbytes", "accelerate", "safetensors", "peft", "trl"}
FACTORIES = {"worker.py": "models", "job_worker.py": "training"}  # imported inside a function, when it is needed
ALLOWED = {
    "core": {"core"},
    "doors": {"core", "doors"},
    "models": {"core", "models"},
    "runs": {"core", "runs"},
    "training": {"core", "models", "runs", "training"},
    "data": {"core", "runs", "data"},
    "analysis": {"core", "runs", "data", "analysis"},
}


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Every module a file imports, with the indentation of the statement (0: at import time)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.col_offset) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            package = (ROOT / str(node.module).replace(".", "/")).is_dir()
            names = [f"{node.module}.{alias.name}" for alias in node.names] if package else [str(node.module)]
            yield from ((name, node.col_offset) for name in names)


def files(room: str) -> list[Path]:
    found = sorted((ENGINE / room).rglob("*.py"))
    assert found
    return found


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "icm_engine" and len(parts) > 1 else None


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_the_table_allows(room: str) -> None:
    for path in files(room):
        for module, indent in imported(path):
            target = room_of(module)
            factory = room == "runs" and indent > 0 and target is not None and target == FACTORIES.get(path.name)
            assert target is None or target in ALLOWED[room] or factory, f"{path} imports {module}"


def test_the_core_and_the_doors_need_the_standard_library_alone() -> None:
    for path in (*files("core"), *files("doors")):
        for module, _ in imported(path):
            top = module.split(".")[0]
            assert top in sys.stdlib_module_names or top == "icm_engine", f"{path} imports {module}"


def test_only_models_know_a_runtime_and_nothing_knows_streamlit() -> None:
    for room in ROOMS:
        for path in files(room):
            tops = {module.split(".")[0] for module, _ in imported(path)}
            assert "streamlit" not in tops, path
            assert room in ("models", "training") or not tops & RUNTIMES, path
            assert room == "models" or "httpx2" not in tops, path  # who talks to a server


def test_pages_import_analysis_data_and_control_alone() -> None:
    pages = [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py"))]
    for path in pages:
        for module, _ in imported(path):
            assert module.split(".")[0] not in RUNTIMES, f"{path} imports {module}"
            if room_of(module):
                assert module.startswith(
                    (
                        "icm_engine.analysis",
                        "icm_engine.data",
                        "icm_engine.doors",
                        "icm_engine.runs.control",
                        "icm_engine.runs.jobs",
                        "icm_engine.core.errors",
                        "icm_engine.core.resources",
                    )
                ), f"{path} imports {module}"


def loaded_by(statement: str) -> set[str]:
    """The modules in a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys; print(*sys.modules)"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True
        ).stdout.split()
    )


def test_nothing_that_the_worker_reaches_knows_gold() -> None:
    loaded = loaded_by(
        "import pkgutil, importlib, icm_engine.training, icm_engine.runs.worker, icm_engine.runs.job_worker, "
        "icm_engine.runs.elsewhere, icm_engine.runs.keeper, icm_engine.models.server_scorer, "
        "icm_engine.models.loading, icm_engine.models.transformers_scorer\n"
        "for found in pkgutil.iter_modules(icm_engine.training.__path__, 'icm_engine.training.'):\n"
        "    importlib.import_module(found.name)"
    )
    assert "icm_engine.runs.worker" in loaded
    assert "torch" in loaded
    assert not [module for module in loaded if module.startswith(("icm_engine.data", "icm_engine.analysis"))]


@pytest.mark.slow
def test_a_worker_that_does_not_train_never_loads_a_trainer() -> None:
    loaded = loaded_by("import icm_engine.runs.worker, icm_engine.runs.job_worker, icm_engine.models.loading")
    assert not [module for module in loaded if module.startswith("icm_engine.training")]
    assert not loaded & {"peft", "trl"}


def test_what_chooses_among_chains_knows_neither_gold_nor_a_model() -> None:
    loaded = loaded_by("import icm_engine.runs.restarts, icm_engine.runs.on_ray")
    assert "icm_engine.runs.proposal" in loaded
    assert "ray" not in loaded  # it is optional
    assert not [module for module in loaded if module.startswith(("icm_engine.data", "icm_engine.analysis"))]
    assert not loaded & RUNTIMES


def test_what_drives_batches_knows_neither_gold_nor_a_model() -> None:
    loaded = loaded_by("import icm_engine.runs.batches, icm_engine.runs.lanes")
    assert {"icm_engine.core.batches", "icm_engine.runs.parts", "icm_engine.runs.ends"} <= loaded
    assert not [module for module in loaded if module.startswith(("icm_engine.data", "icm_engine.analysis"))]
    assert not loaded & RUNTIMES


def test_what_pages_import_does_not_bring_torch_along() -> None:
    loaded = loaded_by(
        "import pkgutil, importlib, icm_engine.analysis, icm_engine.data\n"
        "for package in (icm_engine.analysis, icm_engine.data):\n"
        "    for found in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(found.name)\n"
        "import icm_engine.runs.control"
    )
    assert "icm_engine.analysis.views" in loaded
    assert not loaded & RUNTIMES
