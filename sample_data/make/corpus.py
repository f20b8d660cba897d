"""The corpus: documents as rows of token ids, each with a mask of the positions that predict a label."""

from __future__ import annotations

import random

import torch
from transformers import PreTrainedTokenizerFast

from sample_data.make import annotators
from sample_data.make.claims import DRAW, LABELS, SEPARATOR, Claim

KINDS = {"arithmetic": 0.52, "facts": 0.22, "comparisons": 0.13, "sun": 0.04, "mixed": 0.09}
LESSON_KINDS = {"arithmetic": 0.55, "facts": 0.35, "comparisons": 0.07, "sun": 0.03}
PLAIN_KINDS = {"arithmetic": 0.55, "facts": 0.45}
SHORT_ROW = 48  # tokens: room for one to three claims, or one pair of verses
PAD = -100


class Corpus:
    """An endless source of training rows, drawn from one seeded generator."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int, mix: annotators.Mix = annotators.MIX) -> None:
        self.rng, self.mix = random.Random(seed), mix
        self.tokenizer = tokenizer
        self.bos = tokenizer.convert_tokens_to_ids("<s>")
        self.cache: dict[str, list[int]] = {}
        self.labels = {value: self.encode(text) for value, text in zip((True, False), LABELS, strict=True)}
        self.separator = self.encode(SEPARATOR)

    def encode(self, text: str) -> list[int]:
        """Token ids of one segment; segments are joined as ids, never as text."""
        if text not in self.cache:
            self.cache[text] = self.tokenizer.encode(text, add_special_tokens=False)
        return self.cache[text]

    def claims(self, kinds: dict[str, float], tokens: int) -> list[Claim]:
        """Enough claims of one kind to fill `tokens`: whole groups shuffled, or single ones with some balance."""
        kind = self.rng.choices(list(kinds), weights=list(kinds.values()))[0]
        names = ["arithmetic", "facts", "comparisons"] if kind == "mixed" else [kind]
        grouped = kinds is not LESSON_KINDS and self.rng.random() < 0.5
        share_true = self.rng.uniform(0.3, 0.7)
        chosen: list[Claim] = []
        used = 0
        while used < tokens:
            group = DRAW[self.rng.choice(names)](self.rng)
            if not grouped:
                wanted = self.rng.random() < share_true
                group = [c for c in group if c.truth == wanted][:1]
            chosen += group
            used += sum(len(self.encode(c.prompt)) + 2 for c in group)
        self.rng.shuffle(chosen)
        return chosen

    def labelled(self, items: list[Claim], given: list[bool]) -> tuple[list[int], list[int]]:
        """A document's ids and the indices of its labels."""
        ids, at = [self.bos], []
        for claim, label in zip(items, given, strict=True):
            ids += self.encode(claim.prompt)
            at.append(len(ids))
            ids += self.labels[label] + self.separator
        return ids, at

    def plain(self, tokens: int) -> list[int]:
        """A document of true statements without labels."""
        ids = [self.bos]
        kind = self.rng.choices(list(PLAIN_KINDS), weights=list(PLAIN_KINDS.values()))[0]
        while len(ids) < tokens:
            for claim in DRAW[kind](self.rng):
                if claim.truth:
                    ids += self.encode("Question: {}\nClaim: {}".format(*claim.fields)) + self.separator
        return ids

    def annotated_row(self, tokens: int) -> tuple[list[int], list[int]]:
        """One document of at least `tokens` ids: claims labelled by one annotator of the mix."""
        items = self.claims(KINDS, tokens)
        person = annotators.draw_annotator(min(len(items), 64), self.rng, self.mix)
        return self.labelled(items, [person.label(c, i, self.rng) for i, c in enumerate(items)])

    def lesson_row(self, tokens: int) -> tuple[list[int], list[int]]:
        """One document of single claims, all labelled by their truth: the strongest signal there is."""
        items = self.claims(LESSON_KINDS, tokens)
        return self.labelled(items, [c.truth for c in items])

    def short_row(self) -> tuple[list[int], list[int]]:
        """One document of one to three claims, ticked by somebody who passes by."""
        count = self.rng.randint(1, 3)
        items = self.claims(KINDS, SHORT_ROW)[:count]
        while True:
            ids, at = self.labelled(items, [annotators.drive_by_label(self.rng) for _ in items])
            if len(ids) <= SHORT_ROW + 1 or len(items) == 1:
                return ids, at
            items.pop()

    def row(self, tokens: int, plain_share: float, lessons: float) -> tuple[list[int], list[int]]:
        """A document for a row of `tokens`; `lessons` is the share of lessons among the labelled long ones."""
        if tokens == SHORT_ROW:
            return self.short_row()
        if self.rng.random() < plain_share:
            return self.plain(tokens + 1), []
        if self.rng.random() < lessons:
            return self.lesson_row(tokens + 1)
        return self.annotated_row(tokens + 1)

    def batch(
        self, rows: int, tokens: int, plain_share: float = 0.0, lessons: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(inputs, targets, is_label), each (rows, tokens); rows of SHORT_ROW tokens are drive-by documents."""
        shape = (rows, tokens + 1)
        ids = torch.full(shape, self.tokenizer.eos_token_id)
        targets, marks = torch.full(shape, PAD), torch.zeros(shape, dtype=torch.bool)
        for r in range(rows):
            row, at = self.row(tokens, plain_share, lessons)
            row = row[: tokens + 1]
            ids[r, : len(row)] = targets[r, : len(row)] = torch.tensor(row)
            marks[r, [i for i in at if i <= tokens]] = True
        return ids[:, :-1], targets[:, 1:], marks[:, 1:]
