"""Jobs killed at any moment and asked again come to the same result; data sets and files are whole or not there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from icm_engine import jobs
from icm_engine.analysis import landscape, views
from icm_engine.core.settings import SearchConfig
from icm_engine.data import importing
from icm_engine.data.export import export_run
from icm_engine.data.label_export import read_label_set
from icm_engine.experiments import self_rewarding
from icm_engine.experiments.self_rewarding import Loop, LoopSettings
from icm_engine.jobs import batches, policies, restarts, self_teaching
from icm_engine.jobs.policies import PreferenceSettings
from icm_engine.jobs.scheduler import BATCH
from icm_engine.jobs.self_teaching import Teaching, TeachSettings
from icm_engine.runs import control, model_registry
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.faults import Fault
from tests.support.kills import Dying, kill, searched
from tests.support.labelled_runs import CLAIMS, SAMPLE, add, capitals
from tests.support.paths import ROOT
from tests.support.self_killing_worker import IMPORT_POINTS, JOB_POINTS
from tests.support.stores import add_run

SEED = 8
Points = dict[str, tuple[int, ...]]


def killed_at_every_point(store: Store, dying: Dying, job: str, points: Points, times: int) -> int:
    """Kill the processes of a job at its points, one process after the other; return how many were killed."""
    every = [(point, counts[k]) for k in range(4) for point, counts in points.items() if k < len(counts)]
    for point, count in every[:times]:
        dying.at(point, count, partial(jobs.start, store, job))
        assert jobs.status(store, job).phase == "interrupted", point
    return min(times, len(every))


@pytest.mark.timeout(1800)
@pytest.mark.fault(
    "SIGKILL of an import job at each stage", "restarted, it ends with the whole data set; nothing is left over"
)
def test_an_import_killed_at_every_point(
    store: Store, tmp_path: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be killed behind its commit too, and then finds what it stored."""
    path = tmp_path / "claims.csv"
    path.write_text("question,claim,label\n" + "".join(f"Q{k // 2}?,C{k},{k % 2}\n" for k in range(60)))
    ask = partial(importing.import_spec, path, "truthfulness")
    whole = jobs.request(store, ask("whole"))
    assert jobs.wait_until_settled(store, whole).phase == "done"
    job = jobs.create(store, ask("claims"))
    points: dict[str, tuple[int, ...]] = {
        "event committed": (1,), **IMPORT_POINTS, "event written, not committed": (1,), "before its lease": (1,),
        "with its lease, before a look at the run": (1,),
    }  # fmt: skip
    tried = killed_at_every_point(store, Dying(store, monkeypatch), job, points, fault.times(quick=4, long=7))
    assert not store.has_dataset("claims")
    # ready, told, the data set with what was found: the third commit has it, and the result is not there yet
    Dying(store, monkeypatch).at("data set committed", 1, partial(jobs.start, store, job))
    assert store.has_dataset("claims")
    assert jobs.status(store, job).phase == "interrupted"
    jobs.start(store, job)
    assert jobs.wait_until_settled(store, job).phase == "done", jobs.log_tail(store, job)
    assert [event.kind for event in store.read_after(job)].count("result") == 1
    assert {**(jobs.result(store, job) or {}), "dataset": "whole"} == jobs.result(store, whole)
    assert _rows(store, "claims") == _rows(store, "whole")
    assert list(store.path.parent.glob(".import.*")) == []  # what the dead put aside is gone
    fault.tried = tried + 1
    fault.happened = (
        "the data set, its gold and the job's result equal those of an undisturbed import; nothing left over"
    )


def _rows(store: Store, dataset: str) -> list[Any]:
    found = list[Any]()
    for table, columns in (
        ("examples", "position, id, fields, consistency_group, answer, twin_of, input"), ("gold", "example, label"),
    ):  # fmt: skip
        found += store.db.execute(f"select {columns} from {table} where dataset = ? order by 1", [dataset]).fetchall()
    info = store.dataset_info(dataset)
    return [*found, info.examples, info.gold, info.groups]


@pytest.mark.timeout(1800)
@pytest.mark.fault("SIGKILL of a landscape job at each stage", "restarted, it reaches the same result")
def test_a_landscape_killed_at_every_point(store: Store, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two labelings too: what is scored is kept, and counted once."""
    run = add_run(store, "finished", 40)
    ask = partial(landscape.submit, store, views.load(store, run), {})
    whole = ask()
    assert jobs.wait_until_settled(store, whole).phase == "done", jobs.log_tail(store, whole)
    job = jobs.create(store, jobs.spec(store, whole))
    tried = killed_at_every_point(store, Dying(store, monkeypatch), job, JOB_POINTS, fault.times(quick=4, long=10))
    jobs.start(store, job)
    assert jobs.wait_until_settled(store, job).phase == "done", jobs.log_tail(store, job)
    assert jobs.result(store, job) == jobs.result(store, whole)
    fault.tried, fault.happened = tried, "the same rows, and the same count of prompts and tokens"


@pytest.mark.timeout(7200)
@pytest.mark.fault(
    "SIGKILL of a batched run's job or of one of its worker processes at random moments",
    "when requested again it continues; logs and labels equal those of an undisturbed batched run",
)
def test_a_batched_run_killed_at_random_moments(store: Store, pairs: Dataset, tmp_path: Path, fault: Fault) -> None:
    store.add_dataset(pairs)
    spec = RunSpec("pairs", "fake", search=SearchConfig(seed=5, max_steps=60))
    with Store(tmp_path / "whole.db") as other:
        other.add_dataset(pairs)
        began = time.monotonic()
        whole = batches.batched(other, batches.submit(other, spec, 6, 2))
        assert jobs.wait_until_settled(other, whole.name).phase == "done"
        length, logs = time.monotonic() - began, [searched(other, whole.run(n)) for n in range(1, whole.of + 1)]
        labels = _labels(other, whole.name)
    killed, rounds = 0, 0
    times, rng = fault.times(quick=2, long=60), Random(SEED)
    while killed < times:
        asked = RunSpec("pairs", "fake", limit=40 + rounds, search=spec.search)  # the same examples
        ask = partial(batches.submit, store, asked, 6, 2)
        lanes = partial(jobs.names, store, batches.LANE)
        job, more = _kill_until_done(store, ask, lanes, length, times - killed, rng)
        assert [searched(store, f"{job}-{n}") for n in range(1, whole.of + 1)] == logs
        assert _labels(store, job) == labels
        killed, rounds = killed + more, rounds + 1
    fault.tried = killed
    fault.happened = (
        f"{rounds} batched runs of {whole.of} batches and 2 worker processes, those to kill drawn with seed {SEED}: "
        f"{whole.of * rounds} logs and {rounds} label sets equal"
    )


def _pids(store: Store, names: list[str]) -> list[int]:
    """The processes of these runs and jobs that live."""
    now = ((control.status if store.has_run(name) else jobs.status)(store, name) for name in names)
    return [status.pid for status in now if status.pid is not None]


def _labels(store: Store, name: str) -> list[Any]:
    """The whole label set, the names of the batches' runs aside."""
    return [{**row, "icm_run": None} for row in read_label_set(store, name).rows()]


def _kill_until_done(
    store: Store, ask: Callable[[], str], others: Callable[[], list[str]], length: float, most: int, rng: Random
) -> tuple[str, int]:
    """Kill a job or one of the others at each moment drawn, and ask again until asking changes nothing.

    Return the job that did it in the end, and how many processes were killed.
    """
    killed, job = 0, ask()
    while jobs.status(store, job).phase != "done" or ask() != job:
        until = time.monotonic() + rng.random() * length
        while time.monotonic() < until and not jobs.status(store, job).settled:
            time.sleep(0.01)
        if killed < most and (pids := _pids(store, [job, *others()])):
            killed += kill(rng.choice(pids))
        if jobs.status(store, job).settled:
            job = ask()
    return job, killed


@pytest.mark.timeout(7200)
@pytest.mark.fault(
    "SIGKILL of a restarts job or of one of its chains at random moments",
    "when requested again it continues, and its proposal equals that of an undisturbed job",
)
def test_restarts_killed_at_random_moments(store: Store, pairs: Dataset, fault: Fault) -> None:
    store.add_dataset(pairs)
    spec = RunSpec("pairs", "fake", search=SearchConfig(seed=5, max_steps=60))
    began = time.monotonic()
    whole = restarts.submit(store, spec, 3)
    assert jobs.wait_until_settled(store, whole).phase == "done"
    length, killed, rounds = time.monotonic() - began, 0, 0
    times, rng = fault.times(quick=2, long=30), Random(SEED)
    while killed < times:
        rounds += 1
        ask = partial(restarts.submit, store, RunSpec("pairs", "fake", limit=40 + rounds, search=spec.search), 3)
        job, more = _kill_until_done(store, ask, partial(restarts.chains_of, store, ask()), length, times - killed, rng)
        killed += more
        for run, like in zip(restarts.chains_of(store, job), restarts.chains_of(store, whole), strict=True):
            assert searched(store, run) == searched(store, like)
        assert _unnamed(store, job) == _unnamed(store, whole)
    fault.tried = killed
    fault.happened = (
        f"{rounds} times 3 chains, processes to kill drawn with seed {SEED}: every log and every proposal equal"
    )


def _unnamed(store: Store, job: str) -> Any:
    """What a restarts job found, its chains by number."""
    found, runs = jobs.result(store, job), restarts.chains_of(store, job)
    assert found is not None
    number = {run: k for k, run in enumerate(runs)}
    chains = [{**row, "run": number[row["run"]]} for row in found["chains"]]
    return {**found, "proposed": number[found["proposed"]], "chains": chains}


# -- files

EXPORT = """
import os, signal, sys
from pathlib import Path
from icm_engine.data import export, label_export
from icm_engine.store.store import Store
database, run, output, form, point = sys.argv[1:]
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
real, rows = Path.replace, label_export.LabelledRun.rows
def replace(self, target):
    if point == "before the rename": die()
    real(self, target)
    die()
def some(self, *given, **named):
    for number, row in enumerate(rows(self, *given, **named)):
        if number == 5 and point == "in the rows": die()
        yield row
Path.replace, label_export.LabelledRun.rows = replace, some
export.export_run(Store(database), run, output, form)
"""
MOMENTS = [
    ("csv", "in the rows"), ("csv", "before the rename"), ("csv", "behind the rename"),
    ("datasets", "before the rename"), ("datasets", "in the rows"), ("datasets", "behind the rename"),
    ("jsonl", "in the rows"), ("jsonl", "before the rename"),
    ("parquet", "in the rows"), ("parquet", "before the rename"),
]  # fmt: skip


@pytest.mark.fault(
    "SIGKILL of an export while it writes rows, before and after its rename",
    "the file or folder is the complete old or new one; nothing is left over after the next export",
)
def test_an_export_killed_at_every_point(store: Store, tmp_path: Path, fault: Fault) -> None:
    run, folder = add_run(store, "finished", 40), tmp_path / "out"
    folder.mkdir()
    for form, point in MOMENTS[: fault.times(quick=4, long=len(MOMENTS))]:
        output, whole = folder / f"labels.{form}", tmp_path / f"{point} {form}"
        export_run(store, run, whole, form)
        if form != "datasets":
            output.write_bytes(b"what was there")
        command = [sys.executable, "-c", EXPORT, str(store.path), run, str(output), form, point]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
        new = point == "behind the rename"
        before = {} if form == "datasets" else {"": b"what was there"}
        assert _content(output) == (_content(whole) if new else before), (form, point)
        if form == "datasets" and new:
            continue  # a folder that holds anything is refused, so there is no next export
        export_run(store, run, output, form)
        assert _content(output) == _content(whole)
        assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
        os.rename(output, tmp_path / f"done {form} {point}")
    fault.happened = "old or new, byte for byte, never a part of one"


def _content(path: Path) -> dict[str, bytes]:
    """The bytes of a file, or of every file in a folder."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(one.relative_to(path)): one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()}


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(7200)
@pytest.mark.fault(
    "SIGKILL of a self-rewarding loop's job, or of the process of one of its runs and jobs, at random moments",
    "started again it continues; its rounds equal those of an undisturbed loop, and nothing was made twice",
)
def test_a_self_rewarding_loop_killed_at_random_moments(store: Store, fault: Fault) -> None:
    add(store, "capitals", CLAIMS, capitals())
    how = LoopSettings(rounds=1, prompts=3, samples=4, test_prompts=3, test_samples=4)
    training = PreferenceSettings(steps=3, batch_size=4, rank=2)
    ask = partial(self_rewarding.ask, store)
    began = time.monotonic()
    whole = ask(Loop("whole", "capitals", None, how, training, SAMPLE))
    jobs.start(store, whole)
    assert jobs.wait_until_settled(store, whole).phase == "done", jobs.log_tail(store, whole)
    length, killed, rounds = time.monotonic() - began, 0, 0
    times, rng = fault.times(quick=1, long=30), Random(SEED)
    while killed < times:
        rounds += 1
        job = ask(Loop(f"killed-{rounds}", "capitals", None, how, training, SAMPLE))

        def again(job: str = job) -> str:
            jobs.start(store, job)
            return job

        _, more = _kill_until_done(store, again, partial(jobs.names, store, BATCH), length, times - killed, rng)
        killed += more
        assert _rounds_of(store, job) == _rounds_of(store, whole)
        assert len(jobs.names(store, policies.PREFER)) == rounds + 1
    fault.tried = killed
    fault.happened = f"{rounds} loops, processes to kill drawn with seed {SEED}: every round equal"


def _rounds_of(store: Store, job: str) -> list[Any]:
    """What the rounds of a loop found, names aside."""
    found = jobs.result(store, job)
    assert found is not None
    return [[one[name] for name in ("pairs", "win_rate", "distinct", "cut")] for one in found["rounds"]]


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(7200)
@pytest.mark.fault(
    "SIGKILL of the job of a self-taught judge at random moments",
    "started again it continues; its rounds and judges equal those of an undisturbed job, and nothing was made twice",
)
def test_a_self_taught_judge_killed_at_random_moments(
    store: Store, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process answers as `tests.support.answering_judges` does, since the sample model gives no verdict."""
    real = control._popen
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # so that adapters are equal byte for byte
    monkeypatch.setattr(
        control, "_popen", lambda store, module, *rest: real(store, "tests.support.answering_judges", *rest)
    )
    add(store, "capitals", CLAIMS, capitals())
    how = TeachSettings(prompts=3, test_prompts=3, judgements=4, epochs=2, batch_size=2, rows_at_once=2, rank=2)

    def ask(name: str) -> str:
        return self_teaching.ask(store, Teaching(name, "capitals", None, how, SAMPLE))

    began, whole = time.monotonic(), ask("whole")
    jobs.start(store, whole)
    assert jobs.wait_until_settled(store, whole).phase == "done", jobs.log_tail(store, whole)
    length, killed, rounds = time.monotonic() - began, 0, 0
    times, rng = fault.times(quick=2, long=30), Random(SEED)
    while killed < times:
        rounds += 1
        job = ask(f"killed-{rounds}")

        def again(job: str = job) -> str:
            jobs.start(store, job)
            return job

        killed += _kill_until_done(store, again, list, length, times - killed, rng)[1]
        assert _taught(store, job) == _taught(store, whole)
    fault.tried = killed
    fault.happened = f"{rounds} judges, moments drawn with seed {SEED}: every round equal, every adapter byte for byte"


def _taught(store: Store, job: str) -> list[Any]:
    """What the rounds of a self-taught judge found, their adapters, and the headings of the parts it kept."""
    found = jobs.result(store, job)
    assert found is not None
    rounds = [{**one, "judge": None} for one in found["rounds"]]
    names = [one["judge"].removeprefix("trained:") for one in found["rounds"][1:]]
    weights = [(model_registry.folder(store, name) / "adapter_model.safetensors").read_bytes() for name in names]
    parts = [event.body for event in store.read_after(job, kinds=("part",))]
    return [rounds, weights, [part.get("judged", part.get("responses")) for part in parts]]
