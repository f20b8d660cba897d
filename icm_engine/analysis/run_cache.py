"""Readings of runs cached between page refreshes, and how often a live page refreshes.

A refreshing tab takes about 0.3 of a processor, nearly all of it in the browser. On a laptop the search needs it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from threading import Lock

from icm_engine.analysis.label_history import last_turn
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import Overview, open_reading, overview, refreshed
from icm_engine.runs import control
from icm_engine.store.store import Store

AT_FULL_PACE = 3  # tabs
FORGOTTEN = 30.0  # seconds without a refresh: closed, or hidden and throttled by its browser


class RefreshThrottle:
    """Tracks the refreshing tabs and slows them down together."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock, self._ticked = clock, Lock(), dict[str, float]()

    def stretch(self, tab: str) -> int:
        """Count a refresh of this tab; return the factor, at least 1, by which its next refresh is delayed."""
        with self._lock:
            now = self._ticked[tab] = self._clock()
            self._ticked = {name: last for name, last in self._ticked.items() if now - last < FORGOTTEN}
            return ceil(len(self._ticked) / AT_FULL_PACE)


Key = tuple[str, str, float, bool]  # database, run, when it was created, whether gold is withheld


@dataclass(slots=True)
class _Place:
    """One cached reading. Its lock keeps threads from reading the same events twice."""

    lock: Lock = field(default_factory=Lock)
    reading: Reading | None = None


class RunCache:
    """Caches readings so that no event is read twice; evicts the oldest when full. Thread-safe.

    A blind run, or a fork of one, is read without gold from its first event, so no part of it is computed from gold.
    """

    def __init__(self, size: int = 64) -> None:
        self.size, self._lock, self._places = size, Lock(), dict[Key, _Place]()

    def reading(self, store: Store, run: str) -> Reading:
        """Return the run as it is now, without gold while it is blind. Raises NotFound."""
        seen = self._read(store, run)
        return self._read(store, run, withheld=True) if self._blind(store, seen) else seen

    def unread(self, store: Store, run: str) -> int:
        """Return how many events of the run are not in the cache. Raises NotFound."""
        known = self._place(self._key(store, run)).reading
        return store.last_number(run) - (known.cursor if known else 0)

    def _blind(self, store: Store, seen: Reading) -> bool:
        """Whether the run is blind. Blinding counts when requested, unblinding when logged; forks inherit."""
        asked = (command.body for command in store.pending(seen.run.name) if command.verb == "hand")
        if any(body.get("verb") == "blind" for body in asked):
            return True
        turn, parent = last_turn(seen.acts), seen.run.spec.forked_from
        if turn is None and parent is not None and store.has_run(parent):
            return self._blind(store, self._read(store, parent))
        return turn == "blind"

    def _read(self, store: Store, run: str, withheld: bool = False) -> Reading:
        place = self._place(self._key(store, run, withheld))
        with place.lock:
            place.reading = refreshed(store, place.reading or open_reading(store, run, withheld))
            return place.reading

    def _key(self, store: Store, run: str, withheld: bool = False) -> Key:
        return str(store.path), run, store.created(run), withheld

    def _place(self, key: Key) -> _Place:
        with self._lock:
            self._places[key] = place = self._places.pop(key, None) or _Place()
            while len(self._places) > self.size:
                self._places.pop(next(iter(self._places)))
        return place


def run_overview(store: Store, shelf: RunCache, run: str) -> Overview:
    """Return a run's line in the list of runs."""
    return overview(shelf.reading(store, run), control.status(store, run), store.created(run))
