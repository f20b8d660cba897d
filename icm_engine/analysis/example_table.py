"""The examples of a run as one table: labels, margins, flips, conflicts, human labels and gold; filters and orders."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from icm_engine.analysis.formatting import one_line
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import example_text
from icm_engine.core.labeling import Label
from icm_engine.data.gold import human_of
from icm_engine.store.store import Store

TEXT = 160  # characters of a text in the table


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """One example; `margin` and `probability` are its label's, given all others, None if unlabelled."""

    place: int
    example: str  # id
    label: Label | None
    probability: float | None
    margin: float | None
    flips: int
    last_change: int | None  # step
    conflicts: int  # inconsistent pairs now
    pinned: bool
    gold: Label | None
    read_at: int | None = None  # step at which the scores were read; only with sampled terms


Keep = Callable[[ExampleRow], bool]
FILTERS: dict[str, Keep] = {
    "All examples": lambda row: True,
    "Labelled": lambda row: row.label is not None,
    "Unlabelled": lambda row: row.label is None,
    "In conflict": lambda row: row.conflicts > 0,
    "Flipped": lambda row: row.flips > 0,
    "Pinned": lambda row: row.pinned,
    "Model prefers another label": lambda row: row.margin is not None and row.margin < 0,
    "Differs from gold": lambda row: row.gold is not None and row.label is not None and row.label != row.gold,
}
SORTS: dict[str, Callable[[ExampleRow], tuple[bool, float]]] = {  # missing values come last
    "Data set order": lambda row: (False, row.place),
    "Lowest margin": lambda row: (row.margin is None, row.margin or 0.0),
    "Most flips": lambda row: (False, -row.flips),
    "Most conflicts": lambda row: (False, -row.conflicts),
    "Latest change": lambda row: (row.last_change is None, -(row.last_change or 0)),
}


MOST = 20_000  # maximum number of listed examples; a larger run shows the labelled ones and the first of the others


def example_rows(reading: Reading, wanted: str, words: str, order: str) -> list[ExampleRow]:
    """Return the rows of a filter (or `Label NAME`) with `words` in their text or id, in this order."""
    keep = FILTERS.get(wanted) or (lambda row: row.label == wanted.removeprefix("Label "))
    sought = words.strip().casefold()
    found = [row for row in _rows(reading) if keep(row) and (not sought or _contains(reading, row, sought))]
    return sorted(found, key=SORTS[order])


def _contains(reading: Reading, row: ExampleRow, sought: str) -> bool:
    return sought in row.example.casefold() or sought in example_text(reading, row.place).casefold()


def _rows(reading: Reading) -> Iterator[ExampleRow]:
    state, labels = reading.state, reading.tally.labels
    scores = state.evaluation.scores if state else {}
    conflicts = Counter(i for pair in (state.evaluation.pairs if state else ()) for i in pair)
    ids = reading.run.codec.ids
    for i in sorted({*range(min(len(ids), MOST)), *reading.labeling}):
        label, change = reading.labeling.get(i), reading.changes.get(i)
        yield ExampleRow(
            i,
            ids[i],
            label,
            reading.probability(i),
            scores[i].margin(labels.index(label)) if label is not None and i in scores else None,
            change.flips if change else 0,
            change.last if change else None,
            conflicts[i],
            i in reading.pins,
            reading.gold.get(ids[i]),
            state.read_at.get(i) if state else None,
        )


def human_labels(store: Store, reading: Reading, rows: Sequence[ExampleRow]) -> dict[str, dict[str, Label]]:
    """Return the human labels of these examples, by source and id; none while the run is annotated blind."""
    if reading.blind or reading.withheld or not rows:
        return {}
    return human_of(store, reading.run.dataset.name, [row.example for row in rows])


def examples_frame(
    reading: Reading, rows: Sequence[ExampleRow], human: Mapping[str, Mapping[str, Label]]
) -> pd.DataFrame:
    """Return the rows as a table, text and labels first; columns without any value are left out."""
    columns = [
        {
            "text": one_line(example_text(reading, row.place), TEXT),
            "label": row.label,
            "gold": row.gold,
            **{f"human: {source}": labels.get(row.example) for source, labels in human.items()},
            "probability": row.probability,
            "margin": row.margin,
            "scored at step": row.read_at,
            "flips": row.flips,
            "conflicts": row.conflicts,
            "last change": row.last_change,
            "pinned": "pinned" if row.pinned else None,
            "example": row.example,
        }
        for row in rows
    ]
    frame = pd.DataFrame(columns)
    return frame.dropna(axis=1, how="all") if len(frame) else frame
