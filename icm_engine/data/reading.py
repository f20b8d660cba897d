"""Open what holds a data set, whatever its form: CSV, TSV, JSON, JSONL, Parquet, Arrow, a directory, or the hub."""

from pathlib import Path

from icm_engine.core.errors import ImportRefused, SettingError
from icm_engine.core.paths import expanded
from icm_engine.data.readers import arrow_files, hub
from icm_engine.data.readers.delimited import DelimitedSource
from icm_engine.data.readers.dialect import QUOTINGS
from icm_engine.data.readers.json_rows import JsonSource
from icm_engine.data.readers.packed import PACKED
from icm_engine.data.readers.source import NoText, Record, Source, refuse, storable, strange
from icm_engine.data.readers.text import TextFile, kind_ending, unpacked_name

__all__ = [
    "ENDINGS", "KINDS", "QUOTINGS", "NoText", "Record", "Source", "data_name", "kind_of", "open_source", "refuse",
    "storable", "strange",
]  # fmt: skip

KINDS = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow",
}  # fmt: skip
ENDINGS = (*KINDS, PACKED)  # of files that may hold data
TEXTS = ("csv", "json", "jsonl")  # kinds that may be packed
SHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")


def open_source(
    path: Path | str,
    content: bytes | None = None,
    encoding: str | None = None,
    split: str | None = None,
    quoting: str | None = None,
) -> Source:
    """Open a file, a directory or "hub:owner/name", or `content` under a file's name. Raises ImportRefused.

    `encoding` is that of a text file whose bytes do not say (None: UTF-8, or what its byte order mark says); `split`
    is one of a data set that has several, or the list of a JSON file that has several; `quoting` says what quotation
    marks mean in CSV and TSV: "double" (they quote, and two are one), "none" (they are text), None (as the file shows).
    """
    path = Path(path) if str(path).startswith(hub.PREFIX) else expanded(path)
    kind = kind_of(path.name)
    if quoting is not None and quoting not in QUOTINGS:
        raise SettingError(f"quoting is {quoting!r}: use one of {', '.join(QUOTINGS)}")
    if quoting is not None and kind != "csv":
        raise SettingError(f"quoting is {quoting!r}, but {path.name} is no CSV or TSV: leave it out (--quoting)")
    if content is None and str(path).startswith(hub.PREFIX):
        return hub.HubSource(str(path), split)
    if content is None and path.is_dir():
        return arrow_files.open_directory(path, split)
    if kind is None:
        raise _unknown(path)
    if split is not None and kind != "json":
        raise SettingError(f"split is {split!r}, but {path.name} is one file: leave it out (--split)")
    if kind in ("parquet", "arrow"):
        return arrow_files.open_arrow(path, content)
    file = TextFile(path, content, encoding)
    return DelimitedSource(file, quoting) if kind == "csv" else JsonSource(file, kind == "jsonl", split)


def kind_of(name: str) -> str | None:
    """Return what a file's name says it is, None for none of `KINDS`; texts may be packed (.csv.gz)."""
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
