"""Import of a generated file: seconds and peak memory, and whether what uses the data set afterwards stays quick.

    python -m benchmarks.importing --rows 1000000 --forms csv jsonl json parquet pairs

Each import is a process of its own, so that its peak memory (resident set) and its processor time are its own.
Afterwards the calls that pages make are timed: a data set's counts, a run on 64 examples of it, a run on all of it.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.report import Row, reported, show
from icm_engine.analysis.batches import GoldCounts, run_lines, run_list
from icm_engine.analysis.run_cache import RunCache
from icm_engine.core.settings import SearchConfig
from icm_engine.data.import_plan import preview
from icm_engine.runs import control
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store

# VmHWM and not ru_maxrss, which a process inherits from the one that started it
CHILD = """
import sys, time
from icm_engine.cli.main import main
code = main(sys.argv[1:])
print(time.process_time())
print(next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(code)
"""
FORMS = ("csv", "jsonl", "json", "parquet", "pairs")


def cells(n: int) -> Iterator[dict[str, object]]:
    """Four worked claims to a question, of some 250 characters, as real ones are."""
    for k in range(n):
        a, b = k // 4 % 997, k // 4 % 89
        yield {
            "question": f"Question {k // 4}: a shop sells {a} apples, then {b} more. How many are that?",
            "solution": f"In the morning {a}, then {b} more, so {a} + {b} = {a + b}. " * 2 + f"\nA: {a + b + k % 3}",
            "solver": f"model {k % 4}",
            "is_correct": k % 3 == 0,
        }


def pair_cells(n: int) -> Iterator[dict[str, object]]:
    """Pairs of answers, every tenth of them followed by its own swapped twin."""
    for k in range(n):
        swapped = k % 10 == 9
        texts = (f"It is {k - swapped}, I am sure of it. " * 3, f"It is {k - swapped + 1}, I think. " * 3)
        a, b = texts[::-1] if swapped else texts
        yield {"query": f"What comes after {k - swapped}?", "response_a": a, "response_b": b, "a_is_better": "yes"}


def write(path: Path, form: str, n: int) -> None:
    """Write a file of n rows."""
    rows = pair_cells(n) if form == "pairs" else cells(n)
    if form == "parquet":
        import pandas

        pandas.DataFrame(list(rows)).to_parquet(path, index=False)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if form in ("csv", "pairs"):
            first = next(rows)
            writer = csv.DictWriter(file, list(first))
            writer.writeheader()
            writer.writerow(first)
            writer.writerows(rows)
        elif form == "jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            file.write("[" + json.dumps(next(rows)))
            file.writelines(",\n" + json.dumps(row) for row in rows)
            file.write("]")


def imported(database: Path, path: Path, form: str) -> Row:
    """Import with the command line, in a process of its own; return seconds and its peak memory."""
    task = "preference" if form == "pairs" else "maths-verification"
    command = ["import", str(path), "--task", task, "--name", form, "--db", str(database), "--json"]
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", CHILD, *command], check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - began
    report, busy, peak = done.stdout.splitlines()
    made = json.loads(report)
    return {
        "form": form, "file MB": path.stat().st_size / 1e6, "examples": made["examples"],
        "constraints": made["constraints"], "import s": seconds, "of it CPU s": float(busy), "peak MB": float(peak),
    }  # fmt: skip


def afterwards(database: Path, path: Path, form: str) -> Row:
    """Milliseconds of what pages and commands do with the data set."""
    with Store(database) as store:
        shelf, config = RunCache(), SearchConfig(max_steps=10)
        return {
            "preview ms": _ms(lambda: preview(path)),
            "info ms": _ms(lambda: store.dataset_info(form)),
            "first 64 ms": _ms(lambda: store.dataset(form, 64)),
            "new run of 64 ms": _ms(lambda: control.create_run(store, RunSpec(form, "fake", limit=64, search=config))),
            "new run of all ms": _ms(lambda: control.create_run(store, RunSpec(form, "fake", search=config))),
            "runs, first look ms": _ms(lambda: run_lines(store, shelf, GoldCounts(), run_list(store))),
            "runs, next look ms": _ms(lambda: run_lines(store, shelf, GoldCounts(), run_list(store))),
        }


def _ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def measure(form: str, rows: int) -> Row:
    """Generate, import, use."""
    with tempfile.TemporaryDirectory(prefix="icm-importing-") as place:
        path = Path(place) / f"{form}.{'csv' if form == 'pairs' else form}"
        write(path, form, rows)
        database = Path(place) / "icm.db"
        return {**imported(database, path, form), **afterwards(database, path, form)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--output", type=Path)
    with reported(parser) as given:
        show([measure(form, given.rows) for form in given.forms], given.output)


if __name__ == "__main__":
    main()
