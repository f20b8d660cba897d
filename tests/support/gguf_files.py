"""Tiny GGUF files, written by the tests: a model with random weights, as llama.cpp's converter would store it."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

ALPHABET = list(bytes_to_unicode().values())
PIECES = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "\n", "\n\n", "  ", "ab",
          "▁ab", "▁True", "▁False", *(chr(code) for code in range(33, 127)), "▁", "▁T", "▁Tr", "▁Tru", "▁F", "▁Fa",
          "▁Fal", "▁Fals", "▁a"]  # fmt: skip


def llama(**settings: Any) -> LlamaForCausalLM:
    """A random Llama over bytes and the pair `12`."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            **{"vocab_size": 258, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
               "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
               "initializer_range": 0.1, "rms_norm_eps": 1e-5, "bos_token_id": 256, **settings}
        )
    ).eval()  # fmt: skip


def gemma3(**settings: Any) -> Gemma3ForCausalLM:
    """A random Gemma 3 with sliding windows, whose norms are not all alike."""
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(
        Gemma3TextConfig(
            **{"vocab_size": len(PIECES), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 7,
               "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 32, "sliding_window": 16,
               "max_position_embeddings": 2048, "initializer_range": 0.1, "query_pre_attn_scalar": 256, **settings}
        )
    )  # fmt: skip
    for name, weights in model.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(weights, std=0.3)
    return model.eval()


def write(
    path: Path, model: Any, kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    facts: Mapping[str, Any] | None = None, extra: Mapping[str, Any] | None = None, arch: str | None = None,
) -> Path:  # fmt: skip
    """Write a model and its tokenizer; `facts` come on top, texts and numbers, `extra` are tensors nobody expects."""
    own = "gemma3" if isinstance(model, Gemma3ForCausalLM) else "llama"
    writer = GGUFWriter(path, arch or own)
    _settings(writer, model.config)
    (_pieces if own == "gemma3" else _bytes)(writer)
    for key, value in (facts or {}).items():
        add: dict[type, Callable[[str, Any], None]] = {
            str: writer.add_string, int: writer.add_uint32, float: writer.add_float32,
        }  # fmt: skip
        add[type(value)](key, value)
    for name, weights in _tensors(own, model):
        stored = kind if weights.ndim == 2 else GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quantize(weights, stored), raw_dtype=stored)
    for name, weights in (extra or {}).items():
        writer.add_tensor(name, np.asarray(weights, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _settings(writer: GGUFWriter, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    if isinstance(config, Gemma3TextConfig):
        writer.add_sliding_window(config.sliding_window)
    else:
        writer.add_rope_dimension_count(config.head_dim)


def _bytes(writer: GGUFWriter) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([*ALPHABET, "<s>", "12"])
    writer.add_token_types([1] * len(ALPHABET) + [3, 1])
    writer.add_token_merges(["1 2"])
    writer.add_bos_token_id(256)


def _pieces(writer: GGUFWriter) -> None:
    kinds = [3, 3, 3, 3, *[6] * 256, 4, 4, 4, *[1] * (len(PIECES) - 263)]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(PIECES)
    writer.add_token_scores([-1000.0 if kind != 1 else -float(k) for k, kind in enumerate(kinds)])
    writer.add_token_types(kinds)
    for add, number in ((writer.add_pad_token_id, 0), (writer.add_eos_token_id, 1), (writer.add_bos_token_id, 2),
                        (writer.add_unk_token_id, 3)):  # fmt: skip
        add(number)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)


def _tensors(arch: str, model: Any) -> Any:
    names = gguf.get_tensor_name_map(
        gguf.MODEL_ARCH.GEMMA3 if arch == "gemma3" else gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers
    )
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        weights = tensor.float().numpy()
        base, _, end = name.rpartition(".")
        if arch == "gemma3" and "norm" in name:
            weights = weights + 1
        heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
        if arch == "llama" and (count := heads.get(base.rpartition(".")[2])):
            weights = _interleaved(weights, count)
        yield f"{names.get_name(base)}.{end}", np.ascontiguousarray(weights)


def _interleaved(weights: Any, heads: int) -> Any:
    """Rows as llama.cpp rotates them: neighbours, not halves."""
    rows = weights.shape[0] // heads // 2
    return weights.reshape(heads, 2, rows, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def llama3_factors(width: int) -> list[float]:
    """What Llama 3 divides its frequencies by: 8 for slow ones, 1 for fast ones, between them in between."""
    found = []
    for k in range(0, width, 2):
        length = 2 * math.pi * 10000 ** (k / width)
        smooth = min(1.0, max(0.0, (64 / length - 1) / 3))
        found.append(1 / ((1 - smooth) / 8 + smooth))
    return found
