"""Rows as files: CSV, JSONL and Parquet, row by row, each file whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

from icm_engine.core.errors import SettingError
from icm_engine.core.paths import expanded
from icm_engine.data.columns import HUMAN_PREFIX
from icm_engine.data.labelled import LabelledRow, Value
from icm_engine.runs.leftovers import unfinished

if TYPE_CHECKING:
    import pandas

Writer = Callable[[Iterable[LabelledRow], IO[bytes]], int]

FORMULA_STARTS = tuple("=+-@'\t\r")
BATCH = 10_000  # rows of one Parquet row group, and all that a large export holds in memory at once
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
LONGEST_VALUE = 400  # characters: digits of any number are cut to 15
# what numbers, amounts, dates and times consist of in any language's spreadsheet, the names of months apart
_VALUE = re.compile(r"(?=.*\d)[\d\s.,:;/+\-()%'’$€£¥₹etz]*(?:am|pm|a|p)?")
_MONTH = re.compile(
    r"(?<![^\W\d_])(?:jan|fe[bv]|fév|m[aä]r|mrt|a[pbv]r|ma[iyg]|mei|jui?[nl]|jui|giu|lug|aug|ago|aoû|se[pt]|o[ckt]t|out|"
    r"no[vy]|d[eé][cz]|dic|gen|ene)[^\W\d_]{0,7}\.?(?![^\W\d_])"
)
LABELS = ("icm_label", "icm_gold")
_SAME = re.compile(r"True|False|0|[1-9][0-9]{0,8}")
_TRUTHS = {"true", "false", "wahr", "falsch", "vrai", "faux", "verdadero", "falso", "waar", "onwaar", "vero"}


def rows_to_frame(rows: Sequence[LabelledRow]) -> pandas.DataFrame:
    """Return the rows as a pandas frame: text, whole numbers that may be missing, and probabilities."""
    import pandas  # half a second that importing this module should not cost

    frame = pandas.DataFrame(list(rows))
    kinds = {"icm_probability": "Float64", "icm_last_change_step": "Int64", "icm_flips": "Int64"}
    return frame.astype({c: kinds.get(c, "string") for c in frame.columns})


def defused(cell: Value) -> str:
    """Return a CSV cell's text: a leading apostrophe where a spreadsheet would run it; numbers are left alone."""
    text = "" if cell is None else str(cell)
    runs = isinstance(cell, str) and text.startswith(FORMULA_STARTS) and not _NUMBER.fullmatch(text)
    return "'" + text if runs else text


def as_text(cell: Value, column: str = "") -> str:
    """Return a CSV cell's text with an apostrophe also where a spreadsheet would read a number, a date or a truth.

    Labels that it reads as the same truth or whole number stay as they are.
    """
    text = defused(cell)
    read = isinstance(cell, str) and not text.startswith("'") and _looks_like_a_value(text)
    harmless = column in LABELS or column.startswith(HUMAN_PREFIX)
    return "'" + text if read and not (harmless and _SAME.fullmatch(text)) else text


def _looks_like_a_value(text: str) -> bool:
    plain = _MONTH.sub("", text.strip().casefold())
    return plain in _TRUTHS or (len(text) <= LONGEST_VALUE and _VALUE.fullmatch(plain) is not None)


def write_csv(rows: Iterable[LabelledRow], file: IO[bytes], excel: bool = False) -> int:
    """Write rows as CSV and return their number: UTF-8, CRLF, formulas defused, empty cells for None.

    For Excel, a byte order mark says that it is UTF-8, and texts that would be read as something else stay texts.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig" if excel else "utf-8", newline="", write_through=True)
    writer, count = csv.writer(text, lineterminator="\r\n"), 0
    for row in rows:
        if not count:
            writer.writerow([as_text(column) if excel else defused(column) for column in row])
        writer.writerow([as_text(cell, column) if excel else defused(cell) for column, cell in row.items()])
        count += 1
    text.detach()  # whoever opened the file closes it
    return count


def write_jsonl(rows: Iterable[Mapping[str, Value]], file: IO[bytes]) -> int:
    """Write rows as one JSON object a line, and return their number."""
    count = 0
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        count += 1
    return count


def write_parquet(rows: Iterable[LabelledRow], file: IO[bytes]) -> int:
    """Write rows as Parquet and return their number; every batch has the columns and types of the first."""
    import pyarrow
    import pyarrow.parquet

    writer, count = None, 0
    for batch in _batches(rows):
        table = pyarrow.Table.from_pandas(rows_to_frame(batch), preserve_index=False)
        writer = writer or pyarrow.parquet.ParquetWriter(file, table.schema)
        writer.write_table(table)
        count += len(batch)
    if writer is not None:
        writer.close()
    return count


def _batches(rows: Iterable[LabelledRow]) -> Iterator[list[LabelledRow]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write beside the file, then rename: a reader never sees half of it. Raises SettingError."""
    path = expanded(path)
    part = unfinished(path)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave the name with nothing in it
        part.replace(path)
    except OSError as error:
        raise _cannot(path, error) from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill a folder beside the one asked for, then rename; one that holds anything is refused. Raises SettingError."""
    path = expanded(path)
    part = unfinished(path)
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise SettingError(f"output {path} exists already: name a new folder, or remove this one first")
        part.mkdir()
        yield part
        part.replace(path)
    except OSError as error:
        raise _cannot(path, error) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _cannot(path: Path, error: OSError) -> SettingError:
    return SettingError(f"output {path} cannot be written ({error.strerror}): choose another place")
