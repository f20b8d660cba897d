"""Ask for a suite: what the command line and the Experiments page both do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icm_engine.analysis.experiments.suites import SHIPPED, Suite, read_suite
from icm_engine.core.errors import SettingError
from icm_engine.data.importing import SAMPLE_DATASETS
from icm_engine.runs import jobs
from icm_engine.runs.events import Json
from icm_engine.runs.jobs import JobSpec, ModelChoice
from icm_engine.runs.store import Store

KIND = "suite"


def ask(
    store: Store, suite: str, model: ModelChoice, *, quick: bool = False, test: str | None = None,
    processes: int = 1, instead: Mapping[str, Any] | None = None, command: str = "",
) -> str:  # fmt: skip
    """Start a suite and return its job. `instead` has datasets, examples or seeds in place of the suite's own.

    Raises NotFound for an unknown suite or data set, SettingError for a suite that cannot be read.
    """
    declared, changes = read_suite(suite, quick), dict(instead or {})
    for dataset in changes.get("datasets", declared.datasets):
        if dataset not in SAMPLE_DATASETS:
            store.dataset_info(dataset)
    if test is not None:
        store.dataset_info(test)
    if not changes.get("seeds", declared.seeds):
        raise SettingError(f"suite {suite!r} has no seeds: name one")
    key = f"{declared.name}{' quick' if quick else ''}"
    body = {"suite": suite, "quick": quick, "key": key, "test": test, "processes": processes, "instead": changes,
            "command": command}  # fmt: skip
    return jobs.request(store, JobSpec(KIND, body, model))


def folder_name(found: Json) -> str:
    """Return what the folder of a suite's report is called."""
    return f"{found['suite']}{'-quick' if found['quick'] else ''}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A suite that was asked for, as the page lists it."""

    job: str
    suite: str
    model: str
    phase: str
    done: int
    total: int | None


def asked(store: Store) -> list[Asked]:
    """Return the suites that were asked for, the newest first."""
    found = []
    for job in jobs.names(store, KIND):
        spec, now = jobs.spec(store, job), jobs.status(store, job)
        model = spec.model.model if spec.model else ""
        found.append(Asked(job, spec.body["key"], model, now.phase, now.done, now.total))
    return found


def shipped() -> list[Suite]:
    """Return the suites there are, in the order of the list."""
    return [read_suite(name) for name in SHIPPED]
