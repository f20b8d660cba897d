"""Load: what a worker holds does not grow with its steps, and what a page holds hardly does."""

import gc
import tracemalloc

import pytest

from icm_engine.analysis.traces import BLOCK
from icm_engine.analysis.views import open_reading
from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control, worker
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.faults import Fault

STEPS = 200  # between two looks


@pytest.mark.timeout(1800)
@pytest.mark.fault("consecutive steps of one worker", "its memory grows by less than a tenth of what it appends")
def test_a_worker_keeps_nothing_of_its_steps(
    store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    store.add_dataset(pairs)
    steps = fault.times(quick=1000, long=12_000)
    run = control.create_run(store, RunSpec("pairs", "fake", search=SearchConfig(max_steps=steps)))
    held, append = list[int](), Store.append

    def look(self: Store, run: str, kind: str, *given: object, **named: object) -> int:
        number = append(self, run, kind, *given, **named)  # type: ignore[arg-type]
        if kind == "step" and number % STEPS == 0:
            held.append(tracemalloc.get_traced_memory()[0])
        return number

    monkeypatch.setattr(Store, "append", look)
    store.send(run, "start", run)
    tracemalloc.start()
    try:
        assert worker.main(["--db", str(store.path), run]) == 0
    finally:
        tracemalloc.stop()
    growth, logged = growth_a_step(held, STEPS), bytes_of_a_step(store)
    assert growth < logged / 10
    fault.happened = f"{growth:.0f} bytes of growth per step in the second half, {logged:.0f} per step in the log"


@pytest.mark.timeout(1800)
@pytest.mark.fault("consecutive steps, read by a page", "it keeps less than a thirtieth of the log in memory")
def test_a_page_keeps_little_of_the_steps(store: Store, pairs: Dataset, fault: Fault) -> None:
    store.add_dataset(pairs)
    steps = fault.times(quick=3000, long=50_000)
    run = control.create_run(store, RunSpec("pairs", "fake", search=SearchConfig(max_steps=steps)))
    store.send(run, "start", run)
    assert worker.main(["--db", str(store.path), run]) == 0
    held, reading = list[int](), open_reading(store, run)
    tracemalloc.start()
    try:
        while len(events := store.read_after(run, reading.cursor, limit=BLOCK)) == BLOCK:
            reading = reading.extended(events)
            gc.collect()  # what counts is what is kept
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    growth, logged = growth_a_step(held, BLOCK), bytes_of_a_step(store)
    assert growth < logged / 30
    fault.happened = f"{growth:.0f} bytes of growth per step in the second half, {logged:.0f} per step in the log"


def growth_a_step(held: list[int], steps: int) -> float:
    """Return by how many bytes a step more was held in the second half: caches of a fixed size fill in the first."""
    half = len(held) // 2
    return (held[-1] - held[half]) / (len(held) - 1 - half) / steps


def bytes_of_a_step(store: Store) -> float:
    return float(store.db.execute("select avg(length(body)) from events where kind = 'step'").fetchone()[0])
