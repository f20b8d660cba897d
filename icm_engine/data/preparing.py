"""What an import and its preview have in common: the file opened, its columns found, its task made."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from icm_engine.core.errors import ImportRefused, SettingError
from icm_engine.core.labeling import Label, Task
from icm_engine.core.own_rules import is_reference
from icm_engine.data.answers import AnswerReader, extract_answer
from icm_engine.data.building import TIES, RowBuilder
from icm_engine.data.columns import Mapped, Plan, is_our_export, plan_columns
from icm_engine.data.label_columns import Look
from icm_engine.data.label_lists import plain_labels, unlisted
from icm_engine.data.readers.restored import RestoredSource
from icm_engine.data.readers.source import Record, Source
from icm_engine.data.reading import open_source
from icm_engine.data.tasks import TaskSpec, make_task

LISTED = 10  # labels named in a hint
LOOKED_AT = 1000  # rows in which a hint looks for labels


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks of an import beside the task: which column is which, the rule, the labels.

    `ties` is one of `TIES`; `first` is the cell of the gold column that says that the first response is better
    (None: as it is usually spelled).
    """

    mapping: Mapped
    rule: str | None = None
    labels: Sequence[Label] = ()
    ties: str = "refuse"
    first: str | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A task that fits the columns of a file, and what builds its rows."""

    task: Task
    plan: Plan
    builder: RowBuilder


def open_rows(
    path: Path | str, content: bytes | None, encoding: str | None, split: str | None, quoting: str | None = None
) -> Source:
    """Open a file; our own CSV exports as they were before a spreadsheet was kept from running them."""
    source = open_source(path, content, encoding, split, quoting)
    if not source.head(1)[1]:
        raise ImportRefused(f"{source.name}: the file has no rows: nothing was imported")
    return RestoredSource(source) if source.kind == "csv" and is_our_export(source.columns) else source


def prepare(spec: TaskSpec, name: str, columns: Sequence[str], first: Sequence[Record], wish: Wish) -> Prepared:
    """Fit a task to the columns of a file. Raises ImportRefused, SettingError.

    `first` are rows of the file, in which a hint looks for labels.
    """
    if wish.ties not in TIES:
        raise SettingError(f"ties is {wish.ties!r}: use one of {', '.join(TIES)}")
    if wish.first is not None and not spec.makes_twins:
        raise SettingError(f"first-wins is {wish.first!r}, but task {spec.name!r} has no pairs: leave it out")
    answer = answer_reader(spec, wish.rule)
    look = Look(spec, unlisted(first), wish.labels, wish.first)
    plan = plan_columns(spec, columns, wish.mapping, name, answer is not None, look)
    if not spec.labels and not wish.labels:
        raise SettingError(_no_labels(spec, plan, list(plain_labels(first, plan, name))))
    task = make_task(spec, wish.rule, wish.labels, tuple(plan.fields))
    return Prepared(task, plan, RowBuilder(task, spec, plan, name, answer, look, wish.ties))


def answer_reader(spec: TaskSpec, rule: str | None) -> AnswerReader | None:
    """Return how final answers are read: the task's way, else from the claim where a rule may ask for them."""
    if spec.answer is not None:
        return spec.answer
    rule = spec.rule if rule is None else rule
    if rule == "same-answer" and "claim" not in spec.fields:
        raise SettingError(f"rule same-answer reads claims, task {spec.name!r} has none: use another rule")
    needed = rule == "same-answer" or (is_reference(rule) and "claim" in spec.fields)
    return AnswerReader("claim", extract_answer) if needed else None


def reads_answers(spec: TaskSpec, rule: str | None) -> bool:
    """Say whether final answers matter; a rule that cannot be is refused later."""
    try:
        return answer_reader(spec, rule) is not None
    except SettingError:
        return False


def _no_labels(spec: TaskSpec, plan: Plan, first: Sequence[Record]) -> str:
    """What to say where labels must be named: what the gold column has helps to name them but does not decide."""
    seen = sorted({record.cells[plan.gold] for record in first} - {""}) if plan.gold is not None else []
    hint = f" (column {plan.gold!r} has: {', '.join(map(quoted, seen[:LISTED]))})" if seen else ""
    return f"task {spec.name!r} has no labels of its own: name two or more (--labels A,B){hint}"


def quoted(label: Label) -> Label:
    """Return a label as `--labels` takes it: in quotation marks where it has a comma or such marks."""
    escaped = label.replace('"', '""')
    return f'"{escaped}"' if {",", '"'} & set(label) else label


def split_labels(text: str) -> list[Label]:
    """Return the labels of a list with commas between them; one with a comma stands in quotation marks.

    >>> split_labels('positive,"negative, mild"')
    ['positive', 'negative, mild']
    """
    try:
        return next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise SettingError(f"labels {text!r} cannot be read ({error}): write A,B or 'A,\"B, with a comma\"'") from None
