"""Adapters: what fine-tuning adds to a base model, in a folder of its own that names the base.

Safetensors only. LoRA only: other kinds change the prompt or the cache, which the prefix tree relies on.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icm_engine.core.errors import ModelNotUsable
from icm_engine.core.paths import expanded
from icm_engine.core.resources import install_command

if TYPE_CHECKING:
    from icm_engine.models.loading import LoadedModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def is_adapter(source: str) -> bool:
    """Say whether this is a folder with an adapter in it."""
    return (expanded(source) / CONFIG).is_file()


def base_of(source: str) -> str:
    """Return the model that an adapter belongs to. Raises ModelNotUsable."""
    try:
        config = json.loads((Path(source) / CONFIG).read_text(encoding="utf-8"))
        base, kind = config["base_model_name_or_path"], config["peft_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelNotUsable(f"adapter {source!r} has no usable {CONFIG} ({error!r}): train or copy it again") from None
    if kind != "LORA":
        raise ModelNotUsable(f"adapter {source!r} is of kind {kind}: use a LoRA adapter, or a whole model")
    if config.get("task_type") == "SEQ_CLS":
        raise ModelNotUsable(f"adapter {source!r} is a reward model, which says no next token: use a policy or a model")
    if not isinstance(base, str) or not base:
        raise ModelNotUsable(f"adapter {source!r} names no base model: put base_model_name_or_path into its {CONFIG}")
    if is_adapter(base):
        raise ModelNotUsable(f"adapter {source!r} belongs to another adapter, {base!r}: tune from a whole model")
    if not (Path(source) / WEIGHTS).is_file():
        raise ModelNotUsable(f"adapter {source!r} has no {WEIGHTS}: only safetensors weights are loaded")
    return base


def attach(base: "LoadedModel", source: str) -> "LoadedModel":
    """Return the base model with an adapter's matrices beside its own, ready to score. Raises ModelNotUsable."""
    peft = _peft(source)
    try:
        joined = peft.PeftModel.from_pretrained(base.model, source, torch_device=base.device)
    except Exception as error:  # whatever damaged files make of the library that reads them
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:240]
        raise ModelNotUsable(
            f"adapter {source!r} does not go with model {base.name!r} ({reason}): use the base it was trained from"
        ) from error
    # the model's own class with LoRA inside: whoever holds it need not know that there is an adapter
    return replace(base, model=joined.get_base_model().eval(), name=source, adapter=_described(source, base.name))


def _described(source: str, base: str) -> dict[str, str]:
    weights = hashlib.sha256((Path(source) / WEIGHTS).read_bytes()).hexdigest()
    return {"base": base, "adapter_sha256": weights}


def _peft(source: str) -> Any:
    try:
        import peft
    except ImportError:
        raise ModelNotUsable(
            f"model {source!r} is an adapter, and peft is not installed: {install_command('train')}"
        ) from None
    return peft
