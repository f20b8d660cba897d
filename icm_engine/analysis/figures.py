"""The curves of a run (U, temperature and acceptance, labels, accuracy) in Plotly, and its tables in pandas.

The style that all figures share is here too. Untrusted text is never markup.
"""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go

from icm_engine.analysis.annotation import ActRow, Member
from icm_engine.analysis.datasets import ExampleLine
from icm_engine.analysis.forks import Branch, ForkDifference
from icm_engine.analysis.formatting import PHASE_STYLES, middle_cut, moment, one_line
from icm_engine.analysis.run_history import FitRow, Reading
from icm_engine.analysis.traces import Point, Trajectory, corners, every_nth, extremes
from icm_engine.analysis.views import Conflict, LabelRow, Overview, example_text, run_end
from icm_engine.core.folds import FOLDS, NOT_OF_FOLDS, OPTIONS
from icm_engine.core.labeling import Label

Value = Callable[[Point], float | None]
STEPS = "step"  # title of an axis of steps, whose ticks are whole
ROUNDS = "round"  # title of an axis of rounds, likewise
COUNTS = ("pairs", "examples")  # titles of axes whose ticks are whole too
INTERVENTIONS = {"hand": "by hand", "retuned": "retuned", "forked": "fork"}  # kinds of events, and their names
LINES = 40  # maximum number of marks; the last ones are kept
FEW_POINTS = 16  # of a curve, all of which are drawn
MARKS = 200  # accepted and rejected marks each; more would hide the curve


@dataclass(frozen=True, slots=True)
class Palette:
    """Okabe-Ito colours, changed as far as it takes to stand out on this background: a contrast of 3 and more."""

    strong: str
    accepted: str
    rejected: str
    second: str
    third: str
    text: str
    grid: str
    other: str  # of labels without a colour of their own


LIGHT = Palette("#0072B2", "#0072B2", "#D55E00", "#009E73", "#C873A2", "#33414D", "rgba(60,80,100,0.13)", "#8A949E")
DARK = Palette("#56B4E9", "#56B4E9", "#E8783B", "#2BBF95", "#E39BC5", "#C9D3DC", "rgba(200,215,230,0.14)", "#76818C")

LOOKS = (  # of several lines: the colour and the dash
    ("strong", "solid"), ("rejected", "dash"), ("second", "dot"), ("third", "dashdot"), ("text", "longdash")
)  # fmt: skip
HATCH = {"fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.55)", "size": 5}  # of bars, beside their colour
BLACK, WHITE = "#000000", "#FFFFFF"


def line_look(number: int, dark: bool) -> dict[str, str]:
    """Return the colour and the dash of one of several lines; after five, the colours repeat with other dashes."""
    turn, place = divmod(number, len(LOOKS))
    dash = LOOKS[(place + turn) % len(LOOKS)][1]
    return {"color": str(getattr(palette(dark), LOOKS[place][0])), "dash": dash}


def ink(colour: str) -> str:
    """Return the colour of text on an area of this colour: black or white, whichever contrasts more.

    >>> ink("#0072B2"), ink("#56B4E9")
    ('#FFFFFF', '#000000')
    """
    return max(BLACK, WHITE, key=lambda text: contrast(text, colour))


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG defines it, from 1 to 21.

    >>> contrast("#000000", "#FFFFFF")
    21.0
    """
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    shares = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


COLOURED = 4  # labels that have a colour: more cannot be told apart
NAME = 24  # characters of a label's name in a legend


def coloured(labels: Sequence[Label], counts: Sequence[int], first: Sequence[Label] = ()) -> tuple[Label, ...]:
    """Return the labels that get a colour, in the task's order: all of a few, else `first` and the most frequent ones.

    `counts` are of the labels, in their order.
    """
    if len(labels) <= COLOURED:
        return tuple(labels)
    frequent = sorted(range(len(labels)), key=lambda k: -counts[k])
    chosen = list(dict.fromkeys((*first, *(labels[k] for k in frequent))))[:COLOURED]
    return tuple(label for label in labels if label in chosen)


def label_name(label: Label) -> str:
    """Return a label's name for a legend or an axis of Plotly: cut, and escaped."""
    return html.escape(middle_cut(label, NAME), quote=False)


def others_name(labels: Sequence[Label], shown: Sequence[Label]) -> str:
    """Return the name of the labels without a colour."""
    left = len(labels) - len(shown)
    return f"{left} other label{'s' if left > 1 else ''}"


def palette(dark: bool) -> Palette:
    return DARK if dark else LIGHT


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with its text alternative."""

    title: str
    caption: str
    figure: go.Figure
    alt: str


@dataclass(frozen=True, slots=True)
class CurveMarks:
    """What is marked on the curve of U beside verdicts: events of kept repairs, and the best state."""

    repaired: frozenset[int] = frozenset()
    best: Point | None = None


def curve_marks(reading: Reading) -> CurveMarks:
    """Return the marks for the curve of a run."""
    end = run_end(reading)
    return CurveMarks(frozenset(mark.event for mark in reading.repairs if mark.kept), end.best if end else None)


def utility(trajectory: Trajectory, dark: bool = False, marks: CurveMarks | None = None) -> Chart:
    """U(D) on an axis fitted to its range: accepted (filled), rejected (hollow), repaired (diamond), best (star).

    Its two terms can be switched on in the legend.
    """
    if trajectory.unit == ROUNDS:
        return _utility_by_rounds(trajectory, dark)
    marks = marks or CurveMarks()
    colours, figure = palette(dark), blank_figure(dark, "U")
    points = trajectory.points
    _line(figure, points, "U(D)", lambda p: p.utility, colours.strong, width=2.5)
    plain = [point for point in points if point.event not in marks.repaired]
    _marks(figure, plain, "rejected", colours.rejected, "circle-open", 0.5)
    _marks(figure, plain, "accepted", colours.accepted, "circle", 1.0)
    repaired = [point for point in points if point.event in marks.repaired]
    if repaired:
        _marks(
            figure, [point._replace(verdict="repaired") for point in repaired], "repaired", colours.third, "diamond", 1
        )
    if marks.best is not None:
        _marks(figure, [marks.best._replace(verdict="best U")], "best U", colours.text, "star", 1.0, size=12)
    _line(figure, points, "alpha · P(D)", lambda p: p.weighted_predictability, colours.second, "dash", width=1.5)
    _line(figure, points, "I(D)", lambda p: p.inconsistency, colours.third, "dot", width=1.5)
    figure.data[-1].visible = figure.data[-2].visible = "legendonly"
    figure.update_xaxes(rangemode="normal")  # with room for a mark at step 0
    figure.update_yaxes(range=_fitted([point.utility for point in points]))
    caption = (
        "U(D) = alpha · P(D) − I(D) after each step. Filled: accepted. Hollow: rejected. Diamond: repaired. "
        "Star: best. The legend shows and hides the two terms."
    )
    return Chart("Utility", caption, figure, _alt("Utility U(D)", trajectory, lambda p: p.utility))


def _utility_by_rounds(trajectory: Trajectory, dark: bool) -> Chart:
    """U of the labels kept after each round, and U of those that a round tried and did not keep.

    Round 0 is left out: its U is by predictions of the untuned model, so the two are not comparable.
    """
    colours, figure = palette(dark), blank_figure(dark, "U", ROUNDS)
    points = [point for point in trajectory.points if point.step or point.verdict != "initial"]
    _line(figure, points, "U(D) kept", lambda p: p.utility, colours.strong, width=2.5)
    _marks(figure, points, "rejected", colours.rejected, "circle-open", 1.0, size=10, name="tried, not kept")
    _marks(figure, points, "accepted", colours.accepted, "circle", 1.0, size=9, name="tried, kept")
    figure.update_xaxes(rangemode="normal")
    figure.update_yaxes(range=_fitted([value for point in points for value in (point.utility, point.tried)]))
    caption = (
        "U(D) = alpha · P(D) − I(D) of the labels after each round; each label is predicted by a model tuned on the "
        "other folds. Filled: the labels that a round tried were kept. Hollow: U of labels that were tried and not "
        "kept; U stays where it was. Round 0 has no comparable U: no model had been tuned."
    )
    return Chart(
        "Utility", caption, figure, _alt("Utility U(D)", replace(trajectory, points=points), lambda p: p.utility)
    )


def _fitted(values: Sequence[float]) -> list[float] | None:
    """A range with some margin around these values; None if there are none."""
    if not values:
        return None
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 1.0
    return [low - room, high + room]


def annealing(trajectory: Trajectory, dark: bool = False) -> Chart:
    """Temperature and, on a second axis, the share of the last 50 proposals that were accepted."""
    colours, figure = palette(dark), blank_figure(dark, "T")
    points = trajectory.points
    _line(figure, points, "temperature", lambda p: p.temperature, colours.rejected, "dash", shape="linear")
    _line(figure, points, "acceptance rate", lambda p: p.acceptance_rate, colours.strong, axis="y2")
    figure.update_layout(yaxis2=_second_axis(colours), margin_r=44)
    caption = "Temperature (left) and the accepted share of the last 50 proposals (right)."
    alt = _alt("Temperature", trajectory, lambda p: p.temperature)
    return Chart("Temperature and acceptance", caption, figure, alt)


def labels(trajectory: Trajectory, dark: bool = False) -> Chart:
    """The number of labelled examples, and of each label; of many labels, the others together are one line."""
    colours, figure = palette(dark), blank_figure(dark, "examples", trajectory.unit)
    _line(figure, trajectory.points, "labelled", lambda p: p.labelled, colours.text, width=1.5)
    shades = (colours.strong, colours.rejected, colours.second, colours.third)
    looks = list(zip(shades, ("dash", "dot", "dashdot", "longdash"), strict=True))
    names, last = trajectory.labels, trajectory.last
    shown = coloured(names, last.balance if last else [0] * len(names))
    for label, (colour, dash) in zip(shown, looks, strict=False):
        k = names.index(label)
        _line(figure, trajectory.points, label_name(label), lambda p, k=k: p.balance[k], colour, dash)  # type: ignore[misc]
    caption = "Examples labelled so far, and how many have each label."
    if rest := [k for k, label in enumerate(names) if label not in shown]:
        total: Value = lambda p: sum(p.balance[k] for k in rest)  # noqa: E731
        _line(figure, trajectory.points, others_name(names, shown), total, colours.other, width=1.5)
        caption = "Examples labelled so far, and how many have each of the most frequent labels, and any other label."
    figure.update_yaxes(rangemode="tozero")
    return Chart("Labels", caption, figure, _alt("Labelled examples", trajectory, lambda p: p.labelled))


def accuracy(trajectory: Trajectory, dark: bool = False) -> Chart | None:
    """Agreement with gold, unlabelled examples counted as wrong; None without gold."""
    if not any(point.accuracy for point in trajectory.points):
        return None
    colours, figure = palette(dark), blank_figure(dark, "share", trajectory.unit)
    points = trajectory.points
    _line(figure, points, "accuracy", _agreement("raw"), colours.strong)
    _line(figure, points, "balanced", _agreement("balanced"), colours.second, "dash", width=1.5)
    caption = "Compared with gold, which the search never sees. Unlabelled is wrong"
    if len(trajectory.labels) == 2:
        _line(figure, points, "flipped", _agreement("flipped"), colours.rejected, "dot", width=1.5)
        caption += "; flipped: both labels swapped"
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%")
    alt = _alt("Accuracy", trajectory, _agreement("raw"))
    return Chart("Accuracy", f"{caption}.", figure, alt)


def _agreement(kind: Literal["raw", "balanced", "flipped"]) -> Value:
    return lambda point: getattr(point.accuracy, kind) if point.accuracy else None


def all_charts(trajectory: Trajectory, dark: bool = False, marks: CurveMarks | None = None) -> tuple[Chart, ...]:
    """Return the charts of the Overview, U first, accuracy only where there is gold."""
    first, known, counts = utility(trajectory, dark, marks), accuracy(trajectory, dark), labels(trajectory, dark)
    right = (known,) if known else ()
    if trajectory.unit == ROUNDS:
        found = (first, *right, counts)
        for chart in found[1:]:  # a few points, and the last value would be a line without width
            chart.figure.update_traces(mode="lines+markers", marker_size=6)
            chart.figure.update_xaxes(rangemode="normal")
    else:
        found = (first, annealing(trajectory, dark), counts, *right)
    for chart in found:
        mark_interventions(chart.figure, trajectory, dark)
    return found


def mark_interventions(figure: go.Figure, trajectory: Trajectory, dark: bool = False) -> None:
    """Mark changes by a person and the start of a fork with a line and a word; at most the last few."""
    marked = dict[int, dict[str, None]]()  # step -> words, each once
    for point in trajectory.points:
        if point.verdict in INTERVENTIONS:
            marked.setdefault(point.step, {})[INTERVENTIONS[point.verdict]] = None
    shown = list(marked.items())[-LINES:]
    colour = palette(dark).text
    across = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": {"color": colour, "width": 1, "dash": "dot"}}
    label = {"yref": "paper", "y": 1, "yanchor": "top", "xanchor": "left", "showarrow": False, "textangle": 90}
    figure.update_layout(
        shapes=[{**across, "x0": step, "x1": step} for step, _ in shown],
        annotations=[{**label, "x": step, "text": ", ".join(words)} for step, words in shown],
    )


def _line(
    figure: go.Figure,
    points: Sequence[Point],
    name: str,
    value: Value,
    colour: str,
    dash: str = "solid",
    width: float = 2.0,
    axis: str = "y",
    shape: str = "hv",
) -> None:
    thinned = shape == "hv" and len(points) > FEW_POINTS
    turns = corners([value(point) for point in points]) if thinned else range(len(points))
    values = [value(points[k]) for k in turns]
    kept = extremes(values)
    figure.add_scatter(
        x=[points[turns[k]].step for k in kept],
        y=[_short(values[k]) for k in kept],
        name=name,
        mode="lines",
        yaxis=axis,
        line={"color": colour, "dash": dash, "width": width, "shape": shape},
    )


def _marks(
    figure: go.Figure,
    points: Sequence[Point],
    verdict: str,
    colour: str,
    symbol: str,
    opacity: float,
    size: int = 6,
    name: str = "",
) -> None:
    """Add marks at U after each step of this verdict; with a name of their own, they are at U of what was tried."""
    chosen = [point for point in points if point.verdict == verdict]
    shown = [chosen[k] for k in every_nth(len(chosen), MARKS)]
    figure.add_scatter(
        x=[point.step for point in shown],
        y=[_short(point.tried if name else point.utility) for point in shown],
        name=name or verdict,
        mode="markers",
        customdata=[_short(point.delta) for point in shown],
        hovertemplate="delta %{customdata:.2f}",
        marker={"color": colour, "symbol": symbol, "size": size, "line": {"width": 1.5, "color": colour}},
        opacity=opacity,
    )


def _short(value: float | None) -> float | None:
    """Round to five digits: more are not visible, and every digit is sent at every refresh."""
    return None if value is None else float(f"{value:.5g}")


def blank_figure(dark: bool, unit: str, steps: str = STEPS) -> go.Figure:
    """Return an empty figure in the common style; `unit` is the unit of its values, `steps` the title of its x axis."""
    colours = palette(dark)
    axis = {"gridcolor": colours.grid, "zeroline": False, "linecolor": colours.grid, "automargin": True}
    layout = {
        "template": {},
        "uirevision": "kept",
        "hovermode": "x unified",
        "height": 280,
        "font": {"color": colours.text, "size": 12},
        "margin": {"l": 44, "r": 8, "t": 8, "b": 36},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": {**axis, "title": {"text": steps, "standoff": 4}, "rangemode": "tozero"},
        "yaxis": {**axis, "title": {"text": unit, "standoff": 4}},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "bgcolor": "rgba(0,0,0,0)"},
        "hoverlabel": {"bgcolor": "#1B2530" if dark else "#FFFFFF", "font": {"color": colours.text}},
    }
    return go.Figure(layout=layout)  # in one call: update_layout takes twelve times as long


def _second_axis(colours: Palette) -> dict[str, object]:
    return {
        "overlaying": "y",
        "side": "right",
        "range": [0, 1.02],
        "tickvals": [0, 0.25, 0.5, 0.75, 1],
        "tickformat": ".0%",
        "showgrid": False,
        "zeroline": False,
        "linecolor": colours.grid,
    }


def _alt(what: str, trajectory: Trajectory, value: Value) -> str:
    """Say where a curve begins and ends."""
    known = [(point.step, v) for point in trajectory.points if (v := value(point)) is not None]
    if not known:
        return f"{what}: no {trajectory.unit}s yet."
    (first, start), (last, end), unit = known[0], known[-1], trajectory.unit
    return f"{what}: {start:.2f} at {unit} {first}, {end:.2f} at {unit} {last}."


CURVE_ROWS = 500


def steps_frame(reading: Reading, dark: bool = False, limit: int = 50) -> Any:
    """Return the last steps, newest first, styled; a verdict has a shape and a word beside its colour."""
    rows = [
        {
            "step": row.step,
            "verdict": row.words,
            "label": row.proposed if row.old == row.proposed else f"{row.old or '·'} → {row.proposed}",
            "repairs": row.repair_words,
            "example": one_line(example_text(reading, reading.run.codec.index(row.example)), 90),
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


def rounds_frame(reading: Reading, dark: bool = False) -> Any:
    """Return the rounds of a search with folds, newest first, styled."""
    rows = [
        {
            "round": row.number,
            "verdict": row.words,
            "U before": row.before,
            "U tried": row.tried if row.number else None,
            "delta U": row.delta,
            "changed": row.changed,
            "groups": row.groups if row.number else None,
            "repairs": row.repaired,
            "next": row.left if row.number else None,
            "seconds": row.seconds,
        }
        for row in reversed(reading.rounds)
    ]
    return _coloured(pd.DataFrame(rows), dark)


def fits_frame(fits: Sequence[FitRow]) -> pd.DataFrame:
    """Return fits, one per row, in the order given."""
    return pd.DataFrame(
        [
            {
                "round": fit.round,
                "fold": fit.words,
                "held out": fit.held_out,
                "tuned on": fit.rows,
                "steps": fit.steps,
                "first loss": fit.first_loss,
                "last loss": fit.last_loss,
                "tokens tuned": fit.tokens,
                "tokens scored": fit.scored,
                "seconds": fit.seconds,
            }
            for fit in fits
        ]
    )


def _coloured(frame: pd.DataFrame, dark: bool) -> Any:
    if frame.empty:
        return frame
    colours = palette(dark)
    looks = {"●": f"color: {colours.accepted}; font-weight: 600", "○": f"color: {colours.rejected}; font-weight: 600"}
    return frame.style.map(lambda words: looks.get(str(words)[:1], "opacity: 0.65"), subset=["verdict"])


def runs_frame(rows: Sequence[Overview]) -> pd.DataFrame:
    """Return the table, newest first, what a screen of 1280 pixels has no room for last.

    Columns without any value are left out.
    """
    frame = pd.DataFrame(
        [
            {
                "run": row.run,
                "status": f"{PHASE_STYLES[row.phase].icon} {PHASE_STYLES[row.phase].word}",
                "progress": row.progress.share,
                "U": row.utility,
                "best U": row.best,
                "accuracy": row.accuracy.raw if row.accuracy else None,
                "labelled": f"{row.labelled:,} of {row.examples:,}",
                "conflicts": row.conflicts,
                "data set": row.dataset,
                "model": row.model,
                "seed": row.seed,
                "created": moment(row.created),
                "edited": "by hand" if row.edited else None,
                "source": row.source,
                "preset": row.preset,
                "alpha": row.alpha,
            }
            for row in rows
        ]
    )
    return frame.dropna(axis=1, how="all") if len(frame) else frame


def conflicts_frame(conflicts: Sequence[Conflict]) -> pd.DataFrame:
    """Return the inconsistent pairs, one per row, with both examples side by side."""
    return pd.DataFrame(
        [
            {
                "first label": pair.labels[0],
                "second label": pair.labels[1],
                "first": one_line(pair.texts[0]),
                "second": one_line(pair.texts[1]),
                "first answer": pair.answers[0],
                "second answer": pair.answers[1],
                "rule": pair.rule,
            }
            for pair in conflicts
        ]
    )


def labels_frame(rows: Sequence[LabelRow]) -> pd.DataFrame:
    """Return the labels, one example per row; a gold column only where there is gold."""
    frame = pd.DataFrame(
        [
            {
                "example": row.example,
                "label": row.label,
                "gold": row.gold,
                "probability": row.probability,
                "text": row.text,
                "last change": row.last_change,
                "flips": row.flips,
            }
            for row in rows
        ]
    )
    return frame.drop(columns="gold") if all(row.gold is None for row in rows) and rows else frame


def curves_frame(trajectory: Trajectory) -> pd.DataFrame:
    """Return the curves as a table, evenly thinned to a few hundred rows, newest first."""
    points = [trajectory.points[k] for k in every_nth(len(trajectory.points), CURVE_ROWS)]
    return pd.DataFrame(
        [
            {
                trajectory.unit: point.step,
                "U": point.utility,
                **({"U tried": point.tried} if trajectory.unit == ROUNDS else {}),
                "alpha P": point.weighted_predictability,
                "I": point.inconsistency,
                **({} if trajectory.unit == ROUNDS else _cooling(point)),
                "labelled": point.labelled,
                **{f"label {name}": count for name, count in zip(trajectory.labels, point.balance, strict=True)},
                "accuracy": point.accuracy.raw if point.accuracy else None,
                "verdict": point.verdict,
            }
            for point in reversed(points)
        ]
    )


def _cooling(point: Point) -> dict[str, float | None]:
    return {"temperature": point.temperature, "acceptance": point.acceptance_rate}


ROUNDS_AT_MOST = "rounds, at most"


def settings_frame(spec: dict[str, Any]) -> pd.DataFrame:
    """Return a run's settings as names and values; of a search with folds, those that it reads."""
    flat = flat_settings(spec)
    values = ["" if value is None else str(value) for value in flat.values()]
    return pd.DataFrame({"setting": [name.replace("_", " ") for name in flat], "value": values})


def flat_settings(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a run's settings by name; of a search with folds, those that it reads."""
    flat = {**{name: value for name, value in spec.items() if name != "search"}, **spec["search"]}
    if spec.get("source") == FOLDS:
        options = {**OPTIONS, **flat.pop("source_options")}
        rounds = {ROUNDS_AT_MOST: flat.pop("max_steps")}
        flat = {name: value for name, value in flat.items() if name not in NOT_OF_FOLDS} | rounds | options
    return flat


def examples_frame(lines: Sequence[ExampleLine], fields: Sequence[str]) -> pd.DataFrame:
    """Return examples, one per row, their texts cut to one line; empty columns are left out."""
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
    """Return the cells of a file unchanged, each cut to one line."""
    return pd.DataFrame([{name: one_line(row[name]) for name in columns} for row in rows], columns=list(columns))


def branches_frame(branches: Sequence[Branch], run: str) -> pd.DataFrame:
    """Return a tree of runs, one per row; the run being viewed is marked."""
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


def differing_frame(reading: Reading, found: ForkDifference, other: str) -> pd.DataFrame:
    """Return the examples on which two runs differ, one per row."""
    codec = reading.run.codec
    return pd.DataFrame(
        [
            {
                "example": row.example,
                reading.run.name: row.ours,
                other: row.theirs,
                **({"gold": reading.gold.get(row.example)} if reading.gold else {}),
                "text": one_line(example_text(reading, codec.index(row.example))),
                "pinned": "pinned" if row.pinned else "",
            }
            for row in found.differing
        ]
    )


def members_frame(members: Sequence[Member]) -> pd.DataFrame:
    """Return the other examples of a group, one per row."""
    return pd.DataFrame(
        [
            {"label": row.label, "pinned": "pinned" if row.pinned else "", "text": row.text, "id": row.example}
            for row in members
        ]
    )


def acts_frame(rows: Sequence[ActRow]) -> pd.DataFrame:
    """Return a person's acts, one per row."""
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
