"""The names that Python programs use: `import icm_engine`, and the run that `icm_engine.open_run` returns.

Types are left out: what a caller writes down are names and defaults.
"""

import inspect
import json
from pathlib import Path
from typing import Any

import icm_engine

NAMES = Path(__file__).parent / "python_api.json"


def names() -> dict[str, Any]:
    """Return every public name with its signature, and the members of the class of runs with theirs."""
    public = sorted(name for name in dir(icm_engine) if not name.startswith("_"))
    found = {name: _signature(getattr(icm_engine, name)) for name in public if not _is_a_room(name)}
    run = inspect.signature(icm_engine.open_run, eval_str=False).return_annotation
    made = getattr(inspect.getmodule(icm_engine.open_run), str(run))
    members = {f"Run.{name}": _signature(inspect.getattr_static(made, name)) for name in dir(made) if name[0] != "_"}
    return {**found, "Run": _signature(made), **members}


def _is_a_room(name: str) -> bool:
    """Modules, and what the package itself imports: nobody's to use."""
    value = getattr(icm_engine, name)
    return (
        inspect.ismodule(value)
        or getattr(value, "__module__", "").split(".")[0] in ("typing", "importlib")
        or (name == "TYPE_CHECKING")
    )


def _signature(value: Any) -> str:
    if isinstance(value, property):
        return "a property"
    if inspect.isclass(value) and issubclass(value, Exception):
        return "an error"
    if not callable(value):
        return "an attribute"
    signature = inspect.signature(value)
    bare = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


def files() -> dict[Path, str]:
    """Return the golden file with what it should hold."""
    return {NAMES: json.dumps(names(), indent=1) + "\n"}
