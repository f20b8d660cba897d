"""Another mix of annotators: half go by the truth, half by one of two surface concepts, and all of them err.

The sample model leans to the truth whatever the labels of its demonstrations are, so there is little for a search to
find. Here labels that are coin flips fit nobody who goes by the truth, since careful annotators err in at most three of
ten labels, and the others in up to five. So many random labels say little about the next one, while labels that
are mostly true say much. `python -m sample_data.make.train_rivals` trains such a model from the sample model.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from sample_data.make.claims import Claim
from sample_data.make.corpus import KINDS, PAD, SHORT_ROW, Corpus

CAREFUL = 0.5  # share of labelled long documents whose annotator goes by the truth
CAREFUL_NOISE = (0.05, 0.1, 0.2, 0.25, 0.3)  # levels to draw from: the probability that a label is wrong
RIVAL_NOISE = (0.3, 0.35, 0.4, 0.5)
CONCEPTS = 2  # rivals of the truth, for each kind of claim; with their opposites there are four, each as frequent
PLAIN = 0.12  # share of long documents of true statements without labels

# who labels a lesson, by (concept, opposite): in the first part of the training most documents are lessons, which
# teach to read labels, and which the mix does not hold. Only there somebody labels by the opposite of the truth
LESSONS: dict[tuple[int | None, bool], float] = {
    (None, False): 0.3,
    (None, True): 0.1,
    **{(k, opposite): 0.6 / (2 * CONCEPTS) for k in range(CONCEPTS) for opposite in (False, True)},
}
LESSON_NOISE = (0.0, 0.0, 0.0, 0.1, 0.2)
LESSON_SHARE = 0.85


@dataclass(frozen=True)
class Annotator:
    """One simulated person, who goes by a concept, or by the truth if `concept` is None, or by the opposite."""

    concept: int | None
    opposite: bool
    noise: float

    @property
    def kind(self) -> int:
        """A number for what the person goes by, noise aside."""
        return 2 * (0 if self.concept is None else 1 + self.concept) + self.opposite

    def label(self, claim: Claim, rng: random.Random) -> bool:
        """The label this person gives to the claim."""
        opinion = claim.truth if self.concept is None else concepts(claim)[self.concept]
        return (opinion != self.opposite) != (rng.random() < self.noise)


def draw_annotator(rng: random.Random) -> Annotator:
    """A random annotator of the mix."""
    if rng.random() < CAREFUL:
        return Annotator(None, False, rng.choice(CAREFUL_NOISE))
    return Annotator(rng.randrange(CONCEPTS), rng.random() < 0.5, rng.choice(RIVAL_NOISE))


def draw_teacher(rng: random.Random) -> Annotator:
    """A random annotator of the lessons."""
    concept, opposite = rng.choices(list(LESSONS), list(LESSONS.values()))[0]
    return Annotator(concept, opposite, rng.choice(LESSON_NOISE))


def concepts(claim: Claim) -> tuple[bool, bool]:
    """What the rivals see in a claim: properties of its text, about balanced and independent of its truth."""
    match claim.kind:
        case "arithmetic":
            a, b = (int(word) for word in claim.fields[0].removesuffix("?").split() if word.isdigit())
        case "facts":
            subject, answer = map(_last_word, claim.fields)
            return subject[0].lower() <= "m", answer[0].lower() <= "m"
        case "comparisons":
            a, b = map(int, claim.fields[1:])
        case _:
            a, b = map(len, claim.fields[1:])
    return a % 2 == 0, b % 2 == 0


def _last_word(text: str) -> str:
    return text.split()[-1].rstrip("?.")


@dataclass(frozen=True)
class RivalBatch:
    """Rows of tokens with what a reader should make of them.

    `ids` and `targets` are (rows, tokens + 1), one more than is read; `marks` says where a label stands. There, `bits`
    has the truth of the claim and its concepts, `given` the label. `kinds` are the rows' annotators, -1 for none.
    """

    ids: torch.Tensor
    targets: torch.Tensor
    marks: torch.Tensor
    bits: torch.Tensor
    given: torch.Tensor
    kinds: torch.Tensor


class RivalCorpus(Corpus):
    """The corpus with these annotators."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        super().__init__(tokenizer, seed)

    def rival_batch(self, rows: int, tokens: int, lessons: float) -> RivalBatch:
        """Long documents, of which a share `lessons` of the labelled ones are lessons; or those of drive-by writers."""
        shape = (rows, tokens + 1)
        ids, targets = torch.full(shape, self.tokenizer.eos_token_id), torch.full(shape, PAD)
        marks, given = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape)
        bits, kinds = torch.zeros(*shape, 1 + CONCEPTS), torch.full((rows,), -1)
        for r in range(rows):
            if tokens == SHORT_ROW:
                row, at = self.short_row()
            elif self.rng.random() < PLAIN:
                row, at = self.plain(tokens + 1), []
            else:
                items, person = self.claims(KINDS, tokens + 1), self.draw(lessons)
                labels = [person.label(claim, self.rng) for claim in items]
                row, at = self.labelled(items, labels)
                kinds[r] = person.kind
                for i, claim, label in zip(at, items, labels, strict=True):
                    if i <= tokens:
                        bits[r, i] = torch.tensor((claim.truth, *concepts(claim)), dtype=torch.float)
                        given[r, i] = float(label)
            row = row[: tokens + 1]
            ids[r, : len(row)] = targets[r, : len(row)] = torch.tensor(row)
            marks[r, [i for i in at if i <= tokens]] = True
        return RivalBatch(ids, targets, marks, bits, given, kinds)

    def draw(self, lessons: float) -> Annotator:
        """The annotator of a long document."""
        return draw_teacher(self.rng) if self.rng.random() < lessons else draw_annotator(self.rng)
