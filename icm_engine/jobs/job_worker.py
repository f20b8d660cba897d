"""The jobs that need a model: python -m icm_engine.jobs.job_worker --db FILE JOB.

Like the search's worker it is a process of its own, gets its scorer from the worker's one factory, and reaches
nothing that reads gold.
"""

import os
import sys

from icm_engine.core.errors import SettingError
from icm_engine.core.scoring import Scorer, begin_calls
from icm_engine.jobs.downstream_eval import use_labels
from icm_engine.jobs.job_process import Job, Kind, main, run_in_process
from icm_engine.jobs.lanes import do_batch, work_lane
from icm_engine.jobs.model_trials import check_context, try_templates
from icm_engine.jobs.rescoring import rescore as score_again
from icm_engine.jobs.rescoring import score_landscape, try_label
from icm_engine.runs import worker
from icm_engine.runs.control import LOADING
from icm_engine.runs.model_registry import located
from icm_engine.runs.remarks import tokens_of_run
from icm_engine.runs.worker import make_scorer
from icm_engine.store.events import Json


def context_check(job: Job) -> Json:
    """What a data set costs with a model: tokens, what fits, seconds."""
    scorer, body = _scorer(job), job.spec.body
    return check_context(job.store, body["dataset"], scorer, body.get("limit"), job.progress)


def template_trial(job: Job) -> Json:
    """How well templates and label words fit a model."""
    scorer = _scorer(job)
    return try_templates(job.store, job.spec.body, scorer, job.progress, job.kept(), job.keep)


def what_if(job: Job) -> Json:
    """What U would be if one example had the other label."""
    scorer, body = _scorer(job), job.spec.body
    job.progress(0, None, "scoring the other label")
    return try_label(job.store, body["run"], body["event"], body["example"], body["label"], scorer)


def landscape(job: Job) -> Json:
    """U of a run's labels beside reference labelings of the same examples."""
    scorer = _scorer(job)
    return score_landscape(job.store, job.spec.body, scorer, job.progress, job.kept(), job.keep)


def rescore(job: Job) -> Json:
    """A sample of a run's steps taken again, and how far its log-probabilities have drifted."""
    scorer, body = _scorer(job), job.spec.body
    return score_again(job.store, body["run"], body["steps"], scorer, job.progress)


def use(job: Job) -> Json:
    """A run's labels as demonstrations on a test part."""
    scorer = _scorer(job)
    return use_labels(job.store, job.spec.body, scorer, job.progress, job.kept(), job.keep)


def finetune(job: Job) -> Json:
    """A model tuned on the labels of runs: an adapter."""
    from icm_engine.training import sft

    make_scorer.cache_clear()  # what is tuned needs the memory of the scorer that was kept
    return sft.finetune(job)


def reward(job: Job) -> Json:
    """A reward model from a run's preference labels."""
    from icm_engine.training import reward_model

    make_scorer.cache_clear()
    return reward_model.reward(job)


def preference_tuning(job: Job) -> Json:
    """A policy tuned on the preferences in a run's labels."""
    from icm_engine.training import policies

    make_scorer.cache_clear()
    return policies.prefer(job)


def reinforce(job: Job) -> Json:
    """A policy trained by reinforcement against a reward model."""
    from icm_engine.training import policies

    make_scorer.cache_clear()
    return policies.reinforce(job)


def respond(job: Job) -> Json:
    """Responses sampled from a policy, rewarded by reward models."""
    from icm_engine.training import policies

    make_scorer.cache_clear()
    return policies.respond(job)


def batch(job: Job) -> Json:
    """Several runs and jobs, one after the other, with a share of the processor's threads."""
    _share_threads(job)
    job.ready({})

    def begin(number: int, of: int | None, name: str) -> None:
        job.stop_if_cancelled()  # progress looks once a second, and a run may take less
        job.progress(number, of, name)

    found = do_batch(
        job.store,
        job.spec.body["names"],
        begin,
        lambda store, run: worker.run_in_process(store, run, idle=0.0),
        lambda store, name: run_in_process(store, name, KINDS),
    )
    if found["failed"]:
        job.stop_if_cancelled()  # what was cut short is no result
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
    run = job.spec.body.get("run")  # what is asked about a run is asked as the run asks
    begin_calls(scorer, tokens_of_run(job.store, run) if run and job.store.has_run(run) else None)
    job.ready(scorer.describe())
    return scorer


KINDS: dict[str, Kind] = {
    "context-check": context_check, "what-if": what_if, "landscape": landscape, "use": use, "batch": batch,
    "rescore": rescore, "template-trial": template_trial,
    "lane": lane, "finetune": finetune, "reward": reward, "preference-tuning": preference_tuning,
    "reinforce": reinforce, "respond": respond,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(KINDS))
