"""Data sets in the database, and the batches they are split into; read in parts, never with gold.

Stored splits can be deleted: a split is a function of the groups, the size and the seed, and is made again. Positions
count from 0 within a data set; an index knows the last position of every group.
"""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from icm_engine.core.batching import FIRST, BatchPart, Cut, fitting_groups, split
from icm_engine.core.consistency import Unconstrained
from icm_engine.core.errors import SettingError, StoreError
from icm_engine.core.labeling import Example, Task
from icm_engine.store.database import not_found, stored_json
from icm_engine.store.events import Json
from icm_engine.store.lazy_examples import PartRows, StoredRows, among, example_of, inputs_of

if TYPE_CHECKING:
    from sqlite_utils import Database


def make_parts(db: Database, dataset: str, places: Sequence[int], size: int, seed: int) -> int:
    """Store the split of what a limit takes of a data set, unless stored already; return the number of batches.

    Call it in a transaction. Uses some 30 bytes of memory an example and reads no example. Raises SettingError.
    """
    key = (dataset, _key(places), size, seed)
    known = db.execute(
        "select count(*) from parts where dataset = ? and examples = ? and size = ? and seed = ?", key
    ).fetchone()[0]
    if known:
        return int(known)
    counts, positions = _groups(db, dataset, places)
    batches = split(counts, size, seed)
    rows = (
        (*key, number, json.dumps(places, separators=(",", ":")))
        for number, places in _placed(batches, counts, positions)
    )
    db.conn.executemany("insert into parts values (?, ?, ?, ?, ?, ?)", rows)
    return len(batches)


def read_part(db: Database, dataset: str, places: Sequence[int], part: BatchPart) -> tuple[int, ...]:
    """Return the positions of a batch's examples, in data set order. Raises SettingError."""
    query = "select positions from parts where dataset = ? and examples = ? and size = ? and seed = ? and number = ?"
    key = [dataset, _key(places), part.size, part.seed, part.number]
    row = db.execute(query, key).fetchone()
    if row is None:
        with db.conn:
            of = make_parts(db, dataset, places, part.size, part.seed)
        row = db.execute(query, key).fetchone()
        if row is None or of != part.of:
            raise SettingError(
                f"data set {dataset!r} has {of} batches of {part.size}, and no batch {part.number} of {part.of}: "
                "use a number within these"
            )
    return tuple(stored_json(row[0], f"batch {part.number} of data set {dataset!r}"))


def keep_whole(db: Database, dataset: str, examples: int, part: BatchPart) -> None:
    """Store a batch whose examples are all this database has of the data set. Call it in a transaction."""
    places = json.dumps(list(range(examples)), separators=(",", ":"))
    key = (dataset, examples, part.size, part.seed, part.number)
    db.conn.execute("insert into parts values (?, ?, ?, ?, ?, ?)", (*key, places))


def _key(places: Sequence[int]) -> int:
    """The key of what a limit takes: the number of examples, negative if these are not the first ones.

    Limits that take equally many take the same ones, since each takes every group that still fits.
    """
    return len(places) if isinstance(places, range) else -len(places)


def _groups(db: Database, dataset: str, places: Sequence[int]) -> tuple[array[int], array[int]]:
    """The number of examples per group, by group name, and the positions of all examples, group by group."""
    counts, positions, last = array("L"), array("L"), None
    some, value = among(places)
    query = (
        f"select consistency_group, position from examples where dataset = ? and {some} "
        "order by consistency_group, position"  # the order of an index
    )
    for group, position in db.execute(query, [dataset, value]):
        if group != last:
            counts.append(0)
            last = group
        counts[-1] += 1
        positions.append(position)
    return counts, positions


def _placed(
    batches: Sequence[Sequence[int]], counts: Sequence[int], positions: Sequence[int]
) -> Iterator[tuple[int, list[int]]]:
    ends = array("L", accumulate(counts))
    for number, groups in enumerate(batches, 1):
        yield number, sorted(p for group in groups for p in positions[ends[group] - counts[group] : ends[group]])


_JSON = json.JSONEncoder(ensure_ascii=False)
Row = tuple[str, str, str, str | None, str | None, str]
_EXAMPLES = "select id, fields, consistency_group, answer, twin_of, input from examples where dataset = ? "
Wanted = Cut | int | None  # what a run takes of a data set: a limit by the newest version, or everything


@dataclass(frozen=True, slots=True)
class Dataset:
    """An imported data set: the task, the examples in order with their input rows, and the import's notes."""

    name: str
    task: Task
    examples: Sequence[Example]
    inputs: Sequence[Json]
    columns: tuple[str, ...] = ()
    source: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A data set's task and size, without its examples; `gold` and `human` count labels, `created` is a time."""

    name: str
    task: Task
    source: str
    columns: tuple[str, ...]
    notes: tuple[str, ...]
    created: float
    examples: int
    groups: int
    gold: int
    human: int


def read_info(db: Database, name: str) -> DatasetInfo:
    """Return a data set without its examples. Raises NotFound."""
    query = (
        "select name, task, source, columns, notes, created, examples, consistency_groups, gold, human "
        "from datasets where name = ?"
    )
    row = db.execute(query, [name]).fetchone()
    if row is None:
        known = ", ".join(read_names(db)) or "none yet"
        message = f"data set {name!r} does not exist: import it first; there are: {known}"
        raise not_found(db.conn, "datasets", message)
    told, columns, notes = (stored_json(row[k], f"data set {name!r}") for k in (1, 3, 4))
    task = Task(**{**told, "labels": tuple(told["labels"]), "fields": tuple(told["fields"])})
    return DatasetInfo(row[0], task, row[2], tuple(columns), tuple(notes), *row[5:])


def has_twins(db: Database, name: str) -> bool:
    """Return whether any example of a data set is the swapped twin of another."""
    query = "select 1 from examples where dataset = ? and twin_of is not null limit 1"
    return db.execute(query, [name]).fetchone() is not None


def has_answers(db: Database, name: str) -> bool:
    """Return whether any example of a data set has a final answer."""
    query = "select 1 from examples where dataset = ? and answer is not null limit 1"
    return db.execute(query, [name]).fetchone() is not None


def read_names(db: Database) -> list[str]:
    """Return all data sets in order of import."""
    return [row[0] for row in db.execute("select name from datasets order by created, name")]


def read_dataset(db: Database, name: str, wanted: Wanted = None) -> Dataset:
    """Return a data set, or a part of it, in its order. Raises NotFound."""
    info = read_info(db, name)
    rows = list(read_places(db, name, places_of_cut(db, info, wanted)))
    examples, inputs = tuple(row[0] for row in rows), tuple(row[1] for row in rows)
    return Dataset(name, info.task, examples, inputs, info.columns, info.source, info.notes)


def open_dataset(db: Database, path: Path, name: str, wanted: Wanted = None, part: BatchPart | None = None) -> Dataset:
    """Return a data set as `read_dataset` does, or one batch of it, with rows read on access.

    Raises NotFound, SettingError.
    """
    info = read_info(db, name)
    places = places_of_cut(db, info, wanted)
    if part is not None:
        places = read_part(db, name, places, part)
    examples: Sequence[Example]
    inputs: Sequence[Json]
    if isinstance(places, range):
        examples = StoredRows(path, name, len(places), example_of)
        inputs = StoredRows(path, name, len(places), inputs_of)
    else:
        examples = PartRows(path, name, places, example_of)
        inputs = PartRows(path, name, places, inputs_of)
    return Dataset(name, info.task, examples, inputs, info.columns, info.source, info.notes)


def read_examples(db: Database, name: str, start: int = 0, stop: int | None = None) -> Iterator[tuple[Example, Json]]:
    """Iterate over the examples between two positions, each with its input row."""
    query = _EXAMPLES + "and position >= ? and position < ? order by position"
    for row in db.execute(query, [name, start, 2**62 if stop is None else stop]):
        yield example_of(row), inputs_of(row)


def read_places(db: Database, name: str, places: Sequence[int]) -> Iterator[tuple[Example, Json]]:
    """Iterate over the examples at these ascending positions, each with its input row."""
    some, value = among(places)
    for row in db.execute(f"{_EXAMPLES} and {some} order by position", [name, value]):
        yield example_of(row), inputs_of(row)


def read_some(db: Database, name: str, positions: Sequence[int]) -> list[Example]:
    """Return the examples at these positions, in data set order."""
    query = (
        "select id, fields, consistency_group, answer, twin_of from examples where dataset = ? "
        "and position in (select value from json_each(?)) order by position"
    )
    rows = db.execute(query, [name, json.dumps(list(positions))])
    return [example_of(row) for row in rows]


def read_group(db: Database, name: str, group: str, limit: int) -> list[int]:
    """Return the first positions of a consistency group, at most `limit`, from an index."""
    query = "select position from examples where dataset = ? and consistency_group = ? order by position limit ?"
    return [row[0] for row in db.execute(query, [name, group, limit])]


def places_of_cut(db: Database, info: DatasetInfo, wanted: Wanted) -> Sequence[int]:
    """Return the ascending positions of the wanted examples: a range from 0 if they are the first ones."""
    cut = wanted if isinstance(wanted, Cut) else Cut(wanted)
    if cut.limit is None or cut.limit >= info.examples:
        return range(info.examples)
    if cut.version == FIRST:
        return range(_count_within(db, info, cut.limit))
    if (cut.rule or info.task.rule) == Unconstrained.name:
        return range(cut.limit)
    return _places_within(db, info, cut.limit)


def _places_within(db: Database, info: DatasetInfo, limit: int) -> Sequence[int]:
    """The positions of the first whole groups that fit, wherever their examples stand."""
    taken = fitting_groups(_group_sizes(db, info, limit), limit)
    query = "select position from examples where dataset = ? and consistency_group in (select value from json_each(?))"
    found = sorted(row[0] for row in db.execute(query, [info.name, json.dumps(sorted(taken))]))
    return range(len(found)) if not found or found[-1] == len(found) - 1 else tuple(found)


def _group_sizes(db: Database, info: DatasetInfo, limit: int) -> Iterator[tuple[str, int]]:
    """The groups in order of their beginning, with sizes; a group above `limit` is only known to be larger."""
    size = "select count(*) from (select 1 from examples where dataset = ? and consistency_group = ? limit ?)"
    groups, seen = "select consistency_group from examples where dataset = ? order by position", set[str]()
    for (group,) in db.execute(groups, [info.name]):
        if group not in seen:
            seen.add(group)
            yield group, db.execute(size, [info.name, group, limit + 1]).fetchone()[0]


def count_groups(db: Database, name: str, places: Sequence[int]) -> int:
    """Return the number of consistency groups among these positions."""
    some, value = among(places)
    query = f"select count(distinct consistency_group) from examples where dataset = ? and {some}"
    return int(db.execute(query, [name, value]).fetchone()[0])


def _count_within(db: Database, info: DatasetInfo, limit: int) -> int:
    """Return the size of the largest prefix of whole groups with at most `limit` examples."""
    query = "select consistency_group from examples where dataset = ? and position < ? order by position"
    groups = [row[0] for row in db.execute(query, [info.name, limit])]
    last = "select max(position) from examples where dataset = ? and consistency_group = ?"
    return whole_groups(groups, lambda group: int(db.execute(last, [info.name, group]).fetchone()[0]))


def whole_groups(groups: Sequence[str], last_of: Callable[[str], int]) -> int:
    """Return the length of the largest prefix that cuts no group; `last_of` gives the last position of a group."""
    best, reach, ends = 0, -1, dict[str, int]()
    for position, group in enumerate(groups):
        if group not in ends:
            ends[group] = last_of(group)
        reach = max(reach, ends[group])
        if reach == position:
            best = position + 1
    return best


def insert_dataset(db: Database, dataset: Dataset) -> None:
    """Insert a data set with its examples. Raises StoreError if the name is taken."""
    groups = len({example.group for example in dataset.examples})
    insert_info(db, dataset, len(dataset.examples), groups)
    rows = zip(dataset.examples, dataset.inputs, strict=True)
    db.conn.executemany(
        "insert into examples (dataset, position, id, fields, consistency_group, answer, twin_of, input) "
        "values (?, ?, ?, ?, ?, ?, ?, ?)",
        ((dataset.name, position, *example_row(*row)) for position, row in enumerate(rows)),
    )


def insert_info(db: Database, dataset: Dataset, examples: int, groups: int) -> None:
    """Insert a data set's own row, without its examples. Raises StoreError if the name is taken."""
    if db.execute("select 1 from datasets where name = ?", [dataset.name]).fetchone():
        raise StoreError(f"data set {dataset.name!r} exists already: import it under another name (--name)")
    db.table("datasets").insert(
        {
            "name": dataset.name,
            "task": json.dumps(asdict(dataset.task)),
            "source": dataset.source,
            "columns": json.dumps(dataset.columns),
            "notes": json.dumps(dataset.notes),
            "created": time.time(),
            "examples": examples,
            "consistency_groups": groups,
            "gold": 0,
            "human": 0,
        }
    )


def example_row(example: Example, inputs: Mapping[str, str]) -> Row:
    """Return id, fields, group, answer, twin and input as stored in the table."""
    fields, row = _JSON.encode(dict(example.fields)), _JSON.encode(dict(inputs))
    return example.id, fields, example.group, example.answer, example.twin_of, row
