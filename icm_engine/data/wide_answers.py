"""Files with all answers to a question in one row, right and wrong ones: each answer becomes a claim with gold.

Question, Best Answer, Correct Answers, Incorrect Answers     lists, or texts with semicolons between the answers
question, correct_answer, incorrect_answer_1, ...             one answer a column
question, mc1_targets, mc2_targets                            {"choices": [...], "labels": [1, 0, ...]}
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icm_engine.data.column_names import known_names, plain
from icm_engine.data.nested_cells import nested, texts_in
from icm_engine.data.readers.source import NoText, Record, refuse
from icm_engine.data.tasks.spec import TaskSpec

_KIND = r"(?:answer|claim|choice|option|solution|response|completion|statement)"
_RIGHT = re.compile(rf"(?:(?:best_|all_)?(?:correct|right|true|valid|accepted)|best)_{_KIND}(?P<many>s?)_?[0-9]*")
_WRONG = re.compile(
    rf"(?:best_|all_)?(?:incorrect|wrong|false|invalid)_{_KIND}(?P<many>s?)_?[0-9]*|distractor(?P<more>s?)_?[0-9]*"
)
_TARGETS = re.compile(r"mc[0-9]*_targets")
_ENTITY = re.compile(r"&(?:[a-z]{2,6}|#[0-9]{1,5});")
_KEPT = "\0"  # after a semicolon that is no separator
_IDENTITY = "id"
CLAIM, GOLD = "claim", "gold"
Answer = tuple[str, bool]


@dataclass
class Answers(ABC):
    """Turns one row into a row for each of its answers; see `Shape`.

    `used` are the columns that hold answers, which the new rows do not have; `identity` is the column of ids.
    """

    used: tuple[str, ...]
    identity: str | None
    without: int = 0  # rows that have no answer
    both: int = 0  # answers that a question has as right and as wrong

    @abstractmethod
    def answers(self, record: Record, name: str) -> Iterator[Answer]:
        """Yield all answers of a row, and whether each is right. Raises ImportRefused."""

    @abstractmethod
    def read_from(self) -> str:
        """Return which columns were read as what."""

    def columns(self, columns: Sequence[str]) -> tuple[str, ...]:
        return (*(c for c in columns if c not in self.used), CLAIM, GOLD)

    def rows(self, record: Record, name: str) -> Iterator[Record]:
        kept = {column: text for column, text in record.cells.items() if column not in self.used}
        answers: dict[tuple[str, bool], str] = {}
        for text, right in self.answers(record, name):
            answers.setdefault((_same(text), right), text)
        self.without += not answers
        self.both += len(answers) - len({same for same, _ in answers})
        for count, ((_, right), text) in enumerate(answers.items(), 1):
            own = {self.identity: f"{kept[self.identity]}.{count}"} if self.identity in kept else {}
            yield Record(f"{record.where}, answer {count}", {**kept, **own, CLAIM: text, GOLD: str(right)})

    def begin(self) -> None:
        self.without = self.both = 0

    def notes(self) -> tuple[str, ...]:
        notes = [f"{self.read_from()}: each answer is a claim of its own, with gold, and is taken once."]
        if self.without:
            notes.append(f"Rows without an answer, which gave no example: {self.without:,}.")
        if self.both:
            notes.append(f"Answers that are among the right and the wrong ones of one question: {self.both:,}.")
        return tuple(notes)


@dataclass
class WideAnswers(Answers):
    """Lists of right and of wrong answers, or choices with labels."""

    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def read_from(self) -> str:
        if self.right:
            return f"Right answers were read from {named(self.right)}, wrong ones from {named(self.wrong)}"
        return f"Choices were read from {named(self.targets)}, with 1 for a right one"

    def answers(self, record: Record, name: str) -> Iterator[Answer]:
        """All answers in the order of the columns, blank ones left out."""
        for columns, right in ((self.right, True), (self.wrong, False)):
            for column in columns:
                texts = self._texts(record, column, name)
                yield from ((text.strip(), right) for text in texts if text.strip())
        for column in self.targets:
            found = _choices(nested(record.cells.get(column, "")))
            if found is None and record.cells.get(column, "").strip():
                remedy = 'write {"choices": [...], "labels": [1, 0, ...]}'
                refuse(name, record.where, column, "no choices with labels", remedy)
            yield from found or ()

    def _texts(self, record: Record, column: str, name: str) -> list[str]:
        cell = record.cells.get(column, "")
        found = texts_in(cell)
        if found is not None:
            return found
        if isinstance(cell, NoText):
            refuse(name, record.where, column, "a nested value that is no list of texts", 'write ["...", "..."]')
        return split_answers(cell) if _is_list(column) else [cell]


def wide_answers(
    spec: TaskSpec, columns: Sequence[str], first: Sequence[Record], mapped: Mapping[str, Sequence[str]]
) -> WideAnswers | None:
    """Return the shape of a file with the answers of a question in one row; None if it has no such columns."""
    if not {"question", CLAIM} <= set(spec.fields) or len(spec.labels) != 2:
        return None
    right = tuple(c for c in columns if _RIGHT.fullmatch(plain(c)))
    wrong = tuple(c for c in columns if _WRONG.fullmatch(plain(c)))
    targets = tuple(c for c in columns if _TARGETS.fullmatch(plain(c)) and _has_choices(c, first))
    if not (right and wrong):
        right = wrong = ()
    used = {*right, *wrong, *targets}
    claims = [c for c in columns if plain(c) in known_names(spec)[CLAIM] and c not in used]
    if not used or claims or used & {c for found in mapped.values() for c in found} or mapped.get(CLAIM) == [""]:
        return None
    shape = WideAnswers((*right, *wrong, *targets), identity_of(columns, mapped))
    shape.right, shape.wrong, shape.targets = right, wrong, () if right else targets
    return shape


def identity_of(columns: Sequence[str], mapped: Mapping[str, Sequence[str]]) -> str | None:
    """Return the column that ids come from, which each answer of a row has to have of its own."""
    found = (*mapped.get(_IDENTITY, ()), *(c for c in columns if plain(c) == _IDENTITY))
    return next((c for c in found if c in columns), None)


def split_answers(cell: str) -> list[str]:
    """Return the answers of a cell with semicolons between them, or line ends.

    >>> split_answers("No; Not at all, it is AT&T;")
    ['No', 'Not at all, it is AT&T']
    """
    text = _ENTITY.sub(r"\g<0>" + _KEPT, cell.strip()).rstrip(";")
    pieces = re.split(r";\s+", text) if re.search(r";\s", text) else re.split(rf";(?!{_KEPT})|\n+", text)
    return [piece.replace(_KEPT, "") for piece in pieces]


def _is_list(column: str) -> bool:
    match = _RIGHT.fullmatch(plain(column)) or _WRONG.fullmatch(plain(column))
    return match is not None and any(match.groupdict().values())


def _has_choices(column: str, first: Sequence[Record]) -> bool:
    return any(_choices(nested(record.cells.get(column, ""))) for record in first[:50])


def _choices(found: Any) -> list[Answer] | None:
    """The choices of an object with as many labels, which are 1 or 0."""
    if not isinstance(found, dict):
        return None
    choices, labels = found.get("choices"), found.get("labels")
    if not isinstance(choices, list) or not isinstance(labels, list) or len(choices) != len(labels):
        return None
    if any(label not in (0, 1) for label in labels):
        return None
    return [(str(text).strip(), bool(label)) for text, label in zip(choices, labels, strict=True) if str(text).strip()]


def _same(text: str) -> str:
    """What two answers that are one have in common."""
    return " ".join(text.split()).casefold().rstrip(".")


def named(columns: Sequence[str]) -> str:
    return f"column{'s' * (len(columns) > 1)} {' and '.join(map(repr, columns))}"
