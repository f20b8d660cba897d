"""Seconds of this process that a long log takes: replayed to its last state, and read with its curves for a page.

    python -m benchmarks.replay --steps 100000 --labelled 64

The log is invented in the worker's own form (`benchmarks.run_pages`); with --db it is kept, and used again if it is
there. Times are medians of the process's own seconds, which other work disturbs less.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.report import Row, median_seconds, reported, show
from benchmarks.run_pages import RUN, written
from icm_engine.analysis.views import load
from icm_engine.store.replay import open_run, replay
from icm_engine.store.store import Store


def measure(database: Path, repeats: int) -> Row:
    """Return how long the log takes."""
    with Store(database) as store:
        opened, last = open_run(store, RUN).whole(), store.last_number(RUN)
        replayed = median_seconds(lambda: replay(opened, store.read_between(RUN, 0, last)), repeats)
        read = median_seconds(lambda: load(store, RUN), repeats)
    return {"events": last, "replay, s": round(replayed, 3), "page, s": round(read, 3)}


def main() -> None:
    """Print one row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--labelled", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--db", type=Path)
    parser.add_argument("--output", type=Path)
    with reported(parser) as given, tempfile.TemporaryDirectory() as folder:
        database = given.db or Path(folder) / "icm.db"
        if not database.exists():
            written(database, given.steps, max(256, given.labelled), given.labelled)
        show([measure(database, given.repeat)], given.output)


if __name__ == "__main__":
    main()
