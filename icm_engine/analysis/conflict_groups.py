"""Read models of groups in conflict: their examples on a circle, and the constrained pairs between them.

Groups come from the inconsistent pairs, their members from an index; no data set is gone through. The file of a rule
of a user's own is not run here: of such a rule only the pairs that the log names are known.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from icm_engine.analysis.conflicts import pairs_ever, pairs_now
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.views import example_text
from icm_engine.core.consistency import RULES, Pair, make_rule
from icm_engine.core.labeling import Label
from icm_engine.runs.store import Store
from icm_engine.runs.stored_rows import places_of

PAGE = 12  # groups drawn at once
LARGE = 12  # members up to which a group is drawn whole

EdgeKind = Literal["inconsistent", "was inconsistent", "constrained"]


@dataclass(frozen=True, slots=True)
class ConflictGroup:
    """A group with inconsistent pairs, by its name; `now` are those of now, `ever` all there ever were."""

    name: str
    now: tuple[Pair, ...]
    ever: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One example of a group and its place on a circle around (0, 0) of radius 1."""

    example: int
    id: str
    text: str
    label: Label | None
    answer: str | None
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Edge:
    """Two nodes, by their places among those of the group, and what is between them."""

    first: int
    second: int
    kind: EdgeKind


@dataclass(frozen=True, slots=True)
class GroupGraph:
    """A group as it is drawn; `whole` is False where it is large and only its members in conflict are."""

    name: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    whole: bool


def groups_in_conflict(reading: Reading, ever: bool = False) -> list[ConflictGroup]:
    """Return the groups in conflict now, or ever: most pairs of now first, then most pairs ever."""
    now = set(pairs_now(reading))
    names = _named(reading, pairs_ever(reading) if ever else pairs_now(reading))
    members: dict[str, list[Pair]] = {}
    for pair, name in names.items():
        members.setdefault(name, []).append(pair)
    groups = [ConflictGroup(name, tuple(p for p in found if p in now), tuple(found)) for name, found in members.items()]
    return sorted(groups, key=lambda group: (-len(group.now), -len(group.ever), min(group.ever)))


def group_pages(groups: Sequence[ConflictGroup]) -> int:
    """Return how many pages the groups have, one at least."""
    return max(1, -(-len(groups) // PAGE))


def group_page(groups: Sequence[ConflictGroup], page: int) -> Sequence[ConflictGroup]:
    """Return the groups of one page, counted from 1."""
    return groups[(page - 1) * PAGE : page * PAGE]


def graph(store: Store, reading: Reading, group: ConflictGroup) -> GroupGraph:
    """Return a group as it is drawn: whole if it is small, else its members in conflict alone."""
    members, whole = _members(store, reading, group)
    spots = circle(len(members))
    nodes = tuple(_node(reading, i, spot) for i, spot in zip(members, spots, strict=True))
    place = {i: k for k, i in enumerate(members)}
    kinds: dict[Pair, EdgeKind] = dict.fromkeys(_constrained(reading, members), "constrained")
    kinds |= dict.fromkeys(group.ever, "was inconsistent")
    kinds |= dict.fromkeys(group.now, "inconsistent")
    edges = (Edge(place[i], place[j], kind) for (i, j), kind in sorted(kinds.items()) if {i, j} <= place.keys())
    return GroupGraph(group.name, nodes, tuple(edges), whole)


def circle(count: int) -> list[tuple[float, float]]:
    """Return so many places on the unit circle, from the top clockwise; two lie beside each other.

    >>> [(round(x), round(y)) for x, y in circle(4)]
    [(0, 1), (1, 0), (0, -1), (-1, 0)]
    >>> [(round(x), round(y)) for x, y in circle(2)]
    [(-1, 0), (1, 0)]
    """
    start = math.pi if count == 2 else math.pi / 2
    angles = [start - 2 * math.pi * k / count for k in range(count)]
    return [(math.cos(angle), math.sin(angle)) for angle in angles]


def _node(reading: Reading, i: int, spot: tuple[float, float]) -> Node:
    example = reading.run.dataset.examples[i]
    return Node(i, example.id, example_text(reading, i), reading.labeling.get(i), example.answer, *spot)


def _members(store: Store, reading: Reading, group: ConflictGroup) -> tuple[list[int], bool]:
    """The members to draw, in data set order, and whether these are all."""
    named = sorted({i for pair in group.ever for i in pair})
    if not _shipped(reading):
        return named[:LARGE], len(named) <= LARGE
    found = store.group_places(reading.run.dataset.name, group.name, LARGE + 1)
    if len(found) <= LARGE:
        return places_of(reading.run.dataset.examples, found), True
    present = sorted({i for pair in group.now or group.ever for i in pair})
    return present[:LARGE], False


def _shipped(reading: Reading) -> bool:
    """Whether the rule is one of ours, which ties together examples of one group and no others."""
    return reading.run.rule_name in RULES


def _constrained(reading: Reading, members: Sequence[int]) -> Iterable[Pair]:
    """The pairs of members that the rule ties together, found with the rule over these members alone."""
    if not _shipped(reading):
        return
    task = reading.run.dataset.task
    examples = [reading.run.dataset.examples[i] for i in members]
    rule = make_rule(reading.run.rule_name, examples, task.labels, task.true_label)
    for first, second in combinations(range(len(members)), 2):
        if second in rule.neighbours(first):
            yield members[first], members[second]


def _named(reading: Reading, pairs: Sequence[Pair]) -> dict[Pair, str]:
    """The group of every pair: the one of its examples, or, of a rule of the user's own, what pairs tie together."""
    if _shipped(reading):
        return {pair: reading.run.dataset.examples[pair[0]].group for pair in pairs}
    parents: dict[int, int] = {}
    for i, j in pairs:
        one, other = _root(parents, i), _root(parents, j)
        parents[max(one, other)] = parents[min(one, other)] = min(one, other)
    return {pair: f"around {reading.run.codec.ids[_root(parents, pair[0])]}" for pair in pairs}


def _root(parents: dict[int, int], i: int) -> int:
    """The lowest example that pairs tie to this one."""
    while parents.setdefault(i, i) != i:
        i = parents[i]
    return i
