"""How near a whole-set evaluation comes to what the machine can multiply, and where the rest of the time goes.

    python -m benchmarks.limit --model random-90m --tokens 40 --n 64 256

The work that the encoded tokens need (matrix products, and attention to the tokens that each one sees) is counted from
the model's configuration. Its rate is compared with the best rate of plain matrix products in the same process, and
with what one uninterrupted pass over a context as long as the longest prompt reaches, with the model's own attention.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from benchmarks.models import examples_for, load_any
from benchmarks.report import Row, median_seconds, reported, show, synchronize
from icm_engine.core.labeling import Labeling
from icm_engine.core.prompting import Prompt, leave_one_out_prompts
from icm_engine.models.attention import PathLayer
from icm_engine.models.loading import LoadedModel
from icm_engine.models.prefix_tree import Chunk, PrefixRequest, build, walk
from icm_engine.models.transformers_scorer import TransformersScorer

SQUARES = (1024, 2048, 4096)  # sizes of the matrices whose product's rate is the limit


class Work:
    """Floating-point operations that a model needs, from its configuration; two for a multiplication and addition."""

    def __init__(self, loaded: LoadedModel) -> None:
        config = loaded.model.config
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        heads, key_heads = config.num_attention_heads, config.num_key_value_heads
        projections = config.hidden_size * width * 2 * (heads + key_heads)
        feed_forward = 3 * config.hidden_size * config.intermediate_size
        self.layers = config.num_hidden_layers
        self.a_token = 2 * self.layers * (projections + feed_forward)
        self.a_seen_token = 4 * heads * width  # in each layer: query times key, weight times value
        self.a_read = 2 * config.hidden_size * config.vocab_size

    def of_pass(self, tokens: int) -> int:
        """One pass over a text, logits at its end."""
        seen = tokens * (tokens + 1) // 2
        return self.a_token * tokens + self.layers * self.a_seen_token * seen + self.a_read

    def of_chunk(self, chunk: Chunk, depth: int) -> int:
        """One call of the walk: a token sees the path before it and itself; the last layer is needed where read."""
        seen: list[int] = []
        for parent in chunk.parents:
            seen.append(1 + (depth if parent < 0 else seen[parent]))
        reads = {read.offset for read in chunk.reads}
        attention = (self.layers - 1) * sum(seen) + sum(seen[offset] for offset in reads)
        return self.a_token * len(seen) + self.a_seen_token * attention + self.a_read * len(reads)


def work_of(scorer: TransformersScorer, prompts: list[Prompt]) -> int:
    """Operations that the walk over these prompts needs."""
    work = Work(scorer.loaded)
    requests = [
        PrefixRequest(k, scorer.segments(p), dict(enumerate(scorer.label_tokens(p.labels))))
        for k, p in enumerate(prompts)
    ]
    return sum(work.of_chunk(step.chunk, step.depth) for step in walk(build(requests), scorer.chunk_tokens))


def matrix_rate(loaded: LoadedModel, repeat: int) -> float:
    """The best rate of products of square matrices, in operations a second."""
    rates = []
    for size in SQUARES:
        square = torch.randn(size, size, dtype=loaded.model.dtype, device=loaded.model.device)
        rates.append(2 * size**3 / median_seconds(lambda square=square: square @ square, repeat))  # type: ignore[misc]
    return max(rates)


@torch.inference_mode()
def pass_seconds(loaded: LoadedModel, tokens: int, repeat: int) -> float:
    """One uninterrupted pass over random tokens, with the model's own attention."""
    loaded.model.set_attn_implementation(loaded.attention)
    ids = torch.randint(loaded.model.config.vocab_size, (1, tokens), device=loaded.model.device)
    return median_seconds(lambda: loaded.model(ids, use_cache=False, logits_to_keep=1), repeat)


class Stopwatch:
    """Time by kind of work; what is watched inside another kind counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inside: list[str] = []
        self._since = time.perf_counter()

    def switch(self) -> None:
        """Book the time since the last switch on what is going on now."""
        synchronize()
        now = time.perf_counter()
        if self._inside:
            self.seconds[self._inside[-1]] += now - self._since
        self._since = now

    @contextmanager
    def watch(self, kind: str) -> Iterator[None]:
        """Everything until the end is of this kind."""
        self.switch()
        self._inside.append(kind)
        yield
        self.switch()
        self._inside.pop()

    def watched(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with its calls booked on a kind."""

        def call(*given: Any, **named: Any) -> Any:
            with self.watch(kind):
                return function(*given, **named)

        return call


def profile(scorer: TransformersScorer, prompts: list[Prompt]) -> Counter[str]:
    """Seconds by kind of one walk; looking costs a little itself, so take them as shares."""
    watch = Stopwatch()
    scorer_parts = {
        "_mask": watch.watched("masks", TransformersScorer._mask),
        "_encode": watch.watched("norms, rotations, activations", TransformersScorer._encode),
    }
    update = watch.watched("cache", PathLayer.update)
    with (
        patch.multiple(TransformersScorer, **scorer_parts),
        patch.object(PathLayer, "update", update),
        _attention(watch, scorer.attention),
        _products(watch, scorer.loaded.model),
        watch.watch("tree, tokens, Python"),
    ):
        scorer.score(prompts)
    return watch.seconds


@contextmanager
def _attention(watch: Stopwatch, name: str) -> Iterator[None]:
    """Book the calls of an attention known to transformers."""
    own = ALL_ATTENTION_FUNCTIONS[name]
    AttentionInterface.register(name, watch.watched("attention", own))
    yield
    AttentionInterface.register(name, own)


@contextmanager
def _products(watch: Stopwatch, model: torch.nn.Module) -> Iterator[None]:
    """Book the linear layers, quantized ones with their unpacking."""
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    for layer in layers:
        layer.forward = watch.watched("products", layer.forward)  # type: ignore[method-assign]
    yield
    for layer in layers:
        del layer.forward


def measure(loaded: LoadedModel, n: int, given: argparse.Namespace) -> tuple[Row, Row]:
    """The fraction of the limit at one n, and the profile."""
    task, examples = examples_for(loaded, n, given.tokens, given.dataset, given.db)
    labeling = Labeling({i: task.labels[i % len(task.labels)] for i in range(len(examples))})
    prompts = list(leave_one_out_prompts(task, examples, [labeling])[0].values())
    scorer = TransformersScorer(loaded)
    longest = max(sum(map(len, scorer.segments(prompt))) for prompt in prompts)
    limit = matrix_rate(loaded, given.repeat)
    needed, seconds = work_of(scorer, prompts), median_seconds(lambda: scorer.score(prompts), given.repeat)
    one = Work(loaded).of_pass(longest) / pass_seconds(loaded, longest, given.repeat)
    fractions = {
        "n": len(examples),
        "longest prompt": longest,
        "10^12 operations": needed / 1e12,
        "s": seconds,
        "limit, 10^9/s": limit / 1e9,
        "of the limit": needed / seconds / limit,
        "one pass, of the limit": one / limit,
        "to one pass": needed / seconds / one,
    }
    shares = profile(scorer, prompts)
    return fractions, {"n": len(examples), **{kind: s / shares.total() for kind, s in shares.most_common()}}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random-90m")
    parser.add_argument("--quantization", default="none")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--dataset", default="arithmetic")
    parser.add_argument("--tokens", type=int, default=40, help="tokens of a demonstration, for a random model")
    parser.add_argument("--n", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", type=Path, help="JSON file; the profile goes beside it")
    parser.add_argument("--db", type=Path, default=Path("build/benchmarks.db"))
    with reported(parser) as given:
        loaded = load_any(given.model, given.quantization, given.dtype)
        fractions, profiles = zip(*(measure(loaded, n, given) for n in given.n), strict=True)
        show(fractions, given.output)
        show(profiles, given.output and given.output.with_suffix(".profile.json"))


if __name__ == "__main__":
    main()
