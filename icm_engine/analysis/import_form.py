"""The import form: where a file may come from, a trial import, and the import itself."""

import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from icm_engine import jobs
from icm_engine.core.errors import ImportRefused
from icm_engine.core.text import expanded
from icm_engine.data.import_plan import Preview, preview
from icm_engine.data.importing import ImportReport, import_file, import_spec, upload_path
from icm_engine.data.readers.encoding import PACKED
from icm_engine.data.readers.formats import ENDINGS as WITH_DOTS
from icm_engine.data.readers.formats import data_name, kind_of
from icm_engine.data.row_parser import TIES  # re-exported for pages
from icm_engine.data.rule_check import RuleCheck, check_rule
from icm_engine.data.tasks import TASKS
from icm_engine.data.tasks.spec import RESERVED, TaskSpec
from icm_engine.store.store import Store

SMALL = 4_000_000  # bytes; up to this size a file is imported while the page waits, above it by a job
LISTED = 200  # files listed from the data folder
PACKING = 5  # assumed ratio of unpacked to packed size
DEPTH = 3  # depth of folders searched
MOST_FILES = 2000  # inside a folder that is itself a data set
TRIAL = "trial"
ENDINGS = tuple(ending.removeprefix(".") for ending in WITH_DOTS)


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
    """Choices made for an import; `mapping` has "" for an unused field.

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
            raise ImportRefused(f"{file.name}: this is no regular file inside {root}: copy its content into one")
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


def tasks() -> Mapping[str, TaskSpec]:
    """Return the tasks by name."""
    return TASKS


def try_out(file: IncomingFile, choices: Choices) -> ImportTrial:
    """Return what an import would produce, without keeping it. Raises the errors of the import."""
    with tempfile.TemporaryDirectory(prefix="icm-trial-") as folder, Store(Path(folder) / "icm.db") as store:
        report = import_file(store, file.source, choices.task, TRIAL, content=file.content, **choices.options(file))
        return ImportTrial(report, check_rule(store, TRIAL))


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
