"""Parquet files, and directories from `Dataset.save_to_disk` or a hub clone: Arrow tables, in batches."""

import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from icm_engine.core.errors import ImportRefused
from icm_engine.core.text import LOOKED_AT
from icm_engine.data.readers.encoding import refuse_strangers
from icm_engine.data.readers.source import NoText, Record, check_cell, check_columns

BATCH = 2000  # rows held at once


class ArrowSource:
    """Rows of Arrow batches; see `RowSource`. Subclasses open the file and yield its batches."""

    kind = "parquet"
    notes: tuple[str, ...] = ()

    def __init__(self, name: str, schema: Any, total: int | None) -> None:
        self.name, self.total = name, total
        self.columns: tuple[str, ...] = tuple(schema.names)
        self._label_names = label_names(schema)
        check_columns(self.columns, name)

    def batches(self) -> Iterator[Any]:
        """Yield the record batches from the first one."""
        raise NotImplementedError

    def records(self) -> Iterator[Record]:
        """Yield the rows."""
        number = 0
        for batch in self._batches_or_refusal():
            cells = [self._texts(name, column) for name, column in zip(self.columns, batch.columns, strict=True)]
            for row in zip(*cells, strict=True):
                number += 1
                yield self._record(f"row {number}", row)
        self.total = number

    def head(self, rows: int) -> tuple[tuple[str, ...], list[Record]]:
        """Return the columns and the first rows."""
        return self.columns, list(islice(self.records(), rows))

    def _batches_or_refusal(self) -> Iterator[Any]:
        batches = self.batches()
        while True:
            with refused_if_unreadable(self.name):
                batch = next(batches, None)
                if batch is not None:
                    batch.validate(full=True)  # a damaged file may have offsets outside itself
            if batch is None:
                return
            yield batch

    def _texts(self, name: str, column: Any) -> list[str]:
        """The cells of a column as text; a class label as its name."""
        with refused_if_unreadable(self.name):
            values = column.to_pylist()
        if names := self._label_names.get(name):
            return [_named(value, names) for value in values]
        return [value if type(value) is str else _text(value) for value in values]

    def _record(self, where: str, row: Sequence[str]) -> Record:
        cells = dict(zip(self.columns, row, strict=True))
        for column, cell in cells.items():
            check_cell(cell, self.name, where, column)
        return Record(where, cells)


def label_names(schema: Any) -> Mapping[str, Sequence[str]]:
    """Return the class label names by column, as `datasets` stores them in the schema."""
    noted = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(noted)["info"]["features"] if noted else {}
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # metadata by another program: the numbers stay numbers


@contextmanager
def refused_if_unreadable(name: str) -> Iterator[None]:
    """Turn pyarrow's errors on damaged or unusual files into ImportRefused."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImportRefused(f"{name}: the file cannot be read ({said}): write it again") from None


def _named(value: Any, names: Sequence[str]) -> str:
    """The name of a class label; -1 means missing."""
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return "" if value is None or value == -1 else str(value)


def _text(value: Any) -> str:
    """A value as text: empty for None and NaN, `NoText` for nested values."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, dict | list | tuple):
        return NoText(json.dumps(value, ensure_ascii=False, default=_nested))
    return str(value)


def _nested(value: Any) -> str:
    return str(_decoded(value)) if isinstance(value, bytes) else str(value)


def _decoded(value: bytes) -> str:
    """Decode texts that some writers store as plain bytes."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return NoText(f"<{len(value):,} bytes>")


_SHARD = re.compile(r"(.+?)-\d+-of-\d+")  # train-00000-of-00002.parquet
_FILE = b"ARROW1"  # magic bytes of the file format, also called Feather
_OLD = b"FEA1"


class ParquetSource(ArrowSource):
    """Parquet files of one schema, read in order."""

    def __init__(self, name: str, paths: Sequence[Path], content: bytes | None = None) -> None:
        self.paths, self.content = paths, content
        _refuse_strangers(paths, content)
        with refused_if_unreadable(name):
            files = [self._open(path) for path in paths]
            super().__init__(name, files[0].schema_arrow, sum(file.metadata.num_rows for file in files))
            odd = next(
                (p for p, f in zip(paths, files, strict=True) if f.schema_arrow.names != list(self.columns)), None
            )
        if odd is not None:
            raise ImportRefused(f"{name}: {odd.name} has other columns than {paths[0].name}: import one of them")

    def batches(self) -> Iterator[Any]:
        for path in self.paths:
            yield from self._open(path).iter_batches(BATCH)

    def _open(self, path: Path) -> Any:
        import pyarrow.parquet

        if self.content is not None:
            return pyarrow.parquet.ParquetFile(io.BytesIO(self.content))
        return pyarrow.parquet.ParquetFile(path, memory_map=True)


class ArrowFilesSource(ArrowSource):
    """Arrow stream or file format files, read in order, memory-mapped rather than loaded."""

    kind = "arrow"

    def __init__(self, name: str, paths: Sequence[Path], content: bytes | None = None) -> None:
        self.paths, self.content = paths, content
        _refuse_strangers(paths, content)
        with refused_if_unreadable(name):
            super().__init__(name, self._open(paths[0]).schema, None)
            self.total = sum(batch.num_rows for path in paths for batch in self._stored(path))

    def batches(self) -> Iterator[Any]:
        for path in self.paths:
            for batch in self._stored(path):
                yield from (batch.slice(start, BATCH) for start in range(0, batch.num_rows, BATCH))

    def _stored(self, path: Path) -> Iterator[Any]:
        """The batches as stored; compressed ones are unpacked one at a time."""
        opened = self._open(path)
        count = getattr(opened, "num_record_batches", None)  # of the file format
        return iter(opened) if count is None else (opened.get_batch(k) for k in range(count))

    def _open(self, path: Path) -> Any:
        import pyarrow

        file = pyarrow.memory_map(str(path)) if self.content is None else pyarrow.BufferReader(self.content)
        beginning = _beginning(path, self.content)
        return pyarrow.ipc.open_file(file) if beginning.startswith(_FILE) else pyarrow.ipc.open_stream(file)


def _beginning(path: Path, content: bytes | None) -> bytes:
    """The first bytes of a file; empty if it cannot be read, which its next reader reports."""
    if content is not None:
        return content[:LOOKED_AT]
    try:
        with path.open("rb") as file:
            return file.read(LOOKED_AT)
    except (OSError, ValueError):
        return b""


def _refuse_strangers(paths: Sequence[Path], content: bytes | None) -> None:
    for path in paths:
        refuse_strangers(beginning := _beginning(path, content), path.name)
        if beginning.startswith(_OLD):
            raise ImportRefused(
                f"{path.name}: the file is in version 1 of Feather: write it again (pandas.read_feather, to_feather)"
            )


def open_arrow(path: Path, content: bytes | None = None) -> ArrowSource:
    """Open one Parquet or Arrow file. Raises ImportRefused."""
    form = ParquetSource if path.suffix.lower() == ".parquet" else ArrowFilesSource
    return form(path.name, [path], content)


def open_directory(path: Path, split: str | None = None) -> ArrowSource:
    """Open a directory of a `datasets` data set, or one split of it. Raises ImportRefused."""
    if (path / "state.json").is_file():
        return ArrowFilesSource(path.name, _saved_files(path))
    if (path / "dataset_dict.json").is_file():
        splits = _names(path, "dataset_dict.json", "splits")
        return open_directory(path / chosen_split(splits, split, path.name))
    return _open_shards(path, split)


def chosen_split(splits: Sequence[str], split: str | None, name: str) -> str:
    """Return the requested split, or the only one. Raises ImportRefused."""
    if not splits:
        raise ImportRefused(f"{name}: the data set has no splits: it is empty")
    chosen = splits[0] if split is None and len(splits) == 1 else split
    if chosen is None or chosen not in splits:
        asked = "" if split is None else f", but no {split!r}"
        raise ImportRefused(
            f"{name}: the data set has the splits {', '.join(splits)}{asked}: name one (--split {splits[0]})"
        )
    return chosen


def _saved_files(path: Path) -> list[Path]:
    """The files of one saved split; a name that leads outside the directory is refused."""
    files = [path / name for name in _names(path, "state.json", "_data_files")]
    for file in files:
        if file.parent != path or not file.is_file():
            raise ImportRefused(f"{path.name}: state.json names {file.name!r}, which is not there: save it again")
    return files


def _names(path: Path, file: str, key: str) -> list[str]:
    """The names listed in a metadata file of `datasets`."""
    try:
        listed = json.loads((path / file).read_text(encoding="utf-8"))[key]
        names = [str(item["filename"]) if isinstance(item, dict) else str(item) for item in listed]
    except (OSError, ValueError, KeyError, TypeError):
        names = []
    if not names:
        raise ImportRefused(f"{path.name}: {file} names no {key.strip('_').replace('_', ' ')}: save the data set again")
    return names


def _open_shards(path: Path, split: str | None) -> ArrowSource:
    """The Parquet files of a directory in the hub's layout: data/train-00000-of-00001.parquet."""
    shards: dict[str, list[Path]] = {}
    for file in sorted(path.rglob("*.parquet")):
        match = _SHARD.fullmatch(file.stem)
        shards.setdefault(match[1] if match else file.stem, []).append(file)
    if not shards:
        raise ImportRefused(
            f"{path}: the directory was not saved by `datasets` and has no Parquet file: name a file in it"
        )
    return ParquetSource(path.name, shards[chosen_split(list(shards), split, path.name)])
