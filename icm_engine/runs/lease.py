"""One worker a run: a lease with a heartbeat, held by a process that is known by its pid and its start time."""

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

import psutil

from icm_engine.core.errors import RunBusy, StoreError
from icm_engine.runs.events import Json
from icm_engine.runs.store import Store

HEARTBEAT = 2.0  # seconds between heartbeats
OTHER_HOST_TIMEOUT = 60.0  # a process on another host cannot be looked at: this long without a heartbeat is dead


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds leases: a pid is reused, a start time is not."""

    pid: int
    pid_started: float
    host: str


def this_process() -> Holder:
    """Return this process as a holder of leases."""
    return Holder(os.getpid(), psutil.Process().create_time(), socket.gethostname())


def claim(store: Store, run: str, log: str = "", proxy: Holder | None = None) -> str:
    """Take the lease of a run and return its token. Raises RunBusy while another worker lives.

    `proxy` holds it for a worker on another machine, and may take a lease of its own again, since it alone knows when
    that worker is gone.
    """
    holder = proxy or this_process()
    with store.transaction():
        row = store.lease_row(run)
        if row is not None and alive(row) and not (proxy and holds(proxy, row)):
            raise RunBusy(f"run {run!r} is held by process {row['pid']} on {row['host']}: pause it there first")
        token = uuid.uuid4().hex
        store.put_lease(
            {"run": run, "token": token, **asdict(holder), "heartbeat": time.time(), "ready": 0, "log": log}
        )
    return token


def holds(holder: Holder, row: Json) -> bool:
    """Say whether a lease is in the name of this process."""
    return all(row[name] == value for name, value in asdict(holder).items())


def alive(row: Json) -> bool:
    """Say whether the worker of this lease lives: the same process on this host, a fresh heartbeat on another."""
    if row["host"] != socket.gethostname():
        return bool(time.time() - row["heartbeat"] < OTHER_HOST_TIMEOUT)
    try:
        process = psutil.Process(row["pid"])
        same = abs(process.create_time() - row["pid_started"]) < 1.0  # a pid is reused, a start time is not
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


@contextmanager
def heartbeat(store: Store, run: str, token: str) -> Iterator[None]:
    """Renew the lease in a thread of its own, over its own connection: one step may take minutes."""
    done, own = threading.Event(), store.again()

    def beat() -> None:
        while not done.wait(HEARTBEAT):
            with suppress(StoreError):  # a long write of another process costs a heartbeat, not the thread
                own.update_lease(run, token, heartbeat=time.time())

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        own.close()
        with suppress(StoreError):  # the lease of a process that is gone holds nobody up
            store.drop_lease(run, token)
