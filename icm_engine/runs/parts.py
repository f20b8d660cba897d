"""Which examples each batch of a data set has: computed once from its groups, and kept for whoever opens a batch.

What is kept can be deleted: it is made again, since the split is a function of the groups, the size and the seed.
"""

from __future__ import annotations  # array[int] is no name before Python 3.12

import json
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate

from sqlite_utils import Database

from icm_engine.core.batches import Part, split
from icm_engine.core.errors import SettingError
from icm_engine.runs.connection import stored_json
from icm_engine.runs.stored_rows import among


def make_parts(db: Database, dataset: str, places: Sequence[int], size: int, seed: int) -> int:
    """Keep the split of what a limit takes of a data set, if it is not kept yet; return how many batches it has.

    Call it in a transaction. Some 30 bytes of memory an example; no example is read. Raises SettingError.
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


def read_part(db: Database, dataset: str, places: Sequence[int], part: Part) -> tuple[int, ...]:
    """Return the positions of a batch's examples, in the order of the data set. Raises SettingError."""
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


def keep_whole(db: Database, dataset: str, examples: int, part: Part) -> None:
    """Keep a batch whose examples are all that this database has of the data set. Call it in a transaction."""
    places = json.dumps(list(range(examples)), separators=(",", ":"))
    key = (dataset, examples, part.size, part.seed, part.number)
    db.conn.execute("insert into parts values (?, ?, ?, ?, ?, ?)", (*key, places))


def _key(places: Sequence[int]) -> int:
    """What tells apart what different limits take: how many examples, negative where these are not the first ones.

    Limits that take as many take the same ones, since each takes every group that still fits.
    """
    return len(places) if isinstance(places, range) else -len(places)


def _groups(db: Database, dataset: str, places: Sequence[int]) -> tuple[array[int], array[int]]:
    """How many examples each group has, in the order of their names, and the positions of all, group by group."""
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
