"""Start a suite, from the command line or the Experiments page; and the job that drives it.

The job's process reads gold, so it never loads a model. `batch` jobs do the runs; their processes read no gold.
"""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from icm_engine import jobs
from icm_engine.cluster import ClusterSpec
from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.server_address import is_server
from icm_engine.core.settings import ModelChoice
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.experiments.results import outcome, predictors, results
from icm_engine.experiments.runner import Chosen, drive
from icm_engine.experiments.suites import Suite, read_suite
from icm_engine.jobs import JobSpec
from icm_engine.jobs.job_process import Job
from icm_engine.runs import model_registry
from icm_engine.store.events import Json
from icm_engine.store.store import Store

KIND = "suite"


def submit(
    store: Store,
    suite: str,
    model: ModelChoice,
    *,
    quick: bool = False,
    test: str | None = None,
    processes: int = 1,
    instead: Mapping[str, Any] | None = None,
    command: str = "",
    where: ClusterSpec | None = None,
) -> str:
    """Start a suite and return its job. `instead` overrides the suite's datasets, examples or seeds.

    With `where`, runs and uses go to that cluster, else to that many processes of this machine. Raises NotFound for an
    unknown suite or data set, SettingError for a suite that cannot be read.
    """
    declared, changes = read_suite(suite, quick), dict(instead or {})
    for dataset in changes.get("datasets", declared.datasets):
        if dataset not in SAMPLE_DATASETS:
            store.dataset_info(dataset)
    if test is not None:
        store.dataset_info(test)
    if declared.tune is not None:
        model_registry.require_installed()
    if not changes.get("seeds", declared.seeds):
        raise SettingError(f"suite {suite!r} has no seeds: name one")
    key = f"{declared.name}{' quick' if quick else ''}"
    body = {
        "suite": suite,
        "quick": quick,
        "key": key,
        "test": test,
        "processes": processes,
        "instead": changes,
        "command": command,
        **({"where": asdict(where)} if where else {}),
    }
    return jobs.request(store, JobSpec(KIND, body, model))


def folder_name(found: Json) -> str:
    """Return the folder name of a suite's report."""
    return f"{found['suite']}{'-quick' if found['quick'] else ''}"


def submit_from_page(
    store: Store,
    suite: str,
    model: ModelChoice,
    *,
    quick: bool,
    test: str | None,
    processes: int,
    datasets: Sequence[str],
    examples: int | None,
) -> str:
    """Start a suite from a form and return its job; the report names the equivalent command."""
    instead: dict[str, Any] = {"datasets": list(datasets)} if datasets else {}
    weights = [] if is_server(model.model) else ["--quantization", model.quantization]
    words = ["evaluate", suite, "--model", model.model, *weights]
    words += [*(["--quick"] if quick else []), *(["--test", test] if test else [])]
    words += ["--datasets", *datasets] if datasets else []
    if examples is not None:
        instead["examples"] = examples
        words += ["--examples", str(examples)]
    words += ["--processes", str(processes)] if processes > 1 else []
    return submit(
        store,
        suite,
        model,
        quick=quick,
        test=test,
        processes=processes,
        instead=instead,
        command=f"python -m icm_engine {shlex.join(words)}",
    )


def all_predictors(store: Store, source: str | None = None, labelled: float = 0.0) -> Json:
    """Return what predicts accuracy without gold over all runs in each suite's latest results.

    Optionally only runs of one label source that labelled at least this share: it is easy to tell bad sources from
    good ones, and may be harder to tell good searches from better ones. Raises NotFound if no suite is done.
    """
    latest: dict[str, Json] = {}
    for job in jobs.names(store, KIND):
        found = jobs.result(store, job)
        if found is not None:
            latest.setdefault(jobs.spec(store, job).body["key"], found)
    if not latest:
        raise NotFound("no suite has been run to its end: run one (python -m icm_engine evaluate main --quick)")
    done = [cell for found in latest.values() for cell in found["cells"] if cell["reason"] is None]
    cells = {
        cell["run"]: cell
        for cell in done
        if source in (None, cell["source"]) and cell["labelled"] >= labelled * cell["examples"]
    }
    return {"suites": sorted(latest), "runs": len(cells), "predictors": predictors(list(cells.values()))}


def runs_of(found: Json) -> dict[str, str]:
    """Return the runs behind a suite's results, each with its description."""
    return {
        cell["run"]: f"{cell['arm']} · {cell['dataset']} · seed {cell['seed']} · {cell['run']}"
        for cell in found["cells"]
        if cell["run"]
    }


# -- the job's process


def suite(job: Job) -> Json:
    """Run every cell of a suite to its end and return the results."""
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
    """Return the requested suite with the overrides of data sets, size and seeds."""
    found = read_suite(body["suite"], body["quick"])
    changes: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in body["instead"].items()
    }
    return replace(found, **changes)
