"""Which label a cell spells: a label's own name in any case, and for True and False the usual ways to say them."""

import re
from collections.abc import Iterable, Mapping, Sequence

from icm_engine.core.labeling import Label

_WORDS = {
    "true": True, "t": True, "yes": True, "y": True, "right": True, "correct": True,
    "false": False, "f": False, "no": False, "n": False, "wrong": False, "incorrect": False,
}  # fmt: skip
_NUMBERS = {"1": True, "0": False}
_TIES = frozenset(
    ("tie", "ties", "tied", "tie (bothbad)", "bothbad", "both bad", "both_bad", "both", "both good", "both_good",
     "neither", "equal", "same", "draw", "no preference", "tie_bothbad")
)  # fmt: skip
_SIDE = re.compile(
    r"(?:(?:model|response|answer|assistant|output|completion|candidate|option|system|choice|text|post|poem|summary|"
    r"conversation|human_ref|reply)[ _-]?)?(?P<side>[ab]|[012])"
)
_WHOLE = re.compile(r"([0-9]+)\.0+")
_UPPER_LETTER = re.compile(r"[(\[]?[A-Z][)\].:]?")
_LETTER = re.compile(r"[(\[]?[A-Za-z][)\].:]?")


def folded(cell: str) -> str:
    """Return a cell as spellings are compared: without case, outer and doubled blanks; 1.0 is 1."""
    text = " ".join(cell.split()).casefold()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def is_tie(cell: str) -> bool:
    """Say whether a cell says that neither response is better."""
    return folded(cell) in _TIES


def is_truth_word(cell: str) -> bool:
    """Say whether a cell is a word for true or false; 1 and 0 are none, since they may be numbers."""
    return folded(cell) in _WORDS and len(folded(cell)) > 1


def only_spellings(cells: Iterable[str], labels: Sequence[Label]) -> bool:
    """Say whether cells that are not empty are there, and all spell labels, whatever these stand for."""
    names = {folded(label) for label in labels} | set(_WORDS) | set(_NUMBERS) | _TIES
    found = {folded(cell) for cell in cells} - {""}
    return bool(found) and found <= names


def only_letters(cells: Iterable[str], lower: bool) -> bool:
    """Say whether cells that are not empty are there, and all are single letters; small ones only if `lower`."""
    found = {cell.strip() for cell in cells} - {""}
    pattern = _LETTER if lower else _UPPER_LETTER
    return bool(found) and all(pattern.fullmatch(cell) for cell in found)


class LabelReader:
    """Reads the gold or human cells of one column.

    `means_true` is the label that stands for True where the task says so; None where labels are categories, of which
    nobody may guess one from "yes" or from 1. `spellings` are further ones, by their folded form, or the only ones
    (`alone`).
    """

    def __init__(
        self, labels: Sequence[Label], means_true: Label | None, spellings: Mapping[str, bool | None] | None = None,
        alone: bool = False,
    ) -> None:  # fmt: skip
        self.labels, self.alone = tuple(labels), alone
        self.true = means_true if means_true is not None and len(self.labels) == 2 else None
        self._spelled: Mapping[str, Label] = {}
        self._named = {} if alone else {folded(label): label for label in self.labels}
        if self.true is not None:
            spelled = ({} if alone else _WORDS | _NUMBERS) | dict(spellings or {})
            self._spelled = {cell: self.of(true) for cell, true in spelled.items() if true is not None}

    def read(self, cell: str) -> Label | None:
        """Return the label that a cell spells, None if it spells none."""
        if cell in self.labels and self._named:
            return cell
        text = folded(cell)
        return self._named.get(text) or self._spelled.get(text)

    def of(self, true: bool) -> Label:
        """Return the label that stands for True, or the other one."""
        first = self.labels[0] if self.true is None else self.true
        return first if true else self.other(first)

    def other(self, label: Label) -> Label:
        """Return the label of the swapped pair."""
        first, second = self.labels
        return second if label == first else first

    @property
    def known(self) -> str:
        """What a cell may have, for people."""
        return ", ".join(self.labels) + (", 1, 0, yes, no" if self._spelled and self._named else "")


def pair_spellings(seen: Iterable[str], counts: bool, base: int | None) -> dict[str, bool | None]:
    """Return how a column spells "the first response" (True) and "the second" (False); None: not a spelling here.

    `counts`: a bare number is the number of a response; `base`: what the first response is numbered, None if only the
    cells can tell.
    """
    cells = {folded(cell) for cell in seen}
    spelled: dict[str, bool | None] = {"a": True, "b": False, "first": True, "second": False, "left": True}
    if "left" in cells:
        spelled["right"] = False
    numbers = {match["side"] for cell in cells if (match := _SIDE.fullmatch(cell))} & set("012")
    if numbers >= {"0", "2"}:  # 0 may be the first response, or a tie
        return spelled | dict.fromkeys("012", None)
    base = 1 if "2" in numbers else base if base is not None else 0 if "0" in numbers else None
    for cell in cells:
        side = match["side"] if (match := _SIDE.fullmatch(cell)) else None
        if side in ("a", "b"):
            spelled[cell] = side == "a"
        elif side is not None and base is not None and (counts or not cell.isdecimal() or "2" in numbers):
            spelled[cell] = int(side) == base
    return spelled


def chosen_spellings(seen: Iterable[str], first: str) -> dict[str, bool | None]:
    """Return the spellings of a column in which `first` says "the first response", and one other cell the second."""
    others = {folded(cell) for cell in seen if not is_tie(cell)} - {"", folded(first)}
    return {folded(first): True, **(dict.fromkeys(others, False) if len(others) == 1 else {})}


def undecided(seen: Iterable[str]) -> bool:
    """Say whether the cells are nothing but 1: the first response of 1 and 2, or the second of 0 and 1."""
    return {folded(cell) for cell in seen if not is_tie(cell)} - {""} == {"1"}
