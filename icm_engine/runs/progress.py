"""Follow a run from a terminal or notebook: a progress bar until it is settled; Ctrl-C pauses the run."""

import sys
from typing import Any

from tqdm import tqdm

from icm_engine.core.errors import RunError
from icm_engine.core.text import escape_controls
from icm_engine.runs import control
from icm_engine.runs.control import RunStatus
from icm_engine.store.store import Store


def follow(store: Store, run: str, bar: Any = tqdm, quiet: bool = False) -> tuple[RunStatus, bool]:
    """Wait until the run is settled; return its status, and whether Ctrl-C paused it.

    `bar` is the progress bar's class, drawn on stderr unless `quiet`. Raises RunError if the run failed.
    """
    interrupted, most = False, store.spec(run).search.max_steps
    with bar(
        total=most, unit="step", file=sys.stderr, desc=escape_controls(run), mininterval=1, disable=quiet
    ) as drawn:
        while True:
            try:
                now = control.status(store, run)
                drawn.set_postfix_str(now.message if now.phase == "starting" else now.phase, refresh=False)
                drawn.update(now.steps - drawn.n)
                if now.settled or _abandoned(now):
                    break
                control.wait()
            except KeyboardInterrupt:
                interrupted = True
                control.pause(store, run)
    if _abandoned(now):
        words = control.last_words(store, run) or now.message
        raise RunError(f"run {run!r} was not gone on with ({words}): `resume {run}` tries again")
    if now.broken:
        again = "" if _is_final(store, run, now) else f" (`resume {run}` goes on from step {now.steps})"
        raise RunError(f"run {run!r} {now.phase}: {now.message}{again}")
    return now, interrupted


def _is_final(store: Store, run: str, now: RunStatus) -> bool:
    """Whether the run failed and would fail again."""
    last = store.last_event(run, ("failed",)) if now.phase == "failed" else None
    return last is not None and control.is_final(store, run, last.failed)


def _abandoned(now: RunStatus) -> bool:
    """Whether a command will not be answered: its worker ended before, and the time to start one is over."""
    return bool(now.pending) and now.pid is None and not now.moving
