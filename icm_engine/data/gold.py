"""Gold and human labels: their own types, their own tables; nothing the worker reaches imports this module."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from icm_engine.core.errors import NotFound
from icm_engine.core.labeling import Label
from icm_engine.runs.store import Store

_IN_ORDER = (
    "join (select dataset, id as example, position from examples) using (dataset, example) "
    "where dataset = ? order by position"
)


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


def load_gold(store: Store, dataset: str) -> GoldLabels:
    """Return the gold of a data set in its order, empty if it has none. Raises NotFound for an unknown data set."""
    _check(store, dataset, {})
    rows = store.db.execute(f"select example, label from gold {_IN_ORDER}", [dataset])
    return GoldLabels(dataset, dict(rows.fetchall()))


def add_human(store: Store, dataset: str, source: str, labels: Mapping[str, Label]) -> None:
    """Store one set of human labels in place of what its source had said. Raises NotFound as `add_gold` does."""
    with store.transaction():
        _check(store, dataset, labels)
        store.db.execute("delete from human where dataset = ? and source = ?", [dataset, source])
        store.db.table("human").insert_all(
            {"dataset": dataset, "example": i, "source": source, "label": y} for i, y in labels.items()
        )


def load_human(store: Store, dataset: str) -> dict[str, HumanLabels]:
    """Return the sets of human labels by source, in order of source; empty if there are none."""
    _check(store, dataset, {})
    rows = store.db.execute(f"select source, example, label from human {_IN_ORDER}", [dataset])
    found: dict[str, dict[str, Label]] = {}
    for source, example, label in rows:
        found.setdefault(source, {})[example] = label
    return {source: HumanLabels(dataset, source, found[source]) for source in sorted(found)}


def _check(store: Store, dataset: str, labels: Mapping[str, Label]) -> None:
    if not store.has_dataset(dataset):
        raise NotFound(f"data set {dataset!r} does not exist: import it before its labels")
    if not labels:
        return
    known = {row[0] for row in store.db.execute("select id from examples where dataset = ?", [dataset])}
    if unknown := next((i for i in labels if i not in known), None):
        raise NotFound(f"data set {dataset!r} has no example {unknown!r}: use the ids the import gave")
