"""A worker elsewhere, with no network in between: what travels, what comes home, and who may write."""

import csv
import json
import pickle
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from icm_engine import cluster, jobs
from icm_engine.cluster import ClusterSpec, store_server
from icm_engine.cluster.remote_worker import work
from icm_engine.cluster.store_server import RunBundle, StoreServer, code_sha256
from icm_engine.core.errors import RunBusy, RunError, SettingError, StoreError
from icm_engine.core.settings import ModelChoice
from icm_engine.data.gold import add_gold, add_human
from icm_engine.data.importing import import_file
from icm_engine.experiments import runner
from icm_engine.jobs import JobSpec, batches, job_process, job_worker, scheduler
from icm_engine.jobs.scheduler import RayWorkers
from icm_engine.runs import control, fork, model_registry, worker
from icm_engine.runs.lease import Holder, claim, this_process
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import Json
from icm_engine.store.replay import open_run
from icm_engine.store.store import Command, Event, Store
from tests.support.command_line import icm
from tests.support.gold_changes import ROWS, inverted, permuted, removed
from tests.support.processes import spawn_by
from tests.support.remote_work import SPEC, STEPS, begun, local, log, use_job
from tests.support.stores import small_dataset


class Lost(BaseException):
    """The machine is gone: no line of the worker's runs any more."""


class Wire(StoreServer):
    """A keeper that can be listened to: `before` is called with each event's number before it is appended."""

    def __init__(self, path: Path, holder: Holder | None = None) -> None:
        super().__init__(path, holder or this_process())
        self.before: Callable[[int], None] = lambda number: None
        self.after: Callable[[int], None] = lambda number: None

    def append(
        self, name: str, token: str, number: int, kind: str, body: Json, seconds: float, answered: Sequence[Command]
    ) -> list[Event]:
        self.before(number)
        missed = super().append(name, token, number, kind, body, seconds, answered)
        self.after(number)
        return missed


def lose_at(number: int) -> Callable[[int], None]:
    def lose(now: int) -> None:
        if now == number:
            raise Lost

    return lose


def test_a_run_elsewhere_has_the_log_of_one_here(store: Store) -> None:
    run = begun(store)
    work(Wire(store.path), run)
    assert control.status(store, run).phase == "finished"
    assert store.lease_row(run) is None
    assert len(log(store, run)) == STEPS + 4  # start, model, initial, the steps, finished
    assert log(store, run) == local(store)


def test_no_copy_of_the_examples_stays(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its own nor that of a worker that was killed on this machine; one that lives keeps its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    here = this_process()
    killed, living = (
        tmp_path / "temporary" / f".icm-copy.{here.pid}_{started:.2f}_{here.boot[:8]}_0_{here.host}.part"
        for started in (here.pid_started - 60, here.pid_started)
    )
    for folder in (killed, living):
        folder.mkdir(parents=True)
        (folder / "icm.db").touch()
    wire, seen = Wire(store.path), list[int]()
    wire.before = lambda number: seen.append(stat.S_IMODE(own(tmp_path / "temporary", living).stat().st_mode))
    work(wire, begun(store))
    assert set(seen) == {0o700}
    assert list((tmp_path / "temporary").iterdir()) == [living]


def own(temporary: Path, other: Path) -> Path:
    (found,) = set(temporary.iterdir()) - {other}
    return found


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2, 3, 30, STEPS + 4])
def test_what_is_lost_is_the_step_in_progress(store: Store, number: int, when: str) -> None:
    """The machine goes before, or just after, an event came home; another goes on, and the log has no trace of it."""
    run, wire = begun(store), Wire(store.path)
    setattr(wire, when, lose_at(number))
    with pytest.raises(Lost):
        work(wire, run)
    assert store.last_number(run) == number - (when == "before")
    assert store.lease_row(run) is not None  # nobody said that the worker is gone
    work(Wire(store.path), run)
    assert log(store, run) == local(store)


def test_the_same_event_twice_is_one_and_another_one_is_refused(store: Store) -> None:
    run, keeper = begun(store), StoreServer(store.path, this_process())
    token, _ = keeper.begin(run, code_sha256(), "there")
    commands = keeper.pending(run)
    body = {"verb": "start", "values": (1.5, 2)}
    for _ in range(2):  # the answer to the first was lost
        assert keeper.append(run, token, 1, "control", body, 0.0, commands) == []
    assert [(number, kind) for number, kind, _ in log(store, run)] == [(1, "control")]
    assert keeper.pending(run) == []
    with pytest.raises(StoreError, match=r"event 1 .* another one already"):
        keeper.append(run, token, 1, "control", {"verb": "stop"}, 0.0, ())
    with pytest.raises(StoreError, match=r"event 3 .* came after event 1"):
        keeper.append(run, token, 3, "step", {}, 0.0, ())
    assert store.last_number(run) == 1


def test_a_worker_that_was_replaced_can_write_no_more(store: Store) -> None:
    run, keeper = begun(store), StoreServer(store.path, this_process())
    old, _ = keeper.begin(run, code_sha256(), "there")
    new, _ = keeper.begin(run, code_sha256(), "elsewhere")
    for write in (
        lambda token: keeper.append(run, token, 1, "model", {}, 0.0, ()),
        lambda token: keeper.keep_snapshot(run, token, 1, {}),
    ):
        with pytest.raises(RunBusy, match="taken over"):
            write(old)
        write(new)
    keeper.end(run, old)
    assert store.lease_token(run) == new
    keeper.renew(run, old, ready=True)
    assert store.lease_row(run)["ready"] == 0  # type: ignore[index]
    keeper.renew(run, new, ready=True)
    row = store.lease_row(run)
    assert row is not None
    assert (row["ready"], row["log"]) == (1, "elsewhere")


def test_a_worker_of_this_machine_keeps_its_run(store: Store) -> None:
    run = begun(store)
    claim(store, run)
    other = Holder(1, 0.0, this_process().host)
    with pytest.raises(RunBusy, match="is held by process"):
        StoreServer(store.path, other).begin(run, code_sha256(), "there")
    with pytest.raises(RunBusy, match="is held by process"):
        claim(store, run)  # nor can a second worker of the same process


def test_a_machine_with_other_code_is_refused(store: Store) -> None:
    run = begun(store)
    with pytest.raises(RunError, match=r"there has other icm_engine code .* install the same version on both"):
        StoreServer(store.path, this_process()).begin(run, "0" * 64, "there")
    assert store.lease_row(run) is None


def test_commands_are_obeyed_between_steps(store: Store) -> None:
    """A pin and a pause, sent in the middle: a receipt for each, and the same events as a worker here writes."""

    def steered(name: str, here: Store | Wire) -> list[tuple[int, str, str]]:
        run = begun(store)

        def send(number: int) -> None:
            if number == 20:
                store.send(run, "hand", f"pin-{name}", body={"verb": "pin", "examples": ["sums-1-1"],
                           "labels": ["False"], "text": ""})  # fmt: skip
                store.send(run, "pause", f"pause-{name}")

        if isinstance(here, Wire):
            here.after = send
            work(here, run)
        else:
            control.step(store, run, 17)  # start, model, initial: seventeen steps end with event 20
            worker.run_in_process(store, run, idle=0.0)
            send(20)
            worker.run_in_process(store, run, idle=0.0)
        assert not store.pending(run)
        assert control.status(store, run).phase == "paused"
        return log(store, run)

    there = steered("there", Wire(store.path))
    assert [kind for _, kind, _ in there[20:]] == ["hand", "control"]
    assert json.loads(there[20][2])["acts"][0]["verb"] == "pin"
    run = store.run_names()[0]
    control.queue(store, run)
    work(Wire(store.path), run)
    assert control.status(store, run).phase == "finished"
    labels = {row[0]: row[1] for row in store.db.execute("select example, label from v_labels where run = ?", [run])}
    assert labels["sums-1-1"] == "False"


def test_a_command_that_comes_when_the_worker_leaves_is_obeyed(store: Store) -> None:
    """The lease still stands, so nobody launches a worker for it; whoever gives the lease back looks once more."""
    run, wire = begun(store), Wire(store.path)
    ends = list[int]()

    def end(name: str, token: str) -> None:
        if not ends:
            store.send(run, "resume", "late")
        ends.append(store.last_number(run))
        StoreServer.end(wire, name, token)

    wire.after = lambda number: store.send(run, "pause", "pause") if number == 20 else None
    wire.end = end  # type: ignore[method-assign]
    work(wire, run)
    assert ends == [21, STEPS + 6]  # the pause, and the end with both commands in the log
    assert control.status(store, run).phase == "finished"


def test_a_fork_works_without_its_parent(store: Store) -> None:
    parent = begun(store)
    worker.run_in_process(store, parent, idle=0.0)
    there, here = fork.fork(store, parent, 20, {"seed": 8}), fork.fork(store, parent, 20, {"seed": 8})
    for run in (there, here):
        control.queue(store, run)
    work(Wire(store.path), there)
    worker.run_in_process(store, here, idle=0.0)
    assert control.status(store, there).phase == "finished"
    assert log(store, there) == log(store, here)


def test_snapshots_come_home(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "SNAPSHOT_EVERY", 20)
    run = begun(store)
    work(Wire(store.path), run)
    there = store.db.execute("select number, body from snapshots where run = ?", [run]).fetchall()
    other = begun(store)
    worker.run_in_process(store, other, idle=0.0)
    assert there == store.db.execute("select number, body from snapshots where run = ?", [other]).fetchall()
    assert [number for number, _ in there] == [20, 40, 60]


# -- jobs


def test_the_use_of_labels_elsewhere_finds_what_it_finds_here(store: Store) -> None:
    small_dataset(store, "more", groups=3)
    run = begun(store, replace(SPEC, limit=9))
    worker.run_in_process(store, run, idle=0.0)
    there, here = use_job(store, run), use_job(store, run)
    wire = Wire(store.path)
    wire.before = lose_at(4)  # start, ready, one part: the second is lost with its machine
    scheduler.resume_or_start(store, there)
    with pytest.raises(Lost):
        work(wire, there)
    work(Wire(store.path), there)
    store.append(here, "start", {})
    job_process.run_in_process(store, here, job_worker.perform)
    found = jobs.result(store, here)
    assert found is not None
    assert len(found["examples"]) == 7 + 1  # all of `more` but two, and then one of the run's own rest
    assert jobs.result(store, there) == found
    assert len(store.read_after(there, kinds=("part",))) == len(found["parts"])  # none was asked twice


def test_a_job_learns_elsewhere_that_it_was_cancelled(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_process, "PROGRESS_EVERY", 0.0)
    small_dataset(store, "more", groups=3)
    run = begun(store)
    worker.run_in_process(store, run, idle=0.0)
    job, wire = use_job(store, run), Wire(store.path)
    scheduler.resume_or_start(store, job)
    cancelled = list[int]()

    def cancel(number: int) -> None:
        if number == 4 and not cancelled:
            cancelled.append(number)
            jobs.cancel(store, job)  # takes the very number that was meant for the worker's next event

    wire.before = cancel
    work(wire, job)
    assert jobs.status(store, job).phase == "cancelled"
    assert store.event(job, 4).kind == "cancel"


def test_a_model_that_was_trained_here_stays_here(store: Store) -> None:
    model_registry.put(store, "mine", lambda folder: None, {"name": "mine", "supervised": False})
    run = begun(store, replace(SPEC, model="trained:mine"))
    with pytest.raises(SettingError, match="start 'sums-1' without Ray"):
        store_server.pack(store, run)


def test_a_job_that_needs_this_machine_says_so(store: Store) -> None:
    job = jobs.create(store, JobSpec("batch", {"names": []}))
    with pytest.raises(SettingError, match="only this machine can do"):
        store_server.pack(store, job)


def test_without_ray_there_is_one_line_with_the_remedy(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_dataset(store)
    asked = ("run", "--dataset", "sums", "--model", "fake", "--ray")
    assert icm(capsys, *asked, "ray://head:10001")[::2] == (
        1,
        "icm: address 'ray://head:10001' is a Ray client address: the database stays here, so this machine must be one "
        "of the cluster's (ray start --address=HOST:PORT --num-cpus=0); then use --ray HOST:PORT\n",
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    missing = "Ray is not installed: python -m pip install -r requirements-ray.txt, or leave out --ray"
    for command in (asked, (*asked, "local", "--restarts", 2), ("evaluate", "main", "--ray")):
        command = command if "local" in command else (*command, "local")
        assert icm(capsys, *command) == (1, "", f"icm: {missing}\n")
    assert (store.run_names(), jobs.names(store)) == ([], [])  # nothing was begun


@pytest.mark.parametrize("address", ["127.0.0.1:1", "head"])
def test_an_address_where_nobody_answers_is_said_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    spawn_by(monkeypatch, lambda store, module, name: None)
    small_dataset(store)
    run = control.create_run(store, SPEC)
    job = cluster.hand_over(store, [run], ClusterSpec(address))
    assert job_process.main(job_process.perform, ["--db", str(store.path), job]) == 1
    message = jobs.status(store, job).message
    assert message.startswith(f"no Ray cluster at '{address}' that this machine belongs to (")
    assert message.endswith("makes it one of a cluster's, --ray local needs none")
    assert control.status(store, run).phase == "created"


@pytest.mark.parametrize("ending", ["cancel", "failed"])
def test_a_job_that_waits_for_the_cluster_ends_with_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    spawn_by(monkeypatch, lambda store, module, name: None)
    waiting = jobs.request(store, JobSpec("restarts", {}))
    end = {"cancel": lambda: jobs.cancel(store, waiting),
           "failed": lambda: store.append("ray.1", "failed", {"message": "no cluster"})}  # fmt: skip
    monkeypatch.setattr(scheduler, "wait", end[ending])

    def wait(job: job_process.Job) -> Json:
        scheduler.work_off(RayWorkers(store, ["sums-1"], ClusterSpec("head:6379")), job.stop_if_cancelled)
        return {}

    job_process.main(wait, ["--db", str(store.path), waiting])
    assert jobs.status(store, "ray.1").phase == {"cancel": "cancelled", "failed": "failed"}[ending]
    now = jobs.status(store, waiting)
    assert (now.phase, now.message) == {
        "cancel": ("cancelled", "cancelled by hand"), "failed": ("failed", "job 'ray.1' failed: no cluster"),
    }[ending]  # fmt: skip


def test_a_run_is_asked_to_go_on_once_and_only_if_it_waits(store: Store) -> None:
    run = begun(store)
    scheduler.resume_or_start(store, run)
    assert [command.verb for command in store.pending(run)] == ["start"]
    store.send(run, "pause", "pause")
    worker.run_in_process(store, run, idle=0.0)
    assert control.status(store, run).phase == "paused"
    store.send(run, "hand", "note", body={"verb": "unblind"})
    scheduler.resume_or_start(store, run)
    assert [command.verb for command in store.pending(run)] == ["hand", "resume"]
    wire = Wire(store.path)
    wire.before = lose_at(20)
    with pytest.raises(Lost):
        work(wire, run)
    scheduler.resume_or_start(store, run)
    assert store.pending(run) == []  # it was cut off: nothing has to be said for it to go on


def test_a_suite_hands_all_that_is_left_to_the_cluster(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One job of all runs, whatever the number of processes; where it fails, so does the suite, with its reason."""
    spawn_by(monkeypatch, lambda store, module, name: None)
    done, left = begun(store), [begun(store), begun(store)]
    worker.run_in_process(store, done, idle=0.0)
    chosen = runner.Chosen(ModelChoice("fake"), processes=3, where=ClusterSpec("head:6379", gpus=0.5))
    monkeypatch.setattr(scheduler, "wait", lambda: store.append("ray.1", "failed", {"message": "no cluster"}))
    with pytest.raises(RunError, match=r"job 'ray\.1' failed: no cluster"):
        runner._work(store, [done, *left, left[0]], chosen, lambda *_: None, "labelling")
    assert jobs.names(store) == ["ray.1"]
    body = jobs.spec(store, "ray.1").body
    assert body["names"] == left
    assert ClusterSpec(**body["where"]) == chosen.where


def test_a_batch_elsewhere_has_the_log_of_one_here(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch its own examples travel, and no others; a cluster is given every batch that is left."""
    spawn_by(monkeypatch, lambda store, module, name: None)
    small_dataset(store, groups=6)  # of three examples each, so three batches of two groups
    name = batches.submit(store, SPEC, 6, where=ClusterSpec("head:6379"))
    whole = batches.batched(store, name)
    assert all(batches.make_run(store, whole, number) for number in (1, 2, 3))
    (piece,) = store_server.pack(store, whole.run(2)).pieces
    assert [example.id for example in piece.examples] == list(open_run(store, whole.run(2)).codec.ids)
    assert len(piece.examples) == 6

    handed: list[Sequence[str]] = []

    def at_once(pool: RayWorkers) -> bool:
        handed.append(pool.names)
        for run in pool.names:
            scheduler.resume_or_start(store, run)
            work(Wire(store.path), run)
        return False

    monkeypatch.setattr(RayWorkers, "advance", at_once)
    assert job_process.run_in_process(store, name, job_process.perform) == 0
    assert handed == [[whole.run(number) for number in (1, 2, 3)]]
    assert batches.unfinished(store, whole) == []
    assert len(batches.ends(store, whole)) == 3

    small_dataset(store, "others", groups=6)
    here = batches.batched(store, batches.submit(store, replace(SPEC, dataset="others"), 6))
    assert batches.make_run(store, here, 2)
    scheduler.resume_or_start(store, here.run(2))
    worker.run_in_process(store, here.run(2), idle=0.0)
    ours, theirs = (
        [(n, kind, body.replace("others", "sums")) for n, kind, body in log(store, one.run(2))] for one in (whole, here)
    )
    assert ours == theirs
    with pytest.raises(SettingError, match="leave out the cluster"):
        batches.submit(store, SPEC, 6, waits=True, where=ClusterSpec("head:6379"))


# -- gold


@pytest.mark.parametrize("change", [permuted, inverted, removed])
def test_gold_changes_nothing_of_what_travels(
    tmp_path: Path, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]
) -> None:
    parcels, logs = list[bytes](), list[list[tuple[int, str, str]]]()
    for folder, rows in (("true", ROWS), ("other", change(ROWS))):
        with Store(tmp_path / folder / "icm.db") as store:
            path = tmp_path / folder / "claims.csv"
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            import_file(store, path, "maths-verification")
            run = begun(store, replace(SPEC, dataset="claims"))
            parcels.append(pickle.dumps(store_server.pack(store, run)))
            work(Wire(store.path), run)
            logs.append(log(store, run))
    assert parcels[0] == parcels[1]
    assert logs[0] == logs[1]
    assert len(logs[0]) == STEPS + 4


def test_no_label_and_no_other_column_is_in_a_parcel(store: Store) -> None:
    small_dataset(store, gold=False)
    original = store.dataset("sums")
    inputs = tuple({**row, "remark": "COLUMN"} for row in original.inputs)
    store.add_dataset(Dataset("secret", original.task, original.examples, inputs, ("remark",), "SOURCE", ("NOTE",)))
    add_gold(store, "secret", {example.id: "GOLD" for example in original.examples})
    add_human(store, "secret", "PERSON", {example.id: "True" for example in original.examples})
    run = begun(store, replace(SPEC, dataset="secret"))
    packed = store_server.pack(store, run)
    assert isinstance(packed, RunBundle)
    text = pickle.dumps(packed)
    assert b"sums-1-1" in text
    for word in (b"COLUMN", b"SOURCE", b"NOTE", b"GOLD", b"PERSON", b"gold", b"human"):
        assert word not in text, word


def test_an_audit_meanwhile_stays_at_home_and_changes_nothing(store: Store) -> None:
    """Answers given before a worker elsewhere begins, and while it searches: it gets their places in the log alone."""
    run = begun(store)
    wire, seen, said = Wire(store.path), list[int](), "NOBODY ELSE SEES THIS"

    def answer(number: int) -> None:
        if number in (6, 7, 20) and number not in seen:
            seen.append(number)
            store.append(run, "audit", {"answer": said})

    wire.before = answer
    work(wire, run)
    assert [number for number, kind, _ in log(store, run) if kind == "audit"] == [6, 7, 20]
    assert [body for _, kind, body in log(store, run) if kind != "audit"] == [body for _, _, body in local(store)]
    assert said.encode() not in pickle.dumps(store_server.pack(store, run))


def test_a_parcel_has_what_the_run_reads_and_no_more(store: Store) -> None:
    small_dataset(store)
    run = begun(store, replace(SPEC, limit=8))  # whole groups of three: six
    (piece,) = store_server.pack(store, run).pieces
    assert [example.id for example in piece.examples] == [f"sums-{group}-{k}" for group in (0, 1) for k in range(3)]
    work(Wire(store.path), run)
    assert log(store, run) == local(store, replace(SPEC, limit=8))
