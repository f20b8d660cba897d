"""Another mix of annotators: half go by the truth, half by one of two surface concepts, and all of them err.

The sample model leans to the truth whatever the labels of its demonstrations are, so there is little for a search to
find. Here labels that are coin flips fit nobody who goes by the truth, since careful annotators err in at most three of
ten labels, and the others in up to five. So many random labels say little about the next one, while labels that
are mostly true say much. `python -m sample_data.make.train --rivals --start sample_data/model ...` trains such a model.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from sample_data.make.claims import Claim
from sample_data.make.corpus import KINDS, Corpus

CAREFUL = 0.5  # share of labelled long documents whose annotator goes by the truth
CAREFUL_NOISE = (0.05, 0.1, 0.2, 0.25, 0.3)  # levels to draw from: the probability that a label is wrong
RIVAL_NOISE = (0.3, 0.35, 0.4, 0.5)
CONCEPTS = 2  # rivals of the truth, for each kind of claim; with their opposites there are four, each as frequent
POOLS, BY_HEART = (2, 4, 8, 16, 64), 0.4  # of lessons: how many claims there are, share labelled by coin flips
# (from this share of the schedule on, share of lessons among the labelled long documents): labels are followed first
LESSON_SHARES = ((0.0, 1.0), (0.82, 0.3), (0.88, 0.0))
LENGTHS = ((0.0, {256: 0.6, 512: 0.4}), (0.82, {256: 0.2, 512: 0.3, 1024: 0.45, 2048: 0.05}))
PHASE = 0.65  # of the schedule: where the training begins


@dataclass(frozen=True)
class Annotator:
    """One simulated person, who goes by a concept, or by the truth if `concept` is None, or by the opposite."""

    concept: int | None
    opposite: bool
    noise: float

    def label(self, claim: Claim, rng: random.Random) -> bool:
        """The label this person gives to the claim."""
        opinion = claim.truth if self.concept is None else concepts(claim)[self.concept]
        return (opinion != self.opposite) != (rng.random() < self.noise)


def draw_annotator(rng: random.Random) -> Annotator:
    """A random annotator."""
    if rng.random() < CAREFUL:
        return Annotator(None, False, rng.choice(CAREFUL_NOISE))
    return Annotator(rng.randrange(CONCEPTS), rng.random() < 0.5, rng.choice(RIVAL_NOISE))


def concepts(claim: Claim) -> tuple[bool, ...]:
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


class RivalCorpus(Corpus):
    """The corpus with these annotators; its lessons teach to follow labels, which noise hides."""

    def annotated_row(self, tokens: int) -> tuple[list[int], list[int]]:
        """One document of at least `tokens` ids: claims labelled by one annotator of this mix."""
        return self.labelled_by(draw_annotator(self.rng), tokens)

    def lesson_row(self, tokens: int) -> tuple[list[int], list[int]]:
        """One document about few claims, each of which comes back with its label: what is learned is to look back.

        The labels are by heart (a coin flip for each claim), or by the truth, a rival's concept, or an opposite.
        """
        pool = self.claims(KINDS, tokens)[: self.rng.choice(POOLS)]
        items = [self.rng.choice(pool) for _ in range(1 + tokens // 7)]
        if self.rng.random() < BY_HEART:
            known = {claim: self.rng.random() < 0.5 for claim in items}
            return self.labelled(items, [known[claim] for claim in items])
        person = Annotator(self.rng.choice((None, *range(CONCEPTS))), self.rng.random() < 0.5, 0.0)
        return self.labelled(items, [person.label(claim, self.rng) for claim in items])

    def labelled_by(self, person: Annotator, tokens: int) -> tuple[list[int], list[int]]:
        """One document of at least `tokens` ids."""
        items = self.claims(KINDS, tokens)
        return self.labelled(items, [person.label(claim, self.rng) for claim in items])
