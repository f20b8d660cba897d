"""A model in one GGUF file, unpacked into memory; weights, settings and tokenizer come from the file alone.

transformers reads the file and silently ignores what it does not know. Anything that would change scores is carried
over here, or the file is refused.
"""

import copy
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import gguf
import torch
from gguf import GGUFValueType
from tokenizers import Regex, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GgufConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from icm_engine.core.errors import ModelNotUsable
from icm_engine.models.gguf_header import GgufHeader

_LARGEST = {"gemma2": 46, "gemma3": 62}  # model families with one block size whose queries are scaled by the head width
_LAYERED = "full_attention"  # settings that differ by type of layer
_FREQUENCIES = "rope_freqs.weight"  # Llama 3's frequency divisors
_UNUSED = (_FREQUENCIES, "nextn")  # tensors that do not affect the next token
_LONG = 4096  # entries; vocabularies have more, per-layer lists fewer
_DIGITS = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"})


def read_gguf(
    model: str, header: GgufHeader, quantized: BitsAndBytesConfig | None, dtype: torch.dtype, device: str
) -> tuple[Any, Any, Sequence[str]]:
    """Return the tokenizer, the network and the names of missing weights. Raises ModelNotUsable."""
    place = {"pretrained_model_name_or_path": str(header.path.parent), "gguf_file": header.path.name}
    with _quick_reader():
        config = _config(header, AutoConfig.from_pretrained(**place))
        _require_causal(model, config)
        tokenizer = _tokenizer(header, AutoTokenizer.from_pretrained(**place))
        network, report = AutoModelForCausalLM.from_pretrained(
            **place,
            config=copy.deepcopy(config),
            dtype=dtype,
            quantization_config=GgufConfig(dequantize=True),
            device_map={"": "cpu"},
            output_loading_info=True,
        )
    _require_all_used(model, header, network)
    factors = _factors(header)
    network = _plain(network, config, quantized, dtype, device)
    if factors is not None:
        _divide_frequencies(network, factors)
    return tokenizer, network, sorted(report["missing_keys"])


def _plain(network: Any, config: Any, quantized: BitsAndBytesConfig | None, dtype: torch.dtype, device: str) -> Any:
    """The same weights in an ordinary model, as if loaded from a directory."""
    config.architectures = [type(network).__name__]
    made = type(network).from_pretrained(
        None,
        config=config,
        state_dict=network.state_dict(),
        dtype=dtype,
        quantization_config=quantized,
        device_map={"": device},
    )
    made.name_or_path = made.config.name_or_path = ""  # else "None", which whoever saves an adapter asks a hub for
    return made


def _require_causal(model: str, config: Any) -> None:
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelNotUsable(
            f"model {model!r} is {config.model_type}, not a causal language model: use a GGUF file of one"
        )


def _config(header: GgufHeader, config: Any) -> Any:
    """The settings, with those that transformers does not carry over."""
    rows = [tensor.shape[0] for tensor in header.tensors if tensor.name == "token_embd.weight"]
    config.vocab_size = rows[0] if rows else config.vocab_size
    width = header.own("attention.key_length")
    if width and getattr(config, "head_dim", None) and not hasattr(config, "global_head_dim"):
        config.head_dim = width
    if header.own("block_count") == _LARGEST.get(header.architecture):
        config.query_pre_attn_scalar = config.hidden_size // config.num_attention_heads
    if (kind := header.own("rope.scaling.type")) not in (None, "none"):
        _stretch(header, config, kind)
    return config


def _stretch(header: GgufHeader, config: Any, kind: str) -> None:
    """Carry over the context extension; sliding layers are exempt where layers differ."""
    rope = config.rope_parameters
    rope = rope.get(_LAYERED, rope)
    rope |= {"rope_type": kind, "factor": float(header.own("rope.scaling.factor") or 1.0)}
    if original := header.own("rope.scaling.original_context_length"):
        rope["original_max_position_embeddings"] = int(original)


def _factors(header: GgufHeader) -> torch.Tensor | None:
    """The divisors that the file gives for rotary frequencies."""
    if not any(tensor.name == _FREQUENCIES for tensor in header.tensors):
        return None
    found = {tensor.name: tensor for tensor in _QuickReader(header.path).tensors}[_FREQUENCIES]
    return torch.tensor(gguf.dequantize(found.data, found.tensor_type)).float().flatten()


def _divide_frequencies(network: Any, factors: torch.Tensor) -> None:
    for module in network.modules():
        for name in ("inv_freq", "original_inv_freq"):
            if (old := getattr(module, name, None)) is not None:
                setattr(module, name, old / factors.to(old.device))


def _require_all_used(model: str, header: GgufHeader, network: Any) -> None:
    """Refuse a file with weights that the network does not use: without them it is another model."""
    used = (
        header.tensors
        if not network.config.tie_word_embeddings
        else [tensor for tensor in header.tensors if tensor.name != "output.weight"]
    )
    told = sum(t.count for t in used if not any(name in t.name for name in _UNUSED))
    has = sum(parameter.numel() for parameter in network.parameters())
    if told > has:
        raise ModelNotUsable(
            f"model {model!r} has {told:,} weights, and transformers has places for {has:,} in a "
            f"{type(network).__name__}: use a directory with the same model's safetensors weights"
        )


def _tokenizer(header: GgufHeader, tokenizer: Any) -> Any:
    """The tokenizer, with the same splitting as when its vocabulary was learned (such as digits one by one)."""
    if header.facts.get("tokenizer.ggml.pre") in _DIGITS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return tokenizer


@contextmanager
def _quick_reader() -> Iterator[None]:
    """Let transformers skip the vocabulary while it reads weights and settings; reading it takes most of the time."""
    found = gguf.GGUFReader
    gguf.GGUFReader = _QuickReader  # type: ignore[misc]
    try:
        yield
    finally:
        gguf.GGUFReader = found  # type: ignore[misc]


class _QuickReader(gguf.GGUFReader):
    """A reader of weights and settings that treats long lists as empty; the tokenizer is read separately."""

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
        data = memoryview(cast(Any, self.data))
        kind, count = struct.unpack_from("<IQ", data, orig_offs) if raw_type == GGUFValueType.ARRAY else (0, 0)
        if count <= _LONG:
            return super()._get_field_parts(orig_offs, raw_type)
        at = orig_offs + 12
        if kind != GGUFValueType.STRING:
            return 12 + count * self.gguf_scalar_to_np[GGUFValueType(kind)]().itemsize, [], [], []
        for _ in range(count):
            at += 8 + int.from_bytes(data[at : at + 8], "little")
        return at - orig_offs, [], [], []
