"""Figures and tables of one step, and of labels over time."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from icm_engine.analysis.event_cards import ChangedExample, Prediction
from icm_engine.analysis.figures import (
    COLOURED,
    HATCH,
    Chart,
    Palette,
    all_charts,
    blank_figure,
    coloured,
    ink,
    label_name,
    others_name,
    palette,
)
from icm_engine.analysis.flips import Queued
from icm_engine.analysis.formatting import MANY, decimal, one_line
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.step_card import LabelScore, Mover, RepairLine, Terms, two
from icm_engine.analysis.time_travel import thinned
from icm_engine.analysis.traces import Trajectory, every_nth
from icm_engine.core.labeling import Label

NAME = 18  # characters of an example's id next to its bar


def movers_chart(movers: Sequence[Mover], dark: bool = False) -> Chart:
    """Horizontal bars of the examples whose predictability changed most, largest gain on top."""
    colours, figure = palette(dark), blank_figure(dark, "")
    for word, wanted, colour, shape in (
        ("easier to predict", True, colours.strong, ""),
        ("harder to predict", False, colours.rejected, "/"),
    ):
        rows = [(place, mover) for place, mover in enumerate(movers) if (mover.change >= 0) == wanted]
        figure.add_bar(
            x=[round(mover.change, 6) for _, mover in rows],
            y=[place for place, _ in rows],
            orientation="h",
            name=word,
            marker={"color": colour, "line_width": 0, "pattern": {**HATCH, "shape": shape}},
            customdata=[_hover(mover) for _, mover in rows],
            hovertemplate="%{customdata}<extra></extra>",
        )
    names = [name_of(mover.example.id) for mover in movers]
    figure.update_layout(
        hovermode="closest", bargap=0.25, barmode="overlay", height=110 + 20 * len(movers), uirevision=None
    )
    figure.update_yaxes(tickvals=list(range(len(movers))), ticktext=names, showgrid=False)
    figure.update_xaxes(title_text="change of log p", zeroline=True, zerolinecolor=colours.grid)
    caption = (
        f"The {len(movers)} labelled examples whose own label became more or less likely with the proposal, "
        "each given all the others."
    )
    return Chart("Effect on other examples", caption, figure, _movers_alt(movers))


def _hover(mover: Mover) -> str:
    moved = f"log p of its label: {decimal(mover.before, 3)} → {decimal(mover.after, 3)}"
    return f"{moved}<br>{html.escape(one_line(mover.example.text, 80))}"


def name_of(example: str) -> str:
    """Return an example's id, shortened and escaped, for an axis of Plotly."""
    return html.escape(one_line(example, NAME))


def _movers_alt(movers: Sequence[Mover]) -> str:
    if not movers:
        return "No example's predictability moved."
    up = sum(mover.change > 0 for mover in movers)
    low, high = movers[0].change, movers[-1].change
    return (
        f"{len(movers)} examples: {up} became easier to predict, {len(movers) - up} did not; "
        f"changes from {decimal(low, 3)} to {decimal(high, 3)}."
    )


def movers_frame(movers: Sequence[Mover]) -> pd.DataFrame:
    """Return the same examples as a table, largest gain first."""
    return pd.DataFrame(
        [
            {
                "example": mover.example.id,
                "text": one_line(mover.example.text, 90),
                "log p before": mover.before,
                "log p after": mover.after,
                "change": mover.change,
            }
            for mover in reversed(movers)
        ]
    )


def terms_frame(before: Terms | None, after: Terms | None) -> pd.DataFrame:
    """Return U and its parts before and after; a column is left out where there is no such labeling."""
    named = {
        "P(D)": "predictability",
        "alpha · P(D)": "weighted",
        "inconsistent pairs": "pairs",
        "I(D)": "inconsistency",
        "U(D) = alpha · P − I": "utility",
    }
    frame = pd.DataFrame({"term": list(named)})
    for title, found in (("before", before), ("after", after)):
        if found is not None:
            frame[title] = [float(getattr(found, field)) for field in named.values()]
    if before is not None and after is not None:
        frame["change"] = frame["after"] - frame["before"]
    return frame


def scores_frame(scores: Sequence[LabelScore]) -> pd.DataFrame:
    """Return the model's score for each label; of many, the old and the proposed one first, then the likeliest."""
    shown = sorted(scores, key=lambda s: (not s.role, -s.log_prob)) if len(scores) > MANY else scores
    return pd.DataFrame([{"label": s.label, "": s.role, "log-prob": s.log_prob, "share": s.probability} for s in shown])


def options_frame(repair: RepairLine) -> pd.DataFrame:
    """Return the options of a repair, best first, untried ones last."""
    rows = [
        {
            "": "● taken" if option.taken else "○ not taken",
            "labels": two(option.labels),
            "U": option.utility,
            "against U now": option.gain,
        }
        for option in sorted(repair.options, key=lambda option: -option.utility)
    ]
    untried = [{"labels": two(labels), "": "✕ not tried: a label is pinned"} for labels in repair.withheld]
    return pd.DataFrame([*rows, *untried], columns=["", "labels", "U", "against U now"])


def changed_frame(changed: Sequence[ChangedExample]) -> pd.DataFrame:
    """Return the examples that an event between two steps touched."""
    return pd.DataFrame(
        [
            {
                "example": row.example.id,
                "before": row.old,
                "after": row.new,
                "text": one_line(row.example.text, 90),
                "what": row.words,
            }
            for row in changed
        ]
    )


def predictions_frame(found: Sequence[Prediction]) -> pd.DataFrame:
    """Return what a fit predicted for the examples held out, one per row; columns without any value are left out."""
    frame = pd.DataFrame(
        [
            {
                "example": row.example.id,
                "tried": row.tried,
                "share": row.probability,
                "gold": row.example.gold,
                "favoured": row.favoured,
                "its share": row.favoured_probability,
                "text": one_line(row.example.text, 90),
            }
            for row in found
        ]
    )
    return frame.dropna(axis=1, how="all") if len(frame) else frame


def curves_then(reading: Reading, whole: Trajectory, dark: bool = False) -> tuple[Chart, ...]:
    """Return the curves up to that event, on the time axis of the whole run, with a line at their end."""
    last = whole.points[-1].step
    drawn = thinned(reading.trajectory)
    if not reading.gold:  # gold may be hidden from a person who labels
        drawn = replace(drawn, points=tuple(point._replace(accuracy=None) for point in drawn.points))
    charts = all_charts(drawn, dark)
    here = reading.trajectory.points[-1].step
    for chart in charts:
        end = last if whole.unit == "step" else (1 + ROOM) * last  # a round's mark is at the end of the axis
        chart.figure.update_xaxes(range=[-ROOM * max(1, last), max(1, end)])
        chart.figure.add_vline(x=here, line={"width": 1.5, "dash": "dot", "color": palette(dark).text})
    return charts


ROOM = 0.03  # left of step 0, so that a mark there is whole
COLUMNS = 400
ROWS = 300
FEW = 80  # rows separated by a line
NAMED = 24  # rows with their text beside them
TIMES = 20  # columns of the table
SYMBOLS = ("square", "diamond", "circle", "cross", "hexagon")  # in the legend, next to the colours of labels


@dataclass(frozen=True)
class Grid:
    """Labels over time, thinned to what is visible: one row per example, one column per interval of steps.

    `codes[row][column]` is 1 + the label's index at the end of the interval, 0 if the example was unlabelled.
    """

    examples: tuple[int, ...]
    steps: tuple[int, ...]  # the last step of each interval
    codes: npt.NDArray[np.int8]  # (rows, columns)
    candidates: int  # number of examples to choose from
    queued: bool
    unit: str = "step"

    @property
    def sentence(self) -> str:
        """How the grid was thinned, in words."""
        stretch = self.steps[0] + 1 if len(self.steps) > 1 else 1
        unit = self.unit
        columns = (
            f"One column a {unit}" if stretch == 1 else f"One column for {stretch:,} {unit}s: the label at their end"
        )
        shown, all_of = len(self.examples), self.candidates
        if shown == all_of:
            rows = f"all {shown:,} examples"
        elif self.queued:
            rows = f"the first {shown:,} of {all_of:,} examples of the queue"
        else:
            rows = f"{shown:,} of {all_of:,} examples, evenly chosen"
        order = "in the order of the queue" if self.queued else "in the order in which they were first labelled"
        return f"{columns}; {rows}, {order}."


def label_grid(reading: Reading, queued: Sequence[Queued] | None = None) -> Grid:
    """Return the labels of all examples ever labelled, or of a queue's, at about 400 times in 300 rows."""
    if queued is None:
        everyone = tuple(dict.fromkeys(change.example for change in reading.history))
    else:
        everyone = tuple(row.example for row in queued)
    rows = everyone[:ROWS] if queued is not None else tuple(everyone[k] for k in _evenly(len(everyone), ROWS))
    first, last = _steps(reading)
    stride = -(-(last - first + 1) // COLUMNS)
    ends = tuple(min(end + stride - 1, last) for end in range(first, last + 1, stride))
    codes = np.zeros((len(rows), len(ends)), dtype=np.int8)
    places = {example: row for row, example in enumerate(rows)}
    code: dict[Label | None, int] = {None: 0} | {label: k for k, label in enumerate(reading.tally.labels, 1)}
    for change in reading.history:
        if (row := places.get(change.example)) is not None:
            codes[row, (change.step - first) // stride :] = code[change.new]
    return Grid(rows, ends, codes, len(everyone), queued is not None, reading.unit)


def _evenly(size: int, most: int) -> Sequence[int]:
    return range(size) if size <= most else [k * size // most for k in range(most)]


def _steps(reading: Reading) -> tuple[int, int]:
    points = reading.trajectory.points
    return points[0].step, points[-1].step


def grid_chart(reading: Reading, grid: Grid, dark: bool = False, first: Sequence[Label] = ()) -> Chart:
    """Return the picture of a grid; rows are example ids, which a click reports with the step.

    Of many labels, `first` and the most frequent ones have a colour.
    """
    colours, figure = palette(dark), blank_figure(dark, "")
    labels = reading.tally.labels
    figure.update_xaxes(title_text=reading.unit)
    shades = label_colours(labels, coloured(labels, reading.tally.balance, first), colours)
    ids = [html.escape(reading.run.codec.ids[i]) for i in grid.examples]
    bands = np.array([0, *(1 + list(shades).index(_shade_of(shades, label)) for label in labels)], dtype=np.int8)
    figure.add_heatmap(
        x=grid.steps,
        y=ids,
        z=bands[grid.codes],
        zmin=-0.5,
        zmax=len(shades) + 0.5,
        showscale=False,
        colorscale=_bands((colours.grid, *shades.values())),
        ygap=1 if len(ids) <= FEW else 0,
        hovertemplate=f"{reading.unit} %{{x}}<br>%{{y}}<extra></extra>",
    )
    _legend(figure, shades)
    marked = range(0, len(ids), -(-len(ids) // NAMED) or 1)  # one distance: names must not overlap
    names = [name_of(reading.run.codec.ids[grid.examples[k]]) for k in marked]
    figure.update_yaxes(
        type="category", autorange="reversed", tickvals=[ids[k] for k in marked], ticktext=names, showgrid=False
    )
    figure.update_layout(height=110 + min(460, max(60, 18 * len(ids))), hovermode="closest")
    return Chart("Labels over time", grid.sentence, figure, _grid_alt(reading, grid))


def _bands(colours: Sequence[str]) -> list[list[object]]:
    """A colour scale with one uniform band per colour."""
    return [[edge / len(colours), colour] for k, colour in enumerate(colours) for edge in (k, k + 1)]


def _legend(figure: go.Figure, shades: Mapping[Label, str]) -> None:
    for k, (label, colour) in enumerate(shades.items()):
        marker = {"color": colour, "symbol": SYMBOLS[k], "size": 11}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=label_name(label), marker=marker)


def grid_frame(reading: Reading, grid: Grid) -> pd.DataFrame:
    """Return the grid as a table: each example with its label at about twenty times."""
    columns = every_nth(len(grid.steps), TIMES)
    words = (None, *reading.tally.labels)
    rows = [
        {"example": reading.run.codec.ids[i]} | {f"{grid.unit} {grid.steps[c]:,}": words[codes[c]] for c in columns}
        for i, codes in zip(grid.examples, grid.codes, strict=True)
    ]
    return pd.DataFrame(rows)


def _grid_alt(reading: Reading, grid: Grid) -> str:
    if not grid.examples:
        return "No example has had a label."
    end = grid.codes[:, -1]
    said = ", ".join(f"{int((end == k).sum()):,} {label}" for k, label in enumerate(reading.tally.labels, 1))
    return (
        f"Labels of {len(grid.examples):,} examples from {reading.unit} {_steps(reading)[0]:,} on; at the end: {said}."
    )


def label_colours(labels: Sequence[Label], shown: Sequence[Label], colours: Palette) -> Mapping[Label, str]:
    """Return a colour for each label `shown`, and one for all others under their common name, the last.

    Words and shapes accompany it wherever it is used.
    """
    shades = (colours.strong, colours.rejected, colours.second, colours.third)
    found = dict(zip(shown, shades, strict=False))
    return found if len(shown) == len(labels) else {**found, others_name(labels, shown): colours.other}


def _shade_of(shades: Mapping[Label, str], label: Label) -> Label:
    """Return the name under which a label has its colour."""
    return label if label in shades else list(shades)[-1]


# -- one example


@dataclass(frozen=True, slots=True)
class Stretch:
    """An interval in which an example kept one label: from the event that gave it, up to a step."""

    label: Label | None
    first: int  # step
    last: int
    event: int
    cause: str
    unit: str = "step"

    @property
    def words(self) -> str:
        """The change that began it, in words."""
        return f"{self.unit} {self.first:,}: {self.label or 'no label'} ({self.cause})"


def stretches(reading: Reading, example: int) -> list[Stretch]:
    """Return the labels of one example over time, in order."""
    changes = [change for change in reading.history if change.example == example]
    ends = [*(change.step for change in changes[1:]), _steps(reading)[1]]
    unit = reading.unit
    return [Stretch(c.new, c.step, end, c.event, c.cause, unit) for c, end in zip(changes, ends, strict=False)]


def longest(found: Sequence[Stretch]) -> list[Label]:
    """Return the labels of an example, the one that it had for most steps first."""
    steps = dict[Label, int]()
    for part in found:
        if part.label is not None:
            steps[part.label] = steps.get(part.label, 0) + part.last - part.first
    return sorted(steps, key=lambda label: -steps[label])


def strip_chart(reading: Reading, found: Sequence[Stretch], dark: bool = False) -> Chart:
    """One example's labels over time as one bar; a click on a part reports the event that began it."""
    colours, figure = palette(dark), blank_figure(dark, "")
    labels = reading.tally.labels
    shades = label_colours(labels, coloured(labels, reading.tally.balance, longest(found)), colours)
    for name, colour in shades.items():
        mine = [part for part in found if part.label is not None and _shade_of(shades, part.label) == name]
        figure.add_bar(
            y=[""] * len(mine),
            base=[part.first for part in mine],
            orientation="h",
            name=label_name(name),
            x=[max(part.last - part.first, 0.5) for part in mine],
            customdata=[str(part.event) for part in mine],
            text=[html.escape(part.label or "") for part in mine],
            textposition="inside",
            insidetextanchor="middle",
            insidetextfont={"color": ink(colour)},
            marker={"color": colour, "line": {"width": 1, "color": colours.grid}},
            hovertext=[html.escape(part.words) for part in mine],
            hoverinfo="text",
        )
    legend = 60 if len(labels) > COLOURED else 0  # longer names, on more lines
    figure.update_layout(height=150 + legend, hovermode="closest", barmode="overlay", bargap=0.1)
    figure.update_xaxes(range=[0, max(1, _steps(reading)[1])], title_text=reading.unit)
    said = "; ".join(stretch.words for stretch in found[:TIMES])
    return Chart("One example over time", "Its label after each step.", figure, said or "It never had a label.")
