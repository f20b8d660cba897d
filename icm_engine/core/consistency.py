"""Logical consistency: which pairs of examples a rule constrains, and which labels they may have together.

A rule reads examples and labels, never gold. A custom rule subclasses `Rule` in a file of its own and defines `key` and
`consistent`; see `custom_rules`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import product

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Label, Labeling

Pair = tuple[int, int]


class Rule(ABC):
    """Constrains the labels of examples that share a key; two examples with one key are a constrained pair."""

    name: str

    def __init__(self, examples: Sequence[Example], labels: Sequence[Label], true_label: Label) -> None:
        if true_label not in labels:
            raise SettingError(f"true_label is {true_label!r}, the labels are {list(labels)}: name one of them")
        self.examples, self.labels, self.true_label = examples, tuple(labels), true_label
        self._members: dict[str, list[int]] = {}
        for index, example in enumerate(examples):
            if (key := self.key(example)) is not None:
                self._members.setdefault(key, []).append(index)

    @abstractmethod
    def key(self, example: Example) -> str | None:
        """Return the key that constrained examples share; None if the rule does not apply to this example.

        It depends on the example alone, so a large data set can be counted without loading it.
        """

    @abstractmethod
    def consistent(self, i: int, j: int, labeling: Labeling) -> bool:
        """Say whether the labelled, constrained pair (i, j) is consistent in this labeling."""

    def members(self, i: int) -> Sequence[int]:
        """Return the consistency group of example i, itself included, in data set order."""
        key = self.key(self.examples[i])
        return self._members[key] if key is not None else ()

    def neighbours(self, i: int) -> Iterator[int]:
        """Yield the examples that share a constrained pair with example i, in data set order."""
        return (j for j in self.members(i) if j != i)

    def conflicts(self, labeling: Labeling) -> list[Pair]:
        """Return the unordered inconsistent pairs (i < j) among labelled examples, sorted."""
        return [
            (i, j)
            for i in sorted(labeling)
            for j in self.neighbours(i)
            if i < j and j in labeling and not self.consistent(i, j, labeling)
        ]

    def consistent_options(self, i: int, j: int, labeling: Labeling) -> list[tuple[Label, Label]]:
        """Return every label pair for (i, j) under which the pair is consistent, the rest of D unchanged."""
        return [
            (a, b)
            for a, b in product(self.labels, repeat=2)
            if self.consistent(i, j, labeling.assign(i, a).assign(j, b))
        ]

    def constraints(self) -> int:
        """Return the number of constrained pairs in the whole data set."""
        return sum(len(members) * (len(members) - 1) // 2 for members in self._members.values())

    def groups(self) -> int:
        """Return the number of groups with at least one constrained pair."""
        return sum(len(members) > 1 for members in self._members.values())

    def _both_true(self, i: int, j: int, labeling: Labeling) -> bool:
        return labeling[i] == labeling[j] == self.true_label


class Unconstrained(Rule):
    """No constraints."""

    name = "none"

    def key(self, example: Example) -> str | None:
        return None

    def consistent(self, i: int, j: int, labeling: Labeling) -> bool:
        return True


class SameAnswer(Rule):
    """Claims about one question: equal final answers have equal labels; different ones are not both True."""

    name = "same-answer"

    def key(self, example: Example) -> str | None:
        return example.group if example.answer is not None else None

    def consistent(self, i: int, j: int, labeling: Labeling) -> bool:
        if self.examples[i].answer == self.examples[j].answer:
            return labeling[i] == labeling[j]
        return not self._both_true(i, j, labeling)


class Exclusive(Rule):
    """At most one example of a group is True."""

    name = "exclusive"

    def key(self, example: Example) -> str | None:
        return example.group

    def consistent(self, i: int, j: int, labeling: Labeling) -> bool:
        return not self._both_true(i, j, labeling)


class ExactlyOne(Rule):
    """Exactly one example of a group is True; none is a conflict only once the whole group is labelled."""

    name = "exactly-one"

    def key(self, example: Example) -> str | None:
        return example.group

    def consistent(self, i: int, j: int, labeling: Labeling) -> bool:
        if self._both_true(i, j, labeling):
            return False
        return any(labeling.get(k, self.true_label) == self.true_label for k in self.members(i))


class Asymmetry(ExactlyOne):
    """Of "A over B" and its swapped twin "B over A", exactly one is True."""

    name = "asymmetry"
    WITHOUT_TWINS = (
        "No example has a swapped twin: the rule asymmetry does here what exactly-one does, one of each group is True, "
        "and nothing where no two examples share a group. Use a task that makes twins (makes_twins = true), or "
        "another rule (--rule)."
    )


RULES: dict[str, type[Rule]] = {
    rule.name: rule for rule in (Unconstrained, SameAnswer, Asymmetry, Exclusive, ExactlyOne)
}
