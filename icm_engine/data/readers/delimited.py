"""CSV and TSV as spreadsheets and pandas write them: quoted newlines, any line ends, cells of any size."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from icm_engine.core.errors import ImportRefused
from icm_engine.data.readers.dialect import (
    Counted,
    DelimitedRow,
    Dialect,
    Labellike,
    TableHeader,
    could_be_rows,
    evidently_quoted,
    likely_separator,
    swallows,
    told_separator,
)
from icm_engine.data.readers.encoding import TextFile, kind_ending
from icm_engine.data.readers.source import Record, check_cell

LARGEST_CELL = 2**31 - 1  # the csv module's default limit is 131,072 characters
BOTH_WAYS = "read every mark as text (--quoting none), or, if the cell does hold these lines, say so (--quoting double)"


class DelimitedSource:
    """A delimited file with a header; see `RowSource`. `quoting` is none, double, or None: as the file shows."""

    kind = "csv"

    def __init__(self, file: TextFile, quoting: str | None = None) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), LARGEST_CELL))
        self.file, self.name, self.quoting = file, file.name, quoting
        self.total: int | None = None
        self.dialect = self._dialect()
        self._unquoted_line = 0  # the line whose stray quotation mark made all marks literal
        self._labellike: Labellike | None = None
        self._settled = quoting is not None or self.dialect.separator != "\t"
        self._counted = Counted()
        self.header = self._header()
        self.columns = self.header.columns

    @property
    def notes(self) -> tuple[str, ...]:
        """How the file is written, and which lines read so far are not rows."""
        return (*self._about_dialect(), *self.header.notes, *self._counted.notes)

    def records(self) -> Iterator[Record]:
        """Yield the rows below the header."""
        self._settle(None)
        return self._records(None)

    def head(self, rows: int) -> tuple[tuple[str, ...], list[Record]]:
        """Return the header and the first rows."""
        self._settle(rows)
        return self.columns, list(self._records(rows))

    def _records(self, most: int | None) -> Iterator[Record]:
        counted = self._counted = Counted()
        for row in islice(self._body(counted), most):
            yield self._record(counted.rows, row)
        if most is None:
            self.total = counted.rows

    # -- how the file is written

    def _dialect(self) -> Dialect:
        """The dialect: its separator is declared in the file, implied by the ending, or shown by the first rows."""
        quoted = self.quoting != "none"
        with self.file.open() as text:
            told = told_separator(text.readline())
        if told is not None:
            return Dialect(told, told=True, quoted=quoted)
        if kind_ending(self.name) in (".tsv", ".tab"):
            return Dialect("\t", quoted=quoted)
        with self.file.open() as text:
            return Dialect(likely_separator(text, quoted), quoted=quoted)

    def _about_dialect(self) -> list[str]:
        notes = []
        if self.dialect.separator != "," and kind_ending(self.name) not in (".tsv", ".tab"):
            notes.append(f"The cells of the file are separated by {self.dialect.name}.")
        if self._unquoted_line:
            notes.append(
                f"A cell in line {self._unquoted_line} begins with a quotation mark that would swallow other cells: "
                "all quotation marks were read as text (--quoting double: they quote)."
            )
        if self.quoting == "none":
            notes.append("All quotation marks were read as text, as requested.")
        return notes

    def _settle(self, most: int | None) -> None:
        """Search a tab-separated file, where quoting is rare, for marks that cannot be quotes; if found, none are."""
        if self._settled:
            return
        self._settled = most is None
        if line := self._stray(most):
            unquoted = replace(self.dialect, quoted=False)
            if self._all_fit(unquoted):
                self.dialect, self._unquoted_line, self._settled = unquoted, line, True

    def _stray(self, most: int | None) -> int:
        """The line of the first row that cannot be read as quoted; 0 if there is none."""
        line, counted = 0, Counted()
        try:
            for row in self._parsed():
                if counted.sees(row) and not self._sound(row):
                    return row.first
                line = row.line
                if most is not None and counted.rows > most:  # the header is one of these lines
                    return 0
        except csv.Error:
            return line + 1
        return 0

    def _sound(self, row: DelimitedRow) -> bool:
        return self.header.fits(row.cells) and not could_be_rows(row, self.dialect, self.header.width)

    def _all_fit(self, dialect: Dialect) -> bool:
        """Whether each line is a row if marks are literal; a single row, or a doubled mark, is no evidence for that."""
        with self.file.open() as text:
            if evidently_quoted(text):
                return False
        fits = [0, 0]
        for row in self._parsed(dialect):
            if row.cells:
                fits[self.header.fits(row.cells)] += 1
        return not fits[False] and fits[True] > 2  # with the header

    # -- rows

    def _header(self) -> TableHeader:
        for row in self._rows():
            if any(cell.strip() for cell in row.cells):
                return TableHeader(self.name, row, lambda line: (r.cells for r in self._rows() if r.line > line))
        raise ImportRefused(f"{self.name}: the file is empty: nothing was imported")

    def _parsed(self, dialect: Dialect | None = None) -> Iterator[DelimitedRow]:
        """All rows. Raises csv.Error."""
        with self.file.open() as text:
            yield from (dialect or self.dialect).rows(text)

    def _rows(self) -> Iterator[DelimitedRow]:
        """All rows. Raises ImportRefused for invalid ones."""
        line, rows = 0, self._parsed()
        while True:
            try:
                row = next(rows, None)
            except csv.Error as error:
                raise self._invalid(line + 1, error) from None
            if row is None:
                return
            line = row.line
            yield row

    def _body(self, counted: Counted) -> Iterator[DelimitedRow]:
        """The non-empty rows below the header; the rest is counted."""
        asked, width = self.quoting is not None, self.header.width
        for row in self._rows():
            if row.line <= self.header.line:
                continue
            if len(row.lines) > 1 and not asked and could_be_rows(row, self.dialect, width):
                self._refuse_swallowed(row)
            if counted.sees(row, width):
                yield row

    def _refuse_swallowed(self, row: DelimitedRow) -> None:
        known = self._labellike or Labellike.of(self._below(), self.header.width)
        self._labellike = known
        if self.header.fits(row.cells) and not swallows(row, self.dialect, self.header.text, known):
            return
        raise ImportRefused(
            f"{self.name}: a quotation mark that opens in line {row.first} closes in line {row.line}, though each of "
            f"these lines has the {self.header.width} cells of a row: double the mark if it belongs to the text, "
            f"{BOTH_WAYS}"
        )

    def _below(self) -> Iterator[DelimitedRow]:
        return (row for row in self._rows() if row.line > self.header.line)

    def _invalid(self, line: int, error: csv.Error) -> ImportRefused:
        form = "TSV" if self.dialect.separator == "\t" else "CSV"
        return ImportRefused(
            f"{self.name}: line {line} is not valid {form} ({error}): check the quotation marks of the row that begins "
            "there: double those that belong to the text, or read all marks as text (--quoting none)"
        )

    def _record(self, number: int, row: DelimitedRow) -> Record:
        where = f"row {number} (line {row.line})"
        if not self.header.fits(row.cells):
            self._refuse_size(where, row)
        cells = self.header.cells(row.cells)
        if any("\0" in cell for cell in row.cells):  # anything else that can be decoded can be stored
            for column, cell in cells.items():
                check_cell(cell, self.name, where, column)
        return Record(where, cells)

    def _refuse_size(self, where: str, row: DelimitedRow) -> None:
        several = len(row.lines) > 1
        begins = f", which begins in line {row.first}," if several else ""
        stray = ", and double other marks, or read all of them as text (--quoting none)" if several else ""
        raise ImportRefused(
            f"{self.name}: {where}{begins} has {len(row.cells)} cells, the header has {self.header.width}: "
            f"quote cells that contain {self.dialect.name}{stray}"
        )
