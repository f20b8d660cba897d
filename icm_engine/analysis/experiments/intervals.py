"""Intervals of a mean over seeds and examples: both are drawn again, examples in whole consistency groups.

A cell's examples depend on each other within a group, and its seeds are few; so a resample draws seeds with
replacement, then groups, the same ones for every seed (all seeds label the same examples). With one seed the interval
is about examples alone, and says nothing of other seeds; with one group nothing is known of other groups, and the
interval is the widest there is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
LEVEL = 0.95

Right = Mapping[str, tuple[float, int]]  # by consistency group: how many are right (or their sum), of how many


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval; `values` has one mean for each seed."""

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def estimate(cells: Sequence[Right]) -> Estimate:
    """Return the mean over seeds of the share that is right, one mapping for each seed. Raises ValueError for none."""
    sums, counts = _table(cells)
    return _resampled(sums, counts, (0.0, 1.0))


def difference(one: Sequence[Right], other: Sequence[Right]) -> Estimate:
    """Return the mean of one minus the mean of the other, resampled together: seeds in pairs, the same groups.

    Where one has a single run and the other several, that run stands beside each of them. Raises ValueError where they
    have different examples.
    """
    many = max(len(one), len(other))
    first, second = _repeated(one, many), _repeated(other, many)
    sums, counts = _table(first)
    other_sums, other_counts = _table(second)
    if counts.shape != other_counts.shape or (counts != other_counts).any():
        raise ValueError("the two have different examples")
    return _resampled(sums - other_sums, counts, (-1.0, 1.0))


def _repeated(cells: Sequence[Right], many: int) -> Sequence[Right]:
    return list(cells) * many if len(cells) == 1 else cells[:many]


def _table(cells: Sequence[Right]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sums and counts, (seeds, groups); every seed has the same groups."""
    if not cells or not cells[0]:
        raise ValueError("there is nothing to take the mean of")
    groups = sorted(cells[0])
    if any(sorted(cell) != groups for cell in cells):
        raise ValueError("the seeds have different examples")
    sums = np.array([[cell[group][0] for group in groups] for cell in cells], dtype=float)
    counts = np.array([[cell[group][1] for group in groups] for cell in cells], dtype=float)
    return sums, counts


def _resampled(sums: npt.NDArray[np.float64], counts: npt.NDArray[np.float64], widest: tuple[float, float]) -> Estimate:
    values = sums.sum(axis=1) / counts.sum(axis=1)
    if sums.shape[1] < 2:
        return Estimate(float(values.mean()), *widest, tuple(map(float, values)))
    rng = np.random.default_rng(0)
    seeds, groups = sums.shape
    means = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        rows, columns = rng.integers(seeds, size=seeds), rng.integers(groups, size=groups)
        some, of = sums[np.ix_(rows, columns)], counts[np.ix_(rows, columns)]
        means[k] = (some.sum(axis=1) / of.sum(axis=1)).mean()
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(values.mean()), float(low), float(high), tuple(map(float, values)))
