"""Read models of repairs (Algorithm 2): the list, and one repair with all its options and its outcome."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from icm_engine.analysis.conflicts import PairLine, demand, pair_line
from icm_engine.analysis.formatting import counted, decimal, percent
from icm_engine.analysis.label_history import RepairMark
from icm_engine.analysis.run_history import Reading, repairs_in
from icm_engine.core.consistency import Pair
from icm_engine.core.labeling import Label
from icm_engine.core.text import whole_number
from icm_engine.store.bodies import RepairBody
from icm_engine.store.store import Event, Store

PAGE = 200  # repairs on one page of the list
FILTERS = {"all": "All", "taken": "An option taken", "kept": "Kept", "withheld": "Withheld by pins"}


@dataclass(frozen=True, slots=True)
class OptionLine:
    """One consistent pair of labels; `utility` and `change` are None if a pin kept it from being tried."""

    labels: tuple[Label, Label]
    utility: float | None
    change: float | None
    taken: bool

    @property
    def outcome(self) -> str:
        """The outcome, in words with a symbol."""
        return "– withheld: pinned" if self.utility is None else "● taken" if self.taken else "○ not taken"


@dataclass(frozen=True, slots=True)
class RepairCard:
    """One repair: the pair and its labels before, every option, and the outcome in sentences.

    `broken` are the pairs that this repair's step made inconsistent.
    """

    mark: RepairMark
    line: PairLine
    labels: tuple[Label, Label]
    utility: float
    options: tuple[OptionLine, ...]
    demand: str
    choice: str
    verdict: str
    after: str
    broken: tuple[PairLine, ...]


# -- the list


def repairs_of(reading: Reading, kind: str = "all", pair: Pair | None = None) -> list[RepairMark]:
    """Return the repairs of this kind (one of FILTERS), optionally of one pair, newest first."""
    marks = reversed(reading.repairs)
    return [mark for mark in marks if (pair is None or mark.pair == pair) and (kind == "all" or getattr(mark, kind))]


def repair_pages(marks: Sequence[RepairMark]) -> int:
    """Return the number of pages of the list, at least one."""
    return max(1, -(-len(marks) // PAGE))


def repair_page(marks: Sequence[RepairMark], page: int) -> Sequence[RepairMark]:
    """Return the repairs of one page, counted from 1."""
    return marks[(page - 1) * PAGE : page * PAGE]


def result_words(mark: RepairMark) -> str:
    """The outcome of a repair, in words with a symbol."""
    if not mark.taken:
        return "– withheld by pins" if mark.withheld else "– no option taken"
    return "● kept" if mark.kept else "○ not kept"


def repair_code(mark: RepairMark) -> str:
    """Encode a repair for a URL: event and round."""
    return f"{mark.event}.{mark.round}"


def repair_at(reading: Reading, code: str | None) -> RepairMark | None:
    """Return the repair that a URL names; None if it names none."""
    event, number = map(whole_number, (code or "").partition(".")[::2])
    if event is None or number is None:
        return None
    wanted = (event, number)
    place = bisect_left(reading.repairs, wanted, key=lambda mark: (mark.event, mark.round))
    found = reading.repairs[place] if place < len(reading.repairs) else None
    return found if found and (found.event, found.round) == wanted else None


# -- one repair


def repair_card(store: Store, reading: Reading, mark: RepairMark) -> RepairCard:
    """Return one repair in full; reads its event."""
    event = store.event(reading.run.name, mark.event)
    body = repairs_in(event)[mark.round]
    line, labels = pair_line(reading, mark.pair), (body["labels"][0], body["labels"][1])
    options = _options(body)
    return RepairCard(
        mark,
        line,
        labels,
        body["utility"],
        options,
        demand(reading, line),
        _choice(options),
        _verdict(event, mark),
        _after(event),
        tuple(pair_line(reading, pair) for pair in _broken(reading, event)),
    )


def _options(body: RepairBody) -> tuple[OptionLine, ...]:
    tried = tuple(
        OptionLine(
            (option["labels"][0], option["labels"][1]),
            option["utility"],
            option["utility"] - body["utility"],
            option["labels"] == body["taken"],
        )
        for option in body["options"]
    )
    withheld = (OptionLine((a, b), None, None, False) for a, b in body.get("withheld", ()))
    return (*tried, *withheld)


def _choice(options: Sequence[OptionLine]) -> str:
    """Say which option was chosen, or why none was."""
    taken = next((option for option in options if option.taken), None)
    withheld = sum(option.utility is None for option in options)
    tried = len(options) - withheld
    pinned = f" {counted(withheld, 'option')} withheld: a person pinned a label that would change." if withheld else ""
    if taken is None:
        why = f"none of {counted(tried, 'option')} raised U" if tried else "there was no option to try"
        return f"Nothing was taken: {why}.{pinned}"
    change = taken.change or 0.0
    effect = (
        f"raised U by {decimal(change, 2)}" if change > 0 else f"changed U by {decimal(change, 2)}, the best there was"
    )
    return f"Taken: {taken.labels[0]} and {taken.labels[1]}, which {effect}.{pinned}"


def _verdict(event: Event, mark: RepairMark) -> str:
    """Say what happened to the step or round that the repair belongs to."""
    if event.kind == "round" and event.round["step"]:
        kept = "were kept" if event.round["kept"] else "were not kept, and the repair was discarded"
        return f"By the predictions of the round before. The labels that this round tried {kept}."
    if event.kind != "step":
        return "It belongs to the initial labels, which are always kept."
    body = event.step
    chance = f"delta {decimal(body['delta'], 2)}, chance {_chance(body['accept_probability'])}, draw {body['draw']:.2f}"
    if body["verdict"] == "accepted":
        kept = "this repair with it" if mark.taken else "without a change by this repair"
        return f"The step was accepted ({chance}), {kept}."
    if body["verdict"] == "rejected":
        return f"The step was rejected ({chance}): the labels stayed, and the repair was discarded."
    return "The step changed no label: after its repairs the labels were as before."


def _chance(share: float) -> str:
    return "under 1%" if 0 < share < 0.01 else percent(share)


def _after(event: Event) -> str:
    """Name the pairs that a repair's step or round made inconsistent."""
    if event.kind == "initial" or (event.kind == "round" and not event.round["step"]):
        return "Inconsistent once the initial labels were repaired"
    kept = event.round["kept"] if event.kind == "round" else event.step["verdict"] != "rejected"
    return f"{'Became' if kept else 'Would have become'} inconsistent by this {event.kind}"


def _broken(reading: Reading, event: Event) -> list[Pair]:
    evaluation = event.body["tried" if event.kind == "round" else "after"]
    known = event.body.get("before")
    before = {tuple(pair) for pair in known["pairs"]} if known else set()
    after = evaluation["pairs"] if evaluation else []
    index = reading.run.codec.index
    return [(index(a), index(b)) for a, b in after if (a, b) not in before]
