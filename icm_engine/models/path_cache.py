"""A key-value cache for one path of the prefix tree: its room is taken once, and tokens are written in place."""

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, get_layer_types_and_kwargs

FULL, SLIDING = "full_attention", "sliding_attention"


class PathLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types here
    """A layer's keys and values, (1, heads, tokens, width), as views of a fixed room: growing copies nothing."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self._store: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new tokens behind the cached ones and return both. Raises RuntimeError past the room."""
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
    """Return the window of each type of layer, None for those that see everything. Raises ValueError for other types.

    A layer with a window keeps its whole path here, and a mask says what it sees: its own cache forgets what a
    sibling would need.
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
