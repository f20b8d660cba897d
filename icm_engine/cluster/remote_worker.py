"""A worker on another machine: the same search and jobs on a local replica of what they need.

Every event is sent to the home database first, and is kept in the replica only if home accepted it. So a run's worker
need not know where it is, and a lost machine costs only the step in progress.
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
    """The worker's interface to the home database, as `StoreServer` documents it."""

    def begin(self, name: str, code: str, place: str) -> tuple[str, RunBundle]: ...

    def append(
        self, name: str, token: str, number: int, kind: str, body: Json, seconds: float, answered: Sequence[Command]
    ) -> list[Event]: ...

    def pending(self, name: str) -> list[Command]: ...

    def renew(self, name: str, token: str, ready: bool) -> None: ...

    def keep_snapshot(self, name: str, token: str, number: int, state: Json) -> None: ...

    def end(self, name: str, token: str) -> None: ...


class ReplicaStore(Store):
    """A store that holds one run or job; writes go to the home database first, and commands are read there."""

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
    """Take a run or job as far as it goes, from where home has it. Raises what `StoreClient` raises."""
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
    """A folder for one replica; replicas that killed workers left on this machine are removed."""
    folder = unfinished(Path(tempfile.gettempdir()) / "icm-copy")
    folder.mkdir(mode=0o700)  # readable by this user alone: it contains examples
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class RemoteStoreClient:
    """The home database through a Ray actor; its errors are re-raised here with their own types."""

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
            # not `ray.get`, which releases the task's processor while it waits, so more runs than fit would start
            return getattr(self._actor, verb).remote(*values).future().result()
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise StoreError(f"the process that keeps the database is gone ({type(error).__name__})") from None
