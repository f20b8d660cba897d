"""The frame of all pages: title, icon, CSS and the menu. No text from outside gets into the CSS."""

from typing import Any

import streamlit as st

from icm_engine.core.resources import resource
from pages.parts import access, session

CSS = """
<style>
.st-key-tiles { display: grid !important; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 0.75rem; }
.st-key-tiles > * { width: 100% !important; }
.st-key-runs [data-testid="stPageLink"] a { padding-left: 0; font-weight: 600; }
.st-key-runs [data-testid="stText"] { opacity: 0.75; }
.st-key-phase [data-testid="stText"] { opacity: 0.85; }
.st-key-about [data-testid="stText"] { opacity: 0.7; font-size: 0.93rem; }
.st-key-counts, .st-key-checks, .st-key-decisive, [class*="st-key-counts_"] {
  display: grid !important; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 0.75rem;
}
[class*="st-key-counts_"] { grid-template-columns: repeat(5, minmax(0, 1fr)); gap: 0.5rem; }
.st-key-counts > *, .st-key-checks > *, .st-key-decisive > *, [class*="st-key-counts_"] > * { width: 100% !important; }
[class*="st-key-counts_"] [data-testid="stMetricValue"] { font-size: 1.15rem; }
.st-key-decisive { grid-template-columns: repeat(auto-fit, minmax(118px, 1fr)) !important; gap: 0.5rem; }
.st-key-decisive [data-testid="stMetricValue"] { font-size: 1.15rem; }
.st-key-datasets [data-testid="stPageLink"] a { padding-left: 0; font-weight: 600; }
.st-key-datasets [data-testid="stPageLink"] a:not(:hover) { background: transparent; }
.st-key-datasets [data-testid="stText"] { opacity: 0.75; }
.st-key-example [data-testid="stText"] {
  font-size: 1.2rem; line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere;
}
.st-key-example_facts [data-testid="stText"] { font-size: 0.9rem; opacity: 0.7; }
[data-testid="stMain"] button:not(:disabled) kbd { color: inherit; opacity: 0.9; }
.st-key-label_word [data-testid="stText"] { font-size: 1.5rem; font-weight: 600; }
.st-key-news [data-testid="stText"], .st-key-blind [data-testid="stText"] { font-size: 0.93rem; opacity: 0.85; }
/* Contrast of 4.5 and more, which the theme's faded text has not. */
[data-testid="stCaptionContainer"] { color: inherit !important; opacity: 0.78 !important; }
@media (max-width: 900px) { .st-key-tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
@media (max-width: 640px) {
  .st-key-controls { display: grid !important; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0.5rem; }
  .st-key-controls > * { width: 100% !important; }
  .st-key-controls button { width: 100%; }
}
</style>
"""

# In the dark theme one primary colour cannot be both: white is read on it, and it is read on black. So not as text.
DARK = """
<style>
[data-testid="stButtonGroup"] button[data-selected="true"] p, [data-testid="stTab"][aria-selected="true"] p,
[data-testid="stSlider"] [role="slider"] p, [data-testid="stSliderThumbValue"] p {
  color: #7CC0EC !important;
}
</style>
"""


def apply(dark: bool) -> None:
    """Add the style to the page."""
    st.html(CSS + DARK if dark else CSS)


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
    access.require()
    apply(session.dark())
    if not access.admitted():
        st.navigation(_pages(home), position="hidden")
        access.show_login()
        st.stop()
    access.show_logout()
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
    access.require()
    if "menu" not in st.session_state or not access.admitted():
        show(home)
        st.rerun()


def link_step(run: str, step: int, event: int) -> None:
    """Link to one step on the page of steps."""
    label = f"Step {step:,}" if step else "Initial labels"
    query = {"run": run, "event": str(event)}
    st.page_link(STEPS, label=label, icon=":material/stairs:", query_params=query)
