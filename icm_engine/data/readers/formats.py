"""Open any data set source: CSV, TSV, JSON, JSONL, Parquet, Arrow, a directory, or the hub."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from icm_engine.core.errors import HubError, ImportRefused, SettingError
from icm_engine.core.resources import install_command
from icm_engine.core.text import expanded
from icm_engine.data.readers import arrow
from icm_engine.data.readers.arrow import BATCH, ArrowSource, chosen_split
from icm_engine.data.readers.delimited import DelimitedSource
from icm_engine.data.readers.dialect import QUOTINGS
from icm_engine.data.readers.encoding import PACKED, TextFile, kind_ending, unpacked_name
from icm_engine.data.readers.json_rows import JsonSource
from icm_engine.data.readers.source import RestoredSource, RowSource

PREFIX = "hub:"


class HubSource(ArrowSource):
    """One split of a hub data set, downloaded once into the library's own cache."""

    kind = "hub"

    def __init__(self, name: str, split: str | None) -> None:
        owner, _, subset = _parts(name)
        loaded = _load(name, f"{owner}/{_parts(name)[1]}", subset, split)
        if split is None:
            loaded = loaded[chosen_split(list(loaded), None, name)]
        self.table = loaded.with_format("arrow")
        super().__init__(name, loaded.features.arrow_schema, loaded.num_rows)

    def batches(self) -> Iterator[Any]:
        for table in self.table.iter(BATCH):
            yield from table.combine_chunks().to_batches()


def _parts(name: str) -> tuple[str, str, str | None]:
    """Owner, name and subset of "hub:owner/name/subset". Raises ImportRefused."""
    parts = name.removeprefix(PREFIX).split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise ImportRefused(f"{name}: a data set of the hub is named hub:owner/name or hub:owner/name/subset")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else None


def _load(name: str, identity: str, subset: str | None, split: str | None) -> Any:
    """Load a data set with the library. Raises HubError if it is missing, or for any error of it or the network."""
    try:
        import datasets
    except ImportError:
        raise HubError(
            f"{name}: reading the hub needs the datasets library, which is not installed: "
            f"install it (python -m {install_command('hub')}), or download the files"
        ) from None
    try:
        return datasets.load_dataset(identity, subset, split=split)
    except Exception as error:  # errors of the library, the hub client and the network have no common class
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise HubError(
            f"{name}: the download from the hub failed ({said}): check the name, the split and the network"
        ) from None


KINDS = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow",
}  # fmt: skip
ENDINGS = (*KINDS, PACKED)  # of files that may hold data
TEXTS = ("csv", "json", "jsonl")  # formats that may be packed
SHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")


def open_source(
    path: Path | str,
    content: bytes | None = None,
    encoding: str | None = None,
    split: str | None = None,
    quoting: str | None = None,
) -> RowSource:
    """Open a file, a directory or "hub:owner/name", or `content` under a file's name. Raises ImportRefused.

    `encoding` applies to text files without a byte order mark (None: UTF-8); `split` chooses among several splits, or
    among several lists in a JSON file; `quoting` says what quotation marks mean in CSV and TSV: "double" (they quote,
    and two are one), "none" (they are text), None (as the file shows).
    """
    path = Path(path) if str(path).startswith(PREFIX) else expanded(path)
    kind = kind_of(path.name)
    if quoting is not None and quoting not in QUOTINGS:
        raise SettingError(f"quoting is {quoting!r}: use one of {', '.join(QUOTINGS)}")
    if quoting is not None and kind != "csv":
        raise SettingError(f"quoting is {quoting!r}, but {path.name} is not CSV or TSV: leave it out (--quoting)")
    if content is None and str(path).startswith(PREFIX):
        return HubSource(str(path), split)
    if content is None and path.is_dir():
        return arrow.open_directory(path, split)
    if kind is None:
        raise _unknown(path)
    if split is not None and kind != "json":
        raise SettingError(f"split is {split!r}, but {path.name} is one file: leave it out (--split)")
    if kind in ("parquet", "arrow"):
        return arrow.open_arrow(path, content)
    file = TextFile(path, content, encoding)
    return DelimitedSource(file, quoting) if kind == "csv" else JsonSource(file, kind == "jsonl", split)


FORMS = {"csv": "CSV", "json": "JSON", "jsonl": "JSON Lines", "parquet": "Parquet", "arrow": "Arrow"}


def described(source: RowSource) -> str:
    """Return how an open file was read, in one line: its format, and of a text file encoding and quoting."""
    source = source.source if isinstance(source, RestoredSource) else source
    form, file = FORMS.get(source.kind, source.kind), getattr(source, "file", None)
    if not isinstance(file, TextFile):
        return form
    encoding = file.encoding.removesuffix("-sig").upper()
    parts = [form, *(["unpacked from gzip"] if file.packed else []), encoding]
    if isinstance(source, DelimitedSource):
        parts[0] = f"{form}, cells separated by {source.dialect.name}"
        parts.append("quotation marks quote cells" if source.dialect.quoted else "quotation marks are text")
    return " · ".join(parts)


def kind_of(name: str) -> str | None:
    """Return the format that a file's name implies; None if none of `KINDS`. Text files may be packed (.csv.gz)."""
    kind = KINDS.get(kind_ending(name))
    return kind if kind in TEXTS or unpacked_name(name) == name else None


def data_name(name: str) -> str:
    """Return a file's name without its endings: "d" for d.csv.gz."""
    return Path(unpacked_name(name)).stem


def _unknown(path: Path) -> ImportRefused:
    ending = path.suffix
    if ending.lower() in SHEETS:
        return ImportRefused(
            f"{path.name}: a spreadsheet is not read, and the ending {ending!r} is not one of {', '.join(KINDS)}: save "
            "the sheet as CSV (UTF-8) in the spreadsheet, and import that"
        )
    if KINDS.get(kind_ending(path.name)) is not None:
        return ImportRefused(f"{path.name}: only text is read packed by gzip: unpack it (gunzip), and import that")
    return ImportRefused(
        f"{path.name}: the ending {ending!r} is not one of {', '.join(KINDS)}, or a text's with .gz: save it as one"
    )
