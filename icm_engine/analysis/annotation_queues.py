"""Annotation queues: the order of examples, and navigation within it.

A queue is built once and then fixed, so that an example does not move the moment it is labelled.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from icm_engine.analysis.gold_agreement import gold_by_place, gold_shown
from icm_engine.analysis.run_history import Reading
from icm_engine.core.labeling import Example
from icm_engine.store.store import Store

FROM_GOLD = "gold"
QUEUES: Mapping[str, str] = {
    "order": "Data set order",
    "margin": "Least certain first",
    "flipped": "Most flipped first",
    "conflict": "In conflict now",
    "unlabelled": "Without a label",
    "pinned": "Pinned",
    "notes": "With a note",
    FROM_GOLD: "Disagrees with gold",
}
SUPERVISION = (
    "This queue uses gold: labels you give here are supervision, and accuracy then no longer measures what the "
    "search finds by itself. Acts on the whole queue are not available."
)


def offered_queues(reading: Reading) -> list[str]:
    """Return the available queues; the one sorted by gold only where gold is shown."""
    return [name for name in QUEUES if name != FROM_GOLD or gold_shown(reading)]


def queue(store: Store, reading: Reading, name: str, text: str = "") -> Sequence[int]:
    """Return the places of a queue's examples; with `text`, only those with it in a field, their id or note."""
    places = _from_gold(store, reading) if name == FROM_GOLD else _MADE[name](reading)
    if not (wanted := text.strip().casefold()):
        return places
    examples = enumerate(reading.run.dataset.examples)  # read once, in order: there may be a million
    found = {i for i, example in examples if wanted in _searched(reading, i, example)}
    return tuple(i for i in places if i in found)


def margin(reading: Reading, i: int) -> float | None:
    """Return the margin of an example's label, given all other labels; None without one."""
    label = reading.labeling.get(i)
    if reading.state is None or label is None or i not in reading.state.evaluation.scores:
        return None
    return reading.state.evaluation.scores[i].margin(reading.tally.labels.index(label))


def _searched(reading: Reading, i: int, example: Example) -> str:
    note = reading.state.hand.notes.get(i, "") if reading.state else ""
    return "\n".join((example.id, *example.fields.values(), note)).casefold()


def _order(reading: Reading) -> Sequence[int]:
    return range(len(reading.run.dataset.examples))


def _margin(reading: Reading) -> Sequence[int]:
    margins = {i: margin(reading, i) for i in reading.labeling}
    return tuple(i for i, _ in sorted(((i, m) for i, m in margins.items() if m is not None), key=lambda row: row[1]))


def _flipped(reading: Reading) -> Sequence[int]:
    flips = {i: change.flips for i, change in reading.changes.items() if change.flips}
    return tuple(sorted(flips, key=lambda i: (-flips[i], i)))


def _conflict(reading: Reading) -> Sequence[int]:
    pairs = reading.state.evaluation.pairs if reading.state else ()
    return tuple(dict.fromkeys(chain.from_iterable(pairs)))


def _unlabelled(reading: Reading) -> Sequence[int]:
    return tuple(i for i in _order(reading) if i not in reading.labeling)


def _pinned(reading: Reading) -> Sequence[int]:
    return tuple(sorted(reading.pins))


def _notes(reading: Reading) -> Sequence[int]:
    return tuple(sorted(reading.state.hand.notes)) if reading.state else ()


def _from_gold(store: Store, reading: Reading) -> Sequence[int]:
    gold = gold_by_place(store, reading, tuple(reading.labeling))
    return tuple(sorted(i for i, true in gold.items() if reading.labeling[i] != true))


_MADE: Mapping[str, Callable[[Reading], Sequence[int]]] = {
    "order": _order, "margin": _margin, "flipped": _flipped, "conflict": _conflict, "unlabelled": _unlabelled,
    "pinned": _pinned, "notes": _notes,
}  # fmt: skip


# -- where one stands


def standing(places: Sequence[int], example: int | None, at: int) -> tuple[int, bool]:
    """Return the position in a queue, from 0, and whether the example is in it; `at` is the previous position.

    >>> standing((7, 3, 5), 5, 0), standing((7, 3, 5), 4, 1), standing((7, 3, 5), 4, 9)
    ((2, True), (1, False), (2, False))
    """
    if example is not None and example in places:
        return places.index(example), True
    return max(0, min(at, len(places) - 1)), False


def moved(places: Sequence[int], example: int | None, at: int, by: int) -> int | None:
    """Return the position of the next (`by` 1) or previous (-1) example; None past either end.

    An example that left the queue leaves a gap: the next one takes its position.

    >>> moved((7, 3, 5), 3, 1, 1), moved((7, 5), 3, 1, 1), moved((7, 5), 3, 1, -1), moved((7, 3, 5), 5, 2, 1)
    (2, 1, 0, None)
    """
    here, inside = standing(places, example, at)
    there = here + by if inside or by < 0 else at
    return there if 0 <= there < len(places) else None
