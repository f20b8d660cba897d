"""Readings kept between looks at runs, and the one place that decides whether a page gets gold with them."""

from dataclasses import dataclass, field
from threading import Lock

from icm_engine.analysis.history import last_turn
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.views import Overview, open_reading, overview, refreshed
from icm_engine.runs import control
from icm_engine.runs.store import Store

Key = tuple[str, str, float, bool]  # database, run, when it was created, whether gold is withheld


@dataclass(slots=True)
class _Place:
    """One reading. Who brings it up to date holds the lock: the others would read the same events once more."""

    lock: Lock = field(default_factory=Lock)
    reading: Reading | None = None


class Shelf:
    """Readings kept between looks, so that no event is read twice; the oldest goes when there are too many.

    A blind run, or a fork of one, is read without gold from its first event, so nothing computed from gold is in it.
    Any number of threads may look at once.
    """

    def __init__(self, size: int = 64) -> None:
        self.size, self._lock, self._places = size, Lock(), dict[Key, _Place]()

    def reading(self, store: Store, run: str) -> Reading:
        """Return the run as it is now, without gold while it is blind. Raises NotFound."""
        seen = self._read(store, run)
        return self._read(store, run, withheld=True) if self._blind(store, seen) else seen

    def _blind(self, store: Store, seen: Reading) -> bool:
        """A wish to be blind counts at once, one to see only when it is in the log; forks begin as their parent is."""
        asked = (command.body for command in store.pending(seen.run.name) if command.verb == "hand")
        if any(body.get("verb") == "blind" for body in asked):
            return True
        turn, parent = last_turn(seen.acts), seen.run.spec.forked_from
        if turn is None and parent is not None and store.has_run(parent):
            return self._blind(store, self._read(store, parent))
        return turn == "blind"

    def _read(self, store: Store, run: str, withheld: bool = False) -> Reading:
        place = self._place((str(store.path), run, store.created(run), withheld))
        with place.lock:
            place.reading = refreshed(store, place.reading or open_reading(store, run, withheld))
            return place.reading

    def _place(self, key: Key) -> _Place:
        with self._lock:
            self._places[key] = place = self._places.pop(key, None) or _Place()
            while len(self._places) > self.size:
                self._places.pop(next(iter(self._places)))
        return place


def runs_overview(store: Store, shelf: Shelf, limit: int | None = None) -> tuple[Overview, ...]:
    """Return the list of runs that people asked for one by one, the newest first."""
    names = store.run_names(of_experiments=False)[:limit]
    return tuple(run_overview(store, shelf, run) for run in names)


def run_overview(store: Store, shelf: Shelf, run: str) -> Overview:
    """Return a run's line of the list."""
    return overview(shelf.reading(store, run), control.status(store, run))
