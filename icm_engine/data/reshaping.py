"""Files whose rows are not yet the rows that a task expects: several answers in a row, or chosen and rejected texts.

A shape is recognised by the names and the cells of the first rows; a note says what was made of what.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

from icm_engine.data.arena_votes import arena_votes
from icm_engine.data.choice_questions import choice_questions
from icm_engine.data.chosen_rejected import chosen_rejected
from icm_engine.data.column_names import is_our_export
from icm_engine.data.readers.source import Record, Source
from icm_engine.data.tasks.spec import TaskSpec
from icm_engine.data.wide_answers import wide_answers

LOOKED_AT = 1000  # rows in which a shape is looked for


class Shape(Protocol):
    """What turns one row of a file into rows that a task expects."""

    def columns(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Return the columns of the new rows, of those of the file."""
        ...

    def rows(self, record: Record, name: str) -> Iterator[Record]:
        """Yield the new rows. Raises ImportRefused for a cell that does not fit."""
        ...

    def notes(self) -> tuple[str, ...]:
        """Return sentences about what was made of what, with counts of the pass that was begun last."""
        ...

    def begin(self) -> None:
        """Begin to count anew."""
        ...


class ReshapedSource:
    """A source whose rows have another shape; see `Source`."""

    def __init__(self, source: Source, shape: Shape) -> None:
        self.source, self.shape, self.name, self.kind = source, shape, source.name, source.kind
        self.total: int | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return self.shape.columns(self.source.columns)

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.source.notes, *self.shape.notes())

    def records(self) -> Iterator[Record]:
        count = 0
        self.shape.begin()
        for record in self._reshaped(self.source.records()):
            count += 1
            yield record
        self.total = count

    def head(self, rows: int) -> tuple[tuple[str, ...], list[Record]]:
        columns, records = self.source.head(rows)
        made = list(islice(self._reshaped(iter(records)), rows))
        self.shape.begin()
        return self.shape.columns(columns), made

    def _reshaped(self, records: Iterator[Record]) -> Iterator[Record]:
        for record in records:
            yield from self.shape.rows(record, self.name)


def reshaped(source: Source, spec: TaskSpec, mapping: Mapping[str, str | Sequence[str]]) -> Source:
    """Return the source, or one whose rows have the shape that the task expects."""
    columns, first = source.head(LOOKED_AT)
    if is_our_export(columns):
        return source
    mapped = {field: [value] if isinstance(value, str) else list(value) for field, value in mapping.items()}
    finders = (chosen_rejected, arena_votes, wide_answers, choice_questions)
    shapes = (find(spec, columns, first, mapped) for find in finders)
    shape: Shape | None = next((found for found in shapes if found is not None), None)
    return source if shape is None else ReshapedSource(source, shape)
