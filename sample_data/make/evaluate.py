"""Figures of the sample model: `python -m sample_data.make.evaluate golden|landscape|icm`.

golden     golden demonstrations (64 shots, leave-one-out), zero-shot, and nf4 against bf16 on the same prompts
landscape  mean log-odds, times alpha, of gold, mirror, constants, random labels, gold with errors
icm        the search over seeds, through the command line of the product

Each prints a table; with --card it also replaces that table in the model card.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from sample_data.make.measure import (
    FOLDER,
    Item,
    interval,
    labelled_odds,
    leave_one_out,
    open_scorer,
    read_items,
    zero_shot,
)

TASKS = ("arithmetic", "facts", "comparisons")
ALPHA = 50.0
COLLAPSED = 0.9  # a run counts as collapsed if one label has more than this share of the labelled
MIRRORED = 0.75  # a run counts as mirrored if at least this share of all examples has the wrong label
SOME_ERRORS = 0.1
ZERO_SHOT = ("zero-shot, nf4", "zero-shot True", "golden, nf4, test questions")


def percent(values: Sequence[float], groups: Sequence[str]) -> str:
    """Mean with its interval, in percent."""
    mean, low, high = (100 * x for x in interval(values, groups))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def table_head(*names: str) -> Iterator[str]:
    """The two first lines of a table."""
    yield "| " + " | ".join(names) + " |"
    yield "|---" * len(names) + "|"


def golden_table(given: argparse.Namespace) -> Iterator[str]:
    """Percent right on training and test questions, with intervals; one row for each data set."""
    nf4, bf16 = open_scorer(given.model, "nf4"), open_scorer(given.model, "none")
    yield from table_head("data set", "golden, nf4", "golden, bf16", "nf4 - bf16, points", "predictions", *ZERO_SHOT)
    for name in given.datasets:
        items, test = read_items(given.data / f"{name}.csv"), read_items(given.data / f"{name}_test.csv")
        low, high = (leave_one_out(scorer, items, given.shots, given.draws, given.labels) for scorer in (nf4, bf16))
        none, groups = zero_shot(nf4, items), [p.group for p in low]
        held = leave_one_out(nf4, test, min(given.shots, len(test) - 1), given.draws, given.labels)
        cells = [
            percent([p.right for p in low], groups),
            percent([p.right for p in high], groups),
            percent([p.right - q.right for p, q in zip(low, high, strict=True)], groups),
            str(len(low)),
            percent([p.right for p in none], [p.group for p in none]),
            f"{100 * statistics.mean(p.odds > 0 for p in none):.0f}",
            percent([p.right for p in held], [p.group for p in held]),
        ]
        yield f"| {name} | " + " | ".join(cells) + " |"


def labelings(items: Sequence[Item], rng: random.Random) -> dict[str, list[bool]]:
    """The labelings whose utilities are compared."""
    gold = [item.gold for item in items]
    wrong = set(rng.sample(range(len(gold)), round(SOME_ERRORS * len(gold))))
    return {
        "gold": gold,
        "10 % errors": [y != (i in wrong) for i, y in enumerate(gold)],
        "mirror": [not y for y in gold],
        "all True": [True] * len(gold),
        "all False": [False] * len(gold),
        "random": [rng.random() < 0.5 for _ in gold],
    }


def whole_groups(items: Sequence[Item], size: int, rng: random.Random) -> list[Item]:
    """Random whole groups, at most `size` examples, as a search would hold them; shuffled."""
    groups = list(dict.fromkeys(item.group for item in items))
    rng.shuffle(groups)
    chosen: list[Item] = []
    for group in groups:
        members = [item for item in items if item.group == group]
        if len(chosen) + len(members) <= size:
            chosen += members
    rng.shuffle(chosen)
    return chosen


def landscape_table(given: argparse.Namespace) -> Iterator[str]:
    """Alpha times the mean log-odds of each labeling of `--size` examples (mean and range over draws)."""
    scorer = open_scorer(given.model, given.quantization)
    for name in given.datasets:
        found: dict[str, list[float]] = {}
        for draw in range(given.draws):
            rng = random.Random(draw)
            items = whole_groups(read_items(given.data / f"{name}.csv"), given.size, rng)
            for kind, labels in labelings(items, rng).items():
                odds = labelled_odds(scorer, items, labels)
                own = [o if y else -o for o, y in zip(odds, labels, strict=True)]
                found.setdefault(kind, []).append(ALPHA * statistics.mean(own))
        spread = {k: f"{statistics.mean(v):.0f} ({min(v):.0f} to {max(v):.0f})" for k, v in found.items()}
        if name == given.datasets[0]:
            yield from table_head("data set", *spread)
        yield f"| {name} | " + " | ".join(spread.values()) + " |"


@dataclass(frozen=True)
class Outcome:
    """What came of one search; unlabelled examples count as wrong in `accuracy` and in `flipped`."""

    dataset: str
    seed: int
    accuracy: float
    flipped: float
    labelled: int
    examples: int
    share_true: float
    utility: float
    seconds: float

    @property
    def collapsed(self) -> bool:
        """Whether nearly all labels are the same."""
        return not 1 - COLLAPSED <= self.share_true <= COLLAPSED

    @property
    def mirrored(self) -> bool:
        """Whether most labels say the opposite of gold."""
        return self.flipped >= MIRRORED


def run_search(given: argparse.Namespace, dataset: str, seed: int) -> Outcome:
    """One run of the product in a process of its own, on a data base of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "icm_engine", "run", "--json", "--db", f"{folder}/runs.db"]
        command += ["--dataset", dataset, "--model", given.model, "--quantization", given.quantization]
        command += ["--limit", str(given.size), "--seed", str(seed), "--steps", str(given.steps)]
        threads = {"OMP_NUM_THREADS": str(max(1, given.threads // given.jobs))}
        done = subprocess.run(
            command, cwd=FOLDER.parent, env=os.environ | threads, stdout=subprocess.PIPE, text=True, check=True
        )
    run = json.loads(done.stdout)
    return Outcome(
        dataset,
        seed,
        run["accuracy"],
        run["accuracy_flipped"],
        run["labelled"],
        run["examples"],
        run["label_balance"]["True"] / max(1, run["labelled"]),
        run["utility"],
        run["seconds"],
    )


def icm_row(found: Sequence[Outcome]) -> str:
    """One data set's row: median and range of accuracy, what was left unlabelled, both counts of failures."""
    right = [100 * o.accuracy for o in found]
    cells = [
        f"{statistics.median(right):.1f} ({min(right):.1f} to {max(right):.1f})",
        f"{100 * statistics.median(o.flipped for o in found):.1f}",
        f"{sum(o.labelled < o.examples for o in found)} ({max(o.examples - o.labelled for o in found)})",
        f"{sum(o.collapsed for o in found)}",
        f"{sum(o.mirrored for o in found)}",
        f"{len(found)} ({found[0].seed} to {found[-1].seed})",
        f"{statistics.median(o.seconds for o in found):.0f}",
    ]
    return f"| {found[0].dataset} | " + " | ".join(cells) + " |"


def icm_table(given: argparse.Namespace) -> Iterator[str]:
    """The search over seeds; every single run goes to stderr as a line of JSON."""
    unlabelled = "runs with unlabelled (most)"
    yield from table_head(
        "data set",
        "accuracy, median (range)",
        "flipped",
        unlabelled,
        "collapsed",
        "mirrored",
        "runs (seeds)",
        "seconds",
    )
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    for dataset in given.datasets:
        found = []
        with ThreadPoolExecutor(given.jobs) as pool:
            for outcome in pool.map(partial(run_search, given, dataset), seeds):
                found.append(outcome)
                print(json.dumps(asdict(outcome)), file=sys.stderr, flush=True)
        yield icm_row(found)


TABLES = {"golden": golden_table, "landscape": landscape_table, "icm": icm_table}


def into_card(card: Path, name: str, table: str) -> None:
    """Replace what stands between the marks of a table in the card."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = card.read_text(encoding="utf-8").partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{card} has no {start} ... {end}: put the marks back")
    card.write_text(f"{before}{start}\n{table}\n{end}{after}", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(TABLES))
    parser.add_argument("--card", action="store_true", help="write the table into the model card")
    parser.add_argument("--model", default="sample")
    parser.add_argument("--quantization", default="nf4")
    parser.add_argument("--data", type=Path, default=FOLDER, help="folder of the data files")
    parser.add_argument("--datasets", nargs="+", default=list(TASKS))
    parser.add_argument("--shots", type=int, default=64)
    parser.add_argument("--labels", choices=("gold", "random", "wrong"), default="gold", help="of demonstrations")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=1, help="searches at the same time")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    lines = []
    for line in TABLES[given.what](given):
        print(line, flush=True)
        lines.append(line)
    if given.card:
        into_card(FOLDER / "model" / "README.md", given.what, "\n".join(lines))


if __name__ == "__main__":
    main()
