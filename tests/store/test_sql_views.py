"""The views of the database: every one documented, every documented query run and compared with the pages' numbers."""

import contextlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import load, run_summary, summary
from icm_engine.data.export import labelled_rows
from icm_engine.data.gold import add_human
from icm_engine.runs import control, worker
from icm_engine.store.events import RunSpec
from icm_engine.store.migrations import VIEWS, migrations
from icm_engine.store.store import Store
from tests.support.documented_queries import SECTIONS, documented
from tests.support.stored_logs import LOGS, put
from tests.support.stores import add_run, small_dataset

RUN = "arithmetic-1"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A finished run of the fake model, with gold and human labels, and another run beside it."""
    with Store(tmp_path_factory.mktemp("views") / "icm.db") as store:
        assert add_run(store, "finished", 80, "arithmetic") == RUN
        add_run(store, "paused", 10, "arithmetic")
        add_human(store, "arithmetic", "crowd", {"arithmetic-0-0": "True", "arithmetic-0-2": "True"})
        store.send(RUN, "start", "token")
        yield store


@pytest.fixture(scope="module")
def reading(finished: Store) -> Reading:
    return load(finished, RUN)


def view(store: Store, name: str, run: str = RUN) -> list[Row]:
    return list(store.db.query(f"select * from {name} where run = ?", [run]))


def test_every_view_is_documented_with_its_columns(finished: Store) -> None:
    assert set(SECTIONS) == set(finished.db.view_names()) >= set(VIEWS)
    for name, text in SECTIONS.items():
        prose = text.split("```sql")[0]
        for column in finished.db.view(name).columns:
            assert f"`{column.name}`" in prose, f"{name}.{column.name}"


def test_views_only_read(finished: Store) -> None:
    for name in finished.db.view_names():
        with pytest.raises(sqlite3.OperationalError, match="because it is a view"):
            finished.db.execute(f"delete from {name}")


def test_every_table_has_its_view(finished: Store) -> None:
    tables = {name for name in finished.db.table_names() if not name.startswith("_")}
    assert {f"v_{name}" for name in tables - {"snapshots"}} <= set(finished.db.view_names())  # a cache of the log


def test_datasets_and_examples(finished: Store, reading: Reading) -> None:
    assert documented(finished, "v_datasets") == [
        {"dataset": "arithmetic", "task": "maths-verification", "rule": "same-answer", "examples": 18, "groups": 6}
    ]
    examples = reading.run.dataset.examples
    assert documented(finished, "v_examples") == [
        {"example": e.id, "claim": e.fields["claim"], "answer": e.answer} for e in examples
    ]


def test_gold_and_human_labels(finished: Store, reading: Reading) -> None:
    assert reading.tally.accuracy is not None
    assert documented(finished, "v_gold") == [{"accuracy": reading.tally.accuracy.raw}]
    # gold of 0-0 is True, of 0-2 False: the crowd is right about one of two
    assert documented(finished, "v_human") == [{"source": "crowd", "agreement": 0.5}]


def test_runs(finished: Store) -> None:
    first, second = documented(finished, "v_runs")
    spec = finished.spec(RUN)
    assert first == {
        "run": RUN, "model": "fake", "preset": "default", "seed": spec.search.seed, "steps": 80, "max_steps": 80,
        "cooling": "per-step",
    }  # fmt: skip
    assert (second["run"], second["steps"]) == ("arithmetic-2", 10)
    assert [row["finished"] for row in finished.db.query("select finished from v_runs order by run")] == [1, 0]


def test_events(finished: Store, reading: Reading) -> None:
    rows = {row["kind"]: row for row in documented(finished, "v_events")}
    assert {kind: row["events"] for kind, row in rows.items()} == {
        "control": 1, "model": 1, "initial": 1, "step": 80, "finished": 1,
    }  # fmt: skip
    assert rows["initial"]["seconds"] + rows["step"]["seconds"] == reading.spent.seconds


def test_steps(finished: Store, reading: Reading) -> None:
    shown = summary(reading, control.status(finished, RUN))
    (row,) = documented(finished, "v_steps")
    verdicts = Counter(step.verdict for step in reading.steps)
    assert (row["steps"], row["accepted"], row["rejected"]) == (80, verdicts["accepted"], verdicts["rejected"])
    assert row["acceptance_rate"] == shown["acceptance_rate"]
    assert verdicts["rejected"]
    assert verdicts["unchanged"]
    names = ("step", "example", "old", "proposed", "delta", "temperature", "accept_probability", "draw", "verdict",
             "label_mass", "seconds")  # fmt: skip
    rows = view(finished, "v_steps")
    assert [tuple(row[name] for name in names) for row in rows] == [
        tuple(getattr(step, name) for name in names) for step in reading.steps
    ]
    assert rows[-1]["prompts"] > 0
    accepted = [row["utility_after"] for row in rows if row["accepted"]]
    assert accepted[-1] == shown["utility"]


def test_repairs(finished: Store, reading: Reading) -> None:
    rows = {row["step"]: row for row in documented(finished, "v_repairs")}
    assert sum(row["taken"] for row in rows.values()) == sum(step.repaired for step in reading.steps) > 0
    bodies = [event.body for event in finished.read_after(RUN, kinds=("step",))]
    assert {step: row["rounds"] for step, row in rows.items()} == {
        body["step"]: len(body["repairs"]) for body in bodies if body["repairs"]
    }


def test_flips(finished: Store, reading: Reading) -> None:
    """`changes` counts flips after the first label: the rows that have an old one."""
    rows = documented(finished, "v_flips")
    ids = reading.run.codec.ids
    expected = {ids[i]: change.flips for i, change in reading.changes.items() if change.flips}
    assert Counter(row["example"] for row in rows) == expected
    assert expected
    assert all(row["old"] != row["new"] for row in rows)


def test_labels(finished: Store, reading: Reading) -> None:
    counts = {row["label"]: row["examples"] for row in documented(finished, "v_labels")}
    assert counts == dict(zip(reading.tally.labels, reading.tally.balance, strict=True))
    exported = [row for row in labelled_rows(finished, RUN) if row["icm_label"] is not None]
    assert sorted(tuple(row.values()) for row in view(finished, "v_labels")) == sorted(
        (RUN, row["icm_id"], row["icm_label"], row["icm_last_change_step"], row["icm_flips"]) for row in exported
    )


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A finished search with folds of the sample model."""
    with Store(tmp_path_factory.mktemp("folds") / "icm.db") as store:
        assert put(store, LOGS / "arithmetic-folds.jsonl.gz") == RUN
        yield store


def test_rounds(folds: Store) -> None:
    shown = load(folds, RUN)
    assert [tuple(row.values()) for row in documented(folds, "v_rounds")] == [
        (row.number, row.verdict != "rejected", row.before, row.tried, row.changed, row.left) for row in shown.rounds
    ]
    assert [row["utility"] for row in view(folds, "v_rounds")] == [point.utility for point in shown.trajectory.points]
    assert [row["steps"] for row in view(folds, "v_runs")] == [5]


def test_fits(folds: Store) -> None:
    shown = load(folds, RUN)
    assert [(row["fold"], row["held_out"], row["last_loss"]) for row in view(folds, "v_fits")] == [
        (fit.fold, fit.held_out, fit.last_loss) for fit in shown.fits
    ]
    rows = documented(folds, "v_fits")
    assert [row["fits"] for row in rows] == [4] * 5
    assert sum(row["tokens_tuned"] for row in rows) == shown.spent.tokens_tuned > 0


def test_labels_flips_and_repairs_of_rounds(folds: Store) -> None:
    """Of rounds that were not kept, the repairs are listed and the flips are not."""
    shown = load(folds, RUN)
    exported = list(labelled_rows(folds, RUN))
    assert sorted(tuple(row.values()) for row in view(folds, "v_labels")) == sorted(
        (RUN, row["icm_id"], row["icm_label"], row["icm_last_change_step"], row["icm_flips"]) for row in exported
    )
    assert len(view(folds, "v_flips")) == len(shown.history)
    rows = view(folds, "v_repairs")
    assert [(row["event"], row["round"] - 1) for row in rows] == [(mark.event, mark.round) for mark in shown.repairs]
    assert {row["accepted"] for row in rows} == {0, 1}


def test_labels_of_a_source(store: Store) -> None:
    """No step gave them, and so says their cause; the documented accuracy is the one that pages show."""
    small_dataset(store)
    run = control.create_run(store, RunSpec("sums", "fake", source="zero-shot"))
    control.queue(store, run)
    assert worker.run_in_process(store, run, idle=0.0) == 0
    exported = list(labelled_rows(store, run))
    assert sorted(tuple(row.values()) for row in view(store, "v_labels", run)) == sorted(
        (run, row["icm_id"], row["icm_label"], 0, 0) for row in exported
    )
    rows = view(store, "v_flips", run)
    assert len(rows) == len(load(store, run).history) == len(exported) > 0
    assert {(row["step"], row["old"], row["cause"]) for row in rows} == {(0, None, "source")}
    (query,) = re.findall(r"```sql\n(.*?)```", SECTIONS["v_gold"], re.DOTALL)
    (found,) = store.db.query(query.replace("'arithmetic-1'", "?"), [run])
    assert found["accuracy"] == pytest.approx(run_summary(store, run)["accuracy"])
    assert found["accuracy"] > 0


def test_commands_leases_and_jobs(finished: Store) -> None:
    assert documented(finished, "v_commands") == [{"verb": "start", "event": None}]
    assert documented(finished, "v_leases") == []
    assert documented(finished, "v_jobs") == []


def test_a_run_is_read_without_looking_at_the_others(finished: Store) -> None:
    for name in ("v_steps", "v_flips", "v_labels", "v_repairs", "v_events"):
        plan = [row[3] for row in finished.db.execute(f"explain query plan select * from {name} where run = 'x'")]
        assert [line for line in plan if "events" in line and "(run=?" in line], plan


def test_an_older_database_gets_the_views(tmp_path: Path) -> None:
    """A database of the first schema, with what it held."""
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        old = Database(connection)
        migrations.apply(old, stop_before="m002_counts")
        row = {"name": "d", "task": '{"name": "t"}', "source": "s", "columns": "[]", "notes": "[]", "created": 0.0}
        old.table("datasets").insert(row)
        old.table("examples").insert(
            {"dataset": "d", "position": 0, "id": "e", "fields": "{}", "consistency_group": "g"}
        )
    with Store(tmp_path / "old.db") as store:
        (found,) = store.db.query("select * from v_datasets")
        assert (found["dataset"], found["task"], found["examples"], found["groups"]) == ("d", "t", 1, 1)
        assert found["created"] == "1970-01-01 00:00:00"
        assert set(store.db.view_names()) == set(SECTIONS)


def test_an_older_database_shows_the_labels_of_its_sources(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as connection, connection:
        old = Database(connection)
        migrations.apply(old, stop_before="m012_sources")
        body = '{"source": "zero-shot", "step": 0, "labels": [["a", "True"], ["b", "False"]]}'
        row = {"run": "old-1", "number": 1, "kind": "labelled", "body": body, "time": 0.0}
        old.table("events").insert(row)
        assert list(old.query("select * from v_labels")) == []
    with Store(tmp_path / "old.db") as store:
        found = view(store, "v_labels", "old-1")
    assert [(row["example"], row["label"]) for row in found] == [("a", "True"), ("b", "False")]
