"""Fewer points for the same picture: the lowest and the highest of every bucket, about two a pixel."""

from collections.abc import Sequence

POINTS = 500  # more than one a pixel for a curve 400 pixels wide; all are sent at every tick


def extremes(values: Sequence[float | None], points: int = POINTS) -> list[int]:
    """Return the places to keep, in order: each bucket's lowest and highest value, the first and the last place.

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
    """Return the places of each column's lowest and highest value, the first place and the last, in order.

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
    """Return the places where a curve of steps turns: level stretches need only their ends.

    >>> corners([1, 1, 1, 2, 2, 3])
    [0, 2, 3, 4, 5]
    """
    last = len(values) - 1
    return [k for k, v in enumerate(values) if k in (0, last) or values[k - 1] != v or values[k + 1] != v]


def every_nth(size: int, points: int) -> list[int]:
    """Return at most about `points` places, evenly, the last one always: for marks, of which any will do."""
    stride = max(1, -(-size // points))
    return list(range((size - 1) % stride, size, stride)) if size else []
