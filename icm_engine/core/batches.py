"""A data set that is larger than the context, cut into batches: arithmetic on the sizes of its consistency groups.

Each batch is labelled by a search of its own (the paper's are of 256 examples). Groups are never cut, so that every
constraint, and a pair with its twin, is inside one batch.
"""

from __future__ import annotations  # array[int] is no name before Python 3.12

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from icm_engine.core.draws import random_of, shuffled
from icm_engine.core.errors import SettingError

SPLIT = -1  # in the place of a step's number: a search draws from 0 on, so a split shares no draw with it


@dataclass(frozen=True, slots=True)
class Part:
    """One batch: the `number`-th, from 1, of the `of` into which `split` cuts a data set by this size and seed."""

    number: int
    of: int
    size: int
    seed: int


def split(counts: Sequence[int], size: int, seed: int) -> list[array[int]]:
    """Return the groups of each batch, by their place in `counts`; every group is in exactly one.

    `counts` are the examples of each group. The groups are shuffled by the seed and dealt out in that order: into as
    few batches of at most `size` examples as the order allows, and these as even as whole groups allow, since a last
    batch of a few leftover examples could not be labelled by a search. Raises SettingError for a larger group.

    >>> [len(batch) for batch in split([1] * 10, size=4, seed=0)]
    [3, 3, 4]
    """
    if size < 1:
        raise SettingError(f"batch size is {size}: use 1 or more")
    if counts and (largest := max(counts)) > size:
        raise SettingError(
            f"a batch of {size:,} examples cannot hold the largest consistency group, which has {largest:,} and is "
            f"never cut: use a larger batch size (--batch-size {largest} or more)"
        )
    order = shuffled(random_of(seed, SPLIT), len(counts))
    starts = _latest_fill(order, counts, size)
    return _even(order, counts, size, starts)


def _latest_fill(order: Sequence[int], counts: Sequence[int], size: int) -> list[int]:
    """Where batches begin that are filled from the end: no order needs fewer, and none can begin earlier than here."""
    starts, used = [len(order)], size
    for place in reversed(range(len(order))):
        if used + counts[order[place]] > size:
            starts.append(place)
            used = 0
        starts[-1], used = place, used + counts[order[place]]
    return starts[:0:-1]


def _even(order: Sequence[int], counts: Sequence[int], size: int, starts: Sequence[int]) -> list[array[int]]:
    """The batches, each ended where an even share would end it, if the groups left over still fit the batches left."""
    total, of, place, dealt = sum(counts), len(starts), 0, 0
    batches = []
    for number in range(1, of + 1):
        least = starts[number] if number < of else len(order)  # a batch that ends before here leaves too much
        most, share, begun = len(order) - (of - number), number * total, dealt
        batch = array("L")
        while place < most:
            more = dealt + counts[order[place]]
            if batch and (more - begun > size or (place >= least and more * of > share)):
                break
            batch.append(order[place])
            place, dealt = place + 1, more
        batches.append(batch)
    return batches
