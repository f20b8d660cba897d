"""What every reader gives: column names, and rows of text cells that can be read more than once.

Rows are counted from 1 without a header; a message names the row and, where it helps, the line of the file.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from icm_engine.core.errors import ImportRefused

# control characters but tab and line ends, marks of direction, and the byte order mark amid a text
STRANGE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)


class NoText(str):
    """A list, an object or bytes in a cell, as text: it is kept beside its example, but no field can be one."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One row: where it stands in the file ("row 3 (line 7)"), and its cells by column; a missing one is empty."""

    where: str
    cells: Mapping[str, str]


class RowSource(Protocol):
    """A file, open for reading: nothing of it is kept in memory but the rows being looked at.

    `kind` is csv, json, jsonl, parquet or arrow; `total` is the number of rows, None until it is known;
    `notes` are sentences about how the file was read, as far as it was.
    """

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def total(self) -> int | None: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The column names; for JSON, those of the whole file, which costs a pass over it."""
        ...

    def records(self) -> Iterator[Record]:
        """Go through the rows from the first one. Raises ImportRefused with row and column."""
        ...

    def head(self, rows: int) -> tuple[tuple[str, ...], list[Record]]:
        """Return the columns and records of the first rows, reading no more than these."""
        ...


def storable(text: str) -> bool:
    """Say whether UTF-8 can hold the text: no NUL, no half of a surrogate pair."""
    if text.isascii():
        return "\0" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def strange(text: str) -> bool:
    """Say whether the text has characters that nobody sees: controls, or marks that change its direction."""
    return not text.isprintable() and STRANGE.search(text) is not None


def check_cell(text: str, name: str, where: str, column: str) -> None:
    """Raise ImportRefused for a cell that cannot be stored."""
    if "\0" in text:
        refuse(name, where, column, "a NUL character", "remove it, or name the file's encoding (--encoding)")
    if not storable(text):
        refuse(name, where, column, "a character that UTF-8 text cannot have", "remove it")


def check_columns(columns: Sequence[str], name: str) -> None:
    """Raise ImportRefused for column names that are the same or cannot be stored."""
    seen: set[str] = set()
    for column in columns:
        if column in seen:
            raise ImportRefused(f"{name}: the header has column {column!r} twice: rename one")
        if not storable(column):
            raise ImportRefused(f"{name}: column {column!a} has a character that UTF-8 text cannot have: rename it")
        seen.add(column)


def refuse(name: str, where: str, column: str, found: str, remedy: str) -> NoReturn:
    """Raise ImportRefused about one cell: file, row, column, what it has, and the remedy."""
    raise ImportRefused(f"{name}: {where}, column {column!r} has {found}: {remedy}")


class RestoredSource:
    """A source whose cells lose one leading apostrophe; see `RowSource`.

    The export puts one before every text cell that begins with an apostrophe, so none here is somebody's own.
    """

    def __init__(self, source: RowSource) -> None:
        self.source, self.name, self.kind = source, source.name, source.kind
        self.columns = _without(source.columns)

    @property
    def notes(self) -> tuple[str, ...]:
        return self.source.notes

    @property
    def total(self) -> int | None:
        return self.source.total

    def records(self) -> Iterator[Record]:
        return map(_restored, self.source.records())

    def head(self, rows: int) -> tuple[tuple[str, ...], list[Record]]:
        columns, records = self.source.head(rows)
        return _without(columns), [_restored(record) for record in records]


def _without(columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(column.removeprefix("'") for column in columns)


def _restored(record: Record) -> Record:
    return Record(record.where, {c.removeprefix("'"): text.removeprefix("'") for c, text in record.cells.items()})
