"""What the figures are made of: the sample data as prompts, scores from the engine's scorer, intervals."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from icm_engine.core.prompting import Prompt, demonstration, leave_one_out_orders
from icm_engine.core.settings import ModelChoice
from icm_engine.models.loading import load
from icm_engine.models.transformers_scorer import TransformersScorer
from sample_data.make.claims import CLAIM_PROMPT, PAIR_PROMPT

LABELS = ("True", "False")
FOLDER = Path(__file__).parents[1]
RESAMPLES = 2000


@dataclass(frozen=True)
class Item:
    """One example: its text up to the label, its gold label, and its group."""

    text: str
    gold: bool
    group: str


@dataclass(frozen=True)
class Prediction:
    """The log-odds of True that a model gave to an example, and the example's group and gold label."""

    group: str
    gold: bool
    odds: float

    @property
    def right(self) -> bool:
        """Whether the likelier label is the gold one."""
        return (self.odds > 0) == self.gold


def read_items(path: Path) -> list[Item]:
    """All examples of a sample file; pairs are followed by their swapped twins, as the importer does it."""
    items = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            gold = row["gold"] == "True"
            if "claim" in row:
                items.append(Item(CLAIM_PROMPT.format(row["question"], row["claim"]), gold, row["group"]))
                continue
            a, b = row["response_a"], row["response_b"]
            items.append(Item(PAIR_PROMPT.format(row["query"], a, b), gold, row["id"]))
            items.append(Item(PAIR_PROMPT.format(row["query"], b, a), not gold, row["id"]))
    return items


def open_scorer(model: str, quantization: str) -> TransformersScorer:
    """The engine's scorer for the sample model or a folder."""
    return TransformersScorer(load(ModelChoice(model, quantization)))


def log_odds(scorer: TransformersScorer, prompts: Sequence[Prompt]) -> list[float]:
    """log p(True) - log p(False) for each prompt."""
    return [score.raw[0] - score.raw[1] for score in scorer.score(prompts)]


def labelled_odds(scorer: TransformersScorer, items: Sequence[Item], labels: Sequence[bool]) -> list[float]:
    """Log-odds of True for each item given all the others with their labels."""
    shown = [demonstration(item.text, str(y)) for item, y in zip(items, labels, strict=True)]
    orders = sorted(leave_one_out_orders(tuple(range(len(items)))))
    prompts = [Prompt((*(shown[j] for j in context), (items[i].text,)), LABELS) for i, context in orders]
    return log_odds(scorer, prompts)


def shown_labels(items: Sequence[Item], kind: str, rng: random.Random) -> list[bool]:
    """The labels that the demonstrations get: `gold`, `random` (coin flips), or all `wrong`."""
    if kind == "random":
        return [rng.random() < 0.5 for _ in items]
    return [item.gold == (kind == "gold") for item in items]


def leave_one_out(
    scorer: TransformersScorer, items: Sequence[Item], shots: int, draws: int, kind: str = "gold"
) -> list[Prediction]:
    """Leave-one-out predictions with `shots` demonstrations, on `draws` random sets of examples."""
    found = []
    for draw in range(draws):
        some = random.Random(draw).sample(list(items), shots + 1)
        odds = labelled_odds(scorer, some, shown_labels(some, kind, random.Random(1000 + draw)))
        found += [Prediction(item.group, item.gold, o) for item, o in zip(some, odds, strict=True)]
    return found


def zero_shot(scorer: TransformersScorer, items: Sequence[Item]) -> list[Prediction]:
    """Predictions without any demonstration."""
    odds = log_odds(scorer, [Prompt(((item.text,),), LABELS) for item in items])
    return [Prediction(item.group, item.gold, o) for item, o in zip(items, odds, strict=True)]


def interval(values: Sequence[float], groups: Sequence[str]) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval; whole groups are resampled, since their values depend on each other."""
    sums: dict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for value, group in zip(values, groups, strict=True):
        total, count = sums[group]
        sums[group] = (total + value, count + 1)
    rng, clusters = random.Random(0), list(sums.values())
    means = []
    for _ in range(RESAMPLES):
        some = rng.choices(clusters, k=len(clusters))
        means.append(sum(t for t, _ in some) / sum(n for _, n in some))
    means.sort()
    at = RESAMPLES // 40
    return sum(values) / len(values), means[at], means[-at - 1]
