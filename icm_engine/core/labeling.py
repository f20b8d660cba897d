"""Examples x_i, the task, and a labeling D of some examples."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeVar

Label = str
Cause = Literal["initial", "proposal", "repair", "person"]


@dataclass(frozen=True, slots=True)
class Example:
    """One input x_i: its texts by field name, and what consistency rules read. Never a gold label.

    `group` names the consistency group; `answer` is the final answer read from the claim (None: none found); `twin_of`
    is the id of the example whose two responses this one swaps.
    """

    id: str
    fields: Mapping[str, str]
    group: str
    answer: str | None = None
    twin_of: str | None = None


Key = TypeVar("Key")


def judgements(examples: Mapping[Key, Example]) -> list[Key]:
    """Return the keys of the examples, in order, without swapped twins of others here: a pair is one judgement.

    >>> pair = {0: Example("p", {}, "g"), 1: Example("p~", {}, "g", twin_of="p")}
    >>> judgements({**pair, 2: Example("q~", {}, "h", twin_of="q")})
    [0, 2]
    """
    ids = {example.id for example in examples.values()}
    return [key for key, example in examples.items() if example.twin_of not in ids]


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked about every example: the template, the labels, and the consistency rule.

    `template` is the text up to the label, with field names in braces. `true_label` is the label that rules mean by
    "True".
    """

    name: str
    template: str
    labels: tuple[Label, ...] = ("True", "False")
    true_label: Label = "True"
    rule: str = "none"
    fields: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Flip:
    """One label change: `old` is None if the example was unlabelled, `new` is None if a person removed the label."""

    example: int
    old: Label | None
    new: Label | None
    cause: Cause


class Labeling(Mapping[int, Label]):
    """An immutable labeling D: example index -> label, in the order in which examples were first labelled.

    That order is an example's *slot*: its fixed place in the prompts. So a new or flipped label changes U because of
    the label, not because demonstrations were reshuffled.
    """

    __slots__ = ("_labels",)

    def __init__(self, labels: Mapping[int, Label] | None = None) -> None:
        self._labels = MappingProxyType(dict(labels or {}))

    def assign(self, example: int, label: Label) -> "Labeling":
        """Return D with this label; a new example takes the next slot, a known one keeps its own."""
        return Labeling({**self._labels, example: label})

    def without(self, example: int) -> "Labeling":
        """Return D without this example; later slots move up."""
        return Labeling({i: y for i, y in self._labels.items() if i != example})

    def __getitem__(self, example: int) -> Label:
        return self._labels[example]

    def __iter__(self) -> Iterator[int]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labeling) and tuple(self.items()) == tuple(other.items())

    def __hash__(self) -> int:
        return hash(tuple(self._labels.items()))

    def __repr__(self) -> str:
        return f"Labeling({dict(self._labels)!r})"


def equal_share(pairs: Iterable[tuple[Label, Label]]) -> float | None:
    """Return the share of pairs whose labels are equal; None for no pairs.

    >>> equal_share([("True", "True"), ("True", "False")])
    0.5
    """
    equal = [one == other for one, other in pairs]
    return sum(equal) / len(equal) if equal else None
