"""Files whose rows are not yet rows of a task: chosen and rejected texts, votes, answers side by side.

prompt, response_a, response_b     texts, or lists of as many turns: ["...", "..."]
winner_model_a, winner_model_b, winner_tie     1 in one of them, 0 in the others

    prompt, chosen, rejected                    texts, as `export --format preference` writes them
    chosen, rejected                            conversations that begin alike: lists of messages, or transcripts
    conversation_a, conversation_b, winner      the same with a column that says which is better

Hashes of the texts decide which becomes response A, so that gold leaves no trace in the examples. A shape is recognised
by the column names and the cells of the first rows; a note says how columns were used.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from icm_engine.data.answer_rows import Message, choice_questions, messages_in, reply, shown, texts_in, wide_answers
from icm_engine.data.readers.source import NoText, Record, RowSource, refuse
from icm_engine.data.spellings import is_our_export, known_names, plain, response_columns, side_pairs
from icm_engine.data.tasks.spec import TaskSpec

TEXTS = ("prompt", "response_a", "response_b")
WINNER = "winner"
_VERDICTS = {
    "winner_model_a": "model_a", "winner_model_b": "model_b", "winner_tie": "tie",
    "winner_a": "model_a", "winner_b": "model_b", "tie": "tie",
}  # fmt: skip


@dataclass
class ArenaVotes:
    """Merges verdict columns into one, and lists of turns into texts; see `Shape`."""

    verdicts: Mapping[str, str]  # by column
    texts: tuple[str, ...]  # the columns of prompts and of the two responses, if they are lists

    def columns(self, columns: Sequence[str]) -> tuple[str, ...]:
        return (*(c for c in columns if c not in self.verdicts), WINNER)

    def rows(self, record: Record, name: str) -> Iterator[Record]:
        cells = {column: text for column, text in record.cells.items() if column not in self.verdicts}
        found = [meant for column, meant in self.verdicts.items() if _is_one(record.cells.get(column, ""))]
        cells[WINNER] = found[0] if len(found) == 1 else ""
        if self.texts and all(turns := [texts_in(cells.get(column, "")) for column in self.texts]):
            cells |= zip(self.texts, _conversations(*(found or [] for found in turns)), strict=True)
        yield Record(record.where, cells)

    def notes(self) -> tuple[str, ...]:
        return (f"Column {WINNER!r} was made of columns {', '.join(map(repr, self.verdicts))}.",)

    def begin(self) -> None:
        """Nothing to count."""


def arena_votes(
    spec: TaskSpec, columns: Sequence[str], first: Sequence[Record], mapped: Mapping[str, Sequence[str]]
) -> ArenaVotes | None:
    """Return the shape of a file with one column per verdict; None without such columns."""
    verdicts = {column: _VERDICTS[plain(column)] for column in columns if plain(column) in _VERDICTS}
    used = {column for found in mapped.values() for column in found}
    if not spec.makes_twins or not {"model_a", "model_b"} <= set(verdicts.values()) or used & set(verdicts):
        return None
    if WINNER in map(plain, columns):
        return None
    named = {plain(column): column for column in columns}
    texts = tuple(named[name] for name in TEXTS if name in named)
    lists = len(texts) == len(TEXTS) and all(texts_in(row.cells.get(c, "")) for row in first for c in texts)
    return ArenaVotes(verdicts, texts if lists else ())


def _conversations(asked: Sequence[str], a: Sequence[str], b: Sequence[str]) -> tuple[str, str, str]:
    """The first prompt, and how each conversation continues."""
    further = [Message("user", text) for text in asked[1:]]

    def after(said: Sequence[str]) -> str:
        turns = [Message("assistant", text) for text in said]
        both = [
            turn for k, one in enumerate(turns) for turn in ([further[k - 1]] if 0 < k <= len(further) else []) + [one]
        ]
        return reply(both)

    return asked[0], after(a), after(b)


def _is_one(cell: str) -> bool:
    return cell.strip().casefold() in ("1", "1.0", "true")


SIDES = ("chosen", "rejected")
_JUDGED = (
    SIDES,
    ("preferred", "dispreferred"),
    ("preferred", "rejected"),
    ("better", "worse"),
    ("accepted", "rejected"),
)
_STEMS = ("response", "text", "answer", "completion", "output", "reply", "summary", "messages")
_TALKS = ("conversations", "conversation", "context")  # further names of a prompt
RESPONSES = ("response_a", "response_b")


@dataclass
class Pairs:
    """Turns two columns of texts or conversations into a query and two responses; see `Shape`.

    `first` and `second` are the columns; `judged`: the first is the chosen one, and gold is made from that. `prompt` is
    the prompt column, None if there is none; `query` says whether a query is made.
    """

    first: str
    second: str
    judged: bool
    prompt: str | None
    query: bool
    asked: str = "query"  # the name of the query's column in the new rows
    swapped: tuple[tuple[str, str], ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    apart: int = 0  # rows whose conversations do not begin alike

    def columns(self, columns: Sequence[str]) -> tuple[str, ...]:
        made = (self.asked,) * self.query + RESPONSES + ("gold",) * self.judged
        return (*made, *(self.renamed.get(c, c) for c in columns if c not in (self.first, self.second, self.prompt)))

    def rows(self, record: Record, name: str) -> Iterator[Record]:
        prompt = record.cells.get(self.prompt, "") if self.prompt is not None else ""
        query, first, second = self._split(prompt, record, name)
        turned = self.judged and _rank(second) < _rank(first)
        a, b = (second, first) if turned else (first, second)
        made = ({self.asked: query} if self.query else {}) | dict(zip(RESPONSES, (a, b), strict=True))
        if self.judged:
            made["gold"] = "" if first == second else str(not turned)
        yield Record(record.where, made | self._others(record, turned))

    def begin(self) -> None:
        self.apart = 0

    def notes(self) -> tuple[str, ...]:
        how = f"Columns {self.first!r} and {self.second!r} were read as the two responses of a pair"
        if self.judged:
            how += ", in an order that does not tell which is which; the first one is gold's choice"
        if self.query and self.prompt is None:
            how += "; what both begin with is the query"
        apart = f"Rows whose conversations do not begin alike, and which have no query: {self.apart:,}."
        return (f"{how}.", *([apart] if self.apart else []))

    def _split(self, prompt: str, record: Record, name: str) -> tuple[str, str, str]:
        """The query and the two responses of a row."""
        texts = [record.cells.get(column, "") for column in (self.first, self.second)]
        talks = [messages_in(text) for text in texts]
        asked = messages_in(prompt)
        query = prompt if asked is None else shown(_open(asked))
        if talks[0] is None or talks[1] is None:
            for column, text in zip((self.first, self.second), texts, strict=True):
                if isinstance(text, NoText) and messages_in(text) is None:
                    remedy = 'write a text, or a list of {"role": ..., "content": ...}'
                    refuse(name, record.where, column, "a nested value that is not a conversation", remedy)
            a, b = (text if talk is None else reply(talk) for text, talk in zip(texts, talks, strict=True))
            return (query, a, b) if asked is None else (query, a.strip(), b.strip())
        common = _common(talks[0], talks[1])
        if not common and not prompt:
            self.apart += 1
        beginning = shown(_open(talks[0][:common])) if common else ""
        return query or beginning, reply(talks[0][common:]), reply(talks[1][common:])

    def _others(self, record: Record, turned: bool) -> dict[str, str]:
        """The other cells; those of one side follow its text."""
        cells = {c: text for c, text in record.cells.items() if c not in (self.first, self.second, self.prompt)}
        if turned:
            for a, b in self.swapped:
                cells |= {a: record.cells.get(b, ""), b: record.cells.get(a, "")}
        return {self.renamed.get(column, column): text for column, text in cells.items()}


def chosen_rejected(
    spec: TaskSpec, columns: Sequence[str], first: Sequence[Record], mapped: Mapping[str, Sequence[str]]
) -> Pairs | None:
    """Return the shape of a preference file whose columns are not already query, response A and B; None otherwise."""
    if not spec.makes_twins:
        return None
    named = {plain(column): column for column in reversed(columns)}
    used = {column for found in mapped.values() for column in found}
    names = known_names(spec)
    if set(RESPONSES) & set(named) or any(name in named for field in RESPONSES for name in names[field]):
        return None
    prompts = (*names["query"], *_TALKS) if "query" in spec.fields else ()
    by_name = [named[name] for name in prompts if name in named]
    prompt = next(iter([*(c for c in mapped.get("query", ()) if c in columns), *by_name]), None)
    judged = _judged(named)
    found = judged or response_columns(columns)
    if found is None or set(found) & used or prompt in {c for f, cs in mapped.items() if f != "query" for c in cs}:
        return None
    talks = any(messages_in(record.cells.get(found[0], "")) is not None for record in first[:50])
    if not judged and not talks:
        return None  # two columns of texts: nothing to do
    query = "query" in spec.fields and (prompt is not None or talks)
    sides, renamed = _sides([c for c in columns if c not in (*found, prompt)]) if judged else ((), {})
    known = prompt in mapped.get("query", ()) or (prompt is not None and plain(prompt) in names["query"])
    asked = prompt if prompt is not None and known else "query"
    return Pairs(*found, judged is not None, prompt, query, asked, sides, renamed)


def _judged(named: Mapping[str, str]) -> tuple[str, str] | None:
    """The columns of the better and the worse text."""
    for better, worse in _JUDGED:
        both = [(better, worse)]
        for stem in _STEMS:
            both += [(f"{better}_{stem}", f"{worse}_{stem}"), (f"{stem}_{better}", f"{stem}_{worse}")]
        for a, b in both:
            if a in named and b in named:
                return named[a], named[b]
    return None


def _sides(columns: Sequence[str]) -> tuple[tuple[tuple[str, str], ...], dict[str, str]]:
    """The pairs of further columns that name a side, with their names for sides A and B."""
    pairs = tuple((a, b) for a, b in side_pairs(columns) if "chosen" in plain(a).split("_"))
    renamed: dict[str, str] = {}
    for pair in pairs:
        for column, side in zip(pair, "ab", strict=True):
            words = [word for word in plain(column).split("_") if word not in SIDES]
            name = "_".join([*words, side])
            renamed[column] = name if name not in columns and words else f"{column} ({side})"
    return pairs, renamed


def _common(first: Sequence[Message], second: Sequence[Message]) -> int:
    """The number of messages both begin with; each keeps at least one as its response."""
    count = 0
    while count < min(len(first), len(second)) - 1 and first[count] == second[count]:
        count += 1
    return count


def _open(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages without an empty last one: a transcript that ends where the response begins."""
    return messages[:-1] if len(messages) > 1 and not messages[-1].text else messages


def _rank(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


LOOKED_AT = 1000  # rows examined for a shape


class Shape(Protocol):
    """Turns one row of a file into rows of a task."""

    def columns(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Return the columns of the new rows, given those of the file."""
        ...

    def rows(self, record: Record, name: str) -> Iterator[Record]:
        """Yield the new rows. Raises ImportRefused for a cell that does not fit."""
        ...

    def notes(self) -> tuple[str, ...]:
        """Return sentences about how columns were used, with counts of the latest pass."""
        ...

    def begin(self) -> None:
        """Reset the counts."""
        ...


class ReshapedSource:
    """A source whose rows are reshaped; see `RowSource`."""

    def __init__(self, source: RowSource, shape: Shape) -> None:
        self.source, self.shape, self.name, self.kind = source, shape, source.name, source.kind
        self.total: int | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return self.shape.columns(self.source.columns)

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.source.notes, *self.shape.notes())

    def records(self) -> Iterator[Record]:
        count = 0
        self.shape.begin()
        for record in self._reshaped(self.source.records()):
            count += 1
            yield record
        self.total = count

    def head(self, rows: int) -> tuple[tuple[str, ...], list[Record]]:
        columns, records = self.source.head(rows)
        made = list(islice(self._reshaped(iter(records)), rows))
        self.shape.begin()
        return self.shape.columns(columns), made

    def _reshaped(self, records: Iterator[Record]) -> Iterator[Record]:
        for record in records:
            yield from self.shape.rows(record, self.name)


def reshaped(source: RowSource, spec: TaskSpec, mapping: Mapping[str, str | Sequence[str]]) -> RowSource:
    """Return the source, reshaped if its rows are not yet rows of a task."""
    columns, first = source.head(LOOKED_AT)
    if is_our_export(columns):
        return source
    mapped = {field: [value] if isinstance(value, str) else list(value) for field, value in mapping.items()}
    finders = (chosen_rejected, arena_votes, wide_answers, choice_questions)
    shapes = (find(spec, columns, first, mapped) for find in finders)
    shape: Shape | None = next((found for found in shapes if found is not None), None)
    return source if shape is None else ReshapedSource(source, shape)
