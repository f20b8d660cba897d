"""Read models of consistency: inconsistent pairs (now, ever, recurring) and their groups.

Pairs come from the log and members of groups from an index, so no data set is scanned. The file of a custom rule is
never run here, so for custom rules only the pairs in the log are known.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal
from urllib.parse import unquote

from icm_engine.analysis.formatting import counted
from icm_engine.analysis.label_history import ConflictInterval
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import example_text, rule_name
from icm_engine.core.consistency import RULES, Pair
from icm_engine.core.custom_rules import make_rule
from icm_engine.core.labeling import Label
from icm_engine.store.lazy_examples import places_of
from icm_engine.store.store import Store

NONE = "none"  # the rule without constraints


@dataclass(frozen=True, slots=True)
class PairLine:
    """One pair that is or was inconsistent; labels and `since` are current.

    `times` counts how often it became inconsistent, `steps` how many steps it stayed so in all, and `repairs` how often
    Algorithm 2 met it inside a proposal.
    """

    pair: Pair
    ids: tuple[str, str]
    groups: tuple[str, str]
    texts: tuple[str, str]
    answers: tuple[str | None, str | None]
    labels: tuple[Label | None, Label | None]
    since: int | None
    times: int
    steps: int
    lasting: int  # steps since it became inconsistent; 0 if it is consistent now
    repairs: int
    unit: str = "step"  # what the run counts

    @property
    def words(self) -> str:
        """The pair's current state, in words."""
        if not self.times:
            return "○ never inconsistent"
        if self.since is None:
            return "○ consistent now"
        return f"✕ since {self.unit} {self.since:,}, for {counted(self.lasting, self.unit)}"


def has_rule(reading: Reading) -> bool:
    """Say whether this run has a rule that pairs can violate."""
    return rule_name(reading) != NONE


# -- which pairs


def pairs_now(reading: Reading) -> list[Pair]:
    """Return the pairs inconsistent now, longest first."""
    if reading.state is None:
        return []
    since = reading.state.since
    return sorted(reading.state.evaluation.pairs, key=lambda pair: (since[pair], pair))


def pairs_ever(reading: Reading) -> list[Pair]:
    """Return the pairs that were ever inconsistent: current ones first, then by number of steps."""
    now = pairs_now(reading)
    others = reading.conflict_intervals.keys() - set(now)
    return [*now, *sorted(others, key=lambda pair: (-reading.conflict_intervals[pair].steps, pair))]


def pairs_back(reading: Reading) -> list[Pair]:
    """Return the pairs that became inconsistent more than once: most often first, then longest."""
    back = [pair for pair, interval in reading.conflict_intervals.items() if interval.times > 1]
    return sorted(
        back, key=lambda pair: (-reading.conflict_intervals[pair].times, -steps_inconsistent(reading, pair), pair)
    )


def pairs_prevented(reading: Reading) -> list[Pair]:
    """Return the pairs that repairs met in proposals and that the labels never made inconsistent, most often first."""
    often = Counter(mark.pair for mark in reading.repairs if mark.pair not in reading.conflict_intervals)
    return sorted(often, key=lambda pair: (-often[pair], pair))


def steps_inconsistent(reading: Reading, pair: Pair) -> int:
    """Return the number of steps for which this pair was inconsistent, the current interval included."""
    return _interval(reading, pair).steps + _lasting(reading, pair)


def _interval(reading: Reading, pair: Pair) -> ConflictInterval:
    return reading.conflict_intervals.get(pair, ConflictInterval(None, 0, 0))


def _lasting(reading: Reading, pair: Pair) -> int:
    since = _interval(reading, pair).since
    return reading.state.step - since if reading.state and since is not None else 0


def pair_line(reading: Reading, pair: Pair) -> PairLine:
    """Return one pair with texts, labels and history."""
    i, j = pair
    first, second = reading.run.dataset.examples[i], reading.run.dataset.examples[j]
    interval = _interval(reading, pair)
    return PairLine(
        pair,
        (first.id, second.id),
        (first.group, second.group),
        (example_text(reading, i), example_text(reading, j)),
        (first.answer, second.answer),
        (reading.labeling.get(i), reading.labeling.get(j)),
        interval.since,
        interval.times,
        steps_inconsistent(reading, pair),
        _lasting(reading, pair),
        sum(mark.pair == pair for mark in reading.repairs),
        reading.unit,
    )


# -- pairs in a URL


def pair_code(ids: tuple[str, str]) -> str:
    """Encode a pair for a URL: two ids with a comma between them; a comma within an id becomes %2C.

    >>> pair_code(("a", "b,c"))
    'a,b%2Cc'
    """
    return ",".join(name.replace("%", "%25").replace(",", "%2C") for name in ids)


def pair_of(reading: Reading, code: str | None) -> Pair | None:
    """Return the pair that a URL names; None if it names none."""
    ids = [unquote(name) for name in (code or "").split(",")]
    if len(ids) != 2 or ids[0] == ids[1]:
        return None
    try:
        i, j = (reading.run.codec.index(name) for name in ids)
    except KeyError:
        return None
    return (i, j) if i < j else (j, i)


# -- what the rule says


def demand(reading: Reading, line: PairLine) -> str:
    """Return what the run's rule demands of a pair; the text may contain untrusted parts."""
    rule, true = rule_name(reading), reading.run.dataset.task.true_label
    if rule == "same-answer" and line.answers[0] == line.answers[1]:
        return f"Both answer {line.answers[0]}: the labels must be equal."
    if rule == "same-answer":
        return f"One answers {line.answers[0]}, the other {line.answers[1]}: not both can be {true}."
    if rule == "exclusive":
        return f"At most one example of their group can be {true}."
    if rule == "asymmetry":
        return f"Each is the other one with its responses swapped: exactly one of the two must be {true}."
    if rule == "exactly-one":
        return f"Exactly one example of their group must be {true}: not two, and not none once all are labelled."
    return f"The rule {rule} says which labels they may have together."


PAGE = 12  # groups drawn at once
LARGE = 12  # members up to which a group is drawn completely

EdgeKind = Literal["inconsistent", "was inconsistent", "prevented", "constrained"]


@dataclass(frozen=True, slots=True)
class ConflictGroup:
    """A group with inconsistent pairs: `now` are the current ones, `ever` all there ever were.

    `prevented` are those that only proposals made inconsistent.
    """

    name: str
    now: tuple[Pair, ...]
    ever: tuple[Pair, ...]
    prevented: tuple[Pair, ...] = ()

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return self.ever + self.prevented


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One example of a group and its position on the unit circle around (0, 0)."""

    example: int
    id: str
    text: str
    label: Label | None
    answer: str | None
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Edge:
    """Two nodes, by their positions in the group, and the relation between them."""

    first: int
    second: int
    kind: EdgeKind


@dataclass(frozen=True, slots=True)
class GroupGraph:
    """A group as drawn; `whole` is False for a large group, where only members in conflict are shown."""

    name: str
    nodes: tuple[GraphNode, ...]
    edges: tuple[Edge, ...]
    whole: bool


def groups_in_conflict(reading: Reading, ever: bool = False, prevented: bool = False) -> list[ConflictGroup]:
    """Return the groups in conflict now, or ever, or also those whose conflicts were prevented.

    Most current pairs first, then most pairs ever, then most prevented.
    """
    now, wanted = set(pairs_now(reading)), pairs_ever(reading) if ever or prevented else pairs_now(reading)
    kept_out = pairs_prevented(reading) if prevented else []
    members: dict[str, list[Pair]] = {}
    for pair, name in _named(reading, [*wanted, *kept_out]).items():
        members.setdefault(name, []).append(pair)
    groups = [_group(name, found, now, set(kept_out)) for name, found in members.items()]
    return sorted(groups, key=lambda one: (-len(one.now), -len(one.ever), -len(one.prevented), min(one.pairs)))


def _group(name: str, found: Sequence[Pair], now: Collection[Pair], prevented: Collection[Pair]) -> ConflictGroup:
    return ConflictGroup(
        name,
        tuple(pair for pair in found if pair in now),
        tuple(pair for pair in found if pair not in prevented),
        tuple(pair for pair in found if pair in prevented),
    )


def group_pages(groups: Sequence[ConflictGroup]) -> int:
    """Return the number of pages of groups, at least one."""
    return max(1, -(-len(groups) // PAGE))


def group_page(groups: Sequence[ConflictGroup], page: int) -> Sequence[ConflictGroup]:
    """Return the groups of one page, counted from 1."""
    return groups[(page - 1) * PAGE : page * PAGE]


def graph(store: Store, reading: Reading, group: ConflictGroup) -> GroupGraph:
    """Return the graph of a group: all members if it is small, else only those in conflict."""
    members, whole = _members(store, reading, group)
    spots = circle(len(members))
    nodes = tuple(_node(reading, i, spot) for i, spot in zip(members, spots, strict=True))
    place = {i: k for k, i in enumerate(members)}
    kinds: dict[Pair, EdgeKind] = dict.fromkeys(_constrained(reading, members), "constrained")
    kinds |= dict.fromkeys(group.prevented, "prevented")
    kinds |= dict.fromkeys(group.ever, "was inconsistent")
    kinds |= dict.fromkeys(group.now, "inconsistent")
    edges = (Edge(place[i], place[j], kind) for (i, j), kind in sorted(kinds.items()) if {i, j} <= place.keys())
    return GroupGraph(group.name, nodes, tuple(edges), whole)


def circle(count: int) -> list[tuple[float, float]]:
    """Return this many positions on the unit circle, clockwise from the top; two are placed side by side.

    >>> [(round(x), round(y)) for x, y in circle(4)]
    [(0, 1), (1, 0), (0, -1), (-1, 0)]
    >>> [(round(x), round(y)) for x, y in circle(2)]
    [(-1, 0), (1, 0)]
    """
    start = math.pi if count == 2 else math.pi / 2
    angles = [start - 2 * math.pi * k / count for k in range(count)]
    return [(math.cos(angle), math.sin(angle)) for angle in angles]


def _node(reading: Reading, i: int, spot: tuple[float, float]) -> GraphNode:
    example = reading.run.dataset.examples[i]
    return GraphNode(i, example.id, example_text(reading, i), reading.labeling.get(i), example.answer, *spot)


def _members(store: Store, reading: Reading, group: ConflictGroup) -> tuple[list[int], bool]:
    """The members to draw, in data set order, and whether they are all."""
    named = sorted({i for pair in group.pairs for i in pair})
    if not _shipped(reading):
        return named[:LARGE], len(named) <= LARGE
    found = store.group_places(reading.run.dataset.name, group.name, LARGE + 1)
    if len(found) <= LARGE:
        return places_of(reading.run.dataset.examples, found), True
    present = sorted({i for pair in group.now or group.pairs for i in pair})
    return present[:LARGE], False


def _shipped(reading: Reading) -> bool:
    """Say whether the rule is a built-in one, which constrains only examples of one group."""
    return reading.run.rule_name in RULES


def _constrained(reading: Reading, members: Sequence[int]) -> Iterable[Pair]:
    """The constrained pairs among these members, found by applying the rule to them alone."""
    if not _shipped(reading):
        return
    task = reading.run.dataset.task
    examples = [reading.run.dataset.examples[i] for i in members]
    rule = make_rule(reading.run.rule_name, examples, task.labels, task.true_label)
    for first, second in combinations(range(len(members)), 2):
        if second in rule.neighbours(first):
            yield members[first], members[second]


def _named(reading: Reading, pairs: Sequence[Pair]) -> dict[Pair, str]:
    """The group of every pair: its examples' group; under a custom rule, its connected component of pairs."""
    if _shipped(reading):
        return {pair: reading.run.dataset.examples[pair[0]].group for pair in pairs}
    parents: dict[int, int] = {}
    for i, j in pairs:
        one, other = _root(parents, i), _root(parents, j)
        parents[max(one, other)] = parents[min(one, other)] = min(one, other)
    return {pair: f"around {reading.run.codec.ids[_root(parents, pair[0])]}" for pair in pairs}


def _root(parents: dict[int, int], i: int) -> int:
    """The lowest example connected to this one."""
    while parents.setdefault(i, i) != i:
        i = parents[i]
    return i
