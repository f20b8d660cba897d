"""Load a causal language model, its tokenizer and its LoRA adapter from a directory, GGUF file or hub id.

Only safetensors or GGUF, never code from a model, and no invented weights for a checkpoint's missing ones. Adapters are
LoRA only: other kinds change the prompt or the cache, which the prefix tree relies on.
"""

import gc
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from icm_engine.core.errors import DeviceMissing, IcmError, ModelNotUsable, OutOfMemory, SettingError
from icm_engine.core.resources import install_command, resource
from icm_engine.core.settings import ModelChoice
from icm_engine.core.text import expanded, home_expanded, is_pointer_file
from icm_engine.models import gguf_header
from icm_engine.models.gguf_header import is_gguf

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def is_adapter(source: str) -> bool:
    """Say whether this folder contains an adapter."""
    return (expanded(source) / CONFIG).is_file()


def base_of(source: str) -> str:
    """Return the base model of an adapter. Raises ModelNotUsable."""
    try:
        config = json.loads((Path(source) / CONFIG).read_text(encoding="utf-8"))
        base, kind = config["base_model_name_or_path"], config["peft_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelNotUsable(f"adapter {source!r} has no usable {CONFIG} ({error!r}): train or copy it again") from None
    if kind != "LORA":
        raise ModelNotUsable(f"adapter {source!r} is of kind {kind}: use a LoRA adapter, or a whole model")
    if config.get("task_type") == "SEQ_CLS":
        raise ModelNotUsable(
            f"adapter {source!r} is a reward model, which predicts no next token: use a policy or a model"
        )
    if not isinstance(base, str) or not base:
        raise ModelNotUsable(f"adapter {source!r} names no base model: put base_model_name_or_path into its {CONFIG}")
    if is_adapter(base):
        raise ModelNotUsable(f"adapter {source!r} belongs to another adapter, {base!r}: tune from a whole model")
    if not (Path(source) / WEIGHTS).is_file():
        raise ModelNotUsable(f"adapter {source!r} has no {WEIGHTS}: only safetensors weights are loaded")
    return base


def attach(base: "LoadedModel", source: str) -> "LoadedModel":
    """Return the base model with an adapter attached, ready to score. Raises ModelNotUsable."""
    peft = _peft(source)
    try:
        joined = peft.PeftModel.from_pretrained(base.model, source, torch_device=base.device)
    except Exception as error:  # any error of the library on damaged files
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:240]
        raise ModelNotUsable(
            f"adapter {source!r} does not match model {base.name!r} ({reason}): use the base it was trained from"
        ) from error
    # the model's own class with LoRA inside; its users need not know of the adapter
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


SAMPLE_MODEL = resource("sample_data", "model")
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
AUTO = "auto"
QUANTIZATIONS = ("nf4", "int8", "none")
_GENERATIVE = ("ForCausalLM", "LMHeadModel")


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to score, with facts for its record."""

    model: Any
    tokenizer: Any
    name: str
    device: str
    dtype: str
    quantization: str
    attention: str = "sdpa"  # the implementation the model came with
    adapter: Mapping[str, str] = field(default_factory=dict)  # of a tuned model: its base, and a hash of the adapter
    file: Mapping[str, str] = field(default_factory=dict)  # facts of a GGUF file: hash, architecture, quantisation

    @property
    def context(self) -> int:
        """The number of tokens the model takes."""
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", 0) or self.tokenizer.model_max_length)

    @property
    def cache_bytes_per_token(self) -> int:
        """Bytes of keys and values of one token in all layers."""
        config = self.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        return int(2 * config.num_hidden_layers * heads * self.head_width * DTYPES[self.dtype].itemsize)

    @property
    def head_width(self) -> int:
        """The numbers per key of one attention head; 0 if the model has none."""
        config = self.model.config.get_text_config()
        heads = getattr(config, "num_attention_heads", 0)
        return int(getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else 0))

    def free_bytes(self) -> int:
        """Free memory where the model is."""
        if self.device.startswith("cuda"):
            return int(torch.cuda.mem_get_info(self.device)[0])
        return int(psutil.virtual_memory().available)


def load(choice: ModelChoice) -> LoadedModel:
    """Load `sample`, a directory, a GGUF file, a hub id, or an adapter's directory with the base it names.

    dtype `auto` picks what the device computes fast. Raises ModelNotUsable, DeviceMissing, OutOfMemory, SettingError.
    """
    model, quantization, dtype = home_expanded(choice.model), choice.quantization, choice.dtype
    if is_adapter(model):
        _refuse_pointers(model, Path(model))
        return attach(load(replace(choice, model=base_of(model))), model)
    if quantization not in QUANTIZATIONS:
        raise SettingError(f"quantization is {quantization!r}: use one of {', '.join(QUANTIZATIONS)}")
    if dtype not in (AUTO, *DTYPES):
        raise SettingError(f"dtype is {dtype!r}: use one of {', '.join((AUTO, *DTYPES))}")
    place = pick_device(choice.device)
    dtype = pick_dtype(place) if dtype == AUTO else dtype
    torch.set_flush_denormal(True)  # probabilities below 1e-38 do not matter and take most of a softmax's time
    read = _read_file if is_gguf(model) else _read_folder
    try:
        tokenizer, network, missing, file = read(model, quantization, DTYPES[dtype], place)
    except IcmError:
        raise
    except Exception as error:  # any error of the libraries on damaged files
        raise as_memory_error(error, f"loading {model!r}") or _unusable(model, error) from error
    if missing:
        raise ModelNotUsable(
            f"model {model!r} has no weights for {missing[0]!r} ({len(missing)} missing): random ones would be "
            "made up for them; use a complete causal language model"
        )
    if dtype == "float32":
        _keep_float32(network)
    attention = str(network.config._attn_implementation)
    return LoadedModel(network.eval(), tokenizer, model, place, dtype, quantization, attention, file=file)


_Found = tuple[Any, Any, Sequence[str], Mapping[str, str]]  # tokenizer, network, missing weights, facts of the file


def _read_folder(model: str, quantization: str, dtype: torch.dtype, device: str) -> _Found:
    """A model of several files: `sample`, a directory or a hub id."""
    source = str(SAMPLE_MODEL) if model == "sample" else model
    _require_causal(model, source)
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    network, report = AutoModelForCausalLM.from_pretrained(
        source,
        dtype=dtype,
        quantization_config=_quantization_config(quantization, dtype),
        device_map={"": device},
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    return tokenizer, network, sorted(report["missing_keys"]), {}


def _read_file(model: str, quantization: str, dtype: torch.dtype, device: str) -> _Found:
    """A model in one GGUF file, unpacked, and quantised again if asked."""
    header = gguf_header.checked_gguf(model)
    from icm_engine.models.gguf_files import read_gguf  # only now it is clear that gguf is installed

    found = read_gguf(model, header, _quantization_config(quantization, dtype), dtype, device)
    return *found, gguf_header.gguf_facts(header)


def _keep_float32(network: Any) -> None:
    """Make 4-bit layers compute in float32 if asked; bitsandbytes uses bfloat16 where a CPU can."""
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def pick_device(device: str) -> str:
    """Return `cpu` or a CUDA device; `auto` takes the GPU if it is a CUDA one. Raises DeviceMissing for others."""
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if device == "mps" or device.startswith("mps:"):
        raise DeviceMissing(
            f"device {device!r} (the GPU of an Apple computer) is not used, because the walk and its attention were "
            "never checked there: use device cpu or auto, or serve a GGUF file with llama.cpp's llama-server, which "
            "uses that GPU, and give its address as the model"
        )
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceMissing(f"device {device!r} was requested, but no CUDA GPU is visible: use device cpu or auto")
    if device != "cpu" and not device.startswith("cuda"):
        raise DeviceMissing(f"device {device!r} is not known: use cpu, cuda or auto")
    return device


def pick_dtype(device: str) -> str:
    """Return `bfloat16` if the device has instructions for it, else `float32`.

    Emulated bfloat16 is slow: on a CPU with only AVX2, products took 7 to 28 times as long.
    """
    if device != "cpu":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    able = torch.cpu.get_capabilities()  # names such as avx512_bf16, amx_bf16, bf16 (Arm)
    return "bfloat16" if any(value is True for name, value in able.items() if "bf16" in name) else "float32"


def as_memory_error(error: BaseException, doing: str) -> OutOfMemory | None:
    """Return an OutOfMemory if this error means that memory ran out, else None."""
    text = str(error).lower()
    if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and "allocate memory" not in text:
        return None
    return OutOfMemory(
        f"memory ran out while {doing} ({str(error).splitlines()[0][:160]}): use a smaller --limit or --batch-size, "
        "shorter demonstrations, a smaller model or quantization nf4"
    )


def free_memory(device: str) -> None:
    """Free unreferenced memory, including what torch keeps for reuse."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def _require_causal(model: str, source: str) -> None:
    if _means_folder(source):
        _require_folder(model, Path(source))
        _refuse_pointers(model, Path(source))
        _refuse_code(model, Path(source))
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        architectures = [str(name) for name in config.architectures or []]
    except Exception as error:  # any error of the library on a damaged file
        raise _unusable(model, error) from error
    if config.is_encoder_decoder or not any(name.endswith(_GENERATIVE) for name in architectures):
        raise ModelNotUsable(
            f"model {model!r} is {architectures or config.model_type}, not a causal language model: "
            "use one whose architecture ends in ForCausalLM"
        )


def _means_folder(source: str) -> bool:
    """Whether this is a path: it exists, is written like one, or cannot be a hub name."""
    if source.startswith((".", "/", "~")) or source.endswith(".gguf") or Path(source).exists():
        return True
    try:
        validate_repo_id(source)
    except HFValidationError:
        return True
    return False


def _require_folder(model: str, folder: Path) -> None:
    if folder.is_file():
        raise ModelNotUsable(
            f"model {model!r} is a file, but not a GGUF file: give one, or the folder that holds config.json and "
            "safetensors weights"
        )
    if not folder.is_dir():
        raise ModelNotUsable(
            f"model directory {model!r} does not exist, looked for from {str(Path.cwd())!r}: give the whole path "
            "of a GGUF file, or of the folder that holds config.json and safetensors weights"
        )
    if not (folder / "config.json").is_file():
        raise ModelNotUsable(f"model directory {model!r} has no config.json: give the folder that holds the model")


def _refuse_pointers(model: str, folder: Path) -> None:
    """Refuse a clone whose large files are still git-LFS pointers."""
    pointers = sorted(path.name for path in folder.iterdir() if path.is_file() and is_pointer_file(path))
    if pointers:
        more = f" and {len(pointers) - 1} more" if len(pointers) > 1 else ""
        raise ModelNotUsable(
            f"model {model!r} has a git-LFS pointer in place of {pointers[0]}{more}: fetch the files themselves "
            "(git lfs pull, in its folder)"
        )


def _refuse_code(model: str, folder: Path) -> None:
    """Refuse a model that wants its own code to be run, even if transformers could load it without."""
    for name in ("config.json", "tokenizer_config.json"):
        try:
            told = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # its next reader reports the problem
        if isinstance(told, dict) and told.get("auto_map"):
            raise ModelNotUsable(
                f"model {model!r} brings code of its own (auto_map in {name}), which is never run: use a model whose "
                "architecture transformers has itself; if it has this one, take auto_map out"
            )


def _quantization_config(quantization: str, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    if quantization == "nf4":
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return BitsAndBytesConfig(load_in_8bit=True) if quantization == "int8" else None


def _unusable(model: str, error: BaseException) -> ModelNotUsable:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:240]
    return ModelNotUsable(
        f"model {model!r} cannot be loaded ({reason}): give `sample`, a directory that exists and holds safetensors "
        "weights, or a hub id that this machine can reach"
    )
