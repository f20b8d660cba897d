"""The scheduler's loop: look, start what there is room for, wait; whoever cancels ends the pool."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from icm_engine import jobs
from icm_engine.cluster import ClusterSpec
from icm_engine.core.settings import ModelChoice
from icm_engine.jobs import JobSpec, scheduler
from icm_engine.jobs.job_process import Cancelled
from icm_engine.jobs.scheduler import RayWorkers, SharedWorkers, work_off, workers
from icm_engine.store.store import Store


@dataclass
class Counted:
    """A pool that is at work for so many advances."""

    left: int
    seen: list[str] = field(default_factory=list)

    def advance(self) -> bool:
        self.seen.append("advance")
        self.left -= 1
        return self.left >= 0

    def end(self) -> None:
        self.seen.append("end")


def looking(pool: Counted, error: BaseException | None = None) -> Callable[[], None]:
    """A look that notes itself, and raises at its second time."""

    def look() -> None:
        pool.seen.append("look")
        if error is not None and pool.seen.count("look") == 2:
            raise error

    return look


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Counted:
    made = Counted(2)
    monkeypatch.setattr(scheduler, "wait", lambda: made.seen.append("wait"))
    return made


def test_it_looks_before_it_starts_anything_and_after_every_wait(pool: Counted) -> None:
    work_off(pool, looking(pool))
    assert pool.seen == ["look", "advance", "wait", "look", "advance", "wait", "look", "advance"]


@pytest.mark.parametrize("error", [Cancelled(), ValueError("a fault of the driver's own")])
def test_an_error_of_a_look_ends_the_pool(pool: Counted, error: Exception) -> None:
    with pytest.raises(type(error)):
        work_off(pool, looking(pool, error))
    assert pool.seen == ["look", "advance", "wait", "look", "end"]


def test_a_driver_that_is_killed_ends_nothing(pool: Counted) -> None:
    """What it started goes on, and the next process of the job finds it."""
    with pytest.raises(KeyboardInterrupt):
        work_off(pool, looking(pool, KeyboardInterrupt()))
    assert "end" not in pool.seen


def test_a_cluster_takes_the_place_of_processes_of_this_machine(store: Store) -> None:
    assert isinstance(workers(store, ["a"], 2, None), SharedWorkers)
    assert isinstance(workers(store, ["a"], 2, ClusterSpec("auto")), RayWorkers)
    assert not RayWorkers(store, [], ClusterSpec("auto")).advance()  # nothing to hand over


def test_shared_workers_take_every_nth_each(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "spawn", lambda store, module, name: None)
    made = [jobs.create(store, JobSpec("context-check", {"dataset": "d"}, ModelChoice("fake"))) for _ in range(5)]
    pool = SharedWorkers(store, made, 2)
    assert pool.advance()  # about to begin
    assert [jobs.spec(store, job).body["names"] for job in pool.started] == [made[::2], made[1::2]]
    for job in pool.started:
        store.append(job, "result", {})
    assert not pool.advance()
