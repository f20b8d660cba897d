"""Jobs: asked for, done by a process of their own, recorded event by event, resumed, cancelled."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from icm_engine import jobs
from icm_engine.core.errors import NotFound, RunBusy, SettingError
from icm_engine.core.settings import ModelChoice
from icm_engine.jobs import JobSpec, job_process, job_worker, model_trials, scheduler
from icm_engine.jobs.job_process import Job
from icm_engine.runs import control, lease
from icm_engine.store.datasets import Dataset
from icm_engine.store.store import Store
from tests.support.processes import spawn_by

SPEC = JobSpec("context-check", {"dataset": "pairs", "limit": None}, ModelChoice("fake"))


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The processes that would have been started: none is."""
    seen: list[tuple[str, str]] = []
    spawn_by(monkeypatch, lambda store, module, name: seen.append((module, name)))
    return seen


def do(store: Store, job: str, kind: Callable[[Job], dict[str, object]]) -> int:
    """Do a job in this process, with a function of the test's own."""
    return job_process.main(kind, ["--db", str(store.path), job])


def kinds_of(store: Store, job: str) -> list[str]:
    return [event.kind for event in store.read_after(job)]


def test_a_job_is_asked_for_started_and_done(store: Store, launched: list[tuple[str, str]]) -> None:
    job = jobs.create(store, SPEC)
    assert job == "context-check.1"
    assert jobs.spec(store, job) == SPEC
    assert jobs.status(store, job).phase == "created"
    jobs.start(store, job)
    assert launched == [("icm_engine.jobs.job_worker", job)]
    assert jobs.status(store, job).phase == "starting"
    jobs.start(store, job)  # it is on its way: nothing is asked twice
    assert kinds_of(store, job) == ["start"]

    def kind(held: Job) -> dict[str, object]:
        assert jobs.status(store, job).phase == "starting"
        held.ready({"model": "a"})
        held.progress(2, 5, "pieces")
        now = jobs.status(store, job)
        assert (now.phase, now.done, now.total, now.words, now.pid) == ("running", 2, 5, "pieces", os.getpid())
        return {"found": 3}

    assert do(store, job, kind) == 0
    assert kinds_of(store, job) == ["start", "ready", "progress", "result"]
    assert jobs.status(store, job).phase == "done"
    assert jobs.result(store, job) == {"found": 3}
    jobs.start(store, job)
    assert len(launched) == 1  # what is done stays done


def test_names_of_jobs_are_never_names_of_runs(store: Store, launched: list[tuple[str, str]]) -> None:
    others = [SPEC, JobSpec("import", {"dataset": "mine"})]
    made = [jobs.request(store, spec) for spec in (SPEC, *others)]
    assert made == ["context-check.1", "context-check.2", "import.1"]
    assert jobs.names(store) == made[::-1]
    assert jobs.names(store, "context-check") == ["context-check.2", "context-check.1"]
    assert jobs.names(store, dataset="mine") == ["import.1"]
    assert not [name for name in made if name.rsplit("-", 1)[-1].isdecimal()]


def test_progress_is_told_once_a_second_at_most(store: Store, launched: list[tuple[str, str]]) -> None:
    job = jobs.request(store, SPEC)

    def kind(held: Job) -> dict[str, object]:
        for k in range(1000):
            held.progress(k, 1000)
        return {}

    assert do(store, job, kind) == 0
    assert kinds_of(store, job).count("progress") == 1


def test_a_failure_is_recorded_and_the_job_can_be_started_again(
    store: Store, launched: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    job = jobs.request(store, SPEC)

    def failing(held: Job) -> dict[str, object]:
        held.keep({"piece": 1})
        raise ZeroDivisionError("nothing to divide")

    assert do(store, job, failing) == 1
    assert (jobs.status(store, job).phase, jobs.status(store, job).message) == ("failed", "nothing to divide")
    assert "ZeroDivisionError" in capsys.readouterr().err  # the traceback is in the log, of what is no error of ours
    jobs.start(store, job)
    assert len(launched) == 2
    assert do(store, job, lambda held: {"kept": held.kept()}) == 0
    assert jobs.result(store, job) == {"kept": [{"piece": 1}]}


def test_a_cancelled_job_ends_at_its_next_piece(store: Store, launched: list[tuple[str, str]]) -> None:
    job = jobs.request(store, SPEC)

    def kind(held: Job) -> dict[str, object]:
        jobs.cancel(store, job)
        assert jobs.status(store, job).message == "ending, as requested"
        held.progress(1, 2)
        raise AssertionError("it went on")

    assert do(store, job, kind) == 0
    assert jobs.status(store, job).phase == "cancelled"
    assert kinds_of(store, job) == ["start", "cancel"]
    assert do(store, job, kind) == 0  # a process that comes late does nothing
    jobs.start(store, job)
    assert do(store, job, lambda held: {}) == 0
    assert jobs.status(store, job).phase == "done"


def test_a_cancelled_batch_begins_nothing_more(
    store: Store, launched: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the second in which no progress is told, too."""
    batch, first, second = a_batch_of_two(store)

    def kind(held: Job) -> dict[str, object]:
        jobs.cancel(store, batch)
        return {"found": held.name}

    monkeypatch.setattr(model_trials, "check_context", lambda held, scorer: kind(held))
    assert job_process.main(job_worker.perform, ["--db", str(store.path), batch]) == 0
    assert [jobs.status(store, name).phase for name in (batch, first, second)] == ["cancelled", "done", "created"]


def test_a_batch_cancelled_at_its_last_piece_is_no_result_unless_that_was_finished(
    store: Store, launched: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, first, second = a_batch_of_two(store)
    cut = [second]

    def kind(held: Job) -> dict[str, object]:
        if held.name == second:
            jobs.cancel(store, batch)
        if held.name in cut:
            jobs.cancel(store, held.name)
            held.stop_if_cancelled()
        return {"found": held.name}

    monkeypatch.setattr(model_trials, "check_context", lambda held, scorer: kind(held))
    for after in ("cancelled", "done"):
        jobs.start(store, batch)
        assert job_process.main(job_worker.perform, ["--db", str(store.path), batch]) == 0
        assert [jobs.status(store, name).phase for name in (batch, first, second)] == [after, "done", after]
        cut.clear()


def test_a_batch_waits_for_what_another_process_has(
    store: Store, launched: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite that is asked again may meet the process of the one before at its last step."""
    batch, first, second = a_batch_of_two(store)
    token, naps = lease.claim(store, first), list[None]()

    def nap() -> None:
        naps.append(None)
        if len(naps) == 3:
            store.drop_lease(first, token)

    monkeypatch.setattr(scheduler, "wait", nap)
    monkeypatch.setattr(model_trials, "check_context", lambda held, scorer: {"found": held.name})
    assert job_process.main(job_worker.perform, ["--db", str(store.path), batch]) == 0
    assert [jobs.status(store, name).phase for name in (batch, first, second)] == ["done"] * 3
    assert jobs.result(store, batch) == {"names": [first, second], "failed": {}}
    assert (len(naps), kinds_of(store, first).count("start")) == (3, 1)


def a_batch_of_two(store: Store) -> tuple[str, str, str]:
    first, second = jobs.create(store, SPEC), jobs.create(store, SPEC)
    return jobs.request(store, JobSpec("batch", {"names": [first, second]})), first, second


def test_one_process_a_job(store: Store, launched: list[tuple[str, str]]) -> None:
    job = jobs.request(store, SPEC)
    token = lease.claim(store, job)
    assert do(store, job, lambda held: {"found": 1}) == 1
    assert jobs.result(store, job) is None
    held = Job(store, job, SPEC, "another")
    with pytest.raises(RunBusy):
        held.append("result", {})
    store.drop_lease(job, token)


def test_a_process_that_died_shows_as_interrupted(store: Store, launched: list[tuple[str, str]]) -> None:
    job = jobs.request(store, SPEC)
    store.append(job, "ready", {})
    assert jobs.status(store, job).phase == "interrupted"


def test_a_process_does_its_own_kinds_alone(store: Store, launched: list[tuple[str, str]]) -> None:
    """A process that may read gold never does a job that has a model."""
    job = jobs.request(store, SPEC)
    assert job_process.run_in_process(store, job, job_process.perform) == 1
    assert jobs.status(store, job).message == (
        "job 'context-check.1' is not done by icm_engine.jobs.__main__: start it again (jobs context-check.1 --again)"
    )
    assert job_process.run_in_process(store, jobs.request(store, JobSpec("import", {})), job_worker.perform) == 1


def test_what_does_not_exist_is_refused(store: Store) -> None:
    with pytest.raises(SettingError, match="use one of context-check, template-trial, what-if"):
        jobs.create(store, JobSpec("dance", {}))
    with pytest.raises(NotFound, match=r"job 'context-check\.9' does not exist"):
        jobs.status(store, "context-check.9")


def test_a_real_process_does_a_job_and_survives_nothing_but_itself(store: Store, pairs: Dataset) -> None:
    store.add_dataset(pairs)
    job = jobs.request(store, SPEC)
    assert jobs.wait_until_settled(store, job).phase == "done"
    found = jobs.result(store, job)
    assert found is not None
    assert found["examples"] == 40
    assert jobs.log_tail(store, job) == ""


def test_a_killed_process_leaves_an_interrupted_job_that_starts_again(store: Store, tmp_path: Path) -> None:
    """The import has more rows than it can take before it is killed."""
    path = tmp_path / "endless.csv"
    path.write_text("text\n" + "".join(f"claim {i}\n" for i in range(300_000)))
    job = jobs.request(store, JobSpec("import", {
        "path": str(path), "task": "classification", "dataset": "mine", "options": {"labels": ["a", "b"]},
    }))  # fmt: skip
    while (now := jobs.status(store, job)).phase != "running":
        assert not now.settled, jobs.log_tail(store, job)
        time.sleep(0.05)
    assert now.pid is not None
    process = psutil.Process(now.pid)
    os.kill(now.pid, signal.SIGKILL)
    psutil.wait_procs([process])
    assert jobs.status(store, job).phase == "interrupted"
    path.write_text("text\nOne\nTwo\n")
    jobs.start(store, job)
    assert jobs.wait_until_settled(store, job).phase == "done"
    assert store.dataset_info("mine").examples == 2


def test_a_model_that_is_being_loaded_says_for_how_long() -> None:
    assert control.loading(time.time() - 12) == "loading the model, 12 s so far"
    assert control.loading(time.time() + 60) == "loading the model, 0 s so far"  # a clock that was set


def test_progress_that_has_not_changed_is_not_stored_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver looks once a second for hours; it still learns of a cancellation."""
    monkeypatch.setattr(job_process, "PROGRESS_EVERY", 0.0)
    job = jobs.create(store, JobSpec("suite", {}))
    store.append(job, "start", {})
    held = Job(store, job, jobs.spec(store, job), lease.claim(store, job))
    for done in (0, 0, 0, 1, 1):
        held.progress(done, 2, "labelling")
    assert [event.body["done"] for event in store.read_after(job, kinds=("progress",))] == [0, 1]
    jobs.cancel(store, job)
    with pytest.raises(job_process.Cancelled):
        held.progress(1, 2, "labelling")
