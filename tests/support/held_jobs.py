"""Jobs held by a test: the functions of kinds are called with one, and no process does it."""

from collections.abc import Callable, Sequence

from icm_engine import jobs
from icm_engine.jobs import JobSpec, job_process, job_worker
from icm_engine.jobs.job_process import Job
from icm_engine.store.events import Json
from icm_engine.store.store import Store


class HeldJob(Job):
    """A job of a body alone: what it would store is kept in lists."""

    def __init__(
        self, store: Store, body: Json, kept: Sequence[Json] = (), told: Callable[..., None] = lambda *now: None
    ) -> None:
        super().__init__(store, "held.1", JobSpec("held", body), "")
        self.parts, self.told = list(kept), told

    def progress(self, done: int, total: int | None, words: str = "") -> None:
        self.told(done, total, words)

    def keep(self, part: Json) -> None:
        self.parts.append(part)

    def kept(self) -> list[Json]:
        return list(self.parts)


def perform(job: Job) -> Json:
    """Do a job of any kind, as its own process would."""
    if jobs.KINDS[job.spec.kind].process == jobs.WORKER:
        return job_worker.perform(job)
    return job_process.perform(job)
