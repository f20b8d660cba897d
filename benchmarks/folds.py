"""Labels by fine-tuned folds beside labels by prompting: right labels, tokens and seconds, also beyond a context.

    python -m benchmarks.folds --n 64 256 1024 --batch 64 --seeds 0 1 2

Claims about sums are made as those of the sample data are, from another seed. Each row is a run of its own, by the
command line: a search with folds on all examples; a prompted one, of all examples where they are at most --batch, else
in batches of that size. Tokens are those that the model read: in tuning, each as often as it was read.
"""

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Row, reported, show
from icm_engine.core.resources import PACKAGE
from icm_engine.store.store import Store

MADE = 7  # the seed of the claims


def claims(n: int) -> list[dict[str, str]]:
    """At most n claims about sums, in whole groups of two to four; none has the sum of another group."""
    sys.path.insert(0, str(PACKAGE.parent))  # the maker of the sample data is part of a checkout alone
    from sample_data.make.claims import MAX_ADDEND, sum_group
    from sample_data.make.make_data import claim_group

    rng, rows = random.Random(MADE), list[dict[str, str]]()
    sums = [(a, b) for a in range(MAX_ADDEND + 1) for b in range(MAX_ADDEND + 1)]
    for a, b in rng.sample(sums, len(sums)):
        made = claim_group(f"sum-{a}-{b}", sum_group(a, b, rng.choice((2, 3, 3, 4)), rng))
        if len(rows) + len(made) <= n:
            rows += made
    return rows


def command(db: Path, *arguments: str) -> Any:
    """Run one command of the project and return what it prints as JSON."""
    call = [sys.executable, "-m", "icm_engine", *arguments, "--db", str(db), "--json"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=PACKAGE.parent)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def imported(db: Path, folder: Path, n: int) -> str:
    """Import n claims and return the name of their data set."""
    rows, name = claims(n), f"sums-{n}"
    path = folder / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    command(db, "import", str(path), "--task", "arithmetic", "--name", name)
    return name


def labelled(db: Path, dataset: str, model: Sequence[str], seed: int, batch: int | None, options: Sequence[str]) -> Row:
    """One row: a run with folds, or with `batch` prompted ones."""
    call = ["run", "--dataset", dataset, *model, "--seed", str(seed)]
    whole = batch is not None and examples_of(db, dataset) <= batch
    way = (
        ["--source", "folds", *[word for option in options for word in ("--option", option)]]
        if batch is None
        else []
        if whole
        else ["--batch-size", str(batch)]
    )
    found = command(db, *call, *way)
    fits, tuned = tuning(db, found["run"])
    return {
        "examples": found["examples"],
        "labels by": "folds" if batch is None else "prompts" if whole else f"prompts, batches of {batch}",
        "seed": seed,
        "right": found["accuracy"],
        "U": found.get("utility"),
        "rounds": found["steps"] if batch is None else None,
        "fits": fits or None,
        "tokens read in tuning": tuned or None,
        "tokens scored": found["tokens_encoded"],
        "s": found["seconds"],
    }


def examples_of(db: Path, dataset: str) -> int:
    """The number of examples of a data set."""
    with Store(db) as store:
        return store.dataset_info(dataset).examples


def tuning(db: Path, run: str) -> tuple[int, int]:
    """How many models a run tuned, and the tokens that they read."""
    with Store(db) as store:
        if not store.has_run(run):
            return 0, 0  # a batched run
        folds = [event.fold for event in store.read_after(run, kinds=("fold",))]
    return sum(body["rows"] > 0 for body in folds), sum(body["tokens"] for body in folds)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sample")
    parser.add_argument("--quantization", default="nf4")
    parser.add_argument("--n", type=int, nargs="+", default=[64])
    parser.add_argument("--batch", type=int, default=64, help="examples of a prompted search at most")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--option", action="append", default=[], help="of folds, such as epochs=3")
    parser.add_argument("--output", type=Path)
    with reported(parser) as given, tempfile.TemporaryDirectory() as folder:
        db, rows = Path(folder) / "folds.db", list[Row]()
        model = ["--model", given.model, "--quantization", given.quantization]
        for n in given.n:
            dataset = imported(db, Path(folder), n)
            for seed in given.seeds:
                for batch in (None, given.batch):
                    rows.append(labelled(db, dataset, model, seed, batch, given.option))
                    print(rows[-1], flush=True)
        show(rows, given.output)


if __name__ == "__main__":
    main()
