"""Deleting runs: all that is only about them goes, nothing that is built on them, and no name is given again."""

import json
import time
from pathlib import Path

import pytest

from icm_engine import jobs
from icm_engine.core.errors import NotFound, RunBusy, RunError
from icm_engine.core.settings import SearchConfig
from icm_engine.jobs import deletion, restarts
from icm_engine.runs import control
from icm_engine.store.events import RunSpec
from icm_engine.store.store import OF_A_RUN, Store
from tests.support.command_line import icm
from tests.support.documented_queries import documented
from tests.support.finetunings import finished, labelled_run
from tests.support.machines import RESTARTED, RestartMachine
from tests.support.stores import add_batches, add_run, small_dataset


def rows_of(store: Store, name: str) -> int:
    """How many rows name this run or job, in all tables that have rows of one."""
    counts = (f"select count(*) from {table} where {column} = ?" for table, column in OF_A_RUN)
    return sum(int(store.db.execute(query, [name]).fetchone()[0]) for query in counts)


def what_if(store: Store, run: str) -> str:
    body = {"dataset": "sums", "run": run, "event": 2, "example": "sums-0-0", "label": "True"}
    job = jobs.create(store, jobs.JobSpec("what-if", body, store.spec(run).model_choice))
    store.append(job, "start", {})
    store.append(job, "result", {})
    return job


def test_a_run_goes_with_what_is_only_about_it_and_the_rest_stays(store: Store) -> None:
    run, other = add_run(store, "finished"), add_run(store, "paused")
    about, kept = what_if(store, run), what_if(store, other)
    control.log_path(store, run).parent.mkdir()
    control.log_path(store, run).write_text("a worker's words")
    before = rows_of(store, other), store.read_after(other)
    assert deletion.delete(store, [run]) == [run, about]
    assert rows_of(store, run) == rows_of(store, about) == 0
    assert (rows_of(store, other), store.read_after(other)) == before
    assert jobs.names(store) == [kept]
    assert not control.log_path(store, run).exists()
    assert store.run_names() == [other]
    assert [row["name"] for row in documented(store, "v_deleted")] == [run, about]


def test_every_table_with_rows_of_a_run_is_known(store: Store) -> None:
    known = {table for table, _ in OF_A_RUN} | {"deleted"}
    named = {table for table in store.db.table_names() if {"run"} & {column.name for column in store.db[table].columns}}
    assert named <= known


def test_no_name_is_given_again(store: Store) -> None:
    runs = [add_run(store, "finished") for _ in range(3)]
    assert deletion.delete(store, [runs[2], runs[0]]) == [runs[2], runs[0]]
    assert add_run(store, "finished") == "sums-4"
    with pytest.raises(NotFound, match="'sums-3' was deleted"):
        store.spec(runs[2])
    job = what_if(store, runs[1])
    deletion.delete(store, [runs[1]])
    assert what_if(store, "sums-4") != job


@pytest.mark.parametrize("phase", ["running", "starting"])
def test_a_run_at_work_stays_and_so_do_the_others(store: Store, phase: str) -> None:
    still, busy = add_run(store, "finished"), add_run(store, phase)
    with pytest.raises(RunBusy, match=f"run '{busy}' is at work: pause or stop it first; nothing was deleted"):
        deletion.delete(store, [still, busy])
    assert store.has_run(still)
    assert store.has_run(busy)


def test_an_unknown_name_deletes_nothing(store: Store) -> None:
    run = add_run(store, "finished")
    with pytest.raises(NotFound, match="'sums-7' does not exist"):
        deletion.delete(store, [run, "sums-7"])
    assert store.has_run(run)


def test_a_run_goes_with_its_forks_or_not_at_all(store: Store) -> None:
    run = add_run(store, "finished")
    spec = RunSpec("sums", "fake", search=SearchConfig(max_steps=60), forked_from=run, forked_at=9)
    fork = store.add_run(spec)
    with pytest.raises(RunError, match=f"where '{fork}' was forked from: delete both, or neither; nothing was deleted"):
        deletion.delete(store, [run])
    assert deletion.delete(store, [run, fork]) == [run, fork]


def test_a_model_keeps_the_run_whose_labels_trained_it(store: Store) -> None:
    run = labelled_run(store)
    job = finished(store, run)
    with pytest.raises(RunError, match=f"part of job '{job}', which stays .it was made from the run's labels."):
        deletion.delete(store, [run])


def test_a_training_that_failed_goes_with_its_run(store: Store) -> None:
    run = labelled_run(store)
    job = jobs.create(store, jobs.JobSpec("finetune", {"run": run, "runs": [run], "name": "never"}))
    store.append(job, "start", {})
    store.append(job, "failed", {"error": "RunError", "message": "no memory"})
    assert deletion.delete(store, [run]) == [run, job]


def test_chains_go_together(store: Store, restart_machine: RestartMachine) -> None:
    job = restarts.submit(store, RESTARTED, 3)
    restart_machine.do(job)
    runs = restarts.chains_of(store, job)
    with pytest.raises(RunError, match=f"part of job '{job}', which stays .it was compared with {', '.join(runs)}."):
        deletion.delete(store, runs[:2])
    assert deletion.delete(store, runs) == [*runs, job]


def test_runs_of_a_suite_stay(store: Store) -> None:
    small_dataset(store)
    run = store.add_run(RunSpec("sums", "fake", search=SearchConfig(max_steps=8), experiment="main"))
    with pytest.raises(RunError, match="belongs to the results of the suite main: it stays"):
        deletion.delete(store, [run])


def test_a_batched_run_goes_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    small_dataset(store)
    whole = add_batches(store, monkeypatch)
    runs = [row[0] for row in store.db.execute("select name from runs")]
    assert len(runs) == 2
    with pytest.raises(RunError, match=f"is a batch of '{whole}': delete that"):
        deletion.delete(store, [runs[0]])
    gone = deletion.delete(store, [whole])
    assert {whole, *runs} <= set(gone)
    assert store.db.execute("select count(*) from runs").fetchone()[0] == 0
    assert store.db.execute("select count(*) from events").fetchone()[0] == 0
    assert jobs.names(store) == []
    assert add_batches(store, monkeypatch) != whole


def test_the_command_asks_and_says_what_is_gone(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    run = add_run(store, "finished")
    code, out, err = icm(capsys, "delete", run)
    assert (code, out) == (1, "")
    assert f"deleting {run} needs a confirmation and there is no terminal: add --yes; nothing was deleted" in err
    code, out, _ = icm(capsys, "delete", run, "--yes", "--json")
    assert (code, json.loads(out)) == (0, {"deleted": [run]})
    code, _, err = icm(capsys, "show", run)
    assert code == 1
    assert "was deleted" in err


@pytest.mark.slow
def test_a_paused_worker_leaves_when_its_run_is_deleted(store: Store, tmp_path: Path) -> None:
    small_dataset(store)
    run = control.create_run(store, RunSpec("sums", "fake", search=SearchConfig(max_steps=60)))
    control.step(store, run, 3)
    control.wait_until_settled(store, run)
    pid = control.status(store, run).pid
    assert pid is not None
    assert deletion.delete(store, [run]) == [run]
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]:
        time.sleep(0.1)  # the test's time limit ends it if the worker stays
    assert rows_of(store, run) == 0
