"""Batched runs: every example in one batch, lanes that go on with what is left, one label set, one entry in lists."""

import csv
import json
import os
import signal
import statistics
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from icm_engine import jobs
from icm_engine.analysis import batches as told
from icm_engine.analysis.batches import GoldCounts
from icm_engine.analysis.views import run_summary
from icm_engine.core import advance
from icm_engine.core.batching import BatchPart
from icm_engine.core.errors import DeviceMissing, SettingError
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import Scorer, TableScorer
from icm_engine.core.search import step
from icm_engine.core.settings import ModelChoice, SearchConfig
from icm_engine.data.export import export_run, labelled_rows
from icm_engine.data.gold import add_human
from icm_engine.data.importing import delete_dataset
from icm_engine.data.label_export import read_label_set, read_labels
from icm_engine.jobs import batches, job_process, job_worker, scheduler
from icm_engine.jobs.batches import BatchedRun
from icm_engine.runs import control, life_cycle, worker
from icm_engine.runs.verify import verify
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RETUNABLE, RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.support.command_line import icm
from tests.support.documented_queries import documented
from tests.support.machines import BATCHED, BatchMachine
from tests.support.processes import score_by, spawn_by
from tests.support.stores import moody_belief, small_dataset


class Killed(BaseException):
    """What no handler of ours sees."""


def runs(store: Store, job: str) -> list[str]:
    whole = batches.batched(store, job)
    return [run for run in map(whole.run, range(1, whole.of + 1)) if store.has_run(run)]


def labels(store: Store, job: str) -> dict[str, Any]:
    return {str(row["icm_id"]): row["icm_label"] for row in read_label_set(store, job).rows()}


def events(store: Store, run: str) -> list[str]:
    return [json.dumps(event.body) for event in store.read_after(run, kinds=("initial", "step"))]


# -- the whole way


def test_every_example_is_in_one_batch_and_no_group_is_cut(store: Store, batch_machine: BatchMachine) -> None:
    job = batches.submit(store, BATCHED, 7)  # two groups of 3 go into 7: 3 batches of 6
    assert batch_machine.do(job) == {"batches": 3}
    found = [[example for example, _ in read_labels(store, run).examples()] for run in runs(store, job)]
    assert [len(examples) for examples in found] == [6, 6, 6]
    assert sorted(e.id for examples in found for e in examples) == sorted(e.id for e in store.dataset("sums").examples)
    groups = [{example.group for example in examples} for examples in found]
    assert [len(group) for group in groups] == [2, 2, 2]
    assert len(set.union(*groups)) == 6
    assert groups[0] != {"g0", "g1"} or groups[1] != {"g2", "g3"}  # drawn, not cut off in order
    assert batch_machine.lanes == ["lane.1"]  # one process took them all


def test_a_batch_is_a_run_like_any_other(store: Store, batch_machine: BatchMachine) -> None:
    job = batches.submit(store, BATCHED, 7)
    batch_machine.do(job)
    for number, run in enumerate(runs(store, job), 1):
        assert run == f"batches.1-{number}"
        spec = store.spec(run)
        assert spec.part == BatchPart(number, 3, 7, 3)
        assert spec.search.seed == 3 + number - 1  # or all would draw the same places
        assert control.status(store, run).phase == "finished"
        assert verify(store, open_run(store, run)) == (24, [])
        again = control.create_run(store, spec)  # equal specs are equal runs
        store.send(again, "start", again)
        worker.main(["--db", str(store.path), again])
        assert events(store, again) == events(store, run)


def test_max_steps_left_open_is_four_times_each_batch(store: Store, batch_machine: BatchMachine) -> None:
    job = batches.submit(store, RunSpec("sums", "fake", limit=15), 6)  # 5 groups: batches of 6, 6 and 3
    batch_machine.do(job)
    assert sorted(store.spec(run).search.max_steps for run in runs(store, job)) == [12, 24, 24]
    assert store.spec(runs(store, job)[0]).limit == 15


def test_the_same_asked_again_is_the_same_and_another_is_another(store: Store, batch_machine: BatchMachine) -> None:
    job = batches.submit(store, BATCHED, 7)
    assert batches.submit(store, BATCHED, 7) == job  # on its way
    batch_machine.do(job)
    before = [store.last_number(run) for run in runs(store, job)]
    assert batches.submit(store, BATCHED, 7) == job
    assert [store.last_number(run) for run in runs(store, job)] == before
    others = {
        batches.submit(store, BATCHED, 9),
        batches.submit(store, replace(BATCHED, search=replace(BATCHED.search, seed=4)), 7),
        batches.submit(store, replace(BATCHED, search=replace(BATCHED.search, alpha=40.0)), 7),
    }
    assert others == {"batches.2", "batches.3", "batches.4"}


def test_side_by_side_finds_the_same_labels(store: Store, batch_machine: BatchMachine) -> None:
    one = batches.submit(store, BATCHED, 3)
    batch_machine.do(one)
    alone = labels(store, one)
    with Store(store.path.parent / "two.db") as other:
        small_dataset(other)
        batch_machine.store = other
        job = batches.submit(other, BATCHED, 3, 2)
        batch_machine.do(job)
        assert batch_machine.lanes[-2:] == ["lane.1", "lane.2"]
        assert [jobs.spec(other, lane).body["lane"] for lane in ("lane.1", "lane.2")] == [0, 1]
        assert labels(other, job) == alone
        assert all(len(other.read_after(run, kinds=("finished",))) == 1 for run in runs(other, job))


def test_numbers_that_cannot_be_are_refused_and_nothing_is_kept(store: Store, batch_machine: BatchMachine) -> None:
    with pytest.raises(SettingError, match=r"a batch of 2 examples cannot hold .* has 3 .*--batch-size 3 or more"):
        batches.submit(store, BATCHED, 2)
    with pytest.raises(SettingError, match="leaves no whole group"):
        batches.submit(store, replace(BATCHED, limit=1), 7)
    with pytest.raises(SettingError, match="use 1 or more"):
        batches.submit(store, BATCHED, 7, 0)
    with pytest.raises(SettingError, match="cannot be combined"):
        told.begin_batches(store, BATCHED, 7, 2)
    assert (jobs.names(store), store.db.execute("select count(*) from parts").fetchone()[0]) == ([], 0)


# -- what is cut short


def test_a_killed_process_loses_nothing(
    store: Store, batch_machine: BatchMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = batches.submit(store, replace(BATCHED, dataset="sums"), 3)
    batch_machine.do(whole)
    expected, taken, real = labels(store, whole), list[int](), step

    def killed(*given: Any) -> Any:
        taken.append(1)
        if len(taken) == 60:  # in the third batch of 24 steps
            raise Killed
        return real(*given)

    with Store(store.path.parent / "killed.db") as other:
        small_dataset(other)
        batch_machine.store = other
        job = batches.submit(other, BATCHED, 3)
        with monkeypatch.context() as patch:
            patch.setattr(advance, "step", killed)
            with pytest.raises(Killed):
                batch_machine.do(job)
        assert jobs.status(other, job).phase == "interrupted"
        assert len(batches.finished(other, batches.batched(other, job))) == 2
        assert batches.submit(other, BATCHED, 3) == job
        assert batch_machine.do(job) == {"batches": 6}
        assert labels(other, job) == expected
        first, third = runs(other, job)[0], runs(other, job)[2]
        verbs = [event.body["verb"] for event in other.read_after(third, kinds=("control",))]
        assert verbs == ["start", "resume"]  # the batch that was cut went on, the others were left alone
        assert len(other.read_after(first, kinds=("control",))) == 1


def test_cancelled_batches_pause_and_asking_again_goes_on(
    store: Store, batch_machine: BatchMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, taken = step, list[int]()

    def watched(*given: Any) -> Any:
        taken.append(1)
        if len(taken) == 30:  # in the second batch: what the job's process does when it sees the wish
            jobs.cancel(store, job)
            batches.Lanes(store, batches.batched(store, job), 1).end()
            for run in batches.held(store, batches.batched(store, job)):
                store.send(run, "pause", "by the job")
        return real(*given)

    monkeypatch.setattr(advance, "step", watched)
    job = batches.submit(store, BATCHED, 3)
    assert batch_machine.do(job) is None
    assert jobs.status(store, job).phase == "cancelled"
    assert [control.status(store, run).phase for run in runs(store, job)] == ["finished", "paused"]
    assert control.status(store, "batches.1-2").steps == 6
    assert told.batched_status(store, job, GoldCounts()).phase == "paused"
    assert batches.submit(store, BATCHED, 3) == job
    assert batch_machine.do(job) == {"batches": 6}


def test_what_always_fails_is_said_and_ends_soon(
    store: Store, batch_machine: BatchMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(spec: ModelChoice) -> Scorer:
        raise DeviceMissing("no device")

    with monkeypatch.context() as patch:
        patch.setattr(worker, "make_scorer", broken)
        job = batches.submit(store, BATCHED, 3)
        assert batch_machine.do(job) is None
    assert len(runs(store, job)) == batches.IN_A_ROW == 3
    message = jobs.status(store, job).message
    assert message == (
        "6 of 6 batches have not finished (first batches.1-1, failed: no device): fix what failed and request it again"
    )
    assert batches.submit(store, BATCHED, 3) == job
    assert batch_machine.do(job) == {"batches": 6}


def test_one_batch_that_fails_does_not_hold_up_the_rest(
    store: Store, batch_machine: BatchMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(one: worker.Worker) -> Scorer:
        if one.opened.spec.part is not None and one.opened.spec.part.number == 2:
            raise DeviceMissing("no device")
        return TableScorer(moody_belief)

    monkeypatch.setattr(worker.Worker, "_connected", broken)
    job = batches.submit(store, BATCHED, 3)
    batch_machine.do(job)
    assert "1 of 6 batches have not finished (first batches.1-2, failed: no device)" in jobs.status(store, job).message
    assert len(batches.finished(store, batches.batched(store, job))) == 5


def test_a_lane_that_was_killed_is_replaced_as_long_as_it_gets_anywhere(
    store: Store, batch_machine: BatchMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane dies without a word in its second batch; the next one begins there, and dies again without any gain."""
    job, real = batches.submit(store, BATCHED, 3), worker.run_in_process

    def dies(store: Store, run: str, idle: float) -> int:
        if run.endswith("-2"):
            raise Killed
        return real(store, run, idle)

    def look() -> None:
        try:
            monkeypatch.setattr(life_cycle, "LAUNCH_GRACE", 20.0)
            batch_machine.look()
        except Killed:
            monkeypatch.setattr(life_cycle, "LAUNCH_GRACE", 0.0)  # it is known to be gone
            store.drop_lease(batch_machine.lanes[-1], str(store.lease_token(batch_machine.lanes[-1])))

    monkeypatch.setattr(scheduler, "wait", look)
    monkeypatch.setattr(worker, "run_in_process", dies)
    assert batch_machine.do(job) is None
    assert batch_machine.lanes == ["lane.1", "lane.2"]  # the second gained nothing, and there is no third
    assert "5 of 6 batches have not finished" in jobs.status(store, job).message


def test_a_new_process_of_the_job_finds_the_lanes_that_work(store: Store, batch_machine: BatchMachine) -> None:
    def killed() -> None:
        raise Killed

    job = batches.submit(store, BATCHED, 3)
    batch_machine.between = killed
    with pytest.raises(Killed):
        batch_machine.do(job)
    assert batch_machine.lanes == batch_machine.waiting == ["lane.1"]  # its lane goes on without it
    batch_machine.between = lambda: None
    jobs.start(store, job)
    assert batch_machine.do(job) == {"batches": 6}
    assert batch_machine.lanes == ["lane.1"]


def test_a_batch_that_a_person_stops_stays_so(store: Store, batch_machine: BatchMachine) -> None:
    job = batches.submit(store, BATCHED, 3)
    batch_machine.do(job)
    other = batches.submit(store, replace(BATCHED, search=replace(BATCHED.search, seed=8)), 3)
    whole = batches.batched(store, other)
    spec = batches.spec_of(store, whole, 2)
    assert spec is not None
    store.append(store.add_run(spec, whole.run(2)), "control", {"verb": "stop"})
    assert batch_machine.do(other) == {"batches": 6}
    assert control.status(store, whole.run(2)).phase == "stopped"
    assert store.last_number(whole.run(2)) == 1


@pytest.mark.slow
def test_real_processes_are_killed_in_mid_run(store: Store, pairs: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGKILL to the job's process and to its lanes; asked again, the labels are those of an uninterrupted run."""
    store.add_dataset(pairs)
    spec = RunSpec("pairs", "fake", search=SearchConfig(seed=5, max_steps=200))
    job = batches.submit(store, spec, 6, 2)
    whole = batches.batched(store, job)
    while len(pids := _pids(store, job)) < 3:
        time.sleep(0.05)
    processes = [psutil.Process(pid) for pid in pids]
    while not batches.finished(store, whole):
        time.sleep(0.05)
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(processes, timeout=10)
    assert jobs.status(store, job).phase == "interrupted"
    assert 0 < len(batches.finished(store, whole)) < whole.of
    assert batches.submit(store, spec, 6, 2) == job
    assert jobs.wait_until_settled(store, job).phase == "done"
    found = labels(store, job)
    with Store(store.path.parent / "whole.db") as other:
        other.add_dataset(pairs)
        uninterrupted = batches.submit(other, spec, 6)
        assert jobs.wait_until_settled(other, uninterrupted).phase == "done"
        assert labels(other, uninterrupted) == found
    assert None not in found.values()


def _pids(store: Store, job: str) -> list[int]:
    """The processes of a batched run that live: the job's and its lanes'."""
    names = (job, *jobs.names(store, batches.LANE))
    return [pid for name in names if (pid := jobs.status(store, name).pid) is not None]


# -- the model of each batch


def test_each_batch_can_have_another_model(
    store: Store, batch_machine: BatchMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between batches somebody makes the next model out of the labels so far; a batch waits for its own."""
    asked = list[tuple[str, str]]()

    def made(spec: ModelChoice) -> Scorer:
        asked.append((spec.model, spec.quantization))
        return TableScorer(moody_belief)

    def tune() -> None:
        done = batches.finished(store, batches.batched(store, job))
        batches.label_with(store, job, len(done) + 1, ModelChoice(f"tuned-on-{len(done)}", "none"))

    monkeypatch.setattr(worker, "make_scorer", made)
    job = batches.submit(store, BATCHED, 6, waits=True)
    whole = batches.batched(store, job)
    assert batches.spec_of(store, whole, 2) is None
    monkeypatch.setattr(scheduler, "wait", lambda: batch_machine.look() if batch_machine.waiting else tune())
    assert batch_machine.do(job) == {"batches": 3}
    assert asked == [("fake", "nf4"), ("tuned-on-1", "none"), ("tuned-on-2", "none")]
    assert [store.spec(run).model for run in runs(store, job)] == ["fake", "tuned-on-1", "tuned-on-2"]


def test_a_model_holds_from_its_batch_on(store: Store, batch_machine: BatchMachine) -> None:
    job = batches.submit(store, BATCHED, 3)
    whole = batches.batched(store, job)
    batches.label_with(store, job, 3, ModelChoice("other"))
    models = [spec.model for n in range(1, 7) if (spec := batches.spec_of(store, whole, n)) is not None]
    assert models == ["fake", "fake", "other", "other", "other", "other"]


# -- one label set


@pytest.fixture
def done(store: Store, batch_machine: BatchMachine) -> BatchedRun:
    """A finished batched run with a crowd beside it."""
    add_human(store, "sums", "crowd", {"sums-0-0": "True", "sums-4-1": "False"})
    job = batches.submit(store, BATCHED, 7)
    batch_machine.do(job)
    return batches.batched(store, job)


def test_the_table_has_every_row_once_in_the_order_of_the_data_set(
    store: Store, done: BatchedRun, tmp_path: Path
) -> None:
    made = export_run(store, done.name, tmp_path / "all.csv")
    rows = list(csv.DictReader((tmp_path / "all.csv").open(newline="", encoding="utf-8")))
    assert made.rows == len(rows) == 18
    assert [row["icm_id"] for row in rows] == [e.id for e in store.dataset("sums").examples]
    single = {str(row["icm_id"]): row for run in runs(store, done.name) for row in labelled_rows(store, run)}
    for row in read_label_set(store, done.name).rows():
        alone = single[str(row["icm_id"])] | {"icm_human_crowd": row["icm_human_crowd"]}
        assert row == alone
    assert {row["icm_human_crowd"] for row in rows} == {"True", "False", ""}
    assert next(row for row in rows if row["icm_id"] == "sums-4-1")["icm_human_crowd"] == "False"


@pytest.mark.parametrize("format", ["sft", "preference"])
def test_training_files_have_the_rows_of_all_batches(
    store: Store, done: BatchedRun, tmp_path: Path, format: str
) -> None:
    made = export_run(store, done.name, tmp_path / "all.jsonl", format)
    parts, left_out = list[str](), Counter[str]()
    for run in runs(store, done.name):
        part = export_run(store, run, tmp_path / "part.jsonl", format)
        parts += (tmp_path / "part.jsonl").read_text().splitlines()
        left_out.update(part.left_out)
    assert (tmp_path / "all.jsonl").read_text().splitlines() == parts
    assert made.rows == len(parts) > 0
    assert Counter(made.left_out) == left_out


def test_what_has_not_begun_is_a_row_without_a_label(store: Store, batch_machine: BatchMachine, tmp_path: Path) -> None:
    job = batches.submit(store, BATCHED, 7)
    with pytest.raises(SettingError, match=r"gives no row of format 'sft' \(18 unlabelled"):
        export_run(store, job, tmp_path / "none.jsonl", "sft")
    assert not (tmp_path / "none.jsonl").exists()
    assert labels(store, job) == dict.fromkeys(labels(store, job))
    assert export_run(store, job, tmp_path / "none.parquet", "parquet").rows == 18
    with pytest.raises(SettingError, match="format datasets describes one run"):
        export_run(store, job, tmp_path / "folder", "datasets")


def test_the_summary_is_the_sum_of_the_runs(store: Store, done: BatchedRun) -> None:
    found, alone = told.summary(store, done.name), [run_summary(store, run) for run in runs(store, done.name)]
    utilities = [one["utility"] for one in alone]
    assert len(set(utilities)) > 1
    assert (found["utility_min"], found["utility_median"], found["utility_max"]) == (
        min(utilities), statistics.median(utilities), max(utilities),
    )  # fmt: skip
    for name in ("labelled", "steps", "examples", "inconsistency", "prompts_scored", "tokens_encoded",
                 "set_evaluations"):  # fmt: skip
        assert found[name] == sum(one[name] for one in alone), name
    assert found["seconds"] == pytest.approx(sum(one["seconds"] for one in alone))
    # each batch has 6 of the 18 examples, all with gold, so the accuracy of all is the mean of theirs
    assert found["accuracy"] == pytest.approx(sum(one["accuracy"] for one in alone) / 3)
    assert found["accuracy_flipped"] == pytest.approx(sum(one["accuracy_flipped"] for one in alone) / 3)
    assert sum(found["label_balance"].values()) == found["labelled"]
    assert (found["batches"], found["finished"], found["batch_size"]) == (3, 3, 7)


def test_a_hand_in_a_finished_batch_is_seen(store: Store, done: BatchedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a batch is looked at only while its run has not moved."""
    spawn_by(monkeypatch, lambda store, module, name: None)
    run = done.run(2)
    before = {end.run: end for end in batches.ends(store, done)}
    example, label = next((e.id, y) for e, y in read_labels(store, run).examples() if y is not None)
    other = "False" if label == "True" else "True"
    control.submit_intervention(store, run, "pin", [example], [other])
    worker.main(["--db", str(store.path), run])
    after = {end.run: end for end in batches.ends(store, done)}
    assert after[done.run(1)] == before[done.run(1)]
    assert after[run].number == store.last_number(run) > before[run].number
    assert after[run].utility == run_summary(store, run)["utility"] != before[run].utility
    assert labels(store, done.name)[example] == other
    assert [row["icm_pinned"] for row in read_label_set(store, done.name).rows()].count("pinned") == 1
    counts = GoldCounts()
    first = told.batched_status(store, done.name, counts).accuracy
    assert first is not None
    assert first.raw == pytest.approx(sum(run_summary(store, one)["accuracy"] for one in runs(store, done.name)) / 3)


def test_what_is_kept_of_ends_can_be_deleted(store: Store, done: BatchedRun) -> None:
    """A process killed between the end of a batch and its row leaves just that."""
    before = told.summary(store, done.name)
    store.db.conn.execute("delete from ends where run = ?", [done.run(2)])
    store.db.conn.execute("delete from snapshots")
    store.db.conn.commit()
    assert told.summary(store, done.name) == before


def test_label_sources_label_in_batches_too(store: Store, batch_machine: BatchMachine) -> None:
    job = batches.submit(store, RunSpec("sums", "fake", source="zero-shot"), 7)
    assert batch_machine.do(job) == {"batches": 3}
    assert None not in labels(store, job).values()
    assert told.summary(store, job)["steps"] == 0


def test_gold_is_counted_a_few_batches_at_a_look(store: Store, done: BatchedRun) -> None:
    counts = GoldCounts()
    looks = [told.batched_status(store, done.name, counts, at_once=1) for _ in range(3)]
    assert [now.counted for now in looks] == [1, 2, 3]
    assert [now.accuracy is not None for now in looks] == [False, False, True]


# -- one entry, however many batches


def test_lists_have_one_entry(store: Store, done: BatchedRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert store.run_names() == []
    code, out, _ = icm(capsys, "list", "--json")
    (row,) = json.loads(out)
    assert (code, row["run"], row["status"], row["batches"]) == (0, done.name, "finished", 3)
    store.append(control.create_run(store, BATCHED), "control", {"verb": "start"})
    assert store.run_names() == ["sums-1"]
    code, out, _ = icm(capsys, "list")
    assert [line.split()[0] for line in out.splitlines()] == ["sums-1", done.name]


def test_a_fork_of_a_batch_is_listed(store: Store, done: BatchedRun) -> None:
    from icm_engine.runs.fork import fork

    child = fork(store, done.run(1), 5, {"alpha": 20.0})
    assert "alpha" in RETUNABLE
    assert store.run_names() == [child] == ["sums-1"]
    assert store.spec(child).part == store.spec(done.run(1)).part
    assert batches.batched_of(store, child) is None
    assert batches.batched_of(store, done.run(3)) == (done, 3)


def test_lists_do_not_look_at_the_runs_of_batches(store: Store) -> None:
    query = store.run_names.__doc__
    assert query is not None
    statements = list[str]()
    store.db.conn.set_trace_callback(statements.append)
    store.run_names(of_experiments=False)
    store.db.conn.set_trace_callback(None)
    plan = [row[3] for row in store.db.execute(f"explain query plan {statements[0]}")]
    assert "SCAN runs USING INDEX idx_runs_listed" in plan


def test_commands_about_the_whole(store: Store, done: BatchedRun, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = icm(capsys, "show", done.name, "--json")
    assert (code, json.loads(out)["finished"]) == (0, 3)
    code, out, _ = icm(capsys, "verify", done.name, "--json")
    assert (code, json.loads(out)) == (0, {"run": done.name, "batches_checked": 3, "steps_checked": 72, "wrong": 0})
    code, out, err = icm(capsys, "log", done.name)
    assert (code, out) == (1, "")
    assert err == "icm: 'batches.1' is a batched run: name one of its batches, such as 'batches.1-1'\n"
    common = ("run", "--dataset", "sums", "--model", "fake", "--batch-size", 7)
    code, _, err = icm(capsys, *common, "--restarts", 2)
    assert (code, err) == (1, "icm: --restarts 2 and --batch-size 7 cannot be combined: use one\n")


def test_from_the_command_line_with_real_processes(
    store: Store, pairs: Dataset, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store.add_dataset(pairs)
    common = ("run", "--dataset", "pairs", "--model", "fake", "--steps", 40, "--batch-size", 10, "--side-by-side", 2)
    code, out, err = icm(capsys, *common, "--detach", "--json")
    assert (code, json.loads(out)) == (0, {"run": "batches.1", "batches": 4, "status": "starting"}), err
    code, out, err = icm(capsys, "pause", "batches.1", "--json")
    assert code == 0, err
    assert json.loads(out)["status"] in ("paused", "finished")
    code, out, err = icm(capsys, *common, "--json")
    shown = json.loads(out)
    assert (code, shown["status"], shown["finished"], shown["steps"]) == (0, "finished", 4, 160), err
    assert "4/4" in err
    code, out, _ = icm(capsys, "export", "batches.1", "--output", tmp_path / "all.csv", "--json")
    assert (code, json.loads(out)["rows"]) == (0, 40)
    code, out, _ = icm(capsys, "resume", "batches.1", "--json")  # nothing is left
    assert (code, json.loads(out)["finished"]) == (0, 4)


# -- which examples a batch has


def test_the_kept_split_can_be_deleted(store: Store, done: BatchedRun) -> None:
    before = [tuple(open_run(store, run).codec.ids) for run in runs(store, done.name)]
    store.db.conn.execute("delete from parts")
    store.db.conn.commit()
    assert [tuple(open_run(store, run).codec.ids) for run in runs(store, done.name)] == before
    part = BatchPart(4, 4, 7, 3)
    with pytest.raises(SettingError, match="has 3 batches of 7, and no batch 4 of 4"):
        store.open_dataset("sums", None, part)


def test_a_data_set_goes_with_its_splits(store: Store, batch_machine: BatchMachine) -> None:
    small_dataset(store, "gone")
    store.open_dataset("gone", None, BatchPart(1, 3, 6, 0))
    assert store.db.execute("select count(*) from parts").fetchone()[0] == 3
    delete_dataset(store, "gone")
    assert store.db.execute("select count(*) from parts").fetchone()[0] == 0


def test_specs_of_before_there_were_batches_load(store: Store) -> None:
    written = BATCHED.to_json()
    del written["part"]
    assert RunSpec.from_json(written) == BATCHED
    assert RunSpec.from_json(
        json.loads(json.dumps(replace(BATCHED, part=BatchPart(1, 2, 3, 4)).to_json()))
    ).part == BatchPart(1, 2, 3, 4)


def test_views_of_batches(store: Store, done: BatchedRun) -> None:
    rows = documented(store, "v_parts")
    ids = {(number, i) for number in (1, 2, 3) for i in open_run(store, done.run(number)).codec.ids}
    assert {(row["batch"], row["example"]) for row in rows} == ids
    (row,) = documented(store, "v_ends")
    shown = told.summary(store, done.name)
    assert row == {"batches": 3, "labelled": shown["labelled"], "least": shown["utility_min"],
                   "greatest": shown["utility_max"], "tokens": shown["tokens_encoded"]}  # fmt: skip
    found = list(store.db.query("select run, batch, batches from v_runs order by run"))
    assert found == [{"run": done.run(n), "batch": n, "batches": 3} for n in (1, 2, 3)]


def test_prompts_show_examples_of_the_batch_alone(
    store: Store, batch_machine: BatchMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set[str]()

    def belief(prompt: Prompt) -> tuple[float, ...]:
        seen.update(segment[0] for segment in prompt.segments)
        return moody_belief(prompt)

    score_by(monkeypatch, belief)
    job = batches.submit(store, replace(BATCHED, limit=6), 3)
    lane = jobs.request(store, jobs.JobSpec("lane", {"batches": job, "lane": 0, "lanes": 2}))
    monkeypatch.setattr(batches, "_order", lambda *given: iter([1]))
    job_process.main(job_worker.perform, ["--db", str(store.path), lane])
    assert runs(store, job) == [f"{job}-1"]
    assert len(seen) == 3
