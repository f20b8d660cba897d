"""ICM with fine-tuned folds in place of demonstrations: the second version of the paper's method.

The examples are split into folds, groups whole. For each fold, a model tuned on the labels of all the others predicts
the held-out one. These predictions stand where a search has log p(y_i | x_i, D without i), so U(D) is the same sum. A
round tunes and predicts once per fold and so finds U of one labeling, as `initialize` or a step does by prompting. The
labels that a round tries are those that would raise U most if the predictions stayed as they are, with the rule's
repairs (Algorithm 2). If U, predicted anew, rose, they are kept; else half as many groups change in the next round. The
search ends when nothing would change.

The paper (arXiv 2506.10139, from version 3 on) gives neither the number of folds nor how labels change between rounds:
both are ours, and the first is a setting.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Flip, Labeling
from icm_engine.core.objective import Evaluation, Objective
from icm_engine.core.prompting import Prompt, demonstration, query_prompt, render
from icm_engine.core.repair import ConsistencyFix, Repair
from icm_engine.core.rng import randbelow, random_of, shuffled
from icm_engine.core.sampled_terms import connected
from icm_engine.core.scoring import LabelLogProbs, Usage
from icm_engine.core.search import State, flips_between
from icm_engine.core.settings import SearchConfig, TuneSettings, parsed_options

FOLDS = "folds"  # the label source
ROUNDS = 8  # at most, unless asked otherwise
SWEEPS = 10  # times that a proposal looks at every example, at most
ROUNDING = 1e-9  # a smaller rise of U is none
UNTUNED = 0  # in place of a fold: all examples, predicted by the model itself

Scores = Mapping[int, LabelLogProbs]
Start = Literal["zero-shot", "random"]
OPTIONS: dict[str, Any] = {
    "folds": 5,
    "start": "zero-shot",
    "epochs": 10,
    "learning_rate": 1e-3,
    "rank": 8,
    "batch_size": 16,
    "rows_at_once": 16,
}  # with their defaults
# settings of a search that one with folds does not read
NOT_OF_FOLDS = frozenset(
    (
        "initial_temperature final_temperature cooling_rate cooling initial_labels initial_draw repair_unchanged "
        "paired terms redraw_every exact_every neighbour_weight"
    ).split()
)


@dataclass(frozen=True, slots=True)
class FoldSettings:
    """How many folds, which labels the first round tries, and how a fold's model is tuned.

    Labels start as those that stand out in the predictions of the untuned model, or as coin flips.
    """

    folds: int
    start: Start
    tuning: TuneSettings

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise SettingError(f"folds is {self.folds}: use 2 or more, since each is predicted from the others")
        if self.start not in ("zero-shot", "random"):
            raise SettingError(f"start is {self.start!r}: use zero-shot or random")


def fold_settings(options: Mapping[str, Any], seed: int) -> FoldSettings:
    """Return the settings of the source's options, given as values or as text. Raises SettingError."""
    values = {**OPTIONS, **parsed_options(FOLDS, options, OPTIONS)}
    return FoldSettings(values.pop("folds"), values.pop("start"), TuneSettings(**values, seed=seed))


def folds_of(examples: Sequence[Example], count: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Split the examples into folds of about equal size, in random order of their groups, which stay whole.

    A model that learned an example's label would know those of its group by logic. Raises SettingError for fewer groups
    than folds.
    """
    groups: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        groups.setdefault(example.group, []).append(place)
    if len(groups) < count:
        raise SettingError(
            f"{len(groups)} groups of examples cannot fill {count} folds: use fewer folds (--option folds=N), or more "
            "examples in a run (--limit, --batch-size)"
        )
    members = list(groups.values())
    folds: list[list[int]] = [[] for _ in range(count)]
    for place in shuffled(random_of(seed, 0), len(members)):
        min(folds, key=len).extend(members[place])
    return tuple(tuple(sorted(fold)) for fold in folds)


@dataclass(frozen=True)
class Fit:
    """The predictions for one fold, and what they cost.

    `tokens` are those read in tuning, each as often as it was read; the losses are None for a model that was not tuned.
    """

    scores: Scores
    usage: Usage
    rows: int = 0
    steps: int = 0
    tokens: int = 0
    first_loss: float | None = None
    last_loss: float | None = None


class Fitter(Protocol):
    """Tunes a fresh copy of a model on some labels, and asks it about other examples without demonstrations."""

    def fit(self, labels: Labeling, asked: Sequence[int]) -> Fit | None:
        """Return its predictions; None if a person asked to pause or stop meanwhile. Raises IcmError."""


class ShownFitter:
    """Shows the labels as demonstrations in place of tuning: for the fake model, which cannot be tuned."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def fit(self, labels: Labeling, asked: Sequence[int]) -> Fit:
        task, examples, scorer = self._objective.task, self._objective.examples, self._objective.scorer
        shown = tuple(demonstration(render(task, examples[i]), y) for i, y in labels.items())
        before = scorer.usage
        scores = scorer.score([Prompt((*shown, (render(task, examples[i]),)), task.labels) for i in asked])
        return Fit(dict(zip(asked, scores, strict=True)), scorer.usage - before, rows=len(labels))


def untuned(objective: Objective) -> Fit:
    """Return the model's own predictions for all examples."""
    every, before = range(len(objective.examples)), objective.scorer.usage
    prompts = [query_prompt(objective.task, objective.examples, Labeling(), i) for i in every]
    scores = dict(zip(every, objective.scorer.score(prompts), strict=True))
    return Fit(scores, objective.scorer.usage - before)


@dataclass(frozen=True)
class TriedLabels:
    """Labels for a round to try: the changes with their repairs, and the number of groups that they change."""

    labeling: Labeling
    flips: tuple[Flip, ...] = ()
    repairs: tuple[Repair, ...] = ()
    groups: int = 0


@dataclass(frozen=True)
class RoundInfo:
    """One round: the labels tried, U as predicted by models tuned on them, and the verdict.

    Round 0 has the labels to start from, with the predictions (if any) that they come from. The first round tries these
    labels themselves. `most` is the number of groups that the next round may change (None: all); `left` is the number
    that it will, and 0 ends the search.
    """

    number: int
    proposal: TriedLabels
    before: Evaluation | None
    after: Evaluation
    accepted: bool
    most: int | None
    left: int

    @property
    def delta(self) -> float:
        """The change of U; 0 where the two are not comparable."""
        return self.after.utility - self.before.utility if self.before is not None else 0.0


class FixedPredictions:
    """U of labelings that differ in a few examples, as if the predictions did not depend on the labels.

    P is a sum over the examples: a row of each one's scores times weights that depend on the labels alone. So the rows
    of the examples with one label are summed once, and a change of a few labels costs no look at the others. It stands
    in for `CachedEvaluator` while the part of the labeling that it is asked about is taken out of the sums.
    """

    set_evaluations = 0

    def __init__(self, objective: Objective, labeling: Labeling, scores: Scores) -> None:
        self._objective, self._labels = objective, objective.task.labels
        self._rows = {i: objective.form.row(scores[i]) for i in labeling}
        self._counts = dict.fromkeys(self._labels, 0)
        self._sums = {label: [0.0] * len(self._labels) for label in self._labels}
        self.add(labeling)

    def add(self, part: Labeling, sign: int = 1) -> None:
        """Take these labels into the sums, or out of them with sign -1."""
        for i, label in part.items():
            self._counts[label] += sign
            self._sums[label] = [a + sign * b for a, b in zip(self._sums[label], self._rows[i], strict=True)]

    def of(self, part: Labeling) -> Evaluation:
        """Return U of the labels in the sums and these; the inconsistent pairs are those within `part`."""
        objective = self._objective
        self.add(part)
        counts = [self._counts[label] for label in self._labels]
        terms = [
            weight * value
            for place, label in enumerate(self._labels)
            if counts[place]
            for weight, value in zip(
                objective.form.weights(place, counts, objective.centring), self._sums[label], strict=True
            )
        ]
        self.add(part, -1)
        predictability, pairs = math.fsum(terms), tuple(objective.rule.conflicts(part))
        return Evaluation(objective.alpha * predictability, predictability, objective.pair_weight * len(pairs), pairs)

    def __call__(self, labelings: Sequence[Labeling]) -> tuple[Evaluation, list[Evaluation]]:
        found = [self.of(labeling) for labeling in labelings]
        return found[0], found


def begin(objective: Objective, config: SearchConfig, scores: Scores | None) -> tuple[State, RoundInfo]:
    """Return round 0: the labels that stand out in these predictions, or coin flips; repaired by the rule."""
    rng, labels, every = random_of(config.seed, 0), objective.task.labels, range(len(objective.examples))
    drawn = Labeling({i: labels[randbelow(rng, len(labels))] for i in every})
    alike = LabelLogProbs((-math.log(len(labels)),) * len(labels))
    known = scores or dict.fromkeys(every, alike)
    begun = State(drawn, objective.evaluation(drawn, known))
    if scores is not None:
        drawn = Labeling({i: objective.foremost(known, i, known[i])[0] for i in every})
        begun = State(drawn, objective.evaluation(drawn, known))
    improved = proposal_of(begun, objective, config, new_labels=scores is not None)
    flips = flips_between(Labeling(), improved.labeling, "initial")
    info = RoundInfo(
        0, replace(improved, flips=flips), None, objective.evaluation(improved.labeling, known), True, None, 1
    )
    return after_round(State(Labeling(), info.after), info), info


def tried(state: State, objective: Objective, config: SearchConfig) -> TriedLabels:
    """Return the labels that the next round tries: in the first round, those of round 0."""
    if state.step == 0 or state.most == 0:
        return TriedLabels(state.labeling)
    return proposal_of(state, objective, config)


def decide(
    state: State, proposal: TriedLabels, scores: Scores, objective: Objective, config: SearchConfig
) -> tuple[State, RoundInfo]:
    """Take a round: keep the labels that it tried if U of models tuned on them is higher."""
    after = objective.evaluation(proposal.labeling, {i: scores[i] for i in proposal.labeling})
    before = state.evaluation if state.step else None
    accepted = before is None or after.utility > before.utility
    most = None if accepted else proposal.groups // 2
    info = RoundInfo(state.step + 1, proposal, before, after, accepted, most, 0)
    now = after_round(state, info)
    return now, replace(info, left=tried(now, objective, config).groups)


def after_round(state: State, info: RoundInfo) -> State:
    """Return the state after a recorded round."""
    if not info.accepted:
        return replace(state, step=info.number, most=info.most)
    accepted = state.accepted + bool(info.number)
    return state.relabelled(info.proposal.labeling, info.after, info.number, accepted=accepted, most=info.most)


def at_end(state: State, proposal: TriedLabels, config: SearchConfig) -> bool:
    """Say whether no round is left: all were taken, or the next one would change nothing."""
    return state.step >= config.max_steps or (state.step > 0 and not proposal.groups)


def proposal_of(state: State, objective: Objective, config: SearchConfig, new_labels: bool = True) -> TriedLabels:
    """Return the labels that raise U most for the predictions at hand, changing at most `most` groups of the state.

    Examples are visited in random order, by (seed, round), until no visit changes a label. With `new_labels` false,
    only inconsistent pairs are repaired.
    """
    labeling, repairs = _climbed(state, objective, config, new_labels)
    changed = [i for i in labeling if labeling[i] != state.labeling[i]]
    groups, most = list(dict.fromkeys(objective.examples[i].group for i in changed)), state.most
    if most is not None and len(groups) > most:
        kept = frozenset(_gaining(state, labeling, changed, objective)[:most])
        changed = [i for i in changed if objective.examples[i].group in kept]
        labeling, groups = _with(state.labeling, labeling, changed), [group for group in groups if group in kept]
    repaired = {i for repair in repairs if repair.taken for i in repair.pair}
    flips = tuple(Flip(i, state.labeling[i], labeling[i], "repair" if i in repaired else "proposal") for i in changed)
    return TriedLabels(labeling, flips, tuple(repairs), len(groups))


def _climbed(
    state: State, objective: Objective, config: SearchConfig, new_labels: bool
) -> tuple[Labeling, list[Repair]]:
    """The labels where no single change, with its repairs, raises U; and the repairs that were kept."""
    rng, pins, known = random_of(config.seed, state.step + 1), state.hand.pins, state.evaluation.scores
    score = FixedPredictions(objective, state.labeling, known)
    fix = ConsistencyFix(score, objective.rule, config, pins)
    standing = {i: objective.foremost(known, i, known[i])[0] for i in state.labeling} if new_labels else {}
    labels, kept = dict(state.labeling), list[Repair]()
    for _ in range(SWEEPS):
        began = dict(labels)
        for i in shuffled(rng, len(objective.examples)):
            if i in pins:
                continue
            part = Labeling({j: labels[j] for j in connected(objective.rule, [i])})
            wanted = standing.get(i, labels[i])
            if wanted == labels[i] and not objective.rule.conflicts(part):
                continue
            score.add(part, -1)
            now, found = score.of(part), fix(part.assign(i, wanted), rng)
            better = found.after.utility > now.utility + ROUNDING
            score.add(found.labeling if better else part)
            if better:
                labels |= found.labeling
                kept += found.repairs
        if labels == began:
            break
    return Labeling(labels), kept


def _gaining(state: State, after: Labeling, changed: Iterable[int], objective: Objective) -> list[str]:
    """The groups with changes, those first whose changes alone raise U most."""
    members: dict[str, list[int]] = {}
    for i in changed:
        members.setdefault(objective.examples[i].group, []).append(i)
    score, gains = FixedPredictions(objective, state.labeling, state.evaluation.scores), dict[str, float]()
    for group, some in members.items():
        near = connected(objective.rule, some)
        then = Labeling({i: state.labeling[i] for i in near})
        score.add(then, -1)
        gains[group] = score.of(_with(then, after, some)).utility - score.of(then).utility
        score.add(then)
    return sorted(gains, key=lambda group: -gains[group])


def _with(before: Labeling, after: Labeling, changed: Iterable[int]) -> Labeling:
    """The labels before, with these examples as they are after."""
    return Labeling({**before, **{i: after[i] for i in changed}})
