"""What an import and its preview share: the open file, its columns, its task, the first prompts."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from icm_engine.core.custom_rules import is_reference
from icm_engine.core.errors import IcmError, ImportRefused, SettingError
from icm_engine.core.labeling import Example, Label, Labeling, Task
from icm_engine.core.prompting import query_prompt
from icm_engine.data.answers import AnswerReader, extract_answer
from icm_engine.data.column_evidence import ColumnSample
from icm_engine.data.columns import Mapped, Plan, plan_columns
from icm_engine.data.readers.formats import described, open_source
from icm_engine.data.readers.source import NoText, Record, RestoredSource, RowSource, refuse
from icm_engine.data.reshaping import reshaped
from icm_engine.data.row_parser import TIES, RowBuilder
from icm_engine.data.spellings import is_our_export
from icm_engine.data.tasks import TASKS, task_spec
from icm_engine.data.tasks.spec import TaskSpec, make_task

SHOWN = 5  # labels named in a message


def unlisted(records: Iterable[Record]) -> list[Record]:
    """Return the records with one-element lists replaced by their element, to see which columns hold labels."""
    return [replace(record, cells={c: _single(cell) for c, cell in record.cells.items()}) for record in records]


def plain_labels(records: Iterable[Record], plan: Plan, name: str) -> Iterator[Record]:
    """Yield the records with one-element lists replaced by their label. Raises ImportRefused for longer lists."""
    columns = [column for column in (plan.gold, *plan.human) if column is not None]
    for record in records:
        lists = [column for column in columns if isinstance(record.cells.get(column), NoText)]
        if lists:
            read = {column: _read(record, column, plan, name) for column in lists}
            record = replace(record, cells={**record.cells, **read})
        yield record


def _read(record: Record, column: str, plan: Plan, name: str) -> str:
    """The label of a one-element list, empty for an empty list; other text is unchanged."""
    cell = record.cells[column]
    labels = _labels(cell)
    if labels is None:
        return cell
    if len(labels) > 1:
        field = "gold" if column == plan.gold else "human"
        shown = ", ".join(labels[:SHOWN]) + (", …" if len(labels) > SHOWN else "")
        remedy = f"an example has one: keep one, or leave the column out (--map {field}=)"
        refuse(name, record.where, column, f"{len(labels)} labels ({shown})", remedy)
    return labels[0] if labels else ""


def _single(cell: str) -> str:
    labels = _labels(cell) if isinstance(cell, NoText) else None
    return cell if labels is None or len(labels) > 1 else "".join(labels)


def _labels(cell: str) -> list[str] | None:
    """The values of a list; None for anything but a list of plain values."""
    try:
        values = json.loads(cell, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, list) or any(isinstance(value, dict | list) for value in values):
        return None
    return [text for value in values if (text := _text(value))]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


LISTED = 10  # labels named in a hint
LOOKED_AT = 1000  # rows that a hint searches for labels


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a person asks of an import beside the task: column mapping, rule, labels.

    `ties` is one of `TIES`; `first` is the gold cell that means "the first response is better" (None: the usual
    spellings).
    """

    mapping: Mapped
    rule: str | None = None
    labels: Sequence[Label] = ()
    ties: str = "refuse"
    first: str | None = None


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """A task fitted to the columns of a file, with the builder of its rows."""

    task: Task
    plan: Plan
    builder: RowBuilder


def open_rows(
    path: Path | str, content: bytes | None, encoding: str | None, split: str | None, quoting: str | None = None
) -> RowSource:
    """Open a file; apostrophes that our own CSV export added are removed."""
    source = open_source(path, content, encoding, split, quoting)
    if not source.head(1)[1]:
        raise ImportRefused(f"{source.name}: the file has no rows: nothing was imported")
    return RestoredSource(source) if source.kind == "csv" and is_our_export(source.columns) else source


def plan_import(
    spec: TaskSpec, name: str, columns: Sequence[str], first: Sequence[Record], wish: ImportOptions
) -> ImportPlan:
    """Fit a task to the columns of a file. Raises ImportRefused, SettingError.

    `first` are rows of the file, in which an error's hint looks for labels.
    """
    if wish.ties not in TIES:
        raise SettingError(f"ties is {wish.ties!r}: use one of {', '.join(TIES)}")
    if wish.first is not None and not spec.makes_twins:
        raise SettingError(f"first-wins is {wish.first!r}, but task {spec.name!r} has no pairs: leave it out")
    answer = answer_reader(spec, wish.rule)
    look = ColumnSample(spec, unlisted(first), wish.labels, wish.first)
    plan = plan_columns(spec, columns, wish.mapping, name, answer is not None, look)
    if not spec.labels and not wish.labels:
        raise SettingError(_no_labels(spec, plan, list(plain_labels(first, plan, name))))
    task = make_task(spec, wish.rule, wish.labels, tuple(plan.fields))
    return ImportPlan(task, plan, RowBuilder(task, spec, plan, name, answer, look, wish.ties))


def answer_reader(spec: TaskSpec, rule: str | None) -> AnswerReader | None:
    """Return how final answers are read: as the task says, else from the claim if a rule may need them."""
    if spec.answer is not None:
        return spec.answer
    rule = spec.rule if rule is None else rule
    if rule == "same-answer" and "claim" not in spec.fields:
        raise SettingError(f"rule same-answer reads claims, task {spec.name!r} has none: use another rule")
    needed = rule == "same-answer" or (is_reference(rule) and "claim" in spec.fields)
    return AnswerReader("claim", extract_answer) if needed else None


def reads_answers(spec: TaskSpec, rule: str | None) -> bool:
    """Say whether final answers matter; an impossible rule is refused later."""
    try:
        return answer_reader(spec, rule) is not None
    except SettingError:
        return False


def _no_labels(spec: TaskSpec, plan: Plan, first: Sequence[Record]) -> str:
    """The error for labels that must be named; the gold column's values are a hint and decide nothing."""
    seen = sorted({record.cells[plan.gold] for record in first} - {""}) if plan.gold is not None else []
    hint = f" (column {plan.gold!r} has: {', '.join(map(quoted, seen[:LISTED]))})" if seen else ""
    return f"task {spec.name!r} has no labels of its own: name two or more (--labels A,B){hint}"


def quoted(label: Label) -> Label:
    """Return a label as `--labels` takes it: quoted if it contains a comma or quotation marks."""
    escaped = label.replace('"', '""')
    return f'"{escaped}"' if {",", '"'} & set(label) else label


def split_labels(text: str) -> list[Label]:
    """Return the labels of a comma-separated list; a label with a comma is quoted.

    >>> split_labels('positive,"negative, mild"')
    ['positive', 'negative, mild']
    """
    try:
        return next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise SettingError(f"labels {text!r} cannot be read ({error}): write A,B or 'A,\"B, with a comma\"'") from None


PROMPTS = 3
COUNTED = 2000  # rows; larger files are counted by their import
MOST_VALUES = 50  # a column with more distinct cells is not one of labels
LONGEST_LABEL = 60  # characters


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of a file and how an import would read them; `task` is None if no task fits.

    `total` is None for a file of more than 2,000 rows, which only its import counts. `prompts` holds up to three
    prompts as the model would see them: the first examples with placeholder labels, then the query up to its label.
    `problem` says why the mapping does not fit the task (None: it fits); there are then no prompts. `form` says how the
    file was read. `values` counts the cells of each column that may hold labels, in the first 1,000 rows.
    """

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    total: int | None
    task: str | None
    mapping: Mapping[str, str | tuple[str, ...]]
    notes: tuple[str, ...]
    prompts: tuple[str, ...] = ()
    problem: str | None = None
    form: str = ""
    values: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def preview(
    path: Path | str,
    rows: int = 20,
    content: bytes | None = None,
    task: str | None = None,
    mapping: Mapped | None = None,
    rule: str | None = None,
    labels: Sequence[Label] = (),
    encoding: str | None = None,
    split: str | None = None,
    ties: str = "refuse",
    first: str | None = None,
    quoting: str | None = None,
) -> Preview:
    """Return the first rows of a file with a guessed or given task and columns.

    The arguments are those of `import_file`. Raises ImportRefused, SettingError, HubError for a file that cannot be
    read; what does not fit the task is the preview's `problem`.
    """
    source = opened = open_rows(path, content, encoding, split, quoting)
    chosen = suggested_task(source) if task is None else task
    wish = ImportOptions(mapping or {}, rule, labels, ties, first)
    source = source if chosen is None else reshaped(source, task_spec(chosen), wish.mapping)
    columns, records = source.head(max(rows, LOOKED_AT, COUNTED + 1))
    shown, total = tuple(record.cells for record in records[:rows]), _total(source, len(records))
    found = Preview(columns, shown, total, chosen, {}, source.notes, form=described(opened))
    if chosen is None:
        return replace(found, notes=("No task fits these columns: map them.",))
    found = replace(found, values=_few_values(columns, unlisted(records[:LOOKED_AT])))
    return _of_task(chosen, source, wish, records[:LOOKED_AT], found)


def _few_values(columns: Sequence[str], first: Sequence[Record]) -> dict[str, Mapping[str, int]]:
    """How often each cell occurs, for columns with few and short ones."""
    counts = {c: Counter(record.cells.get(c, "").strip() for record in first) for c in columns}
    for found in counts.values():
        del found[""]
    return {
        column: dict(sorted(found.items()))
        for column, found in counts.items()
        if 0 < len(found) <= MOST_VALUES and max(map(len, found)) <= LONGEST_LABEL
    }


def _of_task(name: str, source: RowSource, wish: ImportOptions, first: Sequence[Record], found: Preview) -> Preview:
    """The preview of a file under a task."""
    spec = task_spec(name)
    try:
        look = ColumnSample(spec, unlisted(first), wish.labels, wish.first)
        plan = plan_columns(spec, found.columns, wish.mapping, source.name, reads_answers(spec, wish.rule), look)
    except IcmError as error:
        return replace(found, problem=str(error))
    found = replace(found, mapping=_mapping(plan), notes=(*source.notes, *plan.notes))
    try:
        return replace(found, prompts=_prompts(plan_import(spec, source.name, found.columns, first, wish), first))
    except IcmError as error:
        return replace(found, problem=str(error))


def suggested_task(source: RowSource) -> str | None:
    """Return the first task whose columns the file has; worked answers are told from claims by their answers."""
    for name in ("preference", "truthfulness", "classification"):
        columns, first = reshaped(source, TASKS[name], {}).head(LOOKED_AT)
        plan = _fitting(TASKS[name], columns, first)
        if plan is None:
            continue
        claims = [record.cells[plan.fields["claim"]] for record in first[:100]] if "claim" in plan.fields else []
        answers = sum(extract_answer(claim) is not None for claim in claims)
        return "maths-verification" if claims and answers > len(claims) / 2 else name
    return None


def _fitting(spec: TaskSpec, columns: Sequence[str], first: Sequence[Record]) -> Plan | None:
    try:
        return plan_columns(spec, columns, {"gold": "", "human": ""}, "", look=ColumnSample(spec, first))
    except ImportRefused:
        return None


def _total(source: RowSource, count: int) -> int | None:
    """The number of rows, if known or if all were read."""
    return count if count <= COUNTED else source.total


def _prompts(prepared: ImportPlan, first: Sequence[Record]) -> tuple[str, ...]:
    """The prompts of the first examples, each with the others as demonstrations."""
    builder, made = prepared.builder, list[Example]()
    plain = plain_labels(first, prepared.plan, builder.name)
    first = [record for record in plain if not builder.drops(record)][:PROMPTS]
    for row in builder.rows(first, builder.survey(first), lambda position: made[position].id):
        made.append(row.example)
    examples = made[:PROMPTS]
    shown = _placeholders(prepared.task, len(examples))
    return tuple(query_prompt(prepared.task, examples, shown, i).text for i in range(len(examples)))


def _placeholders(task: Task, count: int) -> Labeling:
    return Labeling({i: task.labels[i % len(task.labels)] for i in range(count)})


def _mapping(plan: Plan) -> dict[str, str | tuple[str, ...]]:
    """The plan's columns as a mapping that reproduces them."""
    single = {"group": plan.group, "answer": plan.answer, "id": plan.id, "gold": plan.gold}
    found: dict[str, str | tuple[str, ...]] = dict(plan.fields)
    found.update({field: column for field, column in single.items() if column is not None})
    return {**found, "human": plan.human} if plan.human else found
