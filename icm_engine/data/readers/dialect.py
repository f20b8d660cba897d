"""How a delimited file is written: separator, quoting, header.

A stray quotation mark at the start of a cell would swallow the rows up to the next mark. So a cell with line ends is
checked: if each of its lines has as many cells as a row, it probably consists of rows.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TextIO

from icm_engine.data.readers.source import check_columns

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
QUOTINGS = ("double", "none")
FIRST = 20  # rows used to find the separator
MOST_LINES = 100_000  # bytes of one row: an unclosed mark would make the whole file one cell
MOST_VALUES = 100  # a column with more distinct cells is not one of labels
WEIGHTY = 2  # separators beyond the first line that are not accidental
_EXCEL = re.compile(r'"?sep=([^\w"\s]|\t)"?\s*', re.IGNORECASE)  # the first line by which Excel is told the separator
_DOUBLED = re.compile(r'(?:^|[\t])"[^\t]*""[^\t]*"(?:[\t]|$)')

Cells = tuple[str, ...]


class DelimitedRow(NamedTuple):
    """The cells of one row, and its lines in the file, the last of which is number `line`."""

    cells: Cells
    line: int
    lines: Sequence[str]

    @property
    def first(self) -> int:
        return self.line - len(self.lines) + 1


@dataclass(frozen=True, slots=True)
class Dialect:
    """The separator, whether the first line only declares it, and whether quotation marks quote."""

    separator: str = ","
    told: bool = False
    quoted: bool = True

    @property
    def name(self) -> str:
        """The separator's name."""
        return SEPARATORS.get(self.separator, repr(self.separator))

    def rows(self, text: Iterator[str]) -> Iterator[DelimitedRow]:
        """Yield the rows, blank lines included. Raises csv.Error."""
        taken: list[str] = []
        before = int(self.told)
        if self.told:
            next(text, None)
        lines = _kept(text, taken)
        if self.quoted:
            reader = csv.reader(lines, delimiter=self.separator, strict=True)
        else:
            reader = csv.reader(lines, delimiter=self.separator, strict=True, quoting=csv.QUOTE_NONE)
        for cells in reader:
            yield DelimitedRow(tuple(cells), before + reader.line_num, taken[:])
            taken.clear()

    def split(self, line: str) -> list[str]:
        """The cells of one line with quotation marks taken literally."""
        return line.rstrip("\r\n").split(self.separator)


def _kept(text: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in text:
        taken.append(line)
        if len(taken) > MOST_LINES:
            raise csv.Error(f"a cell has more than {MOST_LINES:,} lines")
        yield line


def told_separator(line: str) -> str | None:
    """Return the separator declared by a first line such as sep=; or None."""
    match = _EXCEL.fullmatch(line)
    return match[1] if match else None


def likely_separator(text: TextIO, quoted: bool) -> str:
    """Return the separator that splits the first rows into several cells, as many as in the header; else the comma."""
    lines = list(islice(text, FIRST))
    sizes = {separator: _sizes(lines, Dialect(separator, quoted=quoted)) for separator in SEPARATORS}
    several = [separator for separator, found in sizes.items() if found and found[0] > 1]
    return max(several, key=lambda s: _merit(lines[0], s, sizes[s]), default=",")


def _sizes(lines: Sequence[str], dialect: Dialect) -> list[int]:
    """The number of cells in each of the first rows, as far as they can be read."""
    found: list[int] = []
    with suppress(csv.Error):  # the last row may be incomplete
        for row in dialect.rows(iter(lines)):
            found += [len(row.cells)] if row.cells else []
    return found


def _merit(header: str, separator: str, sizes: Sequence[int]) -> tuple[bool, bool, int]:
    """Rank a separator: equally long rows first, then a header without spaces after it, as prose has."""
    return len(sizes) > 1 and len(set(sizes)) == 1, separator + " " not in header, sizes[0]


def evidently_quoted(lines: Iterable[str]) -> bool:
    """Say whether tab-separated lines were written with quoting: a quoted header, or a doubled mark."""
    doubled = (line for k, line in enumerate(lines) if '"' in line and (k == 0 or _DOUBLED.search(line)))
    return any(doubled)


@dataclass(frozen=True, slots=True)
class Labellike:
    """The cells of columns with few distinct values, from single-line rows; and all other cells."""

    few: dict[int, frozenset[str]]
    seen: tuple[frozenset[str], ...]

    @classmethod
    def of(cls, rows: Iterable[DelimitedRow], width: int) -> "Labellike":
        """Scan the rows below the header."""
        counts = [Counter[str]() for _ in range(width)]
        for row in rows:
            if len(row.lines) == 1 and len(row.cells) == width:
                for count, cell in zip(counts, row.cells, strict=True):
                    if len(count) <= MOST_VALUES:
                        count[cell] += 1
        few = {k: frozenset(c) for k, c in enumerate(counts) if 0 < len(c) <= min(MOST_VALUES, c.total() / 2)}
        return cls(few, tuple(frozenset(c) for c in counts))


def could_be_rows(row: DelimitedRow, dialect: Dialect, width: int) -> bool:
    """Say whether the row spans several lines each of which has the cells of a row."""
    tabs = dialect.separator == "\t"  # paragraphs of prose have blank lines between them, and no tabs
    lines = [line for line in row.lines if line.strip() or not tabs] if len(row.lines) > 1 < width else []
    return len(lines) > 1 and all(line.count(dialect.separator) == width - 1 for line in lines)


def swallows(row: DelimitedRow, dialect: Dialect, header: str, known: Labellike) -> bool:
    """Say whether a row whose lines could be rows probably is several rows rather than one cell with line ends.

    A space after separators suggests a sentence. Label cells that no other row has speak against rows, those that
    others have speak for them; if neither does, many lines do.
    """
    width = len(known.seen)
    if dialect.separator == "\t":
        return True
    if dialect.separator + " " not in header and any(dialect.separator + " " in line for line in row.lines):
        return False
    rows = [[cell.strip('"') for cell in dialect.split(line)] for line in row.lines]
    if any(_mostly_new([cells[k] for cells in rows[:-1]], few) for k, few in known.few.items()):
        return False
    if any(cells[k] in known.seen[k] or cells[k] == rows[-1][k] for cells in rows[:-1] for k in range(width)):
        return True
    return (len(rows) - 1) * (width - 1) >= WEIGHTY


def _mostly_new(cells: Sequence[str], known: frozenset[str]) -> bool:
    return sum(cell not in known for cell in cells) > len(cells) / 2


Below = Callable[[int], Iterable[Cells]]  # the cells of the rows below a line


class TableHeader:
    """The named columns of a file; unnamed, empty columns at the end of the header are left out."""

    def __init__(self, name: str, row: DelimitedRow, below: Below) -> None:
        self.line, self.text = row.line, "".join(row.lines)
        unnamed = {k for k, cell in enumerate(row.cells) if not cell.strip()}
        filled = _filled(unnamed, below(row.line)) if unnamed else set()
        dropped = unnamed - filled
        self._names = [_name(k, row.cells) if k in filled else cell for k, cell in enumerate(row.cells)]
        self._kept = [k for k in range(len(row.cells)) if k not in dropped] if dropped else None
        self.columns = tuple(self._names[k] for k in range(len(row.cells)) if k not in dropped)
        self.least = 1 + max((k for k in range(len(row.cells)) if k not in dropped), default=0)
        self.width = len(row.cells)
        self.notes = (
            *_said("without a name or a text", "left out", [f"{k + 1}" for k in sorted(dropped)]),
            *_said("without a name", "called", [self._names[k] for k in sorted(filled)]),
        )
        check_columns(self.columns, name)

    def fits(self, cells: Cells) -> bool:
        """Say whether a row has a cell for every column and no text beyond."""
        if len(cells) == self.width:
            return True
        return len(cells) >= self.least and not any(cell.strip() for cell in cells[self.width :])

    def cells(self, cells: Cells) -> Mapping[str, str]:
        """Return the cells of a row by column."""
        if self._kept is not None:
            return {self._names[k]: cells[k] for k in self._kept}
        return dict(zip(self.columns, cells, strict=False))


def _filled(places: set[int], rows: Iterable[Cells]) -> set[int]:
    """The positions that have text in any row."""
    found: set[int] = set()
    for cells in rows:
        found |= {k for k in places - found if k < len(cells) and cells[k].strip()}
        if found == places:
            break
    return found


def _name(place: int, header: Cells) -> str:
    name = f"column_{place + 1}"
    while name in header:
        name += "_"
    return name


def _said(what: str, done: str, names: list[str]) -> list[str]:
    """A note about columns, if there are any."""
    if not names:
        return []
    columns = "A column" if len(names) == 1 else f"{len(names)} columns"
    return [f"{columns} {what} {'was' if len(names) == 1 else 'were'} {done}: {', '.join(names)}."]


@dataclass
class Counted:
    """Counts of rows so far, and of other lines below the header."""

    rows: int = 0
    blank: int = 0  # lines
    empty: int = 0  # lines of rows that are entirely empty
    inner: int = 0  # lines that continue a cell
    beyond: int = 0  # rows with empty cells beyond the header's

    def sees(self, row: DelimitedRow, width: int | None = None) -> bool:
        """Count a row; say whether it has any text."""
        if not row.cells:
            self.blank += 1
            return False
        if not row.cells[0].strip() and not "".join(row.cells).strip():
            self.empty += len(row.lines)
            return False
        self.rows += 1
        self.inner += len(row.lines) - 1
        self.beyond += width is not None and len(row.cells) > width
        return True

    @property
    def notes(self) -> list[str]:
        """Say why there are fewer rows than lines, unless only cells with line ends explain it."""
        notes = []
        if self.beyond:
            notes.append(f"Empty cells beyond the columns of the header were left out (rows: {self.beyond:,}).")
        if self.blank or self.empty:
            lines = self.rows + self.blank + self.empty + self.inner
            parts = {"blank": self.blank, "nothing but empty cells": self.empty, "inside a cell": self.inner}
            told = ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)
            notes.append(f"Rows read: {self.rows:,}. Lines below the header: {lines:,}, of which {told}.")
        return notes
