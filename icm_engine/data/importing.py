"""From a file to a data set, with gold and human labels kept apart: all or nothing.

Running searches write to the same database, so an import must not lock it while it reads a large file.

    python -m icm_engine import FILE --task TASK

opens the file (`readers.formats`), finds its columns (`columns`), reads its rows twice (`row_parser`), and writes them
to the database in one transaction (`Staging`). Only a few thousand rows are in memory at a time.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from icm_engine.core.custom_rules import rule_class
from icm_engine.core.errors import SettingError, StoreError
from icm_engine.core.labeling import Label
from icm_engine.core.resources import resource
from icm_engine.data.columns import Mapped
from icm_engine.data.gold import count_labels
from icm_engine.data.import_plan import LOOKED_AT, ImportOptions, ImportPlan, open_rows, plain_labels, plan_import
from icm_engine.data.import_warnings import ImportWarnings
from icm_engine.data.readers.formats import PREFIX, data_name
from icm_engine.data.readers.source import Record, RowSource
from icm_engine.data.reshaping import reshaped
from icm_engine.data.row_parser import ParsedRow
from icm_engine.data.rule_check import PairCounter
from icm_engine.data.spellings import is_our_export
from icm_engine.data.tasks import SAMPLE_DATASETS, task_spec
from icm_engine.jobs import JobSpec
from icm_engine.jobs.job_process import Job
from icm_engine.runs.lease import clear, unfinished
from icm_engine.store.datasets import Dataset, example_row, insert_info
from icm_engine.store.events import Json
from icm_engine.store.store import Store

LISTED = 5  # runs named in a refusal before "and so on"


def delete_dataset(store: Store, name: str) -> None:
    """Delete a data set with its gold and human labels. Raises NotFound, or StoreError naming the runs that use it."""
    with store.transaction():
        store.dataset_info(name)
        if runs := runs_using(store, name):
            named = ", ".join(runs[:LISTED]) + (", …" if len(runs) > LISTED else "")
            raise StoreError(f"data set {name!r} is used by {len(runs)} runs ({named}): delete these first")
        for table in ("human", "gold", "parts", "examples"):
            store.db.execute(f"delete from {table} where dataset = ?", [name])
        store.db.execute("delete from datasets where name = ?", [name])


def runs_using(store: Store, name: str) -> list[str]:
    """Return the runs that label this data set, newest first."""
    query = "select name from runs where json_extract(spec, '$.dataset') = ? order by created desc, rowid desc"
    return [row[0] for row in store.db.execute(query, [name])]


BATCH = 2000  # rows written at once
CACHE = 96 * 1024  # KiB of cache for index pages while a data set is copied in

_ROOM = "free some space there, and make sure that this user can write there"
_TABLES = """
pragma journal_mode = off;
pragma synchronous = off;
create table examples (position integer primary key, id, fields, consistency_group, answer, twin_of, input);
create table gold (position integer primary key, label);
create table human (position integer, source, label);
begin;
"""
_COPY = (
    "insert into main.examples (dataset, position, id, fields, consistency_group, answer, twin_of, input) "
    "select ?, position, id, fields, consistency_group, answer, twin_of, input from staged.examples order by position",
    # in key order: a tree that grows at its end is written once
    "insert into main.gold (dataset, example, label) "
    "select ?, id, label from staged.gold join staged.examples using (position) order by id",
    "insert into main.human (dataset, example, source, label) "
    "select ?, id, source, label from staged.human join staged.examples using (position) order by id, source",
)


def aside(store: Store) -> Path:
    """Return the prefix of import folders."""
    return store.path.parent / "import"


class Staging:
    """The rows of one import before they enter the database; deleted when the import ends, however it ends."""

    def __init__(self, store: Store) -> None:
        self.store, self.count = store, 0
        self._directory = unfinished(aside(store))
        try:
            self._directory.mkdir()
        except OSError as error:
            raise StoreError(
                f"folder {store.path.parent} cannot take the rows of an import ({error}): {_ROOM}"
            ) from None
        self._path = self._directory / "rows.db"
        self._db = sqlite3.connect(self._path, isolation_level=None)
        try:
            self._db.executescript(_TABLES)
        except sqlite3.Error as error:
            self.__exit__(type(error), error, None)
        self._waiting: list[ParsedRow] = []

    def __enter__(self) -> "Staging":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._db.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"database {self.store.path}: the import cannot be stored ({error}): {_ROOM}")

    def add(self, row: ParsedRow) -> None:
        """Add the next row."""
        self._waiting.append(row)
        self.count += 1
        if len(self._waiting) >= BATCH:
            self._flush()

    def id_of(self, position: int) -> str:
        """Return the id of an added row."""
        flushed = self.count - len(self._waiting)
        if position >= flushed:
            return self._waiting[position - flushed].example.id
        return str(self._db.execute("select id from examples where position = ?", [position]).fetchone()[0])

    @contextmanager
    def moved_into(self, dataset: Dataset) -> Iterator[int]:
        """Write everything to the database in one transaction, and yield the number of groups within it.

        `dataset` describes the data set; its examples are those added here. Raises StoreError.
        """
        self._flush()
        self._db.execute("commit")
        db, conn = self.store.db, self.store.db.conn
        with self._attached(), self.store.transaction():
            insert_info(db, dataset, self.count, 0)
            for statement in _COPY:
                conn.execute(statement, [dataset.name])
            query = "select count(distinct consistency_group) from examples where dataset = ?"
            groups = int(conn.execute(query, [dataset.name]).fetchone()[0])
            conn.execute("update datasets set consistency_groups = ? where name = ?", [groups, dataset.name])
            count_labels(self.store, dataset.name)
            yield groups

    def _flush(self) -> None:
        rows, first = self._waiting, self.count - len(self._waiting)
        numbered = list(enumerate(rows, first))
        self._db.executemany(
            "insert into examples values (?, ?, ?, ?, ?, ?, ?)",
            ((k, *example_row(row.example, row.inputs)) for k, row in numbered),
        )
        gold = ((k, row.gold) for k, row in numbered if row.gold is not None)
        self._db.executemany("insert into gold values (?, ?)", gold)
        human = ((k, source, label) for k, row in numbered for source, label in row.human.items())
        self._db.executemany("insert into human values (?, ?, ?)", human)
        self._waiting = []

    @contextmanager
    def _attached(self) -> Iterator[None]:
        """Attach the staged rows to the database, with cache for indexes that grow in random order."""
        conn = self.store.db.conn
        conn.execute("attach database ? as staged", [str(self._path)])
        before = conn.execute("pragma main.cache_size").fetchone()[0]
        conn.execute(f"pragma main.cache_size = -{CACHE}")
        try:
            yield
        finally:
            conn.execute(f"pragma main.cache_size = {before}")
            conn.execute("detach database staged")


Progress = Callable[[int, int | None], None]  # rows done, and total rows (None: unknown)
SAMPLE_DIRECTORY = resource("sample_data")
TOLD = 500  # rows between two calls of a progress


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The result of an import; `groups` are all consistency groups, `constraints` the constrained pairs.

    `without_answer` has up to 1,000 ids of the `without_answer_count` examples without a final answer.
    """

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
    without_answer_count: int
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
    progress: Progress | None = None,
    encoding: str | None = None,
    split: str | None = None,
    stored: Callable[[ImportReport], None] | None = None,
    ties: str = "refuse",
    first: str | None = None,
    quoting: str | None = None,
) -> ImportReport:
    """Import a file as a data set, in one transaction. Raises ImportRefused, SettingError, HubError or StoreError.

    `path` may also be a directory saved by `datasets`, or "hub:owner/name"; `task` is a name or a TOML file; `mapping`
    assigns columns to fields ("" switches a field off; `human` takes several); `labels` are those of a classification;
    `content` holds the bytes of an uploaded file; `encoding`, `split` and `quoting` are as in `open_source`; `ties`
    says what happens to rows whose gold is a tie ("refuse" the file, "drop" them, or "keep" them without gold); `first`
    is the gold cell that means "the first response is better". `progress` is called as rows are checked and, from 0
    again, as they are stored; `stored` is called within the transaction, so that what it writes exists exactly if the
    data set does.
    """
    spec, name = task_spec(task), _dataset_name(path, name)
    _require_free(store, name)
    wish = ImportOptions(mapping or {}, rule, labels, ties, first)
    source = reshaped(open_rows(path, content, encoding, split, quoting), spec, wish.mapping)
    prepared = plan_import(spec, source.name, source.columns, source.head(LOOKED_AT)[1], wish)
    made = _Import(store, name, source, prepared, progress or (lambda done, total: None))
    return made.run(stored or (lambda report: None))


@dataclass
class _Import:
    """One import in progress."""

    store: Store
    name: str
    source: RowSource
    prepared: ImportPlan
    progress: Progress

    def run(self, stored: Callable[[ImportReport], None]) -> ImportReport:
        task, plan = self.prepared.task, self.prepared.plan
        rule = rule_class(task.rule)((), task.labels, task.true_label)
        survey = self.prepared.builder.survey(self._told(self.source.total))
        findings, pairs = (
            ImportWarnings(task.rule == "same-answer", plan.answer, survey.alike, task.rule),
            PairCounter(rule),
        )
        with Staging(self.store) as staging:
            for row in self.prepared.builder.rows(self._told(survey.rows), survey, staging.id_of):
                findings.see(row)
                pairs.see(row.example)
                staging.add(row)
            notes = (*self.source.notes, *plan.notes, *self._notes(survey.dropped), *findings.notes(survey.rows))
            dataset = Dataset(self.name, task, (), (), plan.inputs, self.source.name, notes)
            with staging.moved_into(dataset) as groups:
                report = self._report(dataset, survey.rows, groups, findings, pairs)
                stored(report)
        return report

    def _told(self, total: int | None) -> Iterator[Record]:
        """The records, with progress reported every few hundred."""
        done = 0
        records = plain_labels(self.source.records(), self.prepared.plan, self.source.name)
        for done, record in enumerate(records, 1):
            if done % TOLD == 0:
                self.progress(done, total)
            yield record
        self.progress(done, done)

    def _notes(self, dropped: int) -> list[str]:
        notes = []
        if is_our_export(self.source.columns):
            notes.append(
                "The file is an export of this program: its ids were kept, and the labels of its run were left out."
            )
        if dropped:
            notes.append(f"Left out, since their gold is a tie: {dropped:,} row{'s' if dropped > 1 else ''}.")
        return notes

    def _report(
        self, dataset: Dataset, rows: int, groups: int, findings: ImportWarnings, pairs: PairCounter
    ) -> ImportReport:
        plan = self.prepared.plan
        return ImportReport(
            dataset=dataset.name,
            task=dataset.task.name,
            rule=dataset.task.rule,
            rows=rows,
            examples=findings.examples,
            twins=findings.twins,
            groups=groups,
            constraints=pairs.pairs(),
            gold_column=plan.gold,
            gold_labels=findings.gold,
            human_columns=plan.human,
            columns=self.source.columns,
            fields=plan.fields,
            without_answer=tuple(findings.without_answer.ids),
            without_answer_count=findings.without_answer.count,
            notes=dataset.notes,
        )


def ensure_sample_dataset(store: Store, name: str) -> None:
    """Import a sample data set if the database does not have it yet; safe for two processes at once."""
    if name not in SAMPLE_DATASETS:
        raise SettingError(f"sample data set {name!r} does not exist: use one of {', '.join(SAMPLE_DATASETS)}")
    if store.has_dataset(name):
        return
    try:
        import_file(store, SAMPLE_DIRECTORY / f"{name}.csv", name, name)
    except StoreError:
        if not store.has_dataset(name):  # imported by another process meanwhile
            raise


def _dataset_name(path: Path | str, given: str | None) -> str:
    """The given name, else the file's without its ending; for the hub, the last part of its name."""
    if given is not None:
        name = given.strip()
    else:
        name = str(path).split("/")[-1] if str(path).startswith(PREFIX) else data_name(Path(path).name)
    if not name or not name.isprintable():
        raise SettingError(f"data set name {name!r} cannot be used: name it in printable characters (--name)")
    return name


def _require_free(store: Store, name: str) -> None:
    if store.has_dataset(name):  # checked before a large file is read, and again in the transaction
        raise StoreError(f"data set {name!r} exists already: import it under another name (--name)")


# -- the job, for large files: it reads gold, and so its process never has a model

UPLOADS = "uploads"  # the folder beside the database where uploads wait for their import


def import_spec(path: Path, task: str, dataset: str, **options: object) -> JobSpec:
    """Return the job that imports a local file; `options` are those of `import_file`."""
    return JobSpec("import", {"path": str(path.resolve()), "task": task, "dataset": dataset, "options": options})


def import_kind(job: Job) -> Json:
    """Import the file, reporting progress; an uploaded file is deleted afterwards, however the import ended.

    The result is stored in the data set's own transaction: otherwise a job killed in between would find its name taken.
    """
    body = job.spec.body
    path = Path(body["path"])
    job.ready({})
    try:
        if not job.kept():
            import_file(
                job.store,
                path,
                body["task"],
                body["dataset"],
                progress=_told(job),
                stored=lambda report: job.keep(_found(report)),
                **body["options"],
            )
    finally:
        _forget(job.store, path)
        clear(aside(job.store))  # left by a process of this job that was killed
    return job.kept()[-1]


def _found(report: ImportReport) -> Json:
    return {
        "dataset": report.dataset,
        "rows": report.rows,
        "examples": report.examples,
        "groups": report.groups,
        "constraints": report.constraints,
        "gold_labels": report.gold_labels,
        "notes": list(report.notes),
    }


def _told(job: Job) -> Callable[[int, int | None], None]:
    """Pass progress on; the rows are read twice, the second time with their number known."""
    last, passed = 0, 0

    def told(done: int, total: int | None) -> None:
        nonlocal last, passed
        passed += done < last
        last = done
        job.progress(done, total, ("checking rows", "storing rows")[min(passed, 1)])

    return told


def upload_path(store: Store, token: str, name: str) -> Path:
    """Return the path where an uploaded file is kept until its import is done."""
    return store.path.parent / UPLOADS / token / Path(name).name


def _forget(store: Store, path: Path) -> None:
    """Delete a file if it was uploaded; any other belongs to somebody."""
    uploads = (store.path.parent / UPLOADS).resolve()
    if path.resolve().is_relative_to(uploads):
        shutil.rmtree(path.parent, ignore_errors=True)
