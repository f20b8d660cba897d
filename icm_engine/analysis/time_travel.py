"""Time travel: a run as it stood after any of its events.

States are found by bisection on event numbers and rebuilt from the nearest snapshot, so opening one takes no longer in
a longer run.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter

from icm_engine.analysis.label_history import LabelChange, LabelCounts, counted, flips_of
from icm_engine.analysis.run_history import LastChange, Reading
from icm_engine.analysis.traces import Point, Trajectory, extremes
from icm_engine.analysis.views import ExampleView, known
from icm_engine.core.labeling import Labeling
from icm_engine.core.search import State
from icm_engine.core.settings import SearchConfig
from icm_engine.store.events import tuned
from icm_engine.store.replay import after_event, state_at
from icm_engine.store.store import Event, Store

DRAWN = 800  # points of a cut curve: two per pixel

MARKED = ("hand", "retuned", "forked")

_event, _step = attrgetter("event"), attrgetter("step")


@dataclass(frozen=True)
class Moment:
    """A run at one of its states: the event that led there, the state before it, and the settings in force.

    `then` is the reading as of this event: labels, pairs, curves and label counts. Its cost is that of the whole run.
    Other statistics over steps (time per step, last rows, intervals of pairs) are empty.
    """

    place: int  # among the points of the trajectory
    event: Event
    before: State | None
    config: SearchConfig
    then: Reading

    @property
    def state(self) -> State:
        """The state after the event."""
        assert self.then.state is not None
        return self.then.state


@dataclass(frozen=True, slots=True)
class Navigation:
    """The states that can be reached from a state, as event numbers; None if there is none in a direction."""

    previous: int | None
    next: int | None
    flip: int | None  # of the followed example
    accepted: int | None
    repair: int | None
    first: int
    last: int


def place_at(reading: Reading, event: int | None = None, step: int | None = None) -> int:
    """Return the place of the last state at or before an event, else that of a step, else the newest.

    Several states may share a step: the step's own is the first, followed by those of a person's acts after it.
    """
    points = reading.trajectory.points
    if event is not None:
        return max(0, bisect_right(points, _round_of_fit(reading, event), key=_event) - 1)
    if step is not None:
        return min(bisect_left(points, step, key=_step), len(points) - 1)
    return len(points) - 1


def _round_of_fit(reading: Reading, event: int) -> int:
    """The event of the round that a fit was for, if that ended; else the event itself."""
    fit = next((fit for fit in reading.fits if fit.event == event), None)
    if fit is None:
        return event
    return next((row.event for row in reading.rounds if row.number == fit.round and row.event > event), event)


def open_moment(store: Store, reading: Reading, place: int) -> Moment:
    """Return a run as it stood at this place of its trajectory, replayed from its log."""
    run, points = reading.run, reading.trajectory.points
    event = store.event(run.name, points[place].event)
    before = state_at(store, run, event.number - 1) if place else None
    state = after_event(run.codec, event, before)
    assert state is not None
    config = _config_before(store, reading, place)
    now = tuned(config, event.retuned["settings"]) if event.kind == "retuned" else config
    return Moment(place, event, before, config, _as_of(reading, place, state, now))


def ways(reading: Reading, place: int, example: int | None) -> Navigation:
    """Return the states that can be reached from a place, following an example."""
    points = reading.trajectory.points
    here = points[place].event
    later = points[place + 1 :]
    return Navigation(
        points[place - 1].event if place else None,
        later[0].event if later else None,
        next((c.event for c in since(reading.history, here) if c.example == example), None),
        next((point.event for point in later if point.verdict == "accepted"), None),
        next((mark.event for mark in reading.repairs[bisect_right(reading.repairs, here, key=_event) :]), None),
        points[0].event,
        points[-1].event,
    )


def since(history: tuple[LabelChange, ...], event: int) -> tuple[LabelChange, ...]:
    """Return the label changes after an event."""
    return history[bisect_right(history, event, key=_event) :]


def until(history: tuple[LabelChange, ...], event: int) -> tuple[LabelChange, ...]:
    """Return the label changes up to and including an event."""
    return history[: bisect_right(history, event, key=_event)]


def thinned(trajectory: Trajectory) -> Trajectory:
    """Return a trajectory thinned to visible points: the minimum and maximum of U in each interval.

    A person's acts, changed settings and forks are kept, so that each has its mark.
    """
    points = trajectory.points
    kept = {*extremes([point.utility for point in points], DRAWN)}
    kept.update(k for k, point in enumerate(points) if point.verdict in MARKED)
    return replace(trajectory, points=tuple(points[k] for k in sorted(kept)))


def _config_before(store: Store, reading: Reading, place: int) -> SearchConfig:
    """The settings in force for the event at this place: the run's spec with earlier changes."""
    config = reading.run.spec.search
    for point in reading.trajectory.points[:place]:
        if point.verdict == "retuned":
            config = tuned(config, store.event(reading.run.name, point.event).retuned["settings"])
    return config


def _as_of(reading: Reading, place: int, state: State, config: SearchConfig) -> Reading:
    points = reading.trajectory.points[: place + 1]
    last: Point = points[-1]
    history = until(reading.history, last.event)
    marks = reading.repairs[: bisect_right(reading.repairs, last.event, key=_event)]
    return replace(
        reading,
        state=state,
        config=config,
        cursor=last.event,
        history=history,
        repairs=marks,
        trajectory=replace(reading.trajectory, points=points),
        changes=changes_of(history),
        tally=tally_of(reading, state.labeling),
        proposals=0,
        accepted=state.accepted,
        window=(),
        pace=(),
        steps=(),
        rounds=tuple(row for row in reading.rounds if row.event <= last.event),
        fits=tuple(fit for fit in reading.fits if fit.event <= last.event),
        conflict_intervals={},
        acts=(),
    )


def changes_of(history: Sequence[LabelChange]) -> Mapping[int, LastChange]:
    """Return the last change of each example's label among these changes."""
    times = Counter(change.example for change in history)
    last = {change.example: change.step for change in history}
    return {example: LastChange(step, times[example] - 1) for example, step in last.items()}


def tally_of(reading: Reading, labeling: Labeling) -> LabelCounts:
    """Return the counts of these labels; counts against gold only where gold may be shown."""
    ids = reading.run.codec.ids
    given = {ids[i]: label for i, label in labeling.items()}
    return counted(reading.tally.labels, given, reading.gold, reading.tally.gold if reading.gold else {})


KINDS = {
    "initial": "initial labels",
    "forked": "a fork",
    "hand": "a person's hand",
    "retuned": "other settings",
    "refreshed": "an exact evaluation",
    "labelled": "a label source",
}
TAKEN = ("step", "round")  # kinds of events that a run counts


def followed(reading: Reading, moment: Moment, asked: str | None) -> ExampleView | None:
    """Return the requested example, else the one that the event drew or first touched; None if there is none."""
    event = moment.event
    touched = [event.step["example"]] if event.kind == "step" else [flip["example"] for flip in flips_of(event)]
    for name in (asked, *touched[:1]):
        if name is not None and (found := known(reading, name)) is not None:
            return found
    return None


def where(reading: Reading, moment: Moment) -> str:
    """Say where in the run a moment is, and when it was."""
    steps, time = reading.trajectory.points[-1].step, datetime.fromtimestamp(moment.event.time)
    kind = "" if moment.event.kind in TAKEN else f"{KINDS[moment.event.kind]}, after "
    place = f"{reading.unit} {moment.state.step:,} of {steps:,}"
    return f"{kind}{place} · event {moment.event.number:,} · {time:%Y-%m-%d %H:%M:%S}"
