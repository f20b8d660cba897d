"""How labels and pairs changed during a run; label counts; the definition of accuracy."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from icm_engine.core.consistency import Pair
from icm_engine.core.interventions import AppliedIntervention
from icm_engine.core.labeling import Label
from icm_engine.store.bodies import FlipBody
from icm_engine.store.store import Event

Counts = Mapping[Label, int]
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Agreement with gold, each value between 0 and 1; unlabelled examples count as wrong.

    `raw` is the share of correct labels, `balanced` the mean of that share over the labels in gold. `flipped` is `raw`
    with both labels swapped (None unless there are exactly two). It reveals a mirrored labeling, which is never
    swapped silently.
    """

    raw: float
    balanced: float
    flipped: float | None

    @property
    def of_labelled(self) -> float | None:
        """The share of correct labels among labelled examples; None if there are none, or more than two labels."""
        if self.flipped is None or not self.raw + self.flipped:
            return None
        return self.raw / (self.raw + self.flipped)


def is_right(label: Label | None, gold: Label) -> bool:
    """Say whether a label (None: unlabelled) equals gold."""
    return label == gold


def is_right_flipped(label: Label | None, gold: Label) -> bool:
    """Say whether a label would equal gold with both labels of the task swapped."""
    return label is not None and not is_right(label, gold)


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Examples per label, and of those with gold, how many are correct, wrong or unlabelled."""

    labels: tuple[Label, ...]
    gold: Counts = field(default_factory=dict)  # gold label -> examples that have it
    counts: Counts = field(default_factory=dict)  # label -> examples that have it now
    right: Counts = field(default_factory=dict)  # gold label -> examples labelled with it
    wrong: int = 0  # labelled, and differently from gold

    @property
    def labelled(self) -> int:
        return sum(self.counts.values())

    @property
    def balance(self) -> tuple[int, ...]:
        """Examples per label, in the order of the task's labels."""
        return tuple(self.counts.get(label, 0) for label in self.labels)

    def changed(self, old: Label | None, new: Label | None, gold: Label | None) -> "LabelCounts":
        """Return the counts after one example's label changed from `old` to `new` (None: unlabelled)."""
        return self._shifted(old, gold, -1)._shifted(new, gold, +1)

    def _shifted(self, label: Label | None, gold: Label | None, by: int) -> "LabelCounts":
        if label is None:
            return self
        counted = replace(self, counts=_plus(self.counts, label, by))
        if gold is None:
            return counted
        if is_right(label, gold):
            return replace(counted, right=_plus(self.right, gold, by))
        return replace(counted, wrong=self.wrong + by)

    @property
    def accuracy(self) -> Accuracy | None:
        """Return the agreement with gold; None without gold."""
        total = sum(self.gold.values())
        if not total:
            return None
        recalls = [self.right.get(label, 0) / count for label, count in self.gold.items() if count]
        flipped = self.wrong / total if len(self.labels) == 2 else None
        return Accuracy(sum(self.right.values()) / total, sum(recalls) / len(recalls), flipped)


def counted(
    labels: Sequence[Label], given: Mapping[Key, Label], gold: Mapping[Key, Label], of: Counts | None = None
) -> LabelCounts:
    """Return the counts of labels against gold; `of` has the number of examples of each gold label.

    Without `of`, the examples of `gold` are counted, which may include unlabelled ones.
    """
    truth = [(label, gold[key]) for key, label in given.items() if key in gold]
    right = Counter(label for label, true in truth if is_right(label, true))
    of = Counter(gold.values()) if of is None else of
    return LabelCounts(tuple(labels), of, Counter(given.values()), right, len(truth) - right.total())


def _plus(counts: Counts, label: Label, by: int) -> Counts:
    return {**counts, label: counts.get(label, 0) + by}


CAUSES = ("initial", "proposal", "repair", "person", "fork", "source")  # of a label change
WHOLE = {
    "forked": "fork",
    "labelled": "source",
}  # events that set every label at once, and the cause to show for them


class LabelChange(NamedTuple):
    """One label change; `event` is the event that made it, `step` the last step taken by then."""

    step: int
    event: int
    example: int
    old: Label | None
    new: Label | None
    cause: str


class RepairMark(NamedTuple):
    """A repair's place in the log: an event, and its round there; `kept` if its labels were accepted.

    `withheld` if options were not tried because they touch a pin.
    """

    step: int
    event: int
    round: int
    pair: Pair
    taken: bool
    kept: bool
    withheld: bool = False


class ConflictInterval(NamedTuple):
    """When a pair was inconsistent: `since` (None: it is not now), and how many `times` it became so."""

    since: int | None
    times: int
    steps: int  # steps in intervals that ended


class ActTime(NamedTuple):
    """When a person's act was applied: the event, and its Unix time in seconds."""

    event: int
    time: float


def last_turn(acts: Sequence[AppliedIntervention]) -> str | None:
    """Return the last of the acts "blind" and "unblind"; None if there was none."""
    return next((done.act.verb for done in reversed(acts) if done.act.verb in ("blind", "unblind")), None)


def intervals_after(
    intervals: Mapping[Pair, ConflictInterval], then: Mapping[Pair, int], now: Mapping[Pair, int], step: int
) -> dict[Pair, ConflictInterval]:
    """Return the intervals after a step that changed the inconsistent pairs (pair: `since`) from `then` to `now`.

    >>> first = intervals_after({}, {}, {(0, 1): 3}, 3)
    >>> intervals_after(first, {(0, 1): 3}, {}, 8)
    {(0, 1): ConflictInterval(since=None, times=1, steps=5)}
    """
    found = dict(intervals)
    for pair in now.keys() - then.keys():
        known = found.get(pair, ConflictInterval(None, 0, 0))
        found[pair] = ConflictInterval(now[pair], known.times + 1, known.steps)
    for pair in then.keys() - now.keys():
        known = found[pair]
        found[pair] = ConflictInterval(None, known.times, known.steps + step - then[pair])
    return found


def causes_of(event: Event) -> dict[str, str]:
    """Return, by example id, the cause of its label change in an event; if there are several, the last."""
    if whole := WHOLE.get(event.kind):
        return {example: whole for example, _ in (event.labelled if whole == "source" else event.forked)["labels"]}
    return {flip["example"]: flip["cause"] for flip in flips_of(event)}


def flips_of(event: Event) -> Sequence[FlipBody]:
    """Return the label changes that an event lists. For a fork and a label source, they are in its labels."""
    listed: Sequence[FlipBody] = event.body.get("flips", ())
    return listed
