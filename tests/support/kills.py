"""What the tests that kill things share: runs to compare, kills at random moments, and what a log must equal."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

import psutil
import pytest

from icm_engine.runs import control, worker
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.paths import ROOT
from tests.support.self_killing_worker import DIES_AS, DIES_AT

SEARCHED = ("initial", "step", "labelled", "fold", "round", "finished")
Log = list[tuple[str, str]]


def wait_for(seen: Callable[[], bool]) -> None:
    """Look until that is so; the time limit of the test ends what never comes."""
    while not seen():
        time.sleep(0.01)


def kill(pid: int | None) -> bool:
    """SIGKILL a process and wait until it is dead; False if there is none."""
    if pid is None:
        return False
    try:
        process = psutil.Process(pid)
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
    wait_for(lambda: _is_dead(process))
    return True


def _is_dead(process: psutil.Process) -> bool:
    """Whether it is gone, or a zombie: whoever launched it may live, and never ask how it ended."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def searched(store: Store, run: str) -> Log:
    """The log as an interruption must leave it: the bodies as they are stored, times and seconds aside."""
    return [(kind, body) for kind, body in _stored(store, run) if kind in SEARCHED]


def require_same(store: Store, run: str, whole: Log) -> None:
    """The log is that of an uninterrupted run; all else in it are the model, once, and receipts of commands.

    An interruption may add nothing but the `control` event that answers each command sent to go on.
    """
    assert searched(store, run) == whole
    others = [(n, kind) for n, (kind, _) in enumerate(_stored(store, run), 1) if kind not in SEARCHED]
    receipts = [row[0] for row in store.db.execute("select applied from commands where run = ? order by id", [run])]
    assert [n for n, kind in others if kind == "control"] == receipts  # each command once, in the order they were sent
    assert Counter(kind for _, kind in others) == {"control": len(receipts), "model": 1}
    assert store.pending(run) == []


def uninterrupted(store: Store, spec: RunSpec) -> Log:
    """Run a spec from end to end, in this process, and return the log."""
    run = control.create_run(store, spec)
    store.send(run, "start", run)
    assert worker.run_in_process(store, run, idle=0.0) == 0
    return searched(store, run)


def _stored(store: Store, run: str) -> Iterator[tuple[str, str]]:
    rows = store.db.execute("select number, kind, body from events where run = ? order by number", [run])
    for place, (number, kind, body) in enumerate(rows, 1):
        assert number == place  # no gap
        yield kind, body


@dataclass
class RandomKills:
    """Runs of one spec, each killed again and again at random moments until it finishes.

    Moments are drawn over the length of a whole uninterrupted run, from its launch to the end of its process.
    """

    store: Store
    spec: RunSpec
    rng: Random
    whole: Log = field(init=False)
    length: float = field(init=False)
    phases: Counter[str] = field(default_factory=Counter)
    runs: int = 0

    def __post_init__(self) -> None:
        run, began = control.create_run(self.store, self.spec), time.monotonic()
        control.start(self.store, run)
        assert control.wait_until_settled(self.store, run).phase == "finished", control.log_tail(self.store, run)
        wait_for(lambda: control.status(self.store, run).pid is None)
        self.length, self.whole = time.monotonic() - began, searched(self.store, run)

    def kill(self, times: int) -> None:
        """Kill workers so often; every run ends, and has the log of the uninterrupted one."""
        while self.phases.total() < times:
            run = control.create_run(self.store, self.spec)
            control.start(self.store, run)
            while self.phases.total() < times and self._killed(run):
                assert control.status(self.store, run).phase in ("interrupted", "finished")
                self._go_on(run)
            assert control.wait_until_settled(self.store, run).phase == "finished", control.log_tail(self.store, run)
            require_same(self.store, run, self.whole)
            self.runs += 1

    def _killed(self, run: str) -> bool:
        """Whether the worker was still there at the moment drawn, and now is not."""
        pid, moment = control.status(self.store, run).pid, time.monotonic() + self.rng.random() * self.length
        wait_for(lambda: time.monotonic() >= moment)
        if not kill(pid):
            return False
        self.phases[self._phase(run)] += 1
        return True

    def _phase(self, run: str) -> str:
        """Where a run's worker was when it was killed, from what it left."""
        row = self.store.lease_row(run)
        if control.status(self.store, run).phase == "finished":
            return "while exiting"
        if self.store.pending(run):
            return "before it answered its command"
        return "during the search" if row is not None and row["ready"] else "while loading"

    def _go_on(self, run: str) -> None:
        if control.status(self.store, run).phase != "finished":
            control.resume(self.store, run)

    def told(self) -> str:
        """What happened, in words."""
        where = ", ".join(f"{count} {phase}" for phase, count in self.phases.most_common())
        return (
            f"{self.runs} runs, each killed until it finished: {where}; every log equal byte for byte "
            f"({len(self.whole)} events)"
        )


class Dying:
    """Workers launched while this is in force are the real ones up to a point, where each kills itself."""

    def __init__(self, store: Store, patch: pytest.MonkeyPatch) -> None:
        self.store, self.patch, self.pid, self.real = store, patch, 0, control._popen

    def at(self, point: str, count: int, ask: Callable[[], None]) -> None:
        """Ask for a worker, and see it killed at this point."""

        def popen(store: Store, module: str, name: str, token: str) -> int:
            inner.setenv(DIES_AS, module)
            self.pid = self.real(store, "tests.support.self_killing_worker", name, token)
            return self.pid

        with self.patch.context() as inner:
            inner.setenv("PYTHONPATH", str(ROOT))
            inner.setenv(DIES_AT, f"{point}:{count}")
            inner.setattr(control, "_popen", popen)
            ask()
        how = os.waitpid(self.pid, 0)[1]
        assert os.WIFSIGNALED(how), f"it was not killed {point!r}, {count}"
        assert os.WTERMSIG(how) == signal.SIGKILL
