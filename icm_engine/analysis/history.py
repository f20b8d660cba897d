"""What became of labels and pairs in the course of a run: every label change, every repair, every spell of conflict."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from icm_engine.core.consistency import Pair
from icm_engine.core.hand import Done
from icm_engine.core.labeling import Label
from icm_engine.runs.events import Json

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


class Spell(NamedTuple):
    """How an inconsistent pair came and went: `since` is None while it is consistent, `times` how often it came."""

    since: int | None
    times: int
    steps: int  # in the spells that have ended


class Moment(NamedTuple):
    """When a person's act was taken in: the event, and its time in seconds since 1970."""

    event: int
    time: float


def last_turn(acts: Sequence[Done]) -> str | None:
    """Return the last of the acts "blind" and "unblind", None if there was none."""
    return next((done.act.verb for done in reversed(acts) if done.act.verb in ("blind", "unblind")), None)


def spells_after(
    spells: Mapping[Pair, Spell], then: Mapping[Pair, int], now: Mapping[Pair, int], step: int
) -> dict[Pair, Spell]:
    """Return the spells at a step at which the inconsistent pairs, each with its `since`, went from `then` to `now`.

    >>> first = spells_after({}, {}, {(0, 1): 3}, 3)
    >>> spells_after(first, {(0, 1): 3}, {}, 8)
    {(0, 1): Spell(since=None, times=1, steps=5)}
    """
    found = dict(spells)
    for pair in now.keys() - then.keys():
        known = found.get(pair, Spell(None, 0, 0))
        found[pair] = Spell(now[pair], known.times + 1, known.steps)
    for pair in then.keys() - now.keys():
        known = found[pair]
        found[pair] = Spell(None, known.times, known.steps + step - then[pair])
    return found


def causes_of(kind: str, body: Json) -> dict[str, str]:
    """Return, by example id, what changed its label in an event; of several causes, the last."""
    if whole := WHOLE.get(kind):
        return {example: whole for example, _ in body["labels"]}
    return {flip["example"]: flip["cause"] for flip in body.get("flips", ())}
