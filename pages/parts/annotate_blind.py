"""Blind annotation: gold, and all that is computed from it, goes out of sight until somebody unblinds the run."""

import streamlit as st

from icm_engine.analysis.reading import Reading
from pages.parts import annotate_buttons


def show(reading: Reading) -> None:
    """Draw the badge of a blind run and the way back; for another one, the way into it."""
    run = reading.run.name
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="blind"):
        if reading.blind:
            st.badge("blind", icon=":material/visibility_off:", color="gray")
            st.text("Gold of this run and its forks is hidden. Other runs and the Data page still show it.")
            st.button(
                "Unblind (logged)", key="unblind", icon=":material/visibility:", on_click=annotate_buttons.send,
                args=(run, "unblind"), help="Shows gold and accuracy again; the act stays in the run's log for good.",
            )  # fmt: skip
        elif reading.gold:
            st.button(
                "Go blind", key="go_blind", icon=":material/visibility_off:", on_click=annotate_buttons.send,
                args=(run, "blind"), disabled=reading.state is None,
                help="Hides gold and accuracy of this run everywhere in the app, so that they cannot sway you.",
            )  # fmt: skip
