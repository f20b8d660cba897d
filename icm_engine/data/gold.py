"""Gold and human labels: their own types, their own tables; nothing the worker reaches imports this module."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from icm_engine.core.errors import NotFound
from icm_engine.core.labeling import Label
from icm_engine.runs.store import Store
from icm_engine.runs.stored_rows import among, look_into

_IN_ORDER = (
    "join (select dataset, id as example, position from examples) using (dataset, example) "
    "where dataset = ? order by position"
)

_AMONG = "join (select dataset, id as example, position from examples) using (dataset, example) where dataset = ? and "


@dataclass(frozen=True, slots=True)
class GoldLabels:
    """The gold labels of a data set by example id; examples without gold are not in it, false if there are none."""

    dataset: str
    labels: Mapping[str, Label] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.labels)


@dataclass(frozen=True, slots=True)
class HumanLabels:
    """What people, or a crowd, said: labels by example id, from one `source`. A baseline, never a search label."""

    dataset: str
    source: str
    labels: Mapping[str, Label] = field(default_factory=dict)


def add_gold(store: Store, dataset: str, labels: Mapping[str, Label]) -> None:
    """Store the gold of a data set in place of what it had. Raises NotFound for an unknown data set or example."""
    with store.transaction():
        _check(store, dataset, labels)
        store.db.execute("delete from gold where dataset = ?", [dataset])
        store.db.table("gold").insert_all({"dataset": dataset, "example": i, "label": y} for i, y in labels.items())
        count_labels(store, dataset)


def load_gold(store: Store, dataset: str) -> GoldLabels:
    """Return the gold of a data set in its order, empty if it has none. Raises NotFound for an unknown data set."""
    _check(store, dataset, {})
    rows = store.db.execute(f"select example, label from gold {_IN_ORDER}", [dataset])
    return GoldLabels(dataset, dict(rows.fetchall()))


def gold_of(store: Store, dataset: str, examples: Sequence[str]) -> dict[str, Label]:
    """Return the gold of these examples alone; those without gold are not in it."""
    query = "select example, label from gold where dataset = ? and example in (select value from json_each(?))"
    return dict(store.db.execute(query, [dataset, json.dumps(list(examples))]).fetchall())


def gold_at(store: Store, dataset: str, positions: Sequence[int]) -> int:
    """Return how many of the examples at these positions have gold."""
    query = (
        "select count(*) from examples e join gold g on g.dataset = e.dataset and g.example = e.id "
        "where e.dataset = ? and e.position in (select value from json_each(?))"
    )
    return int(store.db.execute(query, [dataset, json.dumps(list(positions))]).fetchone()[0])


@dataclass(frozen=True)
class OpenGold(Mapping[str, Label]):
    """The gold of the examples at some places of a data set, each label read when it is looked at.

    `counts` says how many examples have each label. Every look opens the database for itself: threads may share this.
    """

    path: Path
    dataset: str
    places: Sequence[int]
    counts: Mapping[Label, int]
    kept: dict[str, Label | None] = field(default_factory=dict)

    def __getitem__(self, example: str) -> Label:
        if example not in self.kept:
            with look_into(self.path) as db:
                query = "select label from gold where dataset = ? and example = ?"
                row = db.execute(query, [self.dataset, example]).fetchone()
            self.kept[example] = row[0] if row else None
        label = self.kept[example]
        if label is None:
            raise KeyError(example)
        return label

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __iter__(self) -> Iterator[str]:
        some, value = among(self.places)
        with look_into(self.path) as db:
            yield from (
                row[0] for row in db.execute(f"select example from gold {_AMONG} {some}", [self.dataset, value])
            )


def open_gold(store: Store, dataset: str, places: Sequence[int]) -> OpenGold:
    """Return the gold of the examples at these places of a data set, counted but not read. Raises NotFound."""
    if len(places) == store.dataset_info(dataset).examples:  # an index has these counts
        rows = store.db.execute("select label, count(*) from gold where dataset = ? group by label", [dataset])
    else:
        some, value = among(places)
        rows = store.db.execute(f"select label, count(*) from gold {_AMONG} {some} group by label", [dataset, value])
    return OpenGold(store.path, dataset, places, dict(rows.fetchall()))


def add_human(store: Store, dataset: str, source: str, labels: Mapping[str, Label]) -> None:
    """Store one set of human labels in place of what its source had said. Raises NotFound as `add_gold` does."""
    with store.transaction():
        _check(store, dataset, labels)
        store.db.execute("delete from human where dataset = ? and source = ?", [dataset, source])
        store.db.table("human").insert_all(
            {"dataset": dataset, "example": i, "source": source, "label": y} for i, y in labels.items()
        )
        count_labels(store, dataset)


def count_labels(store: Store, dataset: str) -> None:
    """Note how many gold and human labels a data set has, so that lists need not count them."""
    counts = ", ".join(f"{t} = (select count(*) from {t} where dataset = datasets.name)" for t in ("gold", "human"))
    store.db.execute(f"update datasets set {counts} where name = ?", [dataset])


def load_human(store: Store, dataset: str) -> dict[str, HumanLabels]:
    """Return the sets of human labels by source, in order of source; empty if there are none."""
    _check(store, dataset, {})
    rows = store.db.execute(f"select source, example, label from human {_IN_ORDER}", [dataset])
    found: dict[str, dict[str, Label]] = {}
    for source, example, label in rows:
        found.setdefault(source, {})[example] = label
    return {source: HumanLabels(dataset, source, found[source]) for source in sorted(found)}


def human_of(store: Store, dataset: str, examples: Sequence[str]) -> dict[str, dict[str, Label]]:
    """Return by source what people said of these examples alone; a source that said nothing of them is not in it."""
    query = (
        "select source, example, label from human where dataset = ? and example in (select value from json_each(?)) "
        "order by source"
    )
    found: dict[str, dict[str, Label]] = {}
    for source, example, label in store.db.execute(query, [dataset, json.dumps(list(examples))]):
        found.setdefault(source, {})[example] = label
    return found


def human_sources(store: Store, dataset: str) -> list[str]:
    """Return who has labelled examples of a data set, in order."""
    query = "select distinct source from human where dataset = ? order by source"
    return [row[0] for row in store.db.execute(query, [dataset])]


def _check(store: Store, dataset: str, labels: Mapping[str, Label]) -> None:
    if not store.has_dataset(dataset):
        raise NotFound(f"data set {dataset!r} does not exist: import it before its labels")
    if not labels:
        return
    known = {row[0] for row in store.db.execute("select id from examples where dataset = ?", [dataset])}
    if unknown := next((i for i in labels if i not in known), None):
        raise NotFound(f"data set {dataset!r} has no example {unknown!r}: use the ids the import gave")
