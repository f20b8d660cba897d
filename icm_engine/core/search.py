"""Algorithm 1: simulated annealing over labelings. Algorithm 2, which it calls, is in `repair`.

`initialize` and `step` are pure: they return a record of what happened, rejections included, and the next state. So
does `intervene`, for a person's changes between steps. `apply` is the only way a state changes, live or replayed. What
comes between two steps with sampled terms is in `advance`. Line numbers are the paper's (Wen et al. 2025, arXiv
2506.10139).
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, Literal

from icm_engine.core.batching import FIRST, NEWEST
from icm_engine.core.consistency import Pair
from icm_engine.core.errors import SettingError
from icm_engine.core.interventions import Act, AppliedIntervention, Hand, apply_changes, flips_of, resolve
from icm_engine.core.labeling import Cause, Flip, Label, Labeling
from icm_engine.core.objective import Evaluation, Objective
from icm_engine.core.prompting import Prompt
from icm_engine.core.repair import CachedEvaluator, ConsistencyFix, Repair
from icm_engine.core.rng import randbelow, random_of, sample
from icm_engine.core.sampled_terms import CLEAR, LARGEST_ERROR, Block, DeltaEstimate, SampledEvaluator
from icm_engine.core.scoring import LabelLogProbs
from icm_engine.core.settings import SearchConfig

Verdict = Literal["accepted", "rejected", "unchanged"]
Reason = Literal[
    "first", "next", "exact", "drawn", "larger", "memory", "end"
]  # why a sample was drawn, or U evaluated exactly


@dataclass(frozen=True)
class State:
    """The state of a search: the labeling with its score, steps taken and proposals accepted.

    `unrepairable` are inconsistent pairs that no repair of this labeling helps; they are not tried again. `hand` holds
    a person's interventions; `since` gives for each inconsistent pair the step after which it became so; `version` is
    the run's.

    The rest is of searches with sampled terms: the `block` that the next step goes on with (None: it begins one); the
    step of the last exact evaluation and the U it found (None: the next step begins with one), and for each example the
    step at which its scores were read. Between two exact evaluations, U is a sum of estimates.

    `most` is of searches with folds: the number of groups that the next round may change (None: all).
    """

    labeling: Labeling
    evaluation: Evaluation
    step: int = 0
    accepted: int = 0
    unrepairable: frozenset[Pair] = frozenset()
    hand: Hand = field(default_factory=Hand)
    since: Mapping[Pair, int] = field(default_factory=dict)
    version: int = NEWEST
    block: Block | None = None
    exact_at: int | None = 0
    exact_utility: float | None = None
    read_at: Mapping[int, int] = field(default_factory=dict)
    most: int | None = None

    @property
    def estimated(self) -> bool:
        """Whether U is a sum of estimates: steps with sampled terms were taken since it was evaluated exactly."""
        return bool(self.read_at) and self.exact_at != self.step

    def relabelled(self, labeling: Labeling, evaluation: Evaluation, step: int, **others: Any) -> "State":
        """Return the state with another labeling and its score after this step."""
        since = {pair: self.since.get(pair, step) for pair in evaluation.pairs}
        known = {"unrepairable": frozenset[Pair](), **others}
        return replace(self, labeling=labeling, evaluation=evaluation, step=step, since=since, **known)


@dataclass(frozen=True)
class InitialInfo:
    """Lines 1-2: the random initial labels, their repair, and the labeling the search starts from."""

    drawn: tuple[tuple[int, Label], ...]
    repairs: tuple[Repair, ...]
    flips: tuple[Flip, ...]
    after: Evaluation
    set_evaluations: int = 0


@dataclass(frozen=True)
class StepInfo:
    """One step of Algorithm 1, recorded also if rejected; every number of its decision can be recomputed from it.

    `after` is the proposal's evaluation (None for `unchanged`, where only the drawn example is scored); `flips` are the
    proposed label changes, made only if the verdict is `accepted`. `before` was scored when it was accepted, in its own
    orders, or, if `paired`, together with `after` in the same orders. If `reused`, the model was not asked about the
    drawn example: `scores` are those in `before`, given the same labels of all others. `tied` are the labels that the
    model scores exactly alike, if there are several; the first is proposed.
    """

    number: int
    temperature: float
    example: int
    old: Label | None
    proposed: Label
    scores: LabelLogProbs
    before: Evaluation
    after: Evaluation | None
    repairs: tuple[Repair, ...] = ()
    flips: tuple[Flip, ...] = ()
    delta: float = 0.0
    accept_probability: float = 0.0
    draw: float = 0.0
    verdict: Verdict = "unchanged"
    set_evaluations: int = 0
    paired: bool = False
    reused: bool = False
    tied: tuple[Label, ...] = ()
    estimate: DeltaEstimate | None = None

    @property
    def strain(self) -> float:
        """The standard error of delta in temperatures, where more terms might decide otherwise; else 0.

        The draw accepts any delta above a threshold. If delta is `CLEAR` standard errors away from it, more terms would
        hardly change the verdict.
        """
        if self.estimate is None or self.estimate.error == 0.0:
            return 0.0
        error, heat = self.estimate.error, self.temperature
        if math.isinf(error):
            return math.inf
        threshold = heat * math.log(self.draw) + error * error / (2 * heat) if self.draw > 0.0 else -math.inf
        return error / heat if abs(self.delta - threshold) < CLEAR * error else 0.0

    @property
    def too_coarse(self) -> bool:
        """Whether the step needs more terms."""
        return self.strain > LARGEST_ERROR


@dataclass(frozen=True)
class RefreshInfo:
    """Between two steps of a search with sampled terms: a new block, an exact evaluation, or both.

    With an exact evaluation, `exact_change` of U since the last one stands beside the sum of the accepted estimates.
    """

    why: Reason
    block: Block | None
    exact: Evaluation | None = None
    estimated_change: float = 0.0
    exact_change: float = 0.0
    set_evaluations: int = 0


@dataclass(frozen=True)
class HandInfo:
    """A person's changes between two steps; `after` is the resulting evaluation, None if no label changed."""

    done: tuple[AppliedIntervention, ...]
    flips: tuple[Flip, ...] = ()
    after: Evaluation | None = None
    set_evaluations: int = 0


@dataclass(frozen=True)
class TuneInfo:
    """Settings changed between two steps, and the evaluation of the same labels under them."""

    settings: Mapping[str, float]
    after: Evaluation


def initialize(
    objective: Objective, config: SearchConfig, given: Mapping[int, Label] | None = None, version: int = NEWEST
) -> tuple[State, InitialInfo]:
    """Label K random examples at random, or as given, then repair (lines 1-2); `version` is the run's."""
    rng, nothing = random_of(config.seed, 0), Labeling()
    score = CachedEvaluator(objective, nothing, objective.evaluation(nothing, {}))
    drawn = initial_labels(objective, config, rng, given)
    repaired = ConsistencyFix(score, objective.rule, config)(drawn, rng)
    flips = flips_between(nothing, drawn, "initial") + flips_between(drawn, repaired.labeling, "repair")
    info = InitialInfo(tuple(drawn.items()), repaired.repairs, flips, repaired.after, score.set_evaluations)
    return start(info, version), info


def initial_labels(
    objective: Objective, config: SearchConfig, rng: random.Random, given: Mapping[int, Label] | None = None
) -> Labeling:
    """Draw the examples that get initial labels, and their labels unless given (line 1)."""
    chosen = initial_examples(config, len(objective.examples), rng)
    labels = _coins(rng, objective.task.labels, config, len(chosen)) if given is None else [given[i] for i in chosen]
    return Labeling(dict(zip(chosen, labels, strict=True)))


def initial_examples(config: SearchConfig, examples: int, rng: random.Random | None = None) -> list[int]:
    """Return which examples get initial labels (line 1)."""
    return sample(rng or random_of(config.seed, 0), examples, min(config.initial_labels, examples))


def start(info: InitialInfo, version: int = NEWEST) -> State:
    """Return the state after the initial labels."""
    known = _unhelped_at_end(info.repairs) if version > FIRST else frozenset()
    state = State(Labeling(), info.after, version=version)
    return state.relabelled(flipped(Labeling(), info.flips), info.after, step=0, unrepairable=known)


def step(state: State, objective: Objective, config: SearchConfig) -> tuple[State, StepInfo]:
    """Take one step of Algorithm 1 (lines 3-16). A pure function of its arguments."""
    n = state.step + 1  # line 3
    rng = random_of(config.seed, n)
    heat = temperature(n, state.accepted, config)  # line 4
    i = draw_example(state.labeling, objective, config, rng, state.hand.pins)  # line 5
    known = known_scores(state, config)
    reused = i in known
    scores = known[i] if reused else objective.scorer.score([asked(state, objective, i)])[0]  # line 6
    old, foremost = state.labeling.get(i), objective.foremost(state.evaluation.scores, i, scores)
    label, tied = foremost[0], foremost if len(foremost) > 1 else ()
    info = StepInfo(n, heat, i, old, label, scores, state.evaluation, None, reused=reused, tied=tied)
    if label != old or (config.repair_unchanged and not state.unrepairable.issuperset(state.evaluation.pairs)):
        info = _decide(info, state, objective, config, rng)
    return apply(state, info), info


def known_scores(state: State, config: SearchConfig) -> Mapping[int, LabelLogProbs]:
    """Return the scores for the present labels that line 6 would only read again: from an evaluation, or a block."""
    if state.block is not None:
        return state.block.read
    return {} if config.paired else state.evaluation.scores


def asked(state: State, objective: Objective, i: int, reused: bool = False) -> Prompt:
    """Return the prompt about a drawn example; if its scores were `reused`, the prompt from the evaluation."""
    if state.block is not None:
        return state.block.prompt(objective, state.labeling, i)
    return objective.asked(state.labeling, i, reused)


def _decide(info: StepInfo, state: State, objective: Objective, config: SearchConfig, rng: random.Random) -> StepInfo:
    """Score the proposal, repair it, and accept or reject it (lines 7-16)."""
    score = _evaluator(info, state, objective, config)
    proposal = state.labeling.assign(info.example, info.proposed)  # line 7
    unrepairable = state.unrepairable if info.proposed == info.old else frozenset[Pair]()
    repairer = ConsistencyFix(score, objective.rule, config, state.hand.pins, unrepairable, config.keep_worse_repair)
    repaired = repairer(proposal, rng)  # line 8
    delta = repaired.after.utility - repaired.before.utility  # line 9
    estimate = score.estimates[repaired.labeling] if isinstance(score, SampledEvaluator) else None
    probability = accept_probability(delta, info.temperature, estimate.error if estimate else 0.0)
    draw = rng.random()
    accepted = draw < probability  # lines 10-16
    unchanged = repaired.labeling == state.labeling
    flips = flips_between(state.labeling, proposal, "proposal")
    return replace(
        info,
        before=repaired.before,
        after=repaired.after,
        repairs=repaired.repairs,
        flips=flips + flips_between(proposal, repaired.labeling, "repair"),
        delta=delta,
        accept_probability=probability,
        draw=draw,
        verdict="unchanged" if unchanged else "accepted" if accepted else "rejected",
        set_evaluations=score.set_evaluations,
        paired=config.paired,
        estimate=estimate,
    )


def _evaluator(
    info: StepInfo, state: State, objective: Objective, config: SearchConfig
) -> CachedEvaluator | SampledEvaluator:
    """What scores the candidates of a step: exactly, or by sampled terms."""
    if state.block is None:
        return CachedEvaluator(objective, state.labeling, state.evaluation, config.paired)
    return SampledEvaluator(objective, state.block, state.labeling, state.evaluation, {info.example: info.scores})


def apply(state: State, info: StepInfo | RefreshInfo | HandInfo | TuneInfo) -> State:
    """Return the state after a recorded step or act: the only way a state changes, live or replayed."""
    if isinstance(info, RefreshInfo):
        return _refreshed(state, info)
    if isinstance(info, HandInfo):
        changes = [change for done in info.done for change in done.changes]
        labeling, hand = apply_changes(state.labeling, state.hand, changes)
        if info.after is None:  # an unpinned example may help a pair, and other examples can be drawn
            return replace(state, hand=hand, unrepairable=frozenset(), block=None)
        if state.read_at:
            state = replace(state, block=None, exact_at=state.step, exact_utility=None, read_at={})
        return state.relabelled(labeling, info.after, state.step, hand=hand)
    if isinstance(info, TuneInfo):
        if state.read_at:
            state = replace(state, block=None, exact_at=None, exact_utility=None)
        return state.relabelled(state.labeling, info.after, state.step, most=None)
    block = _block_after(state.block, info)
    if info.verdict != "accepted" or info.after is None:
        known = state.unrepairable | _unhelped_before(info, state.version)
        return replace(state, step=info.number, unrepairable=known, block=block)
    # when paired, the next step scores these labels in other orders
    known = _unhelped_at_end(info.repairs) if state.version > FIRST and not info.paired else frozenset()
    labeling, accepted = flipped(state.labeling, info.flips), state.accepted + 1
    if block is not None:
        state = replace(state, block=block, read_at={**state.read_at, **dict.fromkeys(block.read, info.number)})
    return state.relabelled(labeling, info.after, info.number, accepted=accepted, unrepairable=known)


def _block_after(block: Block | None, info: StepInfo) -> Block | None:
    """The block after a step: with what was read for the labels that it leaves."""
    if block is None:
        return None
    found = info.estimate
    if found is not None:
        block = replace(block, strain=max(block.strain, info.strain))
    if found is not None and info.verdict == "accepted" and info.after is not None:
        scores = info.after.scores
        read = {i: scores[i] for i in dict.fromkeys((*block.sample, *found.certain))}
        return replace(block, read=read, changes=block.changes + 1)
    return replace(block, read={**block.read, info.example: info.scores, **(found.before if found else {})})


def _refreshed(state: State, info: RefreshInfo) -> State:
    """The state after a new block, an exact evaluation, or both. The labels and the pairs that resist repair stay."""
    if not state.read_at:  # all scores are from an exact evaluation
        assert state.exact_at is not None
        read_at = dict.fromkeys(state.labeling, state.exact_at)
        state = replace(state, exact_utility=state.evaluation.utility, read_at=read_at)
    if info.exact is not None:
        state = replace(
            state,
            evaluation=info.exact,
            exact_at=state.step,
            exact_utility=info.exact.utility,
            read_at=dict.fromkeys(state.labeling, state.step),
        )
    return replace(state, block=info.block)


def _unhelped_before(info: StepInfo, version: int) -> frozenset[Pair]:
    """The pairs that no option helped while the labels were still those before the step."""
    if info.proposed != info.old:
        return frozenset()
    tried = takewhile(lambda repair: repair.taken is None, info.repairs) if version > FIRST else info.repairs
    return frozenset(repair.pair for repair in tried if repair.taken is None)


def _unhelped_at_end(repairs: Sequence[Repair]) -> frozenset[Pair]:
    """The pairs that no option helped since a repair last changed a label."""
    return frozenset(repair.pair for repair in takewhile(lambda repair: repair.taken is None, reversed(repairs)))


def flipped(labeling: Labeling, flips: tuple[Flip, ...]) -> Labeling:
    """Return the labeling after these label changes, in order."""
    for flip in flips:
        labeling = labeling.without(flip.example) if flip.new is None else labeling.assign(flip.example, flip.new)
    return labeling


def resolved(state: State, acts: Iterable[Act], history: Sequence[AppliedIntervention]) -> HandInfo:
    """Return what a person's acts change, one after the other, not yet scored. Raises SettingError.

    `history` holds the acts of this run before them, which undo and redo look at.
    """
    labeling, hand, done = state.labeling, state.hand, list[AppliedIntervention]()
    for act in acts:
        done.append(resolve(labeling, hand, act, (*history, *done)))
        labeling, hand = apply_changes(labeling, hand, done[-1].changes)
    touched = [change.example for entry in done for change in entry.changes]
    return HandInfo(tuple(done), flips_of(state.labeling, labeling, touched))


def intervene(state: State, info: HandInfo, objective: Objective) -> tuple[State, HandInfo]:
    """Apply a person's changes: score the new labeling if a label changed. This is not a step: nothing is drawn."""
    if info.flips:
        changes = [change for done in info.done for change in done.changes]
        labeling, _ = apply_changes(state.labeling, state.hand, changes)
        info = replace(info, after=objective.evaluate(labeling), set_evaluations=1)
    return apply(state, info), info


def retune(state: State, settings: Mapping[str, float], objective: Objective) -> tuple[State, TuneInfo]:
    """Continue under other settings, already in the objective; labels and log-probabilities stay."""
    info = TuneInfo(settings, objective.evaluation(state.labeling, state.evaluation.scores))
    return apply(state, info), info


def temperature(n: int, accepted: int, config: SearchConfig) -> float:
    """T = max(Tmin, T0 / (1 + beta * ln n)); n counts steps from 1, or is 1 + the number of accepted proposals."""
    count = n if config.cooling == "per-step" else 1 + accepted
    return max(config.final_temperature, config.initial_temperature / (1 + config.cooling_rate * math.log(count)))


def accept_probability(delta: float, temperature: float, error: float = 0.0) -> float:
    """Return min(1, exp(delta / T - error^2 / (2 T^2))); a gain is decided first, since its exp can overflow.

    The second term corrects for the standard error of an estimated delta: it is exact for normal noise of known
    variance (penalty method, Ceperley and Dewing 1999, arXiv physics/9812035). An exact delta has none.
    """
    gain = delta / temperature - (error / temperature) ** 2 / 2
    return 1.0 if gain > 0 else math.exp(gain)


def draw_example(
    labeling: Labeling,
    objective: Objective,
    config: SearchConfig,
    rng: random.Random,
    pins: frozenset[int] = frozenset(),
) -> int:
    """Draw an unpinned example: weight 1, or `neighbour_weight` if unlabelled and constrained with a labelled one.

    The urn holds every unpinned example once plus the extra weight of those few, so a draw looks at labelled examples
    and their groups and never scans the data set. Raises SettingError if all are pinned.
    """
    waiting = sorted({j for i in labeling for j in objective.rule.neighbours(i) if j not in labeling})
    extra = config.neighbour_weight - 1
    size = len(objective.examples) - len(pins)
    if size == 0:
        raise SettingError(f"all {len(pins):,} examples are pinned, none is left to draw: unpin some, or stop the run")
    ticket = randbelow(rng, size + extra * len(waiting))
    return _unpinned(ticket, pins) if ticket < size else waiting[(ticket - size) // extra]


def _unpinned(place: int, pins: frozenset[int]) -> int:
    """The example at this position among the unpinned ones."""
    for pin in sorted(pins):
        if pin > place:
            break
        place += 1
    return place


def _coins(rng: random.Random, labels: tuple[Label, ...], config: SearchConfig, count: int) -> list[Label]:
    if config.initial_draw == "coin-flips":
        return [labels[randbelow(rng, len(labels))] for _ in range(count)]
    equal_parts = [labels[k % len(labels)] for k in range(count)]
    return [equal_parts.pop(randbelow(rng, len(equal_parts))) for _ in range(count)]


def flips_between(before: Labeling, after: Labeling, cause: Cause) -> tuple[Flip, ...]:
    """Return the label changes from one labeling to another, in its order."""
    return tuple(Flip(i, before.get(i), y, cause) for i, y in after.items() if before.get(i) != y)
