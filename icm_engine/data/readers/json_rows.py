"""JSON and JSONL: objects one after the other, their values as text exactly as they are written.

The columns are all keys of the whole file in the order in which they first appear, so finding them is a pass over it.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, TextIO

from icm_engine.core.errors import ImportRefused
from icm_engine.data.readers.json_values import DECODER, JsonObject, Window, written
from icm_engine.data.readers.source import NoText, Record, check_cell, check_columns
from icm_engine.data.readers.text import TextFile


class JsonSource:
    """A file of JSON objects, in one array or one a line; see `Source`."""

    def __init__(self, file: TextFile, lines: bool) -> None:
        self.file, self.name = file, file.name
        self.total: int | None = None
        self.notes: tuple[str, ...] = ()
        self._columns: tuple[str, ...] | None = None
        self.named_lines = lines
        self.lines = lines or self._begins_with("{")  # pandas and datasets call files of lines .json, too
        self.kind = "jsonl" if self.lines else "json"

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
        """Go through the objects."""
        columns = self.columns
        for where, cells in self._objects():
            yield Record(where, {column: cells.get(column, "") for column in columns})

    def head(self, rows: int) -> tuple[tuple[str, ...], list[Record]]:
        """Return the first objects, and the columns that these have."""
        first = list(islice(self._objects(), rows))
        columns = tuple(dict.fromkeys(column for _, cells in first for column in cells))
        check_columns(columns, self.name)
        return columns, [Record(where, {c: cells.get(c, "") for c in columns}) for where, cells in first]

    def _begins_with(self, sign: str) -> bool:
        with self.file.open() as text:
            return Window(text).sign() == sign

    def _objects(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        with self.file.open(newline="\n") as text:
            for where, value in self._lines(text) if self.lines else self._items(text):
                yield where, self._object(value, where)

    # -- one object a line

    def _lines(self, text: TextIO) -> Iterator[tuple[str, Any]]:
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
                raise self._no_array() from None
            raise self._invalid(line, error.colno, error.msg) from None
        except RecursionError:
            raise self._too_deep(f"line {line}") from None

    # -- one array

    def _items(self, text: TextIO) -> Iterator[tuple[str, Any]]:
        """The items of an array, of which only the one being read is held."""
        window, number = Window(text), 0
        if window.sign() != "[":
            raise self._no_array()
        window.at += 1
        while window.sign() != "]" or number:
            number += 1
            yield f"row {number}", self._item(window)
            if window.sign() != ",":
                break
            window.at += 1
        if window.sign() != "]":
            raise self._invalid(*window.place(window.at), "Expecting ',' or ']'")
        window.at += 1
        if window.sign():
            raise self._invalid(*window.place(window.at), "Extra data")

    def _item(self, window: Window) -> Any:
        try:
            window.sign()
            return window.value()
        except json.JSONDecodeError as error:
            raise self._invalid(*window.place(error.pos), error.msg) from None
        except RecursionError:
            raise self._too_deep(f"line {window.place(window.at)[0]}") from None

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
            raise self._too_deep(where) from None

    # -- what can be wrong

    def _no_array(self) -> ImportRefused:
        return ImportRefused(
            f"{self.name}: the file is not an array of objects: write [{{...}}, ...], or one object a line"
        )

    def _invalid(self, line: int, column: int, message: str) -> ImportRefused:
        return ImportRefused(f"{self.name}: line {line} is not valid JSON ({message}, character {column}): correct it")

    def _too_deep(self, where: str) -> ImportRefused:
        return ImportRefused(f"{self.name}: {where} is nested too deeply: use plain values")
