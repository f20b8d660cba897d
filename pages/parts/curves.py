"""The live curves of a run, or the same numbers as a table."""

import streamlit as st

from icm_engine.analysis.figures import Chart, all_charts
from icm_engine.analysis.frames import curves_frame
from pages.parts import live_curve, session


def show(run: str) -> None:
    """Draw the curves as they are now: two side by side."""
    reading, _ = session.look(run)
    if reading.trajectory.last is None:
        st.text("The curves begin with the first labels.")
        return
    if st.session_state.get("as_table"):
        st.dataframe(curves_frame(reading.outline), hide_index=True, alt="The curves as a table")
        return
    charts = all_charts(reading.outline, session.dark())
    for pair in (charts[:2], charts[2:]):
        for column, chart in zip(st.columns(2, gap="large"), pair, strict=False):
            with column:
                _chart(chart, run)


def _chart(chart: Chart, run: str) -> None:
    st.markdown(f"**{chart.title}**")
    live_curve.show(chart, key=f"curve_{chart.title}_{run}")
    st.caption(chart.caption)
