"""Jobs: long work other than a search. A page requests a job; a separate process does it and records its events.

A job is a row of `jobs`. Its events are in the runs' event table under its name, and it has a lease like a run's:

    start      a person requested the job, or requested it again
    ready      its process is ready: the model's own description
    progress   how far it is
    part       a finished piece, for kinds that continue after a crash
    result     the end, with the result
    failed     the end, with the error and its message
    cancel     a person cancelled it

The status is derived from these and from the lease. A new kind needs a line in `KINDS` and the function named there.
"""

import json
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

from icm_engine.core.batching import FIRST
from icm_engine.core.errors import SettingError
from icm_engine.core.settings import ModelChoice
from icm_engine.runs import fetched_models
from icm_engine.runs.control import LOADING, last_words, loading, spawn, wait
from icm_engine.runs.control import log_tail as log_tail
from icm_engine.runs.lease import beside
from icm_engine.runs.life_cycle import Phase, Status, held, phase_of
from icm_engine.store.database import not_found, stored_json
from icm_engine.store.events import Json
from icm_engine.store.store import Event, Store

# The two processes that do jobs, as modules for `python -m`. Kinds done by the worker never read gold.
WORKER = "icm_engine.jobs.job_worker"  # has a model, or does runs, which have one
PLAIN = "icm_engine.jobs.__main__"  # never has a model: it may read gold, or drive other processes

ModelUse = Literal["none", "scores", "trains"]


@dataclass(frozen=True, slots=True)
class JobKind:
    """A kind of job: its name, its process, its function, and whether it scores with a model or trains one.

    `function` is MODULE:NAME and is imported only in that process, so that no other loads its dependencies. It takes
    the `Job` and, if it `scores`, the scorer, and returns the result as JSON. If it `trains`, it loads the model
    itself.
    """

    name: str
    process: str
    function: str
    model: ModelUse = "none"


KINDS = {
    kind.name: kind
    for kind in (
        JobKind("context-check", WORKER, "icm_engine.jobs.model_trials:check_context", "scores"),
        JobKind("template-trial", WORKER, "icm_engine.jobs.model_trials:try_templates", "scores"),
        JobKind("what-if", WORKER, "icm_engine.jobs.rescoring:try_label", "scores"),
        JobKind("landscape", WORKER, "icm_engine.jobs.rescoring:score_landscape", "scores"),
        JobKind("witness", WORKER, "icm_engine.jobs.rescoring:score_landscape", "scores"),
        JobKind("rescore", WORKER, "icm_engine.jobs.rescoring:rescore", "scores"),
        JobKind("use", WORKER, "icm_engine.jobs.downstream_eval:use_labels", "scores"),
        JobKind("finetune", WORKER, "icm_engine.training.sft:finetune", "trains"),
        JobKind("self-teaching", WORKER, "icm_engine.training.sft:self_teach", "trains"),
        JobKind("reward", WORKER, "icm_engine.training.reward_model:reward", "trains"),
        JobKind("preference-tuning", WORKER, "icm_engine.training.policies:prefer", "trains"),
        JobKind("reinforce", WORKER, "icm_engine.training.policies:reinforce", "trains"),
        JobKind("respond", WORKER, "icm_engine.training.policies:respond", "trains"),
        JobKind("batch", WORKER, "icm_engine.jobs.job_worker:batch"),
        JobKind("lane", WORKER, "icm_engine.jobs.job_worker:lane"),
        JobKind("import", PLAIN, "icm_engine.data.importing:import_kind"),
        JobKind("rule-check", PLAIN, "icm_engine.data.rule_check:rule_check_kind"),
        JobKind("suite", PLAIN, "icm_engine.experiments.runner:suite"),
        JobKind("self-rewarding", PLAIN, "icm_engine.experiments.self_rewarding:self_rewarding"),
        JobKind("restarts", PLAIN, "icm_engine.jobs.restarts:restarts"),
        JobKind("batches", PLAIN, "icm_engine.jobs.batches:batches"),
        JobKind("ray", PLAIN, "icm_engine.cluster.driver:on_ray"),
    )
}

_TURNS = ("start", "ready", "result", "failed", "cancel")  # events that decide the status


@dataclass(frozen=True, slots=True)
class JobSpec:
    """Everything that decides what a job does; `body` depends on the kind, `model` is None if none is needed."""

    kind: str
    body: Json
    model: ModelChoice | None = None

    def to_json(self) -> Json:
        return asdict(self)

    @staticmethod
    def from_json(value: Json) -> "JobSpec":
        model = value["model"]
        return JobSpec(value["kind"], value["body"], ModelChoice(**{"version": FIRST, **model}) if model else None)


@dataclass(frozen=True, slots=True)
class JobStatus(Status):
    """The state of a job: `done` of `total` pieces (None: unknown), described by `words`."""

    job: str
    done: int = 0
    total: int | None = None
    words: str = ""
    pid: int | None = None


def request(store: Store, spec: JobSpec) -> str:
    """Store a new job, start it, and return its name. Raises SettingError, ModelNotUsable."""
    job = create(store, spec)
    start(store, job)
    return job


def create(store: Store, spec: JobSpec) -> str:
    """Store a new job and return its name: kind, dot, number. No run can have such a name."""
    if spec.kind not in KINDS:
        raise SettingError(f"job kind {spec.kind!r} does not exist: use one of {', '.join(KINDS)}")
    if spec.model is not None:
        fetched_models.place(store, spec.model.model)  # an unfetched model is refused at once
    with store.transaction():
        made = "select name from jobs union select name from deleted where name not glob :batches"
        ever = f"select count(*) from ({made}) where name glob :kind"
        kind = {"kind": f"{spec.kind}.*", "batches": f"{spec.kind}.*-*"}
        number = 1 + store.db.execute(ever, kind).fetchone()[0]
        name = f"{spec.kind}.{number}"
        row = {"name": name, "kind": spec.kind, "spec": json.dumps(spec.to_json()), "created": time.time()}
        store.db.table("jobs").insert(row)
    return name


def start(store: Store, job: str, how: Json | None = None) -> None:
    """Start a job, or restart it after a failure, cancellation or interruption; a finished job stays as it is.

    `how` holds options that may differ between starts, such as the number of concurrent workers. It is stored with the
    request.
    """
    with store.transaction():  # two simultaneous requests start one process
        if (now := status(store, job)).moving or now.complete:
            return
        store.append(job, "start", how or {})
        spawn(store, KINDS[spec(store, job).kind].process, job)


def cancel(store: Store, job: str) -> None:
    """Ask a job to end between two pieces. A settled job stays as it is."""
    if not (now := status(store, job)).over and now.phase != "failed":
        store.append(job, "cancel", {})


def spec(store: Store, job: str) -> JobSpec:
    """Return the spec of a job. Raises NotFound."""
    return JobSpec.from_json(stored_json(_row(store, job)[0], f"job {job!r}"))


def created(store: Store, job: str) -> float:
    """Return when a job was created. Raises NotFound."""
    return float(_row(store, job)[1])


def names(store: Store, kind: str | None = None, dataset: str | None = None, run: str | None = None) -> list[str]:
    """Return job names, newest first: all, or those of one kind, data set or run."""
    query = (
        "select name from jobs where (:kind is null or kind = :kind) "
        "and (:dataset is null or json_extract(spec, '$.body.dataset') = :dataset) "
        "and (:run is null or json_extract(spec, '$.body.run') = :run) order by created desc, rowid desc"
    )
    return [row[0] for row in store.db.execute(query, {"kind": kind, "dataset": dataset, "run": run})]


def result(store: Store, job: str) -> Json | None:
    """Return a job's result; None while it has none."""
    last = _last_turn(store, job)
    return last.body if last is not None and last.kind == "result" else None


def status(store: Store, job: str) -> JobStatus:
    """Return the status of a job. Raises NotFound."""
    _row(store, job)
    return beside(store, job, lambda row, lives: _status(store, job, row, lives))


def _status(store: Store, job: str, row: Json | None, lives: bool) -> JobStatus:
    last = _last_turn(store, job)
    kind = last.kind if last else None
    asked = last.time if last and last.kind == "start" else None
    phase = phase_of(_RESTS.get(kind), held(row, lives), asked, ending=kind == "cancel")
    latest = store.last_event(job, ("start", "progress"))
    far = latest.body if latest is not None and latest.kind == "progress" else {}
    message = _message(store, job, phase, last)
    if phase == "starting" and latest is not None and far.get("words") == LOADING:
        message = loading(latest.time)
    return JobStatus(
        phase,
        message,
        job,
        far.get("done", 0),
        far.get("total"),
        far.get("words", ""),
        row["pid"] if row is not None and lives else None,
    )


# The phase after the last deciding event; other events do not change it.
_RESTS: dict[str | None, Phase] = {None: "created", "result": "done", "failed": "failed", "cancel": "cancelled"}
_MESSAGES: dict[Phase, str] = {
    "created": "not started yet",
    "starting": "starting",
    "running": "at work",
    "cancelled": "cancelled by hand",
    "done": "done",
}


def _message(store: Store, job: str, phase: Phase, last: Event | None) -> str:
    if phase == "interrupted":
        words = last_words(store, job)
        why = f"its process stopped ({words})" if words else "its process is gone"
        return f"{why}; starting it again does what is left"
    if phase == "running" and last is not None and last.kind == "cancel":
        return "ending, as requested"
    return last.failed["message"] if phase == "failed" and last is not None else _MESSAGES[phase]


def wait_until_settled(store: Store, job: str) -> JobStatus:
    """Block until the job is settled, and return its status."""
    while not (now := status(store, job)).settled:
        wait()
    return now


def summary(store: Store, job: str) -> Json:
    """Return a job as JSON: its request, status and result."""
    asked, now = spec(store, job), status(store, job)
    return {
        "job": job,
        "kind": asked.kind,
        "status": now.phase,
        "message": now.message,
        "pid": now.pid,
        "done": now.done,
        "total": now.total,
        "asked": asked.body,
        "model": asked.model.model if asked.model else None,
        "result": result(store, job),
    }


def _last_turn(store: Store, job: str) -> Event | None:
    return store.last_event(job, _TURNS)


def _row(store: Store, job: str) -> Any:
    row = store.db.execute("select spec, created from jobs where name = ?", [job]).fetchone()
    if row is None:
        message = f"job {job!r} does not exist: `python -m icm_engine jobs` lists the jobs"
        raise not_found(store.db.conn, "jobs", message)
    return row
