"""A person's hand in a stored run: commands, events, receipts; time travel; forks; what-if."""

import json

import pytest

from icm_engine.core.advance import Breakpoints
from icm_engine.core.errors import SettingError
from icm_engine.core.search import State
from icm_engine.core.settings import SearchConfig
from icm_engine.data.label_export import read_labels
from icm_engine.jobs.rescoring import try_label
from icm_engine.runs import control, worker
from icm_engine.runs.fork import children, fork, influence_of_pin
from icm_engine.runs.model_registry import model_of_run
from icm_engine.runs.verify import verify
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import STATE_KINDS, current_state, open_run, replay, state_at
from icm_engine.store.store import Event, Store
from tests.support.held_jobs import HeldJob
from tests.support.in_process_runs import work
from tests.support.stores import small_dataset


@pytest.fixture(autouse=True)
def in_process(no_processes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker of these tests is this process: see `work` and `obey`."""
    monkeypatch.setattr(worker, "SNAPSHOT_EVERY", 7)


@pytest.fixture
def run(store: Store) -> str:
    """A paused run of the fake model with 25 steps."""
    small_dataset(store)
    run = control.create_run(store, RunSpec("sums", "fake", search=SearchConfig(seed=2, max_steps=60)))
    assert work(store, run, "step", 25) == 0
    return run


def obey(store: Store, run: str) -> None:
    assert worker.main(["--db", str(store.path), run]) == 0
    assert store.pending(run) == []


def last(store: Store, run: str) -> Event:
    (event,) = store.read_after(run, store.last_number(run) - 1)
    return event


def standing(store: Store, run: str) -> State:
    state = current_state(store, open_run(store, run))
    assert state is not None
    return state


def other(label: str) -> str:
    return "False" if label == "True" else "True"


def labelled(store: Store, run: str, count: int = 1) -> tuple[list[str], list[str]]:
    """The ids of some labelled examples, and their labels."""
    opened, labeling = open_run(store, run), standing(store, run).labeling
    return [opened.codec.ids[i] for i in list(labeling)[:count]], list(labeling.values())[:count]


def test_a_pin_is_an_event_with_its_score_and_holds_to_the_end(store: Store, run: str) -> None:
    (example,), (label,) = labelled(store, run)
    control.submit_intervention(store, run, "pin", [example], [other(label)])
    control.submit_intervention(store, run, "note", [example], text="see p. 3")
    obey(store, run)
    event, opened = last(store, run), open_run(store, run)
    assert event.kind == "hand"
    assert [act["verb"] for act in event.body["acts"]] == ["pin", "note"]  # one event, scored once
    assert event.body["set_evaluations"] == 1
    assert event.body["flips"] == [{"example": example, "old": label, "new": other(label), "cause": "person"}]
    i = opened.codec.index(example)
    assert standing(store, run).hand.notes == {i: "see p. 3"}
    assert work(store, run, "resume") == 0
    state = standing(store, run)
    assert (state.labeling[i], state.hand.pins, state.step) == (other(label), {i}, 60)
    assert verify(store, opened) == (60, [])
    pinned = {row["icm_id"]: row["icm_label"] for row in read_labels(store, run).rows() if row["icm_pinned"]}
    assert pinned == {example: other(label)}


def test_undo_and_redo_are_events_too(store: Store, run: str) -> None:
    examples, labels = labelled(store, run, 3)
    before = standing(store, run)
    control.submit_intervention(store, run, "pin", examples, [other(label) for label in labels])
    obey(store, run)
    pinned = standing(store, run)
    control.submit_intervention(store, run, "undo")
    obey(store, run)
    assert (standing(store, run).labeling, standing(store, run).hand) == (before.labeling, before.hand)
    assert standing(store, run).evaluation.utility == pytest.approx(before.evaluation.utility)
    control.submit_intervention(store, run, "redo")
    obey(store, run)
    assert (standing(store, run).labeling, standing(store, run).hand) == (pinned.labeling, pinned.hand)
    assert verify(store, open_run(store, run))[1] == []


def test_what_cannot_be_done_is_refused_and_the_rest_is_done(store: Store, run: str) -> None:
    (example,), (label,) = labelled(store, run)
    control.submit_intervention(store, run, "undo")
    control.submit_intervention(store, run, "pin", [example], [label])
    control.submit_intervention(store, run, "unpin", ["nobody"])
    obey(store, run)
    events = store.read_after(run, store.last_number(run) - 3)
    assert [event.kind for event in events] == ["refused", "hand", "refused"]
    assert "nothing to undo" in events[0].body["message"]
    assert "'nobody' is not in this run" in events[2].body["message"]
    with pytest.raises(SettingError, match="label 'Maybe' does not exist"):
        control.submit_intervention(store, run, "pin", [example], ["Maybe"])
    with pytest.raises(SettingError, match="one label for each"):
        control.submit_intervention(store, run, "pin", [example], [])


def test_before_the_first_labels_there_is_nothing_to_put_in(store: Store) -> None:
    small_dataset(store)
    run = control.create_run(store, RunSpec("sums", "fake"))
    control.submit_intervention(store, run, "pin", ["sums-0-0"], ["True"])
    obey(store, run)
    assert last(store, run).kind == "refused"
    assert "no labels yet" in last(store, run).body["message"]


def test_a_note_or_a_pin_of_the_label_there_is_needs_no_model(
    store: Store, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(spec: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(worker, "make_scorer", never)
    examples, labels = labelled(store, run, 2)
    control.submit_intervention(store, run, "pin", examples, labels)
    control.retune(store, run, {"alpha": 3})
    control.set_breakpoints(store, run, Breakpoints(flips=("sums-0-0",)))
    obey(store, run)
    kinds = [event.kind for event in store.read_after(run, store.last_number(run) - 3)]
    assert kinds == ["hand", "retuned", "breakpoints"]


def test_retuning_holds_from_the_next_step_on(store: Store, run: str) -> None:
    before = standing(store, run).evaluation
    control.retune(store, run, {"alpha": 10.0, "initial_temperature": 80.0})
    assert work(store, run, "step", 2) == 0
    retuned, *_, first, second = store.read_after(run, store.last_number(run) - 4)
    assert retuned.body["settings"] == {"alpha": 10.0, "initial_temperature": 80.0}
    after = retuned.body["after"]["utility"]
    assert after == pytest.approx(10 * before.mutual_predictability - before.inconsistency)
    assert first.body["before"]["utility"] == after
    assert second.body["temperature"] > 15
    with pytest.raises(SettingError, match="seed cannot change"):
        control.retune(store, run, {"seed": 3})
    assert work(store, run, "resume") == 0
    assert verify(store, open_run(store, run)) == (60, [])


def test_a_breakpoint_pauses_and_says_why(store: Store, run: str) -> None:
    run = control.create_run(store, store.spec(run))  # from the start, where labels change often
    opened = open_run(store, run)
    control.set_breakpoints(store, run, Breakpoints(flips=tuple(opened.codec.ids)))
    assert work(store, run, "resume") == 0
    status = control.status(store, run)
    assert status.phase == "paused"
    assert f"at step {status.steps}" in status.message
    event = next(e for e in reversed(store.read_after(run)) if e.kind == "step")
    assert event.body["accepted"]
    assert event.body["flips"]


def test_any_event_opens_exactly_from_snapshots(store: Store, run: str) -> None:
    examples, labels = labelled(store, run, 2)
    control.submit_intervention(store, run, "pin", examples, [other(label) for label in labels])
    obey(store, run)
    control.retune(store, run, {"alpha": 20.0})
    assert work(store, run, "resume") == 0
    assert store.db.execute("select count(*) from snapshots where run = ?", [run]).fetchone()[0] >= 7
    opened, state = open_run(store, run), None
    for event in store.read_after(run):
        state = replay(opened, [event], state) if event.kind in STATE_KINDS else state
        assert state_at(store, opened, event.number) == state


def test_a_fork_without_changes_goes_the_way_of_its_parent(store: Store, run: str) -> None:
    at = store.last_number(run)
    control.submit_intervention(store, run, "pin", *labelled(store, run))
    obey(store, run)
    child = fork(store, run, store.last_number(run))
    assert standing(store, child) == standing(store, run)
    for name in (run, child):
        assert work(store, name, "resume") == 0
    assert bodies(store, child) == bodies(store, run)[25:]
    assert verify(store, open_run(store, child)) == (35, [])
    assert (store.spec(child).forked_from, children(store, run)) == (run, [child])
    with pytest.raises(SettingError, match="no labels at event 1"):
        fork(store, run, 1)
    assert standing(store, fork(store, run, at)).hand.pins == frozenset()


def bodies(store: Store, run: str) -> list[str]:
    return [json.dumps(event.body) for event in store.read_after(run, kinds=("step",))]


def test_a_fork_under_other_settings_has_its_own_u(store: Store, run: str) -> None:
    parent = standing(store, run)
    child = fork(store, run, store.last_number(run), {"alpha": 5.0, "seed": 9}, rule="none")
    state = standing(store, child)
    assert state.labeling == parent.labeling
    assert (state.evaluation.pairs, state.evaluation.inconsistency) == ((), 0)
    assert state.evaluation.utility == pytest.approx(5 * parent.evaluation.mutual_predictability)
    assert control.status(store, child).phase == "created"
    assert work(store, child) == 0
    assert verify(store, open_run(store, child)) == (35, [])


def test_the_influence_of_a_pin_is_two_forks_with_the_same_draws(store: Store, run: str) -> None:
    examples, labels = labelled(store, run, 2)
    control.submit_intervention(store, run, "pin", examples, [other(label) for label in labels])
    obey(store, run)
    kept, without = influence_of_pin(store, run, examples[0], 8)
    for name in (kept, without):
        obey(store, name)
    opened = open_run(store, run)
    ours, theirs = opened.codec.index(examples[0]), opened.codec.index(examples[1])
    assert standing(store, kept).hand.pins == {ours, theirs}
    assert standing(store, without).hand.pins == {theirs}
    assert standing(store, without).step == standing(store, kept).step == 33
    with_it, without_it = (json.loads(bodies(store, name)[0]) for name in (kept, without))
    assert (with_it["step"], with_it["temperature"]) == (without_it["step"], without_it["temperature"])
    with pytest.raises(SettingError, match="was not pinned"):
        influence_of_pin(store, run, opened.codec.ids[5], 8)


def test_what_if_is_what_an_override_then_gives(store: Store, run: str) -> None:
    (example,), (label,) = labelled(store, run)
    number = store.last_number(run)
    scorer = worker.make_scorer(model_of_run(store, run))
    asked = {"run": run, "event": number, "example": example}
    found = try_label(HeldJob(store, {**asked, "label": other(label)}), scorer)
    assert store.last_number(run) == number  # nothing changed
    control.submit_intervention(store, run, "override", [example], [other(label)])
    obey(store, run)
    assert found["after"] == last(store, run).body["after"]
    assert found["delta_unrepaired"] == found["after"]["utility"] - found["before"]["utility"]
    assert found["repaired"]["utility"] >= found["after"]["utility"]
    assert found["usage"]["prompts"] > 0
    with pytest.raises(SettingError, match="try another label"):
        try_label(HeldJob(store, {**asked, "label": label}), scorer)
