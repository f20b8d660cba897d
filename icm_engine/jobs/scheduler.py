"""Schedules runs and jobs, a few at a time, on workers on this machine or a Ray cluster.

A pool of workers does runs and jobs: `OwnWorkers` gives each run a worker of its own, `SharedWorkers` hands many to a
few processes that load the model once, `RayWorkers` hands them to a cluster, and `jobs.batches.Lanes` takes the batches
of a data set. Restarts, batches and suites say what to do, in which order and how many at once; `work_off` does it.
No state is kept: progress is read from the runs and jobs, so another process can continue with what is left.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from icm_engine import cluster, jobs
from icm_engine.core.errors import RunBusy, RunError
from icm_engine.runs import control
from icm_engine.runs.control import RunStatus
from icm_engine.runs.life_cycle import Status
from icm_engine.store.events import Json
from icm_engine.store.store import Store

BATCH = "batch"  # the kind of job that takes several runs and jobs in one process
LOOK = 1.0  # seconds between two checks; a job reports its progress no more often
PAUSING = 120.0  # maximum wait for work in progress when a pool ends, in seconds
_GOING = ("start", "resume", "step")  # commands after which a run continues


def wait() -> None:
    """Wait between two checks of the workers."""
    time.sleep(LOOK)


# -- a run or a job


def standing(store: Store, name: str) -> Status:
    """Return the status of a run or job. Raises NotFound."""
    return control.status(store, name) if store.has_run(name) else jobs.status(store, name)


def is_done(store: Store, name: str) -> bool:
    """Say whether a run is finished, or a job has its result."""
    return standing(store, name).complete


def missing(store: Store, name: str) -> str:
    """Return why a run or job is not done; empty if it is."""
    now = standing(store, name)
    return "" if now.complete else now.message


def resume_or_start(store: Store, name: str) -> None:
    """Queue a run or job for the process that has taken it over. Idempotent."""
    if not store.has_run(name):
        if jobs.status(store, name).settled:
            store.append(name, "start", {})
    elif control.steps_left(store, name) == 0 and not any(sent.verb in _GOING for sent in store.pending(name)):
        control.queue(store, name)


# -- pools of workers


class Pool(Protocol):
    """A pool of workers that do runs and jobs."""

    def advance(self) -> bool:
        """Start what there is room for; return whether anything is left. Raises RunError."""

    def end(self) -> None:
        """End work in progress: a run pauses after its step, a job ends after its piece."""


def work_off(pool: Pool, look: Callable[[], object]) -> None:
    """Let a pool work until it is done; an error raised by `look`, such as Cancelled, ends the pool."""
    try:
        look()
        while pool.advance():
            wait()
            look()
    except Exception:
        pool.end()
        raise


def workers(store: Store, names: Sequence[str], processes: int, where: cluster.ClusterSpec | None) -> Pool:
    """Return the pool for these runs and jobs: a cluster, or that many local processes."""
    return SharedWorkers(store, names, processes) if where is None else RayWorkers(store, names, where)


def end(store: Store, started: Sequence[str], names: Callable[[], Iterable[str]]) -> None:
    """Cancel jobs and wait until they settle; runs and jobs of `names` in progress end after their step."""
    for job in started:
        jobs.cancel(store, job)
    until, asked = time.monotonic() + PAUSING, set[str]()
    while time.monotonic() < until and any(not jobs.status(store, job).settled for job in started):
        asked |= {name for name in set(names()) - asked if _end_one(store, name)}
        wait()


def _end_one(store: Store, name: str) -> bool:
    """Pause a run or cancel a job; return whether it was in progress."""
    if store.has_run(name):
        if moving := not control.status(store, name).settled:
            store.send(name, "pause", uuid.uuid4().hex)  # sent to its current holder; no worker is launched
        return moving
    if moving := jobs.status(store, name).phase == "running":
        jobs.cancel(store, name)
    return moving


@dataclass
class OwnWorkers:
    """One worker per run, a limited number at once; a run paused by a person is waited for.

    A run is started or resumed only once (`asked`), because one that always fails would hold up the rest. A run that
    another process started is left to it.
    """

    store: Store
    runs: Sequence[str]
    side_by_side: int
    asked: set[str] = field(default_factory=set)

    def advance(self) -> bool:
        now = {run: control.status(self.store, run) for run in self.runs}
        busy = sum(map(_busied, now.values()))
        left = [run for run, status in now.items() if run not in self.asked and status.left]
        if not busy and not left and not any(status.phase == "paused" for status in now.values()):
            return False
        new = [run for run in left if not _busied(now[run])][: max(0, self.side_by_side - busy)]
        for run in left:
            if run in new or _busied(now[run]):  # a paused run keeps its place while its worker waits
                (control.start if now[run].phase == "created" else control.resume)(self.store, run)
                self.asked.add(run)
        return True

    def end(self) -> None:
        for run in self.runs:
            if control.status(self.store, run).moving:
                control.pause(self.store, run)


def _busied(status: RunStatus) -> bool:
    """Whether a run occupies a place: its worker is alive (even if it waits) or about to start."""
    return status.pid is not None or status.moving


@dataclass
class SharedWorkers:
    """A few `batch` jobs, each with an equal share of the runs and jobs and of the processor's threads."""

    store: Store
    names: Sequence[str]
    processes: int
    started: list[str] = field(default_factory=list)

    def advance(self) -> bool:
        if not self.started:
            self.started = self._start()
        now = [jobs.status(self.store, job) for job in self.started]
        if any(not one.settled for one in now):
            return True
        for one in now:
            if one.phase == "failed":
                raise RunError(f"job {one.job!r} failed: {one.message}")
        return False

    def _start(self) -> list[str]:
        shares = [list(self.names[k :: self.processes]) for k in range(self.processes)]
        threads = max(1, (os.cpu_count() or 1) // self.processes)
        wanted = [jobs.JobSpec(BATCH, {"names": share, "threads": threads}) for share in shares if share]
        return [jobs.request(self.store, spec) for spec in wanted]

    def end(self) -> None:
        end(self.store, self.started, lambda: self.names)


@dataclass
class RayWorkers:
    """A cluster, which runs as many at once as it has room for."""

    store: Store
    names: Sequence[str]
    where: cluster.ClusterSpec
    handed: str | None = None

    def advance(self) -> bool:
        if not self.names:
            return False
        if self.handed is None:
            self.handed = cluster.hand_over(self.store, self.names, self.where)
        now = jobs.status(self.store, self.handed)
        if now.settled and not now.complete:
            raise RunError(f"job {self.handed!r} {now.phase}: {now.message}")
        return not now.settled

    def end(self) -> None:
        """End the cluster's job; its runs and jobs are then free, at their last step."""
        end(self.store, [self.handed] if self.handed else [], list)


# -- in the process of a worker

Progress = Callable[[int, int | None, str], None]
Do = Callable[[Store, str], int]


def do_in_turn(store: Store, names: Sequence[str], progress: Progress, search: Do, job: Do) -> Json:
    """Do every named run (`search`) and job (`job`) as far as it goes; return what failed, and why.

    A failure is reported and the others continue. Finished ones are skipped; those held by another process are waited
    for.
    """
    failed = dict[str, str]()
    for number, name in enumerate(names):
        progress(number, len(names), name)
        while not is_done(store, name):
            resume_or_start(store, name)
            try:
                (search if store.has_run(name) else job)(store, name)
            except RunBusy:  # such as the process of a cancelled suite, still in its last step
                progress(number, len(names), f"{name}, which another process has")
                wait()
                continue
            if message := missing(store, name):
                failed[name] = message
            break
    return {"names": list(names), "failed": failed}
