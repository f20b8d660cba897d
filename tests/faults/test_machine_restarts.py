"""A machine that restarted: worker and server are gone, their leases still stand, their pids are other programs'."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from icm_engine import jobs
from icm_engine.core.errors import RunBusy
from icm_engine.core.settings import SearchConfig
from icm_engine.data import importing
from icm_engine.runs import control, lease, worker
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.store import Command, Store
from tests.support.faults import Fault
from tests.support.kills import Dying, require_same, uninterrupted, wait_for

SPEC = RunSpec("pairs", "fake", search=SearchConfig(seed=11, max_steps=60))
ENDLESS = replace(SPEC, search=replace(SPEC.search, max_steps=5_000_000))
HOURS = 5 * 3600.0
Change = Callable[[psutil.Process], Json]
# what a restart can make of the lease that a killed worker left; `other` is a program that lives
LEFT: dict[str, Change] = {
    "the pid is another program's": lambda other: {"pid": other.pid},
    "the pid is another program's, with the same start in another boot": lambda other: {
        "pid": other.pid, "pid_started": lease.process_of(other.pid).pid_started, "boot": "an earlier one"
    },
    "the pid is nobody's, the heartbeat old": lambda other: {"pid": 2**22 + 1, "heartbeat": time.time() - HOURS},
    "the heartbeat lies ahead: the clock was behind": lambda other: {"heartbeat": time.time() + HOURS},
    "an older program's lease, without a boot, the pid another's": lambda other: {
        "pid": other.pid, "pid_started": other.create_time() - HOURS, "boot": ""
    },
}  # fmt: skip


@pytest.fixture
def filled(store: Store, pairs: Dataset) -> Store:
    store.add_dataset(pairs)
    return store


@pytest.fixture
def other() -> Iterator[psutil.Process]:
    """Another program, that lives."""
    process = psutil.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    with suppress(psutil.NoSuchProcess):
        process.kill()
    process.communicate()


@pytest.mark.fault(
    "the machine restarts: the worker is gone, its lease remains, its pid belongs to another "
    "program, even with the same start time",
    "the run is shown as interrupted at once, and `resume` continues it to the log of an uninterrupted run",
)
@pytest.mark.parametrize("change", LEFT.values(), ids=LEFT.keys())
def test_a_lease_from_before_the_restart(
    filled: Store, other: psutil.Process, fault: Fault, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, dying = uninterrupted(filled, SPEC), Dying(filled, monkeypatch)
    for k in range(fault.times(quick=1, long=5)):
        run = control.create_run(filled, SPEC)
        dying.at("event committed", 5 + 10 * k, partial(control.start, filled, run))
        row = filled.lease_row(run)
        assert row is not None
        filled.put_lease({**row, **change(other)})
        now = control.status(filled, run)
        assert (now.phase, now.pid, now.settled) == ("interrupted", None, True)
        control.resume(filled, run)
        assert control.wait_until_settled(filled, run).phase == "finished"
        require_same(filled, run, whole)
    fault.happened = "shown as interrupted at once; logs equal byte for byte"


def row_of(process: psutil.Process) -> Json:
    return {"run": "r", "token": "t", "heartbeat": 0.0, "ready": 1, "log": "", **asdict(lease.process_of(process.pid))}


def test_what_tells_the_living_from_the_dead(other: psutil.Process) -> None:
    row = row_of(other)
    assert lease.alive(row)  # whatever its heartbeat says
    assert not lease.alive({**row, "boot": "another"})
    assert not lease.alive({**row, "pid_started": row["pid_started"] - 2})
    old = {**row, "boot": "", "pid_started": other.create_time()}  # as an older program wrote it
    assert lease.alive(old)
    assert not lease.alive({**old, "pid_started": other.create_time() - 2})
    other.kill()
    wait_for(lambda: other.status() == psutil.STATUS_ZOMBIE)
    assert not lease.alive(row)


def test_a_system_that_does_not_name_its_boots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lease, "_BOOT", tmp_path / "none")
    here = lease.this_process()
    assert (here.boot, here.pid_started) == ("", psutil.Process().create_time())
    assert lease.alive({"heartbeat": 0.0, **asdict(here)})
    assert not lease.alive({"heartbeat": 0.0, **asdict(here), "pid_started": here.pid_started - 2})


def test_jobs_too(filled: Store, other: psutil.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "claims.csv"
    path.write_text("question,claim\nQ?,An answer\nQ?,Another one\n")
    job = jobs.create(filled, importing.import_spec(path, "truthfulness", "claims"))
    Dying(filled, monkeypatch).at("rows being copied", 1, partial(jobs.start, filled, job))
    row = filled.lease_row(job)
    assert row is not None
    filled.put_lease({**row, **asdict(lease.process_of(other.pid)), "boot": "an earlier one"})
    assert jobs.status(filled, job).phase == "interrupted"
    jobs.start(filled, job)
    assert jobs.wait_until_settled(filled, job).phase == "done"


# -- what a look at a run must not see


def test_a_worker_that_came_and_went_during_a_look_is_not_interrupted(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is looked at first; what is read next is then the doing of a worker that took it since."""
    run = control.create_run(filled, ENDLESS)
    filled.send(run, "start", run)
    real, looks = Store.pending, list[str]()

    def pending(store: Store, name: str) -> list[Command]:
        if not looks:
            looks.append(lease.claim(filled, run))
            filled.answer(run, real(filled, run), "control", {"verb": "start"}, looks[0])
        return real(store, name)

    monkeypatch.setattr(Store, "pending", pending)
    now = control.status(filled, run)
    assert (now.phase, now.pid) == ("starting", psutil.Process().pid)


def test_a_launched_worker_is_known_before_it_has_begun(filled: Store, other: psutil.Process) -> None:
    """Its lease is in its name from the start, so that nobody waits for one that died on the way, nor launches two."""
    run = control.create_run(filled, ENDLESS)
    filled.send(run, "start", run)
    lease.claim_for(filled, run, lambda token: other.pid)
    now = control.status(filled, run)
    assert (now.phase, now.pid, now.settled) == ("starting", other.pid, False)
    with pytest.raises(RunBusy, match=f"held by process {other.pid}"):
        lease.claim(filled, run)
    other.kill()
    wait_for(lambda: control.status(filled, run).settled)
    assert control.status(filled, run).phase == "interrupted"


def test_what_waits_for_a_process_that_is_on_its_way_is_not_lost(filled: Store, other: psutil.Process) -> None:
    """A run that a lane, a batch or a cluster takes over waits, though its last worker died."""
    run = control.create_run(filled, ENDLESS)
    lease.claim_for(filled, run, lambda token: other.pid)
    other.kill()
    other.wait()
    control.queue(filled, run)
    assert control.status(filled, run).phase == "starting"
    assert not control.status(filled, run).lost


def test_what_was_asked_before_the_clock_was_set_back_is_not_about_to_begin(filled: Store) -> None:
    run, job = control.create_run(filled, ENDLESS), jobs.create(filled, jobs.JobSpec("restarts", {"chains": []}))
    control.queue(filled, run)
    filled.append(job, "start", {})
    assert (control.status(filled, run).phase, jobs.status(filled, job).phase) == ("starting", "starting")
    filled.db.execute("update commands set created = created + ?", [HOURS])
    filled.db.execute("update events set time = time + ?", [HOURS])
    assert (control.status(filled, run).phase, jobs.status(filled, job).phase) == ("created", "interrupted")


def test_a_finished_run_stays_finished_whatever_comes_late(filled: Store) -> None:
    run = control.create_run(filled, SPEC)
    filled.send(run, "start", run)
    worker.run_in_process(filled, run, idle=0.0)
    for verb in ("stop", "pause", "step", "resume"):
        filled.send(run, verb, f"{verb} {run}", 3 if verb == "step" else 0)
        worker.run_in_process(filled, run, idle=0.0)
        assert (now := control.status(filled, run)).phase == "finished", verb
        assert (now.steps, now.pending) == (60, ())
