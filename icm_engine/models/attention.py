"""Attention of many new tokens over a long cache, as products of matrices, in products of large matrices.

torch's own attention on the CPU keeps its products small; whole blocks of bfloat16 products run two to three times as
fast (`python -m benchmarks.limit`). Scores are rounded to bfloat16, as in transformers' own "eager" attention.
"""

from typing import Any

import torch
from transformers import AttentionInterface

NAME = "icm_path_attention"
BLOCK = 256  # rows of scores at a time: larger ones leave the processor's cache, and new pages cost more than products


def register() -> str:
    """Make the attention known to transformers and return its name."""
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
    """Return (1, new, heads, width): a new token sees what its mask leaves of the path up to itself.

    `query` is (1, heads, new, width), `key` and `value` are (1, key heads, path, width), `attention_mask` is
    (1, 1, new, last tokens of the path) and added to the scores of these; what comes before them is seen by all. Raises
    NotImplementedError for what a model may ask for beyond that.
    """
    if asked := sorted(name for name in ("softcap", "s_aux", "position_bias") if unknown.get(name) is not None):
        raise NotImplementedError(f"attention with {', '.join(asked)}")
    _, heads, new, width = query.shape
    path, sharing = key.shape[2], heads // key.shape[1]
    mask = attention_mask[0, 0].to(query.dtype)
    open_to_all = path - mask.shape[1]
    scale = width**-0.5 if scaling is None else scaling
    out = torch.empty_like(query[0])
    room = query.new_empty(2, min(BLOCK, new) * path)
    for start in range(0, new, BLOCK):
        stop = min(start + BLOCK, new)
        seen = path - new + stop  # a chunk is depth first: nobody sees what comes later in it
        scores, weights = room[:, : (stop - start) * seen].view(2, stop - start, seen)
        for head in range(heads):
            keys, values = key[0, head // sharing, :seen], value[0, head // sharing, :seen]
            torch.addmm(scores, query[0, head, start:stop], keys.t(), beta=0, alpha=scale, out=scores)
            scores[:, open_to_all:] += mask[start:stop, : seen - open_to_all]
            torch.softmax(scores, -1, out=weights)
            torch.mm(weights, values, out=out[head, start:stop])
    return out.transpose(0, 1).unsqueeze(0), None
