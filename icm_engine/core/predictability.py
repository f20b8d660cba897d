"""The named forms of mutual predictability P(D), and how a form proposes and compares.

For example i, let z_ik = log p(y = k | x_i, D without i), renormalised over the K labels, and d_ik = z_ik less the mean
of z_i over the labels. With n_k of n examples labelled k, the centred form is

    P(D) = K/(K-1) * ( sum of d_i,y_i over i  -  centring * sum over k of (n_k / n) * sum of d_jk over j )

For two labels and centring 1 this is n times the covariance of the label (+1 or -1) and the log-odds: all one label is
worth exactly nothing, and so is a lean of the model to one label. For centring 0 it is the plain sum of log-odds. A
relative of batch calibration (Zhou et al. 2023, arXiv 2309.17249), inside the objective.

>>> sure, unsure = LabelLogProbs((math.log(0.8), math.log(0.2))), LabelLogProbs((math.log(0.5), math.log(0.5)))
>>> centred_log_odds([0, 1], [sure, unsure], 1.0) == math.log(4)  # log-odds 1.39 and 0, mean 0.69: 0.69 + 0.69
True
>>> centred_log_odds([0, 0], [sure, unsure], 1.0)
0.0
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from icm_engine.core.errors import SettingError
from icm_engine.core.scoring import LabelLogProbs

LEAST_CENTRED = 2  # other labelled examples: with fewer there is no mean to take off


def log_prob(scores: LabelLogProbs, k: int) -> float:
    """log p(y_i | x_i, D without i), renormalised over the labels; <= 0."""
    return scores.normalized[k]


def log_odds(scores: LabelLogProbs, k: int) -> float:
    """log p(y_i) - log p(not y_i); two labels only."""
    return scores.raw[k] - scores.raw[1 - k]


def mean(terms: Sequence[float]) -> float:
    """The mean; 0 of nothing, since an empty labeling predicts nothing."""
    return math.fsum(terms) / len(terms) if terms else 0.0


def centred_log_odds(labels: Sequence[int], scores: Sequence[LabelLogProbs], centring: float) -> float:
    """Return P(D) in its centred form; labels by their place among the task's, one row of scores for each."""
    if not labels:
        return 0.0
    width = len(scores[0].raw)
    rows = [against_mean(score) for score in scores]
    own = math.fsum(row[k] for row, k in zip(rows, labels, strict=True))
    counts = Counter(labels)
    by_chance = math.fsum(counts[k] / len(labels) * math.fsum(row[k] for row in rows) for k in sorted(counts))
    return width / (width - 1) * (own - centring * by_chance)


def against_mean(score: LabelLogProbs) -> tuple[float, ...]:
    """Return the log-probability of each label less their mean: what adds up to nothing over the labels."""
    middle = math.fsum(score.raw) / len(score.raw)
    return tuple(value - middle for value in score.raw)


@dataclass(frozen=True, slots=True)
class Predictability:
    """One form of P(D).

    `value` takes labels, scores and the strength of centring; `whose` says where it is from. `per_example`: chains and
    states that label different numbers of examples are compared by U per labelled example, else by U itself.
    """

    value: Callable[[Sequence[int], Sequence[LabelLogProbs], float], float]
    whose: str
    per_example: bool = False
    of_two_labels: bool = False
    centred: bool = False


def _of_terms(
    term: Callable[[LabelLogProbs, int], float], combine: Callable[[Sequence[float]], float]
) -> Callable[[Sequence[int], Sequence[LabelLogProbs], float], float]:
    """A form that puts one term for each labelled example together."""
    return lambda labels, scores, _: combine([term(score, k) for score, k in zip(scores, labels, strict=True)])


PREDICTABILITY = {
    "sum_log_prob": Predictability(_of_terms(log_prob, math.fsum), "the paper's formula", per_example=True),
    "mean_log_odds": Predictability(
        _of_terms(log_odds, mean), "the authors' released code; two labels only", of_two_labels=True
    ),
    "mean_log_prob": Predictability(_of_terms(log_prob, mean), "ours: the paper's term, free of the set-size effect"),
    "centred_log_odds": Predictability(
        centred_log_odds, "ours: a sum in which all one label is worth nothing", centred=True
    ),
}
OF_TWO_LABELS = frozenset(name for name, form in PREDICTABILITY.items() if form.of_two_labels)


def form_of(name: str) -> Predictability:
    """Return the form of this name. Raises SettingError."""
    if name not in PREDICTABILITY:
        raise SettingError(f"predictability {name!r} does not exist: use one of {', '.join(PREDICTABILITY)}")
    return PREDICTABILITY[name]


def form_for(form: str, labels: int) -> str:
    """Return this form of P, or for another number of labels than two one that is as free of the set's size."""
    return "mean_log_prob" if form in OF_TWO_LABELS and labels != 2 else form


def leaning(others: Iterable[LabelLogProbs]) -> tuple[float, ...]:
    """Return the mean of `against_mean` over examples, label by label; empty of fewer than `LEAST_CENTRED`."""
    rows = [against_mean(score) for score in others]
    return tuple(mean(column) for column in zip(*rows, strict=True)) if len(rows) >= LEAST_CENTRED else ()


def preferred(score: LabelLogProbs, lean: Sequence[float], centring: float) -> int:
    """Return the place of the label that stands out most against how the model leans; the first one of a tie."""
    return foremost(score, lean, centring)[0]


def foremost(score: LabelLogProbs, lean: Sequence[float], centring: float) -> tuple[int, ...]:
    """Return the places of all labels that stand out most: one, or those of an exact tie."""
    standing: Sequence[float] = score.raw
    if lean:
        standing = [own - centring * usual for own, usual in zip(against_mean(score), lean, strict=True)]
    top = max(standing)
    return tuple(place for place, value in enumerate(standing) if value == top)
