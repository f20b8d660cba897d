"""The utility of a labeling: U(D) = alpha * P(D) - I(D), P in one of its named forms (`predictability`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from icm_engine.core.consistency import Rule
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Label, Labeling, Task
from icm_engine.core.predictability import OF_TWO_LABELS, Predictability, foremost, form_of, leaning, mean
from icm_engine.core.prompting import Prompt, leave_one_out_prompt, leave_one_out_prompts, query_prompt
from icm_engine.core.scoring import LabelLogProbs, Scorer


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

    def predict(self, labeling: Labeling, i: int) -> LabelLogProbs:
        """Return p(y | x_i, D without i) for every label y (Algorithm 1, line 6)."""
        return self.scorer.score([self.asked(labeling, i)])[0]

    def asked(self, labeling: Labeling, i: int, reused: bool = False) -> Prompt:
        """Return the prompt about a drawn example; where its scores were `reused`, the one of the evaluation.

        A centred form asks in the order of an evaluation too: in another one, position would shift the drawn example
        against the mean of the others.
        """
        if reused or self.form.centred:
            placed = labeling if i in labeling else labeling.assign(i, self.task.labels[0])
            return leave_one_out_prompt(self.task, self.examples, placed, i)
        return query_prompt(self.task, self.examples, labeling, i)

    def proposed(self, known: Mapping[int, LabelLogProbs], i: int, scores: LabelLogProbs) -> Label:
        """Return the label to propose for a drawn example (line 7); `known` are the scores of the labelled ones.

        The likeliest one; with a centred form the one that stands out most against how the model leans on the others.
        """
        return self.foremost(known, i, scores)[0]

    def foremost(self, known: Mapping[int, LabelLogProbs], i: int, scores: LabelLogProbs) -> tuple[Label, ...]:
        """Return the label to propose for a drawn example; of an exact tie all labels, the one to propose first."""
        lean = leaning(score for j, score in known.items() if j != i) if self.form.centred else ()
        return tuple(self.task.labels[place] for place in foremost(scores, lean, self.centring))

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
        labels, rows = [self.label_index(y) for y in labeling.values()], [scores[i] for i in labeling]
        predictability = self.form.value(labels, rows, self.centring)
        pairs = tuple(self.rule.conflicts(labeling))
        return Evaluation(self.alpha * predictability, predictability, self.pair_weight * len(pairs), pairs, scores)

    def label_index(self, label: Label) -> int:
        """Return the place of a label among the task's labels."""
        return self.task.labels.index(label)
