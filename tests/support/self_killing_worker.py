"""A worker that kills itself, with ICM_DIES_AT=POINT:COUNT and ICM_DIES_AS=MODULE.

    python -m tests.support.self_killing_worker --db FILE RUN

Everything but the moment is the real worker, or the real process of a job: `main` is called with the points wrapped.
SIGKILL, so that no handler, no `finally` and no closing of files comes after it.
"""

import importlib
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from icm_engine.data import importing
from icm_engine.jobs import job_process
from icm_engine.runs import lease, worker
from icm_engine.store.store import Store

DIES_AT, DIES_AS = "ICM_DIES_AT", "ICM_DIES_AS"
SNAPSHOT_EVERY = 10  # events
# where a worker can die, each with the counts of the calls at which it is killed
POINTS = {
    "before its lease": (1,), "with its lease, before a look at the run": (1,),
    "event written, receipt not": (1,), "receipt written, not committed": (1,), "receipt committed": (1,),
    "while loading": (1,), "model loaded, not yet ready": (1,), "inside a step, between prompts": (9, 1, 2, 40),
    "event written, not committed": (2, 1, 3, 20), "event committed": (2, 1, 3, 20),
    "before a snapshot": (1, 2), "snapshot written, not committed": (1, 2), "snapshot committed": (1, 2),
}  # fmt: skip
JOB_POINTS = {
    "before its lease": (1,), "with its lease, before a look at the run": (1,),
    "event written, not committed": (1, 2, 3, 4), "event committed": (1, 2, 3, 4),
}  # fmt: skip
IMPORT_POINTS = {"rows put aside": (1,), "rows being copied": (1,), "data set stored, not committed": (1,)}
ON_THE_WAY_OUT = ("finished, lease still there", "lease dropped, not committed", "lease dropped")
_seen = Counter[str]()


def reach(point: str) -> None:
    """Die here if it is the point and the count that was asked for."""
    _seen[point] += 1
    if os.environ[DIES_AT] == f"{point}:{_seen[point]}":
        os.kill(os.getpid(), signal.SIGKILL)


def _around(owner: Any, name: str, before: str | None, after: str | None = None) -> None:
    real = getattr(owner, name)

    def wrapped(*given: Any, **named: Any) -> Any:
        if before:
            reach(before)
        made = real(*given, **named)
        if after:
            reach(after)
        return made

    setattr(owner, name, wrapped)


def _uncommitted(name: str, inside: str, done: str, nested: str = "") -> None:
    """Have one method of the store die between its last statement and its commit, or behind the commit.

    `nested` is the name of the point where it is called within a larger transaction.
    """
    real: Callable[..., Any] = getattr(Store, name)

    def wrapped(store: Store, *given: Any, **named: Any) -> Any:
        outermost = not store.db.conn.in_transaction
        with store.transaction():
            made = real(store, *given, **named)
            reach(inside if outermost else nested)
        if outermost:
            reach(done)
        return made

    setattr(Store, name, wrapped)


@contextmanager
def _beating(store: Store, run: str, token: str) -> Iterator[None]:
    reach("with its lease, before a look at the run")
    with _heartbeat(store, run, token):
        yield
        reach("finished, lease still there")


_heartbeat = lease.heartbeat


def _store_points() -> None:
    _uncommitted("append", "event written, not committed", "event committed", "event written, receipt not")
    _uncommitted("answer", "receipt written, not committed", "receipt committed")
    _uncommitted("keep_snapshot", "snapshot written, not committed", "snapshot committed")
    _around(Store, "keep_snapshot", "before a snapshot")
    _uncommitted("drop_lease", "lease dropped, not committed", "lease dropped")


def main() -> int:
    """Be the worker, up to the point."""
    module = importlib.import_module(os.environ[DIES_AS])
    _store_points()
    holder = worker if module is worker else job_process
    _around(holder, "claim", "before its lease")
    setattr(holder, "heartbeat", _beating)  # noqa: B010
    if module is not worker:
        _around(importing.Staging, "_flush", None, "rows put aside")
        _around(importing, "insert_info", None, "rows being copied")
        _around(importing, "count_labels", None, "data set stored, not committed")
        _around(importing.Staging, "__exit__", "data set committed")
        return job_process.main(getattr(module, "perform", job_process.perform))
    worker.SNAPSHOT_EVERY = SNAPSHOT_EVERY
    _around(worker, "make_scorer", "while loading", "model loaded, not yet ready")
    _around(worker, "agreeable_belief", "inside a step, between prompts")
    return worker.main()


if __name__ == "__main__":
    sys.exit(main())
