"""Gold and human labels: their types, their tables, and agreement between people.

a  b  c
T  T  F    majority T; one of three pairs agrees
T  F       tied: no majority
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from icm_engine.core.errors import NotFound
from icm_engine.core.labeling import Label
from icm_engine.store.lazy_examples import among, look_into
from icm_engine.store.store import Store

_IN_ORDER = (
    "join (select dataset, id as example, position from examples) using (dataset, example) "
    "where dataset = ? order by position"
)

READ_AT_ONCE = 500  # examples: one at a time, a table of 10,000 takes as many connections
_AROUND = (
    "with block as (select position / :rows * :rows as start from examples where dataset = :dataset and id = :example) "
    "select e.id, g.label from block join examples e on e.dataset = :dataset and e.position >= block.start "
    "and e.position < block.start + :rows left join gold g on g.dataset = e.dataset and g.example = e.id"
)
_AMONG = "join (select dataset, id as example, position from examples) using (dataset, example) where dataset = ? and "


@dataclass(frozen=True, slots=True)
class GoldLabels:
    """The gold labels of a data set by example id; examples without gold are absent. False if empty."""

    dataset: str
    labels: Mapping[str, Label] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.labels)


@dataclass(frozen=True, slots=True)
class HumanLabels:
    """Labels from people or a crowd, by example id, from one `source`. A baseline, never a search label."""

    dataset: str
    source: str
    labels: Mapping[str, Label] = field(default_factory=dict)


def add_gold(store: Store, dataset: str, labels: Mapping[str, Label]) -> None:
    """Store the gold of a data set, replacing what it had. Raises NotFound for an unknown data set or example."""
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
    """Return the gold of these examples; those without gold are absent."""
    query = "select example, label from gold where dataset = ? and example in (select value from json_each(?))"
    return dict(store.db.execute(query, [dataset, json.dumps(list(examples))]).fetchall())


def labels_in_gold(store: Store, dataset: str) -> list[Label]:
    """Return the first two labels that occur in the gold of a data set; fewer if there are not two."""
    query = "select distinct label from gold where dataset = ? limit 2"
    return [row[0] for row in store.db.execute(query, [dataset])]


@dataclass(frozen=True)
class OpenGold(Mapping[str, Label]):
    """The gold of some examples of a data set, read lazily, with that of examples that stand near in the file.

    `counts` gives the number of examples per label. Every read opens the database, so threads may share this.
    """

    path: Path
    dataset: str
    places: Sequence[int]
    counts: Mapping[Label, int]
    kept: dict[str, Label | None] = field(default_factory=dict)

    def __getitem__(self, example: str) -> Label:
        if example not in self.kept:
            with look_into(self.path) as db:
                found = dict(db.execute(_AROUND, {"dataset": self.dataset, "example": example, "rows": READ_AT_ONCE}))
            self.kept.update({example: None, **found})
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
    """Return the gold of the examples at these positions, counted but not read. Raises NotFound."""
    if len(places) == store.dataset_info(dataset).examples:  # an index has these counts
        rows = store.db.execute("select label, count(*) from gold where dataset = ? group by label", [dataset])
    else:
        some, value = among(places)
        rows = store.db.execute(f"select label, count(*) from gold {_AMONG} {some} group by label", [dataset, value])
    return OpenGold(store.path, dataset, places, dict(rows.fetchall()))


def add_human(store: Store, dataset: str, source: str, labels: Mapping[str, Label]) -> None:
    """Store a set of human labels, replacing those of the same source. Raises NotFound as `add_gold` does."""
    with store.transaction():
        _check(store, dataset, labels)
        store.db.execute("delete from human where dataset = ? and source = ?", [dataset, source])
        store.db.table("human").insert_all(
            {"dataset": dataset, "example": i, "source": source, "label": y} for i, y in labels.items()
        )
        count_labels(store, dataset)


def count_labels(store: Store, dataset: str) -> None:
    """Store how many gold and human labels a data set has, so that lists need not count them."""
    counts = ", ".join(f"{t} = (select count(*) from {t} where dataset = datasets.name)" for t in ("gold", "human"))
    store.db.execute(f"update datasets set {counts} where name = ?", [dataset])


def load_human(store: Store, dataset: str) -> dict[str, HumanLabels]:
    """Return the sets of human labels by source, sorted; empty if there are none."""
    _check(store, dataset, {})
    rows = store.db.execute(f"select source, example, label from human {_IN_ORDER}", [dataset])
    found: dict[str, dict[str, Label]] = {}
    for source, example, label in rows:
        found.setdefault(source, {})[example] = label
    return {source: HumanLabels(dataset, source, found[source]) for source in sorted(found)}


def human_of(store: Store, dataset: str, examples: Sequence[str]) -> dict[str, dict[str, Label]]:
    """Return, by source, the human labels of these examples; sources without any are absent."""
    query = (
        "select source, example, label from human where dataset = ? and example in (select value from json_each(?)) "
        "order by source"
    )
    found: dict[str, dict[str, Label]] = {}
    for source, example, label in store.db.execute(query, [dataset, json.dumps(list(examples))]):
        found.setdefault(source, {})[example] = label
    return found


def human_sources(store: Store, dataset: str) -> list[str]:
    """Return the sources of human labels of a data set, in order."""
    query = "select distinct source from human where dataset = ? order by source"
    return [row[0] for row in store.db.execute(query, [dataset])]


def _check(store: Store, dataset: str, labels: Mapping[str, Label]) -> None:
    if not store.has_dataset(dataset):
        raise NotFound(f"data set {dataset!r} does not exist: import it before its labels")
    if not labels:
        return
    known = {row[0] for row in store.db.execute("select id from examples where dataset = ?", [dataset])}
    if unknown := next((i for i in labels if i not in known), None):
        raise NotFound(f"data set {dataset!r} has no example {unknown!r}: use ids that the import assigned")


@dataclass(frozen=True, slots=True)
class Majority:
    """The most frequent human label by example id; `ties` are the ids without one."""

    labels: Mapping[str, Label]
    ties: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnnotatorAgreement:
    """Agreement between people on the examples that two or more labelled.

    `share` is the share of equal pairs among all pairs of labels of one example; `alpha` is Krippendorff's for nominal
    data (1: always equal, 0: chance level), None where only one label was ever given; `between` has the equal and all
    pairs for any two sources.
    """

    examples: int
    pairs: int
    equal: int
    alpha: float | None
    between: Mapping[tuple[str, str], tuple[int, int]]

    @property
    def share(self) -> float | None:
        return self.equal / self.pairs if self.pairs else None


def majority(human: Mapping[str, HumanLabels]) -> Majority:
    """Return the majority label of every example with human labels."""
    labels: dict[str, Label] = {}
    ties = []
    for example, said in _by_example(human.values()).items():
        if (most := most_frequent(said)) is None:
            ties.append(example)
        else:
            labels[example] = most
    return Majority(labels, tuple(ties))


def most_frequent(said: Iterable[Label]) -> Label | None:
    """Return the most frequent label; None for a tie."""
    first, *others = Counter(said).most_common(2)
    return None if others and others[0][1] == first[1] else first[0]


def agreement(human: Mapping[str, HumanLabels]) -> AnnotatorAgreement:
    """Return the agreement of the sources."""
    units = [said for said in _by_example(human.values()).values() if len(said) > 1]
    pairs = [(a, b) for said in units for a, b in combinations(said, 2)]
    between = {(one, other): _between(human[one], human[other]) for one, other in combinations(human, 2)}
    return AnnotatorAgreement(len(units), len(pairs), sum(a == b for a, b in pairs), _alpha(units), between)


def _by_example(sources: Iterable[HumanLabels]) -> dict[str, list[Label]]:
    said: dict[str, list[Label]] = {}
    for source in sources:
        for example, label in source.labels.items():
            said.setdefault(example, []).append(label)
    return said


def _between(one: HumanLabels, other: HumanLabels) -> tuple[int, int]:
    """Equal pairs and all pairs of two sources."""
    both = [example for example in one.labels if example in other.labels]
    return sum(one.labels[example] == other.labels[example] for example in both), len(both)


def _alpha(units: Sequence[Sequence[Label]]) -> float | None:
    """1 - observed / expected disagreement (Krippendorff 2011, nominal data, missing values allowed)."""
    counts = Counter(label for said in units for label in said)
    n = sum(counts.values())
    expected = n * (n - 1) - sum(count * (count - 1) for count in counts.values())
    if expected == 0:
        return None
    observed = sum(_differing(said) / (len(said) - 1) for said in units)
    return 1 - (n - 1) * observed / expected


def _differing(said: Sequence[Label]) -> int:
    """Ordered pairs of different labels within one example."""
    return len(said) ** 2 - sum(count**2 for count in Counter(said).values())
