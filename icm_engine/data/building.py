"""From the rows of a table to examples, with the swapped twins of pairs; gold and human labels go another way."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from icm_engine.core.errors import ImportRefused
from icm_engine.core.labeling import Example, Label, Task
from icm_engine.data.answers import extract_answer, normalize_answer
from icm_engine.data.columns import Plan
from icm_engine.data.reading import Record, Table, refuse
from icm_engine.data.tasks import TRUTH, TaskSpec

TWIN_SUFFIX = "~swapped"
ID_LENGTH = 16  # hexadecimal digits of a content hash: a collision among a million rows has chance 3e-8

_SPELLINGS = {"true": 0, "1": 0, "1.0": 0, "yes": 0, "false": 1, "0": 1, "0.0": 1, "no": 1}
_PAIR_SPELLINGS = {"a": 0, "b": 1}


@dataclass(frozen=True, slots=True)
class Row:
    """One example with its input cells and, kept apart from both, its gold and human labels."""

    example: Example
    inputs: Mapping[str, str]
    gold: Label | None
    human: Mapping[str, Label]


class RowBuilder:
    """Turns one table into rows for one task, as the plan says which column is what."""

    def __init__(self, task: Task, spec: TaskSpec, plan: Plan, name: str) -> None:
        self.task, self.spec, self.plan, self.name = task, spec, plan, name

    def rows(self, table: Table) -> list[Row]:
        """Return all rows in file order, each pair followed by its twin. Raises ImportRefused."""
        ids = self._ids(table)
        rows = [self._row(record, name) for record, name in zip(table.records, ids, strict=True)]
        return list(self._with_twins(rows)) if self.spec.makes_twins else rows

    def _row(self, record: Record, name: str) -> Row:
        fields = self._fields(record)
        group = name if self.spec.makes_twins else self._group(record, fields, name)
        example = Example(name, fields, group, self._answer(record, fields))
        human = {self.plan.source(c): y for c in self.plan.human if (y := self._label(record, c)) is not None}
        gold = self._label(record, self.plan.gold) if self.plan.gold is not None else None
        return Row(example, {c: record.cells[c] for c in self.plan.inputs}, gold, human)

    def _fields(self, record: Record) -> dict[str, str]:
        fields = {field: record.cells[column] for field, column in self.plan.fields.items()}
        for field, text in fields.items():
            if not text.strip():
                refuse(self.name, record.where, self.plan.fields[field], "no text", "fill it or delete the row")
        return fields

    def _group(self, record: Record, fields: Mapping[str, str], name: str) -> str:
        """The group cell, else the question, else the example alone."""
        if self.plan.group is None:
            return fields.get("question", name)
        group = record.cells[self.plan.group].strip()
        if not group:
            refuse(self.name, record.where, self.plan.group, "no group", "fill it, or do without (--map group=)")
        return group

    def _answer(self, record: Record, fields: Mapping[str, str]) -> str | None:
        """The final answer: of its own column, else read from the claim where the rule needs one."""
        if self.plan.answer is not None:
            return normalize_answer(record.cells[self.plan.answer])
        if self.spec.reads_answers or self.task.rule == "same-answer":
            return extract_answer(fields["claim"])
        return None

    def _label(self, record: Record, column: str) -> Label | None:
        """The label that a gold or human cell spells; None if the cell is empty."""
        cell = record.cells[column].strip()
        if not cell:
            return None
        label = read_label(cell, self.task.labels, pairwise=self.spec.makes_twins)
        if label is None:
            known = ", ".join(self.task.labels) + (", 1, 0, yes, no" if self.task.labels == TRUTH else "")
            field = "gold" if column == self.plan.gold else "human"
            remedy = f"use one of {known}, or leave the column out (--map {field}=)"
            refuse(self.name, record.where, column, f"the value {_short(cell)}, which is no label", remedy)
        return label

    # -- ids: a column's, else a hash of the texts; never of gold

    def _ids(self, table: Table) -> list[str]:
        if self.plan.id is not None:
            return self._ids_of_column(table, self.plan.id)
        hashes = [self._hash(record) for record in table.records]
        seen: Counter[str] = Counter()
        return [_numbered(name, seen) for name in hashes]

    def _ids_of_column(self, table: Table, column: str) -> list[str]:
        first: dict[str, str] = {}
        for record in table.records:
            name = record.cells[column].strip()
            if not name:
                refuse(self.name, record.where, column, "no id", "fill it, or do without (--map id=)")
            if name in first:
                raise ImportRefused(
                    f"{self.name}: {first[name]} and {record.where} have the same id {_short(name)} in column "
                    f"{column!r}: make ids unique, or do without (--map id=)"
                )
            first[name] = record.where
        return list(first)

    def _hash(self, record: Record) -> str:
        texts = [[field, record.cells[column]] for field, column in sorted(self.plan.fields.items())]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:ID_LENGTH]

    # -- twins: "A over B" and "B over A"

    def _with_twins(self, rows: Sequence[Row]) -> Iterator[Row]:
        """Each pair followed by its twin, unless the file has the twin itself; both are one group."""
        partners = _partners(rows)
        originals = set(partners.values())
        taken = {row.example.id for row in rows}
        for k, row in enumerate(rows):
            if k in partners:
                original = rows[partners[k]].example.id
                yield replace(row, example=replace(row.example, twin_of=original, group=original))
            else:
                yield row
                if k not in originals:
                    yield self._twin(row, taken)

    def _twin(self, row: Row, taken: set[str]) -> Row:
        """The same pair with its responses swapped, and its labels flipped with them."""
        original = row.example
        name = next(name for name in _twin_names(original.id) if name not in taken)
        taken.add(name)
        fields = {**original.fields, "response_a": original.fields["response_b"]}
        fields["response_b"] = original.fields["response_a"]
        swapped = {self.plan.fields[field]: fields[field] for field in ("response_a", "response_b")}
        inputs = {**row.inputs, **swapped}
        if self.plan.id in inputs:
            inputs[self.plan.id] = name
        example = replace(original, id=name, fields=fields, twin_of=original.id)
        gold = self._other(row.gold) if row.gold is not None else None
        return Row(example, inputs, gold, {source: self._other(label) for source, label in row.human.items()})

    def _other(self, label: Label) -> Label:
        first, second = self.task.labels
        return second if label == first else first


def read_label(cell: str, labels: Sequence[Label], pairwise: bool = False) -> Label | None:
    """Return the label that a cell spells, None if it spells none.

    A label's own name counts in any case; True and False also as 1 and 0, yes and no, and for pairs as A and B.
    """
    if cell in labels:
        return cell
    named = [label for label in labels if label.casefold() == cell.casefold()]
    if len(named) == 1:
        return named[0]
    if tuple(labels) != TRUTH:
        return None
    place = {**_SPELLINGS, **(_PAIR_SPELLINGS if pairwise else {})}.get(cell.casefold())
    return None if place is None else labels[place]


def _partners(rows: Sequence[Row]) -> dict[int, int]:
    """Rows whose swapped pair stands earlier in the file, each with that row; every row has one partner at most."""
    waiting: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
    partners: dict[int, int] = {}
    for k, row in enumerate(rows):
        fields = row.example.fields
        query, a, b = fields.get("query", ""), fields["response_a"], fields["response_b"]
        if waiting[query, b, a]:
            partners[k] = waiting[query, b, a].pop(0)
        else:
            waiting[query, a, b].append(k)
    return partners


def _numbered(name: str, seen: Counter[str]) -> str:
    """The name, with "#2" for the second of the same content."""
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}#{seen[name]}"


def _twin_names(name: str) -> Iterator[str]:
    yield name + TWIN_SUFFIX
    yield from (f"{name}{TWIN_SUFFIX}{k}" for k in count(2))


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
