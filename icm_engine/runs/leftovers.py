"""Files and folders on their way: named after the process that fills them, so that what a killed one left is found."""

import glob
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from icm_engine.runs.lease import alive, boot, this_process

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
