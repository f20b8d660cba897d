"""What the benchmarks of trained models share: runs and jobs that are found again, done by processes of their own."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from icm_engine import jobs
from icm_engine.analysis.evaluation import Estimate
from icm_engine.core.labeling import Label
from icm_engine.core.settings import PRESETS, ModelChoice, with_settings
from icm_engine.data.gold import gold_of, load_human
from icm_engine.data.importing import SAMPLE_DIRECTORY, ensure_sample_dataset, import_file
from icm_engine.experiments import plan
from icm_engine.jobs import JobSpec
from icm_engine.jobs.scheduler import BATCH
from icm_engine.runs import control
from icm_engine.store.events import GIVEN, RunSpec
from icm_engine.store.store import Store

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes that are started inherit it
MODEL = ModelChoice("sample", "none", "float32", "cpu")


PLAIN_SUMS = "sums"  # claims that are equations alone, which a small base model can give as responses


def ensure(store: Store, dataset: str) -> None:
    """Import a sample data set and its test part, or plain sums, once."""
    if dataset == PLAIN_SUMS:
        if not store.has_dataset(dataset):
            import_file(store, f"{dataset}.csv", "arithmetic", dataset, content=plain_sums(24))
        return
    ensure_sample_dataset(store, dataset)
    if not store.has_dataset(f"{dataset}_test"):
        import_file(store, SAMPLE_DIRECTORY / f"{dataset}_test.csv", dataset, f"{dataset}_test")


def plain_sums(most: int) -> bytes:
    """A CSV file of the first sums of the sample data: of each the right equation, and one that is off by one."""
    with (SAMPLE_DIRECTORY / "arithmetic.csv").open(encoding="utf-8", newline="") as file:
        questions = list(dict.fromkeys(row["question"] for row in csv.DictReader(file)))[:most]
    lines = ["id,question,claim,group,gold"]
    for k, question in enumerate(questions):
        a, b = map(int, re.findall(r"\d+", question))
        for off in (0, 1):
            lines.append(f"s{k}.{off},{question},{a} + {b} = {a + b + off},s{k},{off == 0}")
    return "\n".join(lines).encode()


def labelled(store: Store, key: str, dataset: str, source: str, seed: int = 0, limit: int | None = None) -> str:
    """Return the run of this key: ICM, a label source, or labels of golden or crowd that are given to it."""
    for name in store.run_names():
        if store.spec(name).experiment == key:
            return name
    search = with_settings(PRESETS["default"], {"seed": seed})
    model = {field: getattr(MODEL, field) for field in ("model", "quantization", "dtype", "device")}
    spec = RunSpec(dataset, limit=limit, experiment=key, search=search, **model)
    if source in ("golden", "crowd"):
        labels = _golden(store, dataset, limit) if source == "golden" else _crowd(store, dataset, limit)
        spec = replace(spec, source=GIVEN, given=labels, given_from=source, supervised=True)
    elif source != "ICM":
        spec = replace(spec, source=source)
    return control.create_run(store, spec)


def _golden(store: Store, dataset: str, limit: int | None) -> dict[str, Label]:
    examples = store.dataset(dataset, limit).examples
    return plan.require_gold(examples, gold_of(store, dataset, [e.id for e in examples]), "golden")


def _crowd(store: Store, dataset: str, limit: int | None) -> dict[str, Label]:
    (said,) = load_human(store, dataset).values()
    return {e.id: said.labels[e.id] for e in store.dataset(dataset, limit).examples if e.id in said.labels}


def job_named(store: Store, kind: str, name: str, make: Callable[[], str]) -> str:
    """Return the job that trains what has this name: the one there is, or the one that `make` stores."""
    for job in jobs.names(store, kind):
        if jobs.spec(store, job).body["name"] == name:
            return job
    return make()


def finished(store: Store, kind: str, name: str, make: Callable[[], str]) -> str:
    """Return the job of this name, as `job_named`, once it is done; started again, it does what is left.

    Raises RuntimeError.
    """
    job = job_named(store, kind, name, make)
    jobs.start(store, job)
    if (now := jobs.wait_until_settled(store, job)).phase != "done":
        raise RuntimeError(f"{job}: {now.message}")
    return job


def job_like(store: Store, key: str, make: Callable[[], str]) -> str:
    """Return the job that `make` would store, if an equal one is there: `key` is its kind."""
    made = make()
    asked = jobs.spec(store, made)
    for job in jobs.names(store, key):
        if job != made and jobs.spec(store, job) == asked:
            return job
    return made


def work(store: Store, names: Sequence[str], processes: int = 1) -> None:
    """Have runs and jobs done, in this order, and wait. Raises RuntimeError for what failed."""
    waiting = [name for name in dict.fromkeys(names) if not _done(store, name)]
    shares = [share for k in range(processes) if (share := waiting[k::processes])]
    started = [jobs.request(store, JobSpec(BATCH, {"names": share, "threads": 1})) for share in shares]
    for job in started:
        jobs.wait_until_settled(store, job)
    if missing := [name for name in waiting if not _done(store, name)]:
        raise RuntimeError(f"not done: {[(name, _why(store, name)) for name in missing]}")


def _done(store: Store, name: str) -> bool:
    if store.has_run(name):
        return control.status(store, name).phase == "finished"
    return jobs.result(store, name) is not None


def _why(store: Store, name: str) -> str:
    return control.status(store, name).message if store.has_run(name) else jobs.status(store, name).message


def found(store: Store, job: str) -> dict[str, Any]:
    """Return the result of a finished job."""
    result = jobs.result(store, job)
    assert result is not None
    return result


def percent(value: Estimate) -> str:
    """An estimate as the tables of docs/results.md have it."""
    return f"{100 * value.mean:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
