"""Restarts: chains started a few at a time, gone on with, judged; and gold nowhere in it."""

import csv
import json
import os
from pathlib import Path

import pytest

from icm_engine import jobs
from icm_engine.analysis import restarts as told
from icm_engine.core.errors import DeviceMissing, SettingError
from icm_engine.core.scoring import Scorer, TableScorer
from icm_engine.core.settings import ModelChoice, SearchConfig
from icm_engine.data.importing import import_file
from icm_engine.jobs import restarts, scheduler
from icm_engine.runs import control, worker
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.store import Store
from tests.support.command_line import icm
from tests.support.gold_changes import ROWS, Change, inverted, permuted, removed
from tests.support.machines import RESTARTED, RestartMachine
from tests.support.processes import score_by, spawn_by
from tests.support.stores import hold, moody_belief


def rows(found: Json | None) -> dict[str, Json]:
    assert found is not None
    return {row["run"]: row for row in found["chains"]}


def phases(store: Store, job: str) -> list[str]:
    return [control.status(store, run).phase for run in restarts.chains_of(store, job)]


def test_chains_differ_in_the_seed_alone_and_the_best_is_proposed(
    store: Store, restart_machine: RestartMachine
) -> None:
    job = restarts.submit(store, RESTARTED, 4)
    runs = restarts.chains_of(store, job)
    assert [store.spec(run).search.seed for run in runs] == [3, 4, 5, 6]
    assert phases(store, job) == ["created"] * 4
    found = restart_machine.do(job)
    assert restart_machine.most == 2  # never more at once, by default
    assert restart_machine.order == runs  # each once
    assert found is not None
    utilities = {row["run"]: row["utility"] for row in found["chains"] if row["compared"] is not None}
    assert len(set(utilities.values())) > 1
    assert found["proposed"] == max(utilities, key=lambda run: utilities[run])
    assert [row["run"] for row in found["chains"] if row["proposed"]] == [found["proposed"]]
    labelled = rows(found)[found["proposed"]]["labelled"]
    assert len(found["examples"]) == labelled
    assert all(1 <= row["same"] <= row["chains"] <= 4 for row in found["examples"])
    assert any(row["same"] < row["chains"] for row in found["examples"])
    assert restarts.job_of(store, runs[2]) == job
    assert told.membership(store, runs[2]) == (
        f"Chain 3 of 4 that differ in their seed alone. {told.why(told.proposal(found))}"
    )


@pytest.mark.parametrize("side_by_side", [1, 3])
def test_so_many_at_once_as_asked(store: Store, restart_machine: RestartMachine, side_by_side: int) -> None:
    restart_machine.do(restarts.submit(store, RESTARTED, 5, side_by_side))
    assert restart_machine.most == side_by_side


def test_numbers_that_cannot_be_are_refused_and_nothing_is_kept(store: Store, restart_machine: RestartMachine) -> None:
    for wrong in ((0, 2), (2, 0)):
        with pytest.raises(SettingError, match="use 1 or more"):
            restarts.submit(store, RESTARTED, *wrong)
    with pytest.raises(SettingError, match="leaves no whole group"):
        restarts.submit(store, RunSpec("sums", "fake", limit=1), 2)
    assert (store.run_names(), jobs.names(store)) == ([], [])


def test_a_chain_that_failed_is_said_and_gone_on_with_when_asked_again(
    store: Store, restart_machine: RestartMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(one: worker.Worker) -> Scorer:
        if one.opened.spec.search.seed == 4:
            raise DeviceMissing("no device")
        return TableScorer(moody_belief)

    with monkeypatch.context() as patch:
        patch.setattr(worker.Worker, "_connected", broken)
        job = restarts.submit(store, RESTARTED, 3)
        found = restart_machine.do(job)
    assert phases(store, job) == ["finished", "failed", "finished"]
    assert found is not None
    failed = found["chains"][1]
    assert (failed["counts"], failed["proposed"], failed["message"]) == (False, False, "no device")
    assert told.warnings(told.proposal(found))[0] == f"{failed['run']} (seed 4) is not counted: failed, no device."
    assert restart_machine.order.count(failed["run"]) == 1  # not again and again
    again = restarts.submit(store, RESTARTED, 3)
    assert again != job
    assert restarts.chains_of(store, again) == restarts.chains_of(store, job)
    assert jobs.result(store, again) is None
    better = restart_machine.do(again)
    assert [row["counts"] for row in rows(better).values()] == [True] * 3
    assert restart_machine.order.count(failed["run"]) == 2
    assert len(restart_machine.order) == 4  # and nothing else was done again
    assert restarts.submit(store, RESTARTED, 3) == again  # now nothing is left


def test_where_none_finished_nothing_is_proposed(
    store: Store, restart_machine: RestartMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(spec: ModelChoice) -> Scorer:
        raise DeviceMissing("no device")

    monkeypatch.setattr(worker, "make_scorer", broken)
    job = restarts.submit(store, RESTARTED, 2)
    assert restart_machine.do(job) is None
    now = jobs.status(store, job)
    assert now.phase == "failed"
    assert "none of 2 chains can be proposed (sums-1 failed: no device; sums-2 failed: no device)" in now.message
    assert restarts.submit(store, RESTARTED, 2) == job  # which starts it again


def test_a_process_that_was_killed_leaves_chains_that_the_next_goes_on_with(
    store: Store, restart_machine: RestartMachine
) -> None:
    class Killed(BaseException):
        """What no handler of ours sees."""

    def kill() -> None:
        if len(restart_machine.order) == 3:
            raise Killed

    restart_machine.between = kill
    job = restarts.submit(store, RESTARTED, 3, 1)
    with pytest.raises(Killed):
        restart_machine.do(job)
    assert jobs.status(store, job).phase == "interrupted"
    assert phases(store, job)[:2] == ["finished"] * 2
    lasts = [store.last_number(run) for run in restarts.chains_of(store, job)[:2]]
    restart_machine.between = lambda: None
    jobs.start(store, job)
    found = restart_machine.do(job)
    assert [row["counts"] for row in rows(found).values()] == [True] * 3
    assert [store.last_number(run) for run in restarts.chains_of(store, job)[:2]] == lasts


def test_cancelled_chains_pause_and_asking_again_goes_on(store: Store, restart_machine: RestartMachine) -> None:
    job = restarts.submit(store, RESTARTED, 3, 1)
    restart_machine.between = lambda: jobs.cancel(store, job)
    assert restart_machine.do(job) is None
    assert jobs.status(store, job).phase == "cancelled"
    restart_machine.between = lambda: None
    assert phases(store, job) == ["finished", "created", "created"]
    assert restarts.submit(store, RESTARTED, 3, 1) == job
    assert [row["counts"] for row in rows(restart_machine.do(job)).values()] == [True] * 3


def test_a_cancel_pauses_what_is_on_its_way(store: Store, restart_machine: RestartMachine) -> None:
    job = restarts.submit(store, RESTARTED, 2)
    restart_machine.between = lambda: (jobs.cancel(store, job), restart_machine.alive.clear())  # type: ignore[assignment]
    restart_machine.do(job)
    for run in restarts.chains_of(store, job):
        assert [command.verb for command in store.pending(run)] == ["start", "pause"]


def test_a_paused_chain_whose_worker_waits_is_gone_on_with_in_its_own_place(
    store: Store, restart_machine: RestartMachine
) -> None:
    """A worker keeps its model for a while; the one place is its own, so nothing would ever begin without it."""
    job = restarts.submit(store, RESTARTED, 2, 1)
    runs = restarts.chains_of(store, job)
    control.step(store, runs[1], 5)
    restart_machine.look()
    hold(store, runs[1])
    assert (control.status(store, runs[1]).phase, control.status(store, runs[1]).pid) == ("paused", os.getpid())
    restart_machine.alive.append(runs[1])  # the worker that waits, and finds the command
    assert [row["counts"] for row in rows(restart_machine.do(job)).values()] == [True, True]
    assert restart_machine.most == 1
    assert restart_machine.order == [runs[1], runs[0]]  # no second worker


def test_a_chain_that_a_person_stops_stays_so(store: Store, restart_machine: RestartMachine) -> None:
    job = restarts.submit(store, RESTARTED, 3, 1)
    stopped = restarts.chains_of(store, job)[1]
    store.append(stopped, "control", {"verb": "stop"})
    found = restart_machine.do(job)
    assert phases(store, job) == ["finished", "stopped", "finished"]
    assert rows(found)[stopped]["counts"] is False
    assert restarts.submit(store, RESTARTED, 3, 1) == job  # it was meant: nothing is left


def test_a_chain_that_a_person_pauses_is_waited_for(store: Store, restart_machine: RestartMachine) -> None:
    job = restarts.submit(store, RESTARTED, 2, 2)
    first, seen = restarts.chains_of(store, job)[0], list[str]()

    def person() -> None:
        if len(restart_machine.order) == 2 and not seen:
            store.send(first, "pause", "by-hand")
        seen.append(control.status(store, first).phase)
        if seen.count("paused") == 3:
            control.resume(store, first)

    restart_machine.between = person
    found = restart_machine.do(job)
    assert seen.count("paused") >= 3
    assert [row["counts"] for row in rows(found).values()] == [True, True]
    words = [event.body["words"] for event in store.read_after(job, kinds=("progress",))]
    assert f"0 chains at work, waiting for {first}, which is paused; finished" in words


def test_a_chain_with_a_hand_in_it_does_not_count(store: Store, restart_machine: RestartMachine) -> None:
    job = restarts.submit(store, RESTARTED, 4)
    retuned, pinned, noted, left = runs = restarts.chains_of(store, job)
    for run in (retuned, pinned, noted):
        control.step(store, run, 5)
        restart_machine.look()
    example = store.dataset("sums").examples[0].id
    control.retune(store, retuned, {"alpha": 40.0})
    control.submit_intervention(store, pinned, "pin", [example], ["False"])
    control.submit_intervention(store, noted, "note", [example], text="strange")
    while restart_machine.alive:
        restart_machine.look()
    assert phases(store, job) == ["paused", "paused", "paused", "created"]
    found = rows(restart_machine.do(job))
    assert phases(store, job) == ["finished"] * 4
    assert [found[run]["steered"] for run in runs] == [True, True, False, False]
    assert [found[run]["counts"] for run in runs] == [False, False, True, True]
    control.submit_intervention(
        store, left, "pin", [example], ["False"]
    )  # after its end: what counts is what the search left
    restart_machine.look()
    assert rows(restarts.judged(store, runs)) == found


def test_other_settings_are_other_chains(store: Store, restart_machine: RestartMachine) -> None:
    job = restarts.submit(store, RESTARTED, 2)
    assert restarts.submit(store, RESTARTED, 2) == job  # on its way
    assert restarts.submit(store, RESTARTED, 3) != job
    assert restarts.submit(store, RunSpec("sums", "fake", search=SearchConfig(seed=3, max_steps=73)), 2) != job
    assert len(store.run_names()) == 2 + 3 + 2


def test_steps_left_open_are_resolved_before_chains_are_looked_for(
    store: Store, restart_machine: RestartMachine
) -> None:
    spec = RunSpec("sums", "fake", limit=6)
    job = restarts.submit(store, spec, 2)
    assert restarts.submit(store, spec, 2) == job
    assert {store.spec(run).search.max_steps for run in restarts.chains_of(store, job)} == {24}


@pytest.mark.parametrize("change", [permuted, inverted, removed])
def test_gold_changes_nothing_in_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    """The whole result of the job, proposal and all, from the true gold and from another or none."""
    score_by(monkeypatch, moody_belief)
    spawn_by(monkeypatch, lambda store, module, name: None)
    found = [_restarted(tmp_path / name, rows, monkeypatch) for name, rows in (("true", ROWS), ("other", change(ROWS)))]
    assert len(found[0]["chains"]) == 3
    assert len({row["utility"] for row in found[0]["chains"]}) > 1  # there was something to choose
    assert json.dumps(found[0]) == json.dumps(found[1])


def _restarted(folder: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Json:
    folder.mkdir()
    path = folder / "claims.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with Store(folder / "icm.db") as store:
        machine = RestartMachine(store)
        monkeypatch.setattr(control, "launch", machine.launch)
        monkeypatch.setattr(scheduler, "wait", machine.look)
        import_file(store, path, "maths-verification")
        found = machine.do(restarts.submit(store, RunSpec("claims", "fake", search=SearchConfig(max_steps=60)), 3))
    assert found is not None
    return found


@pytest.mark.slow
def test_from_the_command_line_with_real_processes(
    store: Store, pairs: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    store.add_dataset(pairs)
    asked = ("run", "--dataset", "pairs", "--model", "fake", "--seed", 7, "--steps", 25, "--restarts", 3)
    code, out, err = icm(capsys, *asked, "--detach", "--json")
    assert (code, json.loads(out)) == (
        0, {"job": "restarts.1", "runs": ["pairs-1", "pairs-2", "pairs-3"], "status": "starting"},
    )  # fmt: skip
    code, out, err = icm(capsys, *asked, "--json")  # the same again: it waits for what is on its way
    shown = json.loads(out)
    assert code == 0, err
    assert [(row["run"], row["seed"], row["status"]) for row in shown["restarts"]] == [
        ("pairs-1", 7, "finished"), ("pairs-2", 8, "finished"), ("pairs-3", 9, "finished"),
    ]  # fmt: skip
    (proposed,) = [row for row in shown["restarts"] if row["proposed"]]
    assert (shown["run"], shown["status"], shown["steps"]) == (proposed["run"], "finished", 25)
    assert (
        shown["utility"]
        == proposed["utility"]
        == max(row["utility"] for row in shown["restarts"] if row["compared"] is not None)
    )
    assert 0 <= shown["mean_agreement"] <= 1
    assert proposed["run"] in shown["why"]
    assert "accuracy" not in proposed  # there is no gold here
    assert len(store.run_names()) == 3
    code, out, _ = icm(capsys, *asked)
    assert code == 0
    assert f"* {proposed['run']}" in out
    assert shown["why"] in out
    with pytest.raises(SystemExit):
        icm(capsys, *asked[:-1], 0)


def test_accuracy_stands_beside_each_chain_where_there_is_gold(store: Store, restart_machine: RestartMachine) -> None:
    from icm_engine.cli.several_runs import _summary

    job = restarts.submit(store, RESTARTED, 2)
    found = restart_machine.do(job)
    assert found is not None
    shown = _summary(store, job, told.proposal(found))
    assert all({"accuracy", "accuracy_flipped"} <= row.keys() for row in shown["restarts"])
    assert "accuracy" not in json.dumps(found)
