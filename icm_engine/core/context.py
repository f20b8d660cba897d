"""What fits a context, and what one evaluation of a whole set costs: arithmetic on numbers of tokens."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

BARS = 30  # of a histogram


@dataclass(frozen=True, slots=True)
class Distribution:
    """Sizes in one glance; `p95` is the smallest size that at least 95 % do not exceed."""

    min: int
    median: float
    mean: float
    p95: int
    max: int


@dataclass(frozen=True, slots=True)
class Bar:
    """How many sizes are between `low` and `high`, both included."""

    low: int
    high: int
    count: int


def distribution(sizes: Sequence[int]) -> Distribution:
    """Return the distribution of one or more sizes.

    >>> distribution([3, 1, 2, 10])
    Distribution(min=1, median=2.5, mean=4.0, p95=10, max=10)
    """
    ordered = sorted(sizes)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return Distribution(ordered[0], statistics.median(ordered), statistics.fmean(ordered), p95, ordered[-1])


def histogram(sizes: Sequence[int], bars: int = BARS) -> tuple[Bar, ...]:
    """Return bars of equal width, which together hold every size once; empty of nothing.

    >>> histogram([1, 1, 2, 4], bars=2)
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
    """Return how many of the sizes, taken in this order, go into the room.

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
    """Return the demonstrations and queries that the walk over all leave-one-out prompts of n examples encodes.

    Each block of n is n demonstrations for its two halves, and then the halves: n * log2(n) + n for a power of two.

    >>> leave_one_out_segments(128), 128 * 7 + 128
    (1024, 1024)
    """
    if n <= 1:
        return n
    return n + leave_one_out_segments(n // 2) + leave_one_out_segments(n - n // 2)
