"""One writer: twenty that take one run at once, commands sent twice, late and out of order, and clocks that jump."""

import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from random import Random

import psutil
import pytest

from icm_engine import jobs
from icm_engine.core.errors import RunBusy
from icm_engine.core.settings import ModelChoice, SearchConfig
from icm_engine.jobs import JobSpec
from icm_engine.runs import control, lease, worker
from icm_engine.runs.verify import verify
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.support import process_crowds
from tests.support.app_server import end_workers
from tests.support.faults import Fault
from tests.support.kills import kill, searched, uninterrupted, wait_for
from tests.support.process_crowds import Crowds

MANY, SEED, HOURS = 20, 8, 5 * 3600.0
ENDLESS = RunSpec("pairs", "fake", search=SearchConfig(seed=11, max_steps=5_000_000))
SHORT = replace(ENDLESS, search=replace(ENDLESS.search, max_steps=60))
JOB = JobSpec("context-check", {"dataset": "pairs", "limit": None}, ModelChoice("fake"))
pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def filled(store: Store, pairs: Dataset) -> Store:
    store.add_dataset(pairs)
    return store


@pytest.fixture(scope="module")
def crowds() -> Iterator[Crowds]:
    made = Crowds()
    yield made
    made.close()


# -- twenty at once


@pytest.mark.smoke
@pytest.mark.fault("20 processes take one run at the same moment", "one takes it; 19 report who holds it (status 1)")
def test_twenty_take_one_run(filled: Store, crowds: Crowds, fault: Fault) -> None:
    whole = uninterrupted(filled, SHORT)[:-1]  # all but `finished`
    for _ in range(fault.times(quick=1, long=20)):
        run = control.create_run(filled, ENDLESS)
        filled.send(run, "start", run)
        with crowds.doing("work", filled.path, run, count=MANY) as crowd:
            refused = crowd.told(MANY - 1)
            row = filled.lease_row(run)
            assert row is not None
            said = f"run {run!r} is held by process {row['pid']} on {socket.gethostname()}: pause it there first\n"
            assert {(code, text) for _, code, text in refused} == {(1, said)}
            wait_for(lambda run=run: control.status(filled, run).steps >= 60)  # type: ignore[misc]
            filled.send(run, "stop", f"stop {run}")
            assert crowd.told(1) == [(row["pid"], 0, "")]
        log = filled.read_after(run)
        assert searched(filled, run)[: len(whole)] == whole
        kinds = Counter(event.kind for event in log)
        assert kinds == {"control": 2, "model": 1, "initial": 1, "step": len(log) - 4}
        assert verify(filled, open_run(filled, run)) == (len(log) - 4, [])
    fault.happened = (
        f"1 of {MANY} took it each time, and its log is that of one worker; {MANY - 1} reported its pid and host"
    )


@pytest.mark.fault("20 processes take one job at the same moment", "one does it, once; 19 report who holds it")
def test_twenty_take_one_job(filled: Store, crowds: Crowds, fault: Fault) -> None:
    for _ in range(fault.times(quick=1, long=20)):
        process_crowds.go_file(filled.path).unlink(missing_ok=True)
        job = jobs.create(filled, JOB)
        filled.append(job, "start", {})
        with crowds.doing("do_job", filled.path, job, count=MANY) as crowd:
            refused = crowd.told(MANY - 1)
            pid = jobs.status(filled, job).pid
            assert {code for _, code, _ in refused} == {1}
            assert all(f"{job!r} is held by process {pid} on" in text for _, _, text in refused)
            process_crowds.go_file(filled.path).touch()
            assert crowd.told(1) == [(pid, 0, "")]
        with crowds.doing("do_job", filled.path, job, count=1) as late:
            assert late.told(1)[0][1:] == (0, "")
        assert [event.kind for event in filled.read_after(job)] == ["start", "ready", "result"]
        assert jobs.result(filled, job) == {"pid": pid}
    fault.happened = f"1 of {MANY} did it; one that came later did nothing"


@pytest.mark.fault("20 tabs resume one run, and start one job, at the same moment", "one process each is launched")
def test_twenty_ask_at_once(filled: Store, crowds: Crowds, fault: Fault) -> None:
    for _ in range(fault.times(quick=1, long=10)):
        run, job = control.create_run(filled, ENDLESS), jobs.create(filled, JOB)
        with crowds.doing("resume", filled.path, run, count=MANY) as crowd:
            assert sum(launched for _, launched, _ in crowd.told(MANY)) == 1
        wait_for(lambda run=run: not filled.pending(run))  # type: ignore[misc]
        with crowds.doing("start_job", filled.path, job, count=MANY) as crowd:
            assert sum(launched for _, launched, _ in crowd.told(MANY)) == 1
        assert jobs.wait_until_settled(filled, job).phase == "done"
        assert [event.kind for event in filled.read_after(job)].count("start") == 1
        control.stop(filled, run)
        assert control.wait_until_settled(filled, run).phase == "stopped"
        receipts_of(filled, run, MANY + 1)
    fault.happened = f"1 worker for {MANY} commands, each with its receipt; 1 process for {MANY} starts"


def receipts_of(store: Store, run: str, count: int) -> Counter[str]:
    """Require so many commands of a run, each answered by an event of its own kind; return the kinds."""
    assert store.pending(run) == []
    rows = list(store.db.execute("select verb, applied, body from commands where run = ?", [run]))
    assert len(rows) == count
    answers = [store.event(run, applied) for _, applied, _ in rows]
    for (verb, _, _), event in zip(rows, answers, strict=True):
        if event.kind == "control":
            assert event.body["verb"] == verb
        else:
            assert event.kind in (ANSWERS.get(verb, ""), "refused")
    numbers = Counter(event.number for event in answers if event.kind != "hand")
    assert set(numbers.values()) <= {1}  # acts that followed each other share an event, nothing else does
    answered = {event.number for event in answers}
    assert {event.number for event in store.read_after(run) if event.kind in KINDS} - answered == set()
    return Counter(event.kind for event in answers)


ANSWERS = {"hand": "hand", "retune": "retuned", "breakpoints": "breakpoints"}
KINDS = ("control", "refused", *ANSWERS.values())


# -- commands


@pytest.mark.fault("20 processes send one command with one token", "it counts as one command and is applied once")
def test_one_token_sent_by_twenty(filled: Store, crowds: Crowds, fault: Fault) -> None:
    run = control.create_run(filled, SHORT)
    for k in range(fault.times(quick=1, long=10)):
        with crowds.doing("send", filled.path, run, f"token {k}", count=MANY) as crowd:
            assert [code for _, code, _ in crowd.told(MANY)] == [0] * MANY
        worker.run_in_process(filled, run, idle=0.0)
        assert control.status(filled, run).steps == 2 * (k + 1)
        filled.send(run, "step", f"token {k}", 2)  # late: it was applied long ago
        worker.run_in_process(filled, run, idle=0.0)
        assert control.status(filled, run).steps == 2 * (k + 1)
    receipts_of(filled, run, fault.tried)
    fault.happened = f"{fault.tried} tokens, sent {fault.tried * (MANY + 1)} times: {fault.tried} events"


def commands(rng: Random, count: int) -> list[tuple[str, str, int, Json]]:
    """So many commands in no sensible order: token, verb, steps, body. Some cannot be done; some come twice."""
    pins = [
        {"verb": "pin", "examples": [f"e{k}"], "labels": [rng.choice(("True", "False"))], "text": ""} for k in (3, 50)
    ]
    made: list[tuple[str, int, Json]] = [
        ("pause", 0, {}), ("resume", 0, {}), ("start", 0, {}), ("step", 3, {}), ("stop", 0, {}),
        *(("hand", 0, body) for body in pins),
        ("hand", 0, {"verb": "undo", "examples": [], "labels": [], "text": ""}),
        ("retune", 0, {"settings": {"alpha": float(rng.randint(20, 60))}}),
        ("breakpoints", 0, {"flips": [], "utility_falls": None, "inconsistent_for": None}),
    ]  # fmt: skip
    drawn = [(f"{rng.random()}", *rng.choice(made)) for _ in range(count)]
    return [*drawn, *rng.choices(drawn, k=count // 4)]


@pytest.mark.fault(
    "commands from two tabs at once: out of order, repeated, to runs not started, stopped or finished",
    "each is applied once, with a receipt, refusals included; the log stays correct",
)
def test_commands_in_any_order(filled: Store, fault: Fault) -> None:
    kinds, rng = Counter[str](), Random(SEED)
    for _ in range(fault.times(quick=2, long=40)):
        run = control.create_run(filled, SHORT)
        sent = [commands(rng, 15), commands(rng, 15)]
        tabs = [threading.Thread(target=_tab, args=(filled, run, mine)) for mine in sent]
        for tab in tabs:
            tab.start()
        for tab in tabs:
            tab.join()
        wait_for(lambda run=run: not filled.pending(run))  # type: ignore[misc]
        control.resume(filled, run)
        assert control.wait_until_settled(filled, run).phase == "finished", control.log_tail(filled, run)
        _tab(filled, run, late := commands(rng, 10))
        wait_for(lambda run=run: not filled.pending(run))  # type: ignore[misc]
        assert control.wait_until_settled(filled, run).phase == "finished"
        kinds += receipts_of(filled, run, len({token for token, *_ in [*sent[0], *sent[1], *late]}) + 1)
        assert verify(filled, open_run(filled, run)) == (60, [])
    end_workers(filled.path)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    fault.happened = f"{kinds.total()} commands with one receipt each ({told}); seed {SEED}"


def _tab(store: Store, run: str, sent: list[tuple[str, str, int, Json]]) -> None:
    with store.again() as own:
        for token, verb, steps, body in sent:
            with own.transaction():  # as `control` asks
                own.send(run, verb, token, steps, body)
                control.launch(own, run)


# -- clocks


@pytest.mark.fault(
    "a worker's wall clock is hours off, or jumps by hours",
    "nobody takes its run while it is alive; once killed, it is recognised as dead at once",
)
@pytest.mark.parametrize(("offset", "jumps"), [(HOURS, False), (-HOURS, False), (HOURS, True)])
def test_clocks_do_not_decide_who_lives(
    filled: Store, crowds: Crowds, fault: Fault, offset: float, jumps: bool
) -> None:
    whole = uninterrupted(filled, SHORT)
    for _ in range(fault.times(quick=1, long=5)):
        run = control.create_run(filled, SHORT)
        filled.send(run, "step", run, 20)
        with crowds.doing("work_by_clock", filled.path, run, offset, jumps, count=1) as crowd:
            wait_for(lambda run=run: control.status(filled, run).steps == 20)  # type: ignore[misc]
            wait_for(lambda run=run: abs(_age(filled, run)) > HOURS / 2)  # type: ignore[misc]
            assert control.status(filled, run).pid == crowd.pids[0]
            with pytest.raises(RunBusy, match=f"held by process {crowd.pids[0]}"):
                lease.claim(filled, run)
            assert kill(crowd.pids[0])
            assert control.status(filled, run).pid is None
        control.resume(filled, run)
        assert control.wait_until_settled(filled, run).phase == "finished"
        assert searched(filled, run) == whole
    fault.happened = (
        f"clock {offset / 3600:+.0f} h{' and back' if jumps else ''}: takeover refused while it was alive, "
        "allowed after it was killed"
    )


def _age(store: Store, run: str) -> float:
    row = store.lease_row(run)
    return time.time() - row["heartbeat"] if row else 0.0


@pytest.mark.fault("this machine's clock is set while a worker is alive", "it keeps its lease")
def test_setting_the_clock_steals_no_lease(filled: Store, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """psutil adds the time of the boot as the clock of now has it: after the clock is set, every start has moved."""
    run, real = control.create_run(filled, ENDLESS), psutil.Process.create_time
    control.start(filled, run)
    wait_for(lambda: control.status(filled, run).steps > 0)
    pid = control.status(filled, run).pid
    shifts = [-HOURS, HOURS, -3.0, 3.0] * fault.times(quick=1, long=5)
    for shift in shifts:
        monkeypatch.setattr(psutil.Process, "create_time", lambda self, shift=shift: real(self) + shift)
        monkeypatch.setattr(time, "time", lambda shift=shift: time.time_ns() / 1e9 + shift)
        assert control.status(filled, run).pid == pid
        with pytest.raises(RunBusy):
            lease.claim(filled, run)
    monkeypatch.undo()
    control.stop(filled, run)
    assert control.wait_until_settled(filled, run).phase == "stopped"
    fault.tried, fault.happened = len(shifts), "set by 5 h and by 3 s, forward and back: the worker kept its lease"


@pytest.fixture
def elsewhere(filled: Store) -> Callable[[float], str]:
    """A run whose lease is another host's, with a heartbeat so many seconds from now."""

    def made(ahead: float) -> str:
        run = control.create_run(filled, SHORT)
        lease.claim(filled, run)
        row = filled.lease_row(run)
        assert row is not None
        filled.put_lease({**row, "host": "elsewhere", "boot": "another", "heartbeat": time.time() + ahead})
        return run

    return made


@pytest.mark.fault(
    "the clocks of two hosts on one database differ by hours, or one jumps",
    "a worker with a heartbeat keeps its run; a dead one does not",
)
@pytest.mark.parametrize("ahead", [-HOURS, HOURS])
def test_another_host_is_watched_before_it_counts_as_dead(
    filled: Store, elsewhere: Callable[[float], str], fault: Fault, ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(fault.times(quick=1, long=10)):
        run, done = elsewhere(ahead), threading.Event()

        def beat(run: str = run, done: threading.Event = done) -> None:
            with filled.again() as own:
                while not done.wait(0.01):
                    token = str(own.lease_token(run))
                    own.update_lease(run, token, heartbeat=time.time() + ahead)

        other = threading.Thread(target=beat)
        other.start()
        with pytest.raises(RunBusy, match="on elsewhere"):
            lease.claim(filled, run)
        done.set()
        other.join()
        with monkeypatch.context() as inner:
            inner.setattr(lease, "WATCH", 0.2)
            assert lease.claim(filled, run) == filled.lease_token(run)
    fault.happened = (
        f"heartbeats {ahead / 3600:+.0f} h off: takeover refused while they continued, allowed after they stopped"
    )


def test_a_fresh_heartbeat_elsewhere_is_believed(filled: Store, elsewhere: Callable[[float], str]) -> None:
    with pytest.raises(RunBusy, match="on elsewhere"):
        lease.claim(filled, elsewhere(-lease.OTHER_HOST_TIMEOUT / 2))


@pytest.mark.fault(
    "a worker is suspended, another host takes its run, and it wakes up",
    "it writes nothing more, reports this, and exits with status 1",
)
def test_a_worker_that_wakes_up_too_late_writes_nothing(filled: Store, crowds: Crowds, fault: Fault) -> None:
    for _ in range(fault.times(quick=1, long=20)):
        run = control.create_run(filled, ENDLESS)
        filled.send(run, "start", run)
        with crowds.doing("work", filled.path, run, count=1) as crowd:
            wait_for(lambda run=run: control.status(filled, run).steps > 5)  # type: ignore[misc]
            process = psutil.Process(crowd.pids[0])
            while not _suspended_between_writes(filled, process):
                process.resume()
            row = filled.lease_row(run)
            assert row is not None
            filled.put_lease({**row, "host": "elsewhere", "token": "theirs"})
            last = filled.last_number(run)
            process.resume()
            ((_, code, said),) = crowd.told(1)
        assert (code, said) == (
            1,
            f"run {run!r} was taken over by another worker: this one stops, nothing was written\n",
        )
        assert filled.last_number(run) == last
        assert filled.lease_token(run) == "theirs"
    fault.happened = "no event after the other host took the lease; that lease unchanged"


def _suspended_between_writes(store: Store, process: psutil.Process) -> bool:
    """Suspend a process; whether it does not hold the database's write lock."""
    process.suspend()
    wait_for(lambda: process.status() == psutil.STATUS_STOPPED)
    with closing(sqlite3.connect(store.path, timeout=0)) as own, suppress(sqlite3.OperationalError):
        own.execute("begin immediate")
        return True
    return False
