"""A run whose server went away: it pauses with the reason, and goes on by itself when the same server is back.

Nothing is scored meanwhile, and what a person asks (stop, pause, resume) is obeyed as ever. The worker waits as long as
it waits in any pause; after that, resume starts another one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard

from icm_engine.core.errors import IcmError, ServerUnavailable
from icm_engine.core.scoring import Scorer
from icm_engine.runs.control import steps_left
from icm_engine.runs.events import Json
from icm_engine.runs.store import Event, Store

LOOK = 3.0  # seconds between two looks whether the server is back
POLL = 0.1  # seconds between two looks at the commands
SERVER = "server"  # what a run that pauses by itself waits for
BACK = "the server is back"


@dataclass
class ServerWait:
    """One worker's wait; `obey` answers the pending commands, `ended` says whether the run is over.

    `connect` makes a scorer anew, and raises while it cannot be done.
    """

    store: Store
    run: str
    idle: float
    append: Callable[[str, Json], None]
    obey: Callable[[], None]
    ended: Callable[[], bool]
    connect: Callable[[], Scorer]

    def wait(self, error: ServerUnavailable) -> bool:
        """Pause the run because of an error; return whether to go on: the server is back, or a person says so."""
        if steps_left(self.store, self.run) != 0:
            self._pause(str(error), SERVER)
        began = looked = time.monotonic()
        while (now := time.monotonic()) - began <= self.idle:
            self.obey()
            if self.ended():
                return False
            if steps_left(self.store, self.run) != 0:
                return True  # a person says so
            if now - looked >= LOOK:
                looked = now
                if self._back():
                    return True
            time.sleep(POLL)
        return False

    def _pause(self, reason: str, waits_for: str | None) -> None:
        last = self._last()
        left = last.body["left"] if _waits(last) else steps_left(self.store, self.run)
        waiting = {"waits_for": waits_for, "left": left} if waits_for else {}
        self.append("control", {"verb": "pause", "reason": reason, **waiting})

    def _back(self) -> bool:
        """Whether the server is back; a run that waits for it goes on, but only with what it had."""
        last = self._last()
        try:
            found = dict(self.connect().describe())
        except IcmError as error:  # not yet; what hinders now may be something else than before
            if _waits(last) and last.body["reason"] != str(error):
                self._pause(str(error), SERVER)
            return False
        if not _waits(last):
            return True  # a person paused the run: only what they ask for beside it is done
        if different := self._different(found):
            self._pause(f"the server is back, but not as it was ({different}): resume goes on with it as it is", None)
            return True
        steps = {"verb": "step", "steps": last.body["left"]} if last.body["left"] else {"verb": "resume"}
        self.append("control", {**steps, "reason": BACK})
        return True

    def _different(self, found: Json) -> str:
        before = self.store.last_event(self.run, ("model",))
        known = before.body if before is not None else found
        return ", ".join(f"{k}: {known.get(k)} -> {found[k]}" for k in found if known.get(k) != found[k])

    def _last(self) -> Event | None:
        return self.store.last_event(self.run, ("control", "failed", "finished"))


def _waits(last: Event | None) -> TypeGuard[Event]:
    return last is not None and last.body.get("waits_for") == SERVER
