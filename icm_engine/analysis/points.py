"""The points of a run's curves, many of them packed: a run of 10^5 steps is looked at for hours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import chain, islice
from operator import attrgetter, eq
from typing import overload

import numpy as np
import numpy.typing as npt

from icm_engine.analysis.tally import Accuracy

BLOCK = 250  # points that are packed together; in longer runs only their extremes are drawn


@dataclass(frozen=True, slots=True)
class Point:
    """One place on every curve: the accepted labeling after an event (step 0: the initial labels).

    `verdict` is a step's, or what else led here: initial, forked, hand, retuned.
    """

    step: int
    utility: float
    weighted_predictability: float
    inconsistency: float
    temperature: float | None
    acceptance_rate: float | None  # over the last 50 proposals; None before the first
    balance: tuple[int, ...]
    accuracy: Accuracy | None
    verdict: str
    delta: float
    event: int
    tokens: int  # encoded so far
    pairs: int  # inconsistent ones

    @property
    def labelled(self) -> int:
        return sum(self.balance)


OBJECTS = ("balance", "accuracy", "verdict")
WHOLES = ("step", "event", "tokens", "pairs")
FIELDS = tuple(one.name for one in fields(Point))
MAYBE = ("temperature", "acceptance_rate")
NUMBERS = tuple(name for name in FIELDS if name not in OBJECTS)


@dataclass(frozen=True, eq=False)
class Packed:
    """A block of points, in a quarter of the memory."""

    numbers: npt.NDArray[np.float64]  # a row for each point; nan where there is none
    objects: tuple[tuple[object, ...], ...]  # equal ones are one


def packed(points: Sequence[Point]) -> Packed:
    """Pack a block of points."""
    once = dict[object, object]()
    objects = ([once.setdefault(value, value) for value in map(attrgetter(name), points)] for name in OBJECTS)
    numbers = np.array([attrgetter(*NUMBERS)(point) for point in points], dtype=np.float64)
    return Packed(numbers, tuple(map(tuple, objects)))


@lru_cache(maxsize=400)  # blocks: 100,000 points, some 50 MB, whatever is looked at
def unpacked(block: Packed) -> tuple[Point, ...]:
    """Return the points of a block, equal to those that were packed."""
    columns = {name: column.tolist() for name, column in zip(NUMBERS, block.numbers.T, strict=True)}
    columns |= {name: list(map(int, columns[name])) for name in WHOLES}
    columns |= {name: [None if value != value else value for value in columns[name]] for name in MAYBE}
    columns |= dict(zip(OBJECTS, block.objects, strict=True))
    return tuple(Point(*values) for values in zip(*(columns[name] for name in FIELDS), strict=True))


class Points(Sequence[Point]):
    """All points of a run: whole blocks packed, and the rest."""

    def __init__(self, blocks: Sequence[Packed] = (), rest: Sequence[Point] = ()) -> None:
        self.blocks, self.rest = tuple(blocks), tuple(rest)

    def __len__(self) -> int:
        return BLOCK * len(self.blocks) + len(self.rest)

    def __iter__(self) -> Iterator[Point]:
        return chain(chain.from_iterable(map(unpacked, self.blocks)), self.rest)

    @overload
    def __getitem__(self, place: int) -> Point: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Point, ...]: ...
    def __getitem__(self, place: int | slice) -> Point | tuple[Point, ...]:
        if isinstance(place, slice):
            return self._between(*place.indices(len(self)))
        if not -len(self) <= place < len(self):
            raise IndexError(f"point {place} of {len(self)}")
        block, within = divmod(place % len(self), BLOCK)
        return unpacked(self.blocks[block])[within] if block < len(self.blocks) else self.rest[within]

    def _between(self, first: int, end: int, stride: int) -> tuple[Point, ...]:
        """Unpack no block but those asked for; forwards only."""
        skipped, end = first // BLOCK, max(first, end)
        found = chain(*map(unpacked, self.blocks[skipped : end // BLOCK + 1]), self.rest)
        return tuple(islice(found, first - BLOCK * skipped, end - BLOCK * skipped, stride))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Points{tuple(self)}"
