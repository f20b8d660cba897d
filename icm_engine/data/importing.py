"""From a file to a data set, its gold and its human labels apart: all of it or nothing.

    python -m icm_engine import FILE --task TASK

opens the file (`reading`), finds its columns (`columns`), goes through its rows twice (`survey`, `building`), and puts
them into the database in one transaction (`staging`). Only a few thousand rows are in memory at a time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from icm_engine.core.consistency import rule_class
from icm_engine.core.errors import SettingError, StoreError
from icm_engine.core.labeling import Label
from icm_engine.core.resources import resource
from icm_engine.data.checking import PairCounter
from icm_engine.data.checking import RuleCheck as RuleCheck  # pages look for these here
from icm_engine.data.checking import check_rule as check_rule
from icm_engine.data.columns import Mapped, is_our_export
from icm_engine.data.deleting import delete_dataset as delete_dataset
from icm_engine.data.findings import Findings
from icm_engine.data.label_lists import plain_labels
from icm_engine.data.preparing import LOOKED_AT, Prepared, Wish, open_rows, prepare
from icm_engine.data.previewing import Preview as Preview
from icm_engine.data.previewing import preview as preview
from icm_engine.data.readers.hub import PREFIX
from icm_engine.data.readers.source import Record, Source
from icm_engine.data.reading import data_name
from icm_engine.data.reshaping import reshaped
from icm_engine.data.staging import Staging
from icm_engine.data.tasks import SAMPLE_DATASETS as SAMPLE_DATASETS
from icm_engine.data.tasks import task_spec
from icm_engine.runs.store import Dataset, Store

Progress = Callable[[int, int | None], None]  # rows done, and rows there are (None: not counted yet)
SAMPLE_DIRECTORY = resource("sample_data")
TOLD = 500  # rows between two calls of a progress


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import made; `groups` are all consistency groups, `constraints` the pairs the rule ties together.

    `without_answer` has up to 1,000 ids of the `without_answer_count` examples in which no answer was found.
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

    `path` may also be a directory that `datasets` saved, or "hub:owner/name"; `task` is a name or a TOML file;
    `mapping` says which column is which field ("" switches a field off; `human` takes several); `labels` are those
    of a classification; `content` stands for the file's bytes where it was uploaded; `encoding`, `split` and
    `quoting` are as in `open_source`; `ties` says what becomes of rows whose gold is a tie ("refuse" the file, "drop"
    them, or "keep" them without gold), `first` which cell of the gold column says that the first response is better.
    `progress` is called as rows are checked and, from 0 again, as they are stored; `stored` within the transaction, so
    that what it writes is there exactly if the data set is.
    """
    spec, name = task_spec(task), _dataset_name(path, name)
    _require_free(store, name)
    wish = Wish(mapping or {}, rule, labels, ties, first)
    source = reshaped(open_rows(path, content, encoding, split, quoting), spec, wish.mapping)
    prepared = prepare(spec, source.name, source.columns, source.head(LOOKED_AT)[1], wish)
    made = _Import(store, name, source, prepared, progress or (lambda done, total: None))
    return made.run(stored or (lambda report: None))


@dataclass
class _Import:
    """One import on its way through the file."""

    store: Store
    name: str
    source: Source
    prepared: Prepared
    progress: Progress

    def run(self, stored: Callable[[ImportReport], None]) -> ImportReport:
        task, plan = self.prepared.task, self.prepared.plan
        rule = rule_class(task.rule)((), task.labels, task.true_label)
        survey = self.prepared.builder.survey(self._told(self.source.total))
        findings, pairs = Findings(task.rule == "same-answer", plan.answer, survey.alike, task.rule), PairCounter(rule)
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
        """The records, with a word about each few hundred."""
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
            notes.append("The file is an export of ours: its ids were kept, the labels of its run were left behind.")
        if dropped:
            notes.append(f"Left out, since their gold is a tie: {dropped:,} row{'s' if dropped > 1 else ''}.")
        return notes

    def _report(self, dataset: Dataset, rows: int, groups: int, findings: Findings, pairs: PairCounter) -> ImportReport:
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


def _dataset_name(path: Path | str, given: str | None) -> str:
    """The name a person gave, else the file's without its ending; of the hub's, its last part."""
    if given is not None:
        name = given.strip()
    else:
        name = str(path).split("/")[-1] if str(path).startswith(PREFIX) else data_name(Path(path).name)
    if not name or not name.isprintable():
        raise SettingError(f"data set name {name!r} cannot be used: name it in printable characters (--name)")
    return name


def _require_free(store: Store, name: str) -> None:
    if store.has_dataset(name):  # said before a large file is read; the transaction looks again
        raise StoreError(f"data set {name!r} exists already: import it under another name (--name)")
