"""Check a run's whole log against the method: every draw, repair, temperature, delta and verdict, done again.

Nothing is scored: Algorithm 2 runs again on the utilities that the log has. What only the model can tell, the
log-probabilities themselves, `rescore` asks it again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose

from icm_engine.core.draws import random_of
from icm_engine.core.errors import IcmError
from icm_engine.core.labeling import Label, Labeling
from icm_engine.core.objective import Evaluation, Objective
from icm_engine.core.repair import Repair, Repairer
from icm_engine.core.scoring import no_scorer
from icm_engine.core.search import (
    InitialInfo,
    State,
    StepInfo,
    accept_probability,
    draw_example,
    flips_between,
    initial_labels,
    temperature,
)
from icm_engine.core.settings import SearchConfig
from icm_engine.runs.events import Json
from icm_engine.runs.interventions import encode_state, tuned
from icm_engine.runs.labelling import given_labels
from icm_engine.runs.replay import STATE_KINDS, OpenRun, after_event
from icm_engine.runs.store import Event, Store

TOLERANCE = 1e-9  # relative: sums of floats, taken in another order
READ_AT_ONCE = 1000  # events
BEGINNINGS = ("initial", "forked", "labelled")


def verify(store: Store, opened: OpenRun) -> tuple[int, list[str]]:
    """Return the number of steps checked and what is wrong with the log, in words; nothing is scored again."""
    checking = _Checking(store, opened.whole(), opened.spec.search)
    checking.wrong += [f"the database: {problem}" for problem in store.damage()]
    try:
        while some := store.stored_after(opened.name, checking.number, limit=READ_AT_ONCE):
            for event in some:
                checking.take(event)
    except (IcmError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        checking.wrong.append(f"event {checking.number} cannot be read ({error!r}), nor anything after it")
    return checking.steps, checking.wrong


@dataclass
class _Checking:
    """A walk through a log: where it stands, and what was wrong on the way."""

    store: Store
    opened: OpenRun
    config: SearchConfig
    state: State | None = None
    number: int = 0
    steps: int = 0
    first_version: bool = True  # whether all steps so far are of it

    def __post_init__(self) -> None:
        self.wrong: list[str] = []

    def take(self, event: Event) -> None:
        """Check one event; whatever it raises, it cannot be read."""
        missing, self.number = range(self.number + 1, event.number), event.number
        if missing:
            self.wrong.append(f"event {missing[0]} is missing")
        self.wrong += [f"event {event.number}: {problem}" for problem in self._problems(event)]

    def _problems(self, event: Event) -> Iterator[str]:
        if event.kind == "finished" and self.state is not None and event.body["steps"] != self.state.step:
            yield f"finished after {event.body['steps']} steps, the log has {self.state.step}"
        if event.kind in STATE_KINDS:
            if (self.state is None) != (event.kind in BEGINNINGS):
                yield f"is a {event.kind} {'before' if self.state is None else 'after'} the initial labels"
                return
            yield from self._of_state(event)
        yield from self._snapshot_problems(event)

    def _of_state(self, event: Event) -> Iterator[str]:
        if event.kind == "retuned":
            self.config = tuned(self.config, event.body["settings"])
        objective = self.opened.objective(self.config, no_scorer())
        if event.kind == "initial":
            given = given_labels(self.opened) if self.opened.spec.given else None
            yield from _initial_problems(self.opened.codec.decode_initial(event.body), objective, self.config, given)
        elif event.kind == "step" and self.state is not None:
            info = self.opened.codec.decode_step(event.body, self.state)
            yield from _step_problems(info, self.state, objective, self.config, self.opened.codec.ids)
            yield from self._decision_problems(event, info, self.state, objective)
            yield from _mass_problems(event.body["label_mass"], info.scores.mass)
            self.steps += 1
        self.state = after_event(self.opened.codec, event, self.state)
        assert self.state is not None
        yield from _sum_problems(event.body)
        yield from _utility_problems(event, self.state, objective)

    def _decision_problems(self, event: Event, info: StepInfo, state: State, objective: Objective) -> Iterator[str]:
        """Steps of the first version repaired hopeless pairs again: they come before all others, and are left out."""
        first = "paired" not in event.body
        if first and not self.first_version:
            yield "is a step of the first version of this program after one of a later version"
        self.first_version = first
        if info.after is not None and not first:
            yield from _decision_problems(info, info.after, state, objective, self.config)

    def _snapshot_problems(self, event: Event) -> Iterator[str]:
        """A whole state kept after this event is what the log leads to: whoever resumes begins with it."""
        kept = self.store.snapshot(self.opened.name, event.number)
        if kept is None or kept[0] != event.number or self.state is None:
            return
        if kept[1] != encode_state(self.opened.codec, self.state):
            yield "the state kept after it is not what the log leads to"


class _Recorded:
    """The utilities that a log has of what Algorithm 2 scored, in the order it scored them."""

    def __init__(self, before: Evaluation, repairs: Sequence[Repair], after: Evaluation) -> None:
        self.before = before
        rounds = [[repair.utility, *(option.utility for option in repair.options)] for repair in repairs]
        self._rounds = iter(rounds or [[after.utility]])

    def __call__(self, labelings: Sequence[Labeling]) -> tuple[Evaluation, list[Evaluation]]:
        known = next(self._rounds, [])
        if len(known) != len(labelings):
            raise ValueError(f"{len(labelings)} labelings were to be scored, the log has {len(known)}")
        return self.before, [Evaluation(utility, 0.0, 0.0, ()) for utility in known]


def _initial_problems(
    info: InitialInfo, objective: Objective, config: SearchConfig, given: Mapping[int, Label] | None
) -> Iterator[str]:
    rng = random_of(config.seed, 0)
    start = initial_labels(objective, config, rng, given)
    if tuple(start.items()) != info.drawn:
        yield "its initial labels are not what the seed draws, or what was given"
    score = _Recorded(info.after, info.repairs, info.after)
    repaired = Repairer(score, objective.rule, config)(start, rng)
    if repaired.repairs != info.repairs:
        yield "its repairs are not what Algorithm 2 does with these utilities"
    nothing = Labeling()
    if flips_between(nothing, start, "initial") + flips_between(start, repaired.labeling, "repair") != info.flips:
        yield "its label changes are not what its draw and repairs lead to"


def _step_problems(
    info: StepInfo, state: State, objective: Objective, config: SearchConfig, ids: Sequence[str]
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
    if info.reused and info.scores != state.evaluation.scores[info.example]:
        yield "took log-probabilities for the drawn example that the labels before it do not have"
    if info.proposed != objective.task.labels[info.scores.argmax]:
        yield f"proposed {info.proposed!r}, which is not the likeliest label"
    if info.before.utility != state.evaluation.utility and not config.paired:
        yield f"U before is {info.before.utility}, the accepted labeling has {state.evaluation.utility}"
    if touched := [ids[flip.example] for flip in info.flips if flip.example in pins]:
        yield f"changes the label of {touched[0]!r}, which a person pinned"
    if info.after is None:
        return
    if not isclose(info.delta, info.after.utility - info.before.utility, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        yield f"delta {info.delta} is not U after minus U before"
    probability = accept_probability(info.delta, info.temperature)
    if info.accept_probability != probability:
        yield f"accepted with a chance of {info.accept_probability}, its delta and temperature give {probability}"
    if info.verdict not in ("unchanged", "accepted" if info.delta > 0 or info.draw < probability else "rejected"):
        yield f"{info.verdict} against its delta, temperature and draw"


def _decision_problems(
    info: StepInfo, after: Evaluation, state: State, objective: Objective, config: SearchConfig
) -> Iterator[str]:
    """Lines 7-16 again, with the utilities of the log."""
    rng = random_of(config.seed, info.number)
    draw_example(state.labeling, objective, config, rng, state.hand.pins)
    hopeless = state.hopeless if info.proposed == info.old else frozenset()
    score = _Recorded(info.before, info.repairs, after)
    proposal = state.labeling.assign(info.example, info.proposed)
    repairer = Repairer(score, objective.rule, config, state.hand.pins, hopeless, config.keep_worse_repair)
    repaired = repairer(proposal, rng)
    if repaired.repairs != info.repairs:
        yield "its repairs are not what Algorithm 2 does with these utilities"
    flips = flips_between(state.labeling, proposal, "proposal")
    if flips + flips_between(proposal, repaired.labeling, "repair") != info.flips:
        yield "its label changes are not what its proposal and repairs lead to"
    if not isclose(repaired.after.utility, after.utility, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        yield f"U after is {after.utility}, its last repair led to {repaired.after.utility}"
    if info.draw != (draw := rng.random()):
        yield f"the draw is {info.draw}, the seed gives {draw}"
    if (info.verdict == "unchanged") != (repaired.labeling == state.labeling):
        yield f"{info.verdict} against its label changes"


def _mass_problems(said: float, mass: float) -> Iterator[str]:
    if not isclose(said, mass, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        yield f"says that {said} of the probability fell on the labels, its log-probabilities give {mass}"


def _sum_problems(body: Json) -> Iterator[str]:
    """U is alpha P minus I in whatever an event says of a labeling."""
    for name in ("before", "after"):
        said = body.get(name)
        if said is not None and said["utility"] != said["weighted_predictability"] - said["inconsistency"]:
            yield f"says that U {name} is {said['utility']}, which its parts do not give"


def _utility_problems(event: Event, state: State, objective: Objective) -> Iterator[str]:
    """U of the accepted labeling, put together again from its per-example log-probabilities."""
    now, again = state.evaluation, objective.evaluation(state.labeling, state.evaluation.scores)
    for name in ("utility", "weighted_predictability", "mutual_predictability", "inconsistency"):
        said, found = getattr(now, name), getattr(again, name)
        if not isclose(said, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{name.replace('_', ' ')} is {said}, its log-probabilities give {found}"
    if set(now.pairs) != set(again.pairs):
        yield f"has {len(now.pairs)} inconsistent pairs, its labels have {len(again.pairs)}"
    said_of_it: Json | None = event.body.get("after")
    if said_of_it is not None and event.body.get("scores") is not None:
        yield from _mass_problems(said_of_it["label_mass"], now.label_mass)
