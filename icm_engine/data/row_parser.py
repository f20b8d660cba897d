"""From the rows of a table to examples with swapped twins, after a scan for duplicates. Gold is kept apart.

Eight bytes per row and name are kept, never the rows: hashes, whose collision among a million has chance 3e-8.
"""

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np

from icm_engine.core.errors import ImportRefused
from icm_engine.core.labeling import Example, Label, Task
from icm_engine.data.answers import AnswerReader, extract_answer, normalize_answer
from icm_engine.data.column_evidence import ColumnSample
from icm_engine.data.columns import Plan
from icm_engine.data.readers.source import NoText, Record, refuse, strange
from icm_engine.data.spellings import LabelReader, is_tie
from icm_engine.data.tasks.spec import TaskSpec

Ints = np.ndarray[Any, np.dtype[np.int64]]
NO_ROW = -1


@dataclass(frozen=True)
class DuplicateScan:
    """Result of the first pass; rows count from 0.

    `partners` has, for each row that is the swapped twin of an earlier row, that row, else -1; None for tasks without
    twins. `positions` has the position of each row's example once missing twins are made. `alike` are the folded hashes
    of groups with several spellings; `dropped` rows were left out.
    """

    rows: int
    names: Ints  # sorted hashes
    partners: Ints | None
    makes_twin: Ints | None
    positions: Ints | None
    alike: frozenset[int] = frozenset()
    dropped: int = 0

    def knows(self, name: str) -> bool:
        """Say whether a row of the file has this name."""
        place = int(np.searchsorted(self.names, hash(name)))
        return place < len(self.names) and int(self.names[place]) == hash(name)

    def repeated(self) -> frozenset[int]:
        """Return the hashes of names shared by several rows."""
        again = self.names[1:] == self.names[:-1]
        return frozenset(self.names[1:][again].tolist())


@dataclass
class DuplicateScanner:
    """Scans rows one by one for duplicates and twins."""

    pairs: bool
    _names: "array[int]" = field(default_factory=lambda: array("q"))
    _forward: "array[int]" = field(default_factory=lambda: array("q"))
    _swapped: "array[int]" = field(default_factory=lambda: array("q"))
    _groups: "array[int]" = field(default_factory=lambda: array("q"))
    _folded: "array[int]" = field(default_factory=lambda: array("q"))
    dropped: int = 0

    def see(self, name: str, query: str = "", response_a: str = "", response_b: str = "") -> None:
        """Scan a row: its name and, for pairs, its texts."""
        self._names.append(hash(name))
        if self.pairs:
            self._forward.append(hash((query, response_a, response_b)))
            self._swapped.append(hash((query, response_b, response_a)))

    def see_group(self, group: str) -> None:
        """Scan the group of a row."""
        self._groups.append(hash(group))
        self._folded.append(hash(fold(group)))

    def survey(self) -> DuplicateScan:
        """Return the result of the scan."""
        names = np.sort(_ints(self._names))
        if not self.pairs:
            alike = _written_differently(_ints(self._groups), _ints(self._folded))
            return DuplicateScan(len(names), names, None, None, None, alike, self.dropped)
        partners = matched(_ints(self._forward), _ints(self._swapped))
        made = partners == NO_ROW
        made[partners[partners != NO_ROW]] = False
        positions = np.arange(len(names)) + np.concatenate(([0], np.cumsum(made)))[: len(names)]
        return DuplicateScan(len(names), names, partners, made.astype(np.int64), positions, dropped=self.dropped)


def fold(text: str) -> str:
    """Return a text folded so that variants in case and blanks are equal."""
    return "".join(text.split()).casefold()


def _written_differently(texts: Ints, folded: Ints) -> frozenset[int]:
    """The folded hashes shared by several texts."""
    both = np.unique(np.stack((folded, texts), axis=1), axis=0) if len(texts) else np.empty((0, 2), dtype=np.int64)
    found, count = np.unique(both[:, 0], return_counts=True)
    return frozenset(found[count > 1].tolist())


def matched(forward: Ints, swapped: Ints) -> Ints:
    """Return for each row the earlier row whose pair it swaps, or -1; the k-th of each order match.

    A pair of two equal responses swaps itself: the second matches the first, the fourth the third.
    """
    rows = np.flatnonzero(np.isin(forward, swapped))
    key, side = np.minimum(forward, swapped)[rows], (forward > swapped)[rows].astype(np.int64)
    itself = (forward == swapped)[rows]
    rank = _rank_within(key, side, rows)
    side, rank = np.where(itself, rank % 2, side), np.where(itself, rank // 2, rank)
    order = np.lexsort((side, rank, key))
    key, rank, rows = key[order], rank[order], rows[order]
    together = np.flatnonzero((key[1:] == key[:-1]) & (rank[1:] == rank[:-1]))
    partners = np.full(len(forward), NO_ROW, dtype=np.int64)
    first, second = rows[together], rows[together + 1]
    partners[np.maximum(first, second)] = np.minimum(first, second)
    return partners


def _rank_within(key: Ints, side: Ints, rows: Ints) -> Ints:
    """The rank of each row among those of the same key and side, from 0."""
    order = np.lexsort((rows, side, key))
    begins = np.ones(len(rows), dtype=bool)
    begins[1:] = (key[order][1:] != key[order][:-1]) | (side[order][1:] != side[order][:-1])
    starts = np.maximum.accumulate(np.where(begins, np.arange(len(rows)), 0))
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(len(rows)) - starts
    return rank


def _ints(values: "array[int]") -> Ints:
    return np.frombuffer(values, dtype=np.int64) if values else np.empty(0, dtype=np.int64)


TIES = ("refuse", "drop", "keep")  # what happens to a row whose gold prefers neither response
_JSON = json.JSONEncoder()
TWIN_SUFFIX = "~swapped"
ID_LENGTH = 16  # hexadecimal digits of a content hash: a collision among a million rows has chance 3e-8


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """One example with its input cells and, kept apart, its gold and human labels."""

    example: Example
    inputs: Mapping[str, str]
    gold: Label | None
    human: Mapping[str, Label]
    where: str
    read: str | None = None  # the final answer in the claim, if another was taken from a column


class RowBuilder:
    """Turns the records of one file into rows of one task; the plan assigns the columns.

    Reads the records twice: `survey` finds repeated names and existing twins, `rows` builds. `ties` says what happens
    to a row whose gold is a tie: one of `TIES`.
    """

    def __init__(
        self,
        task: Task,
        spec: TaskSpec,
        plan: Plan,
        name: str,
        answer: AnswerReader | None,
        look: ColumnSample,
        ties: str = "refuse",
    ) -> None:
        self.task, self.spec, self.plan, self.name, self.answer = task, spec, plan, name, answer
        self.look, self.ties = look, ties
        self.labels = LabelReader(task.labels, None)

    def survey(self, records: Iterable[Record]) -> DuplicateScan:
        """Read the records once. Raises ImportRefused for a missing text or id."""
        surveyor = DuplicateScanner(self.spec.makes_twins)
        for record in records:
            if self.drops(record):
                surveyor.dropped += 1
                continue
            fields = self._fields(record)
            name = self._name(record, fields)
            surveyor.see(name, *(fields.get(field, "") for field in ("query", "response_a", "response_b")))
            if not self.spec.makes_twins:
                surveyor.see_group(self._group(record, fields, name))
        survey = surveyor.survey()
        if not survey.rows:
            why = f"the gold of all {survey.dropped:,} is a tie" if survey.dropped else "they have no answers"
            raise ImportRefused(f"{self.name}: no row gives an example, since {why}: nothing was imported")
        return survey

    def rows(
        self, records: Iterable[Record], survey: DuplicateScan, id_of: Callable[[int], str]
    ) -> Iterator[ParsedRow]:
        """Yield all rows in file order, each pair followed by its twin. Raises ImportRefused.

        `id_of` returns the id of an example yielded before, by its position.
        """
        names = _Names(self.name, self.plan.id, survey)
        kept = (record for record in records if not self.drops(record))
        for k, record in enumerate(kept):
            fields = self._fields(record)
            row = self._row(record, fields, names.take(self._name(record, fields), record))
            if survey.partners is None or survey.positions is None or survey.makes_twin is None:
                yield row
            elif (partner := int(survey.partners[k])) != NO_ROW:
                original = id_of(int(survey.positions[partner]))
                yield replace(row, example=replace(row.example, twin_of=original, group=original))
            else:
                yield row
                if survey.makes_twin[k]:
                    yield self._twin(row, names.of_twin(row.example.id))

    def _row(self, record: Record, fields: dict[str, str], name: str) -> ParsedRow:
        group = name if self.spec.makes_twins else self._group(record, fields, name)
        example = Example(name, fields, group, self._answer(record, fields))
        read = self._read_answer(fields) if self.plan.answer is not None else None
        human = {self.plan.source(c): y for c in self.plan.human if (y := self._label(record, c)) is not None}
        gold = self._label(record, self.plan.gold) if self.plan.gold is not None else None
        return ParsedRow(example, {c: record.cells[c] for c in self.plan.inputs}, gold, human, record.where, read)

    def drops(self, record: Record) -> bool:
        """Say whether a row is dropped because its gold is a tie."""
        return self.ties == "drop" and self.plan.gold is not None and is_tie(record.cells[self.plan.gold])

    def _fields(self, record: Record) -> dict[str, str]:
        """The texts of the fields; an optional field may be empty."""
        fields = {name: self._text(record, column) for name, column in self.plan.fields.items()}
        for name, text in fields.items():
            if not text.strip():
                if name not in self.spec.optional:
                    refuse(self.name, record.where, self.plan.fields[name], "no text", "fill it or delete the row")
                fields[name] = ""
        return fields

    def _text(self, record: Record, column: str) -> str:
        """The text of a cell that supplies a field, an id, a group or a label."""
        text = record.cells[column]
        if isinstance(text, NoText):
            refuse(self.name, record.where, column, "a nested value", "use text, a number, true or false")
        return text

    def _group(self, record: Record, fields: Mapping[str, str], name: str) -> str:
        """The group cell, else the question, else the example alone."""
        if self.plan.group is None:
            return fields.get("question", name)
        group = self._text(record, self.plan.group).strip()
        if not group:
            refuse(self.name, record.where, self.plan.group, "no group", "fill it, or do without (--map group=)")
        return group

    def _answer(self, record: Record, fields: Mapping[str, str]) -> str | None:
        """The final answer: from its own column, else from a field if the rule needs one."""
        if self.plan.answer is not None:
            said = self._text(record, self.plan.answer)
            return extract_answer(said) or normalize_answer(said)
        return self._read_answer(fields)

    def _read_answer(self, fields: Mapping[str, str]) -> str | None:
        return self.answer.read(fields.get(self.answer.field, "")) if self.answer is not None else None

    def _label(self, record: Record, column: str) -> Label | None:
        """The label spelled by a gold or human cell; None for an empty cell."""
        cell, reader = self._text(record, column).strip(), self.plan.readers[column]
        label = self.look.label(reader, record, column) if cell else None
        if label is not None or not cell:
            return label
        field = "gold" if column == self.plan.gold else "human"
        if is_tie(cell) and self.ties != "refuse":
            return None
        remedy = f"use one of {reader.known}, or leave the column out (--map {field}=)"
        if is_tie(cell):
            keep = f"keep such rows without {field} (--ties keep; Ties on the page)"
            remedy = f"leave such rows out (--ties drop), or {keep}" if field == "gold" else keep
            refuse(self.name, record.where, column, f"the value {short(cell)}, a tie", remedy)
        refuse(self.name, record.where, column, f"the value {short(cell)}, which is not a label", remedy)

    def _name(self, record: Record, fields: Mapping[str, str]) -> str:
        """The id from the row's id column, else a hash of the texts; never of gold."""
        if self.plan.id is None:
            texts = sorted(([field, text] for field, text in fields.items()))
            return hashlib.sha256(_JSON.encode(texts).encode()).hexdigest()[:ID_LENGTH]
        name = self._text(record, self.plan.id).strip()
        if not name:
            refuse(self.name, record.where, self.plan.id, "no id", "fill it, or do without (--map id=)")
        if strange(name):
            refuse(self.name, record.where, self.plan.id, "an id with an invisible character", "remove it")
        return name

    def _twin(self, row: ParsedRow, name: str) -> ParsedRow:
        """The same pair with responses swapped and labels flipped."""
        original = row.example
        fields = {**original.fields, "response_a": original.fields["response_b"]}
        fields["response_b"] = original.fields["response_a"]
        swapped = {self.plan.fields[field]: fields[field] for field in ("response_a", "response_b")}
        for a, b in self.plan.swapped:
            swapped |= {a: row.inputs[b], b: row.inputs[a]}
        inputs = {**row.inputs, **dict.fromkeys(self.plan.one_sided, ""), **swapped}
        if self.plan.id in inputs:
            inputs[self.plan.id] = name
        example = replace(original, id=name, fields=fields, twin_of=original.id)
        gold = self.labels.other(row.gold) if row.gold is not None else None
        human = {source: self.labels.other(label) for source, label in row.human.items()}
        return ParsedRow(example, inputs, gold, human, row.where)


class _Names:
    """Assigns unique ids; only names that the scan saw twice are remembered."""

    def __init__(self, file: str, column: str | None, survey: DuplicateScan) -> None:
        self.file, self.column, self.survey = file, column, survey
        self._repeated = survey.repeated()
        self._first: dict[str, str] = {}
        self._seen: Counter[str] = Counter()

    def take(self, name: str, record: Record) -> str:
        """Return the id of a row: repeated ids are refused, equal texts are numbered."""
        if hash(name) not in self._repeated:
            return name
        if self.column is None:
            self._seen[name] += 1
            return name if self._seen[name] == 1 else f"{name}#{self._seen[name]}"
        if name in self._first:
            raise ImportRefused(
                f"{self.file}: {self._first[name]} and {record.where} have the same id {short(name)} in column "
                f"{self.column!r}: make ids unique, or do without (--map id=)"
            )
        self._first[name] = record.where
        return name

    def of_twin(self, name: str) -> str:
        """Return the id of a generated twin, which no row of the file has."""
        names = (f"{name}{TWIN_SUFFIX}{k if k > 1 else ''}" for k in count(1))
        return next(twin for twin in names if not self.survey.knows(twin))


def short(text: str) -> str:
    """Return a text for a message: quoted and shortened."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
