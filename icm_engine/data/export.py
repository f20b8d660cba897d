"""A run's labels as a file: every input column, then what the run says of each example, one row an example.

Columns that the export adds begin with `icm_`, so that none is ever mistaken for gold. In CSV, text cells that a
spreadsheet would run as a formula get a leading apostrophe, which importing our own export removes again.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Labeling
from icm_engine.core.search import State
from icm_engine.data.columns import HUMAN_PREFIX
from icm_engine.data.gold import load_gold, load_human
from icm_engine.runs.replay import OpenRun, open_run, replay
from icm_engine.runs.store import Dataset, Store

if TYPE_CHECKING:
    import pandas

Value = str | int | float | None
LabelledRow = dict[str, Value]

FORMULA_STARTS = tuple("=+-@'\t\r")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


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


def labelled_rows(store: Store, run: str) -> list[LabelledRow]:
    """Return one row for each example of the run, in data set order; cells without a value are None.

    `icm_probability` is the label's, renormalised over the labels, in the last labeling accepted;
    `icm_last_change_step` is 0 for an initial label; `icm_flips` counts changes after the first. Raises NotFound.
    """
    opened = open_run(store, run)
    dataset, history = opened.dataset, _history(store, opened)
    gold, human = load_gold(store, dataset.name), load_human(store, dataset.name)
    rows = []
    for i, (example, inputs) in enumerate(zip(dataset.examples, dataset.inputs, strict=True)):
        row = _inputs(dataset, inputs) | _labelled(dataset, example, i, history)
        if gold:
            row["icm_gold"] = gold.labels.get(example.id)
        row |= {HUMAN_PREFIX + source: said.labels.get(example.id) for source, said in human.items()}
        rows.append(row | {"icm_run": run})
    return rows


def rows_to_frame(rows: Sequence[LabelledRow]) -> pandas.DataFrame:
    """Return the rows as a pandas frame: text, whole numbers that may be missing, and probabilities."""
    import pandas  # half a second that importing this module should not cost

    frame = pandas.DataFrame(list(rows))
    kinds = {"icm_probability": "Float64", "icm_last_change_step": "Int64", "icm_flips": "Int64"}
    return frame.astype({c: kinds.get(c, "string") for c in frame.columns})


def csv_bytes(store: Store, run: str) -> bytes:
    """Return the run's rows as CSV: UTF-8, CRLF between rows, formulas defused, empty cells for None."""
    return _csv(labelled_rows(store, run))


def export_run(store: Store, run: str, path: Path | str, format: str = "csv") -> int:
    """Write the run's rows to a file, whole or not at all, and return their number. Raises SettingError, NotFound."""
    if format not in FORMATS:
        raise SettingError(f"format {format!r} does not exist: use one of {', '.join(FORMATS)}")
    rows = labelled_rows(store, run)
    _write(Path(path), FORMATS[format](rows))
    return len(rows)


def defused(cell: Value) -> str:
    """Return a CSV cell's text: a leading apostrophe where a spreadsheet would run it; numbers are left alone."""
    text = "" if cell is None else str(cell)
    runs = isinstance(cell, str) and text.startswith(FORMULA_STARTS) and not _NUMBER.fullmatch(text)
    return "'" + text if runs else text


def _history(store: Store, opened: OpenRun) -> _History:
    """Follow the initial labels and every step; a rejected one changes nothing."""
    history = _History()
    for event in store.read_after(opened.name, kinds=("initial", "step")):
        state = replay(opened, [event], history.state)
        if state is not None:
            history.reach(state)
    return history


def _inputs(dataset: Dataset, inputs: Mapping[str, Any]) -> LabelledRow:
    """The input columns in the order of the file."""
    return {column: inputs[column] for column in dataset.columns if column in inputs}


def _labelled(dataset: Dataset, example: Example, i: int, history: _History) -> LabelledRow:
    label = history.state.labeling.get(i) if history.state else None
    return {
        "icm_id": example.id,
        "icm_twin_of": example.twin_of,
        "icm_label": label,
        "icm_probability": _probability(dataset, i, history.state),
        "icm_last_change_step": history.last_change.get(i),
        "icm_flips": history.flips.get(i),
    }


def _probability(dataset: Dataset, i: int, state: State | None) -> float | None:
    if state is None or i not in state.labeling:
        return None
    place = dataset.task.labels.index(state.labeling[i])
    return math.exp(state.evaluation.scores[i].normalized[place])


def _csv(rows: Sequence[LabelledRow]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    for cells in _header_and_cells(rows):
        writer.writerow([defused(cell) for cell in cells])
    return out.getvalue().encode()


def _header_and_cells(rows: Sequence[LabelledRow]) -> Iterator[list[Value]]:
    yield list(rows[0]) if rows else []
    yield from (list(row.values()) for row in rows)


def _jsonl(rows: Sequence[LabelledRow]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows).encode()


def _parquet(rows: Sequence[LabelledRow]) -> bytes:
    out = io.BytesIO()
    rows_to_frame(rows).to_parquet(out, index=False)
    return out.getvalue()


FORMATS: Mapping[str, Callable[[Sequence[LabelledRow]], bytes]] = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}


def _write(path: Path, content: bytes) -> None:
    """Write beside the file, then rename: a reader never sees half of it."""
    part = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise SettingError(f"output {path} cannot be written ({error.strerror}): choose another file") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
