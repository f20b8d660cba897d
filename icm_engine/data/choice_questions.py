"""Multiple-choice questions: the choices and the right one in one row; each choice becomes a claim with gold.

question, choices, answer         a list, and the place, the letter or the text of the right choice
question, choices, answerKey      {"text": [...], "label": ["A", ...]} and a label
question, A, B, C, D, answer      a choice a column
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from icm_engine.data.column_names import known_names, plain
from icm_engine.data.labels import folded
from icm_engine.data.nested_cells import nested
from icm_engine.data.readers.source import Record, refuse
from icm_engine.data.tasks.spec import TaskSpec
from icm_engine.data.wide_answers import CLAIM, Answer, Answers, identity_of, named

_LISTS = ("choices", "options", "candidates", "alternatives", "endings", "answer_choices", "answer_options")
_RIGHT = (
    "answer", "answer_key", "answerkey", "answer_idx", "answer_index", "correct_answer", "correct_option", "correct",
    "correct_choice", "correct_index", "gold", "gold_index", "label", "target", "solution",
)  # fmt: skip
_ONE = re.compile(r"(?:(?:option|choice|answer|opt)_?)?(?P<mark>[a-j])|(?:option|choice|answer|opt)_?(?P<number>[0-9])")
Choices = list[tuple[str, str]]  # mark and text


@dataclass
class ChoiceQuestions(Answers):
    """Choices with one that is right; `base` is the number of the first choice."""

    texts: tuple[str, ...] = ()
    right: str = ""
    base: int = 0

    def read_from(self) -> str:
        return f"Choices were read from {named(self.texts)}, the right one from column {self.right!r}"

    def answers(self, record: Record, name: str) -> Iterator[Answer]:
        choices = choices_of(record, self.texts)
        cell = record.cells.get(self.right, "")
        right = place_of(cell, choices, self.base)
        if right is None:
            refuse(
                name, record.where, self.right, f"the value {cell[:40]!r}, which is none of the choices", "correct it"
            )
        yield from ((text.strip(), k == right) for k, (_, text) in enumerate(choices) if text.strip())


def choice_questions(
    spec: TaskSpec, columns: Sequence[str], first: Sequence[Record], mapped: Mapping[str, Sequence[str]]
) -> ChoiceQuestions | None:
    """Return the shape of a file of multiple-choice questions; None if it is none, or its answers cannot be told."""
    used = {column for found in mapped.values() for column in found}
    if not {"question", CLAIM} <= set(spec.fields) or len(spec.labels) != 2 or mapped.get(CLAIM) == [""]:
        return None
    texts = _texts(columns, first)
    right = next((c for name in _RIGHT for c in columns if plain(c) == name and c not in texts), None)
    if not texts or right is None or {*texts, right} & used:
        return None
    others = [c for c in columns if plain(c) in known_names(spec)[CLAIM] and c not in (*texts, right)]
    rows = [(choices_of(row, texts), row.cells.get(right, "")) for row in first]
    base = _base(rows)
    if others or base is None or any(place_of(cell, choices, base) is None for choices, cell in rows):
        return None
    return ChoiceQuestions((*texts, right), identity_of(columns, mapped), texts=texts, right=right, base=base)


def choices_of(row: Record, texts: Sequence[str]) -> Choices:
    """Return the choices of a row; none if its cells hold none."""
    if len(texts) > 1:
        return [(_mark(column), row.cells.get(column, "")) for column in texts]
    found = nested(row.cells.get(texts[0], ""))
    if isinstance(found, dict):
        marks, listed = found.get("label"), found.get("text")
        if isinstance(marks, list) and isinstance(listed, list):
            return [(str(mark).casefold(), str(text)) for mark, text in zip(marks, listed, strict=False)]
        return [(str(mark).casefold(), str(text)) for mark, text in found.items() if isinstance(text, str)]
    texts = [] if not isinstance(found, list) or any(isinstance(t, list | dict) for t in found) else found
    return [(chr(ord("a") + k), str(text)) for k, text in enumerate(texts)]


def place_of(cell: str, choices: Choices, base: int) -> int | None:
    """Return the place of the right choice, which a cell gives as a mark, a number or a text; None if it is none."""
    said = folded(cell).strip("().:[] ")
    marks, texts = [mark for mark, _ in choices], [folded(text) for _, text in choices]
    if said in marks:
        return marks.index(said)
    if folded(cell) in texts:
        return texts.index(folded(cell))
    number = int(said) - base if said.isascii() and said.isdecimal() and len(said) < 3 else -1
    return number if 0 <= number < len(choices) else None


def _texts(columns: Sequence[str], first: Sequence[Record]) -> tuple[str, ...]:
    """The column of lists of choices, or the columns that each have one."""
    for column in columns:
        if plain(column) in _LISTS and all(len(choices_of(row, [column])) > 1 for row in first):
            return (column,)
    single = tuple(c for c in columns if _ONE.fullmatch(plain(c)))
    marks = [_mark(column) for column in single]
    begins = any(set(two) <= set(marks) for two in ("ab", "01", "12"))
    return single if begins and len(set(marks)) == len(marks) else ()


def _mark(column: str) -> str:
    """The letter or the number of a column of choices."""
    match = _ONE.fullmatch(plain(column))
    return "" if match is None else match["mark"] or match["number"]


def _base(rows: Sequence[tuple[Choices, str]]) -> int | None:
    """What the first choice is numbered; None if the numbers do not say, 0 if there are none."""
    bare = [(choices, folded(cell)) for choices, cell in rows if folded(cell) not in dict(choices)]
    numbers = [(cell, len(choices)) for choices, cell in bare if cell.isdecimal()]
    if not numbers or any(cell == "0" for cell, _ in numbers):
        return 0
    return 1 if any(cell == str(count) for cell, count in numbers) else None
