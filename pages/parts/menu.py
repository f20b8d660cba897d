"""The one frame of all pages: title, icon, style, and the menu."""

from typing import Any

import streamlit as st

from icm_engine.core.resources import resource
from pages.parts import doors, session, style

SEARCH = "pages/search.py"
STEPS = "pages/steps.py"
FLIPS = "pages/flips.py"
CONSISTENCY = "pages/consistency.py"
COMPARE = "pages/compare.py"
ANNOTATE = "pages/annotate.py"
FORKS = "pages/forks.py"
TRAINING = "pages/training.py"
EXPERIMENTS = "pages/experiments.py"
DATA = "pages/data.py"
TOUR = "pages/tour.py"
ICON = resource("static", "icon.svg")  # a file of ours: others come over the network


def show(home: Any) -> Any:
    """Draw the frame and return the page chosen in its menu; who is not admitted gets no menu and no page."""
    st.session_state["menu"] = True
    st.set_page_config(page_title="ICM Workbench", page_icon=str(ICON), layout="wide")
    doors.require()
    style.apply(session.dark())
    if not doors.admitted():
        st.navigation(_pages(home), position="hidden")
        doors.show_login()
        st.stop()
    doors.show_logout()
    return st.navigation(_pages(home))


def _pages(home: Any) -> list[Any]:
    return [
        st.Page(home, title="Home", icon=":material/home:", url_path="home", default=True),
        st.Page(SEARCH, title="Search", icon=":material/travel_explore:"),
        st.Page(STEPS, title="Steps", icon=":material/stairs:"),
        st.Page(FLIPS, title="Flips", icon=":material/swap_horiz:"),
        st.Page(CONSISTENCY, title="Consistency", icon=":material/rule:"),
        st.Page(COMPARE, title="Compare", icon=":material/balance:"),
        st.Page(ANNOTATE, title="Annotate", icon=":material/edit_note:"),
        st.Page(FORKS, title="Forks", icon=":material/fork_right:"),
        st.Page(TRAINING, title="Training", icon=":material/model_training:"),
        st.Page(EXPERIMENTS, title="Experiments", icon=":material/science:"),
        st.Page(DATA, title="Data", icon=":material/database:"),
        st.Page(TOUR, title="Tour", icon=":material/explore:"),
    ]


def require(home: Any) -> None:
    """Run again through app.py if a cold server opened this page alone: its first request skips app.py.

    Streamlit takes a folder `pages/` for its older kind of app until `st.navigation` was called once.
    """
    doors.require()
    if "menu" not in st.session_state or not doors.admitted():
        show(home)
        st.rerun()


def link_step(run: str, step: int, event: int) -> None:
    """Link to one step on the page of steps."""
    label = f"Step {step:,}" if step else "Initial labels"
    query = {"run": run, "event": str(event)}
    st.page_link(STEPS, label=label, icon=":material/stairs:", query_params=query)
