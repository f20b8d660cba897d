"""Home, the heading with the choice of a run, and the frame of a page about one run."""

from collections.abc import Callable

import streamlit as st

import icm_engine
from icm_engine.analysis.batches import listed
from icm_engine.analysis.formatting import PHASE_STYLES, PhaseStyle, decimal, percent
from icm_engine.analysis.restarts import begin_chains
from icm_engine.analysis.run_form import FIRST_RUN
from icm_engine.analysis.views import Overview
from icm_engine.core.errors import IcmError
from icm_engine.store.store import Store
from pages.parts import menu, session

CHAINS = 3  # of the second button
SHOWN = 12  # runs in the list; the search page can open all

WHAT = """
A pretrained language model is asked to label a data set **without any human label**: it searches for the labels that
predict each other best and do not contradict each other. This is Internal Coherence Maximization
([Wen et al. 2025](https://arxiv.org/abs/2506.10139)), run on your own machine, one visible step at a time.
Where there are gold labels, they only ever stand beside the result.
"""


def show() -> None:
    """Draw the home page."""
    st.title("ICM Workbench")
    st.markdown(WHAT)
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Start a run on sample data",
            type="primary",
            icon=":material/play_arrow:",
            key="first_run",
            on_click=_begin_first,
            args=(1,),
            help="64 sums from the sample data, labelled by the small sample model.",
        )
        st.button(
            f"Start {CHAINS} chains",
            icon=":material/account_tree:",
            key="first_chains",
            on_click=_begin_first,
            args=(CHAINS,),
            help=f"The same from {CHAINS} seeds: the best by U is proposed, with how far they agree.",
        )
        st.page_link(menu.SEARCH, label="Choose your own settings", icon=":material/tune:")
        st.page_link(menu.TOUR, label="Take the tour", icon=":material/explore:")
    if error := st.session_state.pop("problem", None):
        session.complain(error)
    if run := st.session_state.pop("begun", None):
        st.switch_page(menu.SEARCH, query_params={"run": run})
    try:
        _list()
    except IcmError as error:
        session.complain(error)
    st.caption(f"Version {icm_engine.__version__}")


def _begin_first(chains: int) -> None:
    try:
        with Store() as store:
            st.session_state["begun"] = begin_chains(store, FIRST_RUN, chains)
    except IcmError as error:
        st.session_state["problem"] = error


def _list() -> None:
    with Store() as store:
        rows = listed(store, session.shelf(), session.gold_counts(), SHOWN)
    st.header("Runs")
    if not rows:
        st.info("No runs yet. The button above starts one; it takes a few minutes.", icon=":material/info:")
        return
    moving = any(row.moving for row in rows)
    session.fragment(_cards, 2 if moving else None)(moving)


def _cards(moving: bool) -> None:
    with Store() as store:
        rows = listed(store, session.shelf(), session.gold_counts(), SHOWN)
    with st.container(key="runs"):
        for row in rows:
            _card(row, PHASE_STYLES[row.phase])
    if moving and not any(row.moving for row in rows):
        st.rerun()  # nothing moves any more: stop ticking


def _card(row: Overview, look: PhaseStyle) -> None:
    with st.container(border=True, key=f"card_{row.run}"):
        name, state, numbers = st.columns([2.2, 2.6, 2.2], vertical_alignment="center", gap="medium")
        with name:
            st.page_link(menu.SEARCH, label=row.label, icon=":material/show_chart:", query_params={"run": row.run})
            st.text(f"{row.dataset} · {row.model}")
        with state:
            st.badge(f"{look.icon} {look.word}", color=look.colour)  # type: ignore[arg-type]
            st.progress(row.progress.share, text=row.progress.words)
        with numbers, st.container(horizontal=True, gap="medium"):
            st.metric("U(D)", decimal(row.utility))
            st.metric("Accuracy", percent(row.accuracy.raw if row.accuracy else None))


CHOOSE = "Choose a run"


def show_heading(title: str, names: list[str], run: str | None, nothing: str = CHOOSE) -> None:
    """Draw the title and the choice; `nothing` stands for no run. Say what to do where there is nothing to look at."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute", key="heading"):
        st.title(title, width="content")
        options = [nothing, *names]
        st.selectbox(
            "Run",
            options,
            options.index(run or nothing),
            key=f"pick_{run}",
            width=300,
            on_change=_picked,
            args=(run, nothing),
            help="Runs there are, the newest first.",
        )
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


def show_run_page(title: str, draw: Callable[[Store, str], None]) -> None:
    """Draw the page of the run in the address; without one, say what to do."""
    menu.require(show)
    try:
        with Store() as store:
            names = session.run_names(store)
            run = session.followed_run(names)
            show_heading(title, names, run)
            if run is not None:
                draw(store, run)
    except IcmError as error:
        session.complain(error)
