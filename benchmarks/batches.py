"""A large data set in batches with the fake scorer: memory over time, seconds a batch, database, pages beside it.

    python -m benchmarks.batches --examples 1000000 --size 256 --steps 8

A file of that many claims is generated and imported, then `run --batch-size` is asked for and watched. A batch takes
few steps, since each evaluation of the fake costs as much as the labels squared: what is measured is everything else.
With --minutes the run is paused after so long, and the rows say how far it got; with --database a second call goes
on. Pages are drawn by Streamlit's own tester, on this database and on one with the same data set's first examples and
one plain run; times are medians after a first drawing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import psutil

from benchmarks.importing import CHILD, imported, write
from benchmarks.page_time import drawn
from benchmarks.report import Row, reported, show
from icm_engine import jobs
from icm_engine.core.settings import SearchConfig
from icm_engine.jobs import batches
from icm_engine.runs import control, worker
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store

DATASET, EVERY = "csv", 2.0  # seconds between two looks at the processes
SLICE = 0.05  # of the batches: the beginning and the end of which the seconds are told
PAGES: dict[str, tuple[str | None, dict[str, str]]] = {
    "home": (None, {}),
    "search, a new run": ("search", {}),
    "search, a plain run": ("search", {"run": f"{DATASET}-1"}),
    "steps, a plain run": ("steps", {"run": f"{DATASET}-1"}),
    "compare, seeds": ("compare", {"run": f"{DATASET}-1", "view": "Seeds"}),
    "compare, runs": ("compare", {"run": f"{DATASET}-1", "view": "Runs"}),
    "forks, a plain run": ("forks", {"run": f"{DATASET}-1"}),
    "data, the list": ("data", {}),
    "data, the data set": ("data", {"dataset": DATASET}),
    "experiments": ("experiments", {}),
}
OF_BATCHES: dict[str, tuple[str | None, dict[str, str]]] = {
    "search, the batched run": ("search", {"run": "batches.1"}),
    "search, one batch": ("search", {"run": "batches.1-1"}),
    "steps, one batch": ("steps", {"run": "batches.1-1"}),
    "compare, one batch beside gold": ("compare", {"run": "batches.1-1", "view": "Gold"}),
    "consistency, one batch": ("consistency", {"run": "batches.1-1"}),
}


def prepared(database: Path, folder: Path, examples: int) -> None:
    """Import a generated file, and label 64 examples of it as a plain run."""
    path = folder / "large.csv"
    write(path, "csv", examples)
    show([imported(database, path, DATASET)], None)
    path.unlink()
    with Store(database) as store:
        spec = RunSpec(DATASET, "fake", limit=64, search=SearchConfig(max_steps=20))
        run = control.create_run(store, spec)
        store.send(run, "start", run)
        worker.main(["--db", str(database), run])


def watched(store: Store, job: str, minutes: float | None) -> Iterator[Row]:
    """Look at the processes of a batched run until it settles; yield memory and how many batches are finished."""
    began, whole = time.time(), batches.batched(store, job)
    while not (now := jobs.status(store, job)).settled:
        pids = [now.pid, *(jobs.status(store, lane).pid for lane in jobs.names(store, batches.LANE))]
        peaks = [_peak_mb(pid) for pid in pids if pid]
        if peaks:
            yield {"s": round(time.time() - began), "finished": len(batches.finished(store, whole)),
                   "driver MB": peaks[0], "lanes MB": sum(peaks[1:])}  # fmt: skip
        if minutes and time.time() - began > 60 * minutes:
            jobs.cancel(store, job)
        time.sleep(EVERY)


def _peak_mb(pid: int) -> float:
    try:
        return psutil.Process(pid).memory_info().rss / 1e6
    except psutil.Error:
        return 0.0


def seconds_a_batch(store: Store, whole: batches.BatchedRun) -> tuple[float, float]:
    """Median seconds from one batch's first event to the next one's, at the beginning and at the end."""
    query = "select min(time) from events where run >= ? and run < ? group by run order by 1"
    begun = [row[0] for row in store.db.execute(query, whole.between)]
    gaps = [after - before for before, after in pairwise(begun)]
    few = max(1, int(SLICE * len(gaps)))
    return statistics.median(gaps[:few]), statistics.median(gaps[-few:])


def _lanes_mb(looks: Sequence[Row]) -> list[float]:
    """What the lanes held at each look, once they were there."""
    return [float(str(look["lanes MB"])) for look in looks if look["lanes MB"]] or [0.0]


def labelled(database: Path, size: int, steps: int, side_by_side: int, minutes: float | None) -> list[Row]:
    """Run the batches; return the memory over time."""
    with Store(database) as store:
        began = time.perf_counter()
        spec = RunSpec(DATASET, "fake", search=SearchConfig(max_steps=steps))
        job = batches.submit(store, spec, size, side_by_side)
        asked, before = time.perf_counter() - began, database.stat().st_size / 1e6
        looks = list(watched(store, job, minutes))
        whole = batches.batched(store, job)
        first, last = seconds_a_batch(store, whole)
        tenths = looks[:: max(1, len(looks) // 10)]
        show([*tenths, *looks[-1:]] or [{"s": 0}], None)
        found: Row = {
            "batches": whole.of, "finished": len(batches.finished(store, whole)), "steps a batch": steps,
            "side by side": side_by_side, "to ask, s": asked, "all, s": time.perf_counter() - began,
            "s a batch, first 5 %": first, "s a batch, last 5 %": last,
            "lanes, early MB": _lanes_mb(looks)[0], "lanes, largest MB": max(_lanes_mb(looks)),
            "database before, MB": before, "after, MB": database.stat().st_size / 1e6,
        }  # fmt: skip
    show([found], None)
    return looks


def commanded(database: Path, *arguments: str) -> Row:
    """Run one command in a process of its own; return its seconds and its peak memory."""
    began = time.perf_counter()
    command = [sys.executable, "-c", CHILD, *arguments, "--db", str(database), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    report, busy, peak = done.stdout.splitlines()
    rows = json.loads(report)
    told = rows.get("rows", rows.get("labelled")) if isinstance(rows, dict) else len(rows)
    return {"command": " ".join(arguments[:2]), "rows": told, "s": time.perf_counter() - began, "CPU s": float(busy),
            "peak MB": float(peak)}  # fmt: skip


def pages(database: Path, named: dict[str, tuple[str | None, dict[str, str]]], repeat: int) -> dict[str, Row]:
    """Draw these pages on a database."""
    os.environ["ICM_DB"] = str(database)
    return {name: drawn(name, link, query, repeat) for name, (link, query) in named.items()}


def beside(database: Path, small: Path, repeat: int) -> list[Row]:
    """The times of every page on a database without batches and on this one."""
    kinds = ("median, ms", "CPU ms")
    without, within = pages(small, PAGES, repeat), pages(database, {**PAGES, **OF_BATCHES}, repeat)
    return [
        {"page": name,
         **{f"without batches, {kind}": without[name][kind] if name in without else "–" for kind in kinds},
         **{f"with batches, {kind}": row[kind] for kind in kinds}}
        for name, row in within.items()
    ]  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=8, help="of each batch")
    parser.add_argument("--side-by-side", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="pause the run after so long")
    parser.add_argument("--database", type=Path, help="keep it here, and go on with what is there")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--output", type=Path)
    with reported(parser) as given, tempfile.TemporaryDirectory(prefix="icm-batches-") as folder:
        database, small = given.database or Path(folder) / "icm.db", Path(folder) / "small.db"
        if not database.exists():
            prepared(database, Path(folder), given.examples)
        prepared(small, Path(folder), 1000)
        looks = labelled(database, given.size, given.steps, given.side_by_side, given.minutes)
        export = ("export", "batches.1", "--output", str(Path(folder) / "labels.csv"))
        show([commanded(database, *command) for command in (export, ("show", "batches.1"), ("list",))], None)
        found = beside(database, small, given.repeat)
        show(found, None)
        if given.output:
            given.output.write_text(json.dumps({"memory": looks, "pages": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
