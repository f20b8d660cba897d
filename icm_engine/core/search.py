"""Algorithm 1 (simulated annealing over labelings) and Algorithm 2 (repair of inconsistencies).

`initialize` and `step` are pure: they return a record of what happened, also of what was rejected, and the state
that follows. `apply` is the only way a state changes, live or replayed. Line numbers are the paper's
(Wen et al. 2025, arXiv 2506.10139).
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from icm_engine.core.consistency import Pair, Rule
from icm_engine.core.labeling import Cause, Flip, Label, Labeling
from icm_engine.core.objective import Evaluation, Objective
from icm_engine.core.scoring import LabelLogProbs
from icm_engine.core.settings import SearchConfig

Verdict = Literal["accepted", "rejected", "unchanged"]


@dataclass(frozen=True)
class State:
    """Where a search stands: the labeling with its score, the steps taken and the proposals accepted.

    `hopeless` are inconsistent pairs that no repair of this very labeling helps: they are not tried again.
    """

    labeling: Labeling
    evaluation: Evaluation
    step: int = 0
    accepted: int = 0
    hopeless: frozenset[Pair] = frozenset()


@dataclass(frozen=True)
class Option:
    """One consistent pair of labels that a repair tried, and the utility it gave."""

    labels: tuple[Label, Label]
    utility: float


@dataclass(frozen=True)
class Repair:
    """One round of Algorithm 2: the pair drawn, the labels it had, every option, and the one taken, if any."""

    pair: tuple[int, int]
    labels: tuple[Label, Label]
    utility: float
    options: tuple[Option, ...]
    taken: tuple[Label, Label] | None


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
    """One step of Algorithm 1, kept also if rejected; every number of its decision can be recomputed from it.

    `after` is the proposal's evaluation (None for `unchanged`, which scores nothing but the drawn example);
    `flips` are the label changes proposed, made only if the verdict is `accepted`. `before` was scored when it was
    accepted, in its own orders, or, if `paired`, together with `after` in the same ones.
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


class _Scored:
    """Scores labelings beside the one before the step, which none of them is compared without.

    Separately: each labeling in its own orders, once, and the one before as it was scored when it was accepted.
    Paired: all in the same orders, in one walk, so that a delta is free of order noise.
    """

    def __init__(self, objective: Objective, before: Labeling, known: Evaluation, paired: bool = False) -> None:
        self.objective, self.before, self.paired = objective, before, paired
        self.set_evaluations = 0
        self._seen = {before: known}

    def __call__(self, labelings: Sequence[Labeling]) -> tuple[Evaluation, list[Evaluation]]:
        """Return the evaluation of the labeling before, and those of the labelings."""
        if self.paired:
            self._seen = {}
        new = [labeling for labeling in dict.fromkeys((self.before, *labelings)) if labeling not in self._seen]
        groups = [new] if self.paired else [[labeling] for labeling in new]
        for group in groups:
            self._seen.update(zip(group, self.objective.evaluate_together(group), strict=True))
        self.set_evaluations += len(new)
        return self._seen[self.before], [self._seen[labeling] for labeling in labelings]


def initialize(objective: Objective, config: SearchConfig) -> tuple[State, InitialInfo]:
    """Label K random examples at random, then repair (lines 1-2)."""
    rng, nothing = random_of(config.seed, 0), Labeling()
    score = _Scored(objective, nothing, objective.evaluation(nothing, {}))
    chosen = _sample(rng, len(objective.examples), min(config.initial_labels, len(objective.examples)))
    drawn = Labeling(dict(zip(chosen, _coins(rng, objective.task.labels, config, len(chosen)), strict=True)))
    repaired = repair(drawn, score, objective.rule, config, rng)
    flips = _flips(nothing, drawn, "initial") + _flips(drawn, repaired.labeling, "repair")
    info = InitialInfo(tuple(drawn.items()), repaired.repairs, flips, repaired.after, score.set_evaluations)
    return start(info), info


def start(info: InitialInfo) -> State:
    """Return the state that the initial labels lead to."""
    return State(flipped(Labeling(), info.flips), info.after)


def step(state: State, objective: Objective, config: SearchConfig) -> tuple[State, StepInfo]:
    """Take one step of Algorithm 1 (lines 3-16). A pure function of its arguments."""
    n = state.step + 1  # line 3
    rng = random_of(config.seed, n)
    heat = temperature(n, state.accepted, config)  # line 4
    i = draw_example(state.labeling, objective, config, rng)  # line 5
    scores = objective.predict(state.labeling, i)  # line 6
    old, label = state.labeling.get(i), objective.task.labels[scores.argmax]
    info = StepInfo(n, heat, i, old, label, scores, state.evaluation, None)
    if label != old or (config.repair_unchanged and not state.hopeless.issuperset(state.evaluation.pairs)):
        info = _decide(info, state, objective, config, rng)
    return apply(state, info), info


def _decide(info: StepInfo, state: State, objective: Objective, config: SearchConfig, rng: random.Random) -> StepInfo:
    """Score the proposal, repair it, and accept or reject it (lines 7-16)."""
    score = _Scored(objective, state.labeling, state.evaluation, config.paired)
    proposal = state.labeling.assign(info.example, info.proposed)  # line 7
    hopeless = state.hopeless if info.proposed == info.old else frozenset[Pair]()
    repaired = repair(proposal, score, objective.rule, config, rng, config.keep_worse_repair, hopeless)  # line 8
    delta = repaired.after.utility - repaired.before.utility  # line 9
    probability = accept_probability(delta, info.temperature)
    draw = rng.random()
    accepted = delta > 0 or draw < probability  # lines 10-16
    unchanged = repaired.labeling == state.labeling
    return replace(
        info,
        before=repaired.before,
        after=repaired.after,
        repairs=repaired.repairs,
        flips=_flips(state.labeling, proposal, "proposal") + _flips(proposal, repaired.labeling, "repair"),
        delta=delta,
        accept_probability=probability,
        draw=draw,
        verdict="unchanged" if unchanged else "accepted" if accepted else "rejected",
        set_evaluations=score.set_evaluations,
        paired=config.paired,
    )


def apply(state: State, info: StepInfo) -> State:
    """Return the state after a recorded step: the only way a state changes, live or replayed."""
    if info.verdict != "accepted" or info.after is None:
        tried = {repair.pair for repair in info.repairs if repair.taken is None and info.proposed == info.old}
        return replace(state, step=info.number, hopeless=state.hopeless | tried)
    return State(flipped(state.labeling, info.flips), info.after, info.number, state.accepted + 1)


def flipped(labeling: Labeling, flips: tuple[Flip, ...]) -> Labeling:
    """Return the labeling after these label changes, in order."""
    for flip in flips:
        labeling = labeling.assign(flip.example, flip.new)
    return labeling


@dataclass(frozen=True)
class Repaired:
    """What Algorithm 2 made of a labeling, and the evaluations, before the step and after, that decide on it."""

    labeling: Labeling
    before: Evaluation
    after: Evaluation
    repairs: tuple[Repair, ...] = ()


def repair(
    labeling: Labeling,
    score: _Scored,
    rule: Rule,
    config: SearchConfig,
    rng: random.Random,
    keep_worse: bool = False,
    hopeless: frozenset[Pair] = frozenset(),
) -> Repaired:
    """Algorithm 2: draw an inconsistent pair, try every consistent option, keep the best if U rises.

    Works on the proposal alone: the accepted labels are never touched. With `keep_worse` the best option is kept
    even if U falls (the authors' code). A pair that no option helps is not drawn again until a label changes.
    """
    now: Repaired | None = None
    for _ in range(config.max_repairs):
        pairs = [pair for pair in rule.conflicts(labeling) if pair not in hopeless]
        if not pairs:
            break
        pair = pairs[_below(rng, len(pairs))]
        done = _repair_pair(labeling, pair, score, _options(labeling, *pair, rule, config), keep_worse)
        now = replace(done, repairs=(*(now.repairs if now else ()), *done.repairs))
        hopeless = frozenset() if done.repairs[0].taken else hopeless | {pair}
        labeling = done.labeling
    if now is None:
        before, (after,) = score([labeling])
        return Repaired(labeling, before, after)
    return now


def _repair_pair(
    labeling: Labeling, pair: Pair, score: _Scored, options: Sequence[tuple[Label, Label]], keep_worse: bool
) -> Repaired:
    """One round: score every option for the pair, and take the best one if U rises, or in any case."""
    i, j = pair
    candidates = [labeling.assign(i, a).assign(j, b) for a, b in options]
    before, (current, *scored) = score([labeling, *candidates])
    best = max(range(len(scored)), key=lambda k: scored[k].utility, default=-1)  # -1: there is no option
    taken = best >= 0 and (keep_worse or scored[best].utility > current.utility)
    tried = tuple(Option(labels, result.utility) for labels, result in zip(options, scored, strict=True))
    record = Repair(pair, (labeling[i], labeling[j]), current.utility, tried, options[best] if taken else None)
    return Repaired(candidates[best] if taken else labeling, before, scored[best] if taken else current, (record,))


def _options(labeling: Labeling, i: int, j: int, rule: Rule, config: SearchConfig) -> list[tuple[Label, Label]]:
    """Every consistent pair of labels; without FF where the pair excludes TT, if the config leaves FF out."""
    options = rule.consistent_options(i, j, labeling)
    if config.offer_neither or (rule.true_label, rule.true_label) in options:
        return options
    return [pair for pair in options if rule.true_label in pair]


def temperature(n: int, accepted: int, config: SearchConfig) -> float:
    """T = max(Tmin, T0 / (1 + beta * ln n)); n counts steps from 1, or 1 + the proposals accepted so far."""
    count = n if config.cooling == "per-step" else 1 + accepted
    return max(config.final_temperature, config.initial_temperature / (1 + config.cooling_rate * math.log(count)))


def accept_probability(delta: float, temperature: float) -> float:
    """Return 1 for a gain, else exp(delta / T); a gain is decided first, since exp of it can overflow."""
    return 1.0 if delta > 0 else math.exp(delta / temperature)


def draw_example(labeling: Labeling, objective: Objective, config: SearchConfig, rng: random.Random) -> int:
    """Draw an example: weight 1, but `neighbour_weight` for an unlabelled one tied to a labelled one.

    The urn is every example once, then the extra weight of the few that have it, so that a draw looks at the
    labelled examples and their groups and never scans the data set.
    """
    waiting = sorted({j for i in labeling for j in objective.rule.neighbours(i) if j not in labeling})
    extra = config.neighbour_weight - 1
    size = len(objective.examples)
    ticket = _below(rng, size + extra * len(waiting))
    return ticket if ticket < size else waiting[(ticket - size) // extra]


def random_of(seed: int, n: int) -> random.Random:
    """Randomness is a pure function of (seed, n): pause, crash, replay and fork all give the same chain."""
    return random.Random(f"{seed}:{n}")


def _below(rng: random.Random, bound: int) -> int:
    """A whole number below the bound, from `random()` alone, whose sequence Python promises to keep."""
    return min(int(rng.random() * bound), bound - 1)


def _sample(rng: random.Random, size: int, count: int) -> list[int]:
    """Distinct numbers below size, in the order drawn, without building the whole range."""
    chosen: dict[int, None] = {}
    while len(chosen) < count:
        chosen[_below(rng, size)] = None
    return list(chosen)


def _coins(rng: random.Random, labels: tuple[Label, ...], config: SearchConfig, count: int) -> list[Label]:
    if config.initial_draw == "coin-flips":
        return [labels[_below(rng, len(labels))] for _ in range(count)]
    equal_parts = [labels[k % len(labels)] for k in range(count)]
    return [equal_parts.pop(_below(rng, len(equal_parts))) for _ in range(count)]


def _flips(before: Labeling, after: Labeling, cause: Cause) -> tuple[Flip, ...]:
    return tuple(Flip(i, before.get(i), y, cause) for i, y in after.items() if before.get(i) != y)
