"""How often a live page draws itself anew: many tabs together ask for no more than a few at full pace do.

A tab that ticks costs some 0.3 of a processor, nearly all of it in the browser, and on a laptop the search needs it.
"""

import time
from collections.abc import Callable
from math import ceil
from threading import Lock

AT_FULL_PACE = 3  # tabs
FORGOTTEN = 30.0  # seconds without a tick: closed, or hidden and slowed by its browser


class Pace:
    """The tabs that tick now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock, self._ticked = clock, Lock(), dict[str, float]()

    def stretch(self, tab: str) -> int:
        """Count a tick of this tab; return how many times as long, at least 1, it is to wait for its next one."""
        with self._lock:
            now = self._ticked[tab] = self._clock()
            self._ticked = {name: last for name, last in self._ticked.items() if now - last < FORGOTTEN}
            return ceil(len(self._ticked) / AT_FULL_PACE)
