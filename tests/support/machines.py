"""Machines on which every process of a batched run or of restarts is the process of the test."""

from collections.abc import Callable

import pytest

from icm_engine import jobs
from icm_engine.core.settings import SearchConfig
from icm_engine.jobs import batches, job_process, job_worker, scheduler
from icm_engine.runs import control, worker
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.store import Store
from tests.support.processes import score_by, spawn_by
from tests.support.stores import hold, moody_belief

BATCHED = RunSpec("sums", "fake", search=SearchConfig(seed=3, max_steps=24))  # 18 examples in groups of 3
RESTARTED = RunSpec("sums", "fake", search=SearchConfig(seed=3, max_steps=36))


class BatchMachine:
    """Every process is this one: lanes wait in a row, and each look of the job's process lets one work to its end."""

    def __init__(self, store: Store) -> None:
        self.store, self.waiting, self.lanes = store, list[str](), list[str]()
        self.between: Callable[[], None] = lambda: None

    def spawn(self, store: Store, module: str, name: str) -> None:
        if jobs.spec(store, name).kind == batches.LANE:
            self.waiting.append(name)
            self.lanes.append(name)

    def look(self) -> None:
        self.between()
        if self.waiting:
            job_process.main(job_worker.perform, ["--db", str(self.store.path), self.waiting.pop(0)])

    def do(self, job: str) -> Json | None:
        job_process.main(job_process.perform, ["--db", str(self.store.path), job])
        return jobs.result(self.store, job)

    def take_over(self, patch: pytest.MonkeyPatch) -> None:
        """Be what launches, waits and scores."""
        spawn_by(patch, lambda store, module, name: None)
        patch.setattr(jobs, "spawn", self.spawn)
        patch.setattr(scheduler, "wait", self.look)
        patch.setattr(scheduler, "PAUSING", 0.0)
        patch.setattr(job_process, "PROGRESS_EVERY", 0.0)
        score_by(patch, moody_belief)


class RestartMachine:
    """Workers in this process: launched ones wait in a row, and each look of the job's process lets one work."""

    def __init__(self, store: Store) -> None:
        self.store, self.alive, self.most, self.order = store, list[str](), 0, list[str]()
        self.between: Callable[[], None] = lambda: None

    def launch(self, store: Store, run: str) -> None:
        if run not in self.alive:
            self.alive.append(run)
            self.order.append(run)
            hold(store, run)
        self.most = max(self.most, len(self.alive))

    def look(self) -> None:
        self.between()
        if self.alive:
            run = self.alive.pop(0)
            self.store.drop_lease(run, "test")
            worker.main(["--db", str(self.store.path), run])

    def do(self, job: str) -> Json | None:
        job_process.main(job_process.perform, ["--db", str(self.store.path), job])
        return jobs.result(self.store, job)

    def take_over(self, patch: pytest.MonkeyPatch) -> None:
        """Be what launches, waits and scores; the model has moods, so chains differ."""
        spawn_by(patch, lambda store, module, name: None)
        patch.setattr(control, "launch", self.launch)
        patch.setattr(scheduler, "wait", self.look)
        patch.setattr(job_process, "PROGRESS_EVERY", 0.0)
        score_by(patch, moody_belief)
        patch.setattr(worker, "IDLE", 0.05)
