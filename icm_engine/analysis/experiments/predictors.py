"""Without gold: which of the numbers that need none goes with accuracy, over the runs of the suites.

Spearman's rank correlation within each data set, and its mean over data sets: between data sets, differences in how
hard they are would be taken for success. Only unsupervised runs count.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from icm_engine.runs.events import Json

if TYPE_CHECKING:
    from icm_engine.analysis.experiments.outcomes import Outcome

Table = npt.NDArray[np.float64]  # (runs, 2): the number, and the accuracy
RESAMPLES = 500
SAME = 1e-9
FEWEST = 5  # runs of a data set, for a correlation to be taken at all


def agreement_of(one: "Outcome", outcomes: Sequence["Outcome"]) -> float | None:
    """Return how often other seeds of the same arm and data set give the labels of this run; None without others."""
    others = [
        o for o in outcomes
        if o is not one and o.reason is None and (o.cell.arm, o.cell.dataset) == (one.cell.arm, one.cell.dataset)
    ]  # fmt: skip
    shares = [fmean(o.labels.get(i) == y for i, y in one.labels.items()) for o in others if one.labels]
    return fmean(shares) if shares else None


def _balance(cell: Json) -> float:
    """How even the labels are: the share of the rarer one, a label nobody got counting as none."""
    counts = list(cell["balance"].values())
    return min(counts) / sum(counts) if len(counts) > 1 else 0.0


NUMBERS: dict[str, Callable[[Json], float | None]] = {
    "U": lambda cell: float(cell["utility"]),
    "agreement across seeds": lambda cell: cell["agreement"],
    "label mass": lambda cell: float(cell["label_mass"]),
    "balance": _balance,
    "margin": lambda cell: float(cell["margin"]),
    "inconsistent pairs, fewer": lambda cell: -float(cell["pairs"]),
}


def predictors(cells: Sequence[Json]) -> list[Json]:
    """Return, for every number, its mean rank correlation with accuracy and a 95 % interval; runs are resampled.

    A data set in which the number or the accuracy is always the same says nothing and is left out; `datasets` and
    `runs` say how many are in.
    """
    known = [c for c in cells if c.get("reason") is None and c["accuracy"] is not None and not c["supervised"]]
    return [_predictor(name, number, known) for name, number in NUMBERS.items()]


def _predictor(name: str, number: Callable[[Json], float | None], cells: Sequence[Json]) -> Json:
    by_dataset: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for cell in cells:
        if (value := number(cell)) is not None:
            by_dataset[cell["dataset"]].append((value, cell["accuracy"]))
    tables = [np.array(rows) for rows in by_dataset.values() if len(rows) >= FEWEST]
    tables = [table for table in tables if _varies(table)]
    head = {"number": name, "datasets": len(tables), "runs": sum(len(table) for table in tables)}
    if not tables:  # nothing varies, or there are too few runs
        return {**head, "correlation": None}
    rng = np.random.default_rng(0)
    means = [_mean_correlation([t[rng.integers(len(t), size=len(t))] for t in tables]) for _ in range(RESAMPLES)]
    some = [value for value in means if value is not None]
    low, high = np.quantile(some, [0.025, 0.975])
    return {**head, "correlation": _mean_correlation(tables), "low": float(low), "high": float(high)}


def _varies(table: Table) -> bool:
    """Whether both columns have different values, beyond what rounding makes of equal ones."""
    return bool((np.ptp(table, axis=0) > SAME).all())


def _mean_correlation(tables: Sequence[Table]) -> float | None:
    """The mean of the rank correlations there are; a resample may have none."""
    from scipy.stats import spearmanr  # a second to import, for which nobody else should wait

    found = [float(spearmanr(table[:, 0], table[:, 1]).statistic) for table in tables if _varies(table)]
    return fmean(found) if found else None
