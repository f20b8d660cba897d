"""A run as read so far: frozen, and extended by the events after its cursor, never read twice.

Labels change here only through the search's own `apply`, so what people see is what a replay gives.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from icm_engine.analysis.steps import StepRow, step_row
from icm_engine.analysis.tally import Accuracy, Tally
from icm_engine.core.labeling import Label, Labeling
from icm_engine.core.search import State, start
from icm_engine.runs.events import Json
from icm_engine.runs.replay import OpenRun
from icm_engine.runs.store import Event

WINDOW = 50  # proposals that the rolling acceptance rate looks back on, and steps that the pace does
STEPS_KEPT = 200  # rows of the last-steps table


@dataclass(frozen=True, slots=True)
class Point:
    """One place on every curve: the accepted labeling after a step (step 0: the initial labels)."""

    step: int
    utility: float
    weighted_predictability: float
    inconsistency: float
    temperature: float | None
    acceptance_rate: float | None  # over the last 50 proposals; None before the first
    balance: tuple[int, ...]
    accuracy: Accuracy | None
    verdict: str
    delta: float

    @property
    def labelled(self) -> int:
        return sum(self.balance)


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A run's curves: one point a step, the initial labels first."""

    labels: tuple[Label, ...]
    points: tuple[Point, ...] = ()

    @property
    def last(self) -> Point | None:
        return self.points[-1] if self.points else None


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has cost so far; `tokens_full` is what separate full prompts would have been."""

    prompts: int = 0
    tokens_encoded: int = 0
    tokens_full: int = 0
    set_evaluations: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0  # the largest mean length of a step's prompts

    def plus(self, event: Event) -> "Spent":
        usage = event.body["usage"]
        return Spent(
            self.prompts + usage["prompts"],
            self.tokens_encoded + usage["tokens_encoded"],
            self.tokens_full + usage["tokens_full"],
            self.set_evaluations + event.body["set_evaluations"],
            self.seconds + event.seconds,
            max(self.prompt_tokens, usage["tokens_full"] // max(1, usage["prompts"])),
        )


class Change(NamedTuple):
    """What became of one example's label: the step of its last change, and how often it went to another label."""

    last: int
    flips: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed: the error's class and its message, which is text from outside and never markup."""

    error: str
    message: str


@dataclass(frozen=True)
class Reading:
    """Everything read of a run up to event `cursor`."""

    run: OpenRun
    gold: Mapping[str, Label]  # by example id; empty where there is none
    trajectory: Trajectory
    tally: Tally
    cursor: int = 0
    state: State | None = None
    changes: Mapping[int, Change] = field(default_factory=dict)
    proposals: int = 0
    accepted: int = 0
    window: tuple[bool, ...] = ()  # accepted or not, of the last 50 proposals
    pace: tuple[float, ...] = ()  # seconds of the last 50 steps
    spent: Spent = Spent()
    steps: tuple[StepRow, ...] = ()  # the last ones, oldest first
    model: Json = field(default_factory=dict)  # the scorer's own description
    failure: Failure | None = None

    @property
    def labeling(self) -> Labeling:
        return self.state.labeling if self.state else Labeling()

    def extended(self, events: Iterable[Event]) -> "Reading":
        """Return the reading after these events, the ones that follow the cursor, in order."""
        fold = _Fold(self)
        for event in events:
            fold.take(event)
        return fold.frozen()


def empty_reading(run: OpenRun, gold: Mapping[str, Label], counts: Mapping[Label, int] | None = None) -> Reading:
    """Return the reading of a run before its first event; `gold` has labels of the run's own examples only.

    `counts` says how often each label is in it, where that is known.
    """
    labels = run.dataset.task.labels
    return Reading(run, gold, Trajectory(labels), Tally(labels, Counter(gold.values()) if counts is None else counts))


class _Fold:
    """The one mutable thing here: takes a batch of events, so that a long run is not copied once a step."""

    def __init__(self, reading: Reading) -> None:
        self.reading, self.codec = reading, reading.run.codec
        self.state, self.tally, self.cursor = reading.state, reading.tally, reading.cursor
        self.points = list(reading.trajectory.points)
        self.changes = dict(reading.changes)
        self.proposals, self.accepted = reading.proposals, reading.accepted
        self.window = deque(reading.window, WINDOW)
        self.pace = deque(reading.pace, WINDOW)
        self.steps = deque(reading.steps, STEPS_KEPT)
        self.spent, self.model, self.failure = reading.spent, reading.model, reading.failure

    def take(self, event: Event) -> None:
        """Count one event in; kinds that change nothing people see here only move the cursor."""
        self.cursor = event.number
        if event.kind == "initial":
            self._initial(event)
        elif event.kind == "step":
            self._step(event)
        elif event.kind == "model":
            self.model = event.body
        elif event.kind == "failed":
            self.failure = Failure(str(event.body.get("error", "")), str(event.body.get("message", "")))

    def _initial(self, event: Event) -> None:
        self._become(start(self.codec.decode_initial(event.body)), event.body, 0)
        self.spent = self.spent.plus(event)
        self._point(0, None, "initial", 0.0)

    def _step(self, event: Event) -> None:
        if self.state is None:
            return  # a log without its beginning: nothing can be replayed
        body = event.body
        self.failure = None  # it went on after a resume
        self._become(self.codec.replay_step(body, self.state), body, body["step"])
        if body["verdict"] != "unchanged":
            self.proposals += 1
            self.accepted += body["accepted"]
            self.window.append(body["accepted"])
        self.spent = self.spent.plus(event)
        self.pace.append(event.seconds)
        self.steps.append(step_row(body, event.seconds))
        self._point(body["step"], body["temperature"], body["verdict"], body["delta"])

    def _become(self, state: State, body: Json, step: int) -> None:
        """Move to the next state and count the labels that are different in it; a repair may undo a proposal."""
        before = self.state.labeling if self.state else Labeling()
        for i in {self.codec.index(flip["example"]) for flip in body["flips"]}:
            old, new = before.get(i), state.labeling.get(i)
            if old != new:
                flips = self.changes[i].flips + 1 if i in self.changes else 0
                self.changes[i] = Change(step, flips)
                self.tally = self.tally.changed(old, new, self._gold(i))
        self.state = state

    def _gold(self, i: int) -> Label | None:
        return self.reading.gold.get(self.codec.ids[i])

    def _point(self, step: int, temperature: float | None, verdict: str, delta: float) -> None:
        assert self.state is not None
        now = self.state.evaluation
        rate = sum(self.window) / len(self.window) if self.window else None
        terms = (now.utility, now.weighted_predictability, now.inconsistency)
        counts = (self.tally.balance, self.tally.accuracy)
        self.points.append(Point(step, *terms, temperature, rate, *counts, verdict, delta))

    def frozen(self) -> Reading:
        return replace(
            self.reading,
            trajectory=replace(self.reading.trajectory, points=tuple(self.points)),
            tally=self.tally, cursor=self.cursor, state=self.state, changes=self.changes,
            proposals=self.proposals, accepted=self.accepted, window=tuple(self.window), pace=tuple(self.pace),
            spent=self.spent, steps=tuple(self.steps), model=self.model, failure=self.failure,
        )  # fmt: skip
