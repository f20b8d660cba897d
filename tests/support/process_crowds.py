"""Processes that do one thing at the same moment: forked from one that has imported everything, and held at a gate.

`python -m tests.support.process_crowds` reads what is to be done, a line each, forks so many processes, and lets them
go together.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from icm_engine import jobs
from icm_engine.jobs import job_process
from icm_engine.jobs.job_process import Job
from icm_engine.runs import control, worker
from icm_engine.store.events import Json
from icm_engine.store.store import Store
from tests.support.paths import ROOT

Told = tuple[int, int, str]  # pid, exit status, what was said on stderr


@dataclass
class Crowd:
    """So many processes that called one function of this module at once."""

    pids: list[int]
    server: "Crowds"

    def told(self, count: int) -> list[Told]:
        """Wait for so many of them to end, and return what each came to."""
        return [(*self.server.line(),) for _ in range(count)]  # type: ignore[misc]


class Crowds:
    """The process that the others are forked from: it has imported everything, and starts many in no time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.process_crowds"], env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    @contextmanager
    def doing(self, function: str, *given: object, count: int = 20) -> Iterator[Crowd]:
        """Have so many processes call a function with these values; afterwards they are ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([function, [str(v) if isinstance(v, Path) else v for v in given], count]))
        self._process.stdin.write("\n")
        crowd = Crowd(list(self.line()), self)
        try:
            yield crowd
        finally:
            for pid in crowd.pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def line(self) -> list[int]:
        """The next line that one of the processes wrote."""
        assert self._process.stdout is not None
        found: list[int] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def serve() -> None:
    """Fork processes for each line of the input, and open their gate when all are there."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are nobody's zombies
    for line in sys.stdin:
        function, given, count = json.loads(line)
        gate, opened = os.pipe()
        pids = [_fork(function, given, gate, opened) for _ in range(count)]
        os.close(gate)
        _write(pids)
        os.close(opened)


def _fork(function: str, given: list[object], gate: int, opened: int) -> int:
    if pid := os.fork():
        return pid
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.close(opened)
    os.read(gate, 1)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = globals()[function](*given)
    _write([os.getpid(), code, said.getvalue()])
    os._exit(0)


def _write(line: object) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")  # at once: less than a pipe takes whole


def work(path: str, run: str) -> int:
    """Be a worker of a run."""
    return worker.main(["--db", str(path), run])


def work_by_clock(path: str, run: str, offset: float, jumps: bool) -> int:
    """Be a worker whose wall clock is off by so many seconds, or jumps by them at every look at it."""
    real, looks = time.time, iter(range(10**12))
    time.time = lambda: real() + offset * (next(looks) % 2 * 2 - 1 if jumps else 1)  # nothing else is told the time
    return work(path, run)


def do_job(path: str, job: str) -> int:
    """Do a job that ends when it is told to."""
    return job_process.main(until_told, ["--db", str(path), job])


def until_told(job: Job) -> Json:
    """A kind of job: wait for a file beside the database."""
    job.ready({})
    while not go_file(job.store.path).exists():
        time.sleep(0.01)
    return {"pid": os.getpid()}


def go_file(path: Path) -> Path:
    return path.with_suffix(".go")


def resume(path: str, run: str) -> int:
    """Ask a run to go on; return how many workers were launched."""
    with _launches() as launched, Store(path) as store:
        control.resume(store, run)
    return len(launched)


def start_job(path: str, job: str) -> int:
    """Start a job; return how many processes were launched."""
    with _launches() as launched, Store(path) as store:
        jobs.start(store, job)
    return len(launched)


def send(path: str, run: str, token: str) -> int:
    """Send one command."""
    with Store(path) as store:
        store.send(run, "step", token, 2)
    return 0


@contextmanager
def _launches() -> Iterator[list[str]]:
    launched, real = list[str](), control._popen

    def popen(store: Store, module: str, name: str, token: str) -> int:
        launched.append(name)
        return real(store, module, name, token)

    control._popen = popen
    yield launched


if __name__ == "__main__":
    serve()
