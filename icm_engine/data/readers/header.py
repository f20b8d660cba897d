"""The first row of a table: its columns, those without a name or a text, and what of the rows below is left out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from icm_engine.data.readers.dialect import Cells, Row
from icm_engine.data.readers.source import check_columns

Below = Callable[[int], Iterable[Cells]]  # the cells of the rows below a line


class Header:
    """The columns of a file; those that have neither a name nor a text at the header's end are not there."""

    def __init__(self, name: str, row: Row, below: Below) -> None:
        self.line, self.text = row.line, "".join(row.lines)
        unnamed = {k for k, cell in enumerate(row.cells) if not cell.strip()}
        filled = _filled(unnamed, below(row.line)) if unnamed else set()
        dropped = unnamed - filled
        self._names = [_name(k, row.cells) if k in filled else cell for k, cell in enumerate(row.cells)]
        self._kept = [k for k in range(len(row.cells)) if k not in dropped] if dropped else None
        self.columns = tuple(self._names[k] for k in range(len(row.cells)) if k not in dropped)
        self.least = 1 + max((k for k in range(len(row.cells)) if k not in dropped), default=0)
        self.width = len(row.cells)
        self.notes = (*_said("without a name or a text", "left out", [f"{k + 1}" for k in sorted(dropped)]),
                      *_said("without a name", "called", [self._names[k] for k in sorted(filled)]))  # fmt: skip
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

    def sees(self, row: Row, width: int | None = None) -> bool:
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
