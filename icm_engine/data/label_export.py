"""A run's labels, read once: rows to export, training rows, and batched runs as one set.

Memory is some thirty bytes an example plus one batch, whatever their number.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from icm_engine.core.batching import BatchPart
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Label, Labeling, Task
from icm_engine.core.search import State
from icm_engine.core.training_rows import (
    UNLABELLED,
    Preferences,
    TrainingSet,
    preference_rows,
    preferences_of,
    sft_rows,
)
from icm_engine.data.gold import gold_of, human_of, human_sources, load_gold, load_human
from icm_engine.data.spellings import HUMAN_PREFIX, folded, is_truth_word, looks_like_labels
from icm_engine.jobs.batches import BatchedRun, batched
from icm_engine.store.datasets import DatasetInfo, read_part, read_places
from icm_engine.store.events import Json
from icm_engine.store.replay import AUDIT, OpenRun, open_run, replay
from icm_engine.store.store import Event, Store

LOOKED_AT = 1000  # examples


def withheld(
    columns: Sequence[str], examples: Iterable[tuple[Example, Mapping[str, str]]], labels: Sequence[Label]
) -> frozenset[str]:
    """Return the input columns that look like labels by name or by every cell, and are not part of the prompt."""
    first = list(islice(examples, LOOKED_AT))
    names = {folded(label) for label in labels}

    def is_label(cell: str) -> bool:
        return folded(cell) in names or is_truth_word(cell)

    def cells(column: str) -> list[str]:
        return [cell for _, inputs in first if (cell := inputs.get(column) or "").strip()]

    def is_text(column: str) -> bool:
        return any(
            all(e.fields.get(f, "") == i.get(column) for e, i in first) for f in (first[0][0].fields if first else ())
        )

    found = (c for c in columns if looks_like_labels(c) or (cells(c) and all(map(is_label, cells(c)))))
    return frozenset(c for c in found if not is_text(c))


Value = str | int | float | None
LabelledRow = dict[str, Value]


@dataclass
class _History:
    """What the replay of a run collects: the state reached, and each example's changes."""

    state: State | None = None
    last_change: dict[int, int] = field(default_factory=dict)
    flips: dict[int, int] = field(default_factory=dict)
    audited: dict[str, Label | None] = field(default_factory=dict)  # by example id, what a person said in an audit

    def take(self, opened: OpenRun, event: Event) -> None:
        """Take in the next event."""
        if event.kind == AUDIT:
            self.audited[event.audit["example"]] = event.audit["answer"]
        elif (state := replay(opened, [event], self.state)) is not None:
            self.reach(state)

    def reach(self, state: State) -> None:
        """Record changes; a label that a repair restored within the step did not change."""
        before = self.state.labeling if self.state else Labeling()
        changed = [] if state.labeling is before else [i for i, y in state.labeling.items() if before.get(i) != y]
        for i in changed:
            self.last_change[i] = state.step
            self.flips[i] = self.flips.get(i, 0) + (i in before)
        self.state = state


@dataclass(frozen=True)
class LabelledRun:
    """A run with its current labels, and separately the gold and human labels of its examples."""

    opened: OpenRun
    history: _History
    gold: Mapping[str, Label]  # by example id
    human: Mapping[str, Mapping[str, Label]]  # by source, then by example id

    @property
    def name(self) -> str:
        return self.opened.name

    @property
    def task(self) -> Task:
        return self.opened.dataset.task

    @property
    def state(self) -> State | None:
        """The state of the search; None before the initial labels."""
        return self.history.state

    @property
    def labeling(self) -> Labeling:
        return self.history.state.labeling if self.history.state else Labeling()

    @property
    def pins(self) -> frozenset[int]:
        """The examples whose labels a person fixed; these are not the search's."""
        return self.history.state.hand.pins if self.history.state else frozenset()

    def examples(self) -> Iterator[tuple[Example, Label | None]]:
        """Yield every example in data set order with its label, None if unlabelled."""
        return ((example, self.labeling.get(i)) for i, example in enumerate(self.opened.dataset.examples))

    def rows(self, gold: bool = False, human: bool = False) -> Iterator[LabelledRow]:
        """Yield one row per example in data set order: the input columns, then ours; missing values are None.

        Input columns that look like labels are included only with `gold`. `icm_probability` is the label's,
        renormalised over the labels, in the last accepted labeling; with folds, by the model tuned on the labels of the
        other folds. `icm_last_change_step` is 0 for an initial label;
        `icm_flips` counts changes after the first; `icm_pinned` is "pinned" if a person fixed the label. Runs with
        sampled terms have `icm_scored_at_step`: when the probability was read. With `human`, audited runs have
        `icm_audit_label`: what a person said in an audit.
        """
        dataset, sources = self.opened.dataset, self.human if human else {}
        columns = dataset.columns if gold else self.public_columns()
        for i, (example, inputs) in enumerate(zip(dataset.examples, dataset.inputs, strict=True)):
            row = {column: inputs.get(column) for column in columns} | self._labelled(example, i)
            if self.state is not None and self.state.read_at:
                row["icm_scored_at_step"] = self.state.read_at.get(i)
            if gold and self.gold:
                row["icm_gold"] = self.gold.get(example.id)
            row |= {HUMAN_PREFIX + source: said.get(example.id) for source, said in sources.items()}
            if human and self.history.audited:
                row["icm_audit_label"] = self.history.audited.get(example.id)
            yield row | {"icm_run": self.name}

    def public_columns(self) -> tuple[str, ...]:
        """Return the input columns that do not look like labels."""
        dataset = self.opened.dataset
        apart = withheld(dataset.columns, zip(dataset.examples, dataset.inputs, strict=True), self.task.labels)
        return tuple(column for column in dataset.columns if column not in apart)

    def _labelled(self, example: Example, i: int) -> dict[str, Any]:
        last, flips = self.history.last_change.get(i), self.history.flips.get(i)
        return our_cells(example, self.labeling.get(i), self.probability(i), last, flips, i in self.pins)

    def probability(self, i: int) -> float | None:
        """Return p of an example's label given all others, renormalised over the labels; None if unlabelled."""
        if self.state is None or i not in self.labeling:
            return None
        place = self.task.labels.index(self.labeling[i])
        return math.exp(self.state.evaluation.scores[i].normalized[place])


def our_cells(
    example: Example,
    label: Label | None,
    probability: float | None,
    last_change: int | None,
    flips: int | None,
    pinned: bool,
) -> dict[str, Any]:
    """Return our own cells of a row, without gold, human labels and the run."""
    return {
        "icm_id": example.id,
        "icm_twin_of": example.twin_of,
        "icm_label": label,
        "icm_probability": probability,
        "icm_last_change_step": last_change,
        "icm_flips": flips,
        "icm_pinned": "pinned" if pinned else None,
    }


def read_labels(store: Store, run: str, until: int | None = None) -> LabelledRun:
    """Return a run with its current labels, or those after the event `until`. Raises NotFound."""
    opened = open_run(store, run)
    dataset, history = opened.dataset.name, _history(store, opened, until)
    if opened.spec.part is not None:  # the others' gold may be a million labels
        ids = list(opened.codec.ids)
        return LabelledRun(opened, history, gold_of(store, dataset, ids), human_of(store, dataset, ids))
    human = {source: said.labels for source, said in load_human(store, dataset).items()}
    return LabelledRun(opened, history, load_gold(store, dataset).labels, human)


def _history(store: Store, opened: OpenRun, until: int | None) -> _History:
    """Follow the initial labels and every step, up to an event or the end; rejected steps change nothing."""
    history, newest = _History(), store.last_number(opened.name)
    for event in store.read_between(opened.name, 0, newest if until is None else until):
        history.take(opened, event)
    if until is not None:
        for event in store.read_after(opened.name, until, (AUDIT,)):  # of the same examples, whatever the labels
            history.take(opened, event)
    return history


def sft(run: LabelledRun) -> TrainingSet:
    """Return one row per label: the rendered template as prompt, the label after one space as completion."""
    return sft_rows(run.task, run.examples())


def preference(run: LabelledRun) -> TrainingSet:
    """Return chosen and rejected texts: pairs of responses, or claims about one question. Raises SettingError."""
    pairs = _preferences_of(run)
    if pairs is None:
        raise SettingError(
            f"run {run.name!r} labels task {run.task.name!r} with {', '.join(run.task.labels)}: preferences need two "
            "labels, and pairs of responses or questions with claims (format sft takes any task)"
        )
    return preference_rows(run.task, run.examples(), pairs)


TRAINING: Mapping[str, Callable[[LabelledRun], TrainingSet]] = {"sft": sft, "preference": preference}


def training_sets(run: LabelledRun) -> dict[str, TrainingSet]:
    """Return the training sets that the run's task supports, by format, without empty ones."""
    made = {name: make(run) for name, make in TRAINING.items() if name != "preference" or _preferences_of(run)}
    return {name: training for name, training in made.items() if training.rows}


def _preferences_of(run: LabelledRun) -> Preferences | None:
    return preferences_of(run.task, run.task.fields or run.opened.dataset.examples[0].fields)


CHUNK = 1000  # rows whose gold and human labels are looked up at once


@dataclass
class LabelSet:
    """The labels of a batched run for each example, by its position in the data set."""

    store: Store
    whole: BatchedRun
    info: DatasetInfo
    places: Sequence[int]  # of the examples in the data set, ascending
    label: array[int] = field(init=False)  # index among the task's labels, -1 for none
    batch: array[int] = field(init=False)  # number of the batch, 0 if its run has not started
    probability: array[float] = field(init=False)
    last_change: array[int] = field(init=False)
    flips: array[int] = field(init=False)
    pinned: set[int] = field(default_factory=set)
    audited: dict[str, Label | None] = field(default_factory=dict)  # by example id

    def __post_init__(self) -> None:
        size = self.places[-1] + 1 if self.places else 0
        self.label, self.batch = array("b", [-1]) * size, array("l", [0]) * size
        self.probability = array("d", [math.nan]) * size
        self.last_change, self.flips = array("l", [0]) * size, array("l", [0]) * size
        for number, run in runs_of(self.store, self.whole):
            self._take(number, self._positions(number), run)

    def _positions(self, number: int) -> tuple[int, ...]:
        part = BatchPart(number, self.whole.of, self.whole.size, self.whole.spec.search.seed)
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
        self.audited |= run.history.audited

    def rows(self, with_gold: bool = True) -> Iterator[LabelledRow]:
        """Yield one row per example in data set order, as `LabelledRun.rows` does, human labels included."""
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
        self,
        position: int,
        example: Example,
        inputs: Json,
        gold: Mapping[str, Label] | None,
        human: Mapping[str, Mapping[str, Label]],
    ) -> LabelledRow:
        row: LabelledRow = dict(inputs)
        row |= our_cells(example, *self._said(position), position in self.pinned)
        if gold is not None:
            row["icm_gold"] = gold.get(example.id)
        row |= {HUMAN_PREFIX + source: said.get(example.id) for source, said in human.items()}
        if self.audited:
            row["icm_audit_label"] = self.audited.get(example.id)
        number = self.batch[position]
        return row | {"icm_run": self.whole.run(number) if number else None}

    def _said(self, position: int) -> tuple[Label | None, float | None, int | None, int | None]:
        place = self.label[position]
        if place < 0:
            return None, None, None, None
        last, flips = self.last_change[position], self.flips[position]
        return self.info.task.labels[place], self.probability[position], last, flips


def read_label_set(store: Store, name: str) -> LabelSet:
    """Return the labels of a batched run; unfinished batches contribute their current labels."""
    whole = batched(store, name)
    places = store.places(whole.spec.dataset, whole.spec.cut)
    return LabelSet(store, whole, store.dataset_info(whole.spec.dataset), places)


def runs_of(store: Store, whole: BatchedRun) -> Iterator[tuple[int, LabelledRun]]:
    """Yield the started batches' runs with their labels."""
    for number in range(1, whole.of + 1):
        if store.has_run(whole.run(number)):
            yield number, read_labels(store, whole.run(number))


def training_rows(store: Store, name: str, format: str, left_out: Counter[str]) -> Iterable[LabelledRow]:
    """Yield the rows of a training file, batch by batch; judgements without a row are counted. Raises SettingError.

    A pair and its twin, and the claims of a question, are in one batch, as they are in one group.
    """
    whole, begun = batched(store, name), set[int]()
    for number, run in runs_of(store, whole):
        begun.add(number)
        made = TRAINING[format](run)
        left_out.update(made.left_out)
        yield from made.rows
    left_out[UNLABELLED] += _judgements_of(store, whole, begun)


def _judgements_of(store: Store, whole: BatchedRun, begun: set[int]) -> int:
    """The examples of batches not yet started, a pair and its twin as one."""
    places, dataset, count = store.places(whole.spec.dataset, whole.spec.cut), whole.spec.dataset, 0
    for number in set(range(1, whole.of + 1)) - begun:
        positions = read_part(
            store.db, dataset, places, BatchPart(number, whole.of, whole.size, whole.spec.search.seed)
        )
        count += sum(example.twin_of is None for example in store.examples_at(dataset, positions))
    return count
