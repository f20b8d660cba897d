"""What is refused of a GGUF file before it is loaded, each in a sentence; and what its record should say."""

import hashlib
from collections import Counter
from importlib.util import find_spec
from typing import Any

from icm_engine.core.errors import ModelNotUsable
from icm_engine.models.gguf_header import Header, Tensor, read_header

_ELSE = "use the GGUF file of a text model, or a directory with safetensors weights"
_KINDS = {"mmproj": "an image encoder", "clip": "an image encoder", "adapter": "an adapter", "imatrix": "a table of "
          "importances", "vocab": "a vocabulary alone"}  # fmt: skip
_SCALED = ("linear", "yarn")  # ways to stretch the context that are carried over to transformers


def checked(model: str) -> Header:
    """Return the header of a file that can be loaded, as far as the header tells. Raises ModelNotUsable."""
    if find_spec("gguf") is None:
        raise ModelNotUsable(
            f"model {model!r} is a GGUF file, and gguf is not installed: pip install -r requirements.txt"
        )
    header = read_header(model)
    _require_model(model, header)
    _require_whole(model, header)
    _require_context(model, header)
    return header


def facts(header: Header) -> dict[str, str]:
    """Return what tells this file from any other."""
    with header.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "gguf_sha256": digest,
        "gguf_architecture": header.architecture,
        "gguf_quantization": quantization(header),
    }


def quantization(header: Header) -> str:
    """Return how the file is quantised, such as Q4_K_M; where it does not say, how most of its weights are."""
    from gguf import GGMLQuantizationType, LlamaFileType

    try:
        return LlamaFileType(header.facts["general.file_type"]).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except (KeyError, ValueError):
        counts: Counter[int] = Counter()
        for tensor in header.tensors:
            counts[tensor.type] += tensor.count
        return GGMLQuantizationType(counts.most_common(1)[0][0]).name


def _require_model(model: str, header: Header) -> None:
    from transformers.integrations.gguf.utils import is_gguf_arch_supported
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    parts = header.facts.get("split.count", 0)
    if parts > 1:
        raise ModelNotUsable(
            f"model {model!r} is part {header.facts.get('split.no', 0) + 1} of {parts} of a split file: join the parts "
            "with `llama-gguf-split --merge FIRST-PART WHOLE.gguf`, and give the whole"
        )
    told = header.architecture
    kind = _KINDS.get(str(header.facts.get("general.type"))) or _KINDS.get(told)
    if kind or not header.tensors:
        raise ModelNotUsable(f"model {model!r} is {kind or 'a GGUF file without weights'}, not a model: {_ELSE}")
    name = {"qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "gpt-oss": "gpt_oss", "minimax-m2": "minimax_m2"}
    if not is_gguf_arch_supported(told) and name.get(told, told) not in GGUF_SUPPORTED_ARCHITECTURES:
        raise ModelNotUsable(
            f"model {model!r} has the architecture {told!r}, which transformers does not read from GGUF: use a "
            "directory with the same model's safetensors weights"
        )


def _require_whole(model: str, header: Header) -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    def end(tensor: Tensor) -> int:
        count, size = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.type)]
        return int(header.data + tensor.offset + tensor.count // count * size)

    unknown = sorted({tensor.type for tensor in header.tensors if not _is_read(tensor.type)})
    if unknown:
        raise ModelNotUsable(
            f"model {model!r} has tensors of the GGUF type {_type_name(unknown[0])}, which cannot be unpacked here: "
            "use a file with another quantisation, such as Q4_K_M or Q8_0"
        )
    if (last := max(map(end, header.tensors))) > header.size:
        raise ModelNotUsable(
            f"model {model!r} is cut short ({header.size:,} of {last:,} bytes are there): download it again; of a "
            "file in parts, join all of them in order"
        )


def _require_context(model: str, header: Header) -> None:
    """Refuse ways to stretch the context that would be left out in silence."""
    kind, factors = header.own("rope.scaling.type"), [t for t in header.tensors if "rope_factors" in t.name]
    if factors or kind not in (None, "none", *_SCALED):
        raise ModelNotUsable(
            f"model {model!r} stretches its context ({'long factors' if factors else kind}), which is not read from "
            "GGUF: use a directory with the same model's safetensors weights"
        )


def _is_read(kind: int) -> bool:
    from gguf import GGMLQuantizationType, quants

    try:
        known: Any = GGMLQuantizationType(kind)
    except ValueError:
        return False
    return known.name in ("F32", "F16", "F64") or known in quants._type_traits


def _type_name(kind: int) -> str:
    from gguf import GGMLQuantizationType

    return str(GGMLQuantizationType(kind).name) if kind in set(GGMLQuantizationType) else f"number {kind}"
