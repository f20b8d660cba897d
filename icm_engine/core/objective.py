"""The utility of a labeling, U(D) = alpha * P(D) - I(D), with the named forms of mutual predictability P.

For example i, let z_ik = log p(y = k | x_i, D without i), renormalised over the K labels, and d_ik = z_ik minus the
mean of z_i over the labels. With n_k of n examples labelled k, the centred form is

    P(D) = K/(K-1) * ( sum of d_i,y_i over i  -  centring * sum over k of (n_k / n) * sum of d_jk over j )

For two labels and centring 1 this is n times the covariance of the label (+1 or -1) and the log-odds: constant labels
are worth exactly 0, and a bias of the model towards one label changes nothing. For centring 0 it is the plain sum of
log-odds. It is related to batch calibration (Zhou et al. 2023, arXiv 2309.17249), moved inside the objective.

>>> sure, unsure = LabelLogProbs((math.log(0.8), math.log(0.2))), LabelLogProbs((math.log(0.5), math.log(0.5)))
>>> centred_log_odds([0, 1], [sure, unsure], 1.0) == math.log(4)  # log-odds 1.39 and 0, mean 0.69: 0.69 + 0.69
True
>>> centred_log_odds([0, 0], [sure, unsure], 1.0)
0.0
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from icm_engine.core.consistency import Rule
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Label, Labeling, Task
from icm_engine.core.prompting import (
    Prompt,
    Segment,
    demonstration,
    leave_one_out_prompt,
    leave_one_out_prompts,
    query_prompt,
    render,
)
from icm_engine.core.scoring import KeepsPrefix, LabelLogProbs, Scorer

LEAST_CENTRED = 2  # other labelled examples needed for a mean


def log_prob(scores: LabelLogProbs, k: int) -> float:
    """log p(y_i | x_i, D without i), renormalised over the labels; <= 0."""
    return scores.normalized[k]


def log_odds(scores: LabelLogProbs, k: int) -> float:
    """log p(y_i) - log p(not y_i); two labels only."""
    return scores.raw[k] - scores.raw[1 - k]


def mean(terms: Sequence[float]) -> float:
    """The mean; 0 for no values, since an empty labeling predicts nothing."""
    return math.fsum(terms) / len(terms) if terms else 0.0


def centred_log_odds(labels: Sequence[int], scores: Sequence[LabelLogProbs], centring: float) -> float:
    """Return the centred P(D); labels are indices into the task's labels, with one row of scores each."""
    if not labels:
        return 0.0
    width = len(scores[0].raw)
    rows = [against_mean(score) for score in scores]
    own = math.fsum(row[k] for row, k in zip(rows, labels, strict=True))
    counts = Counter(labels)
    by_chance = math.fsum(counts[k] / len(labels) * math.fsum(row[k] for row in rows) for k in sorted(counts))
    return width / (width - 1) * (own - centring * by_chance)


def against_mean(score: LabelLogProbs) -> tuple[float, ...]:
    """Return each label's log-probability minus their mean; the values sum to 0 over the labels."""
    middle = math.fsum(score.raw) / len(score.raw)
    return tuple(value - middle for value in score.raw)


@dataclass(frozen=True, slots=True)
class Predictability:
    """One form of P(D).

    `value` takes labels, scores and the strength of centring. P is also the sum over the examples of their `weights`
    (label, examples with each label, strength of centring) times the `row` of their scores. `whose` names its origin.
    With `per_example`, chains and states with different numbers of labels are compared by U per labelled example, else
    by U itself.
    """

    value: Callable[[Sequence[int], Sequence[LabelLogProbs], float], float]
    row: Callable[[LabelLogProbs], Sequence[float]]
    weights: Callable[[int, Sequence[int], float], tuple[float, ...]]
    whose: str
    per_example: bool = False
    of_two_labels: bool = False
    centred: bool = False


def _of_terms(
    term: Callable[[LabelLogProbs, int], float], combine: Callable[[Sequence[float]], float]
) -> Callable[[Sequence[int], Sequence[LabelLogProbs], float], float]:
    """A form that combines one term per labelled example."""
    return lambda labels, scores, _: combine([term(score, k) for score, k in zip(scores, labels, strict=True)])


def _own(label: int, counts: Sequence[int], _: float) -> tuple[float, ...]:
    """Weights of a sum of the labels' own values."""
    return tuple(float(k == label) for k in range(len(counts)))


def _own_mean(label: int, counts: Sequence[int], _: float) -> tuple[float, ...]:
    """Weights of their mean."""
    return tuple((k == label) / sum(counts) for k in range(len(counts)))


def _against_chance(label: int, counts: Sequence[int], centring: float) -> tuple[float, ...]:
    """Weights of the centred form."""
    scale, count = len(counts) / (len(counts) - 1), sum(counts)
    return tuple(scale * ((k == label) - centring * counts[k] / count) for k in range(len(counts)))


def _both_log_odds(score: LabelLogProbs) -> tuple[float, float]:
    return log_odds(score, 0), log_odds(score, 1)


PREDICTABILITY = {
    "sum_log_prob": Predictability(
        _of_terms(log_prob, math.fsum),
        lambda score: score.normalized,
        _own,
        "the paper's formula",
        per_example=True,
    ),
    "mean_log_odds": Predictability(
        _of_terms(log_odds, mean),
        _both_log_odds,
        _own_mean,
        "the authors' released code; two labels only",
        of_two_labels=True,
    ),
    "mean_log_prob": Predictability(
        _of_terms(log_prob, mean),
        lambda score: score.normalized,
        _own_mean,
        "ours: the paper's term, free of the set-size effect",
    ),
    "centred_log_odds": Predictability(
        centred_log_odds,
        against_mean,
        _against_chance,
        "ours: a sum in which constant labels are worth 0",
        centred=True,
    ),
}
OF_TWO_LABELS = frozenset(name for name, form in PREDICTABILITY.items() if form.of_two_labels)


def form_of(name: str) -> Predictability:
    """Return the form of this name. Raises SettingError."""
    if name not in PREDICTABILITY:
        raise SettingError(f"predictability {name!r} does not exist: use one of {', '.join(PREDICTABILITY)}")
    return PREDICTABILITY[name]


def form_for(form: str, labels: int) -> str:
    """Return this form of P, or, if it only supports two labels and there are more, `mean_log_prob`."""
    return "mean_log_prob" if form in OF_TWO_LABELS and labels != 2 else form


def leaning(others: Iterable[LabelLogProbs]) -> tuple[float, ...]:
    """Return the mean of `against_mean` over examples; empty for fewer than `LEAST_CENTRED` of them."""
    rows = [against_mean(score) for score in others]
    return tuple(mean(column) for column in zip(*rows, strict=True)) if len(rows) >= LEAST_CENTRED else ()


def preferred(score: LabelLogProbs, lean: Sequence[float], centring: float) -> int:
    """Return the index of the label that stands out most against the model's mean; the first of a tie."""
    return foremost(score, lean, centring)[0]


def foremost(score: LabelLogProbs, lean: Sequence[float], centring: float) -> tuple[int, ...]:
    """Return the indices of all labels that stand out most: one, or those of an exact tie."""
    standing: Sequence[float] = score.raw
    if lean:
        standing = [own - centring * usual for own, usual in zip(against_mean(score), lean, strict=True)]
    top = max(standing)
    return tuple(place for place, value in enumerate(standing) if value == top)


@dataclass(frozen=True)
class Evaluation:
    """U of one labeling and its parts: `weighted_predictability` is alpha * P(D), `pairs` are the inconsistent ones.

    `scores` has the label log-probabilities of every labelled example, each given all the others.
    """

    weighted_predictability: float
    mutual_predictability: float
    inconsistency: float
    pairs: tuple[tuple[int, int], ...]
    scores: Mapping[int, LabelLogProbs] = field(default_factory=dict)

    @cached_property
    def utility(self) -> float:
        """U(D) = alpha * P(D) - I(D)."""
        return self.weighted_predictability - self.inconsistency

    @property
    def label_mass(self) -> float:
        """Mean probability on the labels before renormalising; 1 for no labels."""
        return mean([score.mass for score in self.scores.values()]) if self.scores else 1.0


@dataclass(frozen=True)
class Objective:
    """Everything U depends on: examples, task, rule, scorer and settings. Never gold."""

    examples: Sequence[Example]
    task: Task
    rule: Rule
    scorer: Scorer
    predictability: str = "mean_log_odds"
    alpha: float = 50.0
    pair_weight: float = 1.0
    centring: float = 1.0

    def __post_init__(self) -> None:
        form_of(self.predictability)
        if self.predictability in OF_TWO_LABELS and len(self.task.labels) != 2:
            raise SettingError(
                f"{self.predictability} needs two labels, task {self.task.name!r} has {len(self.task.labels)}: "
                "use predictability mean_log_prob or centred_log_odds"
            )

    @property
    def form(self) -> Predictability:
        """The form of P(D)."""
        return form_of(self.predictability)

    def asked(self, labeling: Labeling, i: int, reused: bool = False) -> Prompt:
        """Return the prompt about a drawn example (Algorithm 1, line 6): p(y | x_i, D without i) for every label y.

        If its scores were `reused`, it is the prompt from the evaluation. A centred form also uses the order of an
        evaluation: another order would shift the drawn example against the mean of the others by position alone.
        """
        if reused or self.form.centred:
            placed = labeling if i in labeling else labeling.assign(i, self.task.labels[0])
            return leave_one_out_prompt(self.task, self.examples, placed, i)
        return query_prompt(self.task, self.examples, labeling, i)

    def shown(self, i: int, label: Label) -> Segment:
        """Return an example with a label as it is shown in prompts."""
        return demonstration(render(self.task, self.examples[i]), label)

    def proposed(self, known: Mapping[int, LabelLogProbs], i: int, scores: LabelLogProbs) -> Label:
        """Return the label to propose for a drawn example (line 7); `known` are the scores of the labelled examples.

        It is the most likely label, or with a centred form the one that stands out most against the others' mean.
        """
        return self.foremost(known, i, scores)[0]

    def foremost(self, known: Mapping[int, LabelLogProbs], i: int, scores: LabelLogProbs) -> tuple[Label, ...]:
        """Return the label to propose; for an exact tie all tied labels, the one to propose first."""
        lean = leaning(score for j, score in known.items() if j != i) if self.form.centred else ()
        return tuple(self.task.labels[place] for place in foremost(scores, lean, self.centring))

    def keep(self, prompt: Prompt, before: Prompt | None) -> None:
        """Tell a scorer that can keep a prefix from call to call which one follows, and which one it kept before."""
        if isinstance(self.scorer, KeepsPrefix):
            self.scorer.keep(prompt, before)

    def evaluate(self, labeling: Labeling) -> Evaluation:
        """Score a labeling: one leave-one-out prompt for each labelled example, then the inconsistent pairs."""
        return self.evaluate_together([labeling])[0]

    def evaluate_together(self, labelings: Sequence[Labeling]) -> list[Evaluation]:
        """Score several labelings in the same orders, in one walk of the scorer."""
        asked = leave_one_out_prompts(self.task, self.examples, labelings)
        scores = iter(self.scorer.score([prompt for prompts in asked for prompt in prompts.values()]))
        found = [{i: next(scores) for i in prompts} for prompts in asked]
        return [self.evaluation(d, {i: by[i] for i in d}) for d, by in zip(labelings, found, strict=True)]

    def evaluation(self, labeling: Labeling, scores: Mapping[int, LabelLogProbs]) -> Evaluation:
        """Compute U from existing scores, given in slot order."""
        labels, rows = [self.label_index(y) for y in labeling.values()], [scores[i] for i in labeling]
        predictability = self.form.value(labels, rows, self.centring)
        pairs = tuple(self.rule.conflicts(labeling))
        return Evaluation(self.alpha * predictability, predictability, self.pair_weight * len(pairs), pairs, scores)

    def label_index(self, label: Label) -> int:
        """Return the index of a label among the task's labels."""
        return self.task.labels.index(label)
