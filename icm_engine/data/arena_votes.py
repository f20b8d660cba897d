"""Votes of an arena as Kaggle has them: a column a verdict, and lists of the turns of two conversations.

prompt, response_a, response_b     texts, or lists of as many turns: ["...", "..."]
winner_model_a, winner_model_b, winner_tie     1 in one of them, 0 in the others
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from icm_engine.data.column_names import plain
from icm_engine.data.nested_cells import Message, reply, texts_in
from icm_engine.data.readers.source import Record
from icm_engine.data.tasks.spec import TaskSpec

TEXTS = ("prompt", "response_a", "response_b")
WINNER = "winner"
_VERDICTS = {
    "winner_model_a": "model_a", "winner_model_b": "model_b", "winner_tie": "tie",
    "winner_a": "model_a", "winner_b": "model_b", "tie": "tie",
}  # fmt: skip


@dataclass
class ArenaVotes:
    """Turns the columns of verdicts into one column, and lists of turns into texts; see `Shape`."""

    verdicts: Mapping[str, str]  # by column
    texts: tuple[str, ...]  # the columns of prompts and of the two responses, where they are lists

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
        """Nothing is counted."""


def arena_votes(
    spec: TaskSpec, columns: Sequence[str], first: Sequence[Record], mapped: Mapping[str, Sequence[str]]
) -> ArenaVotes | None:
    """Return the shape of a file with a column a verdict; None if it has no such columns."""
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
    """The first prompt, and how each conversation goes on."""
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
