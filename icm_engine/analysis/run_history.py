"""A run as read so far: immutable, extended by the events after its cursor, each read once.

Labels change only through the search's own `apply`, so pages show exactly what a replay gives.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from icm_engine.analysis.label_history import (
    ActTime,
    ConflictInterval,
    LabelChange,
    LabelCounts,
    RepairMark,
    causes_of,
    intervals_after,
    last_turn,
)
from icm_engine.analysis.traces import BLOCK, WHOLE, Point, Points, Trajectory, packed, sketched
from icm_engine.core.advance import Breakpoints
from icm_engine.core.consistency import Pair
from icm_engine.core.folds import FOLDS, UNTUNED, fold_settings
from icm_engine.core.interventions import AppliedIntervention
from icm_engine.core.labeling import Label, Labeling
from icm_engine.core.scoring import Retries
from icm_engine.core.search import State
from icm_engine.core.settings import SearchConfig
from icm_engine.store.bodies import AuditBody, FoldBody, RepairBody, RoundOfFoldsBody, ScoredBody, ShrunkBody, StepBody
from icm_engine.store.events import Codec, Json, breakpoints_of, decode_done, tuned
from icm_engine.store.replay import AUDIT, STATE_KINDS, OpenRun, after_event
from icm_engine.store.store import Event

# A shape and a word beside the colour: filled for accepted, hollow for rejected.
VERDICT_WORDS = {"accepted": "● accepted", "rejected": "○ rejected", "unchanged": "– unchanged"}
ROUND_WORDS = {"initial": "– labels to start from", "accepted": "● kept", "rejected": "○ not kept"}


@dataclass(frozen=True, slots=True)
class StepRow:
    """One decision; `repaired` counts the repairs inside the proposal that changed labels."""

    step: int
    example: str  # id
    old: Label | None
    proposed: Label
    delta: float | None  # None where nothing was proposed
    temperature: float
    accept_probability: float | None
    draw: float | None
    verdict: str
    repaired: int
    label_mass: float
    seconds: float

    @property
    def words(self) -> str:
        """The verdict, in words."""
        return VERDICT_WORDS[self.verdict]

    @property
    def repair_words(self) -> str:
        return f"⟲ repaired {self.repaired}" if self.repaired else ""


def step_row(body: StepBody, seconds: float) -> StepRow:
    """Return the row of a `step` event."""
    decided = body["after"] is not None
    return StepRow(
        step=body["step"],
        example=body["example"],
        old=body["old"],
        proposed=body["proposed"],
        delta=body["delta"] if decided else None,
        temperature=body["temperature"],
        accept_probability=body["accept_probability"] if decided else None,
        draw=body["draw"] if decided else None,
        verdict=body["verdict"],
        repaired=sum(repair["taken"] is not None for repair in body["repairs"]),
        label_mass=body["label_mass"],
        seconds=seconds,
    )


@dataclass(frozen=True, slots=True)
class FitRow:
    """One fit of a search with folds: a model tuned on the labels of all folds but one, and asked about that one.

    Fold 0 is all examples, asked of the untuned model; it has no losses.
    """

    event: int
    round: int
    fold: int
    labels: str  # the hash of the labels that the round tries
    held_out: int  # examples
    rows: int  # labels tuned on
    steps: int
    tokens: int  # read in tuning, each as often as it was read
    scored: int  # read in prediction
    first_loss: float | None
    last_loss: float | None
    seconds: float

    @property
    def words(self) -> str:
        """Which fold it is, in words."""
        return "all examples, untuned" if self.fold == UNTUNED else f"fold {self.fold}"


def fit_row(body: FoldBody, event: int, seconds: float) -> FitRow:
    """Return the row of a `fold` event."""
    return FitRow(
        event=event,
        round=body["round"],
        fold=body["fold"],
        labels=body["labels"],
        held_out=len(body["held_out"]),
        rows=body["rows"],
        steps=body["steps"],
        tokens=body["tokens"],
        scored=body["usage"]["tokens_encoded"],
        first_loss=body["first_loss"],
        last_loss=body["last_loss"],
        seconds=seconds,
    )


@dataclass(frozen=True, slots=True)
class RoundRow:
    """One round of a search with folds; `changed` and `groups` count what it tried to change.

    `before` is U of the labels kept so far, None where it is not comparable: in round 0, whose labels the untuned model
    or chance gives, and in round 1, which tries the same labels. `most` and `left` are about the next round.
    """

    number: int
    event: int
    verdict: str
    before: float | None
    tried: float
    changed: int
    groups: int
    repaired: int  # pairs
    most: int | None
    left: int
    seconds: float  # of all its fits

    @property
    def delta(self) -> float | None:
        return None if self.before is None else self.tried - self.before

    @property
    def words(self) -> str:
        """The verdict, in words."""
        return ROUND_WORDS[self.verdict]


def round_row(body: RoundOfFoldsBody, event: int, seconds: float) -> RoundRow:
    """Return the row of a `round` event; the seconds include those of its fits."""
    return RoundRow(
        number=body["step"],
        event=event,
        verdict=round_verdict(body),
        before=body["before"]["utility"] if body["before"] else None,
        tried=body["tried"]["utility"],
        changed=len(body["flips"]),
        groups=body["groups"],
        repaired=sum(repair["taken"] is not None for repair in body["repairs"]),
        most=body["most"],
        left=body["left"],
        seconds=seconds,
    )


def round_verdict(body: RoundOfFoldsBody) -> str:
    """Return the verdict of a round as that of a step; round 0 has the initial labels."""
    return "initial" if not body["step"] else "accepted" if body["kept"] else "rejected"


WINDOW = 50  # proposals in the rolling acceptance rate, and steps in the mean time per step
STEPS_KEPT = 200  # rows of the last-steps table


@dataclass(frozen=True, slots=True)
class Spent:
    """The cost of a run so far; `tokens_full` is the cost with separate full prompts."""

    prompts: int = 0
    tokens_encoded: int = 0
    tokens_full: int = 0
    set_evaluations: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0  # the largest mean prompt length of any step
    fits: int = 0  # models tuned
    tokens_tuned: int = 0  # read in tuning, each as often as it was read

    def tuned(self, fit: FoldBody) -> "Spent":
        return replace(self, fits=self.fits + (fit["fold"] != UNTUNED), tokens_tuned=self.tokens_tuned + fit["tokens"])

    def plus(self, scored: ScoredBody, seconds: float) -> "Spent":
        usage = scored["usage"]
        return replace(
            self,
            prompts=self.prompts + usage["prompts"],
            tokens_encoded=self.tokens_encoded + usage["tokens_encoded"],
            tokens_full=self.tokens_full + usage["tokens_full"],
            set_evaluations=self.set_evaluations + scored["set_evaluations"],
            seconds=self.seconds + seconds,
            prompt_tokens=max(self.prompt_tokens, usage["tokens_full"] // max(1, usage["prompts"])),
        )


class LastChange(NamedTuple):
    """One example's last label change, and how often its label changed."""

    last: int
    flips: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed: error class and message; the message is untrusted text."""

    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that the worker refused, and why; `event` tells refusals apart."""

    event: int
    verb: str
    message: str


@dataclass(frozen=True)
class Reading:
    """Everything read of a run up to event `cursor`."""

    run: OpenRun
    gold: Mapping[str, Label]  # by example id; empty without gold, or where it is withheld
    trajectory: Trajectory
    tally: LabelCounts
    cursor: int = 0
    state: State | None = None
    changes: Mapping[int, LastChange] = field(default_factory=dict)
    proposals: int = 0
    accepted: int = 0
    drawn: int = 0  # the run's own steps
    ties: int = 0  # of these, steps with an exact tie between labels
    window: tuple[bool, ...] = ()  # whether each of the last 50 proposals was accepted
    pace: tuple[float, ...] = ()  # seconds of the last 50 steps
    spent: Spent = Spent()
    steps: tuple[StepRow, ...] = ()  # the last ones, oldest first
    rounds: tuple[RoundRow, ...] = ()  # of a search with folds
    fits: tuple[FitRow, ...] = ()  # of a search with folds, those of the round in progress included
    model: Json = field(default_factory=dict)  # the scorer's own description
    failure: Failure | None = None
    history: tuple[LabelChange, ...] = ()
    repairs: tuple[RepairMark, ...] = ()
    conflict_intervals: Mapping[Pair, ConflictInterval] = field(default_factory=dict)
    acts: tuple[AppliedIntervention, ...] = ()  # a person's acts, oldest first
    moments: tuple[ActTime, ...] = ()  # number of these acts
    config: SearchConfig = field(default_factory=SearchConfig)  # the settings in force
    breakpoints: Breakpoints = field(default_factory=Breakpoints)
    refused: Refusal | None = None  # the last refused command
    sketch: tuple[Point, ...] = ()  # the curve points kept of every complete block
    retries: Retries = field(default_factory=Retries)  # retries of requests to a server
    shrunk: ShrunkBody | None = None  # the last event after memory ran out: tokens per call now, before, and why
    audited: tuple[AuditBody, ...] = ()  # a person's answers in audits, oldest first
    withheld: bool = False  # read without gold; see `analysis.run_cache`

    @property
    def pins(self) -> frozenset[int]:
        """The examples pinned by a person."""
        return self.state.hand.pins if self.state else frozenset()

    @property
    def blind(self) -> bool:
        """Whether a person annotates without seeing gold."""
        return self.withheld or last_turn(self.acts) == "blind"

    @property
    def labeling(self) -> Labeling:
        return self.state.labeling if self.state else Labeling()

    @property
    def by_folds(self) -> bool:
        """Whether the labels are found by rounds of fine-tuned folds."""
        return self.run.spec.source == FOLDS

    @property
    def unit(self) -> str:
        """What the run counts: steps or rounds, in the singular."""
        return self.trajectory.unit

    @property
    def given(self) -> str:
        """What a prediction of an example depends on, in words."""
        return "after tuning on the labels of the other folds" if self.by_folds else "given all other labels"

    @property
    def folds(self) -> int:
        """The number of folds of a round."""
        return fold_settings(self.run.spec.source_options, self.run.spec.search.seed).folds

    @property
    def fitted(self) -> tuple[FitRow, ...]:
        """The fits of the round in progress that count: those to the labels that it tries now."""
        done = self.rounds[-1].number if self.rounds else -1
        return tuple(fit for fit in self.fits if fit.round > done and fit.labels == self.fits[-1].labels)

    @property
    def outline(self) -> Trajectory:
        """The curves for drawing: all points of a short run; for a long run each block's extremes and its last point.

        A block is downsampled once, when complete, so a refresh of a long run processes only its newest points.
        """
        points = self.trajectory.points
        if len(points) <= WHOLE:
            return self.trajectory
        return replace(self.trajectory, points=(*self.sketch, *points[len(points) // BLOCK * BLOCK :]))

    def probability(self, i: int) -> float | None:
        """Return p of an example's label given all the others, renormalised over the labels; None if unlabelled."""
        label = self.labeling.get(i)
        if self.state is None or label is None or i not in self.state.evaluation.scores:
            return None
        return math.exp(self.state.evaluation.scores[i].normalized[self.tally.labels.index(label)])

    def extended(self, events: Iterable[Event]) -> "Reading":
        """Return the reading extended by the events after its cursor, given in order."""
        fold = _Fold(self)
        for event in events:
            fold.take(event)
        return fold.frozen()


def empty_reading(run: OpenRun, gold: Mapping[str, Label], counts: Mapping[Label, int] | None = None) -> Reading:
    """Return the reading of a run before its first event; `gold` covers the run's own examples only.

    `counts` has the number of times each label occurs in it, where known.
    """
    labels = run.dataset.task.labels
    tally = LabelCounts(labels, Counter(gold.values()) if counts is None else counts)
    unit = "round" if run.spec.source == FOLDS else "step"
    return Reading(run, gold, Trajectory(labels, unit=unit), tally, config=run.spec.search)


class _Fold:
    """Accumulates a batch of events; mutable, so that a long run is not copied at every step."""

    def __init__(self, reading: Reading) -> None:
        self.reading, self.codec = reading, reading.run.codec
        self.state, self.tally, self.cursor = reading.state, reading.tally, reading.cursor
        points = reading.trajectory.points
        assert isinstance(points, Points)  # a reading of an earlier moment is not extended
        self.blocks, self.rest, self.last = list(points.blocks), list(points.rest), reading.trajectory.last
        self.changes = dict(reading.changes)
        self.proposals, self.accepted = reading.proposals, reading.accepted
        self.drawn, self.ties = reading.drawn, reading.ties
        self.window = deque(reading.window, WINDOW)
        self.pace = deque(reading.pace, WINDOW)
        self.steps = deque(reading.steps, STEPS_KEPT)
        self.rounds, self.fits = list(reading.rounds), list(reading.fits)
        self.spent, self.model, self.failure = reading.spent, reading.model, reading.failure
        self.history, self.repairs, self.acts = list(reading.history), list(reading.repairs), list(reading.acts)
        self.conflict_intervals, self.config, self.moments = (
            dict(reading.conflict_intervals),
            reading.config,
            list(reading.moments),
        )
        self.breakpoints, self.refused = reading.breakpoints, reading.refused
        self.sketch = list(reading.sketch)
        self.retries, self.shrunk, self.audited = reading.retries, reading.shrunk, list(reading.audited)

    def take(self, event: Event) -> None:
        """Apply one event; kinds that change nothing visible only move the cursor."""
        self.cursor = event.number
        if event.kind in STATE_KINDS:
            self._state(event)
        elif event.kind == "fold":
            self._fit(event)
        elif event.kind == "model":
            self.model = event.body
        elif event.kind == "breakpoints":
            self.breakpoints = breakpoints_of(event.breakpoints)
        elif event.kind == "refused":
            self.refused = Refusal(event.number, event.refused["verb"], event.refused["message"])
        elif event.kind == "retried":
            self.retries = Retries(self.retries.count + event.retried["retries"], event.retried["why"])
        elif event.kind == AUDIT:
            self.audited.append(event.audit)
        elif event.kind == "shrunk":
            self.shrunk = event.shrunk
        elif event.kind == "failed":
            self.failure = Failure(event.failed.get("error", ""), event.failed.get("message", ""))

    def _state(self, event: Event) -> None:
        state = after_event(self.codec, event, self.state)
        if state is None:
            return  # a log without its beginning cannot be replayed
        self._become(state, event)
        if (scored := event.scored) is not None:
            self.spent = self.spent.plus(scored, event.seconds)
        if event.kind == "step":
            self._step(event)
        elif event.kind == "round":
            self._round(event)
        else:
            self._beside(event)

    def _fit(self, event: Event) -> None:
        self.failure = None  # the run continued after a resume
        self.spent = self.spent.plus(event.fold, event.seconds).tuned(event.fold)
        self.fits.append(fit_row(event.fold, event.number, event.seconds))
        if event.fold["fold"] != UNTUNED:
            self.pace.append(event.seconds)

    def _round(self, event: Event) -> None:
        number = event.round["step"]
        took = sum(fit.seconds for fit in self.fits if fit.round == number)
        row = round_row(event.round, event.number, took + event.seconds)
        self.rounds.append(row)
        if row.number:
            self.proposals += 1
            self.accepted += event.round["kept"]
        self._point(event, None, row.verdict, row.delta or 0.0)

    def _step(self, event: Event) -> None:
        body = event.step
        self.failure = None  # the run continued after a resume
        self.drawn, self.ties = self.drawn + 1, self.ties + ("tied" in body)
        if body["verdict"] != "unchanged":
            self.proposals += 1
            self.accepted += body["accepted"]
            self.window.append(body["accepted"])
        self.pace.append(event.seconds)
        self.steps.append(step_row(body, event.seconds))
        self._point(event, body["temperature"], body["verdict"], body["delta"])

    def _beside(self, event: Event) -> None:
        """Apply an event other than a step: initial labels, a fork's start, a person's act, changed settings."""
        if event.kind == "hand":
            self.acts += [decode_done(self.codec, body) for body in event.hand["acts"]]
            self.moments += [ActTime(event.number, event.time)] * len(event.hand["acts"])
        elif event.kind == "retuned":
            self.config = tuned(self.config, event.retuned["settings"])
        elif event.kind == "refreshed" and event.refreshed["after"] is None:
            return  # another sample: U stays
        self._point(event, self.last.temperature if self.last else None, event.kind, 0.0)

    def _become(self, state: State, event: Event) -> None:
        """Move to the next state and count what changed; a repair may undo a proposal."""
        before, after = self.state.labeling if self.state else Labeling(), state.labeling
        if before is not after:
            for example, cause in causes_of(event).items():
                i = self.codec.index(example)
                if before.get(i) != after.get(i):
                    self._changed(LabelChange(state.step, event.number, i, before.get(i), after.get(i), cause))
        then = self.state.since if self.state else {}
        if then.keys() != state.since.keys():
            self.conflict_intervals = intervals_after(self.conflict_intervals, then, state.since, state.step)
        self.repairs += _repair_marks(self.codec, event, state.step)
        self.state = state

    def _changed(self, change: LabelChange) -> None:
        i = change.example
        self.history.append(change)
        self.changes[i] = LastChange(change.step, self.changes[i].flips + 1 if i in self.changes else 0)
        self.tally = self.tally.changed(change.old, change.new, self._gold(i))

    def _gold(self, i: int) -> Label | None:
        return self.reading.gold.get(self.codec.ids[i])

    def _point(self, event: Event, temperature: float | None, verdict: str, delta: float) -> None:
        assert self.state is not None
        now = self.state.evaluation
        rate = sum(self.window) / len(self.window) if self.window else None
        terms = (now.utility, now.weighted_predictability, now.inconsistency)
        counts = (self.tally.balance, self.tally.accuracy)
        usual = (self.state.step, *terms, temperature, rate, *counts, verdict, delta)
        self.last = Point(*usual, event.number, self.spent.tokens_encoded, len(now.pairs))
        self.rest.append(self.last)
        if len(self.rest) % BLOCK == 0:
            self.sketch += sketched(self.rest[-BLOCK:])
        if len(self.rest) == 2 * BLOCK:  # the newest block is read all the time, so it stays unpacked
            self.blocks.append(packed(self.rest[:BLOCK]))
            del self.rest[:BLOCK]

    def frozen(self) -> Reading:
        return replace(
            self.reading,
            trajectory=replace(self.reading.trajectory, points=Points(self.blocks, self.rest)),
            tally=self.tally,
            cursor=self.cursor,
            state=self.state,
            changes=self.changes,
            proposals=self.proposals,
            accepted=self.accepted,
            drawn=self.drawn,
            ties=self.ties,
            window=tuple(self.window),
            pace=tuple(self.pace),
            spent=self.spent,
            steps=tuple(self.steps),
            rounds=tuple(self.rounds),
            fits=tuple(self.fits),
            model=self.model,
            failure=self.failure,
            history=tuple(self.history),
            repairs=tuple(self.repairs),
            acts=tuple(self.acts),
            conflict_intervals=self.conflict_intervals,
            moments=tuple(self.moments),
            config=self.config,
            breakpoints=self.breakpoints,
            refused=self.refused,
            sketch=tuple(self.sketch),
            retries=self.retries,
            shrunk=self.shrunk,
            audited=tuple(self.audited),
        )


def repairs_in(event: Event) -> Sequence[RepairBody]:
    """Return the repairs of an event; only the initial labels, steps and rounds can have any."""
    if event.kind == "step":
        return event.step["repairs"]
    if event.kind == "round":
        return event.round["repairs"]
    return event.initial["repairs"] if event.kind == "initial" else ()


def _repair_marks(codec: Codec, event: Event, step: int) -> Iterator[RepairMark]:
    kept = event.kind == "initial" or bool(event.body.get("accepted" if event.kind == "step" else "kept"))
    for number, repair in enumerate(repairs_in(event)):
        pair = (codec.index(repair["pair"][0]), codec.index(repair["pair"][1]))
        taken = repair["taken"] is not None
        yield RepairMark(step, event.number, number, pair, taken, taken and kept, "withheld" in repair)
