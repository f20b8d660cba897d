"""The curves of a run: packed points, and downsampling that preserves the picture."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field, fields
from functools import lru_cache
from itertools import chain, islice
from math import isnan
from operator import attrgetter, eq
from typing import Any, NamedTuple, overload

import numpy as np

from icm_engine.analysis.label_history import Accuracy
from icm_engine.core.labeling import Label

POINTS = 500  # more than one per pixel for a curve 400 pixels wide; all are sent at every refresh


def extremes(values: Sequence[float | None], points: int = POINTS) -> list[int]:
    """Return the indices to keep, in order: each bucket's minimum and maximum, the first and the last index.

    >>> extremes([0, 9, 1, 1, -5, 2, 3, 3], points=4)
    [0, 1, 4, 7]
    """
    size = len(values)
    if size <= points:
        return list(range(size))
    buckets = max(1, points // 2)
    kept = {0, size - 1}
    for bucket in range(buckets):
        places = range(bucket * size // buckets, (bucket + 1) * size // buckets)
        known = [(value, place) for place in places if (value := values[place]) is not None]
        if known:
            kept |= {min(known)[1], max(known)[1]}
    return sorted(kept)


def extremes_of(columns: Sequence[Sequence[float | None]]) -> list[int]:
    """Return the indices of each column's minimum and maximum, the first and the last index, in order.

    >>> extremes_of([[3, 9, 1, 4], [None, 2, 2, 5]])
    [0, 1, 2, 3]
    """
    kept = {0, len(columns[0]) - 1}
    for column in columns:
        known = [(value, place) for place, value in enumerate(column) if value is not None]
        if known:
            kept |= {min(known)[1], max(known)[1]}
    return sorted(kept)


def corners(values: Sequence[float | None]) -> list[int]:
    """Return the indices where a step curve changes value; level stretches need only their ends.

    >>> corners([1, 1, 1, 2, 2, 3])
    [0, 2, 3, 4, 5]
    """
    last = len(values) - 1
    return [k for k, v in enumerate(values) if k in (0, last) or values[k - 1] != v or values[k + 1] != v]


def every_nth(size: int, points: int) -> list[int]:
    """Return about `points` evenly spaced indices, always including the last, to thin marks."""
    stride = max(1, -(-size // points))
    return list(range((size - 1) % stride, size, stride)) if size else []


BLOCK = 250  # points packed together; longer runs are drawn from their extremes


class Point(NamedTuple):
    """One point of every curve: the accepted labeling after an event (step 0: the initial labels).

    `verdict` is that of a step or round, or the kind of another event: initial, forked, hand, retuned. `delta` is the
    change of U that a step or round proposed.
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

    @property
    def tried(self) -> float:
        """U of the labels that a step or round proposed."""
        return self.utility + (self.delta if self.verdict == "rejected" else 0.0)


OTHERS = ("balance", "accuracy", "verdict")
SHARES = len(fields(Accuracy))
WHOLES = ("step", "event", "tokens", "pairs")
MAYBE = ("temperature", "acceptance_rate")
NUMBERS = tuple(name for name in Point._fields if name not in OTHERS)


@dataclass(frozen=True, eq=False)
class Packed:
    """A block of points, compressed column by column; nan marks missing values."""

    deflated: bytes
    labels: int  # examples counted in a balance
    verdicts: tuple[str, ...]  # as codes


def packed(points: Sequence[Point]) -> Packed:
    """Compress a block of points. Most numbers equal those of the step before, so blocks become small."""
    verdicts = tuple(sorted({point.verdict for point in points}))
    rows = [
        (*attrgetter(*NUMBERS)(point), verdicts.index(point.verdict), *_shares(point.accuracy), *point.balance)
        for point in points
    ]
    columns = np.ascontiguousarray(np.array(rows, dtype=np.float64).T)
    return Packed(zlib.compress(columns.tobytes()), len(points[0].balance), verdicts)


@lru_cache(maxsize=400)  # blocks kept unpacked: 100,000 points, some 50 MB
def unpacked(block: Packed) -> tuple[Point, ...]:
    """Return the points of a block, equal to those that were packed."""
    numbers = np.frombuffer(zlib.decompress(block.deflated), dtype=np.float64)
    rows = numbers.reshape(len(NUMBERS) + 1 + SHARES + block.labels, -1).tolist()
    verdict, *others = rows[len(NUMBERS) :]
    shares, counts = others[:SHARES], (map(int, column) for column in others[SHARES:])
    columns: dict[str, list[Any]] = dict(zip(NUMBERS, rows, strict=False))
    columns |= {name: list(map(int, columns[name])) for name in WHOLES}
    columns |= {name: list(map(_maybe, columns[name])) for name in MAYBE}
    columns["verdict"] = [block.verdicts[int(number)] for number in verdict]
    columns["accuracy"] = [_accuracy(*values) for values in zip(*shares, strict=True)]
    columns["balance"] = list(zip(*counts, strict=True))
    return tuple(map(Point._make, zip(*(columns[name] for name in Point._fields), strict=True)))


def _shares(accuracy: Accuracy | None) -> tuple[float | None, ...]:
    return (None,) * SHARES if accuracy is None else astuple(accuracy)


def _accuracy(raw: float, balanced: float, flipped: float) -> Accuracy | None:
    return None if isnan(raw) else Accuracy(raw, balanced, _maybe(flipped))


def _maybe(number: float) -> float | None:
    return None if isnan(number) else number


class Points(Sequence[Point]):
    """All points of a run: complete blocks packed, and the newest points unpacked."""

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
        place %= len(self)
        if (within := place - BLOCK * len(self.blocks)) >= 0:
            return self.rest[within]
        return unpacked(self.blocks[place // BLOCK])[place % BLOCK]

    def _between(self, first: int, end: int, stride: int) -> tuple[Point, ...]:
        """Unpack only the requested blocks, in ascending order."""
        skipped, end = min(first // BLOCK, len(self.blocks)), max(first, end)
        found = chain(*map(unpacked, self.blocks[skipped : end // BLOCK + 1]), self.rest)
        return tuple(islice(found, first - BLOCK * skipped, end - BLOCK * skipped, stride))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Points{tuple(self)}"


WHOLE = 2000  # points drawn individually


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A run's curves: one point per step (`unit`: or round), the initial labels first."""

    labels: tuple[Label, ...]
    points: Sequence[Point] = field(default_factory=Points)
    unit: str = "step"

    @property
    def last(self) -> Point | None:
        return self.points[-1] if self.points else None


def sketched(block: Sequence[Point]) -> list[Point]:
    """Return the points that curves keep: extremes of U and every act of a person."""
    jumping: list[list[float | None]] = [
        [point.utility for point in block],
        [point.acceptance_rate for point in block],
        [float(point.pairs) for point in block],
        [point.accuracy.raw if point.accuracy else None for point in block],
    ]
    acts = [place for place, point in enumerate(block) if point.verdict in ("hand", "retuned")]
    return [block[place] for place in sorted({*extremes_of(jumping), *acts})]
