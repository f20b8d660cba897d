"""Reports: of a suite, a Markdown and an HTML file; of a run, an HTML file to share.

The report of a suite has tables, figures, settings, versions and the command, from stored results alone. That of a run
has its summary, curves, last decisions, labels and audit, and gold only if it is asked for: without, the run is read
without gold from its first event. Figures are interactive in HTML files, which embed plotly. Such a file needs no
network and allows none: its Content-Security-Policy has the hashes of its two scripts, and all else is escaped text.
Static pictures need Chrome or Chromium; without it the report says so.
"""

import base64
import hashlib
import html
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from icm_engine.analysis.audit import VERDICTS, answers_words, audit_of, verdict_words
from icm_engine.analysis.compare_figures import audit_answers_frame, audit_chart
from icm_engine.analysis.figures import (
    HATCH,
    ROUNDS_AT_MOST,
    Chart,
    all_charts,
    blank_figure,
    flat_settings,
    line_look,
    palette,
)
from icm_engine.analysis.flips import signed
from icm_engine.analysis.formatting import balance_words, counted, decimal, duration, moment, one_line, percent
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import (
    example_text,
    labels_table,
    load,
    notices,
    open_reading,
    refreshed,
    run_end,
    summary,
)
from icm_engine.core import __version__
from icm_engine.core.errors import SettingError
from icm_engine.core.folds import OPTIONS
from icm_engine.core.resources import search_path
from icm_engine.experiments.report_tables import NONE, Table, facts, tables
from icm_engine.jobs.batches import is_batched
from icm_engine.runs import control
from icm_engine.store.events import Json
from icm_engine.store.store import Store

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


WORDY = 40  # characters from which a cell has a text rather than a number
NOT_DRAWN = "(The figure is in report.html: no Chrome could draw it here.)"
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 0.9rem; }
.wide { overflow-x: auto; }
td, th { padding: 0.3rem 0.7rem; text-align: right; border-bottom: 1px solid #8886; }
td:first-child, th:first-child { text-align: left; }
td.long { text-align: left; min-width: 20rem; }
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
    body += [*map(_html_section, tables(found)), *_html_figures(charts), _html_facts("How this was made", facts(found))]
    return _html_page(found["title"], body, charts)


def _html_section(table: Table) -> str:
    return f"<h2>{html.escape(table.title)}</h2><p>{html.escape(table.caption)}</p>{_html_table(table)}"


def _html_figures(charts: Sequence[Chart], first: int = 0) -> list[str]:
    """The places of the figures, numbered from `first`, which a script of the page draws."""
    return [
        f'<h2>{html.escape(chart.title)}</h2><figure aria-label="{html.escape(chart.alt)}"><div id="figure-{number}">'
        f"</div><figcaption>{html.escape(chart.caption)}</figcaption></figure>"
        for number, chart in enumerate(charts, start=first)
    ]


def _html_facts(title: str, told: Sequence[tuple[str, str]]) -> str:
    listed = "".join(f"<li>{html.escape(name)}: <code>{html.escape(value)}</code></li>" for name, value in told)
    return f"<h2>{html.escape(title)}</h2><ul>{listed}</ul>"


DRAW = """
figures.forEach(({ data, layout }, k) =>
  Plotly.newPlot(`figure-${k}`, data, layout, { displaylogo: false, responsive: true }));
"""


def _html_page(title: str, body: Sequence[str], charts: Sequence[Chart]) -> str:
    """A whole page. It runs its own two scripts alone, and loads nothing."""
    figures = ",".join(chart.figure.to_json() for chart in charts).replace("<", "\\u003c")  # no text ends the script
    scripts = [get_plotlyjs().replace("\r\n", "\n"), f"const figures = [{figures}];{DRAW}"] if charts else []
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>",
    ]
    run = "".join(f"<script>{script}</script>" for script in scripts)
    return f'<!doctype html><html lang="en"><head>{"".join(head)}</head><body>{"".join(body)}{run}</body></html>'


def _html_table(table: Table) -> str:
    def cell(text: str, tag: str) -> str:
        kind = ' class="long"' if tag == "td" and len(text) > WORDY else ""
        return f"<{tag}{kind}>{html.escape(text)}</{tag}>"

    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(cell(text, tag) for text in cells) + "</tr>"

    rows = "".join(row(cells, "td") for cells in table.rows)
    return f'<div class="wide"><table><thead>{row(table.head, "th")}</thead><tbody>{rows}</tbody></table></div>'


# -- one run, to share

LABELS_SHOWN = 5000  # rows of the table of labels
DECISIONS = 200  # as many as a reading keeps
LONGEST = 300  # characters of a text


def share_run(store: Store, run: str, gold: bool = False) -> str:
    """Return one HTML file about a run, without gold unless it is asked for. Raises SettingError, NotFound."""
    if is_batched(store, run):
        raise SettingError(f"{run!r} is a batched run: share one of its batches, such as '{run}-1'")
    reading = load(store, run) if gold else refreshed(store, open_reading(store, run, withheld=True))
    if gold and reading.blind:
        raise SettingError(f"run {run!r} is annotated blind: share it without gold")
    charts = list(all_charts(reading.outline)) if reading.trajectory.last else []
    audited, audit_charts = _audited(store, reading, len(charts))
    charts += audit_charts
    spec = reading.run.spec
    about = f"{spec.dataset} · {spec.model} · seed {spec.search.seed} · made with ICM Workbench {__version__}"
    body = [f"<h1>{html.escape(run)}</h1>", f"<p>{html.escape(about)}</p>"]
    body += [f"<p><strong>{html.escape(notice.text)}</strong></p>" for notice in notices(reading)]
    body.append(_html_facts("Summary", _run_facts(store, reading)))
    body += _html_figures(charts)[: len(charts) - len(audit_charts)]
    body += audited
    decided = (_rounds(reading), _fits(reading)) if reading.by_folds else (_decisions(reading),)
    body += [_html_section(table) for table in (*decided, _labels(reading)) if table.rows]
    of_search = spec.to_json()["search"]
    used = flat_settings(spec.to_json()) if reading.by_folds else of_search
    settings = [
        (name.replace("_", " "), str(value))
        for name, value in used.items()
        if name in of_search or name in OPTIONS or name == ROUNDS_AT_MOST
    ]
    body.append(_html_facts("Settings of the search", settings))
    return _html_page(run, body, charts)


def _run_facts(store: Store, reading: Reading) -> list[tuple[str, str]]:
    """What a run is and how it stands; accuracy only where the reading has gold."""
    spec, found, end = reading.run.spec, summary(reading, control.status(store, reading.run.name)), run_end(reading)
    told = [
        ("data set", spec.dataset),
        ("model", f"{spec.model}, {spec.quantization}, {spec.dtype}"),
        ("label source", "ICM with fine-tuned folds" if reading.by_folds else spec.source),
        ("rule", reading.run.rule_name),
        ("begun", moment(store.created(reading.run.name))),
        ("status", f"{found['status']}, {counted(found['steps'], reading.unit)}"),
        ("labelled", f"{found['labelled']:,} of {found['examples']:,}"),
        ("labels", balance_words(found["label_balance"])),
        ("U", decimal(found["utility"], 2)),
        ("P(D)", decimal(found["mutual_predictability"], 2)),
        ("conflicts", str(reading.trajectory.last.pairs if reading.trajectory.last else 0)),
        *_accepted(reading, found),
        ("prompts, tokens encoded", f"{found['prompts_scored']:,}, {found['tokens_encoded']:,}"),
    ]
    if end is not None and end.differs:
        told.append(("best state", end.words))
    if "accuracy" in found:
        told += [("accuracy against gold", percent(found["accuracy"]))]
    return told


def _accepted(reading: Reading, found: Json) -> list[tuple[str, str]]:
    if not reading.by_folds:
        return [("accepted", percent(found["acceptance_rate"]))]
    return [
        ("rounds kept", f"{reading.accepted:,} of {reading.proposals:,}"),
        ("fits, tokens tuned on", f"{found['fits']:,}, {found['tokens_tuned']:,}"),
    ]


def _rounds(reading: Reading) -> Table:
    rows = tuple(
        (
            str(row.number),
            row.words,
            decimal(row.before, 2),
            decimal(row.tried, 2) if row.number else NONE,
            str(row.changed),
            str(row.groups),
            str(row.repaired),
            duration(row.seconds),
        )
        for row in reversed(reading.rounds)
    )
    caption = (
        "Newest first. In each round one model for each fold is tuned on the labels of the other folds and predicts "
        "that fold; the labels tried are kept if U of these predictions is higher."
    )
    return Table("Rounds", caption, ROUND_HEAD, rows)


ROUND_HEAD = ("round", "verdict", "U before", "U tried", "labels changed", "groups", "repairs", "time")
FIT_HEAD = ("round", "fold", "held out", "tuned on", "steps", "first loss", "last loss", "tokens tuned on", "time")


def _fits(reading: Reading) -> Table:
    rows = tuple(
        (
            str(fit.round),
            fit.words,
            str(fit.held_out),
            str(fit.rows),
            str(fit.steps),
            decimal(fit.first_loss, 3),
            decimal(fit.last_loss, 3),
            f"{fit.tokens:,}",
            duration(fit.seconds),
        )
        for fit in reversed(reading.fits[-DECISIONS:])
    )
    return Table("Fits", f"The last {len(rows):,}, newest first.", FIT_HEAD, rows)


def _audited(store: Store, reading: Reading, number: int) -> tuple[list[str], list[Chart]]:
    """The last audit, if there is one: its verdict, its answers, and its figure, which has this number."""
    if not reading.audited:
        return [], []
    audit = audit_of(store, reading)
    found, chart = audit.finding, audit_chart(audit.finding)
    caption = f"{VERDICTS[found.verdict]}. {verdict_words(found)} {answers_words(found)}"
    frame = audit_answers_frame(reading, audit)
    rows = tuple(tuple(NONE if cell is None else str(cell) for cell in row) for row in frame.to_numpy().tolist())
    table = Table("Audit: a person's answers", caption, tuple(map(str, frame)), rows)
    return [_html_section(table), *_html_figures([chart], number)], [chart]


def _decisions(reading: Reading) -> Table:
    index = reading.run.codec.index
    rows = tuple(
        (
            str(row.step),
            row.words,
            row.proposed if row.old == row.proposed else f"{row.old or '·'} → {row.proposed}",
            row.repair_words or NONE,
            signed(row.delta) if row.delta is not None else NONE,
            decimal(row.temperature, 2),
            one_line(example_text(reading, index(row.example)), LONGEST),
        )
        for row in reversed(reading.steps[-DECISIONS:])
    )
    head = ("step", "verdict", "label", "repairs", "change of U", "T", "text")
    return Table("Decisions", f"The last {len(rows):,}, newest first.", head, rows)


def _labels(reading: Reading) -> Table:
    rows, known = labels_table(reading, LABELS_SHOWN), bool(reading.gold)
    body = tuple(
        (
            row.label or NONE,
            *([row.gold or NONE] if known else []),
            percent(row.probability),
            str(row.flips),
            NONE if row.last_change is None else str(row.last_change),
            row.text[:LONGEST],
            row.example,
        )
        for row in rows
    )
    total = len(reading.run.dataset.examples)
    of = "" if total <= len(rows) else f" {len(rows):,} of {total:,} are here, labelled ones first."
    caption = f"Probability: of the label, {reading.given}.{of}"
    head = ("label", *(["gold"] if known else []), "probability", "flips", "last change", "text", "example")
    return Table("Labels", caption, head, body)


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
