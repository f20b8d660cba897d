"""What each token of a chunk sees: itself and its ancestors in the tree, within the window of a layer that has one."""

from collections.abc import Sequence

import torch

from icm_engine.models.prefix_tree import Chunk


def positions(chunk: Chunk, depth: int) -> list[int]:
    """Return the distance of each token from the beginning of its path; `depth` tokens of it are in the cache."""
    found: list[int] = []
    for parent in chunk.parents:
        found.append(depth if parent < 0 else found[parent] + 1)
    return found


def own_mask(chunk: Chunk, like: torch.Tensor) -> torch.Tensor:
    """Return (1, 1, chunk, chunk), to be added to scores: what the chunk's tokens see of each other.

    Masks have the type, and are where, `like` is: a long one is made on the device, not sent to it.
    """
    return _additive(_ancestors(chunk.parents).to(like.device), like.dtype)


def path_mask(chunk: Chunk, depth: int, window: int | None, like: torch.Tensor) -> torch.Tensor:
    """Return (1, 1, chunk, depth + chunk): all of the cache and the ancestors, or the last `window` tokens of them."""
    sees = torch.nn.functional.pad(_ancestors(chunk.parents).to(like.device), (depth, 0), value=True)
    if window is not None:
        places = torch.tensor(positions(chunk, depth), device=like.device)
        seen = torch.cat((torch.arange(depth, device=like.device), places))
        sees &= places[:, None] - seen < window
    return _additive(sees, like.dtype)


def _ancestors(parents: Sequence[int]) -> torch.Tensor:
    """(chunk, chunk), bool: itself and the tokens in whose subtree it is; depth first, a subtree is a run of tokens."""
    ends = list(range(1, len(parents) + 1))
    for k in range(len(ends) - 1, -1, -1):
        if (parent := parents[k]) >= 0:
            ends[parent] = max(ends[parent], ends[k])
    place = torch.arange(len(ends))
    return (place[:, None] >= place) & (place[:, None] < torch.tensor(ends))


def _additive(sees: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    mask = torch.zeros(1, 1, *sees.shape, dtype=dtype, device=sees.device)
    return mask.masked_fill_(~sees, torch.finfo(dtype).min)
