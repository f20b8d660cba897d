"""Which examples go together: run versions, whole groups under a limit, batches, and what fits a context.

A run keeps the version it was made with through resume, fork, replay and verify. New runs get the newest.

Version 1:
- a limit takes the longest prefix of whole groups;
- texts are tokenised one by one, each as if at the beginning of a text;
- log-probabilities come from logits in the model's own precision;
- the memory of unrepairable pairs is cleared when a step is accepted.

Version 2:
- a limit takes whole groups wherever they stand in the file (`Cut`);
- texts are tokenised so that the token ids of a prompt decode to its text;
- the last projection and the softmax are computed in float32;
- pairs that no repair helped since the labels last changed are remembered after an accepted step too;
- a step records the labels of an exact tie.

Each batch is labelled by a search of its own (the paper's have 256 examples). Groups are never cut, so every
constraint, and a pair with its twin, lies within one batch.
"""

from __future__ import annotations

import math
import statistics
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from icm_engine.core.errors import SettingError
from icm_engine.core.rng import random_of, shuffled

FIRST, NEWEST = 1, 2


@dataclass(frozen=True, slots=True)
class Cut:
    """Which examples of a data set a run takes: at most `limit` of them (None: all), in whole groups.

    `rule` is the run's own consistency rule (None: the data set's). Under a rule without constraints each row is a
    group.
    """

    limit: int | None = None
    rule: str | None = None
    version: int = NEWEST


def fitting_groups(sizes: Iterable[tuple[str, int]], limit: int) -> set[str]:
    """Return the groups that fit a limit, tried in the given order.

    >>> sorted(fitting_groups([("a", 2), ("b", 3), ("c", 2), ("d", 1)], 5))
    ['a', 'b']
    >>> sorted(fitting_groups([("a", 2), ("b", 3), ("c", 2), ("d", 1)], 4))
    ['a', 'c']
    """
    taken, left = set[str](), limit
    for group, size in sizes:
        if size <= left:
            taken.add(group)
            left -= size
        if not left:
            break
    return taken


SPLIT = -1  # in place of a step number; steps count from 0, so no draw is shared with a search


@dataclass(frozen=True, slots=True)
class BatchPart:
    """One batch: number `number` of `of`, counted from 1, of `split` with this size and seed."""

    number: int
    of: int
    size: int
    seed: int


def split(counts: Sequence[int], size: int, seed: int) -> list[array[int]]:
    """Return the groups of each batch as indices into `counts`; every group is in exactly one batch.

    `counts` are the examples per group. The groups are shuffled by the seed and dealt out in that order: into as few
    batches of at most `size` examples as that order allows, and as even as whole groups allow, since a search could not
    label a last batch of a few leftover examples. Raises SettingError for a group larger than `size`.

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
    """First groups of batches filled from the end: the fewest batches, each starting as late as possible."""
    starts, used = [len(order)], size
    for place in reversed(range(len(order))):
        if used + counts[order[place]] > size:
            starts.append(place)
            used = 0
        starts[-1], used = place, used + counts[order[place]]
    return starts[:0:-1]


def _even(order: Sequence[int], counts: Sequence[int], size: int, starts: Sequence[int]) -> list[array[int]]:
    """Batches of about equal size, as far as the remaining groups still fit the remaining batches."""
    total, of, place, dealt = sum(counts), len(starts), 0, 0
    batches = []
    for number in range(1, of + 1):
        least = starts[number] if number < of else len(order)  # a batch that ends earlier leaves too much
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


BARS = 30  # of a histogram


@dataclass(frozen=True, slots=True)
class Distribution:
    """Summary of sizes; `p95` is the smallest size that at least 95 % do not exceed."""

    min: int
    median: float
    mean: float
    p95: int
    max: int


@dataclass(frozen=True, slots=True)
class Bar:
    """The number of sizes from `low` to `high`, both included."""

    low: int
    high: int
    count: int


def token_distribution(sizes: Sequence[int]) -> Distribution:
    """Return the distribution of one or more sizes.

    >>> token_distribution([3, 1, 2, 10])
    Distribution(min=1, median=2.5, mean=4.0, p95=10, max=10)
    """
    ordered = sorted(sizes)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return Distribution(ordered[0], statistics.median(ordered), statistics.fmean(ordered), p95, ordered[-1])


def token_histogram(sizes: Sequence[int], bars: int = BARS) -> tuple[Bar, ...]:
    """Return bars of equal width that together contain every size once; empty for no sizes.

    >>> token_histogram([1, 1, 2, 4], bars=2)
    (Bar(low=1, high=2, count=3), Bar(low=3, high=4, count=1))
    """
    if not sizes:
        return ()
    low, high = min(sizes), max(sizes)
    width = math.ceil((high - low + 1) / bars)
    counts = [0] * math.ceil((high - low + 1) / width)
    for size in sizes:
        counts[(size - low) // width] += 1
    return tuple(Bar(low + k * width, low + (k + 1) * width - 1, count) for k, count in enumerate(counts))


def fitting(sizes: Iterable[int], room: int) -> int:
    """Return how many of the sizes, taken in this order, fit into the room.

    >>> fitting([40, 30, 20], room=75)
    2
    """
    used = count = 0
    for size in sizes:
        used += size
        if used > room:
            break
        count += 1
    return count


@lru_cache(maxsize=4096)
def leave_one_out_segments(n: int) -> int:
    """Return the number of segments (demonstrations and queries) encoded for all leave-one-out prompts of n examples.

    A block of n costs n demonstrations for its two halves, plus the halves: n * log2(n) + n for a power of two.

    >>> leave_one_out_segments(128), 128 * 7 + 128
    (1024, 1024)
    """
    if n <= 1:
        return n
    return n + leave_one_out_segments(n // 2) + leave_one_out_segments(n - n // 2)
