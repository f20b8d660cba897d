"""Parquet files, and what the `datasets` library saves on disk: Arrow tables, read a batch at a time."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from icm_engine.core.errors import ImportRefused
from icm_engine.data.readers.source import NoText, Record, check_cell, check_columns

BATCH = 2000  # rows held at once


class ArrowSource:
    """Rows of Arrow batches; see `Source`. Subclasses open the file and give its batches."""

    kind = "parquet"
    notes: tuple[str, ...] = ()

    def __init__(self, name: str, schema: Any, total: int | None) -> None:
        self.name, self.total = name, total
        self.columns: tuple[str, ...] = tuple(schema.names)
        self._label_names = label_names(schema)
        check_columns(self.columns, name)

    def batches(self) -> Iterator[Any]:
        """Go through the record batches from the first one."""
        raise NotImplementedError

    def records(self) -> Iterator[Record]:
        """Go through the rows."""
        number = 0
        for batch in self._batches_or_refusal():
            cells = [self._texts(name, column) for name, column in zip(self.columns, batch.columns, strict=True)]
            for row in zip(*cells, strict=True):
                number += 1
                yield self._record(f"row {number}", row)
        self.total = number

    def head(self, rows: int) -> tuple[tuple[str, ...], list[Record]]:
        """Return the columns and the first rows."""
        return self.columns, list(islice(self.records(), rows))

    def _batches_or_refusal(self) -> Iterator[Any]:
        batches = self.batches()
        while True:
            with refused_if_unreadable(self.name):
                batch = next(batches, None)
                if batch is not None:
                    batch.validate(full=True)  # a damaged file may point outside itself
            if batch is None:
                return
            yield batch

    def _texts(self, name: str, column: Any) -> list[str]:
        """The cells of a column as text; a class label as its name."""
        with refused_if_unreadable(self.name):
            values = column.to_pylist()
        if names := self._label_names.get(name):
            return [_named(value, names) for value in values]
        return [value if type(value) is str else _text(value) for value in values]

    def _record(self, where: str, row: Sequence[str]) -> Record:
        cells = dict(zip(self.columns, row, strict=True))
        for column, cell in cells.items():
            check_cell(cell, self.name, where, column)
        return Record(where, cells)


def label_names(schema: Any) -> Mapping[str, Sequence[str]]:
    """Return the names of the class labels by column, as `datasets` notes them beside the schema."""
    noted = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(noted)["info"]["features"] if noted else {}
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # somebody else's note: the numbers stay numbers


@contextmanager
def refused_if_unreadable(name: str) -> Iterator[None]:
    """Turn what pyarrow raises on damaged or odd files into ImportRefused."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImportRefused(f"{name}: the file cannot be read ({said}): write it again") from None


def _named(value: Any, names: Sequence[str]) -> str:
    """A class label's name; -1 is a missing one."""
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return "" if value is None or value == -1 else str(value)


def _text(value: Any) -> str:
    """A value as text: nothing for None and NaN, and `NoText` for what is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, dict | list | tuple):
        return NoText(json.dumps(value, ensure_ascii=False, default=_nested))
    return str(value)


def _nested(value: Any) -> str:
    return str(_decoded(value)) if isinstance(value, bytes) else str(value)


def _decoded(value: bytes) -> str:
    """Some writers leave texts without the mark that says they are text."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return NoText(f"<{len(value):,} bytes>")
