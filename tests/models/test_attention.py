"""Attention over a path and the masks that go with it, against torch's own."""

import pytest
import torch
from transformers.cache_utils import DynamicCache
from transformers.models.llama import LlamaConfig

from icm_engine.models import attention
from icm_engine.models.attention import (
    BLOCK,
    TREE_BLOCK,
    PathLayer,
    own_mask,
    path_attention,
    path_cache,
    path_mask,
    positions,
    reading_rows,
)
from icm_engine.models.prefix_tree import Chunk

# two branches of two tokens on one, after three cached ones:  (c c c) a < b b, a < d d
TREE = Chunk((1, 2, 3, 4, 5), (-1, 0, 1, 0, 3), ())
LIKE = torch.empty(0)
SEEN = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 1, 0], [1, 0, 0, 1, 1]]


def seen(mask: torch.Tensor) -> list[list[int]]:
    return [[int(value == 0) for value in row] for row in mask[0, 0].tolist()]


def test_a_token_sees_itself_and_its_ancestors() -> None:
    assert positions(TREE, 3) == [3, 4, 5, 4, 5]
    assert seen(own_mask(TREE, LIKE)) == SEEN
    assert seen(path_mask(TREE, 3, None, LIKE)) == [[1, 1, 1, *row] for row in SEEN]


def test_a_window_counts_along_the_path_and_not_along_the_chunk() -> None:
    # window 3: position 3 sees positions 1 to 3, position 5 of the second branch sees 3 (a), 4 and 5 (its own)
    assert seen(path_mask(TREE, 3, 3, LIKE)) == [
        [0, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 0, 0, 1, 0],
        [0, 0, 0, 1, 0, 0, 1, 1],
    ]


@pytest.fixture(params=["in products", "in two parts"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to attend, in float32, where they can be compared to the last digits."""
    if request.param == "in products":
        monkeypatch.setattr(attention, "_in_two_parts", attention._in_products)
    return str(request.param)


def layer(number: int) -> torch.nn.Module:
    made = torch.nn.Module()
    made.layer_idx = number  # type: ignore[assignment]
    return made


@pytest.mark.parametrize("cached", [0, 7])
@pytest.mark.parametrize("new", [5, TREE_BLOCK + 5, BLOCK + 5])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_path_attention_equals_that_of_torch(way: str, new: int, key_heads: int, cached: int) -> None:
    torch.manual_seed(0)
    path = new + cached
    query, key, value = (torch.randn(1, heads, n, 16) for heads, n in ((4, new), (key_heads, path), (key_heads, path)))
    chunk = Chunk((0,) * new, tuple(range(-1, new - 1)), ())
    wanted = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, path_mask(chunk, cached, None, LIKE), scale=0.3, enable_gqa=True
    ).transpose(1, 2)
    rows = torch.tensor([1, 2, new - 1])
    for mask in (own_mask(chunk, LIKE), path_mask(chunk, cached, None, LIKE)):
        found, _ = path_attention(layer(2), query, key, value, mask, scaling=0.3)
        torch.testing.assert_close(found, wanted)
        with reading_rows(rows, layers=3):
            read, _ = path_attention(layer(2), query, key, value, mask, scaling=0.3)
            inner, _ = path_attention(layer(1), query, key, value, mask, scaling=0.3)
        torch.testing.assert_close(read[:, rows], wanted[:, rows])
        assert read.count_nonzero() == found[:, rows].count_nonzero()  # nothing else was computed
        torch.testing.assert_close(inner, wanted)


def test_a_tree_under_a_window_is_attended_to_at_once(way: str) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(1, 2, 5, 8), torch.randn(1, 2, 8, 8), torch.randn(1, 2, 8, 8)
    mask = path_mask(TREE, 3, 3, LIKE)
    wanted = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2)
    torch.testing.assert_close(path_attention(layer(0), query, key, value, mask)[0], wanted)


def test_what_it_cannot_do_is_refused() -> None:
    states = torch.zeros(1, 1, 1, 4)
    with pytest.raises(NotImplementedError, match="softcap"):
        path_attention(torch.nn.Module(), states, states, states, torch.zeros(1, 1, 1, 1), softcap=50.0, s_aux=None)


def test_the_cache_keeps_its_room_and_takes_back_what_was_cropped() -> None:
    cache = path_cache(LlamaConfig(num_hidden_layers=2), room=8)
    assert [type(layer) for layer in cache.layers] == [PathLayer, PathLayer]
    plain, states = DynamicCache(), torch.arange(16.0).reshape(1, 1, 8, 2)
    for each in (cache, plain):
        each.update(states[:, :, :5], -states[:, :, :5], 0)
        each.crop(-3)
        each.update(states[:, :, 5:], -states[:, :, 5:], 0)
    assert cache.layers[0].keys.tolist() == plain.layers[0].keys.tolist()
    assert cache.layers[0].values.tolist() == plain.layers[0].values.tolist()
    assert cache.layers[0].keys.untyped_storage().nbytes() == 8 * 2 * 4  # tokens, width, float32: no copy was made
    with pytest.raises(RuntimeError):
        cache.update(states[:, :, :4], states[:, :, :4], 0)  # 5 + 4 tokens do not fit
