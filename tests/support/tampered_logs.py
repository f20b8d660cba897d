"""Logs with a changed value, and whether verify finds it."""

from collections.abc import Iterator

from icm_engine.core.errors import IcmError
from icm_engine.runs.verify import LogWalk
from icm_engine.runs.verify_records import Audited
from icm_engine.store.replay import open_run
from icm_engine.store.store import Event, Store


def walked(store: Store, run: str, audited: frozenset[int] = frozenset()) -> Iterator[tuple[Event, LogWalk]]:
    """Every event of a run, with a walk that has checked all before it; `audited` are events whose labels are."""
    opened = open_run(store, run).whole()
    walk = LogWalk(store, opened, opened.spec.search, audited=Audited(audited))
    for event in store.read_after(run):
        yield event, walk.again()
        walk.take(event)
    assert walk.wrong == []


def is_found(walk: LogWalk, event: Event) -> bool:
    """Whether a changed event is found, or cannot even be read."""
    try:
        walk.take(event)
    except (IcmError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return True
    return bool(walk.wrong)
