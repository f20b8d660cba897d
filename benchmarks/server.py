"""Whole-set evaluation of n labelled examples through a server, in the authors' order and in ours, and here beside it.

    tools/server.sh serve sample_data/model 8000
    python -m benchmarks.server --server http://127.0.0.1:8000/v1 --model sample --dtype float32 --n 64 128 --repeat 3

authors' order  every prompt shows the other examples in one order, the prompts one after the other
ours            divide-and-conquer orders, the prompts in the order of their tree
here            the same prompts as ours, by the local scorer, with --threads threads

Tokens are those that the server did not find in its prefix cache, by its own count. Every evaluation begins with a
line of its own, so that nothing is left in the cache from the one before.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.models import examples_for
from benchmarks.report import Row, reported, show
from icm_engine.core.labeling import Labeling
from icm_engine.core.prompting import Prompt, leave_one_out_prompts, query_prompt
from icm_engine.core.scoring import LabelLogProbs, Scorer
from icm_engine.core.settings import ModelChoice
from icm_engine.models.loading import load
from icm_engine.models.server_client import cache_figures
from icm_engine.models.server_scorer import ServerScorer
from icm_engine.models.transformers_scorer import TransformersScorer

_evaluations = itertools.count(int(time.time()))  # a server may still have what an earlier benchmark asked


def fresh(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts after a line that no cache has seen."""
    first = (f"Set {next(_evaluations)}\n\n",)
    return [replace(prompt, segments=(first, *prompt.segments)) for prompt in prompts]


def measured(scorer: Scorer, prompts: Sequence[Prompt], repeat: int, encoded: Callable[[], int]) -> Row:
    """Seconds and encoded tokens of `repeat` evaluations; one more before them is not counted."""
    scorer.score(fresh(prompts))
    seconds, tokens = [], []
    for _ in range(repeat):
        these, before, began = fresh(prompts), encoded(), time.perf_counter()
        scorer.score(these)
        seconds.append(time.perf_counter() - began)
        tokens.append(encoded() - before)
    return {"s": statistics.median(seconds), "s, all": ", ".join(f"{s:.2f}" for s in seconds),
            "tokens encoded": int(statistics.median(tokens))}  # fmt: skip


def rows_for(n: int, tree: ServerScorer, given_order: ServerScorer, here: TransformersScorer,
             given: argparse.Namespace) -> list[Row]:  # fmt: skip
    """The three ways at one n, one after the other."""
    task, examples = examples_for(here.loaded, n, 0, given.dataset, given.db)
    labeling = Labeling({i: task.labels[i % len(task.labels)] for i in range(len(examples))})
    ours = list(leave_one_out_prompts(task, examples, [labeling])[0].values())
    fixed = [query_prompt(task, examples, labeling, i) for i in labeling]

    def on_server() -> int:
        return cache_figures(tree.client, tree.served.name).encoded

    ways = {
        "authors' order": measured(given_order, fixed, given.repeat, on_server),
        "ours": measured(tree, ours, given.repeat, on_server),
        "here": measured(here, ours, given.repeat, lambda: here.usage.tokens_encoded),
    }
    apart = largest_difference(tree.score(ours), here.score(ours))
    cost, first = tree.cost(ours), ways["authors' order"]
    return [
        {"n": len(ours), "way": way, **row, "tokens, full": cost.tokens_full, "of the tree": cost.tokens_encoded,
         "x authors', s": first["s"] / row["s"], "x authors', tokens": first["tokens encoded"] / row["tokens encoded"],
         "largest difference of a log-probability": apart if way == "ours" else ""}
        for way, row in ways.items()
    ]  # fmt: skip


def largest_difference(one: Sequence[LabelLogProbs], other: Sequence[LabelLogProbs]) -> float:
    """Between two scorers' log-probabilities of the same labels."""
    pairs = zip(one, other, strict=True)
    return max(abs(a - b) for x, y in pairs for a, b in zip(x.raw, y.raw, strict=True))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="http://HOST:PORT/v1")
    parser.add_argument("--model", default="sample", help="the model that is served, to be loaded here")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--dataset", default="arithmetic")
    parser.add_argument("--n", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--db", type=Path, default=Path("build/benchmarks.db"), help="where sample data goes")
    with reported(parser) as given:
        torch.set_num_threads(given.threads)
        tree, given_order = ServerScorer(given.server), ServerScorer(given.server, "full-prompts")
        here = TransformersScorer(load(ModelChoice(given.model, "none", given.dtype)))
        print({**tree.describe(), "loaded here": dict(here.describe())})
        rows = []
        for n in given.n:
            rows += rows_for(n, tree, given_order, here, given)
            print(*rows[-3:], sep="\n", flush=True)
        show(rows, given.output)


if __name__ == "__main__":
    main()
