"""Spellings: labels in cells, and roles in column names.

Names are compared loosely: `Is Correct?`, `isCorrect` and `is_correct` are one name.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from icm_engine.core.labeling import Label
from icm_engine.data.tasks.spec import TaskSpec

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
    """Return a cell folded for comparison: without case, outer and doubled blanks; 1.0 becomes 1."""
    text = " ".join(cell.split()).casefold()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def is_tie(cell: str) -> bool:
    """Say whether a cell means that neither response is better."""
    return folded(cell) in _TIES


def is_truth_word(cell: str) -> bool:
    """Say whether a cell is a word for true or false; 1 and 0 are not, since they may be numbers."""
    return folded(cell) in _WORDS and len(folded(cell)) > 1


def only_spellings(cells: Iterable[str], labels: Sequence[Label]) -> bool:
    """Say whether there are non-empty cells and all spell labels, whatever the labels mean."""
    names = {folded(label) for label in labels} | set(_WORDS) | set(_NUMBERS) | _TIES
    found = {folded(cell) for cell in cells} - {""}
    return bool(found) and found <= names


def only_letters(cells: Iterable[str], lower: bool) -> bool:
    """Say whether there are non-empty cells and all are single letters; lower-case ones only if `lower`."""
    found = {cell.strip() for cell in cells} - {""}
    pattern = _LETTER if lower else _UPPER_LETTER
    return bool(found) and all(pattern.fullmatch(cell) for cell in found)


class LabelReader:
    """Reads the gold or human cells of one column.

    `means_true` is the label that stands for True if the task has one; None if labels are categories, which must not be
    guessed from "yes" or 1. `spellings` are further spellings by folded form, or the only ones (`alone`).
    """

    def __init__(
        self,
        labels: Sequence[Label],
        means_true: Label | None,
        spellings: Mapping[str, bool | None] | None = None,
        alone: bool = False,
    ) -> None:
        self.labels, self.alone = tuple(labels), alone
        self.true = means_true if means_true is not None and len(self.labels) == 2 else None
        self._spelled: Mapping[str, Label] = {}
        self._named = {} if alone else {folded(label): label for label in self.labels}
        if self.true is not None:
            spelled = ({} if alone else _WORDS | _NUMBERS) | dict(spellings or {})
            self._spelled = {cell: self.of(true) for cell, true in spelled.items() if true is not None}

    def read(self, cell: str) -> Label | None:
        """Return the label that a cell spells; None if it spells none."""
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
        """The accepted cell values, for messages."""
        return ", ".join(self.labels) + (", 1, 0, yes, no" if self._spelled and self._named else "")


def pair_spellings(seen: Iterable[str], counts: bool, base: int | None) -> dict[str, bool | None]:
    """Return how a column spells "the first response" (True) and "the second" (False); None: not a spelling here.

    `counts`: a bare number is a response's number; `base`: the number of the first response, None if only the cells can
    tell.
    """
    cells = {folded(cell) for cell in seen}
    spelled: dict[str, bool | None] = {"a": True, "b": False, "first": True, "second": False, "left": True}
    if "left" in cells:
        spelled["right"] = False
    numbers = {match["side"] for cell in cells if (match := _SIDE.fullmatch(cell))} & set("012")
    if numbers >= {"0", "2"}:  # 0 may mean the first response, or a tie
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
    """Return the spellings of a column in which `first` means the first response, and the one other cell the second."""
    others = {folded(cell) for cell in seen if not is_tie(cell)} - {"", folded(first)}
    return {folded(first): True, **(dict.fromkeys(others, False) if len(others) == 1 else {})}


def undecided(seen: Iterable[str]) -> bool:
    """Say whether all cells are 1, which may be the first of 1 and 2 or the second of 0 and 1."""
    return {folded(cell) for cell in seen if not is_tie(cell)} - {""} == {"1"}


PREFIX = "icm_"  # prefix of columns added by our exports
MARKERS = {"icm_id", "icm_twin_of", "icm_label", "icm_run"}  # a file with all of these is one of our exports
HUMAN_PREFIX = "icm_human_"
GOLD = ("gold", "gold_label", "label", "is_correct", "is_true", "a_is_better")
# gold only if the cells are labels: "ground_truth" may also be a reference answer, "correct" a count
LIKELY_GOLD = (
    "true_label", "truth_label", "correct", "correct_label", "ground_truth", "ground_truth_label", "truth", "truthful",
    "is_truthful", "is_right", "is_it_correct", "is_it_true", "is_gold", "labels", "target",
    "winner", "better_response_id", "better_response", "better", "preferred_response", "preferred", "preference",
    "human_preference", "overall_preference", "chosen",
)  # fmt: skip
# here a number is the number of a response, not a truth value
COUNTS_RESPONSES = frozenset(
    ("winner", "better_response_id", "better_response", "better", "preferred_response", "preferred", "preference",
     "human_preference", "overall_preference", "chosen")
)  # fmt: skip
COMMON: dict[str, tuple[str, ...]] = {
    "group": ("group", "consistency_id", "question_id", "group_id"),
    "answer": (),  # an answer column is often a reference solution, so it is used only if mapped
    "id": ("id",),
    "gold": (*GOLD, *LIKELY_GOLD),
    "human": ("human", "crowd"),
}
ANSWER_NAMES = ("answer", "final_answer")

_LABEL_WORDS = frozenset(
    ("gold", "label", "labels", "labelled", "labeled", "pred", "preds", "prediction", "predictions", "predicted",
     "correct", "incorrect", "correctness", "score", "scores", "rating", "ratings", "grade", "truth", "truthful",
     "target", "targets", "winner", "winners", "loser", "preferred", "preference", "chosen", "rejected", "verdict",
     "judgment", "judgement", "vote", "votes", "annotation", "annotations", "reward", "logprob", "logprobs",
     "confidence", "probability", "prob", "reference", "better", "safer")
)  # fmt: skip
_SIDES = (("a", "b"), ("0", "1"), ("1", "2"), ("left", "right"), ("first", "second"), ("chosen", "rejected"))
_STEMS = (
    "response", "answer", "completion", "output", "reply", "candidate", "generation", "continuation", "assistant",
    "conversation", "human_ref", "text", "option", "summary",
)  # fmt: skip
_CHOICES = frozenset(("chosen", "rejected", "winner", "loser", "better", "preferred", "safer"))
_NUMBERED_STEMS = frozenset((*_STEMS, "model", "score", "rating", "reward"))


def plain(column: str) -> str:
    """Return a column name folded: without case, brackets, punctuation, and variants of spaces.

    >>> plain(" Is Correct? "), plain("isCorrect"), plain("Question (English)"), plain("[Claim]")
    ('is_correct', 'is_correct', 'question', 'claim')
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column.strip())
    outside = re.sub(r"[(\[{<][^()\[\]{}<>]*[)\]}>]", " ", spaced)
    for text in (outside, spaced):
        if found := re.sub(r"[\s\-._:?!#()\[\]{}<>*\"'/\\]+", "_", text).strip("_").casefold():
            return found
    return column.strip().casefold()


def known_names(spec: TaskSpec) -> dict[str, tuple[str, ...]]:
    """Return the column names that identify each field of a task: its own first, then further ones."""
    fields = {field: (field,) for field in spec.fields} | COMMON
    return {field: (*names, *map(plain, spec.columns.get(field, ()))) for field, names in fields.items()}


def is_our_export(columns: Iterable[str]) -> bool:
    """Say whether these are the columns of a file that `export` wrote."""
    return set(columns) >= MARKERS


def looks_like_labels(column: str) -> bool:
    """Say whether a column's name suggests labels of any kind: predictions, scores, reference answers."""
    name = plain(column)
    words = {word.rstrip("0123456789") for word in name.split("_")}
    return bool(words & _LABEL_WORDS) or name in (*ANSWER_NAMES, *COMMON["gold"], *COMMON["human"])


def side_pairs(columns: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of columns whose names differ only in the side of a pair they name, first side first.

    >>> side_pairs(["model_a", "score_0", "model_b", "score_1", "step_0", "step_1", "step_2"])
    (('model_a', 'model_b'), ('score_0', 'score_1'))
    """
    named = {_words(column): column for column in reversed(columns)}
    found: dict[str, str] = {}
    for words, column in reversed(named.items()):
        for other in _counterparts(words, named):
            if column not in found and other not in {*found, *found.values()}:
                found[column] = other
    return tuple((a, b) for a, b in found.items() if a not in found.values())


def one_sided(columns: Iterable[str]) -> tuple[str, ...]:
    """Return the columns that name one side and are not in `side_pairs`: they have no counterpart."""
    return tuple(column for column in columns if _names_a_side(_words(column)))


def response_columns(columns: Sequence[str]) -> tuple[str, str] | None:
    """Return the two columns that are evidently the responses of a pair, such as `response_0` and `response_1`."""
    pairs = side_pairs(columns)
    for stem in _STEMS:
        for a, b in pairs:
            if _words(a)[:-1] == tuple(stem.split("_")) and _words(a)[-1] != "chosen":
                return a, b
    return None


def _words(column: str) -> tuple[str, ...]:
    """The words of a name, digits separate: `response1` has two."""
    return tuple(re.sub(r"(?<=[a-z])(?=[0-9])", "_", plain(column)).split("_"))


def _counterparts(words: tuple[str, ...], named: Mapping[tuple[str, ...], str]) -> Iterator[str]:
    """The columns of the other side, for a name with the first side's word."""
    for place, word in enumerate(words):
        for first, second in _SIDES:
            others = {k: named.get((*words[:place], k, *words[place + 1 :])) for k in ("0", "2", "3", second)}
            more = (first == "0" and others["2"]) or (first == "1" and (others["0"] or others["3"]))
            if word == first and (other := others[second]) and not more:
                yield other


def _names_a_side(words: tuple[str, ...]) -> bool:
    if set(words) & _CHOICES or (len(words) > 1 and words[-1] in ("a", "b")):
        return True
    sides = ("a", "b", "0", "1", "2")
    return any(stem in _NUMBERED_STEMS and side in sides for stem, side in pairwise(words))
