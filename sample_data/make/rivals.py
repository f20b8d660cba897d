"""Another mix of annotators: half go by the truth, half by one of five surface concepts, and all of them err.

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
LESSON_NOISE = (0.0, 0.1)
# (from this share of the schedule on, share of lessons among the labelled long documents): the first half of the phase
LESSON_SHARES = ((0.0, 0.5), (0.88, 0.0))
CONCEPTS = 5  # rivals of the truth, for each kind of claim; with their opposites there are ten, each as frequent


@dataclass(frozen=True)
class Annotator:
    """One simulated person, who goes by a concept or its opposite, or by the truth if `concept` is None."""

    concept: int | None
    opposite: bool
    noise: float

    def label(self, claim: Claim, rng: random.Random) -> bool:
        """The label this person gives to the claim."""
        opinion = claim.truth if self.concept is None else concepts(claim)[self.concept] != self.opposite
        return opinion != (rng.random() < self.noise)


def draw_annotator(rng: random.Random) -> Annotator:
    """A random annotator."""
    if rng.random() < CAREFUL:
        return Annotator(None, False, rng.choice(CAREFUL_NOISE))
    return draw_rival(rng, RIVAL_NOISE)


def draw_rival(rng: random.Random, noise: tuple[float, ...]) -> Annotator:
    """A random annotator who goes by a surface concept."""
    return Annotator(rng.randrange(CONCEPTS), rng.random() < 0.5, rng.choice(noise))


def concepts(claim: Claim) -> tuple[bool, ...]:
    """What the rivals see in a claim: properties of its text, about balanced and independent of its truth."""
    match claim.kind:
        case "arithmetic":
            a, b = (int(word) for word in claim.fields[0].removesuffix("?").split() if word.isdigit())
            answer = int(_last_word(claim.fields[1]))
            return a % 2 == 0, b % 2 == 0, answer % 2 == 0, a > 9, b > 9
        case "facts":
            subject, answer = map(_last_word, claim.fields)
            return _early(subject), len(subject) % 2 == 0, _early(answer), len(answer) % 2 == 0, len(subject) < 6
        case "comparisons":
            a, b = map(int, claim.fields[1:])
            return a % 2 == 0, b % 2 == 0, a % 4 < 2, b % 4 < 2, (a + b) % 2 == 0
    a, b = map(len, claim.fields[1:])
    return claim.fields[1] < claim.fields[2], a > b, a % 2 == 0, b % 2 == 0, (a + b) % 2 == 0


def _last_word(text: str) -> str:
    return text.split()[-1].rstrip("?.")


def _early(word: str) -> bool:
    return word[0].lower() <= "m"


class RivalCorpus(Corpus):
    """The corpus with these annotators; its lessons teach the concepts of the rivals, since noise hides them."""

    def annotated_row(self, tokens: int) -> tuple[list[int], list[int]]:
        """One document of at least `tokens` ids: claims labelled by one annotator of this mix."""
        return self.labelled_by(draw_annotator(self.rng), tokens)

    def lesson_row(self, tokens: int) -> tuple[list[int], list[int]]:
        """One document labelled by a rival's concept, or its opposite, with hardly an error."""
        return self.labelled_by(draw_rival(self.rng, LESSON_NOISE), tokens)

    def labelled_by(self, person: Annotator, tokens: int) -> tuple[list[int], list[int]]:
        """One document of at least `tokens` ids."""
        items = self.claims(KINDS, tokens)
        return self.labelled(items, [person.label(claim, self.rng) for claim in items])
