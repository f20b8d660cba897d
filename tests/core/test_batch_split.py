"""The split of a data set into batches: groups never cut, every group once, as few and as even as can be, seeded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icm_engine.core.batching import split
from icm_engine.core.errors import SettingError


def fewest(order: list[int], counts: list[int], size: int) -> int:
    """Batches that a filling from the front needs, which is the least for this order."""
    batches, used = 0, size
    for group in order:
        if used + counts[group] > size:
            batches, used = batches + 1, 0
        used += counts[group]
    return batches


@given(st.lists(st.integers(1, 9), max_size=60), st.integers(9, 40), st.integers(0, 5))
def test_every_group_is_in_one_batch_and_no_batch_is_too_large(counts: list[int], size: int, seed: int) -> None:
    batches = split(counts, size, seed)
    order = [group for batch in batches for group in batch]
    assert sorted(order) == list(range(len(counts)))
    assert all(0 < sum(counts[group] for group in batch) <= size for batch in batches)
    assert len(batches) == fewest(order, counts, size)
    assert [list(batch) for batch in batches] == [list(batch) for batch in split(counts, size, seed)]


@given(st.integers(1, 400), st.integers(1, 50))
def test_batches_of_single_examples_differ_by_one_at_most(examples: int, size: int) -> None:
    sizes = [len(batch) for batch in split([1] * examples, size, 0)]
    assert sum(sizes) == examples
    assert len(sizes) == -(-examples // size)
    assert max(sizes) - min(sizes) <= 1


def test_by_hand() -> None:
    # 15 groups of 4 and a batch of 10: two groups go into each (8 of 10), so 8 batches; 15 = 7 * 2 + 1
    assert sorted(4 * len(batch) for batch in split([4] * 15, 10, 0)) == [4, *[8] * 7]
    # 5 groups of 3, two to a batch of 8: 2 + 2 + 1
    assert sorted(3 * len(batch) for batch in split([3] * 5, 8, 1)) == [3, 6, 6]
    # 257 examples and a batch of 256: not 256 and a single one, which no search can label, but halves
    assert sorted(map(len, split([1] * 257, 256, 0))) == [128, 129]
    assert split([], 4, 0) == []


def test_another_seed_is_another_split() -> None:
    first, second = (split([2] * 40, 16, seed) for seed in (0, 1))
    assert [list(batch) for batch in first] != [list(batch) for batch in second]
    assert list(first[0]) != sorted(first[0])


def test_a_group_that_no_batch_holds_is_refused_with_its_size() -> None:
    with pytest.raises(SettingError, match=r"8 examples cannot hold .* has 11 .*--batch-size 11 or more"):
        split([3, 11, 2], 8, 0)
    with pytest.raises(SettingError, match="batch size is 0"):
        split([1], 0, 0)
