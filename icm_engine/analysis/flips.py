"""Label changes of a run: filtered, ranked, in words, and as tables."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from icm_engine.analysis.formatting import decimal, one_line
from icm_engine.analysis.label_history import (
    CAUSES,  # re-exported for pages
    LabelChange,
    is_right,
)
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import example_text
from icm_engine.core.labeling import Label

if TYPE_CHECKING:
    import pandas

CYCLES = 2  # number of returns to an earlier label from which an example counts as oscillating


@dataclass(frozen=True, slots=True)
class Filter:
    """Which label changes are shown; an empty field admits all. `kept` shows only labels still in force."""

    cause: str | None = None
    example: int | None = None
    first: int | None = None  # step
    last: int | None = None
    kept: bool = False


def filtered(reading: Reading, wanted: Filter) -> list[LabelChange]:
    """Return the label changes that pass the filter, oldest first."""
    final = {change.example: change.event for change in reading.history} if wanted.kept else {}
    return [change for change in reading.history if _passes(change, wanted, final)]


def _passes(change: LabelChange, wanted: Filter, final: Mapping[int, int]) -> bool:
    return (
        (wanted.cause is None or change.cause == wanted.cause)
        and (wanted.example is None or change.example == wanted.example)
        and (wanted.first is None or change.step >= wanted.first)
        and (wanted.last is None or change.step <= wanted.last)
        and (not wanted.kept or (change.new is not None and final[change.example] == change.event))
    )


def counts(changes: Iterable[LabelChange]) -> dict[str, int]:
    """Return how many label changes each cause made, in the order of the causes."""
    found = dict.fromkeys(CAUSES, 0)
    for change in changes:
        found[change.cause] += 1
    return {cause: count for cause, count in found.items() if count}


# -- queues of examples


@dataclass(frozen=True, slots=True)
class Queued:
    """One example of a queue, with the number that put it there, in words."""

    example: int
    why: str


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue: its name in the URL, its title and its description."""

    name: str
    title: str
    explanation: str
    find: Callable[[Reading], list[Queued]] = field(repr=False)


def queues(reading: Reading) -> tuple[Queue, ...]:
    """Return the queues of a run; disagreement with gold only where gold is shown."""
    found = tuple(queue for queue in QUEUES if queue.name != "gold" or reading.gold)
    if not reading.by_folds:
        return found
    return tuple(replace(queue, explanation=queue.explanation.replace(GIVEN_OTHERS, reading.given)) for queue in found)


def most_flipped(reading: Reading) -> list[Queued]:
    """Return the examples whose label changed after they were first labelled, most often first."""
    found = sorted((-change.flips, i) for i, change in reading.changes.items() if change.flips)
    return [Queued(i, times(-flips, "flip")) for flips, i in found]


def lowest_margin(reading: Reading) -> list[Queued]:
    """Return the labelled examples with the lowest margin first: those whose label the model prefers least."""
    return [Queued(i, f"margin {signed(margin)}") for margin, i in sorted(margins(reading))]


def margins(reading: Reading) -> Iterator[tuple[float, int]]:
    """Yield (margin, example) for every labelled example, given all other labels."""
    labels, scores = reading.tally.labels, reading.state.evaluation.scores if reading.state else {}
    for i, label in reading.labeling.items():
        yield scores[i].margin(labels.index(label)), i


def doubt_words(reading: Reading, example: int) -> str:
    """Say how sure the model is of an example's label, how often the label changed, its conflicts, and what set it."""
    changes = [change for change in reading.history if change.example == example]
    flips = reading.changes[example].flips if example in reading.changes else 0
    conflicts = sum(example in pair for pair in (reading.state.evaluation.pairs if reading.state else ()))
    by = f", last set at {reading.unit} {changes[-1].step:,} ({changes[-1].cause})" if changes else ""
    return f"{_margin_words(reading, example)}Flips: {flips:,}, conflicts: {conflicts:,}{by}."


def _margin_words(reading: Reading, example: int) -> str:
    """Say which label the model favours over which, given all other labels; empty for an unlabelled example."""
    labels, scores = reading.tally.labels, reading.state.evaluation.scores if reading.state else {}
    label = reading.labeling.get(example)
    if label is None or example not in scores:
        return ""
    raw, k = scores[example].raw, labels.index(label)
    margin = scores[example].margin(k)
    rival = labels[max((j for j in range(len(raw)) if j != k), key=raw.__getitem__)]
    first, second = (label, rival) if margin >= 0 else (rival, label)
    odds = f"{math.exp(abs(margin)):,.1f}" if abs(margin) < math.log(1000) else "over 1,000"
    return f"Margin {signed(margin)}: {reading.given}, the model favours {first} over {second} by {odds} to 1. "


def signed(number: float) -> str:
    """Return a number with its sign and two decimals.

    >>> signed(0.114), signed(-0.33)
    ('+0.11', '−0.33')
    """
    return f"{'+' if number >= 0 else ''}{decimal(number, 2)}"


def in_conflict(reading: Reading) -> list[Queued]:
    """Return the examples of inconsistent pairs, those in most pairs first."""
    found: dict[int, int] = defaultdict(int)
    for pair in reading.state.evaluation.pairs if reading.state else ():
        for i in pair:
            found[i] += 1
    return [
        Queued(i, times(count, "inconsistent pair")) for i, count in sorted(found.items(), key=lambda r: (-r[1], r[0]))
    ]


def against_gold(reading: Reading) -> list[Queued]:
    """Return the labelled examples whose label differs from gold, in data set order; empty where gold is not shown."""
    if not reading.gold:
        return []
    ids = reading.run.codec.ids
    found = ((i, label, reading.gold.get(ids[i])) for i, label in sorted(reading.labeling.items()))
    return [Queued(i, f"gold {gold}") for i, label, gold in found if gold is not None and not is_right(label, gold)]


def pinned(reading: Reading) -> list[Queued]:
    """Return the examples that a person pinned, in data set order."""
    notes = reading.state.hand.notes if reading.state else {}
    return [Queued(i, "pinned, noted" if i in notes else "pinned") for i in sorted(reading.pins)]


def cycling(reading: Reading) -> list[Queued]:
    """Return the examples that returned to an earlier label at least twice, most often first."""
    found = [(returns(labels), i) for i, labels in _labels_in_order(reading.history).items()]
    chosen = sorted(((sum(back.values()), i, back) for back, i in found), key=lambda row: (-row[0], row[1]))
    return [Queued(i, cycle_words(back)) for count, i, back in chosen if count >= CYCLES]


def returns(labels: Sequence[Label | None]) -> dict[Label, int]:
    """Return how often a sequence of labels returned to each earlier label.

    >>> returns(["True", "False", "True", "False"])
    {'True': 1, 'False': 1}
    """
    seen, back = set[Label](), dict[Label, int]()
    for label in labels:
        if label in seen and label is not None:
            back[label] = back.get(label, 0) + 1
        elif label is not None:
            seen.add(label)
    return back


def cycle_words(back: Mapping[Label, int]) -> str:
    """Say how often an example returned to an earlier label."""
    return "went back to " + ", to ".join(f"{label} {times(count, 'time')}" for label, count in back.items())


def cycles_sentence(found: Sequence[Queued]) -> str:
    """Say how many examples oscillate; empty if none does."""
    if not found:
        return ""
    one = len(found) == 1
    return (
        f"{'1 example oscillates: it' if one else f'{len(found):,} examples oscillate: they'} returned to an earlier "
        f"label at least {CYCLES} times. The search undoes its own steps there."
    )


def _labels_in_order(history: Iterable[LabelChange]) -> dict[int, list[Label | None]]:
    found: dict[int, list[Label | None]] = defaultdict(list)
    for change in history:
        found[change.example].append(change.new)
    return found


def times(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> times(1, "flip"), times(1200, "flip")
    ('1 flip', '1,200 flips')
    """
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


GIVEN_OTHERS = "given all other labels"  # what predictions depend on in a search by prompting
QUEUES = (
    Queue("most-flipped", "Most flipped", "Examples whose label changed after they had one.", most_flipped),
    Queue("lowest-margin", "Lowest margin", "Labels with the lowest margin: log p of the label minus that of the "
                                            "best other one, given all other labels. Below 0 the model prefers "
                                            "another.", lowest_margin),
    Queue("in-conflict", "In conflict", "Examples of pairs that are inconsistent now.", in_conflict),
    Queue("gold", "Against gold", "Labels that differ from gold.", against_gold),
    Queue("pinned", "Pinned", "Labels that a person has fixed.", pinned),
    Queue("cycling", "Cycling", "Examples that returned to an earlier label at least twice.", cycling),
)  # fmt: skip


def changes_frame(reading: Reading, changes: Sequence[LabelChange]) -> "pandas.DataFrame":
    """Return label changes, newest first, each with the address of its decision card."""
    import pandas

    ids = reading.run.codec.ids
    return pandas.DataFrame(
        [
            {
                reading.unit: change.step,
                "before": change.old,
                "after": change.new,
                "example": ids[change.example],
                "text": one_line(example_text(reading, change.example), 90),
                "cause": change.cause,
                "card": step_address(reading.run.name, change.event),
            }
            for change in reversed(changes)
        ]
    )


def step_address(run: str, event: int) -> str:
    """Return the address of an event on the Steps page."""
    return f"steps?run={quote(run, safe='')}&event={event}"


def queue_frame(reading: Reading, queue: Sequence[Queued]) -> "pandas.DataFrame":
    """Return a queue, one example per row; gold only where it is shown."""
    import pandas

    ids = reading.run.codec.ids
    rows = [
        {
            "example": ids[row.example],
            "label": reading.labeling.get(row.example),
            **({"gold": reading.gold.get(ids[row.example])} if reading.gold else {}),
            "why": row.why,
            "text": one_line(example_text(reading, row.example), 90),
            "flips": reading.changes[row.example].flips if row.example in reading.changes else 0,
        }
        for row in queue
    ]
    return pandas.DataFrame(rows)
