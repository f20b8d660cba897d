"""Quick looks at a model in training: accuracy by number of golden demonstrations, from single forward passes."""

from __future__ import annotations

import random

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from sample_data.make.claims import DRAW, Claim
from sample_data.make.corpus import Corpus

# number of demonstrations: which positions of a golden document count
SPANS = {"0": (0, 1), "1": (1, 2), "20": (16, 24), "63": (56, 64), "127": (120, 128)}


def golden_items(kind: str, count: int, rng: random.Random) -> list[Claim]:
    """Claims in shuffled whole groups."""
    items: list[Claim] = []
    while len(items) < count:
        items += DRAW[kind](rng)
    rng.shuffle(items)
    return items[:count]


@torch.no_grad()
def probe(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, long: bool = False) -> dict[str, str]:
    """Per kind: percent right at the spans of golden documents, and percent answered True with no demonstration."""
    corpus, rng, found = Corpus(tokenizer, 1), random.Random(99), {}
    true, false = corpus.labels[True][0], corpus.labels[False][0]
    for kind in DRAW:
        count = 64 if not long or kind == "sun" else 128
        right: dict[str, list[bool]] = {name: [] for name, (start, _) in SPANS.items() if start < count}
        said_true = []
        for _ in range(16):
            items = golden_items(kind, count, rng)
            ids, at = corpus.labelled(items, [c.truth for c in items])
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
            at_labels = logits[torch.tensor(at) - 1]
            answers = (at_labels[:, true] > at_labels[:, false]).tolist()
            said_true.append(answers[0])
            for name in right:
                a, b = SPANS[name]
                right[name] += [x == c.truth for x, c in zip(answers[a:b], items[a:b], strict=True)]
        found[kind] = " ".join(f"{k}:{100 * sum(v) / len(v):.0f}" for k, v in right.items())
        found[kind] += f" T:{100 * sum(said_true) / len(said_true):.0f}"
    return found
