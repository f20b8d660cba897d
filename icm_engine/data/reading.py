"""Open what holds a data set, whatever its form: CSV, TSV, JSON, JSONL, Parquet, Arrow, a directory, or the hub."""

from pathlib import Path

from icm_engine.core.errors import ImportRefused, SettingError
from icm_engine.data.readers import arrow_files, hub
from icm_engine.data.readers.delimited import DelimitedSource
from icm_engine.data.readers.json_rows import JsonSource
from icm_engine.data.readers.source import NoText, Record, Source, refuse, storable, strange
from icm_engine.data.readers.text import TextFile

__all__ = ["KINDS", "NoText", "Record", "Source", "open_source", "refuse", "storable", "strange"]

KINDS = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".arrow": "arrow",
}  # fmt: skip


def open_source(
    path: Path | str, content: bytes | None = None, encoding: str | None = None, split: str | None = None
) -> Source:
    """Open a file, a directory or "hub:owner/name", or `content` under a file's name. Raises ImportRefused.

    `encoding` is that of a text file whose bytes do not say (None: UTF-8, or what its byte order mark says);
    `split` is one of a data set that has several.
    """
    path = Path(path)
    if content is None and str(path).startswith(hub.PREFIX):
        return hub.HubSource(str(path), split)
    if content is None and path.is_dir():
        return arrow_files.open_directory(path, split)
    if split is not None:
        raise SettingError(f"split is {split!r}, but {path.name} is one file: leave it out (--split)")
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise ImportRefused(f"{path.name}: the ending {path.suffix!r} is not one of {', '.join(KINDS)}: save it as one")
    if kind in ("parquet", "arrow"):
        return arrow_files.open_arrow(path, content)
    return _open_text(TextFile(path, content, encoding), kind)


def _open_text(file: TextFile, kind: str) -> Source:
    return DelimitedSource(file) if kind == "csv" else JsonSource(file, lines=kind == "jsonl")
