"""Adapters as models: what is refused before any weight is read, and what one sentence says of it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from icm_engine.core.errors import ModelNotUsable
from icm_engine.core.settings import ModelChoice
from icm_engine.models.loading import CONFIG, WEIGHTS, attach, base_of, is_adapter


def adapter(folder: Path, config: Any, weights: bool = True) -> str:
    """A folder with this configuration of an adapter in it."""
    folder.mkdir()
    (folder / CONFIG).write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
    if weights:
        (folder / WEIGHTS).write_bytes(b"")
    return str(folder)


def test_an_adapter_names_its_base(tmp_path: Path) -> None:
    source = adapter(tmp_path / "a", {"base_model_name_or_path": "sample", "peft_type": "LORA"})
    assert is_adapter(source)
    assert base_of(source) == "sample"
    assert not is_adapter("sample")
    assert not is_adapter(str(tmp_path))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", "has no usable adapter_config.json"),
        ([], "has no usable adapter_config.json"),
        ({"peft_type": "LORA"}, "has no usable adapter_config.json"),
        ({"base_model_name_or_path": "sample", "peft_type": "PREFIX_TUNING"}, "is of kind PREFIX_TUNING: use a LoRA"),
        ({"base_model_name_or_path": None, "peft_type": "LORA"}, "names no base model"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(tmp_path: Path, config: Any, said: str) -> None:
    with pytest.raises(ModelNotUsable, match=said):
        base_of(adapter(tmp_path / "a", config))


def test_only_safetensors_are_loaded_and_no_adapter_stands_on_another(tmp_path: Path) -> None:
    config = {"base_model_name_or_path": "sample", "peft_type": "LORA"}
    source = adapter(tmp_path / "pickled", config, weights=False)
    (tmp_path / "pickled" / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(ModelNotUsable, match="only safetensors weights are loaded"):
        base_of(source)
    first = adapter(tmp_path / "first", config)
    with pytest.raises(ModelNotUsable, match="belongs to another adapter"):
        base_of(adapter(tmp_path / "second", {**config, "base_model_name_or_path": first}))


def test_without_peft_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = adapter(tmp_path / "a", {"base_model_name_or_path": "sample", "peft_type": "LORA"})
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelNotUsable, match=r"peft is not installed: pip install -r requirements-training\.txt"):
        attach(None, source)  # type: ignore[arg-type]


@pytest.mark.model
def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    """Its matrices have other shapes than the base's layers."""
    import torch
    from safetensors.torch import save_file

    from icm_engine.models.loading import load

    config = {"base_model_name_or_path": "sample", "peft_type": "LORA", "r": 2, "target_modules": ["q_proj"],
              "task_type": "CAUSAL_LM"}  # fmt: skip
    source = adapter(tmp_path / "a", config)
    layer = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    save_file({layer.format("A"): torch.zeros(2, 64), layer.format("B"): torch.zeros(64, 2)}, tmp_path / "a" / WEIGHTS)
    with pytest.raises(ModelNotUsable, match="does not match model 'sample'"):
        load(ModelChoice(source, "none", "float32", "cpu"))
