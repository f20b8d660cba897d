"""The heading of the pages that look at one run: a title, and the choice of runs, which goes into the address."""

import streamlit as st

from pages.parts import session

CHOOSE = "Choose a run"


def show(title: str, names: list[str], run: str | None, nothing: str = CHOOSE) -> None:
    """Draw the title and the choice; `nothing` stands for no run. Say what to do where there is nothing to look at."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute", key="heading"):
        st.title(title, width="content")
        options = [nothing, *names]
        st.selectbox(
            "Run", options, options.index(run or nothing), key=f"pick_{run}", width=300, on_change=_picked,
            args=(run, nothing), help="Runs there are, the newest first.",
        )  # fmt: skip
    if run is None:
        session.missed("run")
    if run is None and nothing == CHOOSE:
        text = "Choose a run above." if names else "No runs yet. The home page starts one with one click."
        st.info(text, icon=":material/info:")


def _picked(run: str | None, nothing: str) -> None:
    """Go to the run that was picked; a box that says what it was drawn with picks nothing.

    A tick of a slow browser brings the box of the page before, which then counts as changed.
    """
    chosen = st.session_state[f"pick_{run}"]
    if chosen != (run or nothing):
        session.choose(None if chosen == nothing else chosen)
