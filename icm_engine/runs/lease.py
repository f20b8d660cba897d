"""One worker a run: a lease with a heartbeat. Temporary files are named after the process that fills them.

No clock decides about a process of this host: clocks are set, and jump. Of a process on another host the heartbeat is
all that can be seen; a clock may say that it is fresh, but only watching it may say that it is old.
"""

import glob
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from icm_engine.core.errors import RunBusy, StoreError
from icm_engine.store.events import Json
from icm_engine.store.store import Store

HEARTBEAT = 2.0  # seconds between heartbeats
OTHER_HOST_TIMEOUT = 60.0  # a process on another host cannot be looked at: this long without a heartbeat is dead
WATCH = 5 * HEARTBEAT  # seconds without a heartbeat, on no clock but our own, after which a silent one is dead
TICK = 0.005  # seconds within which two starts since the boot are one: the system counts them in hundredths
LAUNCH = "ICM_LAUNCH"  # the variable that tells a launched process the lease that was taken in its name
_BOOT = Path("/proc/sys/kernel/random/boot_id")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds leases: a pid is reused, but not within a boot with the same start.

    `pid_started` is in seconds since the boot, which no clock moves; since 1970 where a system does not name its boots.
    """

    pid: int
    pid_started: float
    host: str
    boot: str = ""


def this_process() -> Holder:
    """Return this process as a holder of leases."""
    return process_of(os.getpid())


def process_of(pid: int) -> Holder:
    """Return a process of this host as a holder of leases. Raises psutil.Error where there is none."""
    return Holder(pid, _started(pid, boot()), socket.gethostname(), boot())


def boot() -> str:
    """Return what names this boot of this machine; empty where the system does not say."""
    return _BOOT.read_text(encoding="ascii").strip() if _BOOT.exists() else ""


def _started(pid: int, within: str) -> float:
    if not within:
        return psutil.Process(pid).create_time()
    try:
        # psutil adds the boot's time on the clock of now, so that its sum moves when the clock is set
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        raise psutil.NoSuchProcess(pid) from None
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of proc_pid_stat(5), counted behind the name


def claim(store: Store, run: str, log: str = "", proxy: Holder | None = None) -> str:
    """Take the lease of a run and return its token. Raises RunBusy while another worker lives.

    `proxy` holds it for a worker on another machine, and may take a lease of its own again, since it alone knows when
    that worker is gone.
    """
    holder, silent = proxy or this_process(), _silent(store, run)
    with store.transaction():
        row = store.lease_row(run)
        mine = row is not None and (row["token"] == os.environ.get(LAUNCH) or bool(proxy and holds(proxy, row)))
        if row is not None and not mine and (alive(row) or (_elsewhere(row) and row != silent)):
            raise RunBusy(f"run {run!r} is held by process {row['pid']} on {row['host']}: pause it there first")
        return _put(store, run, holder, log)


def claim_for(store: Store, run: str, launch: Callable[[str], int]) -> None:
    """Take the lease in the name of a process that `launch` starts, which is given the token and returns the pid.

    So it is known from its first moment, and two that would launch one launch one.
    """
    with store.transaction():
        token = uuid.uuid4().hex
        pid = launch(token)
        with suppress(psutil.Error):  # it has ended already
            _put(store, run, process_of(pid), token=token)


def _put(store: Store, run: str, holder: Holder, log: str = "", token: str = "") -> str:
    token = token or uuid.uuid4().hex
    store.put_lease({"run": run, "token": token, **asdict(holder), "heartbeat": time.time(), "ready": 0, "log": log})
    return token


def _silent(store: Store, run: str) -> Json | None:
    """A lease of another host whose heartbeat stood still for a while; a clock alone must not end a living worker."""
    row, until = store.lease_row(run), time.monotonic() + WATCH
    if row is None or not _elsewhere(row) or alive(row):
        return None
    while time.monotonic() < until and store.lease_row(run) == row:
        time.sleep(WATCH / 50)
    return row


def holds(holder: Holder, row: Json) -> bool:
    """Say whether a lease is in the name of this process."""
    return all(row[name] == value for name, value in asdict(holder).items())


def _elsewhere(row: Json) -> bool:
    return bool(row["host"] != socket.gethostname())


def alive(row: Json) -> bool:
    """Say whether the worker of this lease lives: the same process on this host, a fresh heartbeat on another.

    A heartbeat from far in the future is not fresh: one of the clocks was set.
    """
    if _elsewhere(row):
        return bool(abs(time.time() - row["heartbeat"]) < OTHER_HOST_TIMEOUT)
    if row["boot"] not in ("", boot()):
        return False
    try:
        unsure = TICK if row["boot"] else 1.0  # since 1970 a start moves with the clock
        same = abs(_started(row["pid"], row["boot"]) - row["pid_started"]) < unsure
        return same and psutil.Process(row["pid"]).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def beside(store: Store, run: str, look: Callable[[Json | None, bool], Found]) -> Found:
    """Return what `look` makes of a lease and whether its worker lives, with no change of hands while it looked.

    What is read after a look at the lease may be another worker's doing, and then does not go with it.
    """
    while True:
        row = store.lease_row(run)
        found = look(row, row is not None and alive(row))
        if store.lease_token(run) == (row["token"] if row else None):
            return found


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


END = ".part"


def unfinished(path: Path) -> Path:
    """Return where to make what will be moved to `path`; what processes left there that were killed is taken away."""
    clear(path)
    here = this_process()
    maker = f"{here.pid}_{here.pid_started:.2f}_{here.boot[:8]}_{uuid.uuid4().hex[:8]}_{here.host}"
    return path.parent / f".{path.name}.{maker}{END}"


def clear(path: Path) -> None:
    """Take away what processes left on the way to `path` that were killed."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{END}"):
        if _is_dead(left.name.removeprefix(f".{path.name}.").removesuffix(END)):
            _remove(left)


def _is_dead(maker: str) -> bool:
    """Whether a process of this host made it, and is gone; of those on other hosts nothing is known."""
    parts = maker.split("_", 4)
    if len(parts) < 5 or parts[4] != this_process().host:
        return False
    pid, started, booted, _, host = parts
    same = boot() if boot().startswith(booted) else "another"
    return not alive({"host": host, "pid": int(pid), "pid_started": float(started), "boot": same})


def _remove(path: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
