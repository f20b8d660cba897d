"""Rows of a data set read on access: a page looks at some of a million examples and reads no others."""

import json
import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, overload

from icm_engine.core.errors import StoreError
from icm_engine.core.labeling import Example
from icm_engine.store.database import DAMAGED, store_errors, stored_json
from icm_engine.store.events import Json

Item = TypeVar("Item")
FEW = 10_000  # rows read all at once
KEPT = 50_000  # rows cached of larger data sets

_SELECT = "select id, fields, consistency_group, answer, twin_of, input from examples where dataset = ? "


@contextmanager
def look_into(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database for one read; a deleted one is not created again. Raises StoreError for file errors."""
    with store_errors(path), closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
        yield db


def among(places: Sequence[int]) -> tuple[str, Any]:
    """Return the SQL condition that a row's position is one of these, with its one parameter."""
    if isinstance(places, range):
        assert places.start == 0
        return "position < ?", len(places)
    return "position in (select value from json_each(?))", json.dumps(list(places))


class StoredRows(Sequence[Item]):
    """The first `count` rows of a data set, each passed through `read` on access.

    Data sets never change, and one used by a run cannot be deleted. Every access opens the database, so threads may
    share this object.
    """

    def __init__(self, path: Path, dataset: str, count: int, read: Callable[[Sequence[Any]], Item]) -> None:
        self._path, self._dataset, self._count, self._read = path, dataset, count, read
        self._kept: dict[int, Item] = {}

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Item]: ...

    def __getitem__(self, place: int | slice) -> Item | Sequence[Item]:
        if isinstance(place, slice):
            return tuple(self[i] for i in range(*place.indices(self._count)))
        position = place + self._count if place < 0 else place
        if not 0 <= position < self._count:
            raise IndexError(f"position {place} of {self._count} examples")
        return self._whole[position] if self._count <= FEW else self._one(position)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._whole) if self._count <= FEW else self._all()

    @property
    def positions(self) -> Sequence[int]:
        """The positions in the data set, ascending; a range if they are the first ones."""
        return range(self._count)

    def find(self, example: str) -> int:
        """Return the position of the example of this id. Raises KeyError."""
        position = _position(self._path, self._dataset, example)
        if position is None or position >= self._count:
            raise KeyError(example)
        return position

    @cached_property
    def _whole(self) -> tuple[Item, ...]:
        return tuple(self._all())

    def _all(self) -> Iterator[Item]:
        """All rows. Raises StoreError if their number has changed."""
        found = 0
        for item in self._rows():
            found += 1
            yield item
        if found != self._count:
            raise _fewer(self._dataset, self._count)

    def _rows(self) -> Iterator[Item]:
        with look_into(self._path) as db:
            query = _SELECT + "and position < ? order by position"
            yield from map(self._read, db.execute(query, [self._dataset, self._count]))

    def _one(self, position: int) -> Item:
        if position not in self._kept:
            if len(self._kept) >= KEPT:
                self._kept = {}
            with look_into(self._path) as db:
                row = db.execute(_SELECT + "and position = ?", [self._dataset, self._at(position)]).fetchone()
            if row is None:
                raise _fewer(self._dataset, self._count)
            self._kept[position] = self._read(row)
        return self._kept[position]

    def _at(self, place: int) -> int:
        """The data set position of the row at this index."""
        return place


class PartRows(StoredRows[Item]):
    """Rows at some positions of a data set, passed through `read`: a batch, or what a limit takes."""

    def __init__(
        self, path: Path, dataset: str, positions: Sequence[int], read: Callable[[Sequence[Any]], Item]
    ) -> None:
        super().__init__(path, dataset, len(positions), read)
        self._positions = positions

    @property
    def positions(self) -> Sequence[int]:
        return self._positions

    def find(self, example: str) -> int:
        """Return the index of the example of this id. Raises KeyError."""
        place = self.place_of(_position(self._path, self._dataset, example))
        if place is None:
            raise KeyError(example)
        return place

    def place_of(self, position: int | None) -> int | None:
        """Return the index of this position; None if it is not in this part."""
        if position is None:
            return None
        place = bisect_left(self.positions, position)
        return place if place < len(self.positions) and self.positions[place] == position else None

    def _rows(self) -> Iterator[Item]:
        some, value = among(self.positions)
        with look_into(self._path) as db:
            yield from map(self._read, db.execute(f"{_SELECT} and {some} order by position", [self._dataset, value]))

    def _at(self, place: int) -> int:
        return self.positions[place]


def places_of(rows: Sequence[Any], positions: Sequence[int]) -> list[int]:
    """Return the indices that data set positions have among a run's rows, skipping absent ones."""
    if isinstance(rows, PartRows):
        return [place for place in map(rows.place_of, positions) if place is not None]
    return [position for position in positions if position < len(rows)]


class StoredIds(Sequence[str]):
    """The ids of stored examples, and the index of each id."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples, self._places = examples, dict[str, int]()

    def __len__(self) -> int:
        return len(self._examples)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...

    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return tuple(example.id for example in self._examples[place])
        return self._examples[place].id

    def __iter__(self) -> Iterator[str]:
        return (example.id for example in self._examples)

    def place(self, example: str) -> int:
        """Return the index of an id. Raises KeyError."""
        if (place := self._places.get(example)) is not None:
            return place
        if not self._places and not self._stored:
            self._places = {name: place for place, name in enumerate(self)}
        if example not in self._places and isinstance(self._examples, StoredRows):
            self._places[example] = self._examples.find(example)
        return self._places[example]

    @property
    def _stored(self) -> bool:
        """Whether there are too many to read them all."""
        return isinstance(self._examples, StoredRows) and len(self._examples) > FEW


def _position(path: Path, dataset: str, example: str) -> int | None:
    with look_into(path) as db:
        row = db.execute("select position from examples where dataset = ? and id = ?", [dataset, example]).fetchone()
    return int(row[0]) if row else None


def _fewer(dataset: str, count: int) -> StoreError:
    return StoreError(f"data set {dataset!r} has no longer the {count:,} examples that it had: {DAMAGED}")


def example_of(row: Sequence[Any]) -> Example:
    """Return the example of a row."""
    return Example(row[0], stored_json(row[1], f"example {row[0]!r}"), row[2], row[3], row[4])


def inputs_of(row: Sequence[Any]) -> Json:
    """Return the input cells of a row."""
    found: Json = stored_json(row[5], f"the input row of example {row[0]!r}")
    return found
