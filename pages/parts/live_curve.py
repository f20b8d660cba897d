"""A curve that is updated in place: zoom, pan and hover survive, which st.plotly_chart loses at every tick."""

from collections.abc import Callable

import streamlit as st

from icm_engine.analysis.figures import Chart

# The figure arrives as data and is drawn by Plotly; no HTML is ever built from it. `plotly_script` serves the script.
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
      if (!data.clickable || !node.on) return;
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


def show(chart: Chart, key: str, clicked: Callable[[str], None] | None = None) -> None:
    """Draw a chart, or bring the one already drawn under this key up to date.

    `clicked` is called with the customdata of a point that is clicked; without any, with its x and y, parted by a
    space. It is one way of two: not everybody has a mouse.
    """
    data = {"figure": chart.figure.to_dict(), "alt": chart.alt, "clickable": clicked is not None}
    _curve(key=key, data=data, on_clicked_change=lambda: _tell(key, clicked))


def _tell(key: str, clicked: Callable[[str], None] | None) -> None:
    point = st.session_state[key].clicked
    if clicked is not None and point is not None:
        clicked(str(point))
