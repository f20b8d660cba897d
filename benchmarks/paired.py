"""What paired scoring does to the chain: the same seeds both ways, on the sample model.

    python -m benchmarks.paired --n 64 --steps 256 --seeds 5

paired: a proposal, its repairs and the labeling before it in one walk, the examples that differ last;
separately: each labeling in its own orders, the one before as scored when it was accepted.
The final U of both is scored separately, so that it can be compared. Accuracy counts unlabelled examples as wrong.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.models import examples_for, load_any
from benchmarks.report import Row, reported, show
from icm_engine.core.custom_rules import make_rule
from icm_engine.core.labeling import Labeling
from icm_engine.core.objective import Objective
from icm_engine.core.search import StepInfo, initialize, step
from icm_engine.core.settings import PRESETS, with_settings
from icm_engine.data.gold import load_gold
from icm_engine.models.transformers_scorer import TransformersScorer
from icm_engine.store.store import Store


@dataclass(frozen=True)
class Chain:
    """One search: its steps, its labels, and what it took."""

    steps: Sequence[StepInfo]
    labeling: Labeling
    utility: float
    accuracy: float
    tokens: int

    @property
    def acceptance(self) -> float:
        """Share of proposals that were accepted."""
        decided = [info.verdict == "accepted" for info in self.steps if info.verdict != "unchanged"]
        return statistics.mean(decided) if decided else 0.0


def search(scorer: TransformersScorer, dataset: str, seed: int, paired: bool, given: argparse.Namespace) -> Chain:
    """Run one search with the default preset."""
    task, examples = examples_for(scorer.loaded, given.n, 0, dataset, given.db)
    config = with_settings(PRESETS["default"], {"seed": seed, "paired": paired})
    rule = make_rule(task.rule, examples, task.labels, task.true_label)
    objective = Objective(examples, task, rule, scorer, config.predictability, config.alpha, config.pair_weight)
    used = scorer.usage
    state, _ = initialize(objective, config)
    steps = []
    while state.step < given.steps:
        state, info = step(state, objective, config)
        steps.append(info)
    tokens = (scorer.usage - used).tokens_encoded
    with Store(given.db) as store:
        gold = load_gold(store, dataset).labels
    right = sum(gold[examples[i].id] == label for i, label in state.labeling.items())
    utility = objective.evaluate(state.labeling).utility
    return Chain(steps, state.labeling, utility, right / len(examples), tokens)


def parted(one: Chain, other: Chain) -> int:
    """The first step whose example, label or verdict differs; 1 past the last if none does."""
    said = [[(i.example, i.proposed, i.verdict, i.flips) for i in chain.steps] for chain in (one, other)]
    return next((k for k, (a, b) in enumerate(zip(*said, strict=True), 1) if a != b), len(said[0]) + 1)


def agreement(one: Chain, other: Chain) -> float:
    """Share of the examples labelled by both that have the same label."""
    both = [i for i in one.labeling if i in other.labeling]
    return statistics.mean(one.labeling[i] == other.labeling[i] for i in both)


def compare(scorer: TransformersScorer, dataset: str, given: argparse.Namespace) -> Row:
    """Medians over seeds; `paired - separately` are medians of the differences at one seed."""
    pairs = []
    for seed in range(given.seeds):
        pairs.append(tuple(search(scorer, dataset, seed, paired, given) for paired in (False, True)))
        print(dataset, seed, *(f"{c.utility:.1f} {c.accuracy:.3f} {c.tokens:,}" for c in pairs[-1]), flush=True)
    alone, together = zip(*pairs, strict=True)
    return {
        "data set": dataset,
        "part at step": statistics.median(parted(*pair) for pair in pairs),
        "same final labels": statistics.median(agreement(*pair) for pair in pairs),
        "accepted, separately": statistics.median(c.acceptance for c in alone),
        "accepted, paired": statistics.median(c.acceptance for c in together),
        "U, separately": statistics.median(c.utility for c in alone),
        "U, paired": statistics.median(c.utility for c in together),
        "U, paired - separately": statistics.median(b.utility - a.utility for a, b in pairs),
        "accuracy, separately": ", ".join(f"{c.accuracy:.2f}" for c in alone),
        "accuracy, paired": ", ".join(f"{c.accuracy:.2f}" for c in together),
        "tokens, paired / separately": statistics.median(b.tokens / a.tokens for a, b in pairs),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sample")
    parser.add_argument("--quantization", default="nf4")
    parser.add_argument("--datasets", nargs="+", default=["arithmetic", "facts", "comparisons"])
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--db", type=Path, default=Path("build/benchmarks.db"))
    with reported(parser) as given:
        scorer = TransformersScorer(load_any(given.model, given.quantization, "bfloat16"))
        show([compare(scorer, dataset, given) for dataset in given.datasets], given.output)


if __name__ == "__main__":
    main()
