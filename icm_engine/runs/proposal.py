"""Which of several chains is proposed as the result, and how far the others agree with it. Gold is nowhere in this.

A chain is a run that differs from the others in its seed alone. Those that finished without a person's hand in them
are compared by U, which has two traps where chains labelled different numbers of examples. A sum of log p falls with
every example, so the highest U belongs to the chain that labelled least: with that form of P, U is divided by the
number of labelled examples (each form declares how it compares: `core.predictability`). And a few examples of one label
predict each other best, in every form but the centred one: so a chain is compared only if it labelled at least `WIDE`
as many examples as the chain that labelled most. That leaves room on purpose: a mirror that labelled everything must
not win for that alone. Whoever shows the result says so where the numbers differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icm_engine.core.labeling import Label

WIDE = 0.75  # of the most examples that a chain labelled: with fewer, a chain is not compared
OPPOSITE = 0.25  # share of equal labels below which one of two labelings looks like the mirror of the other

Labels = Mapping[str, Label]  # by example id


@dataclass(frozen=True, slots=True)
class Chain:
    """One chain as it ended; `labels` and `utility` are those of its last step, None and empty before it has any."""

    run: str
    seed: int
    phase: str
    message: str
    steered: bool  # a person changed labels, pins or settings on the way
    utility: float | None
    labels: Labels

    @property
    def counts(self) -> bool:
        """Whether it is among those that are compared and that agreement is about."""
        return self.phase == "finished" and not self.steered and self.utility is not None and bool(self.labels)


def wide(chains: Sequence[Chain]) -> list[Chain]:
    """Return the chains that count and labelled enough to be compared."""
    counted = [chain for chain in chains if chain.counts]
    most = max((len(chain.labels) for chain in counted), default=0)
    return [chain for chain in counted if len(chain.labels) >= WIDE * most]


def worth(chain: Chain, per_example: bool) -> float:
    """Return what is compared: U, or U per labelled example if the form of P says so; only of a chain that counts."""
    assert chain.utility is not None
    return chain.utility / len(chain.labels) if per_example else chain.utility


def propose(chains: Sequence[Chain], per_example: bool) -> Chain | None:
    """Return the best chain, the first of equals; None if none counts."""
    return max(wide(chains), key=lambda chain: worth(chain, per_example), default=None)


def same_share(one: Labels, other: Labels) -> float | None:
    """Return the share of equal labels among the examples that both label, None of none.

    >>> same_share({"a": "True", "b": "True", "c": "True"}, {"a": "True", "b": "False"})
    0.5
    """
    common = [example for example in one if example in other]
    return sum(one[example] == other[example] for example in common) / len(common) if common else None


def is_mirror(chain: Labels, proposed: Labels, labels: Sequence[Label]) -> bool:
    """Say whether a chain agrees with the proposal's mirror: of two labels, nearly all the other way round."""
    share = same_share(chain, proposed)
    return len(labels) == 2 and share is not None and share < OPPOSITE


@dataclass(frozen=True, slots=True)
class Support:
    """How many chains stand behind one proposed label, the proposed one itself among them.

    `chains` label the example, `same` of them as proposed; `turned` counts those that are mirrors with their labels
    swapped, so that one mirror among the chains does not make every example look uncertain.
    """

    example: str
    label: Label
    chains: int
    same: int
    turned: int

    @property
    def share(self) -> float:
        return self.same / self.chains

    @property
    def turned_share(self) -> float:
        return self.turned / self.chains


def supports(chains: Sequence[Chain], proposed: Chain, labels: Sequence[Label]) -> tuple[Support, ...]:
    """Return for each example of the proposal how many of the chains that count agree, in the proposal's order."""
    counted = [(chain.labels, is_mirror(chain.labels, proposed.labels, labels)) for chain in chains if chain.counts]
    return tuple(_support(example, label, counted) for example, label in proposed.labels.items())


def _support(example: str, label: Label, counted: Sequence[tuple[Labels, bool]]) -> Support:
    given = [(labels[example] == label, mirror) for labels, mirror in counted if example in labels]
    same, turned = sum(equal for equal, _ in given), sum(equal != mirror for equal, mirror in given)
    return Support(example, label, len(given), same, turned)
