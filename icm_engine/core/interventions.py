"""A person's interventions in the search: overrides, pins, unpins, notes, and undo and redo of each.

An act is resolved into changes (each example's state before and after), and only these are recorded: replay needs no
history, and any act can be undone later. Pure functions on immutable data.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Flip, Label, Labeling

Verb = Literal["pin", "override", "unpin", "note", "undo", "redo", "blind", "unblind"]
TOUCHING = ("pin", "override", "unpin", "note")  # the verbs that can be undone


@dataclass(frozen=True, slots=True)
class Hand:
    """A person's interventions so far: pinned examples, which the search may not change, and notes."""

    pins: frozenset[int] = frozenset()
    notes: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExampleState:
    """The state of one example: label (None: unlabelled), pin, note."""

    label: Label | None
    pinned: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class ExampleChange:
    """The change an act made to one example."""

    example: int
    before: ExampleState
    after: ExampleState


@dataclass(frozen=True, slots=True)
class Act:
    """A person's act: `labels` belong to `examples` one by one (pin and override), `text` is a note's."""

    verb: Verb
    examples: tuple[int, ...] = ()
    labels: tuple[Label, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class AppliedIntervention:
    """An act with all its changes, as recorded."""

    act: Act
    changes: tuple[ExampleChange, ...] = ()


def state_of(labeling: Labeling, hand: Hand, i: int) -> ExampleState:
    """Return an example's current state."""
    return ExampleState(labeling.get(i), i in hand.pins, hand.notes.get(i, ""))


def resolve(labeling: Labeling, hand: Hand, act: Act, history: Sequence[AppliedIntervention]) -> AppliedIntervention:
    """Return the act with its changes; `history` holds the acts before it, oldest first.

    Undo restores what the last act changed, except labels that the search has changed since. Raises SettingError if
    there is nothing to undo, to redo, or to pin.
    """
    if act.verb == "undo":
        return AppliedIntervention(act, _turned(labeling, hand, _last(undoable(history), "undo"), back=True))
    if act.verb == "redo":
        return AppliedIntervention(act, _turned(labeling, hand, _last(redoable(history), "redo"), back=False))
    labels: Iterable[Label | None] = act.labels or (None,) * len(act.examples)
    pairs = zip(act.examples, labels, strict=True)
    marks = [(i, now := state_of(labeling, hand, i), _touched(now, act, label)) for i, label in pairs]
    return AppliedIntervention(
        act, tuple(ExampleChange(i, before, after) for i, before, after in marks if before != after)
    )


def _touched(now: ExampleState, act: Act, label: Label | None) -> ExampleState:
    if act.verb == "pin":
        return ExampleState(label, True, now.note)
    if act.verb == "override":
        return ExampleState(label, now.pinned, now.note)
    if act.verb == "unpin":
        return ExampleState(now.label, False, now.note)
    return ExampleState(now.label, now.pinned, act.text)


def _turned(labeling: Labeling, hand: Hand, done: AppliedIntervention, back: bool) -> tuple[ExampleChange, ...]:
    """The changes that undo or redo an act; a label changed since stays."""
    found = []
    for change in done.changes:
        now = state_of(labeling, hand, change.example)
        source, target = (change.after, change.before) if back else (change.before, change.after)
        label = target.label if now.label == source.label else now.label
        goal = ExampleState(label, target.pinned and label is not None, target.note)
        if goal != now:
            found.append(ExampleChange(change.example, now, goal))
    return tuple(found)


def _last(stack: Sequence[AppliedIntervention], verb: str) -> AppliedIntervention:
    if not stack:
        raise SettingError(f"there is nothing to {verb}: no earlier change was made by hand")
    return stack[-1]


def undoable(history: Iterable[AppliedIntervention]) -> list[AppliedIntervention]:
    """Return the acts that can be undone, the next one last."""
    return _stacks(history)[0]


def redoable(history: Iterable[AppliedIntervention]) -> list[AppliedIntervention]:
    """Return the acts that can be redone, the next one last; a new act clears them."""
    return _stacks(history)[1]


def _stacks(history: Iterable[AppliedIntervention]) -> tuple[list[AppliedIntervention], list[AppliedIntervention]]:
    done, undone = list[AppliedIntervention](), list[AppliedIntervention]()
    for entry in history:
        if entry.act.verb == "undo" and done:
            undone.append(done.pop())
        elif entry.act.verb == "redo" and undone:
            done.append(undone.pop())
        elif entry.act.verb in TOUCHING:
            done.append(entry)
            undone.clear()
    return done, undone


def apply_changes(labeling: Labeling, hand: Hand, changes: Iterable[ExampleChange]) -> tuple[Labeling, Hand]:
    """Return the labels and interventions after these changes."""
    pins, notes = set(hand.pins), dict(hand.notes)
    for change in changes:
        i, after = change.example, change.after
        if after.label is None:
            labeling = labeling.without(i)
        elif labeling.get(i) != after.label:
            labeling = labeling.assign(i, after.label)
        (pins.add if after.pinned else pins.discard)(i)
        notes.pop(i, None)
        if after.note:
            notes[i] = after.note
    return labeling, Hand(frozenset(pins), notes)


def flips_of(before: Labeling, after: Labeling, examples: Iterable[int]) -> tuple[Flip, ...]:
    """Return the label changes of an act, each example once."""
    touched = dict.fromkeys(examples)
    return tuple(Flip(i, before.get(i), after.get(i), "person") for i in touched if before.get(i) != after.get(i))
