"""The packages that training needs and the rest of the project does not."""

from importlib.metadata import version

from icm_engine.runs.trained import require_installed

TOLD = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


def require() -> None:
    """See that all are there, and keep them from reporting to anybody. Raises NotInstalled."""
    require_installed()
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # trl reports each trainer that is built unless told not to


def versions() -> dict[str, str]:
    """Return the versions that a card names."""
    return {name: version(name) for name in TOLD}
