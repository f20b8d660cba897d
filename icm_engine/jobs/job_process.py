"""The process that does one job: it claims the job, calls the function of its kind, and records how it ended.

The function reports progress, which is also how it learns of a cancellation. It may store parts that a later process of
the same job finds again.
"""

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from icm_engine import jobs
from icm_engine.core.errors import SettingError
from icm_engine.runs.lease import claim, guarded, heartbeat, in_database
from icm_engine.store.events import Json
from icm_engine.store.store import Store

PROGRESS_EVERY = 1.0  # seconds between two progress events: enough for a bar, few enough for a log


class Cancelled(Exception):
    """A person cancelled this job."""


@dataclass
class Job:
    """One process's claim on one job, passed to the function of its kind."""

    store: Store
    name: str
    spec: jobs.JobSpec
    lease: str
    _told: float = 0.0
    _news: tuple[int, int | None, str] | None = None

    def ready(self, facts: Mapping[str, object]) -> None:
        """Record that the job is ready, with a description of its model if it has one."""
        self.append("ready", dict(facts))
        self.store.update_lease(self.name, self.lease, ready=1)

    def progress(self, done: int, total: int | None, words: str = "") -> None:
        """Report progress, at most once a second, and only what has changed. Raises Cancelled."""
        if (now := time.monotonic()) - self._told < PROGRESS_EVERY:
            return
        self._told = now
        self.stop_if_cancelled()
        if (news := (done, total, words)) != self._news:
            self.append("progress", {"done": done, "total": total, "words": words})
            self._news = news

    def cancelled(self) -> bool:
        """Say whether the job was cancelled since its last start."""
        last = self.store.last_event(self.name, ("start", "cancel"))
        return last is not None and last.kind == "cancel"

    def stop_if_cancelled(self) -> None:
        """Check for cancellation at the start of a piece. Raises Cancelled."""
        if self.cancelled():
            raise Cancelled

    def settled(self) -> bool:
        """Say whether the job ended or was cancelled, and was not started again."""
        last = self.store.last_event(self.name, ("start", "result", "failed", "cancel"))
        return last is not None and last.kind != "start"

    def keep(self, part: Json) -> None:
        """Store a finished piece; after a crash, `kept` returns it."""
        self.append("part", part)

    def kept(self) -> list[Json]:
        """Return the pieces finished so far by this job's processes, in order."""
        return [event.body for event in self.store.read_after(self.name, kinds=("part",))]

    def append(self, kind: str, body: Json, seconds: float = 0.0) -> None:
        """Append an event. Raises RunBusy if another process has taken the job over."""
        self.store.append(self.name, kind, body, seconds, self.lease)


Perform = Callable[[Job], Json]


def kind_of(job: Job, process: str) -> jobs.JobKind:
    """Return the kind of a job of this process. Raises SettingError for another process's kind."""
    kind = jobs.KINDS[job.spec.kind]
    if kind.process != process:
        raise SettingError(f"job {job.name!r} is not done by {process}: start it again (jobs {job.name} --again)")
    return kind


def function_of(kind: jobs.JobKind) -> Callable[..., Any]:
    """Import and return the function for a kind of job."""
    module, _, name = kind.function.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def perform(job: Job) -> Json:
    """Do a job that needs no model and return its result."""
    found: Json = function_of(kind_of(job, jobs.PLAIN))(job)
    return found


def main(perform: Perform, arguments: Sequence[str] | None = None) -> int:
    """Run one job to its end; 0 if done or cancelled, 1 if it failed or another process holds it."""
    return in_database("job", lambda store, job: run_in_process(store, job, perform), arguments)


def run_in_process(store: Store, job: str, perform: Perform) -> int:
    """Run a job to its end; 0 if done or cancelled, 1 if it failed. Raises RunBusy."""
    lease = claim(store, job)
    with heartbeat(store, job, lease):
        held = Job(store, job, jobs.spec(store, job), lease)
        return guarded(lambda: _do(held, perform), lambda error: held.append("failed", error))


def _do(job: Job, perform: Perform) -> None:
    if job.settled():
        return  # another process did the job, or it was cancelled
    began = time.perf_counter()
    with suppress(Cancelled):
        found = perform(job)
        job.append("result", found, time.perf_counter() - began)
