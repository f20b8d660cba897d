"""From read models to tables: pandas frames, in which every text is a cell and never markup."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from icm_engine.analysis.annotating import ActRow, Member
from icm_engine.analysis.datasets import ExampleLine
from icm_engine.analysis.figures import palette
from icm_engine.analysis.forks import Branch, Difference
from icm_engine.analysis.reading import Reading, Trajectory
from icm_engine.analysis.resample import every_nth
from icm_engine.analysis.views import Conflict, LabelRow, example_text
from icm_engine.analysis.wording import one_line

CURVE_ROWS = 500


def steps_frame(reading: Reading, dark: bool = False, limit: int = 50) -> Any:
    """Return the last steps, the newest first, styled; the verdict has a shape and a word beside its colour."""
    rows = [
        {
            "step": row.step,
            "verdict": row.words,
            "repairs": row.repair_words,
            "example": one_line(example_text(reading, reading.run.codec.index(row.example)), 90),
            "label": row.proposed if row.old == row.proposed else f"{row.old or '·'} → {row.proposed}",
            "delta U": row.delta,
            "T": row.temperature,
            "p(accept)": row.accept_probability,
            "draw": row.draw,
            "label mass": row.label_mass,
            "seconds": row.seconds,
        }
        for row in reversed(reading.steps[-limit:])
    ]
    return _coloured(pd.DataFrame(rows), dark)


def _coloured(frame: pd.DataFrame, dark: bool) -> Any:
    if frame.empty:
        return frame
    colours = palette(dark)
    looks = {"●": f"color: {colours.accepted}; font-weight: 600", "○": f"color: {colours.rejected}; font-weight: 600"}
    return frame.style.map(lambda words: looks.get(str(words)[:1], "opacity: 0.65"), subset=["verdict"])


def conflicts_frame(conflicts: Sequence[Conflict]) -> pd.DataFrame:
    """Return the inconsistent pairs, one a row, both examples side by side."""
    return pd.DataFrame(
        [
            {
                "rule": pair.rule,
                "first": one_line(pair.texts[0]),
                "first label": pair.labels[0],
                "first answer": pair.answers[0],
                "second": one_line(pair.texts[1]),
                "second label": pair.labels[1],
                "second answer": pair.answers[1],
            }
            for pair in conflicts
        ]
    )


def labels_frame(rows: Sequence[LabelRow]) -> pd.DataFrame:
    """Return the labels, one example a row; the gold column only where there is gold."""
    frame = pd.DataFrame(
        [
            {
                "example": row.example,
                "text": row.text,
                "label": row.label,
                "probability": row.probability,
                "last change": row.last_change,
                "flips": row.flips,
                "gold": row.gold,
            }
            for row in rows
        ]
    )
    return frame.drop(columns="gold") if all(row.gold is None for row in rows) and rows else frame


def curves_frame(trajectory: Trajectory) -> pd.DataFrame:
    """Return the curves as a table, thinned evenly to some hundred rows, the newest first."""
    points = [trajectory.points[k] for k in every_nth(len(trajectory.points), CURVE_ROWS)]
    return pd.DataFrame(
        [
            {
                "step": point.step,
                "U": point.utility,
                "alpha P": point.weighted_predictability,
                "I": point.inconsistency,
                "temperature": point.temperature,
                "acceptance": point.acceptance_rate,
                "labelled": point.labelled,
                **{f"label {name}": count for name, count in zip(trajectory.labels, point.balance, strict=True)},
                "accuracy": point.accuracy.raw if point.accuracy else None,
                "verdict": point.verdict,
            }
            for point in reversed(points)
        ]
    )


def settings_frame(spec: dict[str, Any]) -> pd.DataFrame:
    """Return a run's settings as names and values."""
    flat = {**{name: value for name, value in spec.items() if name != "search"}, **spec["search"]}
    values = ["" if value is None else str(value) for value in flat.values()]
    return pd.DataFrame({"setting": [name.replace("_", " ") for name in flat], "value": values})


def examples_frame(lines: Sequence[ExampleLine], fields: Sequence[str]) -> pd.DataFrame:
    """Return examples, one a row, their texts cut to one line; a column is left out where none has anything in it."""
    frame = pd.DataFrame(
        [
            {
                "place": line.position + 1,
                **{field: one_line(line.example.fields.get(field, "")) for field in fields},
                "answer": line.example.answer,
                "gold": line.gold,
                "group": one_line(line.example.group, 60),
                "id": line.example.id,
            }
            for line in lines
        ]
    )
    return frame.drop(columns=[name for name in ("answer", "gold") if frame[name].isna().all()])


def cells_frame(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Return the cells of a file as they are, each cut to one line."""
    return pd.DataFrame([{name: one_line(row[name]) for name in columns} for row in rows], columns=list(columns))


def branches_frame(branches: Sequence[Branch], run: str) -> pd.DataFrame:
    """Return a tree of runs, one a row; the run that is looked at is marked."""
    return pd.DataFrame(
        [
            {
                "run": "   " * branch.depth + ("└ " if branch.depth else "") + branch.run,
                "": "◀ this run" if branch.run == run else "",
                "parted after step": branch.step,
                "changed": "; ".join(f"{name}: {old} → {new}" for name, (old, new) in branch.changes.items()),
            }
            for branch in branches
        ]
    )


def differing_frame(reading: Reading, found: Difference, other: str) -> pd.DataFrame:
    """Return the examples on which two runs differ, one a row."""
    codec = reading.run.codec
    return pd.DataFrame(
        [
            {
                "example": row.example,
                "text": one_line(example_text(reading, codec.index(row.example))),
                reading.run.name: row.ours,
                other: row.theirs,
                "pinned": "pinned" if row.pinned else "",
                **({"gold": reading.gold.get(row.example)} if reading.gold else {}),
            }
            for row in found.differing
        ]
    )


def members_frame(members: Sequence[Member]) -> pd.DataFrame:
    """Return the other examples of a group, one a row."""
    return pd.DataFrame(
        [
            {"label": row.label, "pinned": "pinned" if row.pinned else "", "text": row.text, "id": row.example}
            for row in members
        ]
    )


def acts_frame(rows: Sequence[ActRow]) -> pd.DataFrame:
    """Return what a person did, one act a row."""
    return pd.DataFrame(
        [
            {
                "time": row.time,
                "act": row.verb,
                "examples": row.examples,
                "first": row.first,
                "labels": row.labels,
                "changed": row.changed,
                "note": row.note,
            }
            for row in rows
        ]
    )
