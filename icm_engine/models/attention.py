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
    """Return (1, new, heads, width): every new token sees all cached ones, and of the new ones those its mask leaves.

    `query` is (1, heads, new, width), `key` and `value` are (1, key heads, cached + new, width), `attention_mask` is
    (1, 1, new, new) and added to the scores. Raises NotImplementedError for what a model may ask for beyond that.
    """
    if asked := sorted(name for name in ("softcap", "s_aux", "position_bias") if unknown.get(name) is not None):
        raise NotImplementedError(f"attention with {', '.join(asked)}")
    _, heads, new, width = query.shape
    groups = heads // key.shape[1]
    queries = query[0].reshape(key.shape[1], groups * new, width)  # heads that share keys, one under the other
    mask = attention_mask[0, 0].to(query.dtype).repeat(groups, 1)
    scale = width**-0.5 if scaling is None else scaling
    out = torch.empty_like(queries)
    room = queries.new_empty(2, min(BLOCK, groups * new), key.shape[2])
    for start in range(0, groups * new, BLOCK):
        rows = slice(start, min(start + BLOCK, groups * new))
        scores, weights = room[:, : rows.stop - start]
        for head in range(len(queries)):
            torch.addmm(scores, queries[head, rows], key[0, head].t(), beta=0, alpha=scale, out=scores)
            scores[:, -mask.shape[1] :] += mask[rows]
            torch.softmax(scores, -1, out=weights)
            torch.mm(weights, value[0, head], out=out[head, rows])
    return out.view(heads, new, width).transpose(0, 1).unsqueeze(0), None
