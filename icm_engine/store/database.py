"""A connection to SQLite. File errors become StoreErrors with a remedy.

Programming errors (a closed connection, a wrong statement) keep their types.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from icm_engine.core.errors import NotFound, StoreError

DAMAGED = "the file is damaged: restore a backup, or start with another file (--db)"
WRITABLE = (
    "see that the file and its folder can be read and written by this user, and the files -wal and -shm beside it"
)
_REMEDIES = {  # by SQLite's primary result code
    sqlite3.SQLITE_FULL: "free some space on its disk",
    sqlite3.SQLITE_IOERR: "check its disk: the space left, the limit on the size of files, its health",
    sqlite3.SQLITE_READONLY: WRITABLE,
    sqlite3.SQLITE_CANTOPEN: WRITABLE,
    sqlite3.SQLITE_PERM: WRITABLE,
    sqlite3.SQLITE_BUSY: "another program holds it: end that one, or let it finish",
    sqlite3.SQLITE_LOCKED: "another program holds it: end that one, or let it finish",
    sqlite3.SQLITE_PROTOCOL: "another program holds it: end that one, or let it finish",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: "the file is not a database: restore a backup, or use another file (--db)",
    sqlite3.SQLITE_ERROR: "the file does not have what this program keeps in it: use another one (--db)",
}

_NEVER = object()  # what no row is


def store_error(error: sqlite3.Error, path: Path | str, doing: str = "used") -> StoreError:
    """Return a SQLite error as a StoreError with the file and the remedy; `doing` is the failed operation."""
    remedy = _REMEDIES.get(_primary(error), DAMAGED)
    return StoreError(f"database {path} cannot be {doing} ({error}): {remedy}; nothing was changed")


def not_found(connection: Any, table: str, message: str) -> NotFound | StoreError:
    """Return the error for a row that was not found: it does not exist, or the table's index has lost it."""
    problem = connection.execute(f"pragma integrity_check({table})").fetchone()[0]
    return NotFound(message) if problem == "ok" else store_error(sqlite3.DatabaseError(problem), connection.path)


def _primary(error: sqlite3.Error) -> int:
    """SQLite's primary result code; an error without one concerns invalid text."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF


def stored_json(text: object, what: str) -> Any:
    """Return the JSON in a row. Raises StoreError, naming the row, if it is invalid."""
    try:
        return json.loads(text)  # type: ignore[arg-type]  # a damaged row may hold anything
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(f"{what} cannot be read from the database ({error}): {DAMAGED}") from None


@contextmanager
def store_errors(path: Path | str, doing: str = "used") -> Iterator[None]:
    """Turn SQLite errors that a file can cause into StoreError; errors of a wrong statement pass through."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.Error as error:
        if _primary(error) == sqlite3.SQLITE_ERROR and not str(error).startswith("no such "):
            raise
        raise store_error(error, path, doing) from error


class _Cursor(sqlite3.Cursor):
    """A cursor that raises StoreError, also while fetching rows later."""

    connection: "Connection"

    def execute(self, sql: str, parameters: Any = ()) -> Self:
        with store_errors(self.connection.path, self.connection.doing):
            return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any]) -> Self:
        with store_errors(self.connection.path, self.connection.doing):
            return super().executemany(sql, parameters)

    def executescript(self, sql: str) -> sqlite3.Cursor:
        with store_errors(self.connection.path, self.connection.doing):
            return super().executescript(sql)

    def fetchone(self) -> Any:
        with store_errors(self.connection.path, self.connection.doing):
            return super().fetchone()

    def fetchall(self) -> list[Any]:
        with store_errors(self.connection.path, self.connection.doing):
            return super().fetchall()

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # one call of ours for all rows, not one for each
        with store_errors(self.connection.path, self.connection.doing):
            yield from iter(super().__next__, _NEVER)

    def __next__(self) -> Any:
        with store_errors(self.connection.path, self.connection.doing):
            return super().__next__()


class Connection(sqlite3.Connection):
    """A connection whose cursors raise StoreError; `path` and `doing` appear in the messages.

    Cursors come from `cursor` alone, which forgets discarded ones; sqlite3 would keep references to them.
    """

    path: Path
    doing = "opened"

    def cursor(self, factory: Any = None) -> _Cursor:  # type: ignore[override]  # one kind, whatever is asked for
        return super().cursor(_Cursor)

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any]) -> sqlite3.Cursor:
        return self.cursor().executemany(sql, parameters)

    def executescript(self, sql: str) -> sqlite3.Cursor:
        return self.cursor().executescript(sql)


@contextmanager
def opening(path: Path, timeout: float) -> Iterator[Connection]:
    """Open a database, creating it and its folder if necessary, and prepare it; closed again on failure.

    Writers wait for each other up to `timeout` seconds. A commit is durable: steps could be computed again, but a
    person's requests could not.
    """
    with store_errors(path, "opened"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"database {path} cannot be opened ({error}): {WRITABLE}, or use another one (--db)"
            ) from None
        connection = sqlite3.connect(path, timeout=timeout, check_same_thread=False, factory=Connection)
        connection.path = path
        try:
            connection.execute("pragma synchronous = full")
            yield connection
        except BaseException:
            connection.close()
            raise
        connection.doing = "used"


Identity = tuple[tuple[int, int] | None, ...]


def identity(path: Path) -> Identity:
    """Return the identity of a database's files: the main file and its write-ahead log."""
    return tuple(_inode(file) for file in (str(path), f"{path}-wal"))


def require_identity(path: Path, known: Identity) -> None:
    """Raise StoreError if a file of an open database was removed or replaced, since writes would be lost."""
    now = identity(path)
    if gone := [f"{path}{end}" for end, old, new in zip(("", "-wal"), known, now, strict=True) if old and old != new]:
        raise StoreError(
            f"{gone[0]} was removed or replaced while it was in use: nothing more is written; put the file back where "
            f"it was (what was written last may be in {path}-wal, which belongs to it)"
        )


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
