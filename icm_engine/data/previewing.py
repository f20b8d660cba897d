"""A look at a file before its import: its first rows, what they would be taken for, and the prompts they make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from icm_engine.core.errors import IcmError, ImportRefused
from icm_engine.core.labeling import Example, Label, Labeling, Task
from icm_engine.core.prompting import query_prompt
from icm_engine.data.answers import extract_answer
from icm_engine.data.columns import Mapped, Plan, plan_columns
from icm_engine.data.label_columns import Look
from icm_engine.data.label_lists import plain_labels, unlisted
from icm_engine.data.preparing import LOOKED_AT, Prepared, Wish, open_rows, prepare, reads_answers
from icm_engine.data.readers.source import Record, Source
from icm_engine.data.reshaping import reshaped
from icm_engine.data.tasks import TASKS, TaskSpec, task_spec

PROMPTS = 3
COUNTED = 2000  # rows; a file of more is counted only by its import


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of a file, and what an import would take them for; `task` is None where nothing fits.

    `total` is None for a file of more than 2,000 rows, which are counted only by its import. `prompts` are up to
    three, as the model would see them: the first examples with the labels in turn as placeholders, then the query, up
    to its label. `problem` says why the mapping does not fit the task (None: it fits); there are then no prompts.
    """

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    total: int | None
    task: str | None
    mapping: Mapping[str, str | tuple[str, ...]]
    notes: tuple[str, ...]
    prompts: tuple[str, ...] = ()
    problem: str | None = None


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
    """Return the first rows of a file with a guess at its task and columns, or what these of a person's make of it.

    The arguments are those of `import_file`. Raises ImportRefused, SettingError, HubError for a file that cannot be
    read; what does not fit the task is the preview's `problem`.
    """
    source = open_rows(path, content, encoding, split, quoting)
    chosen = suggested_task(source) if task is None else task
    wish = Wish(mapping or {}, rule, labels, ties, first)
    source = source if chosen is None else reshaped(source, task_spec(chosen), wish.mapping)
    columns, records = source.head(max(rows, LOOKED_AT, COUNTED + 1))
    shown, total = tuple(record.cells for record in records[:rows]), _total(source, len(records))
    if chosen is None:
        return Preview(columns, shown, total, None, {}, ("No task fits these columns: map them.",))
    return _of_task(chosen, source, wish, records[:LOOKED_AT], Preview(columns, shown, total, chosen, {}, source.notes))


def _of_task(name: str, source: Source, wish: Wish, first: Sequence[Record], found: Preview) -> Preview:
    """The preview of a file with what a task makes of it."""
    spec = task_spec(name)
    try:
        look = Look(spec, unlisted(first), wish.labels, wish.first)
        plan = plan_columns(spec, found.columns, wish.mapping, source.name, reads_answers(spec, wish.rule), look)
    except IcmError as error:
        return replace(found, problem=str(error))
    found = replace(found, mapping=_mapping(plan), notes=(*source.notes, *plan.notes))
    try:
        return replace(found, prompts=_prompts(prepare(spec, source.name, found.columns, first, wish), first))
    except IcmError as error:
        return replace(found, problem=str(error))


def suggested_task(source: Source) -> str | None:
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
        return plan_columns(spec, columns, {"gold": "", "human": ""}, "", look=Look(spec, first))
    except ImportRefused:
        return None


def _total(source: Source, count: int) -> int | None:
    """The number of rows, where it is known or all of them were looked at."""
    return count if count <= COUNTED else source.total


def _prompts(prepared: Prepared, first: Sequence[Record]) -> tuple[str, ...]:
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
    """What the plan found, as a mapping that would find the same again."""
    single = {"group": plan.group, "answer": plan.answer, "id": plan.id, "gold": plan.gold}
    found: dict[str, str | tuple[str, ...]] = dict(plan.fields)
    found.update({field: column for field, column in single.items() if column is not None})
    return {**found, "human": plan.human} if plan.human else found
