"""Check a run's whole log against the method: every draw, repair, temperature, delta and verdict is recomputed.

Nothing is scored: Algorithm 2 runs again on the logged utilities. The log-probabilities themselves can only come from
the model, which `rescore` asks again. Other contents of a log are checked in `verify_records`; docs/reliability.md
lists what no log can decide.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from icm_engine.core.advance import due, planned_block
from icm_engine.core.batching import FIRST
from icm_engine.core.consistency import Pair
from icm_engine.core.errors import IcmError
from icm_engine.core.interventions import AppliedIntervention
from icm_engine.core.labeling import Label, Labeling
from icm_engine.core.objective import Evaluation, Objective, form_of
from icm_engine.core.repair import ConsistencyFix, Repair
from icm_engine.core.rng import random_of
from icm_engine.core.scoring import no_scorer
from icm_engine.core.search import (
    InitialInfo,
    State,
    StepInfo,
    accept_probability,
    draw_example,
    flips_between,
    initial_labels,
    known_scores,
    temperature,
)
from icm_engine.core.settings import SearchConfig
from icm_engine.runs.baseline_run import given_labels
from icm_engine.runs.verify_records import (
    Audited,
    FoldsWalk,
    Prompts,
    audit_problems,
    before_problems,
    beginning_problems,
    close,
    data_problems,
    end_problems,
    estimate_problems,
    evaluation_problems,
    form_problems,
    hand_problems,
    initial_form_problems,
    mass_after,
    movers_problems,
    pairs_problems,
    refresh_problems,
    undecided_problems,
)
from icm_engine.store.bodies import EvaluationBody, StepBody
from icm_engine.store.events import SEARCH, decode_done, decode_refresh, encode_state, tuned
from icm_engine.store.replay import AUDIT, STATE_KINDS, OpenRun, after_event
from icm_engine.store.store import Event, Store

READ_AT_ONCE = 50  # events: decoded, thousands would keep the garbage collector busy
BEGINNINGS = ("initial", "forked", "labelled")  # and the first round of a search with folds


def verify(store: Store, opened: OpenRun) -> tuple[int, list[str]]:
    """Return the number of steps checked and all problems of the log, in words; nothing is scored."""
    after = frozenset(event.body.get("after", 0) for event in store.stored_after(opened.name, kinds=(AUDIT,)))
    checking = LogWalk(store, opened.whole(), opened.spec.search, audited=Audited(after))
    checking.wrong += [f"the database: {problem}" for problem in store.damage()]
    try:
        while some := store.stored_after(opened.name, checking.number, limit=READ_AT_ONCE):
            for event in some:
                checking.take(event)
    except (IcmError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        checking.wrong.append(f"event {checking.number} cannot be read ({error!r}), nor anything after it")
    return checking.steps, checking.wrong


@dataclass
class LogWalk:
    """A walk through a log: the current state, and the problems so far."""

    store: Store
    opened: OpenRun
    config: SearchConfig
    state: State | None = None
    number: int = 0
    steps: int = 0
    first_version: bool = True  # whether all steps so far are of version 1
    acts: tuple[AppliedIntervention, ...] = ()  # of a person, so far
    hashed: bool | None = None  # whether the steps so far have the hashes of their prompts
    audited: Audited = field(default_factory=lambda: Audited(frozenset()))
    folds: FoldsWalk = field(init=False)

    def __post_init__(self) -> None:
        self.wrong: list[str] = []
        self.folds = FoldsWalk(self.opened)
        self.prompts = Prompts(self.opened.dataset.task, self.opened.dataset.examples)

    def again(self) -> "LogWalk":
        """Return another walk at the same place."""
        other = replace(self, audited=self.audited.again())
        other.folds = self.folds.again()
        return other

    def take(self, event: Event) -> None:
        """Check one event; an event that raises cannot be read."""
        missing, self.number = range(self.number + 1, event.number), event.number
        if missing:
            self.wrong.append(f"event {missing[0]} is missing")
        for problem in self._problems(event):  # one by one: later events may be unreadable
            self.wrong.append(f"event {event.number}: {problem}")
        self.audited.reach(event.number, self.state)

    def _problems(self, event: Event) -> Iterator[str]:
        if event.kind == "finished" and self.state is not None and event.finished["steps"] != self.state.step:
            yield f"finished after {event.finished['steps']} steps, the log has {self.state.step}"
        if self.state is not None and self.opened.spec.source == SEARCH:
            yield from end_problems(event, self.state, self.config)
        yield from self.folds.problems(event, self.state, self.config)
        if event.kind == AUDIT:
            yield from audit_problems(event.audit, self.opened, self.audited)
        if event.kind in STATE_KINDS:
            begins = event.kind in BEGINNINGS or (event.kind == "round" and self.state is None)
            if (self.state is None) != begins:
                yield f"is a {event.kind} {'before' if self.state is None else 'after'} the initial labels"
                return
            yield from self._of_state(event)
        yield from self._snapshot_problems(event)

    def _of_state(self, event: Event) -> Iterator[str]:
        if event.kind == "retuned":
            self.config = tuned(self.config, event.retuned["settings"])
        objective = self.opened.objective(self.config, no_scorer())
        if self.state is None:
            yield from data_problems(self.opened, event.body)
        if event.kind == "initial":
            given = given_labels(self.opened) if self.opened.spec.given else None
            info = self.opened.codec.decode_initial(event.initial)
            yield from initial_form_problems(event.body, info, self.opened.codec)
            yield from _initial_problems(info, objective, self.config, given)
        elif event.kind == "step" and self.state is not None:
            yield from self._of_step(event, self.state, objective)
        elif event.kind == "refreshed" and self.state is not None:
            yield from self._of_refresh(event, self.state, objective)
        elif event.kind == "hand" and self.state is not None:
            yield from hand_problems(self.opened.codec, event.hand, self.state, self.acts)
            self.acts += tuple(decode_done(self.opened.codec, done) for done in event.hand["acts"])
        elif event.kind == "round" and self.state is not None:
            self.steps += 1
        known, self.state = self.state, after_event(self.opened.codec, event, self.state)
        assert self.state is not None
        yield from _sum_problems(event.body)
        if known is None:
            yield from beginning_problems(self.store, self.opened, event, self.state)
        estimated = "estimate" in event.body or (event.kind == "refreshed" and event.refreshed["after"] is None)
        if (known is None or known.evaluation is not self.state.evaluation) and not estimated:
            yield from _utility_problems(event, self.state, objective)

    def _of_refresh(self, event: Event, state: State, objective: Objective) -> Iterator[str]:
        info = decode_refresh(self.opened.codec, event.refreshed, state)
        yield from refresh_problems(
            info,
            event.refreshed,
            state,
            lambda now: due(now, objective, self.config),
            lambda now, size: planned_block(now, objective, self.config, size),
        )

    def _of_step(self, event: Event, state: State, objective: Objective) -> Iterator[str]:
        info, body = self.opened.codec.decode_step(event.step, state), event.step
        yield from _step_problems(info, body, state, objective, self.config, self.opened.codec.ids)
        yield from form_problems(event.body, info, self.opened.codec, state.labeling)
        yield from before_problems(info, body, state)
        yield from self._decision_problems(event, info, state, objective)
        yield from estimate_problems(info, state, objective, self.config)
        yield from _mass_problems(body["label_mass"], info.scores.mass)
        yield from movers_problems(body, info, state, self.opened.codec)
        yield from self._prompt_problems(info, body["prompt_sha256"], state)
        self.steps += 1

    def _prompt_problems(self, info: StepInfo, said: str, state: State) -> Iterator[str]:
        """Problems with prompt hashes; a log has them for all steps or for none."""
        self.hashed = bool(said) if self.hashed is None else self.hashed
        placed = info.reused or form_of(self.config.predictability).centred
        if said != (self.prompts.sha256(state, info.example, placed) if self.hashed else ""):
            yield "asked another prompt than its texts, template and labels give"

    def _decision_problems(self, event: Event, info: StepInfo, state: State, objective: Objective) -> Iterator[str]:
        """Problems of a decision. Steps of version 1 tried unrepairable pairs again first; those are skipped."""
        first = "paired" not in event.step
        if first and not self.first_version:
            yield "is a step of the first version of this program after one of a later version"
        self.first_version = first
        if "reused" in event.step and info.reused != (info.example in known_scores(state, self.config)):
            yield f"{'took over' if info.reused else 'asked again for'} log-probabilities against its settings"
        unrepairable = frozenset[Pair]() if first else state.unrepairable
        open_pairs = self.config.repair_unchanged and not unrepairable.issuperset(state.evaluation.pairs)
        if (info.after is not None) != (info.proposed != info.old or open_pairs):
            yield f"scored {'a' if info.after else 'no'} proposal against its labels and inconsistent pairs"
        if info.after is None:
            yield from undecided_problems(info, event.body)
            return
        if info.paired != self.config.paired and not first:
            yield f"says that it was {'' if info.paired else 'not '}scored paired, against its settings"
        yield from evaluation_problems("before", info.before, event.step["before"]["label_mass"], objective)
        yield from evaluation_problems("after", info.after, mass_after(event.step), objective)
        yield from pairs_problems(info, info.after, state, objective)
        if not first:
            yield from _decision_problems(info, info.after, state, objective, self.config)

    def _snapshot_problems(self, event: Event) -> Iterator[str]:
        """A stored snapshot must equal the state that the log leads to: a resumed run begins with it."""
        kept = self.store.snapshot(self.opened.name, event.number)
        if kept is None or kept[0] != event.number or self.state is None:
            return
        if kept[1] != encode_state(self.opened.codec, self.state):
            yield "the state kept after it is not what the log leads to"


class _Unlike(ValueError):
    """The log lacks utilities that Algorithm 2 asks for."""


class _Recorded:
    """The logged utilities of what Algorithm 2 scored, in order, counted as `CachedEvaluator` does."""

    def __init__(
        self, labeling: Labeling, before: Evaluation, repairs: Sequence[Repair], after: Evaluation, paired: bool = False
    ) -> None:
        self.labeling, self.before, self.paired = labeling, before, paired
        rounds = [[repair.utility, *(option.utility for option in repair.options)] for repair in repairs]
        self._rounds = rounds or [[after.utility]]
        self._seen = {} if paired else {labeling: before.utility}
        self.set_evaluations = 0

    def __call__(self, labelings: Sequence[Labeling]) -> tuple[Evaluation, list[Evaluation]]:
        known = self._rounds.pop(0) if self._rounds else []
        if len(known) != len(labelings):
            raise _Unlike(f"{len(labelings)} labelings were to be scored, the log has {len(known)}")
        if self.paired:  # every walk scores the pre-step labeling again; the log has the last walk's result
            self._seen = {}
        self.set_evaluations += len({self.labeling, *labelings} - set(self._seen))
        if self.paired and not self._rounds:
            self._seen = {self.labeling: self.before.utility}
        for labeling, utility in zip(labelings, known, strict=True):
            if self._seen.setdefault(labeling, utility) != utility:
                raise _Unlike(f"one labeling has U {self._seen[labeling]} and {utility}")
        return self.before, [Evaluation(utility, 0.0, 0.0, ()) for utility in known]


def _initial_problems(
    info: InitialInfo, objective: Objective, config: SearchConfig, given: Mapping[int, Label] | None
) -> Iterator[str]:
    rng = random_of(config.seed, 0)
    start = initial_labels(objective, config, rng, given)
    if tuple(start.items()) != info.drawn:
        yield "its initial labels are not what the seed draws, or what was given"
    nothing = Labeling()
    score = _Recorded(nothing, objective.evaluation(nothing, {}), info.repairs, info.after)
    try:
        repaired = ConsistencyFix(score, objective.rule, config)(start, rng)
    except _Unlike as error:
        yield f"its repairs are not what Algorithm 2 does: {error}"
        return
    if repaired.repairs != info.repairs:
        yield "its repairs are not what Algorithm 2 does with these utilities"
    if score.set_evaluations != info.set_evaluations:
        yield f"scored {score.set_evaluations} labelings, and says {info.set_evaluations}"
    if not close(repaired.after.utility, info.after.utility):
        yield f"U after is {info.after.utility}, its last repair led to {repaired.after.utility}"
    if flips_between(nothing, start, "initial") + flips_between(start, repaired.labeling, "repair") != info.flips:
        yield "its label changes are not what its draw and repairs lead to"


def _step_problems(
    info: StepInfo, body: StepBody, state: State, objective: Objective, config: SearchConfig, ids: Sequence[str]
) -> Iterator[str]:
    if info.number != state.step + 1:
        yield f"follows step {state.step}"
    if info.temperature != temperature(state.step + 1, state.accepted, config):
        yield f"temperature {info.temperature} is not the schedule's"
    pins, rng = state.hand.pins, random_of(config.seed, state.step + 1)
    drawn = draw_example(state.labeling, objective, config, rng, pins)
    if info.example != drawn:
        yield f"drew {ids[info.example]!r}, the seed draws {ids[drawn]!r}"
    if info.old != state.labeling.get(info.example):
        yield f"says that the label was {info.old!r}, it was {state.labeling.get(info.example)!r}"
    if info.reused and info.scores != known_scores(state, config).get(info.example):
        yield "took log-probabilities for the drawn example that the labels before it do not have"
    foremost = objective.foremost(state.evaluation.scores, info.example, info.scores)
    if info.proposed != foremost[0]:
        yield f"proposed {info.proposed!r}, which is not the likeliest label"
    if state.version > FIRST and info.tied != (foremost if len(foremost) > 1 else ()):
        yield f"says that {len(info.tied)} labels tie, its log-probabilities have {len(foremost)} at the top"
    if info.before.utility != state.evaluation.utility and not config.paired:
        yield f"U before is {info.before.utility}, the accepted labeling has {state.evaluation.utility}"
    if touched := [ids[flip.example] for flip in info.flips if flip.example in pins]:
        yield f"changes the label of {touched[0]!r}, which a person pinned"
    if body["accepted"] != (info.verdict == "accepted"):
        yield f"says accepted: {body['accepted']}, and is {info.verdict}"
    if info.after is None:
        return
    if not close(info.delta, info.after.utility - info.before.utility):
        yield f"delta {info.delta} is not U after minus U before"
    probability = accept_probability(info.delta, info.temperature, info.estimate.error if info.estimate else 0.0)
    if info.accept_probability != probability:
        yield f"accepted with a chance of {info.accept_probability}, its delta and temperature give {probability}"
    if info.verdict not in ("unchanged", "accepted" if info.draw < probability else "rejected"):
        yield f"{info.verdict} against its delta, temperature and draw"


def _decision_problems(
    info: StepInfo, after: Evaluation, state: State, objective: Objective, config: SearchConfig
) -> Iterator[str]:
    """Lines 7-16 again, with the logged utilities."""
    rng = random_of(config.seed, info.number)
    draw_example(state.labeling, objective, config, rng, state.hand.pins)
    unrepairable = state.unrepairable if info.proposed == info.old else frozenset()
    score = _Recorded(state.labeling, info.before, info.repairs, after, info.paired)
    proposal = state.labeling.assign(info.example, info.proposed)
    repairer = ConsistencyFix(score, objective.rule, config, state.hand.pins, unrepairable, config.keep_worse_repair)
    try:
        repaired = repairer(proposal, rng)
    except _Unlike as error:
        yield f"its repairs are not what Algorithm 2 does: {error}"
        return
    scored = 0 if info.estimate else score.set_evaluations
    if scored != info.set_evaluations:
        yield f"scored {scored} labelings, and says {info.set_evaluations}"
    if repaired.repairs != info.repairs:
        yield "its repairs are not what Algorithm 2 does with these utilities"
    flips = flips_between(state.labeling, proposal, "proposal")
    if flips + flips_between(proposal, repaired.labeling, "repair") != info.flips:
        yield "its label changes are not what its proposal and repairs lead to"
    if not close(repaired.after.utility, after.utility):
        yield f"U after is {after.utility}, its last repair led to {repaired.after.utility}"
    if info.draw != (draw := rng.random()):
        yield f"the draw is {info.draw}, the seed gives {draw}"
    if (info.verdict == "unchanged") != (repaired.labeling == state.labeling):
        yield f"{info.verdict} against its label changes"


def _mass_problems(said: float, mass: float) -> Iterator[str]:
    if not close(said, mass):
        yield f"says that {said} of the probability fell on the labels, its log-probabilities give {mass}"


def _sum_problems(body: Mapping[str, Any]) -> Iterator[str]:
    """U must be alpha P minus I wherever an event evaluates a labeling."""
    for name in ("before", "tried", "after"):
        said = body.get(name)
        if said is not None and said["utility"] != said["weighted_predictability"] - said["inconsistency"]:
            yield f"says that U {name} is {said['utility']}, which its parts do not give"


def _utility_problems(event: Event, state: State, objective: Objective) -> Iterator[str]:
    """U of the accepted labeling, recomputed from its per-example log-probabilities."""
    now, again = state.evaluation, objective.evaluation(state.labeling, state.evaluation.scores)
    for name in ("utility", "weighted_predictability", "mutual_predictability", "inconsistency"):
        said, found = getattr(now, name), getattr(again, name)
        if not close(said, found):
            yield f"{name.replace('_', ' ')} is {said}, its log-probabilities give {found}"
    if set(now.pairs) != set(again.pairs):
        yield f"has {len(now.pairs)} inconsistent pairs, its labels have {len(again.pairs)}"
    said_of_it: EvaluationBody | None = event.body.get("after")
    if said_of_it is not None and event.body.get("scores") is not None:
        yield from _mass_problems(said_of_it["label_mass"], now.label_mass)
