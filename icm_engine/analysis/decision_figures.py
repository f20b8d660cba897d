"""Pictures and tables of one moment: what moved, the terms of U, the curves up to there."""

import html
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from icm_engine.analysis.beside import Changed
from icm_engine.analysis.decision import LabelScore, Mover, Repaired, Terms, two
from icm_engine.analysis.figures import Chart, all_charts, blank_figure, palette
from icm_engine.analysis.reading import Reading, Trajectory
from icm_engine.analysis.travel import thinned
from icm_engine.analysis.wording import decimal, one_line

HATCH = {"fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.55)", "size": 5}
NAME = 18  # characters of an example's id beside its bar


def movers_chart(movers: Sequence[Mover], dark: bool = False) -> Chart:
    """Return the examples whose own predictability moved most as horizontal bars, the largest gain on top."""
    colours, figure = palette(dark), blank_figure(dark, "")
    for word, wanted, colour, shape in (
        ("easier to predict", True, colours.strong, ""),
        ("harder to predict", False, colours.rejected, "/"),
    ):
        rows = [(place, mover) for place, mover in enumerate(movers) if (mover.change >= 0) == wanted]
        figure.add_bar(
            x=[round(mover.change, 6) for _, mover in rows], y=[place for place, _ in rows], orientation="h", name=word,
            marker={"color": colour, "line_width": 0, "pattern": {**HATCH, "shape": shape}},
            customdata=[_hover(mover) for _, mover in rows], hovertemplate="%{customdata}<extra></extra>",
        )  # fmt: skip
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
    return Chart("What moved", caption, figure, _movers_alt(movers))


def _hover(mover: Mover) -> str:
    moved = f"log p of its label: {decimal(mover.before, 3)} → {decimal(mover.after, 3)}"
    return f"{moved}<br>{html.escape(one_line(mover.example.text, 80))}"


def name_of(example: str) -> str:
    """Return an example's id, cut, for an axis, whose words plotly would read as markup."""
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
    """Return the same as a table, the largest gain first."""
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
        "P(D)": "predictability", "alpha · P(D)": "weighted", "inconsistent pairs": "pairs", "I(D)": "inconsistency",
        "U(D) = alpha · P − I": "utility",
    }  # fmt: skip
    frame = pd.DataFrame({"term": list(named)})
    for title, found in (("before", before), ("after", after)):
        if found is not None:
            frame[title] = [float(getattr(found, field)) for field in named.values()]
    if before is not None and after is not None:
        frame["change"] = frame["after"] - frame["before"]
    return frame


def scores_frame(scores: Sequence[LabelScore]) -> pd.DataFrame:
    """Return what the model gave each label."""
    return pd.DataFrame(
        [{"label": s.label, "log-prob": s.log_prob, "share": s.probability, "": s.role} for s in scores]
    )


def options_frame(repair: Repaired) -> pd.DataFrame:
    """Return the options of a repair, the best first; what was not tried stands below."""
    rows = [
        {"labels": two(option.labels), "U": option.utility, "against U now": option.gain,
         "": "● taken" if option.taken else "○ not taken"}
        for option in sorted(repair.options, key=lambda option: -option.utility)
    ]  # fmt: skip
    untried = [{"labels": two(labels), "": "✕ not tried: a label is pinned"} for labels in repair.withheld]
    return pd.DataFrame([*rows, *untried], columns=["labels", "U", "against U now", ""])


def changed_frame(changed: Sequence[Changed]) -> pd.DataFrame:
    """Return the examples that an event between two steps touched."""
    return pd.DataFrame(
        [
            {
                "example": row.example.id,
                "text": one_line(row.example.text, 90),
                "before": row.old,
                "after": row.new,
                "what": row.words,
            }
            for row in changed
        ]
    )


def curves_then(reading: Reading, whole: Trajectory, dark: bool = False) -> tuple[Chart, ...]:
    """Return the curves of a reading as of then, on the time axis of the whole run, with a line where they end."""
    last = whole.points[-1].step
    drawn = thinned(reading.trajectory)
    if not reading.gold:  # it may be hidden from a person who labels
        drawn = replace(drawn, points=tuple(point._replace(accuracy=None) for point in drawn.points))
    charts = all_charts(drawn, dark)
    here = reading.trajectory.points[-1].step
    for chart in charts:
        chart.figure.update_xaxes(range=[0, max(1, last)])
        chart.figure.add_vline(x=here, line={"width": 1.5, "dash": "dot", "color": palette(dark).text})
    return charts
