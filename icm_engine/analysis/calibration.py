"""Calibration: is a label with a probability of 80 % right in 80 % of cases, and does its margin know gold?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icm_engine.core.labeling import Label
from icm_engine.core.scoring import LabelLogProbs

BINS = 10  # of equal width


@dataclass(frozen=True, slots=True)
class Bin:
    """The labels whose probability is from `low` up to `high`: how many, their mean probability, the share right."""

    low: float
    high: float
    count: int
    probability: float
    right: float

    @property
    def gap(self) -> float:
        return abs(self.probability - self.right)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The bins that have labels, and the expected calibration error: the mean gap, each bin by its labels."""

    bins: tuple[Bin, ...]
    error: float | None

    @property
    def count(self) -> int:
        return sum(one.count for one in self.bins)


def calibration(
    labels: Sequence[Label],
    scores: Mapping[int, LabelLogProbs],
    given: Mapping[int, Label],
    gold: Mapping[int, Label],
    counted: Sequence[int],
) -> Calibration:
    """Return how well p of the given label, renormalised over the labels, tells whether gold agrees."""
    judged = [
        (math.exp(scores[i].normalized[labels.index(given[i])]), given[i] == gold[i])
        for i in _known(scores, gold, counted)
        if i in given
    ]
    return reliability(judged)


def reliability(judged: Sequence[tuple[float, bool]]) -> Calibration:
    """Return the calibration of probabilities, each with whether it was right.

    >>> found = reliability([(0.9, True), (0.95, False), (0.5, True)])
    >>> [(one.low, one.count, one.right) for one in found.bins]  # gaps 0.5 of one label, 0.425 of two
    [(0.5, 1, 1.0), (0.9, 2, 0.5)]
    >>> round(found.error, 4)  # (1 * 0.5 + 2 * 0.425) / 3
    0.45
    """
    bins = []
    for k in range(BINS):
        inside = [(p, right) for p, right in judged if min(BINS - 1, int(p * BINS)) == k]
        if inside:
            p, right = (math.fsum(column) / len(inside) for column in zip(*inside, strict=True))
            bins.append(Bin(k / BINS, (k + 1) / BINS, len(inside), p, right))
    error = math.fsum(one.count * one.gap for one in bins) / len(judged) if judged else None
    return Calibration(tuple(bins), error)


def margin(scores: LabelLogProbs, k: int) -> float:
    """Return log p of label k minus log p of all the others together: the log-odds, for any number of labels."""
    others = [value for j, value in enumerate(scores.raw) if j != k]
    top = max(others)
    return scores.raw[k] - top - math.log(math.fsum(math.exp(value - top) for value in others))


def area_under_curve(
    labels: Sequence[Label],
    true_label: Label,
    scores: Mapping[int, LabelLogProbs],
    gold: Mapping[int, Label],
    counted: Sequence[int],
) -> float | None:
    """Return the AUROC of the margin of the true label against gold; None where gold has one side only.

    The labels that were given play no part: it asks whether the model's own order of the examples is gold's.
    """
    places = _known(scores, gold, counted)
    truth = [gold[i] == true_label for i in places]
    if len(set(truth)) < 2:
        return None
    from sklearn.metrics import roc_auc_score

    k = labels.index(true_label)
    return float(roc_auc_score(truth, [margin(scores[i], k) for i in places]))


def _known(scores: Mapping[int, LabelLogProbs], gold: Mapping[int, Label], counted: Sequence[int]) -> list[int]:
    return [i for i in counted if i in scores and i in gold]
