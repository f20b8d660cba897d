"""The jobs that need a model: python -m icm_engine.runs.job_worker --db FILE JOB.

Like the search's worker it is a process of its own, gets its scorer from the worker's one factory, and reaches
nothing that reads gold.
"""

import sys

from icm_engine.core.errors import SettingError
from icm_engine.runs.context_check import check_context
from icm_engine.runs.events import Json
from icm_engine.runs.job_process import Job, Kind, main
from icm_engine.runs.worker import make_scorer


def context_check(job: Job) -> Json:
    """What a data set costs with a model: tokens, what fits, seconds."""
    if job.spec.model is None:
        raise SettingError("a context check needs a model: name one (--model)")
    job.progress(0, None, "loading the model")
    scorer = make_scorer(job.spec.model)
    job.ready(scorer.describe())
    body = job.spec.body
    return check_context(job.store, body["dataset"], scorer, body.get("limit"), job.progress)


KINDS: dict[str, Kind] = {"context-check": context_check}


if __name__ == "__main__":
    sys.exit(main(KINDS))
