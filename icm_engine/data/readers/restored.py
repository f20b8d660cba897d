"""Our own CSV export, read back: without the apostrophes that keep spreadsheets from running a cell."""

from collections.abc import Iterator, Sequence

from icm_engine.data.readers.source import Record, Source


class RestoredSource:
    """A source whose cells lose one leading apostrophe; see `Source`.

    The export puts one before every text cell that begins with an apostrophe, so none here is somebody's own.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.name, self.kind = source, source.name, source.kind
        self.columns = _without(source.columns)

    @property
    def notes(self) -> tuple[str, ...]:
        return self.source.notes

    @property
    def total(self) -> int | None:
        return self.source.total

    def records(self) -> Iterator[Record]:
        return map(_restored, self.source.records())

    def head(self, rows: int) -> tuple[tuple[str, ...], list[Record]]:
        columns, records = self.source.head(rows)
        return _without(columns), [_restored(record) for record in records]


def _without(columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(column.removeprefix("'") for column in columns)


def _restored(record: Record) -> Record:
    return Record(record.where, {c.removeprefix("'"): text.removeprefix("'") for c, text in record.cells.items()})
