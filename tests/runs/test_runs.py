"""A run as a thing that lasts: events, replay, commands, leases, kills."""

import json
import os
import signal
import time
from dataclasses import replace

import psutil
import pytest

from icm_engine.core import advance
from icm_engine.core.errors import NotFound, RunBusy, SettingError, StoreError
from icm_engine.core.search import step
from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control, lease, worker
from icm_engine.runs.verify import verify
from icm_engine.store.datasets import Dataset, whole_groups
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import current_state, open_run
from icm_engine.store.store import Event, Store
from tests.support.in_process_runs import search_facts, work

SPEC = RunSpec("pairs", "fake", search=SearchConfig(seed=11, max_steps=60))


@pytest.fixture
def run(store: Store, pairs: Dataset) -> str:
    store.add_dataset(pairs)
    return control.create_run(store, SPEC)


def facts(events: list[Event]) -> list[tuple[int, str, str]]:
    """What must be equal in two logs of the same run: everything but the times."""
    return [(event.number, event.kind, json.dumps(event.body)) for event in events]


def test_replay_equals_live(store: Store, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    live = []
    take = worker.Worker._advance
    monkeypatch.setattr(
        worker.Worker, "_advance", lambda self, *given: (take(self, *given), live.append(self.state))[0]
    )
    assert work(store, run) == 0
    assert len(live) == 61  # the initial labels and 60 steps
    assert current_state(store, open_run(store, run)) == live[-1]
    assert {repr(state.labeling) for state in live} != {repr(live[-1].labeling)}


def test_a_finished_run(store: Store, run: str) -> None:
    assert work(store, run) == 0
    status = control.status(store, run)
    assert (status.phase, status.steps, status.max_steps, status.pid) == ("finished", 60, 60, None)
    kinds = [event.kind for event in store.read_after(run)]
    assert kinds == ["control", "model", "initial", *["step"] * 60, "finished"]
    assert verify(store, open_run(store, run)) == (60, [])
    assert store.pending(run) == []


def test_a_pause_that_comes_too_late_never_shows(store: Store, run: str) -> None:
    """A worker that has taken all steps will say so next; until then nobody who waits may think that it waits too."""
    assert work(store, run) == 0
    token = lease.claim(store, run)
    store.append(run, "control", {"verb": "pause"}, lease=token)
    now = control.status(store, run)
    assert (now.phase, now.steps, now.settled) == ("running", 60, False)
    store.append(run, "finished", {"steps": 60}, lease=token)
    store.drop_lease(run, token)
    assert control.status(store, run).phase == "finished"


def test_two_runs_of_one_spec_have_the_same_log(store: Store, run: str) -> None:
    other = control.create_run(store, SPEC)
    work(store, run)
    work(store, other)
    assert facts(store.read_after(run)) == facts(store.read_after(other))


def test_stepping_and_resuming_give_the_log_of_an_uninterrupted_run(store: Store, run: str) -> None:
    other = control.create_run(store, SPEC)
    work(store, other)
    control.step(store, run, 7)
    assert control.wait_until_settled(store, run).phase == "paused"
    assert control.status(store, run).steps == 7
    control.resume(store, run)
    assert control.wait_until_settled(store, run).phase == "finished"
    assert search_facts(store, run) == search_facts(store, other)


def test_a_killed_worker_loses_nothing(store: Store, pairs: Dataset) -> None:
    store.add_dataset(pairs)
    spec = replace(SPEC, search=replace(SPEC.search, max_steps=400))
    run, other = control.create_run(store, spec), control.create_run(store, spec)
    control.start(store, run)
    while (status := control.status(store, run)).steps < 20:
        time.sleep(0.02)
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(status.pid)] if psutil.pid_exists(status.pid) else [], timeout=10)
    assert control.status(store, run).phase == "interrupted"
    control.resume(store, run)
    assert control.wait_until_settled(store, run).phase == "finished"
    work(store, other)
    assert search_facts(store, run) == search_facts(store, other)


def test_pause_and_stop_between_steps(store: Store, pairs: Dataset) -> None:
    store.add_dataset(pairs)
    run = control.create_run(store, replace(SPEC, search=replace(SPEC.search, max_steps=100_000)))
    control.start(store, run)
    while control.status(store, run).steps < 3:
        time.sleep(0.02)
    control.pause(store, run)
    paused = control.wait_until_settled(store, run)
    assert paused.phase == "paused"
    assert control.status(store, run).steps == paused.steps
    control.stop(store, run)
    assert control.wait_until_settled(store, run).phase == "stopped"


def test_a_second_worker_is_refused(store: Store, run: str, capsys: pytest.CaptureFixture[str]) -> None:
    lease.claim(store, run)  # held by this very process
    assert worker.main(["--db", str(store.path), run]) == 1
    assert f"held by process {os.getpid()}" in capsys.readouterr().err


def test_a_worker_that_lost_its_lease_writes_nothing(store: Store, run: str) -> None:
    old = lease.claim(store, run)
    row = store.lease_row(run)
    assert row is not None
    store.put_lease({**row, "token": "somebody else"})
    with pytest.raises(RunBusy, match="nothing was written"):
        store.append(run, "step", {}, lease=old)
    assert store.read_after(run) == []


@pytest.mark.parametrize(
    ("change", "lives"),
    [
        ({}, True),
        ({"pid_started": 0.0}, False),  # the pid was reused by another program
        ({"pid": 2**22 + 1}, False),
        ({"host": "elsewhere"}, True),  # its heartbeat is fresh
        ({"host": "elsewhere", "heartbeat": 0.0}, False),
    ],
)
def test_who_lives(store: Store, run: str, change: dict[str, object], lives: bool) -> None:
    lease.claim(store, run)
    row = store.lease_row(run)
    assert row is not None
    assert lease.alive({**row, **change}) is lives


def test_a_command_sent_twice_is_one(store: Store, run: str) -> None:
    for _ in range(3):
        store.send(run, "step", "the same token", 2)
    assert len(store.pending(run)) == 1
    work(store, run, "stop")
    verbs = [event.body["verb"] for event in store.read_after(run, kinds=("control",))]
    assert verbs == ["step", "stop"]


def test_a_failure_is_an_event_and_can_be_resumed(store: Store, pairs: Dataset) -> None:
    store.add_dataset(pairs)
    run = control.create_run(store, replace(SPEC, model="/no/such/model"))
    assert work(store, run) == 1
    status = control.status(store, run)
    assert status.phase == "failed"
    assert "/no/such/model" in status.message
    assert [event.kind for event in store.read_after(run)] == ["control", "failed"]
    assert work(store, run, "resume") == 1
    assert [event.kind for event in store.read_after(run)] == ["control", "failed", "control", "failed"]


def test_an_error_in_a_step_leaves_no_half_step(store: Store, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = step, []

    def fails_at_ten(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 10:
            raise RuntimeError("the card fell off")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(advance, "step", fails_at_ten)
    assert work(store, run) == 1
    assert control.status(store, run).message == "the card fell off"
    assert control.status(store, run).steps == 9
    assert work(store, run, "resume") == 0
    other = control.create_run(store, SPEC)
    work(store, other)
    assert search_facts(store, run) == search_facts(store, other)


def test_verify_finds_a_changed_number(store: Store, run: str) -> None:
    work(store, run)
    number, text = store.db.execute(
        "select number, body from events where run = ? and kind = 'step' and body like '%\"accepted\":true%'", [run]
    ).fetchone()
    for key, value in (("delta", 0.125), ("temperature", 3.0), ("verdict", "rejected")):
        changed = json.dumps({**json.loads(text), key: value})
        store.db.execute("update events set body = ? where run = ? and number = ?", [changed, run, number])
        assert verify(store, open_run(store, run))[1], key
    store.db.execute("update events set body = ? where run = ? and number = ?", [text, run, number])
    assert verify(store, open_run(store, run))[1] == []


def test_runs_that_cannot_be(store: Store, pairs: Dataset) -> None:
    store.add_dataset(pairs)
    with pytest.raises(NotFound, match="there are: pairs"):
        control.create_run(store, RunSpec("pears", "fake"))
    with pytest.raises(SettingError, match="whole group"):
        control.create_run(store, RunSpec("pairs", "fake", limit=1))
    with pytest.raises(SettingError, match="does not exist"):
        control.create_run(store, RunSpec("pairs", "fake", rule="sometimes"))
    with pytest.raises(NotFound):
        control.status(store, "pairs-7")
    with pytest.raises(NotFound):
        control.pause(store, "pairs-7")
    assert store.run_names() == []


def test_max_steps_is_four_times_the_examples_by_default(store: Store, pairs: Dataset) -> None:
    store.add_dataset(pairs)
    run = control.create_run(store, RunSpec("pairs", "fake", limit=10))
    assert store.spec(run).search.max_steps == 40


def test_a_limit_cuts_no_group() -> None:
    for groups, limit, count in (("aabbcc", 6, 6), ("aabbcc", 4, 4), ("aabbcc", 3, 2), ("abab", 3, 0), ("abcab", 5, 5)):
        assert whole_groups(groups[:limit], groups.rindex) == count  # "abab" is interleaved


def test_a_database_of_a_newer_program_is_refused(store: Store) -> None:
    store.db.table("_sqlite_migrations").insert({"migration_set": "icm", "name": "m999_future", "applied_at": "later"})
    with pytest.raises(StoreError, match=r"m999_future.*newer version"):
        Store(store.path)


def test_a_file_that_is_no_database_is_refused(tmp_path: pytest.TempPathFactory) -> None:
    path = tmp_path / "notes.txt"  # type: ignore[operator]
    path.write_text("this is not a database, " * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(path)
    assert path.read_text().startswith("this is not")
