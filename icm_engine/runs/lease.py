"""One worker a run: a lease with a heartbeat. Temporary files are named after the process that fills them.

No clock decides about a process on this host, since clocks are set and jump. A process on another host is known by its
heartbeat alone: a clock may show that it is fresh, but only watching it may show that it is stale.
"""

import argparse
import glob
import os
import shutil
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from icm_engine.core.errors import IcmError, RunBusy, StoreError
from icm_engine.store.events import Json
from icm_engine.store.store import Store

HEARTBEAT = 2.0  # seconds between heartbeats
OTHER_HOST_TIMEOUT = 60.0  # seconds without a heartbeat after which a process on another host is dead
WATCH = 5 * HEARTBEAT  # seconds without a heartbeat, by watching alone, after which a silent one is dead
TICK = 0.005  # seconds within which two start times are equal: the system counts in hundredths
LAUNCH = "ICM_LAUNCH"  # the environment variable with the lease taken for a launched process
_BOOT = Path("/proc/sys/kernel/random/boot_id")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds leases. A pid can be reused, but not within a boot with the same start time.

    `pid_started` is in seconds since boot, which no clock change affects; since 1970 where a system does not name
    boots.
    """

    pid: int
    pid_started: float
    host: str
    boot: str = ""


def this_process() -> Holder:
    """Return this process as a holder of leases."""
    return process_of(os.getpid())


def process_of(pid: int) -> Holder:
    """Return a process of this host as a holder of leases. Raises psutil.Error if there is none."""
    return Holder(pid, _started(pid, boot()), socket.gethostname(), boot())


def boot() -> str:
    """Return the identifier of this boot; empty if the system has none."""
    return _BOOT.read_text(encoding="ascii").strip() if _BOOT.exists() else ""


def _started(pid: int, within: str) -> float:
    if not within:
        return psutil.Process(pid).create_time()
    try:
        # psutil adds the boot time by the current clock, so the sum moves when the clock is set
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        raise psutil.NoSuchProcess(pid) from None
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of proc_pid_stat(5), counted after the name


def claim(store: Store, run: str, log: str = "", proxy: Holder | None = None) -> str:
    """Take the lease of a run and return its token. Raises RunBusy while another worker is alive.

    `proxy` holds it for a worker on another machine and may take its own lease again, since it alone knows when that
    worker is gone.
    """
    holder, silent = proxy or this_process(), _silent(store, run)
    with store.transaction():
        row = store.lease_row(run)
        mine = row is not None and (row["token"] == os.environ.get(LAUNCH) or bool(proxy and holds(proxy, row)))
        if row is not None and not mine and (alive(row) or (_elsewhere(row) and row != silent)):
            raise RunBusy(f"run {run!r} is held by process {row['pid']} on {row['host']}: pause it there first")
        return _put(store, run, holder, log)


def claim_for(store: Store, run: str, launch: Callable[[str], int]) -> None:
    """Take the lease in the name of a process that `launch` starts with the token, and whose pid it returns.

    The worker is known from its first moment, and two callers launch only one.
    """
    with store.transaction():
        token = uuid.uuid4().hex
        pid = launch(token)
        with suppress(psutil.Error):  # it has already ended
            _put(store, run, process_of(pid), token=token)


def _put(store: Store, run: str, holder: Holder, log: str = "", token: str = "") -> str:
    token = token or uuid.uuid4().hex
    store.put_lease({"run": run, "token": token, **asdict(holder), "heartbeat": time.time(), "ready": 0, "log": log})
    return token


def _silent(store: Store, run: str) -> Json | None:
    """Watch a lease of another host whose heartbeat stands still; a clock alone must not end a living worker."""
    row, until = store.lease_row(run), time.monotonic() + WATCH
    if row is None or not _elsewhere(row) or alive(row):
        return None
    while time.monotonic() < until and store.lease_row(run) == row:
        time.sleep(WATCH / 50)
    return row


def holds(holder: Holder, row: Json) -> bool:
    """Say whether this process holds the lease."""
    return all(row[name] == value for name, value in asdict(holder).items())


def _elsewhere(row: Json) -> bool:
    return bool(row["host"] != socket.gethostname())


def alive(row: Json) -> bool:
    """Say whether the worker of this lease is alive: the same process on this host, a fresh heartbeat on another.

    A heartbeat from far in the future is not fresh: a clock was set.
    """
    if _elsewhere(row):
        return bool(abs(time.time() - row["heartbeat"]) < OTHER_HOST_TIMEOUT)
    if row["boot"] not in ("", boot()):
        return False
    try:
        unsure = TICK if row["boot"] else 1.0  # a start since 1970 moves with the clock
        same = abs(_started(row["pid"], row["boot"]) - row["pid_started"]) < unsure
        return same and psutil.Process(row["pid"]).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def beside(store: Store, run: str, look: Callable[[Json | None, bool], Found]) -> Found:
    """Return `look(lease, alive)`, retried until the lease is unchanged during the read.

    Otherwise what is read could be another worker's doing and contradict the lease.
    """
    while True:
        row = store.lease_row(run)
        found = look(row, row is not None and alive(row))
        if store.lease_token(run) == (row["token"] if row else None):
            return found


@contextmanager
def heartbeat(store: Store, run: str, token: str) -> Iterator[None]:
    """Renew the lease in a thread with a connection of its own, since one step may take minutes."""
    done, own = threading.Event(), store.again()

    def beat() -> None:
        while not done.wait(HEARTBEAT):
            with suppress(StoreError):  # a long write by another process costs one heartbeat, not the thread
                own.update_lease(run, token, heartbeat=time.time())

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        own.close()
        with suppress(StoreError):  # the lease of a dead process blocks nobody
            store.drop_lease(run, token)


END = ".part"


def unfinished(path: Path) -> Path:
    """Return the temporary path for what will be moved to `path`; leftovers of killed processes are removed."""
    clear(path)
    here = this_process()
    maker = f"{here.pid}_{here.pid_started:.2f}_{here.boot[:8]}_{uuid.uuid4().hex[:8]}_{here.host}"
    return path.parent / f".{path.name}.{maker}{END}"


def clear(path: Path) -> None:
    """Remove leftovers of killed processes on the way to `path`."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{END}"):
        if _is_dead(left.name.removeprefix(f".{path.name}.").removesuffix(END)):
            _remove(left)


def _is_dead(maker: str) -> bool:
    """Whether a process of this host made it and is gone; nothing is known of other hosts' processes."""
    parts = maker.split("_", 4)
    if len(parts) < 5 or parts[4] != this_process().host:
        return False
    pid, started, booted, _, host = parts
    same = boot() if boot().startswith(booted) else "another"
    return not alive({"host": host, "pid": int(pid), "pid_started": float(started), "boot": same})


def _remove(path: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def log(words: str) -> None:
    """Write a line to this process's log, where a worker explains why it stops if the database takes no events."""
    with suppress(OSError):  # the full disk may be the log's
        print(f"process {os.getpid()} {' '.join(words.split())}", file=sys.stderr)


def in_database(what: str, do: Callable[[Store, str], int], arguments: Sequence[str] | None = None) -> int:
    """Do the run or job (`what`) named by the arguments, in their database; return the result of `do`, else 1.

    A lease held by another process, or an unusable database, is reported in one line.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("name", metavar=what)
    given = parser.parse_args(arguments)
    try:
        with Store(given.db) as store:
            return do(store, given.name)
    except RunBusy as error:
        print(error, file=sys.stderr)
    except StoreError as error:
        log(f"stops: {error}")
    return 1


def guarded(do: Callable[[], None], fail: Callable[[Json], None]) -> int:
    """Run `do`, recording any failure with `fail`; return 0, or 1 if it failed. Raises RunBusy.

    For errors that are not ours, the process log has the traceback. Failures that cannot be recorded are raised.
    """
    try:
        do()
    except RunBusy:
        raise
    except Exception as error:  # any error must be recorded in the run or job
        if not isinstance(error, IcmError):
            traceback.print_exc()
        try:
            fail({"error": type(error).__name__, "message": str(error) or type(error).__name__})
        except StoreError:  # the database cannot take that either; its first error is the cause
            raise error from None
        return 1
    return 0
