"""Files with several answers in a row, right and wrong ones; each answer becomes a claim with gold.

Question, Best Answer, Correct Answers, Incorrect Answers     lists, or texts with semicolons between the answers
question, correct_answer, incorrect_answer_1, ...             one answer a column
question, mc1_targets, mc2_targets                            {"choices": [...], "labels": [1, 0, ...]}

question, choices, answer         a list, and the index, letter or text of the right choice
question, choices, answerKey      {"text": [...], "label": ["A", ...]} and a label
question, A, B, C, D, answer      a choice a column
"""

import ast
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icm_engine.data.readers.source import NoText, Record, refuse
from icm_engine.data.spellings import folded, known_names, plain
from icm_engine.data.tasks.spec import TaskSpec

LONGEST = 1_000_000  # characters up to which a cell is parsed as a Python literal
_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant|System): ?")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is user, assistant, human, or another word of the file."""

    role: str
    text: str


def nested(cell: str) -> Any:
    """Return the list or object in a cell; None if it holds neither."""
    text = cell.strip()
    if text[:1] not in ("[", "{") or text[-1:] not in ("]", "}"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _as_python_writes(text) if len(text) <= LONGEST else None


def _as_python_writes(text: str) -> Any:
    """A list or object as Python prints it; numpy leaves out the commas between texts."""
    inner = text[1:-1]
    if text[0] == "[" and (found := _STRING.findall(inner)) and not re.sub(r"[\s,]", "", _STRING.sub("", inner)):
        text = f"[{', '.join(found)}]"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def texts_in(cell: str) -> list[str] | None:
    """Return the texts of a list in a cell; None if it is not a list of texts, numbers or truth values."""
    found = nested(cell)
    if not isinstance(found, list) or any(isinstance(item, list | dict) for item in found):
        return None
    return ["" if item is None else str(item) for item in found]


def messages_in(cell: str) -> list[Message] | None:
    """Return the conversation in a cell; None if it holds none."""
    found = nested(cell)
    if isinstance(found, dict):
        found = [found]
    if isinstance(found, list) and found:
        made = [_message(item) for item in found]
        return None if None in made else [message for message in made if message is not None]
    return _transcript(cell)


def _message(item: Any) -> Message | None:
    """An object with a role and a text, under either of the usual names."""
    if not isinstance(item, dict):
        return None
    role, text = item.get("role", item.get("from")), item.get("content", item.get("value"))
    if isinstance(text, list):  # the parts of a message with several kinds of content
        parts = [part.get("text") for part in text if isinstance(part, dict)]
        text = "".join(map(str, parts)) if len(parts) == len(text) and None not in parts else None
    if not isinstance(role, str) or not isinstance(text, str):
        return None
    return Message(role.casefold(), text)


def _transcript(cell: str) -> list[Message] | None:
    """The turns of a text like "Human: ...", blank line, "Assistant: ..."; text before the first turn is none."""
    if not re.match(r"\s*(?:Human|System): ?", cell) or "\n\nAssistant:" not in cell:
        return None
    pieces = _TURN.split(cell)[1:]
    turns = zip(pieces[0::2], pieces[1::2], strict=True)
    return [Message(role.casefold(), text.strip()) for role, text in turns]


def shown(messages: Sequence[Message]) -> str:
    """Return a conversation as one text: a single message alone, several with their roles."""
    if len(messages) == 1:
        return messages[0].text
    return "\n\n".join(f"{message.role.capitalize()}: {message.text}" for message in messages)


def reply(messages: Sequence[Message]) -> str:
    """Return a conversation that continues after a query as one text; its first turn loses the role."""
    rest = "".join(f"\n\n{message.role.capitalize()}: {message.text}" for message in messages[1:])
    return messages[0].text + rest if messages[0].role == "assistant" or not rest else shown(messages)


_KIND = r"(?:answer|claim|choice|option|solution|response|completion|statement)"
_RIGHT_ANSWER = re.compile(
    rf"(?:(?:best_|all_)?(?:correct|right|true|valid|accepted)|best)_{_KIND}(?P<many>s?)_?[0-9]*"
)
_WRONG = re.compile(
    rf"(?:best_|all_)?(?:incorrect|wrong|false|invalid)_{_KIND}(?P<many>s?)_?[0-9]*|distractor(?P<more>s?)_?[0-9]*"
)
_TARGETS = re.compile(r"mc[0-9]*_targets")
_ENTITY = re.compile(r"&(?:[a-z]{2,6}|#[0-9]{1,5});")
_KEPT = "\0"  # after a semicolon that separates nothing
_IDENTITY = "id"
CLAIM, GOLD = "claim", "gold"
Answer = tuple[str, bool]


@dataclass
class Answers(ABC):
    """Turns one row into one row per answer; see `Shape`.

    `used` are the columns with answers, which the new rows drop; `identity` is the id column.
    """

    used: tuple[str, ...]
    identity: str | None
    without: int = 0  # rows that have no answer
    both: int = 0  # answers listed as both right and wrong

    @abstractmethod
    def answers(self, record: Record, name: str) -> Iterator[Answer]:
        """Yield all answers of a row and whether each is right. Raises ImportRefused."""

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
    """Lists of right and wrong answers, or choices with labels."""

    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def read_from(self) -> str:
        if self.right:
            return f"Right answers were read from {named(self.right)}, wrong ones from {named(self.wrong)}"
        return f"Choices were read from {named(self.targets)}, with 1 for a right one"

    def answers(self, record: Record, name: str) -> Iterator[Answer]:
        """All answers in column order, without blank ones."""
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
            refuse(name, record.where, column, "a nested value that is not a list of texts", 'write ["...", "..."]')
        return split_answers(cell) if _is_list(column) else [cell]


def wide_answers(
    spec: TaskSpec, columns: Sequence[str], first: Sequence[Record], mapped: Mapping[str, Sequence[str]]
) -> WideAnswers | None:
    """Return the shape of a file with all answers of a question in one row; None without such columns."""
    if not {"question", CLAIM} <= set(spec.fields) or len(spec.labels) != 2:
        return None
    right = tuple(c for c in columns if _RIGHT_ANSWER.fullmatch(plain(c)))
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
    """Return the column that ids come from; each answer of a row needs an id of its own."""
    found = (*mapped.get(_IDENTITY, ()), *(c for c in columns if plain(c) == _IDENTITY))
    return next((c for c in found if c in columns), None)


def split_answers(cell: str) -> list[str]:
    """Return the answers in a cell, separated by semicolons or line ends.

    >>> split_answers("No; Not at all, it is AT&T;")
    ['No', 'Not at all, it is AT&T']
    """
    text = _ENTITY.sub(r"\g<0>" + _KEPT, cell.strip()).rstrip(";")
    pieces = re.split(r";\s+", text) if re.search(r";\s", text) else re.split(rf";(?!{_KEPT})|\n+", text)
    return [piece.replace(_KEPT, "") for piece in pieces]


def _is_list(column: str) -> bool:
    match = _RIGHT_ANSWER.fullmatch(plain(column)) or _WRONG.fullmatch(plain(column))
    return match is not None and any(match.groupdict().values())


def _has_choices(column: str, first: Sequence[Record]) -> bool:
    return any(_choices(nested(record.cells.get(column, ""))) for record in first[:50])


def _choices(found: Any) -> list[Answer] | None:
    """The choices of an object with as many labels, each 1 or 0."""
    if not isinstance(found, dict):
        return None
    choices, labels = found.get("choices"), found.get("labels")
    if not isinstance(choices, list) or not isinstance(labels, list) or len(choices) != len(labels):
        return None
    if any(label not in (0, 1) for label in labels):
        return None
    return [(str(text).strip(), bool(label)) for text, label in zip(choices, labels, strict=True) if str(text).strip()]


def _same(text: str) -> str:
    """The form in which two spellings of one answer are equal."""
    return " ".join(text.split()).casefold().rstrip(".")


def named(columns: Sequence[str]) -> str:
    return f"column{'s' * (len(columns) > 1)} {' and '.join(map(repr, columns))}"


_LISTS = ("choices", "options", "candidates", "alternatives", "endings", "answer_choices", "answer_options")
_RIGHT_CHOICE = (
    "answer", "answer_key", "answerkey", "answer_idx", "answer_index", "correct_answer", "correct_option", "correct",
    "correct_choice", "correct_index", "gold", "gold_index", "label", "target", "solution",
)  # fmt: skip
_ONE = re.compile(r"(?:(?:option|choice|answer|opt)_?)?(?P<mark>[a-j])|(?:option|choice|answer|opt)_?(?P<number>[0-9])")
Choices = list[tuple[str, str]]  # mark and text


@dataclass
class ChoiceQuestions(Answers):
    """Choices of which one is right; `base` is the number of the first choice."""

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
    """Return the shape of a multiple-choice file; None if it is none or its answers cannot be read."""
    used = {column for found in mapped.values() for column in found}
    if not {"question", CLAIM} <= set(spec.fields) or len(spec.labels) != 2 or mapped.get(CLAIM) == [""]:
        return None
    texts = _texts(columns, first)
    right = next((c for name in _RIGHT_CHOICE for c in columns if plain(c) == name and c not in texts), None)
    if not texts or right is None or {*texts, right} & used:
        return None
    others = [c for c in columns if plain(c) in known_names(spec)[CLAIM] and c not in (*texts, right)]
    rows = [(choices_of(row, texts), row.cells.get(right, "")) for row in first]
    base = _base(rows)
    if others or base is None or any(place_of(cell, choices, base) is None for choices, cell in rows):
        return None
    return ChoiceQuestions((*texts, right), identity_of(columns, mapped), texts=texts, right=right, base=base)


def choices_of(row: Record, texts: Sequence[str]) -> Choices:
    """Return the choices of a row; empty if its cells hold none."""
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
    """Return the index of the right choice, given as a mark, a number or a text; None if it is none of these."""
    said = folded(cell).strip("().:[] ")
    marks, texts = [mark for mark, _ in choices], [folded(text) for _, text in choices]
    if said in marks:
        return marks.index(said)
    if folded(cell) in texts:
        return texts.index(folded(cell))
    number = int(said) - base if said.isascii() and said.isdecimal() and len(said) < 3 else -1
    return number if 0 <= number < len(choices) else None


def _texts(columns: Sequence[str], first: Sequence[Record]) -> tuple[str, ...]:
    """The column with lists of choices, or the columns with one choice each."""
    for column in columns:
        if plain(column) in _LISTS and all(len(choices_of(row, [column])) > 1 for row in first):
            return (column,)
    single = tuple(c for c in columns if _ONE.fullmatch(plain(c)))
    marks = [_mark(column) for column in single]
    begins = any(set(two) <= set(marks) for two in ("ab", "01", "12"))
    return single if begins and len(set(marks)) == len(marks) else ()


def _mark(column: str) -> str:
    """The letter or number of a column of choices."""
    match = _ONE.fullmatch(plain(column))
    return "" if match is None else match["mark"] or match["number"]


def _base(rows: Sequence[tuple[Choices, str]]) -> int | None:
    """The number of the first choice; None if the numbers leave it open, 0 if there are none."""
    bare = [(choices, folded(cell)) for choices, cell in rows if folded(cell) not in dict(choices)]
    numbers = [(cell, len(choices)) for choices, cell in bare if cell.isdecimal()]
    if not numbers or any(cell == "0" for cell, _ in numbers):
        return 0
    return 1 if any(cell == str(count) for cell, count in numbers) else None
