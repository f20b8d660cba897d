"""The report of a suite: a Markdown and an HTML file with tables, figures, settings, versions and the command.

Both are made only from stored results. Figures are interactive in the HTML file, which embeds plotly. Static pictures
need Chrome or Chromium; without it the report says so.
"""

import html
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go

from icm_engine.analysis.figures import HATCH, Chart, blank_figure, line_look, palette
from icm_engine.core.errors import SettingError
from icm_engine.core.resources import search_path
from icm_engine.experiments.report_tables import Table, facts, tables
from icm_engine.store.events import Json

FILLS = ("strong", "rejected", "second")  # of the bars of one source: its labels, their use, a model tuned on them
HATCHES = ("", "/", "x")
OPACITY = 0.6  # of a bar, so that the whisker shows on it
HEIGHT = 420  # pixels
PERCENT = [0, 101]  # range of an axis


def figures(found: Json, dark: bool = False) -> list[Chart]:
    """Return a suite's figures, without empty ones."""
    made = (*(_bars(found, dataset, dark) for dataset in found["datasets"]), _shots(found, dark), _curves(found, dark))
    return [chart for chart in made if chart is not None]


def _bars(found: Json, dataset: str, dark: bool) -> Chart | None:
    """Bars with 95 % intervals per source: accuracy of its labels, of their use, and of a model tuned on them."""
    rows = [row for row in found["rows"] if row["dataset"] == dataset and (row.get("accuracy") or row.get("used"))]
    if not rows:
        return None
    kinds = {
        "labels": [(row["arm"], row["accuracy"]) for row in rows if row["accuracy"]],
        "in use": [(row["arm"], row["used"][-1]) for row in rows if row["used"]],
        "tuned": [(row["arm"], row["tuned"][0]) for row in rows if row.get("tuned")],
    }
    colours, figure = palette(dark), blank_figure(dark, "")
    for (name, values), fill, hatch in zip(kinds.items(), FILLS, HATCHES, strict=True):
        if values:
            _add_bars(figure, name, values, getattr(colours, fill), hatch, colours.text)
    height = 130 + len(rows) * (10 + 14 * len(figure.data))
    figure.update_layout(height=height, barmode="group", hovermode="closest", showlegend=True)
    figure.update_xaxes(title_text="percent right", range=PERCENT)
    order = [row["arm"] for row in rows]
    figure.update_yaxes(autorange="reversed", showgrid=False, categoryorder="array", categoryarray=order)
    caption = "Percent right, mean over seeds; the whiskers are 95 % intervals over seeds and examples."
    alt = f"Bars for each label source on {dataset}; the same numbers are in the table"
    return Chart(f"Label sources on {dataset}", caption, figure, alt)


def _add_bars(
    figure: go.Figure, name: str, rows: Sequence[tuple[str, Json]], colour: str, hatch: str, whiskers: str
) -> None:
    figure.add_bar(
        name=name,
        orientation="h",
        y=[arm for arm, _ in rows],
        x=[100 * made["mean"] for _, made in rows],
        marker={"color": colour, "opacity": OPACITY, "line_width": 0, "pattern": {**HATCH, "shape": hatch}},
        error_x={
            "type": "data",
            "symmetric": False,
            "color": whiskers,
            "thickness": 1.5,
            "width": 3,
            "array": [100 * (made["high"] - made["mean"]) for _, made in rows],
            "arrayminus": [100 * (made["mean"] - made["low"]) for _, made in rows],
        },
    )


def _shots(found: Json, dark: bool) -> Chart | None:
    """Accuracy in use by number of demonstrations, for suites with several."""
    figure = blank_figure(dark, "percent right")
    for k, row in enumerate(row for row in found["rows"] if len(row.get("used", ())) > 1):
        figure.add_scatter(
            name=f"{row['arm']}, {row['dataset']}",
            x=[made["shots"] for made in row["used"]],
            y=[100 * made["mean"] for made in row["used"]],
            mode="lines+markers",
            line=line_look(k, dark),
        )
    if not figure.data:
        return None
    figure.update_layout(height=HEIGHT, hovermode="closest", showlegend=True)
    figure.update_xaxes(title_text="number of shots", rangemode="normal")  # with room for a mark at 0 shots
    figure.update_yaxes(range=[-3, 103])
    return Chart("Use by number of shots", "Mean over seeds and shuffles.", figure, "Accuracy by number of shots")


def _curves(found: Json, dark: bool) -> Chart | None:
    """Accuracy over the steps of every search."""
    figure, names = blank_figure(dark, "percent right"), list[str]()
    for row in found["rows"]:
        name = f"{row['arm']}, {row['dataset']}"
        for curve in row.get("curves", ()) if "best of" not in row["arm"] else ():
            if name not in names:
                names.append(name)
            figure.add_scatter(
                name=name,
                x=[step for step, _ in curve],
                y=[100 * value for _, value in curve],
                mode="lines",
                line={**line_look(names.index(name), dark), "width": 1.5},
                legendgroup=name,
                showlegend=curve is row["curves"][0],
            )
    if not figure.data:
        return None
    figure.update_layout(height=HEIGHT, hovermode="closest", showlegend=True)
    figure.update_yaxes(range=PERCENT)
    caption = "One line per seed; examples without a label count as wrong."
    return Chart("Accuracy over steps", caption, figure, "Accuracy over the steps of each search")


NOT_DRAWN = "(The figure is in report.html: no Chrome could draw it here.)"
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 0.9rem; }
.wide { overflow-x: auto; }
td, th { padding: 0.3rem 0.7rem; text-align: right; border-bottom: 1px solid #8886; }
td:first-child, th:first-child { text-align: left; }
figure { margin: 1rem 0; background: white; }
figcaption { color: #33414d; padding: 0 1rem 0.5rem; }
code { overflow-wrap: anywhere; }
"""


def write_report(found: Json, folder: Path) -> list[Path]:
    """Write report.md, report.html and the static figures into a folder, and return the files. Raises SettingError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        charts = figures(found)
        pictures = _static(charts, folder)
        markdown, page = folder / "report.md", folder / "report.html"
        markdown.write_text(as_markdown(found, charts, pictures), encoding="utf-8")
        page.write_text(as_html(found, charts), encoding="utf-8")
    except OSError as error:
        raise SettingError(
            f"the report cannot be written to {folder} ({error}): use another folder (--output)"
        ) from None
    return [markdown, page, *(folder / name for name in pictures.values())]


def _static(charts: Sequence[Chart], folder: Path) -> dict[str, str]:
    """Static pictures by chart title; none if there is no browser to draw them."""
    names = [f"figure-{number}.svg" for number in range(1, len(charts) + 1)]
    on_white = [go.Figure(chart.figure).update_layout(paper_bgcolor="white") for chart in charts]
    if not draw({str(folder / name): figure.to_json() for name, figure in zip(names, on_white, strict=True)}):
        return {}
    return {chart.title: name for name, chart in zip(names, charts, strict=True)}


def as_markdown(found: Json, charts: Sequence[Chart], pictures: dict[str, str]) -> str:
    """Return the report as Markdown; `pictures` are the static files of its charts."""
    lines = [f"# {found['title']}", "", found["question"], ""]
    for table in tables(found):
        lines += [f"## {table.title}", "", table.caption, "", *_markdown_table(table), ""]
    for chart in charts:
        where = pictures.get(chart.title)
        picture = (
            f"![{chart.alt}]({where})"
            if where
            else "(The figure is in report.html: there was no Chrome here to draw it with.)"
        )
        lines += [f"## {chart.title}", "", picture, "", chart.caption, ""]
    lines += ["## How this was made", "", *(f"- {name}: {value}" for name, value in facts(found)), ""]
    return "\n".join(lines)


def _markdown_table(table: Table) -> list[str]:
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [row(table.head), "|" + "---|" * len(table.head), *map(row, table.rows)]


def as_html(found: Json, charts: Sequence[Chart]) -> str:
    """Return the report as one HTML file that needs no network."""
    body = [f"<h1>{html.escape(found['title'])}</h1>", f"<p>{html.escape(found['question'])}</p>"]
    for table in tables(found):
        body += [f"<h2>{html.escape(table.title)}</h2>", f"<p>{html.escape(table.caption)}</p>", _html_table(table)]
    for number, chart in enumerate(charts):
        drawn = chart.figure.to_html(full_html=False, include_plotlyjs=number == 0, config={"displaylogo": False})
        body += [
            f"<h2>{html.escape(chart.title)}</h2>",
            f'<figure aria-label="{html.escape(chart.alt)}">{drawn}<figcaption>{html.escape(chart.caption)}'
            "</figcaption></figure>",
        ]
    listed = "".join(f"<li>{html.escape(name)}: <code>{html.escape(value)}</code></li>" for name, value in facts(found))
    body += [f"<h2>How this was made</h2><ul>{listed}</ul>"]
    head = f'<meta charset="utf-8"><title>{html.escape(found["title"])}</title><style>{STYLE}</style>'
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return f'<!doctype html><html lang="en"><head>{head}{viewport}</head><body>{"".join(body)}</body></html>'


def _html_table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = "".join(row(cells, "td") for cells in table.rows)
    return f'<div class="wide"><table><thead>{row(table.head, "th")}</thead><tbody>{rows}</tbody></table></div>'


# -- static pictures, drawn by plotly's kaleido with the machine's Chrome

PICTURES = 120.0  # seconds for all pictures of a report, which usually take four
WIDTH = 1000


def draw(figures: Mapping[str, str]) -> bool:
    """Write each figure (JSON, by target path); return whether all succeeded.

    A process of its own with a time limit: an unresponsive Chrome would block the report forever.
    """
    if not figures:
        return True
    command = [sys.executable, "-P", "-m", "icm_engine.experiments.report"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(dict(figures)),
            text=True,
            capture_output=True,
            timeout=PICTURES,
            check=False,
            env={**os.environ, "PYTHONPATH": search_path()},
        )
    except (subprocess.TimeoutExpired, OSError):
        return False
    return done.returncode == 0


def draw_here() -> None:
    """Draw the figures given on standard input."""
    import kaleido
    import plotly.io

    asked = json.loads(sys.stdin.read())
    kaleido.write_fig_from_object_sync(
        [{"fig": plotly.io.from_json(figure), "path": path, "opts": {"width": WIDTH}} for path, figure in asked.items()]
    )


if __name__ == "__main__":
    draw_here()
