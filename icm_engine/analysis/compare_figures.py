"""Figures and tables of the Evaluate tab."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from html import escape
from typing import Any

import pandas as pd

from icm_engine.analysis.audit import HALF, Audit, AuditFinding
from icm_engine.analysis.evaluation import Estimate
from icm_engine.analysis.figures import COLOURED, Chart, accuracy, blank_figure, line_look, palette
from icm_engine.analysis.formatting import DASH, balance_words, decimal, middle_cut, one_line, percent
from icm_engine.analysis.gold_agreement import BINS, UNLABELLED, Against, Calibration, CellRow, Share, cells
from icm_engine.analysis.landscape import GOLD, ConceptRow, Landscape, meaning
from icm_engine.analysis.paired import Paired, p_words, points
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.seed_agreement import Disagreement, PairAgreement, balance
from icm_engine.analysis.traces import Point, every_nth, extremes
from icm_engine.analysis.views import example_text
from icm_engine.jobs.rescoring import FOUND

AXES: dict[str, tuple[str, Callable[[Point], int]]] = {
    "step": ("step", lambda point: point.step),
    "tokens": ("tokens encoded", lambda point: point.tokens),
}


STEPS = 4000  # points of the accuracy curve: five a pixel
REFERENCE = 28  # characters of a labeling beside its bar
TICK = 18  # characters of a label beside a large confusion matrix
SPACIOUS = 8  # maximum number of labels for which a cell of the confusion matrix has room for two lines
HOVERED = "gold %{y}, labelled %{x}: %{hovertext}<extra></extra>"
EMPTIEST = 0.06  # opacity of an empty cell
FULLEST = 0.45  # opacity of a full cell, which keeps a text contrast of 4.6 in both themes


def shade(colour: str, opacity: float) -> str:
    """Return a colour with transparency.

    >>> shade("#0072B2", 0.5)
    'rgba(0,114,178,0.5)'
    """
    return f"rgba({','.join(str(int(colour[k : k + 2], 16)) for k in (1, 3, 5))},{opacity})"


def literal(text: str) -> str:
    """Return untrusted text escaped so that Plotly, which reads some HTML, shows it literally."""
    return escape(text, quote=False)


CONFUSION = "Rows: gold. Columns: labels. Click a cell to see its examples; the box below does the same."


def confusion_chart(against: Against, dark: bool = False, chosen: str | None = None) -> Chart:
    """Confusion matrix: gold in rows, labels in columns; cells show count, share of the row, right or wrong.

    With more than `SPACIOUS` labels a cell shows only its count, and the rest on hover. A cell's customdata is its
    address, which a click reports. All cells are one trace, because one annotation per cell takes half a minute at 20
    labels.
    """
    colours, figure = palette(dark), blank_figure(dark, "gold")
    columns, rows = _columns(against), list(against.labels)
    address = list(cells(against.labels))
    width, roomy = len(columns), len(rows) <= SPACIOUS
    words = [[_cell_words(n, row, k, j) for j, n in enumerate(row)] for k, row in enumerate(against.confusion)]
    counts = [[f"<b>{n:,}</b>" if n else "" for n in row] for row in against.confusion]
    figure.add_heatmap(
        x=[literal(name) for name in columns],
        y=[literal(name) for name in rows],
        z=[[_share(n, row) for n in row] for row in against.confusion],
        zmin=0,
        zmax=1,
        showscale=False,
        colorscale=[[0, shade(colours.strong, EMPTIEST)], [1, shade(colours.strong, FULLEST)]],
        xgap=3,
        ygap=3,
        customdata=[address[k * width : (k + 1) * width] for k in range(len(rows))],
        text=words if roomy else counts,
        texttemplate="%{text}",
        textfont={"color": colours.text, "size": 14 if roomy else 11},
        **({"hoverinfo": "none"} if roomy else {"hovertext": words, "hovertemplate": HOVERED}),
    )
    if chosen in address:
        _boxed(figure, *divmod(address.index(chosen), width), colours.rejected)
    looks = {"hovermode": "closest", "showlegend": False, "margin_t": 46, "margin_b": 8}
    figure.update_layout(**looks, clickmode="event", dragmode=False, height=_tall(rows))
    figure.update_xaxes(
        title_text="label", type="category", side="top", showgrid=False, rangemode="normal", fixedrange=True
    )
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, fixedrange=True)
    if not roomy:  # every name, short enough to leave the cells the most of a phone
        _named(figure.layout.xaxis, columns, tickangle=90)
        _named(figure.layout.yaxis, rows)
    return Chart("Confusion matrix", CONFUSION, figure, _confusion_alt(against))


def _boxed(figure: Any, row: int, column: int, colour: str) -> None:
    edge, half = {"color": colour, "width": 3}, 0.48
    figure.add_shape(type="rect", x0=column - half, x1=column + half, y0=row - half, y1=row + half, line=edge)


def _named(axis: Any, names: Sequence[str], **looks: Any) -> None:
    axis.update(tickvals=[literal(name) for name in names], tickfont={"size": 10}, **looks)
    axis.update(ticktext=[literal(middle_cut(name, TICK)) for name in names])


def _columns(against: Against) -> list[str]:
    return [*against.labels, UNLABELLED]


def _tall(rows: Sequence[str]) -> int:
    return 60 + max(220, (64 if len(rows) <= SPACIOUS else 26) * len(rows))


def _share(n: int, row: Sequence[int]) -> float:
    return n / sum(row) if sum(row) else 0.0


def _cell_words(n: int, row: Sequence[int], gold: int, given: int) -> str:
    judged = "right" if gold == given else "none" if given == len(row) - 1 else "wrong"
    return f"<b>{n:,}</b><br>{percent(_share(n, row))} · {judged}"


def _confusion_alt(against: Against) -> str:
    said = [
        f"gold {gold} labelled {given}: {against.confusion[k][j]:,}"
        for k, gold in enumerate(against.labels)
        for j, given in enumerate(_columns(against))
    ]
    return f"Confusion matrix. {'; '.join(said)}."


def accuracy_chart(reading: Reading, dark: bool = False) -> Chart | None:
    """Accuracy of all examples after each step; None without gold. Long runs are thinned to about a thousand steps."""
    points = reading.trajectory.points
    some = tuple(points[k] for k in every_nth(len(points), STEPS))
    chart = accuracy(replace(reading.trajectory, points=some), dark)
    return chart and replace(chart, title=f"Accuracy over {reading.unit}s")


def reliability_chart(found: Calibration, dark: bool = False) -> Chart:
    """Share of correct labels in each probability bin; a well calibrated model lies on the dashed line."""
    colours, figure = palette(dark), blank_figure(dark, "share right")
    line = {"color": colours.text, "dash": "dash", "width": 1}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="calibrated", line=line, hoverinfo="skip")
    bars = {"color": colours.strong, "opacity": 0.55, "line": {"width": 1, "color": colours.grid}}
    figure.add_bar(
        x=[(one.low + one.high) / 2 for one in found.bins],
        y=[one.right for one in found.bins],
        width=1 / BINS,
        name="share right",
        marker=bars,
        customdata=[f"{one.low:.1f} – {one.high:.1f}: {one.count:,} labels" for one in found.bins],
        hovertemplate="%{customdata}, %{y:.0%} right<extra></extra>",
    )
    figure.add_scatter(
        x=[one.probability for one in found.bins],
        y=[one.right for one in found.bins],
        mode="markers",
        name="mean probability",
        marker={"color": colours.rejected, "symbol": "diamond", "size": 9},
        hoverinfo="skip",
    )
    figure.update_layout(hovermode="closest", bargap=0)
    figure.update_xaxes(title_text="probability of the label", range=[0, 1.02], tickformat=".0%", dtick=0.2)
    figure.update_yaxes(range=[-0.04, 1.04], tickformat=".0%")
    error = f"The expected calibration error is {decimal(found.error, 3)}, of {found.count:,} labels."
    caption = f"{error} Bars: share right. Diamonds: at the mean probability of the bin."
    bins = "; ".join(f"{one.low:.1f} to {one.high:.1f}: {percent(one.right)} of {one.count:,}" for one in found.bins)
    return Chart("Reliability", caption, figure, f"Reliability diagram. {error} Share right by probability: {bins}.")


def utilities(readings: Sequence[Reading], by: str, dark: bool = False) -> Chart:
    """U of several runs over steps, or over tokens encoded."""
    figure, (unit, place) = blank_figure(dark, "U"), AXES[by]
    ends = []
    for k, reading in enumerate(readings):
        points = [point for point in reading.trajectory.points if not (reading.by_folds and point.verdict == "initial")]
        kept = extremes([point.utility for point in points])
        figure.add_scatter(
            x=[place(points[j]) for j in kept],
            y=[float(f"{points[j].utility:.6g}") for j in kept],
            mode="lines",
            name=literal(reading.run.name),
            line={**line_look(k, dark), "width": 2, "shape": "hv"},
        )
        if points:
            ends.append(f"{reading.run.name} ends at U = {points[-1].utility:.2f}, {unit} {place(points[-1]):,}")
    figure.update_xaxes(title_text=unit)
    figure.update_layout(hovermode="closest" if by == "tokens" else "x unified", showlegend=True, height=320)
    caption = f"U(D) of each run by {unit}. Runs with another alpha or other data have another scale."
    if any(reading.by_folds for reading in readings):
        caption += (
            " With folds, a step is a round, tokens read in tuning are not counted, and U comes from tuned models: it "
            "cannot be compared with that of prompts."
        )
    return Chart(f"Utility by {unit}", caption, figure, f"Utility by {unit}. {'; '.join(ends)}.")


def landscape_chart(found: Landscape, dark: bool = False) -> Chart:
    """U of every labeling as a bar, its two terms as marks; the found labeling and gold have patterns and words."""
    colours, figure = palette(dark), blank_figure(dark, "")
    names = [f"{literal(place.name)}  {decimal(place.utility)}" for place in found.places]
    shown = [f"{literal(middle_cut(place.name, REFERENCE))}  {decimal(place.utility)}" for place in found.places]
    shades = {FOUND: colours.strong, GOLD: colours.second}
    patterns = {FOUND: "", GOLD: "/"}
    figure.add_bar(
        orientation="h",
        y=names,
        x=[place.utility for place in found.places],
        name="U(D)",
        marker={
            "color": [shades.get(place.name, colours.grid) for place in found.places],
            "pattern": {"shape": [patterns.get(place.name, "") for place in found.places]},
            "line": {"width": 1, "color": colours.text},
        },
        hovertemplate="%{x:.2f}",
    )
    marks = (
        ("alpha · P(D)", "diamond", colours.rejected, [p.predictability for p in found.places]),
        ("I(D)", "x", colours.third, [p.inconsistency for p in found.places]),
    )
    for name, symbol, colour, values in marks:
        look = {"symbol": symbol, "size": 9, "color": colour}
        figure.add_scatter(x=values, y=names, mode="markers", name=name, marker=look, hovertemplate="%{x:.2f}")
    figure.update_layout(hovermode="y unified", height=110 + 30 * len(names), showlegend=True)
    figure.update_xaxes(title_text="U", rangemode="normal", zeroline=True, zerolinecolor=colours.text)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, tickvals=names, ticktext=shown)
    said = "; ".join(f"{place.name} {place.utility:.2f}" for place in found.places)
    caption = "Bars: U(D) = alpha · P(D) − I(D), highest first. Filled: found. Hatched: gold. Marks: the two terms."
    return Chart("Landscape", caption, figure, f"U of each labeling, the highest first: {said}.")


CURVE_ROWS = 300


def share_words(share: Share | None) -> str:
    """Return a share with its interval, in words.

    >>> share_words(Share(3, 4))
    '75% (30 to 95%)'
    """
    if share is None or share.value is None or share.interval is None:
        return DASH
    low, high = share.interval
    return f"{share.value:.0%} ({100 * low:.0f} to {high:.0%})"


def accuracy_frame(against: Against) -> pd.DataFrame:
    """Return accuracy, raw and flipped, among labelled examples and among all, with intervals."""
    rows: list[dict[str, Any]] = []
    for words, only in (("labelled only", True), ("all examples", False)):
        for kind, share in (("raw", against.accuracy(only)), ("flipped", against.flipped(only))):
            if share is not None:
                told = f"{share.count:,} of {share.total:,}"
                rows.append({"accuracy": kind, "over": words, "share": share_words(share), "examples": told})
    return pd.DataFrame(rows)


def classes_frame(against: Against) -> pd.DataFrame:
    """Return precision and recall for each label."""
    return pd.DataFrame(
        [
            {
                "label": found.label,
                "precision": share_words(found.precision),
                "labelled": found.precision.total,
                "recall": share_words(found.recall),
                "in gold": found.recall.total,
            }
            for found in against.per_class
        ]
    )


def accuracy_steps_frame(reading: Reading) -> pd.DataFrame:
    """Return accuracy after each step, evenly thinned, newest first."""
    points = reading.trajectory.points
    kept = [points[k] for k in reversed(every_nth(len(points), CURVE_ROWS)) if points[k].accuracy]
    return pd.DataFrame(
        [
            {"step": point.step, "labelled": point.labelled, **(asdict(point.accuracy) if point.accuracy else {})}
            for point in kept
        ]
    ).rename(columns={"raw": "accuracy"})


def confusion_frame(against: Against) -> pd.DataFrame:
    """Return the confusion matrix as a table."""
    rows: list[dict[str, Any]] = []
    flat = [n for row in against.confusion for n in row]
    for (gold, given), n in zip(cells(against.labels).values(), flat, strict=True):
        rows.append({"gold": gold, "label": given, "examples": n})
    return pd.DataFrame(rows)


def cell_frame(rows: Sequence[CellRow]) -> pd.DataFrame:
    """Return the examples in one cell of the confusion matrix."""
    return pd.DataFrame(
        [
            {
                "label": row.label,
                "gold": row.gold,
                "probability": row.probability,
                "flips": row.flips,
                "text": row.text,
                "example": row.example,
            }
            for row in rows
        ]
    )


def reliability_frame(found: Calibration) -> pd.DataFrame:
    """Return the bins of the reliability diagram."""
    return pd.DataFrame(
        [
            {
                "from": one.low,
                "to": one.high,
                "labels": one.count,
                "mean probability": one.probability,
                "share right": one.right,
                "gap": one.gap,
            }
            for one in found.bins
        ]
    )


def pairs_frame(pairs: Sequence[PairAgreement]) -> pd.DataFrame:
    """Return the agreement of every two runs."""
    return pd.DataFrame(
        [
            {
                "run": pair.runs[0],
                "and": pair.runs[1],
                "in both": pair.agreement.examples,
                "agreement": pair.agreement.raw,
                "kappa": pair.agreement.kappa,
            }
            for pair in pairs
        ]
    )


def balances_frame(readings: Sequence[Reading]) -> pd.DataFrame:
    """Return how often each run gives each label; of many labels, each has a row instead of a column."""
    if len(readings[0].tally.labels) > COLOURED:
        return _balances_by_label(readings)
    rows = []
    for reading in readings:
        counts, labelled = balance(reading), len(reading.labeling)
        shares = {f"share {y}": counts[y] / labelled if labelled else None for y in reading.tally.labels}
        rows.append({"run": reading.run.name, "seed": reading.run.spec.search.seed, "labelled": labelled, **shares})
    return pd.DataFrame(rows)


def _balances_by_label(readings: Sequence[Reading]) -> pd.DataFrame:
    labels = readings[0].tally.labels
    frame = pd.DataFrame({"label": labels})
    for reading in readings:
        counts, labelled = balance(reading), len(reading.labeling)
        frame[f"share {reading.run.name}"] = [counts[y] / labelled if labelled else None for y in labels]
    return frame


def disagreements_frame(rows: Sequence[Disagreement], runs: Sequence[str]) -> pd.DataFrame:
    """Return examples with their label in every run; gold only where there is any."""
    frame = pd.DataFrame(
        [
            {
                **dict(zip(runs, row.labels, strict=True)),
                "agreement": row.agreeing,
                "gold": row.gold,
                "text": row.text,
                "example": row.example,
            }
            for row in rows
        ]
    )
    return frame.drop(columns="gold") if rows and all(row.gold is None for row in rows) else frame


def paired_frame(found: Sequence[Paired]) -> pd.DataFrame:
    """Return comparisons of two label sources, one a row; with a reference, also which is right how often."""
    return pd.DataFrame([{"and": one.names[1], **_paired_numbers(one)} for one in found])


def _paired_numbers(found: Paired) -> dict[str, Any]:
    agreed, against = found.agreement, found.against
    shown: dict[str, Any] = {"examples": len(found.rows), "same labels": agreed.raw, "kappa": agreed.kappa}
    if against is None:
        return shown
    return shown | {
        f"{found.reference}: first right": against.one.mean,
        "other right": against.other.mean,
        "difference": points(against.difference),
        "only first": against.only_one,
        "only other": against.only_other,
        "McNemar p": p_words(against.p),
    }


def two_ways_frame(found: Paired) -> pd.DataFrame:
    """Return how often each two labels meet: labels of the first source in rows, of the second in columns."""
    one, other = found.names
    rows = [[*row, sum(row)] for row in found.confusion]
    rows.append([sum(column) for column in zip(*rows, strict=True)])
    frame = pd.DataFrame(rows, columns=[*(f"{other}: {label}" for label in found.labels), "all"])
    frame.insert(0, one, [*found.labels, "all"])
    return frame


def rights_frame(found: Paired) -> pd.DataFrame:
    """Return on how many examples which of two sources is right; empty without a reference."""
    against = found.against
    if against is None:
        return pd.DataFrame()
    one, other = found.names
    rows = [("right", against.both_right, against.only_one), ("wrong", against.only_other, against.neither)]
    return pd.DataFrame(rows, columns=[one, f"{other}: right", f"{other}: wrong"])


def apart_frame(found: Paired, texts: Callable[[str], str], limit: int) -> pd.DataFrame:
    """Return the examples on which two sources differ, at most `limit`; `texts` gives an example's text by its id."""
    one, other = found.names
    rows = [
        {one: row.one, other: row.other, found.reference: row.truth, "text": texts(row.example), "example": row.example}
        for row in found.apart[:limit]
    ]
    return pd.DataFrame([{name: value for name, value in row.items() if name is not None} for row in rows])


def utilities_frame(readings: Sequence[Reading], by: str) -> pd.DataFrame:
    """Return the curves of several runs as a table, evenly thinned, newest points first."""
    unit, place = AXES[by]
    rows = []
    for reading in readings:
        points = reading.trajectory.points
        for k in reversed(every_nth(len(points), CURVE_ROWS)):
            rows.append({"run": reading.run.name, unit: place(points[k]), "U": points[k].utility})
    return pd.DataFrame(rows)


def landscape_frame(found: Landscape) -> pd.DataFrame:
    """Return the landscape as a table, highest U first."""
    return pd.DataFrame(
        [
            {
                "labeling": place.name,
                "what it is": meaning(place.name),
                "U": decimal(place.utility, 2),
                "alpha · P": decimal(place.predictability, 2),
                "I": decimal(place.inconsistency, 2),
                "inconsistent pairs": place.pairs,
                "same as found": place.same,
                "labels": balance_words(dict(sorted(place.balance.items()))),
                "label mass": place.label_mass,
            }
            for place in found.places
        ]
    )


KINDS = {"text": "the texts alone", "model": "a model", "people": "people", GOLD: "gold"}


def concepts_frame(rows: Sequence[ConceptRow]) -> pd.DataFrame:
    """Return how far a run's labels agree with every reference, with intervals; with two labels also swapped."""
    return pd.DataFrame(
        [
            {
                "reference": row.name,
                "agreement": row.agreement.mean,
                "interval": _interval_words(row.agreement),
                "swapped": row.mirrored.mean if row.mirrored else None,
                "examples": row.examples,
                "from": KINDS[row.kind],
            }
            for row in rows
        ]
    )


def _interval_words(made: Estimate) -> str:
    return f"{percent(made.low)} to {percent(made.high)}"


def audit_frame(found: AuditFinding) -> pd.DataFrame:
    """The share of right labels and its interval after each answer."""
    marks, judged = found.marks, list[bool]()
    rows = []
    for number, (mark, (low, high)) in enumerate(zip(marks, found.intervals, strict=True), start=1):
        judged += [] if mark is None else [mark]
        rows.append((number, sum(judged) / len(judged) if judged else None, low, high))
    return pd.DataFrame(rows, columns=["answers", "right so far", "from", "to"])


def audit_chart(found: AuditFinding, dark: bool = False) -> Chart:
    """The share of right labels after each answer, within its interval; a line at one half."""
    colours, figure, frame = palette(dark), blank_figure(dark, "right"), audit_frame(found)
    answers, none = frame["answers"], {"width": 0}
    figure.add_scatter(x=answers, y=frame["from"], mode="lines", line=none, showlegend=False, hoverinfo="skip")
    figure.add_scatter(
        x=answers,
        y=frame["to"],
        mode="lines",
        line=none,
        fill="tonexty",
        fillcolor=shade(colours.strong, 0.25),
        name="95 % interval",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=answers,
        y=frame["right so far"],
        mode="lines+markers",
        name="right so far",
        line={"color": colours.strong},
        customdata=[f"{percent(low)} to {percent(high)}" for low, high in found.intervals],
        hovertemplate="%{y:.0%} right so far, interval %{customdata}<extra></extra>",
    )
    figure.add_hline(y=HALF, line={"color": colours.rejected, "dash": "dash", "width": 1})
    figure.update_xaxes(title_text="answers", range=[0.5, max(len(answers), 10) + 0.5])
    figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%", dtick=0.25)
    figure.update_layout(height=220)
    low, high = found.bounds
    said = (
        f"{percent(found.estimate)} right after {len(answers):,} answers, interval {percent(low)} to {percent(high)}."
    )
    caption = (
        "Above the dashed line the labels are right, below it they are mirrored. The interval holds at every answer."
    )
    if len(found.labels) > 2:
        caption = "Dashed: one half. The interval holds at every answer."
    return Chart("Share of right labels", caption, figure, f"Share of right labels over answers: {said}")


def audit_answers_frame(reading: Reading, audit: Audit) -> pd.DataFrame:
    """The answers of an audit beside the labels, the last one first."""
    rows = [
        (number, one_line(example_text(reading, place)), answer, audit.labeling[place], _agrees(answer, audit, place))
        for number, (place, answer) in sorted(audit.answers.items(), reverse=True)
    ]
    return pd.DataFrame(rows, columns=["question", "text", "you", "label", "agree"])


def _agrees(answer: str | None, audit: Audit, place: int) -> str:
    return "left out" if answer is None else "yes" if answer == audit.labeling[place] else "no"
