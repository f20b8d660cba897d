"""How a file of separated cells is written: its separator, its quoting, and its header.

A stray quotation mark at a cell's beginning would swallow the rows up to the next one. A cell that holds line ends is
therefore looked at twice: where every one of its lines has the cells of a row, it is likely to be rows.
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
FIRST = 20  # rows that show which separator a file has
MOST_LINES = 100_000  # of one row: a mark that never closes would take the whole file for a cell
MOST_VALUES = 100  # a column of more different cells is no column of labels
WEIGHTY = 2  # separators beyond the first line that are no accident
_EXCEL = re.compile(r'"?sep=([^\w"\s]|\t)"?\s*', re.IGNORECASE)  # the first line with which Excel is told
_DOUBLED = re.compile(r'(?:^|[\t])"[^\t]*""[^\t]*"(?:[\t]|$)')

Cells = tuple[str, ...]


class DelimitedRow(NamedTuple):
    """The cells of one row, and the lines of the file that they stand on, of which the last is number `line`."""

    cells: Cells
    line: int
    lines: Sequence[str]

    @property
    def first(self) -> int:
        return self.line - len(self.lines) + 1


@dataclass(frozen=True, slots=True)
class Dialect:
    """What separates cells, whether the first line only says so, and whether quotation marks quote."""

    separator: str = ","
    told: bool = False
    quoted: bool = True

    @property
    def name(self) -> str:
        """What the separators are called."""
        return SEPARATORS.get(self.separator, repr(self.separator))

    def rows(self, text: Iterator[str]) -> Iterator[DelimitedRow]:
        """Go through the rows, blank lines among them. Raises csv.Error."""
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
        """The cells of one line if quotation marks mean nothing."""
        return line.rstrip("\r\n").split(self.separator)


def _kept(text: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in text:
        taken.append(line)
        if len(taken) > MOST_LINES:
            raise csv.Error(f"a cell goes on for more than {MOST_LINES:,} lines")
        yield line


def told_separator(line: str) -> str | None:
    """Return the separator that a first line such as sep=; names, None if the line is no such one."""
    match = _EXCEL.fullmatch(line)
    return match[1] if match else None


def likely_separator(text: TextIO, quoted: bool) -> str:
    """Return the separator that gives the first rows several cells, each as many as the header; else the comma."""
    lines = list(islice(text, FIRST))
    sizes = {separator: _sizes(lines, Dialect(separator, quoted=quoted)) for separator in SEPARATORS}
    several = [separator for separator, found in sizes.items() if found and found[0] > 1]
    return max(several, key=lambda s: _merit(lines[0], s, sizes[s]), default=",")


def _sizes(lines: Sequence[str], dialect: Dialect) -> list[int]:
    """How many cells the first rows have, as far as they can be read."""
    found: list[int] = []
    with suppress(csv.Error):  # of the last row, perhaps because its lines go on
        for row in dialect.rows(iter(lines)):
            found += [len(row.cells)] if row.cells else []
    return found


def _merit(header: str, separator: str, sizes: Sequence[int]) -> tuple[bool, bool, int]:
    """Alike rows first, then a header in which no space follows: that is how people write commas."""
    return len(sizes) > 1 and len(set(sizes)) == 1, separator + " " not in header, sizes[0]


def evidently_quoted(lines: Iterable[str]) -> bool:
    """Say whether lines separated by tabs were written with quoting: a quoted header, or a mark that is doubled."""
    doubled = (line for k, line in enumerate(lines) if '"' in line and (k == 0 or _DOUBLED.search(line)))
    return any(doubled)


@dataclass(frozen=True, slots=True)
class Labellike:
    """The cells of columns that say one of few things, as the rows on one line have them; and all other cells."""

    few: dict[int, frozenset[str]]
    seen: tuple[frozenset[str], ...]

    @classmethod
    def of(cls, rows: Iterable[DelimitedRow], width: int) -> "Labellike":
        """Look through the rows below the header."""
        counts = [Counter[str]() for _ in range(width)]
        for row in rows:
            if len(row.lines) == 1 and len(row.cells) == width:
                for count, cell in zip(counts, row.cells, strict=True):
                    if len(count) <= MOST_VALUES:
                        count[cell] += 1
        few = {k: frozenset(c) for k, c in enumerate(counts) if 0 < len(c) <= min(MOST_VALUES, c.total() / 2)}
        return cls(few, tuple(frozenset(c) for c in counts))


def could_be_rows(row: DelimitedRow, dialect: Dialect, width: int) -> bool:
    """Say whether the row stands on several lines of which each has the cells of a row."""
    tabs = dialect.separator == "\t"  # paragraphs of a sentence have blank lines between them, and no tabs
    lines = [line for line in row.lines if line.strip() or not tabs] if len(row.lines) > 1 < width else []
    return len(lines) > 1 and all(line.count(dialect.separator) == width - 1 for line in lines)


def swallows(row: DelimitedRow, dialect: Dialect, header: str, known: Labellike) -> bool:
    """Say whether a row whose lines could be rows is likely to be rows, and no cell with line ends.

    A space after the separators is that of a sentence. Cells of labels that no other row has speak against rows, those
    that others have speak for them; where neither speaks, many lines do.
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
    """The columns of a file; those that have neither a name nor a text at the header's end are not there."""

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
        """Say whether a row has a cell for every column, and no text beyond."""
        if len(cells) == self.width:
            return True
        return len(cells) >= self.least and not any(cell.strip() for cell in cells[self.width :])

    def cells(self, cells: Cells) -> Mapping[str, str]:
        """Return the cells of a row by column."""
        if self._kept is not None:
            return {self._names[k]: cells[k] for k in self._kept}
        return dict(zip(self.columns, cells, strict=False))


def _filled(places: set[int], rows: Iterable[Cells]) -> set[int]:
    """Which of these places have a text in any row."""
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
    """How many rows there are so far, and what else the lines below the header are."""

    rows: int = 0
    blank: int = 0  # lines
    empty: int = 0  # lines of rows whose cells are all empty
    inner: int = 0  # lines on which a cell goes on
    beyond: int = 0  # rows with empty cells beyond the header's

    def sees(self, row: DelimitedRow, width: int | None = None) -> bool:
        """Take a row; say whether it has any text."""
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
        """Say why there are fewer rows than lines, unless it is for line ends within cells alone."""
        notes = []
        if self.beyond:
            notes.append(f"Empty cells beyond the columns of the header were left out (rows: {self.beyond:,}).")
        if self.blank or self.empty:
            lines = self.rows + self.blank + self.empty + self.inner
            parts = {"blank": self.blank, "nothing but empty cells": self.empty, "inside a cell": self.inner}
            told = ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)
            notes.append(f"Rows read: {self.rows:,}. Lines below the header: {lines:,}, of which {told}.")
        return notes
