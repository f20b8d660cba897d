"""The figures of a report, in the paper's form: bars with intervals for each source, accuracy over steps."""

from collections.abc import Sequence

import plotly.graph_objects as go

from icm_engine.analysis.figures import Chart, palette
from icm_engine.runs.events import Json

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def figures(found: Json, dark: bool = False) -> list[Chart]:
    """Return a suite's figures; those without anything to show are left out."""
    made = (*(_bars(found, dataset, dark) for dataset in found["datasets"]), _shots(found, dark), _curves(found, dark))
    return [chart for chart in made if chart is not None]


def _bars(found: Json, dataset: str, dark: bool) -> Chart | None:
    """Bars with 95 % intervals for each source: its labels beside gold, in use, and a model tuned on them."""
    rows = [row for row in found["rows"] if row["dataset"] == dataset and row.get("accuracy")]
    if not rows:
        return None
    figure = _figure(dark, "", "percent right")
    _add_bars(figure, "labels", [(row["arm"], row["accuracy"]) for row in rows], COLOURS[0], "")
    used = [(row["arm"], row["used"][-1]) for row in rows if row["used"]]
    if used:
        _add_bars(figure, "in use", used, COLOURS[1], "/")
    tuned = [(row["arm"], row["tuned"][0]) for row in rows if row.get("tuned")]
    if tuned:
        _add_bars(figure, "tuned", tuned, COLOURS[2], "x")
    axis = figure.layout.yaxis
    axis.range, axis.autorange, axis.automargin = None, "reversed", True
    figure.layout.xaxis.range, figure.layout.height = [0, 101], 130 + len(rows) * (10 + 14 * len(figure.data))
    caption = "Percent right, mean over seeds; the whiskers are 95 % intervals over seeds and examples."
    alt = f"Bars for each label source on {dataset}; the same numbers are in the table"
    return Chart(f"Label sources on {dataset}", caption, figure, alt)


def _add_bars(figure: go.Figure, name: str, rows: Sequence[tuple[str, Json]], colour: str, pattern: str) -> None:
    figure.add_bar(
        name=name, orientation="h", y=[arm for arm, _ in rows], x=[100 * made["mean"] for _, made in rows],
        marker={"color": colour, "pattern": {"shape": pattern, "fillmode": "overlay", "fgcolor": "white", "size": 6}},
        error_x={
            "type": "data", "symmetric": False, "thickness": 1.5, "width": 3,
            "array": [100 * (made["high"] - made["mean"]) for _, made in rows],
            "arrayminus": [100 * (made["mean"] - made["low"]) for _, made in rows],
        },
    )  # fmt: skip


def _shots(found: Json, dark: bool) -> Chart | None:
    """Accuracy in use by number of shots, for suites that ask for several."""
    figure = _figure(dark, "percent right", "number of shots")
    for k, row in enumerate(row for row in found["rows"] if len(row.get("used", ())) > 1):
        figure.add_scatter(
            name=f"{row['arm']}, {row['dataset']}", x=[made["shots"] for made in row["used"]],
            y=[100 * made["mean"] for made in row["used"]], mode="lines+markers",
            line={"color": COLOURS[k % 6], "dash": DASHES[k // 6 % 6]},
        )  # fmt: skip
    if not figure.data:
        return None
    return Chart("Use by number of shots", "Mean over seeds and shuffles.", figure, "Accuracy by number of shots")


def _curves(found: Json, dark: bool) -> Chart | None:
    """Accuracy over the steps of every search."""
    figure, names = _figure(dark, "percent right", "step"), list[str]()
    for row in found["rows"]:
        name = f"{row['arm']}, {row['dataset']}"
        for curve in row.get("curves", ()) if "best of" not in row["arm"] else ():
            if name not in names:
                names.append(name)
            k = names.index(name)
            figure.add_scatter(
                name=name, x=[step for step, _ in curve], y=[100 * value for _, value in curve], mode="lines",
                line={"color": COLOURS[k % 6], "dash": DASHES[k // 6 % 6], "width": 1.5}, legendgroup=name,
                showlegend=curve is row["curves"][0],
            )  # fmt: skip
    if not figure.data:
        return None
    caption = "One line a seed; examples without a label count as wrong."
    return Chart("Accuracy over steps", caption, figure, "Accuracy over the steps of each search")


def _figure(dark: bool, y: str, x: str = "") -> go.Figure:
    colours = palette(dark)
    axis, ground = {"gridcolor": colours.grid, "zeroline": False}, "rgba(0,0,0,0)"
    return go.Figure(layout={
        "height": 420, "margin": {"l": 50, "r": 10, "t": 30, "b": 40}, "barmode": "group",
        "paper_bgcolor": ground, "plot_bgcolor": ground, "font": {"color": colours.text, "size": 13},
        "legend": {"orientation": "h", "y": 1, "yanchor": "bottom"}, "xaxis": {**axis, "title": {"text": x}},
        "yaxis": {**axis, "title": {"text": y}, "range": [0, 101]},
    })  # fmt: skip
