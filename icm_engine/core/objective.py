"""The utility of a labeling: U(D) = alpha * P(D) - I(D), P in its three named forms."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from icm_engine.core.consistency import Rule
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Label, Labeling, Task
from icm_engine.core.prompting import leave_one_out_prompts, query_prompt
from icm_engine.core.scoring import LabelLogProbs, Scorer


def log_prob(scores: LabelLogProbs, k: int) -> float:
    """log p(y_i | x_i, D without i), renormalised over the labels; <= 0."""
    return scores.normalized[k]


def log_odds(scores: LabelLogProbs, k: int) -> float:
    """log p(y_i) - log p(not y_i); two labels only."""
    return scores.raw[k] - scores.raw[1 - k]


def mean(terms: Sequence[float]) -> float:
    """The mean; 0 of nothing, since an empty labeling predicts nothing."""
    return math.fsum(terms) / len(terms) if terms else 0.0


@dataclass(frozen=True, slots=True)
class Predictability:
    """One form of P(D): a term per labelled example, and how the terms are put together."""

    term: Callable[[LabelLogProbs, int], float]
    combine: Callable[[Sequence[float]], float]
    whose: str

    @property
    def is_sum(self) -> bool:
        """Whether P is a sum, so that U of more labelled examples has another scale."""
        return self.combine is math.fsum


PREDICTABILITY = {
    "sum_log_prob": Predictability(log_prob, math.fsum, "the paper's formula"),
    "mean_log_odds": Predictability(log_odds, mean, "the authors' released code; two labels only"),
    "mean_log_prob": Predictability(log_prob, mean, "ours: the paper's term, free of the set-size effect"),
}
OF_TWO_LABELS = frozenset({"mean_log_odds"})  # forms that need exactly two labels


def form_for(form: str, labels: int) -> str:
    """Return this form of P, or for another number of labels than two one that is as free of the set's size."""
    return "mean_log_prob" if form in OF_TWO_LABELS and labels != 2 else form


@dataclass(frozen=True)
class Evaluation:
    """U of one labeling with its parts: `weighted_predictability` is alpha * P(D), `pairs` the inconsistent ones.

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
        """Mean probability on the labels before renormalising; 1 of nothing."""
        return mean([score.mass for score in self.scores.values()]) if self.scores else 1.0


@dataclass(frozen=True)
class Objective:
    """All that U depends on: the examples, the task, the rule, the scorer and the settings. Never gold."""

    examples: Sequence[Example]
    task: Task
    rule: Rule
    scorer: Scorer
    predictability: str = "mean_log_odds"
    alpha: float = 50.0
    pair_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.predictability not in PREDICTABILITY:
            raise SettingError(
                f"predictability {self.predictability!r} does not exist: use one of {', '.join(PREDICTABILITY)}"
            )
        if self.predictability == "mean_log_odds" and len(self.task.labels) != 2:
            raise SettingError(
                f"mean_log_odds needs two labels, task {self.task.name!r} has {len(self.task.labels)}: "
                "use predictability mean_log_prob"
            )

    def predict(self, labeling: Labeling, i: int) -> LabelLogProbs:
        """Return p(y | x_i, D without i) for every label y (Algorithm 1, line 6)."""
        return self.scorer.score([query_prompt(self.task, self.examples, labeling, i)])[0]

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
        """Put U together from scores already at hand; `scores` are in slot order."""
        form = PREDICTABILITY[self.predictability]
        predictability = form.combine([form.term(scores[i], self.label_index(y)) for i, y in labeling.items()])
        pairs = tuple(self.rule.conflicts(labeling))
        return Evaluation(self.alpha * predictability, predictability, self.pair_weight * len(pairs), pairs, scores)

    def label_index(self, label: Label) -> int:
        """Return the place of a label among the task's labels."""
        return self.task.labels.index(label)
