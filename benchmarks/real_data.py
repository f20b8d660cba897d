"""What a real base model knows of the data sets made for it: `python -m benchmarks.real_data --model FILE [--json]`.

Queries from the test part are asked without demonstrations, and after examples of the training part with gold labels
and with random ones. `raw` counts the likeliest label; `centred` first subtracts each label's mean log-probability over
the queries. A bag of words that learns from as many gold labels stands beside.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from icm_engine.core.labeling import Example
from icm_engine.core.prompting import Prompt, Segment, demonstration, render
from icm_engine.core.scoring import Scorer
from icm_engine.core.settings import ModelChoice
from icm_engine.data.tasks import task_spec
from icm_engine.data.tasks.spec import make_task
from icm_engine.models.loading import load
from icm_engine.models.transformers_scorer import TransformersScorer
from sample_data.make.real import RECIPES

FOLDER = Path(__file__).parents[1] / "sample_data"
SHOTS, QUERIES, DRAWS = 32, 64, 2
BAG_DRAWS = 5
Row = Mapping[str, str]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Known:
    """Shares of right predictions for one way to ask: by the likeliest label, and after centring."""

    raw: float
    centred: float
    most_said: float  # the share of the label that is predicted most, before centring

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]], gold: Sequence[int]) -> Known:
        """From log-probabilities (one row for each query, a column for each label) and the columns that are right."""
        means = [fmean(column) for column in zip(*rows, strict=True)]
        said = [best(row) for row in rows]
        moved = [best([value - mean for value, mean in zip(row, means, strict=True)]) for row in rows]
        most = max(said.count(label) for label in set(said)) / len(said)
        return cls(share(said, gold), share(moved, gold), most)


def best(row: Sequence[float]) -> int:
    """The column of the largest value."""
    return max(range(len(row)), key=row.__getitem__)


def share(said: Sequence[object], gold: Sequence[object]) -> float:
    """The share that is right."""
    return fmean(a == b for a, b in zip(said, gold, strict=True))


def mean_known(some: Sequence[Known]) -> Known:
    """The means over draws."""
    return Known(*(fmean(asdict(known)[name] for known in some) for name in ("raw", "centred", "most_said")))


def read_rows(name: str, folder: Path = FOLDER) -> list[Row]:
    """The rows of a sample file."""
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Asked:
    """A data set as prompts of its task."""

    def __init__(self, scorer: Scorer, name: str, folder: Path, seed: int) -> None:
        self.scorer, self.task = scorer, make_task(task_spec(name))
        self.train, self.test = (read_rows(f"{name}{ending}", folder) for ending in ("", "_test"))
        self.rng = random.Random(seed)

    def text(self, row: Row) -> str:
        """The prompt of a row, up to the label."""
        return render(self.task, Example(row["id"], {name: row[name] for name in self.task.fields}, row["id"]))

    def known(self, shown: Sequence[Segment], asked: Sequence[Row]) -> Known:
        """What is right of these queries after these demonstrations."""
        prompts = [Prompt((*shown, (self.text(row),)), self.task.labels) for row in asked]
        scores = [score.raw for score in self.scorer.score(prompts)]
        return Known.of(scores, [self.task.labels.index(row["gold"]) for row in asked])

    def draw(self, shots: int, queries: int) -> dict[str, Known]:
        """What is right of random queries in each way to ask, after the same random examples."""
        some, asked = self.rng.sample(self.train, shots), self.rng.sample(self.test, queries)
        shown = {
            "zero-shot": [],
            "golden": [demonstration(self.text(row), row["gold"]) for row in some],
            "random labels": [demonstration(self.text(row), self.rng.choice(self.task.labels)) for row in some],
        }
        return {way: self.known(segments, asked) for way, segments in shown.items()}


def bag_of_words(train: Sequence[Row], test: Sequence[Row], fields: Sequence[str], shots: int, seed: int) -> float:
    """The share of the test part that a bag of words gets right after so many gold labels."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = {part: [" ".join(row[f] for f in fields) for row in some] for part, some in (("a", train), ("b", test))}
    rng = random.Random(seed)
    while True:
        drawn = rng.sample(range(len(train)), shots)
        if len({train[i]["gold"] for i in drawn}) > 1:
            break
    model = make_pipeline(CountVectorizer(), LogisticRegression(max_iter=1000))
    model.fit([texts["a"][i] for i in drawn], [train[i]["gold"] for i in drawn])
    return share(list(model.predict(texts["b"])), [row["gold"] for row in test])


def measure(
    scorer: Scorer, name: str, folder: Path = FOLDER, shots: int = SHOTS, queries: int = QUERIES, draws: int = DRAWS
) -> Figures:
    """The figures of one data set."""
    asked = Asked(scorer, name, folder, 0)
    drawn = [asked.draw(shots, queries) for _ in range(draws)]
    bag = [bag_of_words(asked.train, asked.test, asked.task.fields, shots, seed) for seed in range(BAG_DRAWS)]
    golds = [row["gold"] for row in asked.test]
    return {
        "dataset": name,
        "shots": shots,
        "queries": queries,
        "draws": draws,
        "ways": {way: asdict(mean_known([one[way] for one in drawn])) for way in drawn[0]},
        "bag_of_words": fmean(bag),
        "bag_of_words_draws": bag,
        "largest_class": max(golds.count(label) for label in set(golds)) / len(golds),
    }


def table(found: Sequence[Figures]) -> str:
    """The figures as a table of Markdown, in percent: raw / centred."""
    head = ["data set", "zero-shot", "golden", "random labels", "bag of words", "largest class"]
    rows = [head, ["---"] * len(head)]
    for one in found:
        ways = [f"{100 * way['raw']:.0f} / {100 * way['centred']:.0f}" for way in one["ways"].values()]
        rows.append(
            [f"`{one['dataset']}`", *ways, *(f"{100 * one[key]:.0f}" for key in ("bag_of_words", "largest_class"))]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Command line."""
    given = parsed()
    torch.set_num_threads(given.threads)
    scorer, found = TransformersScorer(load(ModelChoice(given.model, given.quantization))), list[Figures]()
    for name in given.datasets:
        started = time.perf_counter()
        figures = measure(scorer, name, given.folder, given.shots, given.queries, given.draws)
        found.append(figures | {"seconds": time.perf_counter() - started, "load": os.getloadavg()[0]})
        print(f"{name}: {found[-1]['seconds']:.0f} s", file=sys.stderr)
    print(json.dumps({"model": dict(scorer.describe()), "datasets": found}, indent=2) if given.json else table(found))


def parsed() -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a directory, a GGUF file or a hub id")
    parser.add_argument("--quantization", default="none")
    parser.add_argument("--datasets", nargs="+", default=list(RECIPES))
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the CSV files are")
    parser.add_argument("--shots", type=int, default=SHOTS)
    parser.add_argument("--queries", type=int, default=QUERIES, help="of each draw of demonstrations")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
