"""Charts that update in place, keeping zoom, pan and hover, and the tables and numbers next to them."""

from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.responses import FileResponse
from starlette.routing import Route

from icm_engine.analysis.figures import (
    COUNTS,
    ROUNDS,
    STEPS,
    Chart,
    all_charts,
    conflicts_frame,
    curve_marks,
    curves_frame,
    fits_frame,
    labels_frame,
    rounds_frame,
    steps_frame,
)
from icm_engine.analysis.run_history import FitRow, Reading
from icm_engine.analysis.status_tiles import Tile
from icm_engine.analysis.views import conflicts_now, labels_table, rule_name
from pages.parts import session

PATH = "app/static/plotly.min.js"  # the path a chart requests, below server.baseUrlPath


def route() -> Route:
    """Return the route that serves the script.

    It accepts any base path, because Streamlit's options must not be read before the app has set the path of its
    config.toml.
    """
    return Route(f"/{{base:path}}{PATH}", _script, methods=["GET"])


async def _script(request: Any) -> FileResponse:
    return FileResponse(Path(str(files("plotly"))) / "package_data" / "plotly.min.js", media_type="text/javascript")


# The figure arrives as data and is drawn by Plotly; no HTML is ever built from it. `route` serves the script.
JS = """
function load() {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  window.icmPlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("app/static/plotly.min.js", document.baseURI).href;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { window.icmPlotly = undefined; reject(new Error("plotly.min.js is not served")); };
    document.head.appendChild(script);
  });
  return window.icmPlotly;
}

// Only whole ticks on these axes, whatever is zoomed: all of a short range, of a long one those that Plotly chooses.
function wholeTicks(node, axes) {
  const changes = {};
  for (const axis of axes) {
    const [low, high] = node._fullLayout[axis].range;
    const few = high - low < 10, set = node.layout[axis].tickmode === "linear";
    if (few !== set) Object.assign(changes, few ? { [`${axis}.dtick`]: 1 } : { [`${axis}.tickmode`]: "auto" });
  }
  if (Object.keys(changes).length) window.Plotly.relayout(node, changes);
}

export default function ({ data, parentElement, setTriggerValue }) {
  const node = parentElement.querySelector(".icm-curve");
  node.setAttribute("role", "figure");  // no "img", in which there can be no buttons, such as those of the toolbar
  node.setAttribute("aria-label", data.alt);
  node.style.minHeight = `${data.figure.layout.height ?? 280}px`;  // its room, before it is drawn
  const needless = ["select2d", "lasso2d", "autoScale2d", "sendChartToCloud"];  // the last uploads the chart
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: needless };
  load()
    .then((Plotly) => node.isConnected && Plotly.react(node, data.figure.data, data.figure.layout, config))
    .then(() => {
      if (!node.on) return;
      node.removeAllListeners("plotly_relayout");
      if (data.whole.length) {
        node.on("plotly_relayout", () => wholeTicks(node, data.whole));
        wholeTicks(node, data.whole);
      }
      if (!data.clickable) return;
      node.removeAllListeners("plotly_click");  // the one of the drawing before
      node.on("plotly_click", ({ points: [at] }) => setTriggerValue("clicked", at.customdata ?? `${at.x} ${at.y}`));
    })
    .catch((error) => { node.textContent = error.message; });
  return () => window.Plotly && window.Plotly.purge(node);
}
"""
CSS = ".icm-curve { width: 100%; min-height: 280px; }"

_curve = st.components.v2.component(
    "icm_live_curve", html='<div class="icm-curve"></div>', css=CSS, js=JS, isolate_styles=False
)


def show_live(chart: Chart, key: str, clicked: Callable[[str], None] | None = None) -> None:
    """Draw a chart, or update the one already drawn under this key.

    `clicked` receives the customdata of a clicked point, or its x and y separated by a space. There is always another
    way than clicking, because not everybody has a mouse.
    """
    layout = chart.figure.layout
    whole = [axis for axis in ("xaxis", "yaxis") if layout[axis].title.text in (STEPS, ROUNDS, *COUNTS)]
    data = {"figure": chart.figure.to_dict(), "alt": chart.alt, "clickable": clicked is not None, "whole": whole}
    _curve(key=key, data=data, on_clicked_change=lambda: _tell(key, clicked))


def _tell(key: str, clicked: Callable[[str], None] | None) -> None:
    point = st.session_state[key].clicked
    if clicked is not None and point is not None:
        clicked(str(point))


def show(
    chart: Chart,
    table: Any,
    key: str,
    columns: dict[str, Any] | None = None,
    clicked: Callable[[str], None] | None = None,
) -> None:
    """Draw a chart, or its table if requested; without a table, the caller shows one next to the chart.

    `clicked` receives the customdata of a clicked point.
    """
    st.markdown(f"**{chart.title}**")
    if table is not None and st.session_state.get(f"table_{key}"):
        st.dataframe(table, hide_index=True, column_config=columns, placeholder="–", alt=f"{chart.title} as a table")
    else:
        show_live(chart, key, clicked)
    st.caption(chart.caption)
    if table is not None:
        st.toggle("As a table", key=f"table_{key}")


def show_curves(run: str) -> None:
    """Draw the current curves, two side by side: U and the temperature first."""
    reading, _ = session.look(run)
    if reading.trajectory.last is None:
        st.text("The curves begin with the first labels.")
        return
    if reading.by_folds and len(reading.rounds) == 1:
        st.text("The curves begin with round 1, once all its folds are fitted: see Fits below.")
        return
    if st.session_state.get("as_table"):
        st.dataframe(curves_frame(reading.outline), hide_index=True, alt="The curves as a table")
    else:
        charts = all_charts(reading.outline, session.dark(), curve_marks(reading))
        for pair in (charts[:2], charts[2:]):
            for column, chart in zip(st.columns(2, gap="medium"), pair, strict=False):
                with column:
                    _chart(chart, run)
    st.toggle("Curves as a table", key="as_table")


def _chart(chart: Chart, run: str) -> None:
    st.markdown(f"**{chart.title}**", help=chart.caption)
    show_live(chart, key=f"curve_{chart.title}_{run}")


ROWS = 500  # rows of the labels table
TICKED = 100  # rows while the run is moving; they are sent at every refresh

MARGIN = "Log-probability of the label minus that of the best other label, given all other labels."
NUMBERS = {  # of examples; widths in pixels, so that labels, gold and numbers are in view at 1280 beside a text
    "label": st.column_config.TextColumn(width=96),
    "gold": st.column_config.TextColumn(width=80),
    "probability": st.column_config.ProgressColumn(format="percent", min_value=0.0, max_value=1.0, width=112),
    "margin": st.column_config.NumberColumn(format="%+.2f", width=66, help=MARGIN),
    "flips": st.column_config.NumberColumn(width=52),
    "conflicts": st.column_config.NumberColumn(width=72),
    "last change": st.column_config.NumberColumn(width=88, help="The step that set the label."),
    "text": st.column_config.TextColumn(width=290),
}
TUNED = "Of the label, by the model tuned on the labels of the other folds, asked without demonstrations."


def numbers(reading: Reading) -> dict[str, Any]:
    """Return the columns of examples, with what the model's numbers of this run are."""
    if not reading.by_folds:
        return NUMBERS
    margin = f"Log-probability of the label minus that of the best other label, {reading.given}."
    return {
        **NUMBERS,
        "probability": st.column_config.ProgressColumn(
            format="percent", min_value=0.0, max_value=1.0, width=112, help=TUNED
        ),
        "margin": st.column_config.NumberColumn(format="%+.2f", width=66, help=margin),
        "last change": st.column_config.NumberColumn(width=88, help="The round that set the label."),
    }


ROUND_COLUMNS = {  # widths in pixels; all columns fit beside the menu at 1280
    "round": st.column_config.NumberColumn(width=60),
    "verdict": st.column_config.TextColumn(width=150),
    "U before": st.column_config.NumberColumn(format="%.2f", width=84, help="U of the labels kept so far."),
    "U tried": st.column_config.NumberColumn(
        format="%.2f", width=84, help="U of the labels tried, each predicted by a model tuned on the other folds."
    ),
    "delta U": st.column_config.NumberColumn(format="%+.2f", width=74, help="The labels are kept if it is above 0."),
    "changed": st.column_config.NumberColumn(width=74, help="Labels changed, compared with those kept so far."),
    "groups": st.column_config.NumberColumn(width=66, help="Groups with a changed label."),
    "repairs": st.column_config.NumberColumn(width=66, help="Inconsistent pairs repaired in the labels tried."),
    "next": st.column_config.NumberColumn(width=60, help="Groups that the next round changes; after 0 the run ends."),
    "seconds": st.column_config.NumberColumn(format="%.1f", width=72, help="Computing, all fits of the round."),
}
FIT_COLUMNS = {
    "round": st.column_config.NumberColumn(width=60),
    "fold": st.column_config.TextColumn(width=150),
    "held out": st.column_config.NumberColumn(width=74, help="Examples that the tuned model predicted."),
    "tuned on": st.column_config.NumberColumn(width=74, help="Labels of the other folds."),
    "steps": st.column_config.NumberColumn(width=60, help="Steps of training."),
    "first loss": st.column_config.NumberColumn(format="%.3f", width=76, help="Mean −log p of the labels at first."),
    "last loss": st.column_config.NumberColumn(format="%.3f", width=76, help="Mean −log p of the labels at the end."),
    "tokens tuned": st.column_config.NumberColumn(width=100, help="Read in tuning, each as often as it was read."),
    "tokens scored": st.column_config.NumberColumn(width=104, help="Read to predict the examples held out."),
    "seconds": st.column_config.NumberColumn(format="%.1f", width=72),
}
STEP_COLUMNS = {  # widths in pixels, as of a step's longest words: all columns fit beside the menu at 1280
    "step": st.column_config.NumberColumn(width=60),
    "verdict": st.column_config.TextColumn(width=98),
    "label": st.column_config.TextColumn(width=112),
    "repairs": st.column_config.TextColumn(width=98),
    "example": st.column_config.TextColumn(width=150),
    "delta U": st.column_config.NumberColumn(format="%+.2f", width=64),
    "T": st.column_config.NumberColumn(format="%.2f", width=52),
    "p(accept)": st.column_config.NumberColumn(
        format="percent", width=78, help="Probability of acceptance at this temperature."
    ),
    "draw": st.column_config.NumberColumn(
        format="%.2f", width=54, help="Accepted if the draw is below the probability."
    ),
    "label mass": st.column_config.NumberColumn(
        format="percent",
        width=84,
        help="Probability on the labels before renormalising; small: the template does not fit.",
    ),
    "seconds": st.column_config.NumberColumn(format="%.1f", width=66),
}


def tiles(found: Iterable[Tile]) -> None:
    """Draw numbers, each with its note and its explanation."""
    for tile in found:
        st.metric(
            tile.name,
            tile.value,
            tile.note,
            delta_color="off",
            delta_arrow="off",
            border=True,
            help=tile.explanation,
        )


def show_tables(run: str) -> None:
    """Draw the current tables."""
    reading, status = session.look(run)
    named = ["Rounds", "Fits"] if reading.by_folds else ["Last steps"]
    steps, *fits, pairs, labels = st.tabs([*named, "Inconsistent now", "Labels"])
    with steps:
        (_rounds if reading.by_folds else _steps)(reading)
    if fits:
        with fits[0]:
            _fits(reading)
    with pairs:
        _pairs(reading)
    with labels:
        _labels(reading, ROWS if status.settled else TICKED)


def _steps(reading: Reading) -> None:
    if not reading.steps:
        st.text("No step has been taken yet.")
        return
    frame = steps_frame(reading, session.dark())
    st.dataframe(
        frame, hide_index=True, column_config=STEP_COLUMNS, placeholder="–", alt="The last steps, newest first"
    )
    st.caption("● accepted · ○ rejected · – unchanged: the model prefers the label it has · ⟲: pairs repaired.")


def _rounds(reading: Reading) -> None:
    if not reading.rounds:
        st.text("No round has ended yet.")
        return
    frame = rounds_frame(reading, session.dark())
    st.dataframe(frame, hide_index=True, column_config=ROUND_COLUMNS, placeholder="–", alt="Rounds, newest first")
    st.caption("● kept: U of models tuned on these labels is higher · ○ not kept: the labels before stayed.")


def _fits(reading: Reading) -> None:
    if not reading.fits:
        st.text("No fold has been fitted yet.")
        return
    show_fits(tuple(reversed(reading.fits)), "Fits, newest first")
    st.caption("One model for each fold and round: tuned on the labels of the other folds, then asked about this one.")


def show_fits(fits: Sequence[FitRow], alt: str) -> None:
    """Draw a table of fits."""
    st.dataframe(fits_frame(fits), hide_index=True, column_config=FIT_COLUMNS, placeholder="–", alt=alt)


def _pairs(reading: Reading) -> None:
    pairs, rule = conflicts_now(reading), rule_name(reading)
    if not pairs:
        nothing = "Nothing is inconsistent now." if rule != "none" else "This run has no consistency rule."
        st.text(nothing)
        return
    st.dataframe(conflicts_frame(pairs[:ROWS]), hide_index=True, alt="The pairs that are inconsistent now")


def _labels(reading: Reading, most: int) -> None:
    rows = labels_table(reading, most)
    frame = labels_frame(rows)
    st.dataframe(frame, hide_index=True, column_config=numbers(reading), placeholder="–", alt="The labels now")
    st.caption(f"Labelled examples first, at most {most} here; the CSV has all of them.")


SHARE = st.column_config.NumberColumn(format="percent")
EXAMPLE_NUMBERS = {
    "agreement": st.column_config.NumberColumn(format="percent", help="Share of pairs of runs with the same label."),
    "kappa": st.column_config.NumberColumn(format="%.2f", help="Cohen's kappa of the two."),
    "give it": st.column_config.NumberColumn(
        format="percent",
        help="Share of the chains that label it, the proposed one among them, with the proposed label.",
    ),
    "mirrors turned": st.column_config.NumberColumn(
        format="percent", help="The same, once the labels of chains that are the proposal's mirror are swapped."
    ),
    "text": st.column_config.TextColumn(width="large"),
}

ORDER = "Examples labelled in all of these runs, least agreement first"


def examples(title: str, frame: Any, rows: int, order: str) -> None:
    """Draw a table of examples."""
    st.markdown(f"**{title}**")
    st.dataframe(frame, hide_index=True, column_config=EXAMPLE_NUMBERS, placeholder="–", alt=title)
    st.caption(f"{order}; at most {rows} here.")
