"""Tables of consistency: every text is a cell, and never markup."""

from collections.abc import Sequence

import pandas as pd

from icm_engine.analysis.conflict_groups import GroupGraph
from icm_engine.analysis.conflict_repairs import RepairCard, result_words
from icm_engine.analysis.conflicts import PairLine
from icm_engine.analysis.history import RepairMark
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.resample import every_nth
from icm_engine.analysis.views import example_text
from icm_engine.analysis.wording import one_line

NAME = 60  # characters of a group's name
CURVE_ROWS = 500


def pairs_frame(lines: Sequence[PairLine]) -> pd.DataFrame:
    """Return pairs, one a row: both texts, their labels now, and how long they were inconsistent."""
    return pd.DataFrame(
        [
            {
                "now": line.words,
                "labels": " / ".join(label or "–" for label in line.labels),
                "times": line.times,
                "steps in all": line.steps,
                "first": one_line(line.texts[0]),
                "second": one_line(line.texts[1]),
            }
            for line in lines
        ]
    )


def repairs_frame(reading: Reading, marks: Sequence[RepairMark]) -> pd.DataFrame:
    """Return repairs, one a row, in the order given."""
    return pd.DataFrame(
        [
            {
                "step": mark.step,
                "round": mark.round + 1,
                "result": result_words(mark),
                "first": one_line(example_text(reading, mark.pair[0])),
                "second": one_line(example_text(reading, mark.pair[1])),
            }
            for mark in marks
        ]
    )


def options_frame(card: RepairCard) -> pd.DataFrame:
    """Return a repair's options, one a row, below the labels there were."""
    rows = [
        {"first": o.labels[0], "second": o.labels[1], "U": o.utility, "change": o.change, "outcome": o.outcome}
        for o in card.options
    ]
    before = {"first": card.labels[0], "second": card.labels[1], "U": card.utility, "change": None}
    return pd.DataFrame([{**before, "outcome": "before"}, *rows])


def groups_frame(graphs: Sequence[GroupGraph]) -> pd.DataFrame:
    """Return the examples of the groups, one a row, with those they are in conflict with."""
    return pd.DataFrame(
        [
            {
                "group": one_line(graph.name, NAME),
                "example": node.id,
                "label": node.label,
                "answer": node.answer,
                "in conflict with": ", ".join(_partners(graph, place)),
                "text": one_line(node.text),
            }
            for graph in graphs
            for place, node in enumerate(graph.nodes)
        ]
    )


def _partners(graph: GroupGraph, place: int) -> list[str]:
    ends = [(edge.first, edge.second) for edge in graph.edges if edge.kind == "inconsistent"]
    return [graph.nodes[one if other == place else other].id for one, other in ends if place in (one, other)]


def pairs_curve_frame(reading: Reading) -> pd.DataFrame:
    """Return the number of inconsistent pairs over the steps, thinned to some hundred rows, the newest first."""
    points = reading.trajectory.points
    kept = [points[k] for k in every_nth(len(points), CURVE_ROWS)]
    return pd.DataFrame(
        [{"step": point.step, "inconsistent pairs": point.pairs, "I": point.inconsistency} for point in reversed(kept)]
    )
