"""The report of a suite: one Markdown and one HTML file with tables, figures, settings, versions and the command.

Both are made of the suite's stored results alone. Figures are interactive in the HTML file, which carries plotly with
it; static pictures beside it need a Chrome or Chromium, and where there is none the report says so.
"""

import html
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go

from icm_engine.analysis.experiments.report_figures import figures
from icm_engine.analysis.experiments.report_tables import Table, facts, tables
from icm_engine.analysis.experiments.static import draw
from icm_engine.analysis.figures import Chart
from icm_engine.core.errors import SettingError
from icm_engine.runs.events import Json

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
        raise SettingError(f"the report cannot be written to {folder} ({error}): use another --output") from None
    return [markdown, page, *(folder / name for name in pictures.values())]


def _static(charts: Sequence[Chart], folder: Path) -> dict[str, str]:
    """Static pictures by the title of their chart; none where nothing is found to draw them with."""
    names = [f"figure-{number}.svg" for number in range(1, len(charts) + 1)]
    on_white = [go.Figure(chart.figure).update_layout(paper_bgcolor="white") for chart in charts]
    if not draw({str(folder / name): figure.to_json() for name, figure in zip(names, on_white, strict=True)}):
        return {}
    return {chart.title: name for name, chart in zip(names, charts, strict=True)}


def as_markdown(found: Json, charts: Sequence[Chart], pictures: dict[str, str]) -> str:
    """Return the report as Markdown; `pictures` are the static files of the charts there are."""
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
