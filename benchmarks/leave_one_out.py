"""Whole-set evaluation of n labelled examples, several ways in one process.

    python -m benchmarks.leave_one_out --model sample --n 16 32 64 128 256 --repeat 5
    python -m benchmarks.leave_one_out --model random-90m --tokens 40 --n 64 256 --repeat 3 --sample 4

one by one   every leave-one-out prompt encoded by itself
batched      the same prompts, padded on the left, as many at once as --batch-tokens allows
fixed order  demonstrations in one order, shared prefixes encoded once: what prefix caching gives
ours, sdpa   divide-and-conquer orders, shared prefixes encoded once, with the model's own attention
ours         the same with the attention that the scorer chose

The first two have transformers' own attention, the third all that ours has but the orders. These three may take hours:
they time --sample prompts, evenly spread, and scale up; for the fixed order, with the shared prefix in the cache.
"""

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.cache_utils import DynamicCache

from benchmarks.models import examples_for, load_any
from benchmarks.report import Row, clock, median_seconds, reported, show, synchronize
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.prompting import Prompt, leave_one_out_prompts, query_prompt
from icm_engine.core.scoring import LabelLogProbs
from icm_engine.models.attention import path_cache
from icm_engine.models.prefix_tree import Chunk
from icm_engine.models.transformers_scorer import TransformersScorer

WAYS = ("one by one", "batched", "fixed order", "ours, sdpa", "ours")


def spread(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """`count` prompts, evenly spread."""
    return [prompts[k * len(prompts) // count] for k in range(min(count, len(prompts)))]


@torch.inference_mode()
def score_batched(scorer: TransformersScorer, prompts: Sequence[Prompt], batch_tokens: int) -> None:
    """Encode full prompts padded on the left, in batches of at most `batch_tokens` tokens."""
    rows = [[t for part in scorer.segments(prompt) for t in part] for prompt in prompts]
    longest, device = max(map(len, rows)), scorer.loaded.model.device
    size = max(1, batch_tokens // longest)
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in batch], device=device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in batch], device=device)
        scorer.loaded.model(input_ids=ids, attention_mask=mask, logits_to_keep=1, use_cache=False)


def fixed_order_seconds(scorer: TransformersScorer, fixed: Sequence[Prompt], count: int) -> float:
    """Seconds for all prompts in one order of demonstrations, timed on `count` of them, evenly spread.

    Prompt i shares its first i demonstrations with the next one; what follows them is encoded for it alone, in the
    same calls, on the same cache and with the same attention as our own walk.
    """
    places = [k * len(fixed) // count for k in range(count)]
    with scorer.attending():
        seconds = sum(_last_part_seconds(scorer, fixed[place], place) for place in places)
    return seconds * len(fixed) / count


def _last_part_seconds(scorer: TransformersScorer, prompt: Prompt, place: int) -> float:
    """Seconds for what follows the first `place` demonstrations, which are in the cache."""
    parts = scorer.segments(prompt)
    cache = path_cache(scorer.loaded.model.config, sum(map(len, parts)))
    shared = _extend(scorer, cache, 0, [t for part in parts[: 1 + place] for t in part])
    began = clock()
    _extend(scorer, cache, shared, [t for part in parts[1 + place :] for t in part])
    synchronize()
    return clock() - began


def _extend(scorer: TransformersScorer, cache: DynamicCache, depth: int, tokens: Sequence[int]) -> int:
    """Encode tokens on a path of `depth` tokens, and return its length then."""
    for start in range(0, len(tokens), scorer.chunk_tokens):
        chunk = tuple(tokens[start : start + scorer.chunk_tokens])
        scorer._encode(Chunk(chunk, tuple(range(-1, len(chunk) - 1)), ()), depth + start, cache)
    return depth + len(tokens)


def measure(
    scorers: dict[str, TransformersScorer], task: Task, examples: Sequence[Example], given: argparse.Namespace
) -> Row:
    """All ways at one n; the labels take turns, since what they say does not matter for the time they take."""
    labeling = Labeling({i: task.labels[i % len(task.labels)] for i in range(len(examples))})
    ours = list(leave_one_out_prompts(task, examples, [labeling])[0].values())
    fixed = [query_prompt(task, examples, labeling, i) for i in labeling]
    tree, full = scorers["prefix-tree"], scorers["full-prompts"]
    some, n = spread(ours, given.sample), len(ours)
    scale = n / len(some)
    ways = {
        "one by one": lambda: scale * median_seconds(lambda: full.score(some), given.repeat),
        "batched": lambda: scale * median_seconds(lambda: score_batched(full, some, given.batch_tokens), given.repeat),
        "ours, sdpa": lambda: median_seconds(lambda: scorers["own attention"].score(ours), given.repeat),
        "ours": lambda: median_seconds(lambda: tree.score(ours), given.repeat),
        "fixed order": lambda: statistics.median(
            fixed_order_seconds(tree, fixed, min(n, given.sample)) for _ in range(given.repeat)
        ),
    }
    seconds = {name: way() for name, way in ways.items() if name in given.ways}
    before = tree.usage
    scores, same = tree.score(ours), full.score(some)
    used = tree.usage - before
    demonstration = sum(len(part) for part in tree.segments(fixed[0])[1:]) / n
    return {
        "n": n,
        "tokens, full": used.tokens_full,
        "tokens, ours": used.tokens_encoded,
        "of n(log2 n + 1) demonstrations": used.tokens_encoded / (demonstration * n * (math.log2(n) + 1)),
        **{f"s, {name}": value for name, value in seconds.items()},
        **{f"x {name}": value / seconds["ours"] for name, value in seconds.items() if name != "ours"},
        "largest difference in log-odds": largest_difference(ours, scores, some, same),
    }


def largest_difference(
    prompts: Sequence[Prompt], scores: Sequence[LabelLogProbs], some: Sequence[Prompt], same: Sequence[LabelLogProbs]
) -> float:
    """Between the tree and full prompts, over the prompts that both scored."""
    odds = {prompt: score.raw[0] - score.raw[1] for prompt, score in zip(prompts, scores, strict=True)}
    return max(abs(odds[p] - (score.raw[0] - score.raw[1])) for p, score in zip(some, same, strict=True))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sample")
    parser.add_argument("--quantization", default="none")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--dataset", default="arithmetic", help="sample data set, for a model that is not random")
    parser.add_argument("--tokens", type=int, default=40, help="tokens of a demonstration, for a random model")
    parser.add_argument("--n", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--sample", type=int, default=16, help="full prompts timed, then scaled to n")
    parser.add_argument("--batch-tokens", type=int, default=16384)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--db", type=Path, default=Path("build/benchmarks.db"), help="where sample data goes")
    with reported(parser) as given:
        loaded = load_any(given.model, given.quantization, given.dtype)
        scorers = {encoding: TransformersScorer(loaded, encoding) for encoding in ("prefix-tree", "full-prompts")}
        scorers["own attention"] = TransformersScorer(loaded)
        scorers["own attention"].attention = loaded.attention
        rows = []
        for n in given.n:
            rows.append(measure(scorers, *examples_for(loaded, n, given.tokens, given.dataset, given.db), given))
            print(rows[-1], flush=True)
        show(rows, given.output)


if __name__ == "__main__":
    main()
