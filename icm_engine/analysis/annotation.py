"""Annotation by hand: queues of examples, one example with its context, acts sent and applied, human labels.

A queue is built once and then fixed, so that an example does not move when it is labelled.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from icm_engine.analysis.flips import signed
from icm_engine.analysis.formatting import moment, one_line, percent
from icm_engine.analysis.gold_agreement import gold_by_place, gold_shown
from icm_engine.analysis.label_history import ActTime, LabelChange
from icm_engine.analysis.run_history import Reading
from icm_engine.core.errors import SettingError
from icm_engine.core.interventions import Act, AppliedIntervention, Verb, redoable, undoable
from icm_engine.core.labeling import Example, Label
from icm_engine.data.gold import add_human, load_human
from icm_engine.runs.command_handler import require_act
from icm_engine.store.events import decode_act
from icm_engine.store.lazy_examples import places_of
from icm_engine.store.store import Command, Store

CHANGES = 5  # maximum number of an example's label changes
MEMBERS = 40  # maximum number of members of a group
COUNTED = 1000  # members of a group that are counted
ACTS = 200  # rows of the list of acts
MOST = 10_000  # examples per act: every override has to be scored


@dataclass(frozen=True, slots=True)
class Member:
    """Another example of the same group; `text` holds the fields in which it differs."""

    example: str  # id
    text: str
    label: Label | None
    pinned: bool


@dataclass(frozen=True, slots=True)
class Card:
    """One example as an annotator sees it; `text` has every field, `rest` counts the group members not shown.

    `hidden` says that the run is annotated blind and a person has not labelled the example yet: the card then has no
    label, probability, margin, changes or labels of the group.
    """

    place: int
    example: str  # id
    fields: Mapping[str, str]
    answer: str | None
    label: Label | None
    probability: float | None
    margin: float | None
    pinned: bool
    note: str
    members: tuple[Member, ...]
    rest: int
    changes: tuple[LabelChange, ...]  # the last ones, the newest first
    hidden: bool = False
    given: str = "given all other labels"  # what the probability depends on

    @property
    def words(self) -> str:
        """The current label, in a sentence."""
        if self.hidden:
            return "Hidden until you have labelled this example."
        if self.label is None:
            return "No label yet."
        fixed = "pinned: the search keeps it" if self.pinned else "not pinned: the search may change it"
        sure = "" if self.probability is None else f" · probability {percent(self.probability)} {self.given}"
        return f"{fixed}{sure}"


def card(store: Store, reading: Reading, place: int) -> Card:
    """Return what an annotator sees of the example at this place; in a blind run, no label but a person's own."""
    found = _card(store, reading, place)
    if not reading.blind:
        return found
    own = own_places(reading)
    if place not in own:
        members = tuple(replace(member, label=None) for member in found.members)
        return replace(found, label=None, probability=None, margin=None, members=members, changes=(), hidden=True)
    index = reading.run.codec.index
    shown = tuple(m if index(m.example) in own else replace(m, label=None) for m in found.members)
    return replace(found, members=shown)


def _card(store: Store, reading: Reading, place: int) -> Card:
    example, note = reading.run.dataset.examples[place], ""
    if reading.state is not None:
        note = reading.state.hand.notes.get(place, "")
    group = store.group_places(reading.run.dataset.name, example.group, COUNTED)
    others = [i for i in places_of(reading.run.dataset.examples, group) if i != place]
    mine = [change for change in reading.history if change.example == place]
    members = tuple(_member(reading, i, example) for i in others[:MEMBERS])
    return Card(
        place,
        example.id,
        example.fields,
        example.answer,
        reading.labeling.get(place),
        reading.probability(place),
        margin(reading, place),
        place in reading.pins,
        note,
        members,
        len(others) - len(members),
        tuple(reversed(mine[-CHANGES:])),
        given=reading.given,
    )


def _member(reading: Reading, i: int, beside: Example) -> Member:
    example = reading.run.dataset.examples[i]
    apart = [text for name, text in example.fields.items() if beside.fields.get(name) != text]
    text = one_line("\n".join(apart or example.fields.values()))
    return Member(example.id, text, reading.labeling.get(i), i in reading.pins)


def change_words(change: LabelChange, unit: str = "step") -> str:
    """Describe one label change of a run that counts such units, in a line."""
    old, new = change.old or "no label", change.new or "no label"
    return f"{unit} {change.step:,}: {old} → {new} ({change.cause})"


# -- acts: done, and sent but not applied


def sent(store: Store, reading: Reading) -> tuple[Act, ...]:
    """Return the acts that were sent and not yet applied, oldest first."""
    commands = (command for command in store.pending(reading.run.name) if command.verb == "hand")
    return tuple(act for command in commands if (act := _act(reading, command)) is not None)


def _act(reading: Reading, command: Command) -> Act | None:
    try:
        require_act(command.body, reading.run.dataset.task.labels)
        return decode_act(reading.run.codec, command.body)
    except (KeyError, ValueError, SettingError):  # the worker will refuse this one
        return None


def sent_words(reading: Reading, acts: Iterable[Act], place: int) -> list[str]:
    """Describe what was sent about one example, and summarise the rest in one line."""
    acts = list(acts)
    mine = [act for act in acts if place in act.examples]
    lines = [f"Sent, not applied yet: {act_words(reading, act, place)}." for act in mine]
    if others := [act_words(reading, act) for act in acts if place not in act.examples]:
        shown = "; ".join(others[:3]) + (f"; {len(others) - 3:,} more" if len(others) > 3 else "")
        lines.append(f"Sent, not applied yet: {shown}.")
    return lines


def act_words(reading: Reading, act: Act, place: int | None = None) -> str:
    """Describe an act in a few words; with `place`, only its effect on that example."""
    if not act.examples:
        return act.verb
    ids = reading.run.codec.ids
    few = [place] if place is not None else act.examples
    where = ids[few[0]] if len(few) == 1 else f"{len(act.examples):,} examples"
    if act.verb == "note":
        return f"note on {where}: {one_line(act.text, 60) or 'removed'}"
    labels = {act.labels[k] for k, i in enumerate(act.examples) if i in few} if act.labels else set()
    return f"{act.verb} {where}" + (f" as {', '.join(sorted(labels))}" if labels else "")


def expected(reading: Reading, waiting: Iterable[Act]) -> list[AppliedIntervention]:
    """Return the acts as they will be once everything sent is applied."""
    return [*reading.acts, *(AppliedIntervention(act) for act in waiting)]


@dataclass(frozen=True, slots=True)
class UndoState:
    """The effect of the next undo and redo, in words, with the example concerned; None if there is none."""

    undo: str | None
    redo: str | None
    undo_at: str | None
    redo_at: str | None


def turns(reading: Reading, waiting: Iterable[Act]) -> UndoState:
    """Return what undo and redo would do, counting acts already sent."""
    history = expected(reading, waiting)
    back, forth = undoable(history), redoable(history)
    words = [act_words(reading, stack[-1].act) if stack else None for stack in (back, forth)]
    places = [_one(reading, stack[-1].act) if stack else None for stack in (back, forth)]
    return UndoState(words[0], words[1], places[0], places[1])


def _one(reading: Reading, act: Act) -> str | None:
    return reading.run.codec.ids[act.examples[0]] if len(act.examples) == 1 else None


@dataclass(frozen=True, slots=True)
class ActRow:
    """One act of the list."""

    time: str
    verb: str
    examples: int
    first: str  # id of the first example
    labels: str
    changed: int
    note: str


def act_rows(reading: Reading) -> tuple[ActRow, ...]:
    """Return a person's acts, the newest first."""
    pairs = list(zip(reading.acts, reading.moments, strict=True))[-ACTS:]
    return tuple(_act_row(reading, done, then) for done, then in reversed(pairs))


def _act_row(reading: Reading, done: AppliedIntervention, then: ActTime) -> ActRow:
    act, ids = done.act, reading.run.codec.ids
    touched = act.examples or tuple(change.example for change in done.changes)
    given = () if reading.blind else [change.after.label or "no label" for change in done.changes]
    labels = dict.fromkeys(act.labels or given)  # an undo returns to the model's label, which a blind run hides
    shown = ", ".join(labels) if act.verb not in ("note", "unpin") else ""
    first = ids[touched[0]] if touched else ""
    return ActRow(moment(then.time), act.verb, len(touched), first, shown, len(done.changes), one_line(act.text, 80))


def margin_words(found: Card) -> str:
    """Say how sure the model is of the label, as the queue sorted by margin does."""
    if found.margin is None:
        return ""
    wish = ": the model prefers another label" if found.margin < 0 else ""
    return f"margin {signed(found.margin)}{wish}"


# -- acts on many examples


@dataclass(frozen=True, slots=True)
class Bulk:
    """One act on many examples, described before it is sent; `label` None keeps their labels."""

    verb: Verb
    places: Sequence[int]
    label: Label | None
    words: str
    left_out: str

    @property
    def possible(self) -> bool:
        return 0 < len(self.places) <= MOST


def bulk(reading: Reading, places: Sequence[int], verb: Verb, label: Label | None = None) -> Bulk:
    """Return one act on all these examples: pin (at their current label, or at `label`), or unpin.

    Pinning at the current label leaves out examples without one; in a blind run, also those without a label that a
    person gave. Unpinning leaves out examples that are not pinned.
    """
    chosen, why, how = places, "", f" as {label}"
    if verb == "unpin":
        chosen, why, how = _among(places, reading.pins), "not pinned", ""
    elif label is None and reading.blind:
        chosen, why, how = _among(places, own_places(reading)), "not labelled by you", " as they are"
    elif label is None:
        chosen, why, how = _among(places, reading.labeling), "without a label", " as they are"
    left = len(places) - len(chosen)
    named = "1 example" if len(chosen) == 1 else f"{len(chosen):,} examples"
    left_out = f"{left:,} {why} {'is' if left == 1 else 'are'} left out." if left else ""
    if len(chosen) > MOST:
        left_out = f"Too many examples for one act: filter the queue down to {MOST:,}."
    return Bulk(verb, chosen, label, f"{verb.capitalize()} {named}{how}", left_out)


def _among(places: Sequence[int], wanted: Collection[int]) -> list[int]:
    """The wanted places, in order, without iterating over the whole range."""
    if isinstance(places, range):
        return sorted(i for i in wanted if i in places)
    return [i for i in places if i in wanted]


def bulk_body(reading: Reading, act: Bulk) -> tuple[list[str], list[Label]]:
    """Return the ids and current labels of a bulk act."""
    ids = reading.run.codec.ids
    if act.verb == "unpin":
        return [ids[i] for i in act.places], []
    given = {i: act.label or reading.labeling[i] for i in act.places}
    return [ids[i] for i in given], list(given.values())


LONGEST = 60  # characters of a source's name


def own_labels(reading: Reading) -> dict[str, Label]:
    """Return, by example id, the labels that a person decided: pinned ones, and given ones not changed since."""
    ids, labeling = reading.run.codec.ids, reading.labeling
    return {ids[i]: labeling[i] for i in sorted(own_places(reading)) if i in labeling}


def own_places(reading: Reading) -> frozenset[int]:
    """Return the places of the examples whose label a person decided; see `own_labels`.

    Acts that were undone do not count. A label that a person gave counts even if the model had it already.
    """
    given = _given(reading)
    if not given:
        return reading.pins
    last = {change.example: change for change in reading.history if change.example in given}
    kept = {i for i in given if i not in last or last[i].cause == "person" or last[i].event <= given[i][1]}
    return reading.pins | {i for i in kept if reading.labeling.get(i) == given[i][0]}


def _given(reading: Reading) -> dict[int, tuple[Label, int]]:
    """The last label that a person gave each example, and its event, ignoring acts that were undone."""
    events = {id(done): then.event for done, then in zip(reading.acts, reading.moments, strict=True)}
    return {
        i: (label, events[id(done)])
        for done in undoable(reading.acts)
        for i, label in zip(done.act.examples, done.act.labels, strict=False)
    }


def sources(store: Store, reading: Reading) -> tuple[str, ...]:
    """Return the names of the sets of human labels that the data set of a run has."""
    return tuple(load_human(store, reading.run.dataset.name))


def save_labels(store: Store, reading: Reading, source: str, replace: bool = False) -> int:
    """Store a person's labels under a source name and return their number. The run does not change.

    Raises SettingError if there are none, for an invalid name, and for a name that is taken unless `replace`.
    """
    labels, name = own_labels(reading), source.strip()
    if not labels:
        raise SettingError("you have not labelled anything in this run yet: pin or override a label first")
    if not name or len(name) > LONGEST or not name.isprintable():
        raise SettingError(f"source {name!r} cannot be a name: use 1 to {LONGEST} printable characters")
    with store.transaction():
        if name in sources(store, reading) and not replace:
            raise SettingError(f"source {name!r} has labels already: use another name, or replace them")
        add_human(store, reading.run.dataset.name, name, labels)
    return len(labels)


# -- queues of examples

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
GIVEN_AWAY = {  # what the order of a queue tells a person who annotates blind
    "margin": "This order gives something away: the earlier an example, the less sure the model is of its label.",
    "flipped": "This order gives something away: the earlier an example, the more often its label changed.",
    "conflict": "This queue gives something away: each label in it contradicts that of another example here, often the "
    "next one.",
}
SUPERVISION = (
    "This queue uses gold: labels you give here are supervision, and accuracy then no longer measures what the "
    "search finds by itself. Acts on the whole queue are not available."
)


def offered_queues(reading: Reading) -> list[str]:
    """Return the available queues; the queue based on gold only where gold is shown."""
    return [name for name in QUEUES if name != FROM_GOLD or gold_shown(reading)]


def queue(store: Store, reading: Reading, name: str, text: str = "") -> Sequence[int]:
    """Return the places of a queue's examples; with `text`, only those that contain it in a field, the id or a note."""
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


# -- the position in a queue


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
