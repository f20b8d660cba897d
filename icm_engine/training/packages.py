"""The packages that training needs and the rest of the project does not."""

from importlib.metadata import version
from importlib.util import find_spec

from icm_engine.core.errors import NotInstalled

NEEDED = ("peft", "trl", "datasets")
TOLD = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


def require() -> None:
    """See that all are there, and keep them from reporting to anybody. Raises NotInstalled."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise NotInstalled(f"training needs {', '.join(missing)}: pip install -r requirements-training.txt")
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # trl reports each trainer that is built unless told not to


def versions() -> dict[str, str]:
    """Return the versions that a card names."""
    return {name: version(name) for name in TOLD}
