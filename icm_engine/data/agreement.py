"""What several people said of the same examples: the majority of their labels, and how far they agree.

a  b  c
T  T  F    majority T; one of three pairs agrees
T  F       tied: no majority
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from icm_engine.core.labeling import Label
from icm_engine.data.gold import HumanLabels


@dataclass(frozen=True, slots=True)
class Majority:
    """The label that most people gave an example, by example id; `ties` are the ids of those without one."""

    labels: Mapping[str, Label]
    ties: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far people agree on the examples that two or more of them labelled.

    `share` is the part of all pairs of labels of one example that are equal; `alpha` is Krippendorff's for nominal
    data (1: always, 0: as chance would), None where everybody always said the same one label; `between` has the
    equal and all pairs of any two sources.
    """

    examples: int
    pairs: int
    equal: int
    alpha: float | None
    between: Mapping[tuple[str, str], tuple[int, int]]

    @property
    def share(self) -> float | None:
        return self.equal / self.pairs if self.pairs else None


def majority(human: Mapping[str, HumanLabels]) -> Majority:
    """Return the majority label of every example that anybody labelled."""
    labels: dict[str, Label] = {}
    ties = []
    for example, said in _by_example(human.values()).items():
        if (most := most_frequent(said)) is None:
            ties.append(example)
        else:
            labels[example] = most
    return Majority(labels, tuple(ties))


def most_frequent(said: Iterable[Label]) -> Label | None:
    """Return the label given most often, None if two are."""
    first, *others = Counter(said).most_common(2)
    return None if others and others[0][1] == first[1] else first[0]


def agreement(human: Mapping[str, HumanLabels]) -> Agreement:
    """Return how far the sources agree."""
    units = [said for said in _by_example(human.values()).values() if len(said) > 1]
    pairs = [(a, b) for said in units for a, b in combinations(said, 2)]
    between = {(one, other): _between(human[one], human[other]) for one, other in combinations(human, 2)}
    return Agreement(len(units), len(pairs), sum(a == b for a, b in pairs), _alpha(units), between)


def _by_example(sources: Iterable[HumanLabels]) -> dict[str, list[Label]]:
    said: dict[str, list[Label]] = {}
    for source in sources:
        for example, label in source.labels.items():
            said.setdefault(example, []).append(label)
    return said


def _between(one: HumanLabels, other: HumanLabels) -> tuple[int, int]:
    """Equal pairs and all pairs of two sources."""
    both = [example for example in one.labels if example in other.labels]
    return sum(one.labels[example] == other.labels[example] for example in both), len(both)


def _alpha(units: Sequence[Sequence[Label]]) -> float | None:
    """1 - observed / expected disagreement (Krippendorff 2011, nominal data, missing values allowed)."""
    counts = Counter(label for said in units for label in said)
    n = sum(counts.values())
    expected = n * (n - 1) - sum(count * (count - 1) for count in counts.values())
    if expected == 0:
        return None
    observed = sum(_differing(said) / (len(said) - 1) for said in units)
    return 1 - (n - 1) * observed / expected


def _differing(said: Sequence[Label]) -> int:
    """Ordered pairs of different labels within one example."""
    return len(said) ** 2 - sum(count**2 for count in Counter(said).values())
