"""What every reader provides: column names, and rows of text cells that can be read repeatedly.

Rows are counted from 1 without a header; a message names the row and, where it helps, the line of the file.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from icm_engine.core.errors import ImportRefused

# control characters except tab and line ends, direction marks, and a byte order mark inside a text
STRANGE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)


class NoText(str):
    """A list, object or bytes in a cell, as text: kept with its example, but never used as a field."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One row: its position in the file ("row 3 (line 7)"), and its cells by column; missing ones are empty."""

    where: str
    cells: Mapping[str, str]


class RowSource(Protocol):
    """An open file; only the rows being read are in memory.

    `kind` is csv, json, jsonl, parquet or arrow; `total` is the number of rows, None if unknown; `notes` are sentences
    about how the file has been read so far.
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
        """The column names; for JSON those of the whole file, which takes a pass over it."""
        ...

    def records(self) -> Iterator[Record]:
        """Yield the rows from the first one. Raises ImportRefused with row and column."""
        ...

    def head(self, rows: int) -> tuple[tuple[str, ...], list[Record]]:
        """Return the columns and records of the first rows, reading no more."""
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
    """Say whether the text has invisible characters: controls, or marks that change its direction."""
    return not text.isprintable() and STRANGE.search(text) is not None


def check_cell(text: str, name: str, where: str, column: str) -> None:
    """Raise ImportRefused for a cell that cannot be stored."""
    if "\0" in text:
        refuse(name, where, column, "a NUL character", "remove it, or name the file's encoding (--encoding)")
    if not storable(text):
        refuse(name, where, column, "a character that UTF-8 text cannot have", "remove it")


def check_columns(columns: Sequence[str], name: str) -> None:
    """Raise ImportRefused for column names that repeat or cannot be stored."""
    seen: set[str] = set()
    for column in columns:
        if column in seen:
            raise ImportRefused(f"{name}: the header has column {column!r} twice: rename one")
        if not storable(column):
            raise ImportRefused(f"{name}: column {column!a} has a character that UTF-8 text cannot have: rename it")
        seen.add(column)


def refuse(name: str, where: str, column: str, found: str, remedy: str) -> NoReturn:
    """Raise ImportRefused about one cell: file, row, column, content, remedy."""
    raise ImportRefused(f"{name}: {where}, column {column!r} has {found}: {remedy}")


class RestoredSource:
    """A source whose cells lose one leading apostrophe; see `RowSource`.

    Our export adds one to every text cell that begins with an apostrophe, so none of these is part of the data.
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
