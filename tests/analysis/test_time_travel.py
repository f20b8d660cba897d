"""Time travel: what a page shows of any event is what a plain replay of the log gives."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icm_engine.analysis import views
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.time_travel import Moment, open_moment, place_at, thinned, ways
from icm_engine.analysis.traces import Point, Trajectory
from icm_engine.core.search import State
from icm_engine.store.replay import STATE_KINDS, after_event, config_at
from icm_engine.store.store import Event, Store
from tests.support.steered_runs import forked_run, steered_run
from tests.support.stores import small_dataset


@pytest.fixture(params=["plain", "forked"])
def reading(store: Store, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Reading:
    run = steered_run(store, monkeypatch)
    return views.load(store, forked_run(store, run) if request.param == "forked" else run)


def replayed(store: Store, reading: Reading) -> list[tuple[Event, State]]:
    """Every event that is a state with its state, by a replay from the beginning of the log: no snapshots."""
    found, state = list[tuple[Event, State]](), None
    for event in store.read_after(reading.run.name, kinds=STATE_KINDS):
        state = after_event(reading.run.codec, event, state)
        assert state is not None
        found.append((event, state))
    return found


def test_every_place_is_what_a_plain_replay_gives(store: Store, reading: Reading) -> None:
    log = replayed(store, reading)
    assert len(log) == len(reading.trajectory.points)
    kinds = Counter(event.kind for event, _ in log)
    assert kinds["step"] >= 12
    assert set(kinds) >= ({"forked"} if reading.run.spec.forked_from else {"initial", "hand", "retuned"})
    before = None
    for place, (event, state) in enumerate(log):
        moment = open_moment(store, reading, place)
        assert (moment.event, moment.before, moment.state) == (event, before, state)
        _labels_are(moment, state)
        _pairs_are(moment, state)
        _counts_are(moment, reading)
        assert moment.then.config == config_at(store, reading.run, event.number)
        assert moment.config == config_at(store, reading.run, event.number - 1)
        before = state


def _labels_are(moment: Moment, state: State) -> None:
    rows = views.labels_table(moment.then)
    codec = moment.then.run.codec
    assert {row.example: row.label for row in rows if row.label} == {
        codec.ids[i]: label for i, label in state.labeling.items()
    }


def _pairs_are(moment: Moment, state: State) -> None:
    ids, rule = moment.then.run.codec.ids, moment.then.run.rule
    expected = {(ids[i], ids[j]) for i, j in rule.conflicts(state.labeling)}
    assert {pair.examples for pair in views.conflicts_now(moment.then)} == expected


def _counts_are(moment: Moment, reading: Reading) -> None:
    """The curves end here, and what is counted from the labels is what the curve has at its end."""
    then, last = moment.then, reading.trajectory.points[moment.place]
    assert then.trajectory.points == reading.trajectory.points[: moment.place + 1]
    assert last.event == moment.event.number
    assert then.tally.balance == last.balance
    assert then.tally.accuracy == last.accuracy
    assert last.utility == moment.state.evaluation.utility
    flips = Counter(change.example for change in then.history)
    assert {i: change.flips for i, change in then.changes.items()} == {i: n - 1 for i, n in flips.items()}


def test_a_reading_that_ends_there_says_the_same(store: Store, reading: Reading) -> None:
    """Time travel equals having looked at the run when it had only these events."""
    for place in range(0, len(reading.trajectory.points), 7):
        moment = open_moment(store, reading, place)
        young = views.open_reading(store, reading.run.name)
        events = store.read_after(reading.run.name)
        young = young.extended(event for event in events if event.number <= moment.event.number)
        then = moment.then
        for field in ("trajectory", "state", "history", "repairs", "changes", "config"):
            assert getattr(then, field) == getattr(young, field), field
        assert views.labels_table(then) == views.labels_table(young)
        assert then.tally.accuracy == young.tally.accuracy


def test_an_address_finds_its_place(reading: Reading) -> None:
    points = reading.trajectory.points
    for place, point in enumerate(points):
        assert place_at(reading, event=point.event) == place
        own = place_at(reading, step=point.step)
        assert points[own].step == point.step
        assert own == 0 or points[own - 1].step < point.step  # the step's own point, not what a person did after it
    assert place_at(reading) == len(points) - 1
    assert place_at(reading, event=10**9) == place_at(reading, step=10**9) == len(points) - 1
    assert place_at(reading, event=0) == 0


def test_an_event_that_is_no_state_shows_the_one_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = views.load(store, steered_run(store, monkeypatch))
    pauses = [e.number for e in store.read_after(reading.run.name, kinds=("control",))][1:]
    for number in pauses:
        assert reading.trajectory.points[place_at(reading, event=number)].event < number


def test_ways_lead_where_their_names_say(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = views.load(store, steered_run(store, monkeypatch))
    points, log = reading.trajectory.points, replayed(store, reading)
    for place in range(len(points)):
        later = log[place + 1 :]
        for example in range(0, 18, 5):
            found = ways(reading, place, example)
            label = log[place][1].labeling.get(example)
            assert found.flip == next((e.number for e, s in later if s.labeling.get(example) != label), None)
        assert found.previous == (log[place - 1][0].number if place else None)
        assert found.next == (later[0][0].number if later else None)
        assert found.accepted == next((e.number for e, _ in later if e.body.get("accepted")), None)
        assert found.repair == next((e.number for e, _ in later if e.body.get("repairs")), None)
        assert (found.first, found.last) == (points[0].event, points[-1].event)


@given(st.integers(0, 60), st.integers(1, 40))
def test_a_thinned_curve_keeps_its_highest_its_lowest_and_its_end(size: int, times: int) -> None:
    point = Point(0, 0.0, 0.0, 0.0, None, None, (0, 0), None, "accepted", 0.0, 1, tokens=0, pairs=0)
    points = tuple(point._replace(step=k, utility=float(k * 7919 % 1009)) for k in range(size * times + 1))
    kept = thinned(Trajectory(("True", "False"), points)).points
    assert len(kept) <= 802
    assert kept[-1] == points[-1]
    assert max(p.utility for p in kept) == max(p.utility for p in points)
    assert min(p.utility for p in kept) == min(p.utility for p in points)


def test_without_gold_nothing_of_it_is_there_then(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    small_dataset(store, gold=False)
    reading = views.load(store, steered_run(store, monkeypatch))
    moment = open_moment(store, reading, 30)
    assert moment.then.tally.accuracy is None
    assert {row.gold for row in views.labels_table(moment.then)} == {None}
