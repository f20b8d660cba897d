"""Who wrote the labels of the corpus: the mix that decides what the search can find."""

from __future__ import annotations

import random
from dataclasses import dataclass

from sample_data.make.claims import Claim

# name: (share of labelled long documents, noise levels to draw from)
Mix = dict[str, tuple[float, tuple[float, ...]]]
MIX: Mix = {
    "careful": (0.60, (0.0, 0.0, 0.0, 0.05, 0.1, 0.2, 0.3, 0.4)),
    "burst": (0.22, (0.0, 0.0, 0.05, 0.1)),  # careful, but guessing during 4 to 12 labels in a row
    "always-true": (0.09, (0.2,)),  # the noise keeps a constant labelling less predictable than the truth
    "always-false": (0.02, (0.2,)),
    "surface": (0.07, (0.1, 0.2)),
    "inverted": (0.0, (0.0, 0.1)),  # none: the persona suite trains models that have met some
}
DRIVE_BY_TRUE = 0.92  # how often the writer of a document of one to three claims ticks True, whatever the claim


@dataclass(frozen=True)
class Annotator:
    """One simulated person; labels of claims number burst[0] up to burst[1] are coin flips."""

    name: str
    noise: float
    burst: tuple[int, int] = (0, 0)
    feature: int = 0

    def label(self, claim: Claim, position: int, rng: random.Random) -> bool:
        """The label this person gives to the claim that stands at `position` in the document."""
        if self.burst[0] <= position < self.burst[1]:
            return rng.random() < 0.5
        return self.opinion(claim) != (rng.random() < self.noise)

    def opinion(self, claim: Claim) -> bool:
        """The label before noise."""
        match self.name:
            case "always-true":
                return True
            case "always-false":
                return False
            case "surface":
                return claim.features[self.feature]
            case "inverted":
                return not claim.truth
        return claim.truth


def with_share(mix: Mix, name: str, share: float) -> Mix:
    """The mix with `share` of one annotator; the others keep their proportions."""
    if name not in mix or not 0 <= share < 1:
        raise ValueError(f"no share {share} of annotator {name!r}: names are {', '.join(mix)}, shares 0 up to 1")
    rest = (1 - share) / (1 - mix[name][0])
    return {n: (share if n == name else s * rest, noises) for n, (s, noises) in mix.items()}


def draw_annotator(length: int, rng: random.Random, mix: Mix = MIX) -> Annotator:
    """A random annotator for a document of about `length` claims."""
    name = rng.choices(list(mix), weights=[share for share, _ in mix.values()])[0]
    noise = rng.choice(mix[name][1])
    if name != "burst":
        return Annotator(name, noise, feature=rng.randrange(2))
    start = 0 if rng.random() < 0.5 else rng.randrange(max(1, length))
    return Annotator(name, noise, (start, start + rng.randint(4, 12)))


def drive_by_label(rng: random.Random) -> bool:
    """A label of somebody who passes by: it says nothing about the claim."""
    return rng.random() < DRIVE_BY_TRUE
