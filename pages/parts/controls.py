"""The big buttons: each sends one command and returns at once; the worker answers after the step in progress."""

from collections.abc import Iterable

import streamlit as st

from icm_engine.analysis.choices import IcmError, Store
from icm_engine.data.export import csv_bytes
from icm_engine.runs import control
from pages.parts import session

# verb, label, icon, key on the keyboard (R and C belong to Streamlit), explanation
BUTTONS = (
    ("start", "Start", ":material/play_arrow:", "S", "Start the search."),
    ("step", "Step", ":material/skip_next:", "N", "Take one step, then pause."),
    ("steps", "Step N", ":material/fast_forward:", "M", "Take as many steps as the field says, then pause."),
    ("pause", "Pause", ":material/pause:", "P", "Pause after the step in progress."),
    ("resume", "Resume", ":material/resume:", "U", "Go on where the run stopped."),
    ("stop", "Stop", ":material/stop:", "X", "End the run after the step in progress. The labels stay."),
)


def show(run: str, offered: Iterable[str]) -> None:
    """Draw the buttons of a run; the ones that would do nothing now are there, and greyed."""
    offered = {*offered, *(["steps"] if "step" in offered else [])}
    keys = st.session_state.get("shortcuts", True)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="controls"):
        for verb, label, icon, key, explanation in BUTTONS:
            st.button(
                label, icon=icon, key=f"do_{verb}", help=explanation, shortcut=key if keys else None, width=124,
                type="primary" if verb in ("start", "resume") and verb in offered else "secondary",
                disabled=verb not in offered, on_click=_press, args=(run, verb),
            )  # fmt: skip
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="extras"):
        st.number_input("N steps", 1, value=10, key="step_count", width=124, help="Steps that Step N takes.")
        st.download_button(
            "Download CSV", lambda: _csv(run), f"{run}.csv", "text/csv", key="download", on_click="ignore",
            icon=":material/download:", help="Every input column with label, probability, last change, flips and gold.",
        )  # fmt: skip
        st.toggle("Keyboard shortcuts", True, key="shortcuts", help="Letters on the buttons; never while you type.")
    if error := st.session_state.pop("problem", None):
        session.complain(error)


def _csv(run: str) -> bytes:
    reading, _ = session.look(run)
    with Store() as store:
        return csv_bytes(store, run, gold=not reading.blind)


def _press(run: str, verb: str) -> None:
    try:
        with Store() as store:
            if verb == "steps":
                control.step(store, run, st.session_state["step_count"])
            else:
                getattr(control, verb)(store, run)
    except IcmError as error:
        st.session_state["problem"] = error
