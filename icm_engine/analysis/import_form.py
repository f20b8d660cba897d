"""The import form: where a file may come from, the contents of its columns, a trial import, and the import."""

import os
import re
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from icm_engine import jobs
from icm_engine.analysis.formatting import without_flags
from icm_engine.core.consistency import RULES
from icm_engine.core.errors import ImportRefused
from icm_engine.core.labeling import Label
from icm_engine.core.text import expanded, one_line
from icm_engine.data.column_evidence import NOT_GOLD
from icm_engine.data.gold import load_gold
from icm_engine.data.import_plan import Preview, preview
from icm_engine.data.importing import ImportReport, import_file, import_spec, upload_path
from icm_engine.data.readers.encoding import PACKED
from icm_engine.data.readers.formats import TEXTS, data_name, kind_of
from icm_engine.data.row_parser import TIES  # re-exported for pages
from icm_engine.data.rule_check import RuleCheck, check_rule
from icm_engine.data.spellings import looks_like_labels, only_spellings, plain
from icm_engine.data.tasks import TASKS
from icm_engine.data.tasks.spec import RESERVED, TaskSpec
from icm_engine.store.store import Store

SMALL = 4_000_000  # bytes; up to this size a file is imported while the page waits, above it by a job
LISTED = 200  # files listed from the data folder
PACKING = 5  # assumed ratio of unpacked to packed size
DEPTH = 3  # depth of folders searched
MOST_FILES = 2000  # inside a folder that is itself a data set
TRIAL = "trial"


@dataclass(frozen=True, slots=True)
class IncomingFile:
    """A file to import: its name, its content or its path on this machine, and its text encoding.

    `encoding` is None if the file declares it or is UTF-8; `quoting` is None for a table whose quoting is evident;
    `split` names one of several splits in a folder or a JSON file.
    """

    name: str
    size: int
    content: bytes | None = None
    path: Path | None = None
    encoding: str | None = None
    quoting: str | None = None
    split: str | None = None

    @property
    def small(self) -> bool:
        """Whether the file is small enough to import while the page waits."""
        return self.size * (PACKING if self.name.lower().endswith(PACKED) else 1) <= SMALL

    @property
    def table(self) -> bool:
        """Whether the file is a table whose cells may be quoted."""
        return kind_of(self.name) == "csv"

    @property
    def is_text(self) -> bool:
        """Whether the format, judged by the file name, has an encoding."""
        return kind_of(self.name) in TEXTS

    @property
    def dataset(self) -> str:
        """The default name of the data set."""
        return data_name(self.name)

    def reading(self) -> dict[str, Any]:
        """Return how `import_file` and `preview` read the file."""
        return {"encoding": self.encoding, "quoting": self.quoting, "split": self.split or None}

    @property
    def source(self) -> Path:
        """The path that the importer reads, or the name that shows the format of the content."""
        return self.path or Path(self.name)


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices for an import; `mapping` has "" for an unused field.

    `ties` and `first` are those of `import_file`.
    """

    task: str
    name: str
    mapping: Mapping[str, Any]
    rule: str | None = None
    labels: Sequence[str] = ()
    ties: str = TIES[0]
    first: str | None = None

    def options(self, file: IncomingFile) -> dict[str, Any]:
        """Return the remaining arguments of `import_file` and `preview`."""
        mapping, labels = dict(self.mapping), list(self.labels)
        said = {"ties": self.ties, "first": self.first}
        return {"mapping": mapping, "rule": self.rule, "labels": labels, **file.reading(), **said}


@dataclass(frozen=True, slots=True)
class ImportTrial:
    """What an import would produce, found by importing into a temporary database."""

    report: ImportReport
    check: RuleCheck
    gold: Mapping[Label, int]  # examples by their gold label


def data_folder() -> Path:
    """Return the folder whose files a page may read: the environment variable ICM_DATA, else the current folder."""
    return expanded(os.environ.get("ICM_DATA") or Path.cwd()).resolve()


def files_there() -> list[str]:
    """Return data files in the data folder and its subfolders, as relative paths."""
    root = data_folder()
    found = (str(path.relative_to(root)) for path in _files(root, DEPTH))
    return [name for name, _ in zip(found, range(LISTED), strict=False)]


def _files(folder: Path, depth: int) -> Iterator[Path]:
    """Data files, a folder's own before those of its subfolders; hidden ones are left out."""
    try:
        entries = sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=str)
    except OSError:
        return
    yield from (path for path in entries if kind_of(path.name) is not None and path.is_file())
    if depth > 1:
        for path in entries:
            if path.is_dir() and not path.is_symlink():
                yield from _files(path, depth - 1)


def at_path(text: str) -> IncomingFile:
    """Return the file at a path within the data folder. Raises ImportRefused for any other path."""
    root, shown = data_folder(), text if len(text) <= 200 else f"{text[:200]}…"
    try:
        path = (root / expanded(text.strip())).resolve()
        if not path.is_relative_to(root):
            raise ImportRefused(
                f"{shown}: the page reads files inside {root} only: put it there, upload it, import it on the command "
                "line, or start the app with ICM_DATA set to its folder"
            )
        if not path.exists():
            raise ImportRefused(f"{shown}: there is no such file in {root}: check its name")
        return IncomingFile(path.name, sum(file.stat().st_size for file in _regular(path, root)), path=path)
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL character, a link loop
        cause = error.strerror if isinstance(error, OSError) else error
        raise ImportRefused(f"{shown}: this path cannot be looked up ({cause}): check its name") from None


def _regular(path: Path, root: Path) -> list[Path]:
    """The file, or the files of a folder. Raises ImportRefused for pipes, devices and links that lead outside."""
    found = [path] if not path.is_dir() else list(islice(path.rglob("*"), MOST_FILES + 1))
    if len(found) > MOST_FILES:
        raise ImportRefused(f"{path.name}: the folder has more than {MOST_FILES:,} files: name one that is a data set")
    files = [file for file in found if not file.is_dir()]
    for file in files:
        if not file.is_file() or not file.resolve().is_relative_to(root):
            raise ImportRefused(f"{file.name}: this is not a regular file inside {root}: copy its content into one")
    return files


def look(file: IncomingFile, choices: Choices | None = None) -> Preview:
    """Return the preview of a file with guessed or chosen settings. Raises ImportRefused, SettingError."""
    if choices is None:
        return preview(file.source, content=file.content, **file.reading())
    return preview(file.source, content=file.content, task=choices.task, **choices.options(file))


def fields_of(task: str) -> tuple[str, ...]:
    """Return the fields that a column can be mapped to, without `human`, which takes several columns."""
    spec = TASKS[task]
    unused = {"human", *(["group"] if spec.makes_twins else []), *([] if "claim" in spec.fields else ["answer"])}
    return (*spec.fields, *(name for name in RESERVED if name not in unused))


SAMPLES = 3  # cells shown beside the choice of a column
CUT = 54  # characters of such a cell
OFFERED = 3  # columns offered as gold
REPEATED = 2  # in a column of labels, each occurs at least this often on average


def sample_cells(found: Preview, column: str, most: int = SAMPLES) -> list[str]:
    """Return the first distinct cells of a column, each cut to one line."""
    cells = dict.fromkeys(one_line(row.get(column, "").strip()) for row in found.rows)
    shown = [cell for cell in cells if cell][:most]
    return [cell if len(cell) <= CUT else f"{cell[: CUT - 1]}…" for cell in shown]


def unused_columns(found: Preview, mapping: Mapping[str, Any]) -> list[str]:
    """Return the columns that no field uses, in file order."""
    used = {name for value in mapping.values() for name in ([value] if isinstance(value, str) else value)}
    return [column for column in found.columns if column not in used]


def labels_of(found: Preview, column: str | None) -> tuple[Label, ...]:
    """Return the distinct cells of a column in its first 1,000 rows; none if it cannot be a column of labels."""
    values = tuple(found.values.get(column or "", ()))
    return values if len(values) > 1 else ()


def offered_gold(found: Preview, mapping: Mapping[str, Any]) -> list[str]:
    """Return the unused columns that evidently hold labels, best first; none if a column is gold already.

    If the task has its own labels, the cells must spell them; otherwise the cells must have few values that repeat.
    """
    if mapping.get("gold") or found.task is None:
        return []
    labels = TASKS[found.task].labels
    free = [c for c in unused_columns(found, mapping) if not NOT_GOLD & set(plain(c).split("_"))]
    fits = [c for c in free if (only_spellings(found.values.get(c, ()), labels) if labels else _repeats(found, c))]
    return sorted(fits, key=lambda column: not looks_like_labels(column))[:OFFERED]


def _repeats(found: Preview, column: str) -> bool:
    labels = labels_of(found, column)
    return bool(labels) and sum(found.values[column].values()) >= REPEATED * len(labels)


def fitting_rules(task: str) -> list[str]:
    """Return the rules that can constrain the groups of a task."""
    spec = TASKS[task]
    unfit = {"none", *([] if spec.makes_twins else ["asymmetry"]), *([] if "claim" in spec.fields else ["same-answer"])}
    return [name for name in RULES if name not in unfit]


NO_GOLD = "no-gold"
ONE_LABEL = "one-label"
ONE_ROW = "one-row"
NO_RULE = "no-rule"
IDLE_RULE = "idle-rule"


@dataclass(frozen=True, slots=True)
class Remark:
    """A problem of the choices with the data: its kind (one of the constants above) and a sentence."""

    kind: str
    text: str


def data_remarks(found: Preview, choices: Choices, trial: ImportTrial | None = None) -> list[Remark]:
    """Return the problems of the choices with the data; without a trial, only those that the first rows show."""
    remarks = [_gold_remark(found, choices, trial)]
    if trial is None:
        return [remark for remark in remarks if remark is not None]
    if trial.report.rows == 1:
        remarks.insert(0, Remark(ONE_ROW, "The file has one row: there is no other example to predict its label from."))
    return [remark for remark in (*remarks, _rule_remark(trial)) if remark is not None]


def _gold_remark(found: Preview, choices: Choices, trial: ImportTrial | None) -> Remark | None:
    column = choices.mapping.get("gold")
    if not column:
        return Remark(NO_GOLD, "There is no gold: a run works, but its labels cannot be compared with the truth.")
    counts = trial.gold if trial is not None else found.values.get(column)
    if counts is None or len(counts) > 1:
        return None
    if not counts:
        return Remark(NO_GOLD, f"The gold column {column!r} is empty: labels cannot be compared with the truth.")
    return Remark(
        ONE_LABEL,
        f"All gold in column {column!r} is {next(iter(counts))!r}: one label for everything would look perfect.",
    )


def _rule_remark(trial: ImportTrial) -> Remark | None:
    report, check = trial.report, trial.check
    several = report.groups < report.examples
    if check.rule == "none" and several:
        return Remark(
            NO_RULE,
            f"There are {report.examples:,} examples in {report.groups:,} groups, but no rule: labels within a group "
            "may contradict each other.",
        )
    if check.rule != "none" and not check.pairs:
        why = "its examples give it nothing to compare" if several else "each example is a group of its own"
        return Remark(IDLE_RULE, f"The rule {check.rule} constrains no pair: {why}.")
    return None


_CONTROLS = (  # command-line options and the controls of the form that replace them
    (re.compile(r"--map (\w+)=(?=[).]|$)"), r"\1: not used"),
    (re.compile(r"--map (\w+)=.*?(?=[),:]| if |$)"), r"\1, under Columns"),
    (re.compile(r"--first-wins CELL, or First response on the page"), "First response"),
    (re.compile(r"--first-wins (\w+)"), r"First response: \1"),
    (re.compile(r"--ties keep; Ties on the page"), "Ties: keep the rows without gold"),
    (re.compile(r"--ties drop"), "Ties: leave the rows out"),
    (re.compile(r"--ties keep"), "Ties: keep the rows without gold"),
    (re.compile(r"--quoting none"), "Quotation marks: they are text"),
    (re.compile(r"--quoting double"), "Quotation marks: they quote cells"),
    (re.compile(r"--labels A,B"), "Labels"),
    (re.compile(r"--encoding ?"), "Encoding "),
    (re.compile(r"--split ?"), "Split "),
    (re.compile(r"--name"), "Name of the data set"),
)  # fmt: skip


def in_page_words(text: str) -> str:
    """Return a message of the importer with the form's controls instead of command-line options.

    >>> in_page_words("say which it is (--map claim=COLUMN)")
    'say which it is (claim, under Columns)'
    >>> in_page_words("if it is not gold, say --map gold=.")
    'if it is not gold, say gold: not used.'
    """
    for option, control in _CONTROLS:
        text = option.sub(control, text)
    return without_flags(text.replace(" )", ")"))


def tasks() -> Mapping[str, TaskSpec]:
    """Return the tasks by name."""
    return TASKS


def try_out(file: IncomingFile, choices: Choices) -> ImportTrial:
    """Return what an import would produce, without keeping it. Raises the errors of the import."""
    with tempfile.TemporaryDirectory(prefix="icm-trial-") as folder, Store(Path(folder) / "icm.db") as store:
        report = import_file(store, file.source, choices.task, TRIAL, content=file.content, **choices.options(file))
        gold = Counter(load_gold(store, TRIAL).labels.values())
        return ImportTrial(report, check_rule(store, TRIAL), dict(gold))


def save(store: Store, file: IncomingFile, choices: Choices) -> str | None:
    """Import a small file now, or return the job that imports a large one. Raises the errors of the import."""
    if file.small:
        import_file(store, file.source, choices.task, choices.name, content=file.content, **choices.options(file))
        return None
    path = file.path or _kept(store, file)
    return jobs.request(store, import_spec(path, choices.task, choices.name, **choices.options(file)))


def _kept(store: Store, file: IncomingFile) -> Path:
    """Store an uploaded file where the job finds it."""
    path = upload_path(store, uuid.uuid4().hex, file.name)
    path.parent.mkdir(parents=True)
    path.write_bytes(file.content or b"")
    return path
