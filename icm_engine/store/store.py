"""SQLite through sqlite-utils: data sets, and runs as append-only tables of events read after a cursor.

Gold and human labels have tables of their own, which nothing in this file reads; see `data.gold`.
"""

import itertools
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from platformdirs import user_data_path

from icm_engine.core.batching import BatchPart
from icm_engine.core.errors import NotFound, RunBusy, StoreError
from icm_engine.core.labeling import Example
from icm_engine.core.text import expanded
from icm_engine.store import datasets
from icm_engine.store.bodies import (
    AuditBody,
    BreakpointsBody,
    ControlBody,
    FailedBody,
    FinishedBody,
    FoldBody,
    ForkedBody,
    HandBody,
    InitialBody,
    LabelledBody,
    RefreshedBody,
    RefusedBody,
    RetriedBody,
    RetunedBody,
    RoundOfFoldsBody,
    ScoredBody,
    ShrunkBody,
    StepBody,
)
from icm_engine.store.database import DAMAGED, identity, not_found, opening, require_identity, stored_json
from icm_engine.store.datasets import Dataset, DatasetInfo, Wanted, read_part
from icm_engine.store.events import Json, RunSpec

if TYPE_CHECKING:
    from sqlite_utils import Database

OF_A_RUN = (  # tables with rows of one run or job, and the column with its name
    ("events", "run"), ("snapshots", "run"), ("commands", "run"), ("leases", "run"), ("ends", "run"),
    ("runs", "name"), ("jobs", "name"),
)  # fmt: skip
_CREATED = "select created from runs where name = :name union all select created from jobs where name = :name"
BUSY_TIMEOUT = 120.0  # seconds a writer waits for another, which may be copying a million rows


def default_path() -> Path:
    """Return the database: the environment variable ICM_DB, else icm.db in the user's data folder.

    The folder is ~/.local/share/icm-workbench on Linux, or below an absolute XDG_DATA_HOME.
    """
    if given := os.environ.get("ICM_DB"):
        return expanded(given)
    return user_data_path("icm-workbench", appauthor=False) / "icm.db"


@dataclass(frozen=True, slots=True)
class Event:
    """One appended event of a run; `number` counts from 1 within the run.

    `body` is as stored; read it through the property of the event's kind, which has its type.
    """

    number: int
    kind: str
    time: float
    seconds: float
    body: Json

    @property
    def scored(self) -> ScoredBody | None:
        """The cost of scoring; None for kinds that score nothing."""
        return cast(ScoredBody, self.body) if "usage" in self.body else None

    @property
    def initial(self) -> InitialBody:
        return cast(InitialBody, self.body)

    @property
    def labelled(self) -> LabelledBody:
        return cast(LabelledBody, self.body)

    @property
    def forked(self) -> ForkedBody:
        return cast(ForkedBody, self.body)

    @property
    def step(self) -> StepBody:
        return cast(StepBody, self.body)

    @property
    def hand(self) -> HandBody:
        return cast(HandBody, self.body)

    @property
    def retuned(self) -> RetunedBody:
        return cast(RetunedBody, self.body)

    @property
    def refreshed(self) -> RefreshedBody:
        return cast(RefreshedBody, self.body)

    @property
    def fold(self) -> FoldBody:
        return cast(FoldBody, self.body)

    @property
    def round(self) -> RoundOfFoldsBody:
        return cast(RoundOfFoldsBody, self.body)

    @property
    def control(self) -> ControlBody:
        return cast(ControlBody, self.body)

    @property
    def finished(self) -> FinishedBody:
        return cast(FinishedBody, self.body)

    @property
    def failed(self) -> FailedBody:
        return cast(FailedBody, self.body)

    @property
    def refused(self) -> RefusedBody:
        return cast(RefusedBody, self.body)

    @property
    def breakpoints(self) -> BreakpointsBody:
        return cast(BreakpointsBody, self.body)

    @property
    def audit(self) -> AuditBody:
        return cast(AuditBody, self.body)

    @property
    def retried(self) -> RetriedBody:
        return cast(RetriedBody, self.body)

    @property
    def shrunk(self) -> ShrunkBody:
        return cast(ShrunkBody, self.body)


@dataclass(frozen=True, slots=True)
class Command:
    """A person's request to a run; `applied` is the number of the event that answered it, None while pending."""

    token: str
    verb: str
    steps: int
    created: float
    applied: int | None
    body: Json = field(default_factory=dict)


class Store:
    """One database file. Every method is one transaction; `transaction` combines several."""

    db: "Database"

    def __init__(self, path: Path | str | None = None) -> None:
        from sqlite_utils import Database  # imported late: it imports pandas

        from icm_engine.store.migrations import migrate, require_known

        self.path = expanded(path) if path is not None else default_path()
        with opening(self.path, BUSY_TIMEOUT) as connection:
            self.db = Database(connection)
            require_known(self.db, self.path)
            self.db.enable_wal()
            migrate(self.db, self.path)
        self._identity = identity(self.path)

    @property
    def file(self) -> str:
        """The identity of this file, which a copy on this host does not share."""
        return "{}:{}".format(*(self._identity[0] or ("", "")))

    def again(self) -> "Store":
        """Return the same store with its own connection, for another thread."""
        return Store(self.path)

    def close(self) -> None:
        self.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; takes the write lock at once, so that what is read inside stays true until the end."""
        if self.db.conn.in_transaction:
            yield
            return
        try:
            self.db.conn.execute("BEGIN IMMEDIATE")
            require_identity(self.path, self._identity)
            yield
            self.db.conn.execute("COMMIT")
        except BaseException:
            if self.db.conn.in_transaction:
                self.db.conn.execute("ROLLBACK")
            raise

    # -- data sets

    def add_dataset(self, dataset: Dataset) -> None:
        """Store a data set. Raises StoreError if the name is taken."""
        with self.transaction():
            datasets.insert_dataset(self.db, dataset)

    def has_dataset(self, name: str) -> bool:
        return bool(self.db.execute("select 1 from datasets where name = ?", [name]).fetchone())

    def dataset_names(self) -> list[str]:
        """Return all data sets in order of import."""
        return datasets.read_names(self.db)

    def dataset_info(self, name: str) -> DatasetInfo:
        """Return a data set without its examples, in constant time. Raises NotFound."""
        return datasets.read_info(self.db, name)

    def dataset(self, name: str, wanted: Wanted = None) -> Dataset:
        """Return a data set, or the part a run takes, in file order. Raises NotFound."""
        return datasets.read_dataset(self.db, name, wanted)

    def open_dataset(self, name: str, wanted: Wanted = None, part: BatchPart | None = None) -> Dataset:
        """Return what `dataset` returns, or one batch, with rows read on access. Raises NotFound."""
        return datasets.open_dataset(self.db, self.path, name, wanted, part)

    def examples(self, name: str) -> Iterator[Example]:
        """Iterate over the examples of a data set without holding them all."""
        return (example for example, _ in datasets.read_examples(self.db, name))

    def examples_at(self, name: str, positions: Sequence[int]) -> list[Example]:
        """Return the examples at these positions of a data set, in its order."""
        return datasets.read_some(self.db, name, positions)

    def has_twins(self, name: str) -> bool:
        """Return whether any example of a data set is the swapped twin of another."""
        return datasets.has_twins(self.db, name)

    def has_answers(self, name: str) -> bool:
        """Return whether any example of a data set has a final answer."""
        return datasets.has_answers(self.db, name)

    def group_places(self, name: str, group: str, limit: int) -> list[int]:
        """Return the first positions of a consistency group in a data set, at most `limit`."""
        return datasets.read_group(self.db, name, group, limit)

    def places(self, name: str, wanted: Wanted = None, part: BatchPart | None = None) -> Sequence[int]:
        """Return the positions of what `open_dataset` returns: a range if they are the first ones. Raises NotFound."""
        places = datasets.places_of_cut(self.db, self.dataset_info(name), wanted)
        return places if part is None else read_part(self.db, name, places, part)

    def dataset_size(self, name: str, wanted: Wanted = None, part: BatchPart | None = None) -> int:
        """Return the number of examples that `open_dataset` would return, without reading them. Raises NotFound."""
        return len(self.places(name, wanted, part))

    def groups_among(self, name: str, places: Sequence[int]) -> int:
        """Return the number of consistency groups among these positions."""
        return datasets.count_groups(self.db, name, places)

    # -- runs and their events

    def add_run(self, spec: RunSpec, name: str | None = None) -> str:
        """Store a new run and return its name: the given one, or the data set and the next free number."""
        with self.transaction():
            ever = "select count(*) from (select name from runs union select name from deleted) where name like ?"
            taken = self.db.execute(ever, [f"{spec.dataset}-%"]).fetchone()[0]
            while name is None or self._run_row(name) or self._was_deleted(name):
                taken, name = taken + 1, f"{spec.dataset}-{taken + 1}"
            self.db.table("runs").insert({"name": name, "spec": json.dumps(spec.to_json()), "created": time.time()})
        return name

    def run_names(self, of_experiments: bool = True) -> list[str]:
        """Return the runs, newest first; those made by a suite come last, or not at all.

        The runs of batches are not included; see `jobs.batches`.
        """
        from icm_engine.store.migrations import LISTED, OF_EXPERIMENT

        query = (
            f"select name from runs where {LISTED} and (:all or not ({OF_EXPERIMENT})) "
            f"order by {OF_EXPERIMENT}, created desc, rowid desc"
        )
        return [row[0] for row in self.db.execute(query, {"all": of_experiments})]

    def spec(self, run: str) -> RunSpec:
        """Return the spec of a run. Raises NotFound."""
        row = self._run_row(run)
        if row is None:
            raise self._no_run(run)
        return RunSpec.from_json(stored_json(row[0], f"the spec of run {run!r}"))

    def has_run(self, run: str) -> bool:
        return self._run_row(run) is not None

    def created(self, run: str) -> float:
        """Return when a run was stored. Raises NotFound."""
        row = self.db.execute("select created from runs where name = ?", [run]).fetchone()
        if row is None:
            raise self._no_run(run)
        return float(row[0])

    def delete(self, names: Sequence[str]) -> None:
        """Delete runs and jobs with their logs; their names stay taken. `jobs.deletion` decides what may go."""
        with self.transaction():
            for name in names:
                (created,) = self.db.execute(_CREATED, {"name": name}).fetchone()
                for table, column in OF_A_RUN:
                    self.db.execute(f"delete from {table} where {column} = ?", [name])
                self.db.table("deleted").insert({"name": name, "created": created, "deleted": time.time()})

    def _was_deleted(self, name: str) -> bool:
        return self.db.execute("select 1 from deleted where name = ?", [name]).fetchone() is not None

    def _no_run(self, run: str) -> NotFound | StoreError:
        if self.db.execute("select 1 from jobs where name = ? and kind = 'batches'", [run]).fetchone():
            return NotFound(f"{run!r} is a batched run: name one of its batches, such as '{run}-1'")
        if self._was_deleted(run):
            return NotFound(f"run {run!r} was deleted: `python -m icm_engine list` shows the runs there are")
        message = f"run {run!r} does not exist: `python -m icm_engine list` shows the runs there are"
        return not_found(self.db.conn, "runs", message)

    def set_max_steps(self, run: str, steps: int) -> None:
        """Resolve max_steps 0 (four times the number of examples) once the examples are known."""
        spec = self.spec(run)
        resolved = replace(spec, search=replace(spec.search, max_steps=steps))
        with self.transaction():
            self.db.table("runs").update(run, {"spec": json.dumps(resolved.to_json())})

    def _run_row(self, run: str) -> Any:
        return self.db.execute("select spec from runs where name = ?", [run]).fetchone()

    def append(
        self, run: str, kind: str, body: Mapping[str, Any], seconds: float = 0.0, lease: str | None = None
    ) -> int:
        """Append one event and return its number. With `lease`, only if that worker still holds the run."""
        with self.transaction():
            if lease is not None and self.lease_token(run) != lease:
                raise RunBusy(f"run {run!r} was taken over by another worker: this one stops, nothing was written")
            number = self.last_number(run) + 1
            text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            self.db.table("events").insert(
                {"run": run, "number": number, "kind": kind, "time": time.time(), "seconds": seconds, "body": text}
            )
        return number

    def last_number(self, run: str) -> int:
        return int(self.db.execute("select max(number) from events where run = ?", [run]).fetchone()[0] or 0)

    def read_after(self, run: str, cursor: int = 0, kinds: Sequence[str] = (), limit: int = -1) -> list[Event]:
        """Return the events of a run after the cursor, in order; all kinds unless some are named.

        With all kinds, raises StoreError for a missing event: a result computed from a log with holes would look valid,
        so labels are read from all kinds. A damaged index of kinds is not noticed here.
        """
        found = self.stored_after(run, cursor, kinds, limit)
        return found if kinds else list(_without_holes(run, found, cursor))

    def stored_after(self, run: str, cursor: int = 0, kinds: Sequence[str] = (), limit: int = -1) -> list[Event]:
        """Return the same without that check, for callers that look for missing events."""
        wanted = f"and kind in ({_marks(kinds)})" if kinds else ""
        query = f"select * from events where run = ? and number > ? {wanted} order by number limit ?"
        return [_event(row) for row in self.db.query(query, [run, cursor, *kinds, limit])]

    def read_between(self, run: str, after: int, until: int, kinds: Sequence[str] = ()) -> Iterator[Event]:
        """Iterate over the events after `after` up to and including `until`, in order; kinds as in `read_after`."""
        wanted = f"and kind in ({_marks(kinds)})" if kinds else ""
        query = f"select * from events where run = ? and number > ? and number <= ? {wanted} order by number"
        found = map(_event, self.db.query(query, [run, after, until, *kinds]))
        return found if kinds else _without_holes(run, found, after)

    def event(self, run: str, number: int) -> Event:
        """Return one event. Raises NotFound."""
        found = self.read_after(run, number - 1, limit=1)
        if not found or found[0].number != number:
            raise NotFound(f"run {run!r} has no event {number}: it has {self.last_number(run)}")
        return found[0]

    def damage(self) -> list[str]:
        """Return what SQLite's integrity check finds; it reads the whole file but cannot see changes inside a row."""
        found = [str(row[0]) for row in self.db.execute("pragma integrity_check(10)")]
        return [] if found == ["ok"] else found

    def count_after(self, run: str, cursor: int, kinds: Sequence[str]) -> int:
        """Return the number of events of these kinds after the cursor, without reading them."""
        query = f"select count(*) from events where run = ? and number > ? and kind in ({_marks(kinds)})"
        return int(self.db.execute(query, [run, cursor, *kinds]).fetchone()[0])

    def snapshot(self, run: str, number: int) -> tuple[int, Json] | None:
        """Return the latest snapshot of a run up to this event, with the event it followed."""
        query = "select number, body from snapshots where run = ? and number <= ? order by number desc limit 1"
        row = self.db.execute(query, [run, number]).fetchone()
        return (row[0], stored_json(row[1], f"the state of run {run!r} after event {row[0]}")) if row else None

    def keep_snapshot(self, run: str, number: int, state: Mapping[str, Any]) -> None:
        """Store the state after an event, so that opening a run near it need not replay everything."""
        row = {"run": run, "number": number, "body": json.dumps(state, ensure_ascii=False, separators=(",", ":"))}
        with self.transaction():
            self.db.table("snapshots").insert(row, replace=True)

    def last_event(self, run: str, kinds: Sequence[str] = ()) -> Event | None:
        """Return the newest event, or the newest of these kinds, found by an index."""
        newest = "select max(number) from events where run = ? and kind = ?"
        found = (
            [self.db.execute(newest, [run, kind]).fetchone()[0] for kind in kinds] if kinds else [self.last_number(run)]
        )
        number = max((number for number in found if number), default=None)
        return self.event(run, number) if number else None

    # -- commands: from a person to the worker

    def send(self, run: str, verb: str, token: str, steps: int = 0, body: Json | None = None) -> None:
        """Send a command to a run; the same token twice is one command."""
        self.spec(run)
        row = {"token": token, "run": run, "verb": verb, "steps": steps, "created": time.time(), "applied": None}
        with self.transaction():
            self.db.table("commands").insert({**row, "body": json.dumps(body or {})}, ignore=True)

    def pending(self, run: str) -> list[Command]:
        """Return the commands no event has answered yet, oldest first."""
        query = (
            "select token, verb, steps, created, applied, body from commands "
            "where run = ? and applied is null order by id"
        )
        return [_command(row) for row in self.db.query(query, [run])]

    def answer(
        self,
        run: str,
        commands: Sequence[Command],
        kind: str,
        body: Mapping[str, Any],
        lease: str | None,
        seconds: float = 0.0,
    ) -> int:
        """Append the event that answers these commands together with their receipts."""
        with self.transaction():
            number = self.append(run, kind, body, seconds, lease)
            for command in commands:
                self.db.execute("update commands set applied = ? where token = ?", [number, command.token])
        return number

    # -- leases: one worker a run; `runs.lease` decides who may take one

    def lease_row(self, run: str) -> Json | None:
        """Return the lease of a run; None without one, or if it was taken in the file this one was copied from.

        The same file may have another identity on another host.
        """
        row = next(iter(self.db.query("select * from leases where run = ?", [run])), None)
        copied = row is not None and row["host"] == socket.gethostname() and row["file"] not in ("", self.file)
        return None if copied else row

    def lease_token(self, run: str) -> str | None:
        row = self.lease_row(run)
        return row["token"] if row else None

    def put_lease(self, row: Json) -> None:
        with self.transaction():
            self.db.table("leases").insert({**row, "file": self.file}, replace=True)

    def update_lease(self, run: str, token: str, **values: object) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        with self.transaction():
            self.db.execute(f"update leases set {names} where run = ? and token = ?", [*values.values(), run, token])

    def drop_lease(self, run: str, token: str) -> None:
        with self.transaction():
            self.db.execute("delete from leases where run = ? and token = ?", [run, token])


def _marks(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))


def _command(row: Json) -> Command:
    """A command as any program may have written it; fields of a wrong type are empty, for a worker to refuse."""
    try:
        body = json.loads(row["body"])
    except (ValueError, TypeError, RecursionError):
        body = {}
    created = row["created"] if isinstance(row["created"], float | int) else 0.0
    body = body if isinstance(body, dict) else {}
    return Command(str(row["token"]), str(row["verb"]), row["steps"], created, row["applied"], body)


def _without_holes(run: str, events: Iterable[Event], cursor: int) -> Iterator[Event]:
    """Yield these events, which follow the cursor. Raises StoreError for a missing number."""
    for event, number in zip(events, itertools.count(max(0, cursor) + 1)):
        if event.number != number:
            raise StoreError(f"run {run!r} has no event {number}, but has event {event.number}: {DAMAGED}")
        yield event


def _event(row: Json) -> Event:
    body = stored_json(row["body"], f"event {row['number']} of {row['run']!r}")
    return Event(row["number"], row["kind"], row["time"], row["seconds"], body)
