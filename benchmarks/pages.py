"""Milliseconds that the script of each page takes, beside a large data set and a run on it.

    python -m benchmarks.pages --rows 1000000

A file of that many rows is generated and imported; each page is then drawn by Streamlit's own tester, which runs the
whole script. Times are medians after a first drawing, which is given apart: it imports modules and fills caches.
"""

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.importing import imported, write
from benchmarks.page_time import drawn
from benchmarks.report import Row, reported, show
from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control, worker
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store

DATASET = "csv"
PAGES: dict[str, tuple[str | None, dict[str, str]]] = {
    "home": (None, {}),
    "search, a new run": ("search", {}),
    "search, a run on 64 examples": ("search", {"run": f"{DATASET}-1"}),
    "search, a run on all examples": ("search", {"run": f"{DATASET}-2"}),
    "compare, beside gold": ("compare", {"run": f"{DATASET}-2", "view": "Gold"}),
    "compare, seeds": ("compare", {"run": f"{DATASET}-2", "view": "Seeds"}),
    "compare, two runs": ("compare", {"run": f"{DATASET}-2", "with": f"{DATASET}-1"}),
    "compare, landscape": ("compare", {"run": f"{DATASET}-2", "view": "Landscape"}),
    "annotate, data set order": ("annotate", {"run": f"{DATASET}-2", "at": "MIDDLE"}),
    "annotate, least certain first": ("annotate", {"run": f"{DATASET}-2", "queue": "margin"}),
    "data, the list": ("data", {}),
    "data, the first examples": ("data", {"dataset": DATASET}),
    "data, examples in the middle": ("data", {"dataset": DATASET, "page": "MIDDLE"}),
    "data, the rule check": ("data", {"dataset": DATASET, "view": "Rule check"}),
    "data, the context check": ("data", {"dataset": DATASET, "view": "Context check"}),
}


def prepared(database: Path, folder: Path, rows: int) -> None:
    """Import a generated file and label a little of it, once with a limit and once without."""
    path = folder / "large.csv"
    write(path, "csv", rows)
    print(imported(database, path, DATASET))
    path.unlink()
    with Store(database) as store:
        for limit in (64, None):
            run = control.create_run(store, RunSpec(DATASET, "fake", limit=limit, search=SearchConfig(max_steps=20)))
            store.send(run, "start", run)
            worker.main(["--db", str(database), run])


def measured(name: str, rows: int, repeat: int) -> Row:
    """Draw one page and return its times."""
    link, query = PAGES[name]
    return drawn(name, link, {key: value.replace("MIDDLE", str(rows // 20)) for key, value in query.items()}, repeat)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--output", type=Path)
    with reported(parser) as given, tempfile.TemporaryDirectory(prefix="icm-pages-") as folder:
        database = Path(folder) / "icm.db"
        os.environ["ICM_DB"] = str(database)
        prepared(database, Path(folder), given.rows)
        show([measured(name, given.rows, given.repeat) for name in PAGES], given.output)


if __name__ == "__main__":
    main()
