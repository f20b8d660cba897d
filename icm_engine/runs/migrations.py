"""The database schema, as named migrations: each is applied once, in one transaction with its record."""

from pathlib import Path

from sqlite_utils import Database, Migrations

from icm_engine.core.errors import StoreError
from icm_engine.runs.sql_views import ENDS, HAND, JOBS, LISTED, OF_EXPERIMENT, PARTS, RUNS, VIEWS

migrations = Migrations("icm")
USER_VERSION = 0  # of the file's header: a format that older programs must not even read would have another


@migrations()
def m001_first(db: Database) -> None:
    """Data sets with gold and human labels apart; runs, events, commands, leases."""
    db.table("datasets").create(
        {"name": str, "task": str, "source": str, "columns": str, "notes": str, "created": float},
        pk="name",
    )
    example_key = ("dataset", "position")
    db.table("examples").create(
        {
            "dataset": str, "position": int, "id": str, "fields": str, "consistency_group": str, "answer": str,
            "twin_of": str, "input": str,
        },
        pk=example_key,
        not_null={"id", "fields", "consistency_group"},
    )  # fmt: skip
    db.table("examples").create_index(["dataset", "id"], unique=True)
    db.table("gold").create({"dataset": str, "example": str, "label": str}, pk=("dataset", "example"))
    db.table("human").create(
        {"dataset": str, "example": str, "source": str, "label": str}, pk=("dataset", "example", "source")
    )
    db.table("runs").create({"name": str, "spec": str, "created": float}, pk="name")
    db.table("events").create(
        {"run": str, "number": int, "kind": str, "time": float, "seconds": float, "body": str},
        pk=("run", "number"),
        not_null={"kind", "time", "body"},
    )
    db.table("commands").create(
        {"id": int, "token": str, "run": str, "verb": str, "steps": int, "created": float, "applied": int}, pk="id"
    )
    db.table("commands").create_index(["token"], unique=True)
    db.table("leases").create(
        {
            "run": str, "token": str, "pid": int, "pid_started": float, "host": str, "heartbeat": float,
            "ready": int, "log": str,
        },
        pk="run",
    )  # fmt: skip


@migrations()
def m002_counts(db: Database) -> None:
    """What a list of data sets shows is stored, not counted again; the last example of a group is found at once."""
    for column in ("examples", "consistency_groups", "gold", "human"):
        db.execute(f"alter table datasets add column {column} integer not null default 0")
    db.table("examples").create_index(["dataset", "consistency_group", "position"])
    db.table("gold").create_index(["dataset", "label"])
    db.execute(
        """
        update datasets set
            examples = (select count(*) from examples where dataset = datasets.name),
            consistency_groups = (select count(distinct consistency_group) from examples where dataset = datasets.name),
            gold = (select count(*) from gold where dataset = datasets.name),
            human = (select count(*) from human where dataset = datasets.name)
        """
    )


@migrations()
def m003_views(db: Database) -> None:
    """Read-only views for notebooks and other tools; gold and human labels in views of their own."""
    for name, query in VIEWS.items():
        db.create_view(name, query)


@migrations()
def m004_jobs(db: Database) -> None:
    """Jobs: what takes long and is not a search; their events and leases stand among those of the runs."""
    db.table("jobs").create({"name": str, "kind": str, "spec": str, "created": float}, pk="name")


@migrations()
def m005_job_view(db: Database) -> None:
    """The read-only view of jobs."""
    db.create_view("v_jobs", JOBS)


@migrations()
def m006_hand(db: Database) -> None:
    """Commands carry what a person put in; snapshots for time travel; events are found by kind; views see the hand."""
    for name in ("v_labels", "v_flips", "v_runs", "v_commands"):
        db.execute(f"drop view {name}")
    db.execute("alter table commands add column body text not null default '{}'")
    db.table("snapshots").create({"run": str, "number": int, "body": str}, pk=("run", "number"), not_null={"body"})
    db.table("events").create_index(["run", "kind", "number"])
    for name in ("v_runs", "v_flips", "v_labels", "v_commands"):
        db.create_view(name, VIEWS[name])
    db.create_view("v_hand", HAND)


@migrations()
def m007_batches(db: Database) -> None:
    """Batches: which examples each has, and how its run ended; lists of runs do not look at thousands of them."""
    db.table("parts").create(
        {"dataset": str, "examples": int, "size": int, "seed": int, "number": int, "positions": str},
        pk=("dataset", "examples", "size", "seed", "number"), not_null={"positions"},
    )  # fmt: skip
    db.table("ends").create(
        {
            "run": str, "number": int, "labelled": int, "utility": float, "inconsistency": float, "steps": int,
            "balance": str, "prompts": int, "tokens_encoded": int, "set_evaluations": int, "seconds": float,
        },
        pk="run",
    )  # fmt: skip
    db.execute(f"create index idx_runs_listed on runs ({OF_EXPERIMENT}, created) where {LISTED}")
    db.table("commands").create_index(["run", "applied"])
    for name in ("dataset", "forked_from"):
        db.execute(f"create index idx_runs_{name} on runs (json_extract(spec, '$.{name}'))")
    db.execute("drop view v_runs")
    for name, query in (("v_runs", RUNS), ("v_parts", PARTS), ("v_ends", ENDS)):
        db.create_view(name, query)


@migrations()
def m008_boots(db: Database) -> None:
    """A lease names the boot that its process is of: after a restart, pid and start may be another program's."""
    db.execute("alter table leases add column boot text not null default ''")


@migrations()
def m009_lease_file(db: Database) -> None:
    """A lease names the file that it was taken in: in a copy of the database, its holder works on another file."""
    db.execute("alter table leases add column file text not null default ''")


def require_known(db: Database, path: Path) -> None:
    """Raise StoreError for another program's database, and for one that a newer version wrote. Changes nothing."""
    tables = [name for name in db.table_names() if not name.startswith("sqlite_")]
    if tables and not migrations.applied(db):
        raise StoreError(
            f"database {path} is another program's (it has the table {tables[0]!r}), nothing was changed: use another "
            "file (--db)"
        )
    version = db.execute("pragma user_version").fetchone()[0]
    if version != USER_VERSION or (unknown := _unknown(db)):
        what = f"the version {version}" if version != USER_VERSION else f"the migration {unknown[-1]!r}"
        raise StoreError(
            f"database {path} has {what}, which this program does not know, nothing was changed: it was written by a "
            "newer version; use that one, or another database (--db)"
        )


def migrate(db: Database, path: Path) -> None:
    """Bring the database to this program's schema. Raises StoreError as `require_known` does."""
    if not migrations.pending(db):
        return
    with db.conn:
        db.conn.execute("BEGIN IMMEDIATE")  # two processes may open a new database at once
        require_known(db, path)
        migrations.apply(db)


def _unknown(db: Database) -> list[str]:
    known = {migration.name for migration in migrations._migrations}  # the library has no public list
    return sorted({migration.name for migration in migrations.applied(db)} - known)
