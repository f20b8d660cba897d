"""A first pass over the rows: how many there are, which names come twice, and which rows are swapped pairs.

Eight bytes a row and name are kept, never the rows: hashes, whose collision among a million has chance 3e-8.
"""

from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]
NO_ROW = -1


@dataclass(frozen=True)
class Survey:
    """What the first pass found; rows count from 0.

    `partners` has, for each row that is the swapped twin of an earlier one, that row, else -1; it is None for tasks
    without twins. `positions` has the place of each row's example once the twins that are missing have been made.
    `alike` are the folded hashes of groups that are written in several ways; `dropped` rows were left out.
    """

    rows: int
    names: Ints  # sorted hashes
    partners: Ints | None
    makes_twin: Ints | None
    positions: Ints | None
    alike: frozenset[int] = frozenset()
    dropped: int = 0

    def knows(self, name: str) -> bool:
        """Say whether a row of the file has this name."""
        place = int(np.searchsorted(self.names, hash(name)))
        return place < len(self.names) and int(self.names[place]) == hash(name)

    def repeated(self) -> frozenset[int]:
        """Return the hashes of names that more than one row has."""
        again = self.names[1:] == self.names[:-1]
        return frozenset(self.names[1:][again].tolist())


@dataclass
class Surveyor:
    """Takes one row after the other, and says what it saw."""

    pairs: bool
    _names: "array[int]" = field(default_factory=lambda: array("q"))
    _forward: "array[int]" = field(default_factory=lambda: array("q"))
    _swapped: "array[int]" = field(default_factory=lambda: array("q"))
    _groups: "array[int]" = field(default_factory=lambda: array("q"))
    _folded: "array[int]" = field(default_factory=lambda: array("q"))
    dropped: int = 0

    def see(self, name: str, query: str = "", response_a: str = "", response_b: str = "") -> None:
        """Take a row: its name and, for pairs, its texts."""
        self._names.append(hash(name))
        if self.pairs:
            self._forward.append(hash((query, response_a, response_b)))
            self._swapped.append(hash((query, response_b, response_a)))

    def see_group(self, group: str) -> None:
        """Take the group of a row."""
        self._groups.append(hash(group))
        self._folded.append(hash(fold(group)))

    def survey(self) -> Survey:
        """Return what was seen."""
        names = np.sort(_ints(self._names))
        if not self.pairs:
            alike = _written_differently(_ints(self._groups), _ints(self._folded))
            return Survey(len(names), names, None, None, None, alike, self.dropped)
        partners = matched(_ints(self._forward), _ints(self._swapped))
        made = partners == NO_ROW
        made[partners[partners != NO_ROW]] = False
        positions = np.arange(len(names)) + np.concatenate(([0], np.cumsum(made)))[: len(names)]
        return Survey(len(names), names, partners, made.astype(np.int64), positions, dropped=self.dropped)


def fold(text: str) -> str:
    """Return a text such that two that differ in case and blanks alone are one."""
    return "".join(text.split()).casefold()


def _written_differently(texts: Ints, folded: Ints) -> frozenset[int]:
    """The folded hashes that more than one text has."""
    both = np.unique(np.stack((folded, texts), axis=1), axis=0) if len(texts) else np.empty((0, 2), dtype=np.int64)
    found, count = np.unique(both[:, 0], return_counts=True)
    return frozenset(found[count > 1].tolist())


def matched(forward: Ints, swapped: Ints) -> Ints:
    """Return for each row the earlier row whose pair it swaps, or -1; the k-th of one order goes with the k-th.

    A pair of two equal responses swaps itself: the second goes with the first, the fourth with the third.
    """
    rows = np.flatnonzero(np.isin(forward, swapped))
    key, side = np.minimum(forward, swapped)[rows], (forward > swapped)[rows].astype(np.int64)
    itself = (forward == swapped)[rows]
    rank = _rank_within(key, side, rows)
    side, rank = np.where(itself, rank % 2, side), np.where(itself, rank // 2, rank)
    order = np.lexsort((side, rank, key))
    key, rank, rows = key[order], rank[order], rows[order]
    together = np.flatnonzero((key[1:] == key[:-1]) & (rank[1:] == rank[:-1]))
    partners = np.full(len(forward), NO_ROW, dtype=np.int64)
    first, second = rows[together], rows[together + 1]
    partners[np.maximum(first, second)] = np.minimum(first, second)
    return partners


def _rank_within(key: Ints, side: Ints, rows: Ints) -> Ints:
    """The rank of each row among those of the same key and side, from 0."""
    order = np.lexsort((rows, side, key))
    begins = np.ones(len(rows), dtype=bool)
    begins[1:] = (key[order][1:] != key[order][:-1]) | (side[order][1:] != side[order][:-1])
    starts = np.maximum.accumulate(np.where(begins, np.arange(len(rows)), 0))
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(len(rows)) - starts
    return rank


def _ints(values: "array[int]") -> Ints:
    return np.frombuffer(values, dtype=np.int64) if values else np.empty(0, dtype=np.int64)
