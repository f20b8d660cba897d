"""A worker on another machine: the same search and the same jobs, on a copy of what they need.

The copy is a small database of its own; whatever is appended to it goes home first and is kept here only if home has
it. So the worker of a run knows nothing of where it is, and a machine that is lost takes with it the step in progress.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from icm_engine.cluster.store_server import RunBundle, code_sha256, put_events, unpack
from icm_engine.core.errors import StoreError
from icm_engine.jobs import job_process, job_worker
from icm_engine.runs import worker
from icm_engine.runs.lease import unfinished
from icm_engine.store.events import Json
from icm_engine.store.store import Command, Event, Store


class StoreClient(Protocol):
    """The side of the database, as `StoreServer` documents it."""

    def begin(self, name: str, code: str, place: str) -> tuple[str, RunBundle]: ...

    def append(
        self, name: str, token: str, number: int, kind: str, body: Json, seconds: float, answered: Sequence[Command]
    ) -> list[Event]: ...

    def pending(self, name: str) -> list[Command]: ...

    def renew(self, name: str, token: str, ready: bool) -> None: ...

    def keep_snapshot(self, name: str, token: str, number: int, state: Json) -> None: ...

    def end(self, name: str, token: str) -> None: ...


class ReplicaStore(Store):
    """A store of one run or job alone; what is written goes home, and commands are read there."""

    def __init__(self, path: Path, home: StoreClient, name: str, token: str) -> None:
        super().__init__(path)
        self._home, self._name, self._token = home, name, token

    def again(self) -> "ReplicaStore":
        return ReplicaStore(self.path, self._home, self._name, self._token)

    def append(
        self, run: str, kind: str, body: Mapping[str, Any], seconds: float = 0.0, lease: str | None = None
    ) -> int:
        return self.answer(run, (), kind, body, lease, seconds)

    def answer(
        self,
        run: str,
        commands: Sequence[Command],
        kind: str,
        body: Mapping[str, Any],
        lease: str | None,
        seconds: float = 0.0,
    ) -> int:
        while True:
            with self.transaction():
                number = super().append(run, kind, body, seconds, lease)
                missed = self._home.append(run, self._token, number, kind, dict(body), seconds, commands)
                if not missed:
                    return number
                self.db.execute("delete from events where run = ? and number = ?", [run, number])
                put_events(self, run, missed)

    def pending(self, run: str) -> list[Command]:
        return self._home.pending(run)

    def keep_snapshot(self, run: str, number: int, state: Mapping[str, Any]) -> None:
        super().keep_snapshot(run, number, state)
        self._home.keep_snapshot(run, self._token, number, dict(state))

    def update_lease(self, run: str, token: str, **values: object) -> None:
        super().update_lease(run, token, **values)
        self._home.renew(run, self._token, bool(values.get("ready")))


def work(home: StoreClient, name: str) -> None:
    """Take a run or a job as far as it goes, from where home has it. Raises what `StoreClient` raises."""
    worker.obeying(lambda: home.pending(name), lambda: _hold(home, name))


def _hold(home: StoreClient, name: str) -> int:
    token, parcel = home.begin(name, code_sha256(), f"process {os.getpid()} on {socket.gethostname()}")
    with _own_folder() as folder:
        path = folder / "icm.db"
        with Store(path) as store:
            unpack(store, parcel)
        with ReplicaStore(path, home, name, token) as copy:
            if copy.has_run(name):
                code = worker.run_in_process(copy, name, idle=0.0)
            else:
                code = job_process.run_in_process(copy, name, job_worker.perform)
    home.end(name, token)
    return code


@contextmanager
def _own_folder() -> Iterator[Path]:
    """A folder for one copy; copies that killed workers left on this machine are taken away."""
    folder = unfinished(Path(tempfile.gettempdir()) / "icm-copy")
    folder.mkdir(mode=0o700)  # for this user alone: examples are in it
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class RemoteStoreClient:
    """Home through a Ray actor: what it raises is raised here as what it was."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def begin(self, name: str, code: str, place: str) -> tuple[str, RunBundle]:
        found: tuple[str, RunBundle] = self._ask("begin", name, code, place)
        return found

    def append(
        self, name: str, token: str, number: int, kind: str, body: Json, seconds: float, answered: Sequence[Command]
    ) -> list[Event]:
        missed: list[Event] = self._ask("append", name, token, number, kind, body, seconds, list(answered))
        return missed

    def pending(self, name: str) -> list[Command]:
        found: list[Command] = self._ask("pending", name)
        return found

    def renew(self, name: str, token: str, ready: bool) -> None:
        self._ask("renew", name, token, ready)

    def keep_snapshot(self, name: str, token: str, number: int, state: Json) -> None:
        self._ask("keep_snapshot", name, token, number, state)

    def end(self, name: str, token: str) -> None:
        self._ask("end", name, token)

    def _ask(self, verb: str, *values: object) -> Any:
        from ray.exceptions import RayError, RayTaskError

        try:
            # not `ray.get`, which gives the task's processor away while it waits: more runs than fit would begin
            return getattr(self._actor, verb).remote(*values).future().result()
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise StoreError(f"the process that keeps the database is gone ({type(error).__name__})") from None
