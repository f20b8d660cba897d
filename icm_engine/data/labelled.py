"""What a run says of each example, read once: the labels it reached, and how each one came about."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from icm_engine.core.labeling import Example, Label, Labeling, Task
from icm_engine.core.search import State
from icm_engine.data.columns import HUMAN_PREFIX
from icm_engine.data.gold import gold_of, human_of, load_gold, load_human
from icm_engine.data.withheld import withheld
from icm_engine.runs.replay import OpenRun, open_run, replay
from icm_engine.runs.store import Store

Value = str | int | float | None
LabelledRow = dict[str, Value]

BATCH = 2000  # events read at once


@dataclass
class _History:
    """What a replay of a run remembers: the state it reached, and each example's changes."""

    state: State | None = None
    last_change: dict[int, int] = field(default_factory=dict)
    flips: dict[int, int] = field(default_factory=dict)

    def reach(self, state: State) -> None:
        """Note what changed; a label that a repair set back within the step did not change."""
        before = self.state.labeling if self.state else Labeling()
        changed = [] if state.labeling is before else [i for i, y in state.labeling.items() if before.get(i) != y]
        for i in changed:
            self.last_change[i] = state.step
            self.flips[i] = self.flips.get(i, 0) + (i in before)
        self.state = state


@dataclass(frozen=True)
class LabelledRun:
    """A run with the labels it has reached, and apart from these what gold and people said of its examples."""

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
        """Where the search stands; None before the initial labels."""
        return self.history.state

    @property
    def labeling(self) -> Labeling:
        return self.history.state.labeling if self.history.state else Labeling()

    @property
    def pins(self) -> frozenset[int]:
        """The examples whose labels a person has fixed: these are not the search's."""
        return self.history.state.hand.pins if self.history.state else frozenset()

    def examples(self) -> Iterator[tuple[Example, Label | None]]:
        """Yield every example in data set order with its label, None where it has none."""
        return ((example, self.labeling.get(i)) for i, example in enumerate(self.opened.dataset.examples))

    def rows(self, gold: bool = False, human: bool = False) -> Iterator[LabelledRow]:
        """Yield one row an example in data set order: the input columns, then ours; cells without a value are None.

        Input columns that look like labels are there only with `gold`.
        `icm_probability` is the label's, renormalised over the labels, in the last labeling accepted;
        `icm_last_change_step` is 0 for an initial label; `icm_flips` counts changes after the first;
        `icm_pinned` is "pinned" where a person fixed the label.
        """
        dataset, sources = self.opened.dataset, self.human if human else {}
        columns = dataset.columns if gold else self.public_columns()
        for i, (example, inputs) in enumerate(zip(dataset.examples, dataset.inputs, strict=True)):
            row = {column: inputs.get(column) for column in columns} | self._labelled(example, i)
            if gold and self.gold:
                row["icm_gold"] = self.gold.get(example.id)
            row |= {HUMAN_PREFIX + source: said.get(example.id) for source, said in sources.items()}
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
        """Return p of an example's label given all the others, over the labels; None without one."""
        if self.state is None or i not in self.labeling:
            return None
        place = self.task.labels.index(self.labeling[i])
        return math.exp(self.state.evaluation.scores[i].normalized[place])


def our_cells(
    example: Example, label: Label | None, probability: float | None, last_change: int | None, flips: int | None,
    pinned: bool,
) -> dict[str, Any]:  # fmt: skip
    """Return the cells of our own that a row has, but for gold, human labels and the run."""
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
    """Return a run with the labels it has reached, or had after the event `until`. Raises NotFound."""
    opened = open_run(store, run)
    dataset, history = opened.dataset.name, _history(store, opened, until)
    if opened.spec.part is not None:  # the others' gold may be a million labels
        ids = list(opened.codec.ids)
        return LabelledRun(opened, history, gold_of(store, dataset, ids), human_of(store, dataset, ids))
    human = {source: said.labels for source, said in load_human(store, dataset).items()}
    return LabelledRun(opened, history, load_gold(store, dataset).labels, human)


def _history(store: Store, opened: OpenRun, until: int | None) -> _History:
    """Follow the initial labels and every step, up to an event or the end; a rejected one changes nothing."""
    history, cursor = _History(), 0
    if until is not None:
        for event in store.read_between(opened.name, 0, until):
            state = replay(opened, [event], history.state)
            if state is not None:
                history.reach(state)
        return history
    while events := store.read_after(opened.name, cursor, limit=BATCH):
        for event in events:
            state = replay(opened, [event], history.state)
            if state is not None:
                history.reach(state)
        cursor = events[-1].number
    return history
