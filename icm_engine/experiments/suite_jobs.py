"""The process that drives a suite.

It sees gold, and so never has a model: the runs are done by `batch` jobs, whose processes see none.
"""

import time
from dataclasses import replace
from typing import Any

from icm_engine.cluster import ClusterSpec
from icm_engine.core.errors import SettingError
from icm_engine.experiments.results import outcome, results
from icm_engine.experiments.runner import Chosen, drive
from icm_engine.experiments.suites import Suite, read_suite
from icm_engine.jobs.job_process import Job
from icm_engine.store.events import Json


def suite(job: Job) -> Json:
    """Every cell of a suite, to its end, and what came of it all."""
    began, body, model = time.monotonic(), job.spec.body, job.spec.model
    if model is None:
        raise SettingError("a suite needs a model: name one (--model)")
    job.ready({})
    wanted = chosen_suite(body)
    where = ClusterSpec(**body["where"]) if "where" in body else None
    chosen = Chosen(model, body["processes"], body.get("test"), where)
    driven = drive(job.store, wanted, body["key"], chosen, job.progress)
    job.progress(len(driven), len(driven), "summing up")
    outcomes = [outcome(job.store, one) for one in driven]
    spent = time.monotonic() - began
    return results(wanted, outcomes, model, body["command"], body["quick"], spent)


def chosen_suite(body: Json) -> Suite:
    """Return the suite that was asked for, with what a person put in place of its own data sets, size and seeds."""
    found = read_suite(body["suite"], body["quick"])
    changes: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in body["instead"].items()
    }
    return replace(found, **changes)
