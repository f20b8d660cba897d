"""The labels of a batched run as one set: rows in the order of the data set, training files batch by batch.

Some thirty bytes an example and one batch at a time are in memory, however many there are.
"""

from __future__ import annotations  # array[int] is no name before Python 3.12

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from icm_engine.core.batches import Part
from icm_engine.core.labeling import Example, Label
from icm_engine.core.training_rows import UNLABELLED
from icm_engine.data.columns import HUMAN_PREFIX
from icm_engine.data.gold import gold_of, human_of, human_sources
from icm_engine.data.labelled import LabelledRow, LabelledRun, our_cells, read_labels
from icm_engine.data.training import TRAINING
from icm_engine.data.withheld import LOOKED_AT, withheld
from icm_engine.runs.batches import Batched, batched
from icm_engine.runs.datasets import DatasetInfo, read_places
from icm_engine.runs.events import Json
from icm_engine.runs.parts import read_part
from icm_engine.runs.store import Store

CHUNK = 1000  # rows whose gold and human labels are looked up at once


@dataclass
class LabelSet:
    """What the batches of a batched run say of each example, by its position in the data set."""

    store: Store
    whole: Batched
    info: DatasetInfo
    places: Sequence[int]  # of the examples in the data set, ascending
    label: array[int] = field(init=False)  # place among the task's labels, -1 for none
    batch: array[int] = field(init=False)  # number of the batch, 0 where its run has not begun
    probability: array[float] = field(init=False)
    last_change: array[int] = field(init=False)
    flips: array[int] = field(init=False)
    pinned: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        size = self.places[-1] + 1 if self.places else 0
        self.label, self.batch = array("b", [-1]) * size, array("l", [0]) * size
        self.probability = array("d", [math.nan]) * size
        self.last_change, self.flips = array("l", [0]) * size, array("l", [0]) * size
        for number, run in runs_of(self.store, self.whole):
            self._take(number, self._positions(number), run)

    def _positions(self, number: int) -> tuple[int, ...]:
        part = Part(number, self.whole.of, self.whole.size, self.whole.spec.search.seed)
        return read_part(self.store.db, self.info.name, self.places, part)

    def _take(self, number: int, positions: tuple[int, ...], run: LabelledRun) -> None:
        for i, position in enumerate(positions):
            self.batch[position] = number
            if (label := run.labeling.get(i)) is not None:
                self.label[position] = self.info.task.labels.index(label)
                self.probability[position] = run.probability(i) or math.nan
                self.last_change[position] = run.history.last_change[i]
                self.flips[position] = run.history.flips[i]
        self.pinned |= {positions[i] for i in run.pins}

    def rows(self, with_gold: bool = True) -> Iterator[LabelledRow]:
        """Yield one row an example in data set order, as `LabelledRun.rows` does, human labels included."""
        first = read_places(self.store.db, self.info.name, self.places[:LOOKED_AT])
        apart = frozenset[str]() if with_gold else withheld(self.info.columns, first, self.info.task.labels)
        columns = [column for column in self.info.columns if column not in apart]
        numbered = zip(self.places, read_places(self.store.db, self.info.name, self.places), strict=True)
        sources = human_sources(self.store, self.info.name)
        while chunk := list(islice(numbered, CHUNK)):
            ids = [example.id for _, (example, _) in chunk]
            gold = gold_of(self.store, self.info.name, ids) if with_gold and self.info.gold else None
            human = human_of(self.store, self.info.name, ids)
            for position, (example, inputs) in chunk:
                cells = {column: inputs.get(column) for column in columns}
                yield self._row(position, example, cells, gold, {s: human.get(s, {}) for s in sources})

    def _row(
        self, position: int, example: Example, inputs: Json, gold: Mapping[str, Label] | None,
        human: Mapping[str, Mapping[str, Label]],
    ) -> LabelledRow:  # fmt: skip
        row: LabelledRow = dict(inputs)
        row |= our_cells(example, *self._said(position), position in self.pinned)
        if gold is not None:
            row["icm_gold"] = gold.get(example.id)
        row |= {HUMAN_PREFIX + source: said.get(example.id) for source, said in human.items()}
        number = self.batch[position]
        return row | {"icm_run": self.whole.run(number) if number else None}

    def _said(self, position: int) -> tuple[Label | None, float | None, int | None, int | None]:
        place = self.label[position]
        if place < 0:
            return None, None, None, None
        last, flips = self.last_change[position], self.flips[position]
        return self.info.task.labels[place], self.probability[position], last, flips


def read_label_set(store: Store, name: str) -> LabelSet:
    """Return the labels of a batched run, those of batches that are still on their way as they are now."""
    whole = batched(store, name)
    places = store.places(whole.spec.dataset, whole.spec.cut)
    return LabelSet(store, whole, store.dataset_info(whole.spec.dataset), places)


def runs_of(store: Store, whole: Batched) -> Iterator[tuple[int, LabelledRun]]:
    """Go through the batches whose runs have begun, with their labels."""
    for number in range(1, whole.of + 1):
        if store.has_run(whole.run(number)):
            yield number, read_labels(store, whole.run(number))


def training_rows(store: Store, name: str, format: str, left_out: Counter[str]) -> Iterable[LabelledRow]:
    """Yield the rows of a training file, batch by batch; what gives no row is counted. Raises SettingError.

    A pair and its twin, and the claims of a question, are in one batch, as they are in one group.
    """
    whole, begun = batched(store, name), set[int]()
    for number, run in runs_of(store, whole):
        begun.add(number)
        made = TRAINING[format](run)
        left_out.update(made.left_out)
        yield from made.rows
    left_out[UNLABELLED] += _judgements_of(store, whole, begun)


def _judgements_of(store: Store, whole: Batched, begun: set[int]) -> int:
    """Examples of batches that have not begun, a pair and its twin as one."""
    places, dataset, count = store.places(whole.spec.dataset, whole.spec.cut), whole.spec.dataset, 0
    for number in set(range(1, whole.of + 1)) - begun:
        positions = read_part(store.db, dataset, places, Part(number, whole.of, whole.size, whole.spec.search.seed))
        count += sum(example.twin_of is None for example in store.examples_at(dataset, positions))
    return count
