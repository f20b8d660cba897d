"""CSV and TSV, as spreadsheets and pandas write them: quoted newlines, any line ends, cells of any size."""

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO

from icm_engine.core.errors import ImportRefused
from icm_engine.data.readers.source import Record, check_cell, check_columns
from icm_engine.data.readers.text import TextFile

LARGEST_CELL = 2**31 - 1  # the csv module stops at 131,072 characters unless told otherwise
SEPARATORS = {";": "semicolons", "\t": "tabs"}  # what a CSV file may have in place of commas


class DelimitedSource:
    """A file of rows with a header; see `Source`."""

    kind = "csv"

    def __init__(self, file: TextFile) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), LARGEST_CELL))
        self.file, self.name = file, file.name
        self.total: int | None = None
        self.notes: tuple[str, ...] = ()
        self.delimiter = self._delimiter()
        self.columns = next(self._rows(), (0, ()))[1]
        if not self.columns:
            raise ImportRefused(f"{self.name}: the file is empty: nothing was imported")
        check_columns(self.columns, self.name)

    def records(self) -> Iterator[Record]:
        """Go through the rows below the header."""
        rows, count = self._rows(), 0
        next(rows)
        for count, (line, row) in enumerate(rows, 1):
            yield self._record(count, line, row)
        self.total = count

    def head(self, rows: int) -> tuple[tuple[str, ...], list[Record]]:
        """Return the header and the first rows."""
        return self.columns, list(islice(self.records(), rows))

    def _delimiter(self) -> str:
        """The comma, or what its kind of file or its first line has instead."""
        if Path(self.name).suffix.lower() in (".tsv", ".tab"):
            return "\t"
        with self.file.open() as text:
            first = text.readline()
        found = next((sign for sign in SEPARATORS if "," not in first and sign in first), None)
        if found is None:
            return ","
        self.notes = (f"The cells of the file are separated by {SEPARATORS[found]}.",)
        return found

    def _rows(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """The rows that are not blank, the header first, each with the line it ends on."""
        with self.file.open() as text:
            yield from self._parsed(text)

    def _parsed(self, text: TextIO) -> Iterator[tuple[int, tuple[str, ...]]]:
        reader = csv.reader(text, delimiter=self.delimiter, strict=True)
        try:
            yield from ((reader.line_num, tuple(row)) for row in reader if row)
        except csv.Error as error:
            raise ImportRefused(
                f"{self.name}: line {reader.line_num} is not valid {self._form} ({error}): check its quotation marks"
            ) from None

    @property
    def _form(self) -> str:
        return "TSV" if self.delimiter == "\t" else "CSV"

    def _record(self, number: int, line: int, row: Sequence[str]) -> Record:
        where = f"row {number} (line {line})"
        if len(row) != len(self.columns):
            separators = SEPARATORS.get(self.delimiter, "commas")
            raise ImportRefused(
                f"{self.name}: {where} has {len(row)} cells, the header has {len(self.columns)}: "
                f"quote cells that contain {separators}"
            )
        cells = dict(zip(self.columns, row, strict=True))
        if any("\0" in cell for cell in row):  # all else that is decoded can be stored
            for column, cell in cells.items():
                check_cell(cell, self.name, where, column)
        return Record(where, cells)
