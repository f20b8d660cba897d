"""Calls that became smaller on the way, since memory ran out: an event of the run, and what a later worker begins with.

The digits of a score depend on how many tokens the model reads at once. So a step in which this changed is taken again,
after the event that says so: every step of a log comes from calls of the size that the log says was in force.
"""

from icm_engine.core.scoring import Scorer, calls_of
from icm_engine.runs.events import Json
from icm_engine.runs.store import Store

SHRUNK = "shrunk"  # the kind of the event


def tokens_of_run(store: Store, run: str, until: int | None = None) -> int | None:
    """Return how many tokens at once a run is scored with after event `until`; None for as many as the scorer takes.

    A fork begins with what its parent had.
    """
    last = store.last_number(run) if until is None else until
    found = list(store.read_between(run, 0, last, (SHRUNK,)))
    if found:
        return int(found[-1].body["tokens"])
    spec = store.spec(run)
    if spec.forked_from is None or not store.has_run(spec.forked_from):
        return None
    return tokens_of_run(store, spec.forked_from, spec.forked_at)


def shrunk(scorer: Scorer, before: int) -> Json | None:
    """Return the body of the event that says that calls are smaller than before; None where they are not."""
    now = calls_of(scorer)
    return {"tokens": now.tokens, "was": before, "why": now.why} if now.tokens < before else None
