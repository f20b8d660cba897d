"""Suites of runs: started from the command line or the Experiments page, and driven to their end by a job.

The driving process reads gold, so it loads no model: it creates missing runs and jobs, which the scheduler's workers
do, and those read no gold. An interrupted suite continues with what is left, because finished runs and jobs are found
again.
"""

import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from icm_engine import jobs
from icm_engine.analysis.evaluation import asked, unlabelled_parts
from icm_engine.analysis.views import run_summary
from icm_engine.cluster import ClusterSpec
from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.server_address import is_server
from icm_engine.core.settings import ModelChoice
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.experiments.plan import Cell, Driven, cells, on_test_part, spec_of
from icm_engine.experiments.results import outcome, predictors, results
from icm_engine.experiments.suites import Suite, Tune, Use, read_suite
from icm_engine.jobs import JobSpec, finetuning, scheduler
from icm_engine.jobs.job_process import Job
from icm_engine.runs import control, model_registry
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.replay import current_state, open_run
from icm_engine.store.store import Store

Progress = Callable[[int, int | None, str], None]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A person's choices for a suite: the model, the number of processes, another test data set than the default.

    `where` is a cluster to use instead of local processes.
    """

    model: ModelChoice
    processes: int = 1
    test: str | None = None
    where: ClusterSpec | None = None


def drive(store: Store, suite: Suite, key: str, chosen: Chosen, progress: Progress) -> list[Driven]:
    """Return every cell with its finished run and use, or the reason for none. Re-raises a cancellation.

    Cells that depend on another cell's accuracy come second, uses last.
    """
    driven = [Driven(cell) for cell in cells(suite)]
    known = _known_runs(store, key)
    for following in (False, True):
        part = [one for one in driven if bool(one.cell.arm.of) == following]
        for one in part:
            _create(store, suite, one, driven, chosen, key, known)
        _work(store, [one.run for one in part if one.run], chosen, progress, "labelling")
        for one in part:
            _note_failure(store, one)
    if suite.use is not None:
        _ask_to_use(store, driven, suite.use, chosen)
        _work(store, [one.use for one in driven if one.use], chosen, progress, "using labels")
    if suite.tune is not None and suite.use is not None:
        _tune(store, driven, suite.tune, suite.use, chosen, progress)
    return driven


def _tune(store: Store, driven: Sequence[Driven], how: Tune, test: Use, chosen: Chosen, progress: Progress) -> None:
    """Tune a model on the labels of each cell and use it on the test part, on this machine."""
    chosen = replace(chosen, where=None)
    for one in driven:
        if one.run and one.reason is None and one.cell.arm.tune and not one.tested:
            _ask_to_tune(store, one, one.run, how, chosen)
    _work(store, [one.tuned for one in driven if one.tuned], chosen, progress, "fine-tuning")
    for one in driven:
        if one.run and one.tuned:
            if (found := jobs.result(store, one.tuned)) is None:
                one.untuned = jobs.status(store, one.tuned).message
                continue
            model = model_registry.PREFIX + found["name"]
            one.tuned_use = _use_job(store, one.cell, one.run, replace(test, shots=how.shots), chosen, model)
    _work(store, [one.tuned_use for one in driven if one.tuned_use], chosen, progress, "using tuned models")


def _ask_to_tune(store: Store, one: Driven, run: str, how: Tune, chosen: Chosen) -> None:
    """The fine-tuning job of a cell: an existing one, or a new one."""
    settings = finetuning.settings_of({**how.settings, "seed": one.cell.seed})
    model = replace(chosen.model, model=store.spec(run).model)
    try:
        one.tuned = finetuning.find(store, [run], settings, model) or finetuning.create(
            store, [run], settings, model=model
        )
    except SettingError as error:
        one.untuned = str(error)


def _create(
    store: Store, suite: Suite, one: Driven, driven: Sequence[Driven], chosen: Chosen, key: str, known: dict[str, str]
) -> None:
    try:
        accuracy = _accuracy_of(store, one.cell, driven) if one.cell.arm.of else None
        cell = one.cell
        if cell.arm.test:
            cell, one.tested = on_test_part(store, suite, cell, chosen.test)
        spec = spec_of(store, suite, cell, chosen.model, key, accuracy)
        text = _text(spec)
        if text not in known:
            known[text] = control.create_run(store, spec)
        one.run = known[text]
    except SettingError as error:
        one.reason = str(error)


def _known_runs(store: Store, key: str) -> dict[str, str]:
    """The existing runs of this suite, by spec."""
    rows = store.db.execute("select name from runs where json_extract(spec, '$.experiment') = ?", [key])
    return {_text(store.spec(name)): name for (name,) in rows.fetchall()}


def _text(spec: RunSpec) -> str:
    return json.dumps(spec.to_json(), sort_keys=True)


def _accuracy_of(store: Store, cell: Cell, driven: Sequence[Driven]) -> float:
    """The accuracy of the run that this cell depends on: the same data set and seed."""
    for one in driven:
        if (one.cell.arm.name, one.cell.dataset, one.cell.seed) == (cell.arm.of, cell.dataset, cell.seed) and one.run:
            accuracy = run_summary(store, one.run).get("accuracy")
            if isinstance(accuracy, float):
                return accuracy
    raise SettingError(
        f"{cell.words} needs the accuracy of {cell.arm.of!r}, which has no labels for examples with gold"
    )


def _note_failure(store: Store, one: Driven) -> None:
    if one.run is not None and not (now := control.status(store, one.run)).complete:
        one.reason = now.message


def _ask_to_use(store: Store, driven: Sequence[Driven], how: Use, chosen: Chosen) -> None:
    """The job that uses the labels of each cell; cells with equal labels in the same order share one."""
    known = dict[tuple[object, ...], str]()
    for one in driven:
        if one.run and one.reason is None and one.cell.arm.use and not one.tested:
            spec = store.spec(one.run)
            same = (one.cell.dataset, one.cell.seed, spec.dataset, spec.limit, spec.model, _labels(store, one.run))
            if same not in known:
                known[same] = _use_job(store, one.cell, one.run, how, chosen)
            one.use = known[same]


def _labels(store: Store, run: str) -> tuple[tuple[int, str], ...]:
    state = current_state(store, open_run(store, run))
    return tuple(sorted(state.labeling.items())) if state is not None else ()


def _use_job(store: Store, cell: Cell, run: str, how: Use, chosen: Chosen, tuned: str | None = None) -> str:
    """The job that uses a cell's labels, optionally with a tuned model: an existing one, or a new one."""
    spec = store.spec(run)
    test = unlabelled_parts(store, cell.dataset, spec, chosen.test)
    model = replace(chosen.model, model=tuned or spec.model)
    return asked(store, run, model, how.shots, how.test, test, cell.seed, how.shuffles)


def _work(store: Store, names: Sequence[str], chosen: Chosen, progress: Progress, words: str) -> None:
    """Let workers do these runs and jobs and wait for them, skipping finished ones. Raises RunError."""
    left = [name for name in dict.fromkeys(names) if not scheduler.is_done(store, name)]

    def look() -> None:
        nonlocal left
        # finished ones stay finished; checking them again would cost time
        left = [name for name in left if not scheduler.is_done(store, name)]
        progress(len(names) - len(left), len(names), words)

    if left:
        scheduler.work_off(scheduler.workers(store, left, chosen.processes, chosen.where), look)


# -- suites as jobs


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
