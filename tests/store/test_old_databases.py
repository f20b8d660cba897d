"""Databases of every older version, as files: today's code opens each, reads it and goes on with it."""

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import icm_engine
from icm_engine.cli.main import main
from icm_engine.core.errors import StoreError
from icm_engine.runs import control, worker
from icm_engine.store.migrations import migrations
from icm_engine.store.store import Store
from tests.golden import columns
from tests.golden.in_process import session
from tests.support.faults import Fault
from tests.support.paths import TESTS

FILES = {path.stem: path for path in sorted((TESTS / "databases").glob("m*.sqlite"))}
KNOWN = [migration.name for migration in migrations._migrations]
TOGETHER = {"m002", "m003", "m004"}  # came in one commit with m005: no program ever stopped at these


def icm(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


def schema(path: Path) -> set[tuple[str, str, str]]:
    """What a database is made of: the kind, the name and the statement of everything in it."""
    with closing(sqlite3.connect(path)) as db:
        query = "select type, name, coalesce(sql, '') from sqlite_master"
        return {(kind, name, " ".join(sql.split())) for kind, name, sql in db.execute(query)}


def logged(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("select run, number, kind, time, seconds, body from events order by run, number").fetchall()


@pytest.fixture(params=sorted(FILES))
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of an old database."""
    return Path(shutil.copy(FILES[request.param], tmp_path / "icm.db"))


def test_every_version_before_the_newest_has_its_file() -> None:
    """A new migration needs a file of the version before it: tests/databases/README.md says how it is made."""
    before = {name.split("_")[0] for name in KNOWN[:-1]}
    assert before - TOGETHER <= set(FILES)
    for version, path in FILES.items():
        with closing(sqlite3.connect(path)) as db:
            applied = [name for (name,) in db.execute("select name from _sqlite_migrations order by rowid")]
        assert applied == KNOWN[: len(applied)]
        assert applied[-1].startswith(f"{version}_")


def test_a_migrated_database_is_made_of_the_same_as_a_new_one(old: Path, tmp_path: Path) -> None:
    with Store(old) as one, Store(tmp_path / "new.db") as other:
        for name in {row[1] for row in schema(other.path) if row[0] == "table"}:
            columns = [(c.name, c.type, c.notnull, c.default_value, c.is_pk) for c in one.db[name].columns]
            assert columns == [(c.name, c.type, c.notnull, c.default_value, c.is_pk) for c in other.db[name].columns]
    views = {row for row in schema(tmp_path / "new.db") if row[0] != "table"}
    assert {row for row in schema(old) if row[0] != "table"} == views


@pytest.mark.fault(
    "a database of an older version", "it is migrated, read, checked and exported, and its run continues"
)
def test_an_old_database_is_read_and_gone_on_with(
    fault: Fault, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fault.tried = len(FILES)
    for version, file in FILES.items():
        read_and_go_on(Path(shutil.copy(file, tmp_path / f"{version}.db")), capsys)
    fault.happened = f"{', '.join(FILES)}: two runs each read without a change, and the unfinished one finished"


def read_and_go_on(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = logged(old)
    code, out, err = icm(capsys, "list", "--db", str(old), "--json")
    assert (code, err) == (0, "")
    assert {row["run"]: (row["status"], row["steps"]) for row in json.loads(out)} == {
        "claims-1": ("finished", 20), "claims-2": ("paused", 8),
    }  # fmt: skip
    for run, steps, examples in (("claims-1", 20, 12), ("claims-2", 8, 18)):
        shown = json.loads(icm(capsys, "show", run, "--db", str(old), "--json")[1])
        assert shown["labelled"] > 0
        assert shown["accuracy"] is not None  # gold came along
        checked = json.loads(icm(capsys, "verify", run, "--db", str(old), "--json")[1])
        assert checked == {"run": run, "steps_checked": steps, "wrong": 0}
        file = old.with_suffix(f".{run}.csv")
        assert icm(capsys, "export", run, "--db", str(old), "--output", str(file))[0] == 0
        assert len(file.read_text().splitlines()) == 1 + examples
        found = json.loads(icm(capsys, "audit", run, "--answers", "gold", "--db", str(old), "--json")[1])
        assert (found["run"], found["supervised"], found["answers"]) == (run, True, found["labels_audited"])
    assert logged(old) == before  # reading changed nothing
    with Store(old) as store:
        store.send("claims-2", "resume", "go on")
        assert worker.main(["--db", str(old), "claims-2"]) == 0
        assert control.status(store, "claims-2").phase == "finished"
    assert [row for row in logged(old) if row in before] == before  # nothing of it was written anew
    assert json.loads(icm(capsys, "verify", "claims-2", "--db", str(old), "--json")[1])["steps_checked"] == 20


COUNTED = {"v_datasets": 1, "v_examples": 18, "v_gold": 18, "v_human": 0, "v_runs": 2, "v_steps": 28}


def test_the_views_of_an_old_database_say_what_a_replay_says(old: Path) -> None:
    """Views are computed by SQL from the events; labels and their changes also by a replay."""
    runs = {name: icm_engine.open_run(name, old) for name in ("claims-1", "claims-2")}
    labelled = {name: run.labels.dropna(subset=["icm_label"]) for name, run in runs.items()}
    replayed = {name: dict(zip(rows["icm_id"], rows["icm_label"], strict=True)) for name, rows in labelled.items()}
    with closing(sqlite3.connect(old)) as db:
        views = [name for (name,) in db.execute("select name from sqlite_master where type = 'view'")]
        rows = {view: db.execute(f"select * from {view}").fetchall() for view in views}
        labels = db.execute("select run, example, label from v_labels").fetchall()
        flips = db.execute("select run, example, new from v_flips order by run, event").fetchall()
    assert {view: len(rows[view]) for view in COUNTED} == COUNTED
    assert len(rows["v_events"]) == len(logged(old))
    for name, run in runs.items():
        known = {example: label for one, example, label in labels if one == name}
        assert known == replayed[name]
        assert known == {example: label for one, example, label in flips if one == name}  # the last change stands
        assert len(run.steps) == run.summary["steps"]
        assert len(run.gold) == run.summary["examples"]


def test_an_old_run_is_steered_and_forked_by_todays_commands(old: Path) -> None:
    before = logged(old)
    with session(old.parent) as now:
        events = [json.loads(line) for line in now.text("log", "claims-1").splitlines()]
        stored = [json.loads(str(row[-1])) for row in before if row[0] == "claims-1"]
        assert [{key: event[key] for key in body} for event, body in zip(events, stored, strict=True)] == stored
        child = now.json("fork", "claims-1", "--step", 10, "--steps", 5)
        assert (child["status"], child["steps"]) == ("finished", 15)
        assert now.json("verify", child["run"])["wrong"] == 0
        (example,) = now.query("select example from v_labels where run = 'claims-1' and label = 'True' limit 1")[0]
        assert now.json("what-if", "claims-1", example, "False")["old"] == "True"
        now.json("pin", "claims-1", f"{example}=False")
        assert now.query("select label from v_labels where run = 'claims-1' and example = ?", example) == [("False",)]
        now.json("undo", "claims-1")
        assert now.query("select label from v_labels where run = 'claims-1' and example = ?", example) == [("True",)]
        now.json("stop", "claims-2")
        assert now.json("verify", "claims-1", "--rescore", 5)["drift"]["largest_difference"] == 0
    assert [row for row in logged(old) if row in before] == before


def test_tables_and_views_have_the_columns_they_had(old: Path) -> None:
    """People query them. A new column is kept by `python -m tests.golden --write schema`."""
    golden = json.loads(columns.SCHEMA.read_text(encoding="utf-8"))
    with Store(old):  # migrates it
        pass
    assert columns.of(old) == golden


NEWER = {
    "the migration 'm999_later'": "insert into _sqlite_migrations (migration_set, name, applied_at) "
    "values ('icm', 'm999_later', 'later')",
    "the version 7": "pragma user_version = 7",
}


@pytest.mark.fault("a database of a newer version", "refused in one line, and nothing in it is changed")
def test_a_newer_database_is_refused_and_left_as_it_is(
    fault: Fault, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ways = [(file, named, journal) for file in FILES.values() for named in NEWER for journal in ("wal", "delete")]
    fault.tried = len(ways)
    for k, (file, named, journal) in enumerate(ways):
        path = Path(shutil.copy(file, tmp_path / f"{k}.db"))
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(f"pragma journal_mode = {journal}")
            db.execute(NEWER[named])
        was = hashlib.sha256(path.read_bytes()).hexdigest()
        for words in (("list",), ("show", "claims-1"), ("resume", "claims-2", "--detach")):
            code, out, err = icm(capsys, *words, "--db", str(path))
            assert (code, out) == (1, "")
            assert err.startswith(f"icm: database {path} has {named}, which this program does not know, nothing was ch")
            assert err.count("\n") == 1
        assert worker.main(["--db", str(path), "claims-2"]) == 1
        assert hashlib.sha256(path.read_bytes()).hexdigest() == was
    fault.happened = f"{len(ways)} refusals by the commands and the worker, each in one line; no byte was changed"


def test_a_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "bookmarks.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("create table bookmarks (address text)")
    was = path.read_bytes()
    with pytest.raises(StoreError, match=r"is another program's \(it has the table 'bookmarks'\), nothing was changed"):
        Store(path)
    assert path.read_bytes() == was
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bookmarks.db"]
