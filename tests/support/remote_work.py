"""Runs and jobs that a worker of another machine does, and the same ones done here."""

from icm_engine import jobs
from icm_engine.core.settings import ModelChoice, SearchConfig
from icm_engine.jobs import JobSpec, downstream_eval
from icm_engine.runs import control, worker
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.stores import small_dataset

STEPS = 60
SPEC = RunSpec("sums", "fake", search=SearchConfig(seed=3, max_steps=STEPS))


def begun(store: Store, spec: RunSpec = SPEC) -> str:
    if not store.has_dataset(spec.dataset):
        small_dataset(store, spec.dataset)
    run = control.create_run(store, spec)
    control.queue(store, run)
    return run


def log(store: Store, run: str) -> list[tuple[int, str, str]]:
    """The events of a run as they are stored, byte for byte, without their times."""
    rows = store.db.execute("select number, kind, body from events where run = ? order by number", [run])
    return [tuple(row) for row in rows]


def local(store: Store, spec: RunSpec = SPEC) -> list[tuple[int, str, str]]:
    """The log of a run that was never interrupted, by a worker of this machine."""
    run = begun(store, spec)
    assert worker.run_in_process(store, run, idle=0.0) == 0
    return log(store, run)


def use_job(store: Store, run: str) -> str:
    body = {"run": run, "test": [{"dataset": "more", "start": 2}, {"dataset": "sums", "start": 9}], "most": 8,
            "shots": [0, 4, "fit"], "shuffles": 2, "seed": 1}  # fmt: skip
    return jobs.create(store, JobSpec(downstream_eval.KIND, body, ModelChoice("fake")))
