"""Suites driven in the test's own process: the same runs and jobs, without processes of their own."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from icm_engine import jobs
from icm_engine.core.settings import ModelChoice
from icm_engine.experiments import runner
from icm_engine.experiments.runner import Chosen, Progress
from icm_engine.jobs import JobSpec, job_worker
from icm_engine.jobs.job_process import perform, run_in_process
from icm_engine.jobs.scheduler import do_in_turn
from icm_engine.runs import worker
from icm_engine.store.events import Json
from icm_engine.store.store import Store

SUITE = """
title = "Sources side by side"
question = "Which one is best?"
datasets = ["sums"]
examples = 12
seeds = [0, 1]
compare = [["ICM", "golden"], ["ICM", "random"]]

[use]
shots = [0, 4, "fit"]
test = 6

[quick]
seeds = [0]
arms = ["ICM", "golden", "random"]

[[arms]]
name = "ICM"
settings = { max_steps = 30 }

[[arms]]
name = "golden"
source = "given"
labels = "golden"
once = true

[[arms]]
name = "perturbed"
source = "given"
labels = "perturbed"
of = "ICM"

[[arms]]
name = "random"
source = "random"

[[arms]]
name = "human"
source = "given"
labels = "human"
once = true
"""


def here(patch: pytest.MonkeyPatch) -> None:
    """Do the runs and jobs of a suite in this process."""

    def work(store: Store, names: Sequence[str], chosen: Chosen, progress: Progress, words: str) -> None:
        do_in_turn(
            store, list(dict.fromkeys(names)), progress, lambda s, run: worker.run_in_process(s, run, idle=0.0),
            lambda s, job: run_in_process(s, job, job_worker.perform),
        )  # fmt: skip

    patch.setattr(runner, "_work", work)


def suite_file(folder: Path, text: str = SUITE) -> str:
    """Write a suite of one's own and return its path."""
    path = folder / "sides.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def done_suite(
    store: Store, patch: pytest.MonkeyPatch, folder: Path, text: str = SUITE, model: ModelChoice | None = None
) -> str:
    """Return the job of a suite that is done."""
    here(patch)
    body: Json = {"suite": suite_file(folder, text), "quick": False, "key": "sides", "test": None, "processes": 1,
                  "instead": {}, "command": "python -m icm_engine evaluate sides.toml --model fake"}  # fmt: skip
    job = jobs.create(store, JobSpec("suite", body, model or ModelChoice("fake")))
    store.append(job, "start", {})
    assert run_in_process(store, job, perform) == 0, jobs.status(store, job).message
    return job


def suite_results(
    store: Store, patch: pytest.MonkeyPatch, folder: Path, text: str = SUITE, model: ModelChoice | None = None
) -> Json:
    """Return the stored results of a suite that is done."""
    found = jobs.result(store, done_suite(store, patch, folder, text, model))
    assert found is not None
    return found
