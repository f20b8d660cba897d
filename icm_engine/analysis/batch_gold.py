"""Batches against gold, counted once each and kept between looks: a million labels are not compared at every tick."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from icm_engine.core.labeling import Label
from icm_engine.data.gold import gold_at, gold_of, open_gold
from icm_engine.runs import batches, jobs
from icm_engine.runs.batches import Batched
from icm_engine.runs.ends import End, read_ends
from icm_engine.runs.replay import current_state, open_run
from icm_engine.runs.store import Store


@dataclass(frozen=True, slots=True)
class Right:
    """A batch's labels against gold, after an event of its run: how many are right, by gold label, and wrong.

    `total` are the examples of the batch that have gold, labelled or not.
    """

    number: int
    right: Mapping[Label, int]
    wrong: int
    total: int

    @property
    def accuracy(self) -> float | None:
        """Share of right labels, unlabelled examples counted as wrong."""
        return sum(self.right.values()) / self.total if self.total else None


@dataclass
class GoldCounts:
    """What was read of batches and counted against gold, kept between looks: a tick reads what has moved since."""

    read: dict[tuple[str, str, float], tuple[int, dict[str, End]]] = field(default_factory=dict)
    known: dict[str, Right] = field(default_factory=dict)
    labels: dict[tuple[str, str, int, int], Mapping[Label, int]] = field(default_factory=dict)

    def ends(self, store: Store, whole: Batched) -> list[End]:
        """Return how the finished batches ended; only runs with events since the last look are read again."""
        key = (str(store.path), whole.name, jobs.created(store, whole.name))
        newest = int(store.db.execute("select max(rowid) from events").fetchone()[0] or 0)  # rows are only ever added
        if key not in self.read:
            self.read[key] = newest, {end.run: end for end in batches.ends(store, whole)}
        seen, found = self.read[key]
        if newest != seen:
            moved = "select distinct run from events where rowid > ? and rowid <= ? and run >= ? and run < ?"
            for (run,) in store.db.execute(moved, [seen, newest, *whole.between]).fetchall():
                found |= {end.run: end for end in read_ends(store, run, f"{run}!")}  # "!" comes before every digit
            self.read[key] = newest, found
        return list(found.values())

    def gold(self, store: Store, dataset: str, places: Sequence[int]) -> Mapping[Label, int]:
        """Return how often each gold label is at these places of a data set; empty where there is none."""
        labels = store.dataset_info(dataset).gold
        key = (str(store.path), dataset, len(places) if isinstance(places, range) else -len(places), labels)
        if labels and key not in self.labels:
            self.labels[key] = open_gold(store, dataset, places).counts
        return self.labels.get(key, {})

    def count(self, store: Store, dataset: str, end: End) -> Right:
        """Return a batch's count, from what is kept if its run has not moved since."""
        kept = self.known.get(key := f"{store.path}\n{end.run}")
        if kept is None or kept.number != end.number:
            kept = self.known[key] = _counted(store, dataset, end)
        return kept

    def fresh(self, store: Store, end: End) -> bool:
        """Whether the count of a batch is kept."""
        kept = self.known.get(f"{store.path}\n{end.run}")
        return kept is not None and kept.number == end.number


def _counted(store: Store, dataset: str, end: End) -> Right:
    kept = store.snapshot(end.run, end.number)
    if kept is not None and kept[0] == end.number:
        labels = dict(kept[1]["labels"])
    else:
        opened = open_run(store, end.run)
        state = current_state(store, opened)
        labels = {opened.codec.ids[i]: label for i, label in state.labeling.items()} if state else {}
    gold = gold_of(store, dataset, list(labels))
    right = Counter(label for example, label in gold.items() if labels[example] == label)
    spec = store.spec(end.run)
    assert spec.part is not None
    positions = store.places(dataset, spec.cut, spec.part)
    return Right(end.number, right, len(gold) - right.total(), gold_at(store, dataset, positions))
