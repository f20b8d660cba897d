"""A file beside the database that an import fills first, so that the database is held for the last moment only.

Running searches write to the same database: an import that held it while it reads a large file would stop them.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from icm_engine.core.errors import StoreError
from icm_engine.data.building import Row
from icm_engine.data.gold import count_labels
from icm_engine.runs.datasets import Dataset, example_row, insert_info
from icm_engine.runs.leftovers import unfinished
from icm_engine.runs.store import Store

BATCH = 2000  # rows written at once
CACHE = 96 * 1024  # KiB the database may keep of its indexes while a data set is copied in

_ROOM = "free some space there, and see that this user can write there"
_TABLES = """
pragma journal_mode = off;
pragma synchronous = off;
create table examples (position integer primary key, id, fields, consistency_group, answer, twin_of, input);
create table gold (position integer primary key, label);
create table human (position integer, source, label);
begin;
"""
_COPY = (
    "insert into main.examples (dataset, position, id, fields, consistency_group, answer, twin_of, input) "
    "select ?, position, id, fields, consistency_group, answer, twin_of, input from staged.examples order by position",
    # in the order of their keys: a tree that grows at its end is written once
    "insert into main.gold (dataset, example, label) "
    "select ?, id, label from staged.gold join staged.examples using (position) order by id",
    "insert into main.human (dataset, example, source, label) "
    "select ?, id, source, label from staged.human join staged.examples using (position) order by id, source",
)


def aside(store: Store) -> Path:
    """Return what the folders of imports are named after."""
    return store.path.parent / "import"


class Staging:
    """The rows of one import before they are in the database; deleted when it ends, however it ends."""

    def __init__(self, store: Store) -> None:
        self.store, self.count = store, 0
        self._directory = unfinished(aside(store))
        try:
            self._directory.mkdir()
        except OSError as error:
            raise StoreError(
                f"folder {store.path.parent} cannot take the rows of an import ({error}): {_ROOM}"
            ) from None
        self._path = self._directory / "rows.db"
        self._db = sqlite3.connect(self._path, isolation_level=None)
        try:
            self._db.executescript(_TABLES)
        except sqlite3.Error as error:
            self.__exit__(type(error), error, None)
        self._waiting: list[Row] = []

    def __enter__(self) -> "Staging":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._db.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"database {self.store.path}: the import cannot be stored ({error}): {_ROOM}")

    def add(self, row: Row) -> None:
        """Take the next row."""
        self._waiting.append(row)
        self.count += 1
        if len(self._waiting) >= BATCH:
            self._flush()

    def id_of(self, position: int) -> str:
        """Return the id of a row that was added."""
        flushed = self.count - len(self._waiting)
        if position >= flushed:
            return self._waiting[position - flushed].example.id
        return str(self._db.execute("select id from examples where position = ?", [position]).fetchone()[0])

    @contextmanager
    def moved_into(self, dataset: Dataset) -> Iterator[int]:
        """Put everything into the database in one transaction, and give the number of groups within it.

        `dataset` says what it is; the examples are those added here. Raises StoreError.
        """
        self._flush()
        self._db.execute("commit")
        db, conn = self.store.db, self.store.db.conn
        with self._attached(), self.store.transaction():
            insert_info(db, dataset, self.count, 0)
            for statement in _COPY:
                conn.execute(statement, [dataset.name])
            query = "select count(distinct consistency_group) from examples where dataset = ?"
            groups = int(conn.execute(query, [dataset.name]).fetchone()[0])
            conn.execute("update datasets set consistency_groups = ? where name = ?", [groups, dataset.name])
            count_labels(self.store, dataset.name)
            yield groups

    def _flush(self) -> None:
        rows, first = self._waiting, self.count - len(self._waiting)
        numbered = list(enumerate(rows, first))
        self._db.executemany(
            "insert into examples values (?, ?, ?, ?, ?, ?, ?)",
            ((k, *example_row(row.example, row.inputs)) for k, row in numbered),
        )
        gold = ((k, row.gold) for k, row in numbered if row.gold is not None)
        self._db.executemany("insert into gold values (?, ?)", gold)
        human = ((k, source, label) for k, row in numbered for source, label in row.human.items())
        self._db.executemany("insert into human values (?, ?, ?)", human)
        self._waiting = []

    @contextmanager
    def _attached(self) -> Iterator[None]:
        """Let the database see the staged rows, with room for the indexes that grow in no order."""
        conn = self.store.db.conn
        conn.execute("attach database ? as staged", [str(self._path)])
        before = conn.execute("pragma main.cache_size").fetchone()[0]
        conn.execute(f"pragma main.cache_size = -{CACHE}")
        try:
            yield
        finally:
            conn.execute(f"pragma main.cache_size = {before}")
            conn.execute("detach database staged")
