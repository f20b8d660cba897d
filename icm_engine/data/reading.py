"""From the bytes of a CSV, JSON or JSONL file to a table of text cells; anything else is refused.

Rows are counted from 1 without the header; a message names the row and, where it helps, the line of the file.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from icm_engine.core.errors import ImportRefused

LARGEST_CELL = 2**31 - 1  # the csv module stops at 131,072 characters unless told otherwise
KINDS = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@dataclass(frozen=True, slots=True)
class Record:
    """One row: where it stands in the file ("row 3 (line 7)"), and its cells by column; a missing one is empty."""

    where: str
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """A whole file: its column names in order and its rows; `kind` is csv, json or jsonl."""

    columns: tuple[str, ...]
    records: tuple[Record, ...]
    kind: str


class _Object(list[tuple[str, Any]]):
    """A JSON object as its pairs: a key that appears twice is seen, not overwritten."""


def read_table(path: Path, content: bytes | None = None) -> Table:
    """Read a file whole, or `content` in its place. Raises ImportRefused with row and column."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise ImportRefused(f"{path.name}: the ending {path.suffix!r} is not one of {', '.join(KINDS)}: save it as one")
    text = _decode(_read(path) if content is None else content, path.name)
    rows = {"csv": _csv_rows, "json": _json_rows, "jsonl": _jsonl_rows}[kind](text, path.name)
    columns, records = rows
    if not records:
        raise ImportRefused(f"{path.name}: the file has no rows: nothing was imported")
    _check_columns(columns, path.name)
    return Table(columns, records, kind)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImportRefused(f"{path}: the file cannot be read ({error.strerror}): check its name") from None


def _decode(content: bytes, name: str) -> str:
    """The text of UTF-8 bytes, with or without a byte order mark."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ImportRefused(f"{name}: the file is UTF-16: save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ImportRefused(
            f"{name}: line {line} has the byte 0x{content[error.start]:02x}, which is not UTF-8: save the file as UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ImportRefused(f"{name}: line {line} has a NUL character: remove it, or save the file as UTF-8")
    return text


def _csv_rows(text: str, name: str) -> tuple[tuple[str, ...], tuple[Record, ...]]:
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_CELL))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise ImportRefused(
            f"{name}: line {reader.line_num} is not valid CSV ({error}): check its quotation marks"
        ) from None
    if not rows:
        raise ImportRefused(f"{name}: the file is empty: nothing was imported")
    columns = tuple(rows[0][1])
    _check_columns(columns, name)
    return columns, tuple(_csv_record(columns, k, line, row, name) for k, (line, row) in enumerate(rows[1:], 1))


def _csv_record(columns: Sequence[str], number: int, line: int, row: Sequence[str], name: str) -> Record:
    where = f"row {number} (line {line})"
    if len(row) != len(columns):
        raise ImportRefused(
            f"{name}: {where} has {len(row)} cells, the header has {len(columns)}: quote cells that contain commas"
        )
    return Record(where, dict(zip(columns, row, strict=True)))


def _json_rows(text: str, name: str) -> tuple[tuple[str, ...], tuple[Record, ...]]:
    value = _parse(text, name, 0)
    if isinstance(value, _Object) or not isinstance(value, list):
        raise ImportRefused(f"{name}: the file is not an array of objects: write [{{...}}, ...], or name it .jsonl")
    return _records(((f"row {k}", row) for k, row in enumerate(value, 1)), name)


def _jsonl_rows(text: str, name: str) -> tuple[tuple[str, ...], tuple[Record, ...]]:
    lines = [(k, line) for k, line in enumerate(text.split("\n"), 1) if line.strip()]
    rows = ((f"row {n} (line {k})", _parse(line, name, k)) for n, (k, line) in enumerate(lines, 1))
    return _records(rows, name)


def _parse(text: str, name: str, line: int) -> Any:
    """The JSON value, its numbers as they are written; pandas writes NaN for a missing value, so that is one."""
    try:
        return json.loads(
            text, object_pairs_hook=_Object, parse_float=str, parse_int=str,
            parse_constant=lambda constant: None if constant == "NaN" else constant,
        )  # fmt: skip
    except json.JSONDecodeError as error:
        raise ImportRefused(
            f"{name}: line {line or error.lineno} is not valid JSON ({error.msg}, character {error.colno}): correct it"
        ) from None
    except RecursionError:
        raise ImportRefused(f"{name}: line {line or 1} is nested too deeply: use plain values") from None


def _records(rows: Iterator[tuple[str, Any]], name: str) -> tuple[tuple[str, ...], tuple[Record, ...]]:
    """Objects as records; the columns are all keys in the order in which they first appear."""
    objects = [(where, _object(row, where, name)) for where, row in rows]
    columns = tuple(dict.fromkeys(column for _, cells in objects for column in cells))
    return columns, tuple(Record(where, {c: cells.get(c, "") for c in columns}) for where, cells in objects)


def _object(row: Any, where: str, name: str) -> dict[str, str]:
    if not isinstance(row, _Object):
        raise ImportRefused(f'{name}: {where} is not an object: write {{"column": value, ...}}')
    cells: dict[str, str] = {}
    for column, value in row:
        if column in cells:
            raise ImportRefused(f"{name}: {where} has column {column!r} twice: keep one")
        cells[column] = _cell(value, where, column, name)
    return cells


def _cell(value: Any, where: str, column: str, name: str) -> str:
    if isinstance(value, list):
        refuse(name, where, column, "a nested value", "use text, a number, true or false")
    text = "" if value is None else str(value)
    if not storable(text):
        refuse(name, where, column, "a character that UTF-8 text cannot have", "remove it")
    return text


def storable(text: str) -> bool:
    """Say whether UTF-8 can hold the text: no NUL, no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _check_columns(columns: Sequence[str], name: str) -> None:
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
