"""JSON and JSONL: a sequence of objects, their values as text exactly as written.

The columns are all keys of the whole file in order of first appearance, so finding them takes a pass over it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from typing import Any, TextIO

from icm_engine.core.errors import ImportRefused
from icm_engine.data.readers.annotated import Annotated, annotated
from icm_engine.data.readers.encoding import TextFile
from icm_engine.data.readers.json_layout import (
    DECODER,
    InvalidJson,
    JsonObject,
    JsonWalk,
    layout_of,
    no_rows,
    too_deep,
    written,
)
from icm_engine.data.readers.source import NoText, Record, check_cell, check_columns

Item = tuple[str, Any]  # its position, and its value


class JsonSource:
    """A file of JSON objects in any `Layout`; see `RowSource`."""

    def __init__(self, file: TextFile, lines: bool, split: str | None = None) -> None:
        self.file, self.name = file, file.name
        self.total: int | None = None
        self._columns: tuple[str, ...] | None = None
        self.named_lines = lines
        self.layout = layout_of(file, lines, split)
        self.kind = "jsonl" if self.layout.form == "lines" else "json"
        self._annotated: Annotated | None = annotated(self._items)

    @property
    def notes(self) -> tuple[str, ...]:
        """How the rows are arranged, and which program wrote them."""
        return (*self.layout.notes, *(self._annotated.notes if self._annotated else ()))

    @property
    def columns(self) -> tuple[str, ...]:
        """The keys of all objects; the first use reads the whole file."""
        if self._columns is None:
            found: dict[str, None] = {}
            total = 0
            for _, cells in self._objects():
                found.update(dict.fromkeys(cells))
                total += 1
            self._columns, self.total = tuple(found), total
            check_columns(self._columns, self.name)
        return self._columns

    def records(self) -> Iterator[Record]:
        """Yield the objects."""
        columns = self.columns
        for where, cells in self._objects():
            yield Record(where, {column: cells.get(column, "") for column in columns})

    def head(self, rows: int) -> tuple[tuple[str, ...], list[Record]]:
        """Return the first objects and their columns."""
        first = list(islice(self._objects(), rows))
        columns = tuple(dict.fromkeys(column for _, cells in first for column in cells))
        check_columns(columns, self.name)
        return columns, [Record(where, {c: cells.get(c, "") for c in columns}) for where, cells in first]

    def _objects(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        items = self._annotated.rows() if self._annotated else self._items()
        for where, value in items:
            yield where, self._object(value, where)

    # -- rows in file order

    def _items(self) -> Iterator[Item]:
        if self.layout.form == "columns":
            yield from self._by_column()
            return
        form = {"lines": self._lines, "array": self._array, "key": self._under_key, "numbers": self._numbered}
        with self.file.open(newline="\n") as text:
            yield from form[self.layout.form](text)

    def _lines(self, text: TextIO) -> Iterator[Item]:
        number = 0
        for line, content in enumerate(text, 1):
            if content.strip():
                number += 1
                yield f"row {number} (line {line})", self._parsed(content, line)

    def _parsed(self, content: str, line: int) -> Any:
        try:
            return DECODER.decode(content)
        except json.JSONDecodeError as error:
            if line == 1 and not self.named_lines:
                raise no_rows(self.name) from None
            raise InvalidJson(self.name, line, error.colno, error.msg) from None
        except RecursionError:
            raise too_deep(self.name, f"line {line}") from None

    def _array(self, text: TextIO) -> Iterator[Item]:
        """The items of an array, holding one at a time."""
        walk = JsonWalk(self.name, text)
        if walk.sign() != "[":
            raise no_rows(self.name)
        yield from self._rows(walk)
        walk.end()

    def _under_key(self, text: TextIO) -> Iterator[Item]:
        walk = JsonWalk(self.name, text)
        for key in walk.members():
            if key == self.layout.names[0]:
                yield from self._rows(walk)
            else:
                walk.skip()

    def _numbered(self, text: TextIO) -> Iterator[Item]:
        walk = JsonWalk(self.name, text)
        yield from ((f"row {number}", walk.value()) for number, _ in enumerate(walk.members(), 1))

    def _rows(self, walk: JsonWalk) -> Iterator[Item]:
        return ((f"row {number}", walk.value()) for number in walk.items())

    def _by_column(self) -> Iterator[Item]:
        """The cells of all columns in parallel: the file is opened once per column."""
        names = self.layout.names
        with ExitStack() as stack:
            columns = [self._column(stack.enter_context(self.file.open(newline="\n")), name) for name in names]
            for number, cells in enumerate(zip(*columns, strict=True), 1):
                if len({key for key, _ in cells}) > 1:
                    keys = ", ".join(key for key, _ in cells)
                    raise ImportRefused(
                        f"{self.name}: row {number} has different keys in the columns ({keys}): give all columns the "
                        "same ones in the same order"
                    )
                values = (value for _, value in cells)
                yield f"row {number}", JsonObject(zip(names, values, strict=True))

    def _column(self, text: TextIO, name: str) -> Iterator[tuple[str, Any]]:
        walk = JsonWalk(self.name, text)
        for key in walk.members():
            if key == name:
                yield from walk.entries()
                return
            walk.skip()

    # -- one object

    def _object(self, value: Any, where: str) -> dict[str, str]:
        if not isinstance(value, JsonObject):
            raise ImportRefused(f'{self.name}: {where} is not an object: write {{"column": value, ...}}')
        cells: dict[str, str] = {}
        for column, cell in value:
            if column in cells:
                raise ImportRefused(f"{self.name}: {where} has column {column!r} twice: keep one")
            cells[column] = text = self._cell(cell, where)
            check_cell(text, self.name, where, column)
        return cells

    def _cell(self, value: Any, where: str) -> str:
        if not isinstance(value, list):
            return "" if value is None else str(value)
        try:
            return NoText(written(value))
        except RecursionError:
            raise too_deep(self.name, where) from None
