"""The side of the database: the one writer for runs and jobs that workers on other machines do.

A worker begins with a parcel, and every event it appends comes back before its next step. The lease is in the name of
the process that drives the whole, so a run's status stays derived: where that process dies, its runs are interrupted.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from icm_engine.core.errors import RunBusy, RunError, StoreError
from icm_engine.runs.events import Json
from icm_engine.runs.lease import Holder, claim
from icm_engine.runs.parcel import Parcel, code_sha256, pack
from icm_engine.runs.store import Command, Event, Store

FROM_OUTSIDE = ("start", "cancel")  # events of a job that others than its worker append


class Keeper:
    """What a worker elsewhere may ask of the database. All that it knows is in the database: it may be begun anew."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self._store, self._holder, self._code = Store(path), holder, code_sha256()

    def begin(self, name: str, code: str, place: str) -> tuple[str, Parcel]:
        """Hand a run or job to a worker: its lease and what it needs; one that had it before can append no more.

        Raises RunBusy while a worker of this machine's own holds it, RunError for a place with other code.
        """
        if code != self._code:
            raise RunError(
                f"{place} has other code of icm_engine ({code[:12]}) than this machine ({self._code[:12]}): "
                "bring both to one version and start it again"
            )
        token = claim(self._store, name, place, self._holder)
        return token, pack(self._store, name)

    def append(
        self, name: str, token: str, number: int, kind: str, body: Json, seconds: float, answered: Sequence[Command]
    ) -> list[Event]:
        """Append an event as this number, with receipts for the commands it answers; return nothing.

        The same event sent twice is one, since an answer may be lost on its way. Where others have appended meanwhile
        (a job is cancelled from outside), nothing is appended and those events are returned. Raises RunBusy for a
        worker that was replaced, StoreError for another event under a number that is taken.
        """
        with self._store.transaction():
            self._require(name, token)
            there = self._store.read_after(name, number - 1)
            if there:
                return self._known(name, there, kind, body)
            if (last := self._store.last_number(name)) != number - 1:
                raise StoreError(f"event {number} of {name!r} came after event {last}: nothing was written")
            self._store.answer(name, answered, kind, body, token, seconds)
        return []

    def _known(self, name: str, there: Sequence[Event], kind: str, body: Json) -> list[Event]:
        first = there[0]
        if first.kind == kind and json.dumps(first.body) == json.dumps(body):
            return []
        if all(event.kind in FROM_OUTSIDE for event in there):
            return list(there)
        raise StoreError(f"event {first.number} of {name!r} is another one already: nothing was written")

    def _require(self, name: str, token: str) -> None:
        if self._store.lease_token(name) != token:
            raise RunBusy(f"{name!r} was taken over by another worker: this one stops, nothing was written")

    def pending(self, name: str) -> list[Command]:
        """Return the commands that no event has answered yet."""
        return self._store.pending(name)

    def renew(self, name: str, token: str, ready: bool) -> None:
        """Say that the worker lives, and whether it has its model; the time is this machine's own."""
        values = {"heartbeat": time.time(), **({"ready": 1} if ready else {})}
        self._store.update_lease(name, token, **values)

    def keep_snapshot(self, name: str, token: str, number: int, state: Json) -> None:
        """Keep a run's whole state after an event."""
        with self._store.transaction():
            self._require(name, token)
            self._store.keep_snapshot(name, number, state)

    def end(self, name: str, token: str) -> None:
        """Take a run or job back from its worker."""
        self._store.drop_lease(name, token)
