"""From a file to a data set, its gold and its human labels apart: all of it or nothing.

    python -m icm_engine import FILE --task TASK

reads the file whole (`reading`), finds its columns (`columns`), makes examples (`building`), and stores them in one
transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from icm_engine.core.consistency import make_rule
from icm_engine.core.errors import ImportRefused, SettingError, StoreError
from icm_engine.core.labeling import Label, Task
from icm_engine.data.answers import extract_answer
from icm_engine.data.building import Row, RowBuilder
from icm_engine.data.columns import Mapped, Plan, is_our_export, plan_columns
from icm_engine.data.gold import add_gold, add_human
from icm_engine.data.reading import Record, Table, read_table
from icm_engine.data.tasks import SAMPLE_DATASETS as SAMPLE_DATASETS  # pages look for it here
from icm_engine.data.tasks import TASKS, TaskSpec, make_task, task_spec
from icm_engine.runs.store import Dataset, Store

LISTED = 10  # ids named in a note before "and so on"
SAMPLE_DIRECTORY = Path(__file__).resolve().parents[2] / "sample_data"


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import made; `groups` are all consistency groups, `constraints` the pairs the rule ties together."""

    dataset: str
    task: str
    rule: str
    rows: int
    examples: int
    twins: int
    groups: int
    constraints: int
    gold_column: str | None
    gold_labels: int
    human_columns: tuple[str, ...]
    columns: tuple[str, ...]
    fields: Mapping[str, str]
    without_answer: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of a file, and what an import would take them for; `task` is None where nothing fits."""

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    total: int
    task: str | None
    mapping: Mapping[str, str | tuple[str, ...]]
    notes: tuple[str, ...]


def import_file(
    store: Store,
    path: Path | str,
    task: str,
    name: str | None = None,
    mapping: Mapped | None = None,
    rule: str | None = None,
    labels: Sequence[Label] = (),
    content: bytes | None = None,
) -> ImportReport:
    """Import a file as a data set, in one transaction. Raises ImportRefused, SettingError or StoreError.

    `mapping` says which column is which field ("" switches a field off; `human` takes several); `labels` are those
    of a classification; `content` stands for the file's bytes where it was uploaded.
    """
    path = Path(path)
    spec, name = task_spec(task), _dataset_name(path.stem if name is None else name)
    table = restored(read_table(path, content))
    plan = plan_columns(spec, table.columns, mapping or {}, path.name, _reads_answers(spec, rule))
    made = _make_task(spec, rule, labels, table, plan)
    rows = RowBuilder(made, spec, plan, path.name).rows(table)
    dataset = _dataset(name, made, rows, table, plan, path.name)
    with store.transaction():
        store.add_dataset(dataset)
        _add_labels(store, dataset, rows, plan)
    return _report(dataset, rows, table, plan)


def preview(path: Path | str, rows: int = 20, content: bytes | None = None) -> Preview:
    """Return the first rows of a file with a guess at its task and columns. Raises ImportRefused."""
    path = Path(path)
    table = restored(read_table(path, content))
    shown = tuple(record.cells for record in table.records[:rows])
    task = suggested_task(table)
    if task is None:
        return Preview(table.columns, shown, len(table.records), None, {}, ("No task fits these columns: map them.",))
    plan = plan_columns(task_spec(task), table.columns, {}, path.name)
    return Preview(table.columns, shown, len(table.records), task, _mapping(plan), plan.notes)


def suggested_task(table: Table) -> str | None:
    """Return the first task whose columns the file has; worked answers are told from claims by their answers."""
    for name in ("preference", "truthfulness", "classification"):
        try:
            plan = plan_columns(TASKS[name], table.columns, {"gold": "", "human": ""}, "")
        except ImportRefused:
            continue
        claims = [r.cells[plan.fields["claim"]] for r in table.records[:100]] if "claim" in plan.fields else []
        answers = sum(extract_answer(claim) is not None for claim in claims)
        return "maths-verification" if claims and answers > len(claims) / 2 else name
    return None


def ensure_sample_dataset(store: Store, name: str) -> None:
    """Import a sample data set if the database does not have it yet; two processes may do so at once."""
    if name not in SAMPLE_DATASETS:
        raise SettingError(f"sample data set {name!r} does not exist: use one of {', '.join(SAMPLE_DATASETS)}")
    if store.has_dataset(name):
        return
    try:
        import_file(store, SAMPLE_DIRECTORY / f"{name}.csv", name, name)
    except StoreError:
        if not store.has_dataset(name):  # not the other process, then
            raise


def restored(table: Table) -> Table:
    """Return the table with the apostrophes removed that our CSV export put before cells a spreadsheet would run.

    The export puts one before every text cell that begins with an apostrophe, so none here is somebody's own.
    """
    if table.kind != "csv" or not is_our_export(table.columns):
        return table
    columns = tuple(column.removeprefix("'") for column in table.columns)
    records = tuple(
        Record(record.where, {c.removeprefix("'"): text.removeprefix("'") for c, text in record.cells.items()})
        for record in table.records
    )
    return Table(columns, records, table.kind)


def _reads_answers(spec: TaskSpec, rule: str | None) -> bool:
    if (spec.rule if rule is None else rule) != "same-answer":
        return spec.reads_answers
    if "claim" not in spec.fields:
        raise SettingError(f"rule same-answer reads claims, task {spec.name!r} has none: use another rule")
    return True


def _make_task(spec: TaskSpec, rule: str | None, labels: Sequence[Label], table: Table, plan: Plan) -> Task:
    """The task; where labels must be named, what the gold column has helps to name them but does not decide."""
    if not spec.labels and not labels:
        seen = sorted({record.cells[plan.gold] for record in table.records} - {""}) if plan.gold is not None else []
        hint = f" (column {plan.gold!r} has: {', '.join(seen[:LISTED])})" if seen else ""
        raise SettingError(f"task {spec.name!r} has no labels of its own: name two or more (--labels A,B){hint}")
    return make_task(spec, rule, labels, tuple(plan.fields))


def _dataset_name(name: str) -> str:
    name = name.strip()
    if not name or not name.isprintable():
        raise SettingError(f"data set name {name!r} cannot be used: name it in printable characters (--name)")
    return name


def _dataset(name: str, task: Task, rows: Sequence[Row], table: Table, plan: Plan, source: str) -> Dataset:
    """The data set as the worker will load it: no gold and no human label is in it."""
    examples, inputs = tuple(row.example for row in rows), tuple(dict(row.inputs) for row in rows)
    return Dataset(name, task, examples, inputs, plan.inputs, source, (*plan.notes, *_notes(task, rows, table)))


def _notes(task: Task, rows: Sequence[Row], table: Table) -> list[str]:
    """What a person should know about this import, in sentences."""
    notes = []
    if is_our_export(table.columns):
        notes.append("The file is an export of ours: its ids were kept, the labels of its run were left behind.")
    twins = len(rows) - len(table.records)
    if twins:
        notes.append(f"{twins} swapped twins were made, so that both orders of every pair are asked about.")
    if same := [row.example.id for row in rows if _equal_responses(row)]:
        notes.append(f"The two responses are the same in {_several(same)}.")
    missing = _without_answer(task, rows)
    if missing:
        notes.append(f"No final answer was found in {_several(missing)}: the rule says nothing about these.")
    return notes


def _equal_responses(row: Row) -> bool:
    fields = row.example.fields
    return "response_a" in fields and fields["response_a"] == fields["response_b"]


def _without_answer(task: Task, rows: Sequence[Row]) -> list[str]:
    return [row.example.id for row in rows if row.example.answer is None] if task.rule == "same-answer" else []


def _several(ids: Sequence[str]) -> str:
    more = "" if len(ids) <= LISTED else ", …"
    return f"{len(ids)} example{'s' if len(ids) > 1 else ''} ({', '.join(ids[:LISTED])}{more})"


def _add_labels(store: Store, dataset: Dataset, rows: Sequence[Row], plan: Plan) -> None:
    gold = {row.example.id: row.gold for row in rows if row.gold is not None}
    if gold:
        add_gold(store, dataset.name, gold)
    for source in dict.fromkeys(plan.source(column) for column in plan.human):
        said = {row.example.id: row.human[source] for row in rows if source in row.human}
        add_human(store, dataset.name, source, said)


def _report(dataset: Dataset, rows: Sequence[Row], table: Table, plan: Plan) -> ImportReport:
    task = dataset.task
    rule = make_rule(task.rule, dataset.examples, task.labels, task.true_label)
    return ImportReport(
        dataset=dataset.name,
        task=task.name,
        rule=task.rule,
        rows=len(table.records),
        examples=len(rows),
        twins=sum(example.twin_of is not None for example in dataset.examples),
        groups=len({example.group for example in dataset.examples}),
        constraints=rule.constraints(),
        gold_column=plan.gold,
        gold_labels=sum(row.gold is not None for row in rows),
        human_columns=plan.human,
        columns=table.columns,
        fields=plan.fields,
        without_answer=tuple(_without_answer(task, rows)),
        notes=dataset.notes,
    )


def _mapping(plan: Plan) -> dict[str, str | tuple[str, ...]]:
    """What the plan found, as a mapping that would find the same again."""
    single = {"group": plan.group, "answer": plan.answer, "id": plan.id, "gold": plan.gold}
    found: dict[str, str | tuple[str, ...]] = dict(plan.fields)
    found.update({field: column for field, column in single.items() if column is not None})
    return {**found, "human": plan.human} if plan.human else found
