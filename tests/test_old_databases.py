"""Databases of every older version, as files: today's code opens each, reads it and goes on with it."""

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from faults import Fault

from icm_engine.__main__ import main
from icm_engine.core.errors import StoreError
from icm_engine.runs import control, worker
from icm_engine.runs.migrations import migrations
from icm_engine.runs.store import Store

FILES = {path.stem: path for path in sorted((Path(__file__).parent / "databases").glob("m*.sqlite"))}
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


@pytest.mark.fault("a database of an older version", "is migrated, read, checked, exported, and its run goes on")
def test_an_old_database_is_read_and_gone_on_with(
    fault: Fault, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fault.tried = len(FILES)
    for version, file in FILES.items():
        read_and_go_on(Path(shutil.copy(file, tmp_path / f"{version}.db")), capsys)
    fault.happened = f"{', '.join(FILES)}: two runs each read without a change, the unfinished one went on to its end"


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
    assert logged(old) == before  # reading changed nothing
    with Store(old) as store:
        store.send("claims-2", "resume", "go on")
        assert worker.main(["--db", str(old), "claims-2"]) == 0
        assert control.status(store, "claims-2").phase == "finished"
    assert [row for row in logged(old) if row in before] == before  # nothing of it was written anew
    assert json.loads(icm(capsys, "verify", "claims-2", "--db", str(old), "--json")[1])["steps_checked"] == 20


NEWER = {
    "the migration 'm999_later'": "insert into _sqlite_migrations (migration_set, name, applied_at) "
    "values ('icm', 'm999_later', 'later')",
    "the version 7": "pragma user_version = 7",
}


@pytest.mark.fault("a database of a newer version", "is refused plainly, and nothing in it is changed")
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
