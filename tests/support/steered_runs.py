"""A run with everything in it: steps, pins, an override, undo, other settings, and a fork of it."""

import sqlite3

import pytest

from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control, worker
from icm_engine.runs.fork import fork
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import current_state, open_run
from icm_engine.store.store import Store
from tests.support.processes import score_by, spawn_by
from tests.support.stores import moody_belief, small_dataset


def steered_run(store: Store, patch: pytest.MonkeyPatch, search: SearchConfig | None = None) -> str:
    """Store a paused run of 75 steps, its worker this process; the fake model's moods make it reject some.

    The run is made once for each `search`; an empty database gets a copy of it.
    """
    spawn_by(patch, lambda store, module, name: None)
    patch.setattr(worker, "IDLE", 0.05)
    patch.setattr(worker, "SNAPSHOT_EVERY", 7)
    score_by(patch, moody_belief)
    search = search or SearchConfig(seed=3, max_steps=90)
    if store.dataset_names():
        return _steer(store, search)
    if repr(search) in _STEERED:
        run, kept = _STEERED[repr(search)]
        kept.backup(store.db.conn)
    else:
        run, kept = _steer(store, search), sqlite3.connect(":memory:")
        store.db.conn.backup(kept)
        _STEERED[repr(search)] = run, kept
    return run


_STEERED: dict[str, tuple[str, sqlite3.Connection]] = {}


def _steer(store: Store, search: SearchConfig) -> str:
    if not store.has_dataset("sums"):
        small_dataset(store)
    run = control.create_run(store, RunSpec("sums", "fake", search=search))
    take(store, run, 25)
    opened = open_run(store, run)
    state = current_state(store, opened)
    assert state is not None
    (first, second), (one, two) = (
        [opened.codec.ids[i] for i in list(state.labeling)[:2]],
        list(state.labeling.values())[:2],
    )
    control.submit_intervention(store, run, "pin", [first], [other(one)])
    control.submit_intervention(store, run, "note", [first], text="see p. 3")
    take(store, run, 15)
    control.submit_intervention(store, run, "override", [second], [other(two)])
    take(store, run, 10)
    control.retune(store, run, {"alpha": 20.0, "initial_temperature": 4.0})
    control.submit_intervention(store, run, "undo")
    take(store, run, 25)
    return run


def forked_run(store: Store, run: str, steps: int = 12) -> str:
    """Store a fork of a run from its middle, under another seed, and take steps in it."""
    child = fork(store, run, store.last_number(run) // 2, {"seed": 9})
    take(store, child, steps)
    return child


def take(store: Store, run: str, steps: int) -> None:
    control.step(store, run, steps)
    assert worker.main(["--db", str(store.path), run]) == 0


def other(label: str) -> str:
    return "False" if label == "True" else "True"
