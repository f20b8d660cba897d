"""ICM Workbench: Internal Coherence Maximization, step by step and inspectable.

    import icm_engine as icm

gives `icm.label`, `icm.open_run`, `icm.list_runs` and `icm.IcmError`, which are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icm_engine.core import __version__ as __version__
    from icm_engine.core.errors import IcmError as IcmError
    from icm_engine.notebook import label as label
    from icm_engine.notebook import list_runs as list_runs
    from icm_engine.notebook import open_run as open_run

# the worker imports this package too and must reach nothing that reads gold, so nothing is imported here
_LATER = {
    "__version__": "icm_engine.core",
    "IcmError": "icm_engine.core.errors",
    "label": "icm_engine.notebook",
    "list_runs": "icm_engine.notebook",
    "open_run": "icm_engine.notebook",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATER])
