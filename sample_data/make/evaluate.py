"""Figures of the sample model: `python -m sample_data.make.evaluate golden|landscape|icm`.

golden     golden demonstrations (64 shots, leave-one-out), zero-shot, and nf4 against bf16 on the same prompts
landscape  mean log-odds, times alpha, of gold, mirror, constants, random labels, gold with errors
icm        the search over seeds, through the command line of the product
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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from sample_data.make.measure import FOLDER, Item, golden, interval, labelled_odds, open_scorer, read_items, zero_shot

TASKS = ("arithmetic", "facts", "comparisons")
ALPHA = 50.0
COLLAPSED = 0.9  # a run counts as collapsed if one label has more than this share of the labelled
MIRRORED = 0.75  # a run counts as mirrored if at least this share of all examples has the wrong label
SOME_ERRORS = 0.1


def percent(values: Sequence[float], groups: Sequence[str]) -> str:
    """Mean with its interval, in percent."""
    mean, low, high = (100 * x for x in interval(values, groups))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def golden_command(given: argparse.Namespace) -> None:
    """Print one table row for each data set."""
    nf4, bf16 = open_scorer(given.model, "nf4"), open_scorer(given.model, "none")
    print(
        "| data set | golden, nf4 | golden, bf16 | nf4 - bf16, points | n | zero-shot | zero-shot True | test, golden |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in given.datasets:
        items, test = read_items(given.data / f"{name}.csv"), read_items(given.data / f"{name}_test.csv")
        low, high = (golden(scorer, items, given.shots, given.draws) for scorer in (nf4, bf16))
        none, groups = zero_shot(nf4, items), [p.group for p in low]
        held = golden(nf4, test, min(given.shots, len(test) - 1), given.draws)
        cells = [
            percent([p.right for p in low], groups),
            percent([p.right for p in high], groups),
            percent([p.right - q.right for p, q in zip(low, high, strict=True)], groups),
            str(len(low)),
            percent([p.right for p in none], [p.group for p in none]),
            f"{100 * statistics.mean(p.odds > 0 for p in none):.0f}",
            percent([p.right for p in held], [p.group for p in held]),
        ]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


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


def landscape_command(given: argparse.Namespace) -> None:
    """Print alpha times the mean log-odds of each labeling of `--size` examples (mean and range over draws)."""
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
            print("| data set | " + " | ".join(spread) + " |")
            print("|---" * (1 + len(spread)) + "|")
        print(f"| {name} | " + " | ".join(spread.values()) + " |", flush=True)


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


def icm_command(given: argparse.Namespace) -> None:
    """Print every run and, for each data set, the median accuracy and both counts of failures."""
    for dataset in given.datasets:
        found = []
        with ThreadPoolExecutor(given.jobs) as pool:
            seeds = range(given.first_seed, given.first_seed + given.seeds)
            for outcome in pool.map(partial(run_search, given, dataset), seeds):
                found.append(outcome)
                print(json.dumps(asdict(outcome)), flush=True)
        print(
            f"{dataset}: median accuracy {100 * statistics.median(o.accuracy for o in found):.1f}, "
            f"{sum(o.collapsed for o in found)} collapsed and {sum(o.mirrored for o in found)} mirrored "
            f"of {len(found)} runs",
            flush=True,
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("golden", "landscape", "icm"))
    parser.add_argument("--model", default="sample")
    parser.add_argument("--quantization", default="nf4")
    parser.add_argument("--data", type=Path, default=FOLDER, help="folder of the data files")
    parser.add_argument("--datasets", nargs="+", default=list(TASKS))
    parser.add_argument("--shots", type=int, default=64)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=1, help="searches at the same time")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    {"golden": golden_command, "landscape": landscape_command, "icm": icm_command}[given.what](given)


if __name__ == "__main__":
    main()
