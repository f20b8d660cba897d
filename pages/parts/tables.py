"""The tables of a run: the last steps, the pairs inconsistent now, the labels."""

import streamlit as st

from icm_engine.analysis.frames import conflicts_frame, labels_frame, steps_frame
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.views import conflicts_now, labels_table, rule_name
from pages.parts import session

ROWS = 500  # rows of the labels table
TICKED = 100  # rows of it while the run goes on: they are sent at every tick

NUMBERS = {
    "delta U": st.column_config.NumberColumn(format="%+.2f"),
    "T": st.column_config.NumberColumn(format="%.2f"),
    "p(accept)": st.column_config.NumberColumn(format="percent", help="Chance of being accepted at this temperature."),
    "draw": st.column_config.NumberColumn(format="%.2f", help="Accepted if the draw is below the chance."),
    "label mass": st.column_config.NumberColumn(
        format="percent", help="Probability on the labels before renormalising; small: the template does not fit."
    ),
    "seconds": st.column_config.NumberColumn(format="%.1f"),
    "probability": st.column_config.ProgressColumn(format="percent", min_value=0.0, max_value=1.0),
    "example": st.column_config.TextColumn(width="medium"),
    "text": st.column_config.TextColumn(width="large"),
}


def show(run: str) -> None:
    """Draw the tables as they are now."""
    reading, status = session.look(run)
    steps, pairs, labels = st.tabs(["Last steps", "Inconsistent now", "Labels"])
    with steps:
        _steps(reading)
    with pairs:
        _pairs(reading)
    with labels:
        _labels(reading, ROWS if status.settled else TICKED)


def _steps(reading: Reading) -> None:
    if not reading.steps:
        st.text("No step has been taken yet.")
        return
    frame = steps_frame(reading, session.dark())
    st.dataframe(frame, hide_index=True, column_config=NUMBERS, placeholder="–", alt="The last steps, the newest first")
    st.caption("● accepted · ○ rejected · – unchanged: the model prefers the label it has · ⟲: pairs repaired.")


def _pairs(reading: Reading) -> None:
    pairs, rule = conflicts_now(reading), rule_name(reading)
    if not pairs:
        nothing = "Nothing is inconsistent now." if rule != "none" else "This run has no consistency rule."
        st.text(nothing)
        return
    st.dataframe(conflicts_frame(pairs[:ROWS]), hide_index=True, alt="The pairs that are inconsistent now")


def _labels(reading: Reading, most: int) -> None:
    rows = labels_table(reading, most)
    st.dataframe(labels_frame(rows), hide_index=True, column_config=NUMBERS, placeholder="–", alt="The labels now")
    st.caption(f"Labelled examples first, at most {most} here; the CSV has all of them.")
