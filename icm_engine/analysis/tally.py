"""Counts behind label balance and accuracy, changed one label at a time so that a step costs nothing to count."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from icm_engine.core.labeling import Label

Counts = Mapping[Label, int]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Agreement with gold, each between 0 and 1; an unlabelled example counts as wrong.

    `flipped` is the accuracy if both labels were swapped (None unless there are exactly two): an inverted search
    shows there, and is never silently turned around.
    """

    raw: float
    balanced: float
    flipped: float | None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many examples have each label, and of those with gold, how many are right, wrong or still unlabelled."""

    labels: tuple[Label, ...]
    gold: Counts = field(default_factory=dict)  # gold label -> examples that have it
    counts: Counts = field(default_factory=dict)  # label -> examples that have it now
    right: Counts = field(default_factory=dict)  # gold label -> examples labelled so
    wrong: int = 0  # labelled, and not as gold says

    @property
    def labelled(self) -> int:
        return sum(self.counts.values())

    @property
    def balance(self) -> tuple[int, ...]:
        """Examples per label, in the order of the task's labels."""
        return tuple(self.counts.get(label, 0) for label in self.labels)

    def changed(self, old: Label | None, new: Label | None, gold: Label | None) -> "Tally":
        """Return the counts after one example's label went from `old` to `new` (None: unlabelled)."""
        return self._shifted(old, gold, -1)._shifted(new, gold, +1)

    def _shifted(self, label: Label | None, gold: Label | None, by: int) -> "Tally":
        if label is None:
            return self
        counted = replace(self, counts=_plus(self.counts, label, by))
        if gold is None:
            return counted
        if label == gold:
            return replace(counted, right=_plus(self.right, gold, by))
        return replace(counted, wrong=self.wrong + by)

    @property
    def accuracy(self) -> Accuracy | None:
        """Return the agreement with gold, None where there is no gold."""
        total = sum(self.gold.values())
        if not total:
            return None
        recalls = [self.right.get(label, 0) / count for label, count in self.gold.items() if count]
        flipped = self.wrong / total if len(self.labels) == 2 else None
        return Accuracy(sum(self.right.values()) / total, sum(recalls) / len(recalls), flipped)


def _plus(counts: Counts, label: Label, by: int) -> Counts:
    return {**counts, label: counts.get(label, 0) + by}
