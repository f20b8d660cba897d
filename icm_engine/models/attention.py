"""Attention on the CPU, the tree attention mask, and the key-value cache of one path of the tree.

All tokens of a chunk see everything before it, so masks cover the chunk alone. In bfloat16 torch's own attention uses
small products, and products of whole blocks run two to three times as fast (`python -m benchmarks.limit`); scores are
rounded to bfloat16, as in transformers' "eager" attention. In float32 torch's attention is called twice, for the cache
and for the chunk, and the results are combined by their log-sums of weights. The last layer computes attention only for
the tokens that are read, since nothing else of its output is used.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import DynamicCache, DynamicLayer, get_layer_types_and_kwargs

from icm_engine.models.prefix_tree import Chunk

NAME = "icm_path_attention"
OURS, TORCH = True, False  # which attention is faster
UNMEASURED = (TORCH, 640)  # a processor or dtype that nobody has measured
# By instruction set, dtype and head width: whose attention, and how many tokens per call, take the shortest time for a
# whole-set evaluation of 127 examples (`python -m benchmarks.kernels`). A width between two takes the nearer one.
FASTEST: Mapping[tuple[str, str], Mapping[int, tuple[bool, int]]] = {
    ("avx2", "float32"): {32: (OURS, 640), 64: (OURS, 640)},
    ("avx512", "float32"): {32: (OURS, 640), 64: (OURS, 640), 128: (OURS, 640)},
    ("avx512_bf16", "bfloat16"): {32: (OURS, 640), 64: (OURS, 640), 128: (OURS, 640)},
    ("amx", "bfloat16"): {64: (TORCH, 640)},  # measured before there was that command: ours was slower
}
BLOCK = 256  # rows of scores at a time: larger blocks leave the processor's cache
TREE_BLOCK = 128  # rows of a chunk at a time in float32; later keys are skipped


@dataclass(frozen=True, slots=True)
class ReadRows:
    """The tokens of a chunk, ascending, whose output of the last layer is read."""

    rows: torch.Tensor
    last_layer: int


_reading: ContextVar[ReadRows | None] = ContextVar("reading", default=None)


@contextmanager
def reading_rows(rows: torch.Tensor, layers: int) -> Iterator[None]:
    """Declare, within this context, which tokens are read from a model with that many layers."""
    token = _reading.set(ReadRows(rows, layers - 1))
    try:
        yield
    finally:
        _reading.reset(token)


def instruction_set(dtype: str) -> str:
    """Return the instructions of this processor that torch computes this dtype with: avx2, avx512, avx512_bf16, amx, or
    another that torch names.
    """
    widest = torch.backends.cpu.get_cpu_capability().lower()
    if dtype != "bfloat16" or widest != "avx512":
        return widest
    if torch.cpu._is_amx_tile_supported():
        return "amx"
    return "avx512_bf16" if torch.cpu._is_avx512_bf16_supported() else widest


def fastest(dtype: str, width: int) -> tuple[bool, int]:
    """Return whether this module's attention is the faster one here at this head width, and the tokens per call."""
    measured = FASTEST.get((instruction_set(dtype), dtype))
    return measured[min(measured, key=lambda known: abs(known - width))] if measured else UNMEASURED


def register() -> str:
    """Register the attention with transformers and return its name."""
    AttentionInterface.register(NAME, path_attention)
    return NAME


def path_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    dropout: float = 0.0,
    scaling: float | None = None,
    **unknown: Any,
) -> tuple[torch.Tensor, None]:
    """Return (1, new, heads, width): each new token attends to what its mask allows of the path up to itself.

    `query` is (1, heads, new, width), `key` and `value` are (1, key heads, path, width). `attention_mask` is (1, 1,
    new, last tokens of the path) and is added to their scores; everything before them is visible to all. In the last
    layer of `reading_rows`, tokens that are not read get zeros. Raises NotImplementedError for unsupported options of a
    model.
    """
    if asked := sorted(name for name in ("softcap", "s_aux", "position_bias") if unknown.get(name) is not None):
        raise NotImplementedError(f"attention with {', '.join(asked)}")
    mask = attention_mask.to(query.dtype)
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    attend = _in_products if query.dtype == torch.bfloat16 else _in_two_parts
    new, asked_for = query.shape[2], _reading.get()
    if asked_for is None or getattr(module, "layer_idx", None) != asked_for.last_layer:
        return attend(query, key, value, mask, scale, torch.arange(new), new).transpose(1, 2), None
    rows, out = asked_for.rows, torch.zeros_like(query)
    out[:, :, rows] = attend(query[:, :, rows], key, value, mask[:, :, rows], scale, rows, new)
    return out.transpose(1, 2), None


# Both take queries (1, heads, rows, width) at the ascending positions `rows` in a chunk of `new` tokens, with their
# rows of the mask, and return the same shape.


def _in_products(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scale: float,
    rows: torch.Tensor,
    new: int,
) -> torch.Tensor:
    """Products of large matrices, one head after the other."""
    heads, count, path = query.shape[1], query.shape[2], key.shape[2]
    sharing, open_to_all = heads // key.shape[1], path - mask.shape[3]
    out = torch.empty_like(query)
    room = query.new_empty(2, min(BLOCK, count) * path)
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        seen = path - new + int(rows[stop - 1]) + 1  # chunks are depth first: no token sees a later one
        scores, weights = room[:, : (stop - start) * seen].view(2, stop - start, seen)
        for head in range(heads):
            keys, values = key[0, head // sharing, :seen], value[0, head // sharing, :seen]
            torch.addmm(scores, query[0, head, start:stop], keys.t(), beta=0, alpha=scale, out=scores)
            scores[:, open_to_all:] += mask[0, 0, start:stop, : seen - open_to_all]
            torch.softmax(scores, -1, out=weights)
            torch.mm(weights, values, out=out[0, head, start:stop])
    return out


def _in_two_parts(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scale: float,
    rows: torch.Tensor,
    new: int,
) -> torch.Tensor:
    """torch's attention to the cache without a mask, and to the chunk; in one call if a window masks both."""
    sharing, cached = query.shape[1] // key.shape[1], key.shape[2] - new
    if sharing > 1:
        key, value = (states.repeat_interleave(sharing, 1) for states in (key, value))
    if mask.shape[3] > new:
        return _weighed(query, key, value, scale, mask)[0]
    parts, own_key, own_value = [], key[:, :, cached:], value[:, :, cached:]
    for start in range(0, len(rows), TREE_BLOCK):
        some = slice(start, start + TREE_BLOCK)
        seen = int(rows[some][-1]) + 1
        masked = mask[:, :, some, :seen]
        parts.append(_weighed(query[:, :, some], own_key[:, :, :seen], own_value[:, :, :seen], scale, masked))
    own, own_weight = (torch.cat(part, 2) for part in zip(*parts, strict=True))
    if not cached:
        return own
    before, weight = _weighed(query, key[:, :, :cached], value[:, :, :cached], scale)
    return torch.lerp(before, own, torch.sigmoid(own_weight - weight).unsqueeze(-1))


def _weighed(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention to these keys alone, and the log-sum of its weights: (1, heads, rows, width), (1, heads, rows)."""
    found: tuple[torch.Tensor, torch.Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, attn_mask=mask, scale=scale
    )
    return found


def positions(chunk: Chunk, depth: int) -> list[int]:
    """Return each token's distance from the beginning of its path; `depth` tokens of it are in the cache."""
    found: list[int] = []
    for parent in chunk.parents:
        found.append(depth if parent < 0 else found[parent] + 1)
    return found


def own_mask(chunk: Chunk, like: torch.Tensor) -> torch.Tensor:
    """Return the mask (1, 1, chunk, chunk), added to scores: which tokens of the chunk see each other.

    Dtype and device are those of `like`; a long mask is built on the device rather than copied to it.
    """
    return _additive(_ancestors(chunk.parents).to(like.device), like.dtype)


def path_mask(chunk: Chunk, depth: int, window: int | None, like: torch.Tensor) -> torch.Tensor:
    """Return the mask (1, 1, chunk, depth + chunk): cache and ancestors, or the last `window` tokens of them."""
    sees = torch.nn.functional.pad(_ancestors(chunk.parents).to(like.device), (depth, 0), value=True)
    if window is not None:
        places = torch.tensor(positions(chunk, depth), device=like.device)
        seen = torch.cat((torch.arange(depth, device=like.device), places))
        sees &= places[:, None] - seen < window
    return _additive(sees, like.dtype)


def _ancestors(parents: Sequence[int]) -> torch.Tensor:
    """(chunk, chunk), bool: a token and its ancestors. In depth-first order a subtree is a contiguous run of tokens."""
    ends = list(range(1, len(parents) + 1))
    for k in range(len(ends) - 1, -1, -1):
        if (parent := parents[k]) >= 0:
            ends[parent] = max(ends[parent], ends[k])
    place = torch.arange(len(ends))
    return (place[:, None] >= place) & (place[:, None] < torch.tensor(ends))


def _additive(sees: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    mask = torch.zeros(1, 1, *sees.shape, dtype=dtype, device=sees.device)
    return mask.masked_fill_(~sees, torch.finfo(dtype).min)


FULL, SLIDING = "full_attention", "sliding_attention"


class PathLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types here
    """A layer's keys and values, (1, heads, tokens, width), as views of preallocated memory: growing copies nothing."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self._store: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the new tokens to the cached ones and return both. Raises RuntimeError past the allocated room."""
        if self._store is None:
            self.lazy_initialization(key_states, value_states)
            self._store = _empty(key_states, self.room), _empty(value_states, self.room)
        start = self.get_seq_length()
        stop = start + key_states.shape[-2]
        self._store[0][:, :, start:stop] = key_states
        self._store[1][:, :, start:stop] = value_states
        self.keys, self.values = (kept[:, :, :stop] for kept in self._store)
        return self.keys, self.values


def _empty(states: torch.Tensor, room: int) -> torch.Tensor:
    return states.new_empty(*states.shape[:2], room, states.shape[3])


def windows(config: Any) -> dict[str, int | None]:
    """Return the window of each type of layer, None for full attention. Raises ValueError for other types.

    A windowed layer keeps its whole path here and a mask limits what it sees; its own cache would forget tokens that a
    sibling needs.
    """
    types, settings = get_layer_types_and_kwargs(config.get_text_config(decoder=True))
    if odd := sorted(set(types) - {FULL, SLIDING}):
        raise ValueError(f"its cache has layers that cannot be cropped: {', '.join(odd)}")
    return {kind: given.get("sliding_window") for kind, given in zip(types, settings, strict=True)}


def path_cache(config: Any, room: int) -> DynamicCache:
    """Return an empty cache for a path of up to `room` tokens."""
    cache = DynamicCache(config=config)
    cache.layers = [PathLayer(room) for _ in cache.layers]
    return cache
