"""A pandas frame as a data set: through the importer, like any file, under a name that its content gives."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icm_engine.core.errors import ImportRefused, StoreError
from icm_engine.core.labeling import Example
from icm_engine.data.building import TWIN_SUFFIX
from icm_engine.data.columns import PREFIX, Mapped, plain
from icm_engine.data.importing import import_file
from icm_engine.data.tasks import task_spec
from icm_engine.runs.store import Store

if TYPE_CHECKING:
    import pandas

Cells = dict[str, str | None]

DIGEST = 12  # hexadecimal digits of the content hash in a name


@dataclass(frozen=True, slots=True)
class FrameImport:
    """The data set a frame became, and the id of the example that each of its rows became."""

    dataset: str
    ids: tuple[str, ...]


def import_frame(
    store: Store,
    frame: pandas.DataFrame,
    task: str,
    name: str | None = None,
    mapping: Mapped | None = None,
    rule: str | None = None,
    labels: Sequence[str] = (),
) -> FrameImport:
    """Import a frame, or find the data set it has already become. Raises ImportRefused, SettingError, StoreError.

    Columns that begin with `icm_` are labels of an earlier run and stay out. The importer's notes go to stderr.
    """
    cells = _cells(frame)
    content = "\n".join(json.dumps(row) for row in cells).encode()
    digest = _digest(content, repr(task_spec(task)), mapping or {}, rule, labels)
    name, source = name or f"frame-{digest}", f"{digest}.jsonl"

    def ids() -> tuple[str, ...]:
        return _ids(store.dataset(name).examples, cells, mapping or {}, name)

    if not store.has_dataset(name):
        made = list[str]()  # while the import can still be taken back
        report = import_file(
            store, source, task, name, mapping, rule, labels, content, stored=lambda report: made.extend(ids())
        )
        for note in report.notes:
            print(note, file=sys.stderr)
        return FrameImport(name, tuple(made))
    if store.dataset_info(name).source != source:
        raise StoreError(f"data set {name!r} exists already and has other rows: give this frame another name")
    return FrameImport(name, ids())


def _cells(frame: pandas.DataFrame) -> list[Cells]:
    """Every row as texts by column, None for what is missing, nested values as JSON."""
    import pandas

    kept = frame.loc[:, [not str(c).startswith(PREFIX) for c in frame.columns]]
    columns = [str(column) for column in kept.columns]
    if doubled := next((c for c in columns if columns.count(c) > 1), None):
        raise ImportRefused(f"the frame has column {doubled!r} twice: rename one")
    if kept.empty:
        raise ImportRefused(f"the frame has {len(kept)} rows and {len(columns)} columns: nothing was imported")

    def text(value: Any) -> str | None:
        if pandas.api.types.is_list_like(value):
            return json.dumps(value.tolist() if hasattr(value, "tolist") else value, ensure_ascii=False, default=str)
        return None if pandas.isna(value) else str(value)

    return [dict(zip(columns, map(text, row), strict=True)) for row in kept.itertuples(index=False, name=None)]


def _digest(content: bytes, task: str, mapping: Mapped, rule: str | None, labels: Sequence[str]) -> str:
    """A name for all that decides what the import makes."""
    asked = json.dumps([task, sorted(mapping.items()), rule, list(labels)], default=list)
    return hashlib.sha256(asked.encode() + b"\n" + content).hexdigest()[:DIGEST]


def _ids(examples: Sequence[Example], cells: Sequence[Cells], mapping: Mapped, name: str) -> tuple[str, ...]:
    """The ids of the rows' own examples, in the frame's order: all but the twins that the importer made."""
    column = _id_column(list(cells[0]), mapping)
    given = {str(row[column]).strip() for row in cells} if column is not None else None
    own = tuple(_own(examples, given))
    if len(own) != len(cells):
        raise ImportRefused(
            f"the frame has {len(cells)} rows, and would become {len(own)} examples: bring it into one answer a row, "
            "or import it as a file"
        )
    return own


def _own(examples: Sequence[Example], given: set[str] | None) -> Iterator[str]:
    """Ids out of a column tell their rows; else an id is a content hash, and a made twin's has the suffix."""
    for example in examples:
        made = example.id not in given if given is not None else TWIN_SUFFIX in example.id
        if not made:
            yield example.id


def _id_column(columns: Sequence[str], mapping: Mapped) -> str | None:
    """The column that the importer takes ids from: the mapped one, else a free one called id."""
    if "id" in mapping:
        wanted = mapping["id"] if isinstance(mapping["id"], str) else next(iter(mapping["id"]), "")
        return next((c for c in columns if c == wanted), next((c for c in columns if plain(c) == plain(wanted)), None))
    mapped = {c for named in mapping.values() for c in ([named] if isinstance(named, str) else named)}
    return next((c for c in columns if plain(c) == "id" and c not in mapped), None)
