"""The process of a job that needs a model: python -m icm_engine.jobs.job_worker --db FILE JOB.

Like the search's worker, it gets its scorer from one factory and imports nothing that reads gold.
"""

import gc
import os
import sys

from icm_engine.core.errors import SettingError
from icm_engine.core.scoring import Scorer, begin_calls
from icm_engine.jobs import WORKER
from icm_engine.jobs.batches import work_lane
from icm_engine.jobs.job_process import Job, function_of, kind_of, main, run_in_process
from icm_engine.jobs.scheduler import do_in_turn
from icm_engine.runs import worker
from icm_engine.runs.control import LOADING
from icm_engine.runs.model_registry import located
from icm_engine.runs.worker import make_scorer
from icm_engine.store.events import Json
from icm_engine.store.replay import calls_of_run


def perform(job: Job) -> Json:
    """Do a job of this process and return its result."""
    kind = kind_of(job, WORKER)
    if kind.model == "trains":
        make_scorer.cache_clear()  # training needs the memory of the scorer that was kept
        gc.collect()  # and of the last training: a trainer refers to itself
    given = (job, _scorer(job)) if kind.model == "scores" else (job,)
    found: Json = function_of(kind)(*given)
    return found


def batch(job: Job) -> Json:
    """Several runs and jobs, one after the other, with a share of the processor's threads."""
    _share_threads(job)
    job.ready({})

    def begin(number: int, of: int | None, name: str) -> None:
        job.stop_if_cancelled()  # progress is checked once a second, and a run may take less time than that
        job.progress(number, of, name)

    found = do_in_turn(
        job.store,
        job.spec.body["names"],
        begin,
        lambda store, run: worker.run_in_process(store, run, idle=0.0),
        lambda store, name: run_in_process(store, name, perform),
    )
    if found["failed"]:
        job.stop_if_cancelled()  # an interrupted run is not a result
    return found


def lane(job: Job) -> Json:
    """The batches of a batched run, one after the other, with a share of the processor's threads."""
    _share_threads(job)
    job.ready({})
    return work_lane(job, lambda store, run: worker.run_in_process(store, run, idle=0.0))


def _share_threads(job: Job) -> None:
    if threads := job.spec.body.get("threads"):
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # before torch is imported, which reads it once


def _scorer(job: Job) -> Scorer:
    """The model that the job asks for, loaded."""
    if job.spec.model is None:
        raise SettingError(f"a {job.spec.kind} needs a model: name one (--model)")
    job.progress(0, None, LOADING)
    scorer = make_scorer(located(job.store, job.spec.model))
    run = job.spec.body.get("run")  # questions about a run are asked as the run asks
    begin_calls(scorer, *(calls_of_run(job.store, run) if run and job.store.has_run(run) else (None, None)))
    job.ready(scorer.describe())
    return scorer


if __name__ == "__main__":
    sys.exit(main(perform))
