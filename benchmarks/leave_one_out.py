"""Whole-set evaluation of n labelled examples, four ways in one process.

    python -m benchmarks.leave_one_out --model sample --n 16 32 64 128 --repeat 5

one by one   every leave-one-out prompt encoded by itself
batched      the same prompts, padded on the left, as many at once as --batch-tokens allows
fixed order  demonstrations in one order, shared prefixes encoded once: what prefix caching gives
ours         divide-and-conquer orders, shared prefixes encoded once

The first two may take hours: they time --sample prompts, evenly spread, and scale up.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.report import Row, median_seconds, show
from icm_engine.core.labeling import Labeling
from icm_engine.core.prompting import Prompt, leave_one_out_prompts, query_prompt
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.models.loading import load
from icm_engine.models.transformers_scorer import TransformersScorer
from icm_engine.runs.store import Dataset, Store


def labeling_of(dataset: Dataset) -> Labeling:
    """Labels that take turns: what they say does not matter for the time they take."""
    labels = dataset.task.labels
    return Labeling({i: labels[i % len(labels)] for i in range(len(dataset.examples))})


def spread(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """`count` prompts, evenly spread."""
    return [prompts[k * len(prompts) // count] for k in range(min(count, len(prompts)))]


@torch.inference_mode()
def score_batched(scorer: TransformersScorer, prompts: Sequence[Prompt], batch_tokens: int) -> None:
    """Encode full prompts padded on the left, in batches of at most `batch_tokens` tokens."""
    rows = [[t for part in scorer.segments(prompt) for t in part] for prompt in prompts]
    longest = max(map(len, rows))
    size = max(1, batch_tokens // longest)
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in batch])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in batch])
        scorer.loaded.model(input_ids=ids, attention_mask=mask, logits_to_keep=1, use_cache=False)


def measure(scorers: dict[str, TransformersScorer], dataset: Dataset, given: argparse.Namespace) -> Row:
    """All four ways at one n."""
    task, examples, labeling = dataset.task, dataset.examples, labeling_of(dataset)
    ours = list(leave_one_out_prompts(task, examples, [labeling])[0].values())
    fixed = [query_prompt(task, examples, labeling, i) for i in labeling]
    tree, full = scorers["prefix-tree"], scorers["full-prompts"]
    some, n = spread(ours, given.sample), len(ours)
    scale = n / len(some)
    seconds = {
        "one by one": scale * median_seconds(lambda: full.score(some), given.repeat),
        "batched": scale * median_seconds(lambda: score_batched(full, some, given.batch_tokens), given.repeat),
        "fixed order": median_seconds(lambda: tree.score(fixed), given.repeat),
        "ours": median_seconds(lambda: tree.score(ours), given.repeat),
    }
    before = tree.usage
    scores, same = tree.score(ours), full.score(some)
    used = tree.usage - before
    tree.score(fixed)
    by_prompt = dict(zip(ours, scores, strict=True))
    difference = max(
        abs((by_prompt[p].raw[0] - by_prompt[p].raw[1]) - (s.raw[0] - s.raw[1]))
        for p, s in zip(some, same, strict=True)
    )
    return {
        "n": n,
        "tokens, full": used.tokens_full,
        "tokens, fixed order": (tree.usage - before - used).tokens_encoded,
        "tokens, ours": used.tokens_encoded,
        **{f"s, {name}": value for name, value in seconds.items()},
        "x one by one": seconds["one by one"] / seconds["ours"],
        "x batched": seconds["batched"] / seconds["ours"],
        "x fixed order": seconds["fixed order"] / seconds["ours"],
        "largest difference in log-odds": difference,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sample")
    parser.add_argument("--quantization", default="none")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--dataset", default="arithmetic")
    parser.add_argument("--n", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--sample", type=int, default=16, help="full prompts timed, then scaled to n")
    parser.add_argument("--batch-tokens", type=int, default=16384)
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--db", type=Path, required=True, help="a database with the data set")
    given = parser.parse_args()
    loaded = load(given.model, given.quantization, given.dtype)
    scorers = {encoding: TransformersScorer(loaded, encoding) for encoding in ("prefix-tree", "full-prompts")}
    with Store(given.db) as store:
        ensure_sample_dataset(store, given.dataset)
        rows = [measure(scorers, store.dataset(given.dataset, n), given) for n in given.n]
    show(rows, given.output)


if __name__ == "__main__":
    main()
