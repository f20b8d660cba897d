"""The log of a run as a file, so that what a real model did can be read and drawn without the model.

    python -m tests.support.stored_logs DATABASE RUN tests/stored_logs/NAME.jsonl.gz

The first line is the run's spec, each further one an event: kind, time, seconds, body. Of the model's path only the
file name is kept.
"""

import gzip
import json
import sys
from pathlib import Path

from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.paths import TESTS

LOGS = TESTS / "stored_logs"


def keep(store: Store, run: str, path: Path) -> None:
    """Write a run's spec and events."""
    lines: list[object] = [{**store.spec(run).to_json(), "experiment": None}]
    for event in store.read_after(run):
        body = event.body
        if event.kind == "model":
            body = {**body, "model": Path(body["model"]).name}
        lines.append([event.kind, event.time, event.seconds, body])
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def put(store: Store, path: Path) -> str:
    """Store the run of such a file, with the built-in data set it labelled, and return its name."""
    first, *rest = gzip.decompress(path.read_bytes()).decode().splitlines()
    spec = RunSpec.from_json(json.loads(first))
    ensure_sample_dataset(store, spec.dataset)
    run = store.add_run(spec)
    rows = [
        {"run": run, "number": number, "kind": kind, "time": time, "seconds": seconds,
         "body": json.dumps(body, ensure_ascii=False, separators=(",", ":"))}
        for number, (kind, time, seconds, body) in enumerate(map(json.loads, rest), 1)
    ]  # fmt: skip
    with store.transaction():
        store.db.table("events").insert_all(rows)
    return run


if __name__ == "__main__":
    with Store(sys.argv[1]) as database:
        keep(database, sys.argv[2], Path(sys.argv[3]))
