"""Figures and tables of the page Conflicts and repairs."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from html import escape
from math import inf

import pandas as pd
import plotly.graph_objects as go

from icm_engine.analysis.conflicts import Edge, EdgeKind, GraphNode, GroupGraph, PairLine, pair_code
from icm_engine.analysis.figures import (
    COLOURED,
    MARKS,
    Chart,
    Palette,
    blank_figure,
    coloured,
    label_name,
    others_name,
    palette,
)
from icm_engine.analysis.formatting import counted, decimal, middle_cut, one_line
from icm_engine.analysis.label_history import RepairMark
from icm_engine.analysis.repairs import RepairCard, result_words
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.traces import corners, every_nth, extremes
from icm_engine.analysis.views import example_text
from icm_engine.core.labeling import Label

ROOM = 0.06  # above and below a curve, so that a mark on its edge is whole
COLUMNS = 3  # groups side by side
FEWER = 2  # where the labels are many, and their names long
ROW = 210  # pixels
RADIUS = 0.27  # radius of a circle of nodes; groups are at distance 1
SHAPES = ("circle", "square", "diamond", "triangle-up")  # of labels, in the task's order
UNLABELLED = "no label"


def plain(text: str) -> str:
    """Return untrusted text escaped so that Plotly shows it literally."""
    return escape(text, quote=False)


# -- over time


def pairs_chart(reading: Reading, dark: bool = False) -> Chart:
    """Number of inconsistent pairs after each step, with every repair marked as kept (filled) or not (hollow)."""
    colours, figure = palette(dark), blank_figure(dark, "pairs", reading.unit)
    points = reading.trajectory.points
    values = [point.pairs for point in points]
    turns = corners(values)
    kept = [turns[k] for k in extremes([values[k] for k in turns])]
    figure.add_scatter(
        x=[points[k].step for k in kept],
        y=[values[k] for k in kept],
        name="inconsistent pairs",
        mode="lines",
        line={"color": colours.strong, "width": 2, "shape": "hv"},
    )
    _repairs(figure, reading, "repair not kept", lambda mark: not mark.kept, colours.rejected, "circle-open")
    _repairs(figure, reading, "repair kept", lambda mark: mark.kept, colours.second, "circle")
    high = max(1, *values)
    figure.update_yaxes(range=[-ROOM * high, (1 + ROOM) * high])
    figure.update_xaxes(rangemode="normal")  # with room for a mark at step 0
    caption = (
        f"Pairs of labels that violate the rule after each {reading.unit}. Filled: a repair that was kept. Hollow: one "
        "not kept."
    )
    return Chart("Inconsistent pairs", caption, figure, _over_time(reading, values))


def _repairs(
    figure: go.Figure, reading: Reading, name: str, wanted: Callable[[RepairMark], bool], colour: str, symbol: str
) -> None:
    chosen = [mark for mark in reading.repairs if wanted(mark)]
    shown = [chosen[k] for k in every_nth(len(chosen), MARKS)]
    figure.add_scatter(
        x=[mark.step for mark in shown],
        y=[pairs_after(reading, mark.event) for mark in shown],
        name=name,
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": 7, "line": {"width": 1.5, "color": colour}},
    )


def pairs_after(reading: Reading, event: int) -> int:
    """Return the number of inconsistent pairs after an event that is a point of the curves."""
    points = reading.trajectory.points
    return points[bisect_left(points, event, key=lambda point: point.event)].pairs


def _over_time(reading: Reading, values: Sequence[int]) -> str:
    points, unit = reading.trajectory.points, reading.unit
    kept = sum(mark.kept for mark in reading.repairs)
    most = max(range(len(values)), key=values.__getitem__)
    return (
        f"Inconsistent pairs: {values[0]} at {unit} {points[0].step}, {values[-1]} at {unit} {points[-1].step}; "
        f"most: {values[most]} at {unit} {points[most].step}. {counted(len(reading.repairs), 'repair')}, {kept} kept."
    )


# -- groups in conflict


def groups_chart(graphs: Sequence[GroupGraph], labels: Sequence[Label], dark: bool = False) -> Chart:
    """Each group as a circle of its examples; inconsistent pairs are thick dashed lines with a cross.

    Of many labels, those with most examples here have a colour and a shape.
    """
    colours, figure = palette(dark), blank_figure(dark, "")
    columns = COLUMNS if len(labels) <= COLOURED else FEWER
    placed = [(graph, k % min(columns, len(graphs)), -(k // columns)) for k, graph in enumerate(graphs)]
    _edges(figure, placed, "constrained", {"color": colours.text, "width": 1}, 0.45)
    _edges(figure, placed, "prevented", {"color": colours.second, "width": 1.5, "dash": "dashdot"}, 0.9)
    _edges(figure, placed, "was inconsistent", {"color": colours.rejected, "width": 1.5, "dash": "dot"}, 0.9)
    _edges(figure, placed, "inconsistent", {"color": colours.rejected, "width": 4, "dash": "dash"}, 1.0)
    _crosses(figure, placed, colours)
    counts = Counter(node.label for graph in graphs for node in graph.nodes)
    shown = coloured(labels, [counts[label] for label in labels])
    shades = (colours.strong, colours.third, colours.second, colours.text)
    for label, symbol, colour in zip(shown, SHAPES, shades, strict=False):
        _nodes(figure, placed, {label}, label_name(label), symbol, colour)
    _nodes(figure, placed, {*labels} - {*shown}, others_name(labels, shown), "hexagon", colours.other)
    _nodes(figure, placed, {None}, UNLABELLED, "circle-open-dot", colours.text)
    _names(figure, placed, colours)
    rows = -(-len(graphs) // columns)
    figure.update_layout(height=rows * ROW + 50, hovermode="closest", dragmode=False, clickmode="event")
    figure.update_layout(margin={"l": 4, "r": 4, "t": 8, "b": 4})
    hidden = {"visible": False, "fixedrange": True}
    figure.update_xaxes(range=[-0.5, min(columns, len(graphs)) - 0.5], **hidden)
    figure.update_yaxes(range=[0.5 - rows, 0.55], **hidden)
    return Chart("Groups in conflict", _groups_caption(graphs), figure, _groups_alt(graphs))


Placed = Sequence[tuple[GroupGraph, int, int]]


def _spot(node: GraphNode, column: int, row: int) -> tuple[float, float]:
    return column + RADIUS * node.x, row + RADIUS * node.y - 0.04


def _ends(
    placed: Placed, kind: EdgeKind
) -> Iterable[tuple[GroupGraph, Edge, tuple[float, float], tuple[float, float]]]:
    for graph, column, row in placed:
        for edge in graph.edges:
            if edge.kind == kind:
                first, second = graph.nodes[edge.first], graph.nodes[edge.second]
                yield graph, edge, _spot(first, column, row), _spot(second, column, row)


def _edges(figure: go.Figure, placed: Placed, kind: EdgeKind, line: dict[str, object], opacity: float) -> None:
    xs: list[float | None] = []
    ys: list[float | None] = []
    for _, _, (x, y), (u, v) in _ends(placed, kind):
        xs += [x, u, None]
        ys += [y, v, None]
    if xs:
        figure.add_scatter(x=xs, y=ys, name=kind, mode="lines", line=line, opacity=opacity, hoverinfo="skip")


def _crosses(figure: go.Figure, placed: Placed, colours: Palette) -> None:
    """A cross in the middle of every inconsistent pair; its customdata is the pair's address, which a click reports."""
    ends = list(_ends(placed, "inconsistent"))
    if not ends:
        return
    codes = [pair_code((graph.nodes[edge.first].id, graph.nodes[edge.second].id)) for graph, edge, _, _ in ends]
    figure.add_scatter(
        x=[(x + u) / 2 for _, _, (x, _), (u, _) in ends],
        y=[(y + v) / 2 for _, _, (_, y), (_, v) in ends],
        mode="markers",
        customdata=codes,
        hovertemplate="inconsistent: click to see the pair<extra></extra>",
        marker={"symbol": "x", "size": 10, "color": colours.rejected},
        showlegend=False,
    )


def _nodes(
    figure: go.Figure, placed: Placed, labels: Collection[Label | None], name: str, symbol: str, colour: str
) -> None:
    chosen = [
        (node, _spot(node, column, row))
        for graph, column, row in placed
        for node in graph.nodes
        if node.label in labels
    ]
    if not chosen:
        return
    figure.add_scatter(
        x=[x for _, (x, _) in chosen],
        y=[y for _, (_, y) in chosen],
        name=name,
        mode="markers+text",
        marker={"symbol": symbol, "color": colour, "size": 15},
        textfont={"size": 11},
        text=[plain(node_text(node)) for node, _ in chosen],
        textposition=["bottom center" if node.y < -0.1 else "top center" for node, _ in chosen],
        hovertext=[plain(f"{node.id}, {node.label or UNLABELLED}: {one_line(node.text, 90)}") for node, _ in chosen],
        hoverinfo="text",
    )


def node_text(node: GraphNode) -> str:
    """Return the text beside an example: its label, and the answer read from it if any."""
    label = middle_cut(node.label, 9) if node.label else "–"
    return label if node.answer is None else f"{label} · {one_line(node.answer, 8)}"


def _names(figure: go.Figure, placed: Placed, colours: Palette) -> None:
    for graph, column, row in placed:
        name = plain(one_line(graph.name, 22)) + ("" if graph.whole else " (part)")
        figure.add_annotation(
            x=column, y=row + 0.45, text=f"<b>{name}</b>", showarrow=False, font={"color": colours.text}
        )


def _groups_caption(graphs: Sequence[GroupGraph]) -> str:
    caption = (
        "Examples of a group, each with its label and final answer. Thick, dashed, with a cross: inconsistent now; "
        "dotted: earlier; dashes and dots: prevented; thin: constrained by the rule. Click a cross to see the pair."
    )
    part = sum(not graph.whole for graph in graphs)
    return f"{caption} Of large groups (marked: part) only examples in conflict are drawn." if part else caption


def _groups_alt(graphs: Sequence[GroupGraph]) -> str:
    pairs = sum(edge.kind == "inconsistent" for graph in graphs for edge in graph.edges)
    nodes = sum(len(graph.nodes) for graph in graphs)
    return (
        f"{counted(len(graphs), 'group')} with {counted(nodes, 'example')}: {counted(pairs, 'pair')} inconsistent now."
    )


# -- the options of a repair


OPTIONS = 8  # of a repair, in the chart


def options_chart(card: RepairCard, dark: bool = False) -> Chart:
    """Change of U for every repair option, of many the best; the chosen one is filled, the others are hollow."""
    colours, figure = palette(dark), blank_figure(dark, "")
    options = list(card.options)
    if len(options) > OPTIONS:
        options = sorted(options, key=lambda o: (not o.taken, -o.change if o.change is not None else inf))[:OPTIONS]
    places = list(range(len(options)))
    names = [plain(", ".join(middle_cut(label, 14) for label in option.labels)) for option in options]
    changes = [option.change or 0.0 for option in options]
    looks = [colours.strong if option.taken else "rgba(0,0,0,0)" for option in options]
    words = [decimal(option.change, 2) if option.change is not None else option.outcome for option in options]
    notes = [
        f"{words[k]} {option.outcome}" if option.change is not None else words[k] for k, option in enumerate(options)
    ]
    figure.add_bar(
        x=changes,
        y=places,
        orientation="h",
        marker={"color": looks, "line": {"color": colours.strong, "width": 2}},
        hoverinfo="skip",
        showlegend=False,
    )
    for place, note in zip(places, notes, strict=True):
        look = {"showarrow": False, "xanchor": "left", "font": {"color": colours.text}}
        figure.add_annotation(x=0, xref="paper", y=place, yshift=21, text=note, **look)
    figure.add_vline(x=0, line={"color": colours.text, "width": 1})
    figure.update_layout(height=70 + 62 * max(1, len(names)), bargap=0.62, dragmode=False, hovermode=False)
    figure.update_xaxes(title_text="change of U", rangemode="normal", fixedrange=True)
    figure.update_yaxes(
        autorange="reversed", tickvals=places, ticktext=names, showgrid=False, fixedrange=True, rangemode="normal"
    )  # numbers, not names: two names may be cut to the same
    caption = f"U with each consistent pair of labels, against U = {decimal(card.utility, 2)} with the labels before."
    if len(options) < len(card.options):
        caption += f" The best {len(options)} of {len(card.options)} options; the table has all."
    alt = "; ".join(f"{', '.join(o.labels)}: {note}" for o, note in zip(options, notes, strict=True))
    return Chart("Options", caption, figure, f"Change of U by option: {alt or 'no option'}.")


NAME = 60  # characters of a group's name
CURVE_ROWS = 500


def pairs_frame(lines: Sequence[PairLine]) -> pd.DataFrame:
    """Return pairs, one per row: both texts, current labels, and how long they were inconsistent."""
    return pd.DataFrame(
        [
            {
                "labels": " / ".join(label or "–" for label in line.labels),
                "now": line.words,
                "times": line.times,
                f"{line.unit}s in all": line.steps,
                "repairs": line.repairs,
                "first": one_line(line.texts[0]),
                "second": one_line(line.texts[1]),
            }
            for line in lines
        ]
    )


def repairs_frame(reading: Reading, marks: Sequence[RepairMark]) -> pd.DataFrame:
    """Return repairs, one per row, in the order given."""
    return pd.DataFrame(
        [
            {
                reading.unit: mark.step,
                "repair" if reading.by_folds else "round": mark.round + 1,
                "result": result_words(mark),
                "first": one_line(example_text(reading, mark.pair[0])),
                "second": one_line(example_text(reading, mark.pair[1])),
            }
            for mark in marks
        ]
    )


def options_frame(card: RepairCard) -> pd.DataFrame:
    """Return a repair's options, one per row, below the original labels."""
    rows = [
        {"first": o.labels[0], "second": o.labels[1], "U": o.utility, "change": o.change, "outcome": o.outcome}
        for o in card.options
    ]
    before = {"first": card.labels[0], "second": card.labels[1], "U": card.utility, "change": None}
    return pd.DataFrame([{**before, "outcome": "before"}, *rows])


def groups_frame(graphs: Sequence[GroupGraph]) -> pd.DataFrame:
    """Return the examples of the groups, one per row, with the examples they conflict with."""
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
    """Return the number of inconsistent pairs over steps, thinned to a few hundred rows, newest first."""
    points = reading.trajectory.points
    kept = [points[k] for k in every_nth(len(points), CURVE_ROWS)]
    return pd.DataFrame(
        [
            {reading.unit: point.step, "inconsistent pairs": point.pairs, "I": point.inconsistency}
            for point in reversed(kept)
        ]
    )
