"""What became of labels and pairs in the course of a run; the counts of labels, and accuracy, which is defined here."""

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
    """Agreement with gold, each between 0 and 1; an unlabelled example counts as wrong.

    `raw` is the share of right labels, `balanced` the mean of that share over the labels that gold has. `flipped` is
    `raw` if both labels were swapped (None unless there are exactly two): an inverted search shows there, and is never
    silently turned around.
    """

    raw: float
    balanced: float
    flipped: float | None

    @property
    def of_labelled(self) -> float | None:
        """The share of right labels among labelled examples; None if there are none, or more than two labels."""
        if self.flipped is None or not self.raw + self.flipped:
            return None
        return self.raw / (self.raw + self.flipped)


def is_right(label: Label | None, gold: Label) -> bool:
    """Say whether a label (None: unlabelled) is the gold one."""
    return label == gold


def is_right_flipped(label: Label | None, gold: Label) -> bool:
    """Say whether a label of a task with two would be the gold one if both labels were swapped."""
    return label is not None and not is_right(label, gold)


@dataclass(frozen=True, slots=True)
class LabelCounts:
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

    def changed(self, old: Label | None, new: Label | None, gold: Label | None) -> "LabelCounts":
        """Return the counts after one example's label went from `old` to `new` (None: unlabelled)."""
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
        """Return the agreement with gold, None where there is no gold."""
        total = sum(self.gold.values())
        if not total:
            return None
        recalls = [self.right.get(label, 0) / count for label, count in self.gold.items() if count]
        flipped = self.wrong / total if len(self.labels) == 2 else None
        return Accuracy(sum(self.right.values()) / total, sum(recalls) / len(recalls), flipped)


def counted(
    labels: Sequence[Label], given: Mapping[Key, Label], gold: Mapping[Key, Label], of: Counts | None = None
) -> LabelCounts:
    """Return the counts of given labels beside gold; `of` says how many examples have each gold label.

    Without `of`, those of `gold` are counted: it may then hold examples that are not labelled.
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
}  # events that have every label at once, and what they say was the cause


class LabelChange(NamedTuple):
    """One change of one label; `event` is the event that made it, `step` the last step taken then."""

    step: int
    event: int
    example: int
    old: Label | None
    new: Label | None
    cause: str


class RepairMark(NamedTuple):
    """Where a repair stands in the log: an event, and its round there; `kept` if its labels became the run's.

    `withheld` if there were options that were not tried, since they touch a pin.
    """

    step: int
    event: int
    round: int
    pair: Pair
    taken: bool
    kept: bool
    withheld: bool = False


class ConflictInterval(NamedTuple):
    """How an inconsistent pair came and went: `since` is None while it is consistent, `times` how often it came."""

    since: int | None
    times: int
    steps: int  # in the spells that have ended


class ActTime(NamedTuple):
    """When a person's act was taken in: the event, and its time in seconds since 1970."""

    event: int
    time: float


def last_turn(acts: Sequence[AppliedIntervention]) -> str | None:
    """Return the last of the acts "blind" and "unblind", None if there was none."""
    return next((done.act.verb for done in reversed(acts) if done.act.verb in ("blind", "unblind")), None)


def intervals_after(
    spells: Mapping[Pair, ConflictInterval], then: Mapping[Pair, int], now: Mapping[Pair, int], step: int
) -> dict[Pair, ConflictInterval]:
    """Return the spells at a step at which the inconsistent pairs, each with its `since`, went from `then` to `now`.

    >>> first = spells_after({}, {}, {(0, 1): 3}, 3)
    >>> spells_after(first, {(0, 1): 3}, {}, 8)
    {(0, 1): ConflictInterval(since=None, times=1, steps=5)}
    """
    found = dict(spells)
    for pair in now.keys() - then.keys():
        known = found.get(pair, ConflictInterval(None, 0, 0))
        found[pair] = ConflictInterval(now[pair], known.times + 1, known.steps)
    for pair in then.keys() - now.keys():
        known = found[pair]
        found[pair] = ConflictInterval(None, known.times, known.steps + step - then[pair])
    return found


def causes_of(event: Event) -> dict[str, str]:
    """Return, by example id, what changed its label in an event; of several causes, the last."""
    if whole := WHOLE.get(event.kind):
        return {example: whole for example, _ in (event.labelled if whole == "source" else event.forked)["labels"]}
    return {flip["example"]: flip["cause"] for flip in flips_of(event)}


def flips_of(event: Event) -> Sequence[FlipBody]:
    """Return the label changes that an event lists; those of a fork and of a label source are in its labels."""
    listed: Sequence[FlipBody] = event.body.get("flips", ())
    return listed
