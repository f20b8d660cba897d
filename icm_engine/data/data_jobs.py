"""Jobs on large data sets. They read gold, so the process that does them never has a model."""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from icm_engine.data.importing import ImportReport, aside, import_file
from icm_engine.data.rule_check import RuleCheck, check_rule
from icm_engine.jobs import JobSpec
from icm_engine.jobs.job_process import Job
from icm_engine.runs.lease import clear
from icm_engine.store.events import Json
from icm_engine.store.store import Store

UPLOADS = "uploads"  # the folder beside the database in which uploaded files wait for their import


def import_spec(path: Path, task: str, dataset: str, **options: object) -> JobSpec:
    """Return the job that imports a file of this machine; `options` are those of `import_file`."""
    return JobSpec("import", {"path": str(path.resolve()), "task": task, "dataset": dataset, "options": options})


def import_kind(job: Job) -> Json:
    """Import the file, telling how many rows are done; an uploaded file is not needed any more, however it ended.

    What was found is kept together with the data set: killed between the two, it would find its own name taken.
    """
    body = job.spec.body
    path = Path(body["path"])
    job.ready({})
    try:
        if not job.kept():
            import_file(
                job.store,
                path,
                body["task"],
                body["dataset"],
                progress=_told(job),
                stored=lambda report: job.keep(_found(report)),
                **body["options"],
            )
    finally:
        _forget(job.store, path)
        clear(aside(job.store))  # of a process of this job that was killed
    return job.kept()[-1]


def _found(report: ImportReport) -> Json:
    return {
        "dataset": report.dataset,
        "rows": report.rows,
        "examples": report.examples,
        "groups": report.groups,
        "constraints": report.constraints,
        "gold_labels": report.gold_labels,
        "notes": list(report.notes),
    }


def _told(job: Job) -> Callable[[int, int | None], None]:
    """Pass progress on; the rows are gone through twice, the second time with their number known."""
    last, passed = 0, 0

    def told(done: int, total: int | None) -> None:
        nonlocal last, passed
        passed += done < last
        last = done
        job.progress(done, total, ("checking rows", "storing rows")[min(passed, 1)])

    return told


def rule_check_spec(dataset: str) -> JobSpec:
    """Return the job that checks the own rule of a data set."""
    return JobSpec("rule-check", {"dataset": dataset})


def rule_check_kind(job: Job) -> Json:
    """Check the rule of a data set."""
    job.ready({})
    return asdict(check_rule(job.store, job.spec.body["dataset"]))


def rule_check_of(found: Json) -> RuleCheck:
    """Return the result of a `rule-check` job as what it is."""
    return RuleCheck(**{**found, "without_answer": tuple(found["without_answer"])})


def upload_path(store: Store, token: str, name: str) -> Path:
    """Return where an uploaded file is put until its import is done."""
    return store.path.parent / UPLOADS / token / Path(name).name


def _forget(store: Store, path: Path) -> None:
    """Delete a file that was uploaded; any other is somebody's own."""
    uploads = (store.path.parent / UPLOADS).resolve()
    if path.resolve().is_relative_to(uploads):
        shutil.rmtree(path.parent, ignore_errors=True)
