"""Runs whose worker is the process of the test."""

import json
import time

from icm_engine.runs import worker
from icm_engine.store.store import Store


def work(store: Store, run: str, verb: str = "start", steps: int = 0) -> int:
    """Send a command and be the worker, in this process."""
    store.send(run, verb, f"{verb}-{time.time_ns()}", steps)
    return worker.main(["--db", str(store.path), run])


def search_facts(store: Store, run: str) -> list[str]:
    return [json.dumps(event.body) for event in store.read_after(run, kinds=("initial", "step"))]
