"""The workspace of one run: a header that stays in view, tabs, and one selection that all tabs share."""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.status_tiles import offers
from icm_engine.analysis.views import moves
from icm_engine.core.errors import IcmError
from icm_engine.runs.control import RunStatus
from icm_engine.store.store import Store
from pages.parts import home, menu, run_controls, session

STATUS_EVERY = 1.0  # seconds between refreshes of the header while the run moves
FOLLOW_EVERY = 2.0  # seconds between checks of whether a tab is behind its run


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab: its name, its page, and further pages that show parts of it."""

    name: str
    page: str
    icon: str
    parts: tuple[tuple[str, str], ...] = ()


EXAMPLES = (("Labels", menu.EXAMPLES), ("Label changes", menu.FLIPS), ("Conflicts and repairs", menu.CONSISTENCY))
TABS = (
    Tab("Overview", menu.SEARCH, ":material/monitoring:"),
    Tab("Steps", menu.STEPS, ":material/stairs:"),
    Tab("Examples", menu.EXAMPLES, ":material/table_rows:", EXAMPLES),
    Tab("Evaluate", menu.COMPARE, ":material/balance:"),
    Tab("Annotate", menu.ANNOTATE, ":material/edit_note:"),
)
ACTIONS = (  # next to the tabs: pages that make another run or a model from this one
    Tab("Fork", menu.FORKS, ":material/fork_right:"),
    Tab("Train", menu.TRAINING, ":material/model_training:"),
)
ASK_THEMSELVES = ("Annotate", "Evaluate")  # pages with parts that show no label of a run annotated blind


def show(page: str, draw: Callable[[Store, str], None]) -> None:
    """Draw a page about the run in the URL below the header; without a run, say what to do."""
    menu.require(home.show)
    try:
        with Store() as store:
            names = session.run_names(store)
            run = session.followed_run(names)
            if run is None:
                home.show_heading(page, names, None)
                return
            show_header(page, names, run)
            if page in ASK_THEMSELVES or not asks_first(run):
                draw(store, run)
    except IcmError as error:
        session.complain(error)


def show_header(page: str, names: list[str], run: str, nothing: str = home.CHOOSE) -> None:
    """Draw the header of a run: its name, status and controls, its numbers, the last decision, the tabs.

    `nothing` is the choice of no run.
    """
    session.remember_selection(run)
    reading, status = session.look(run)
    with st.container(key="run_header", gap="small"):
        with st.container(horizontal=True, gap="small", vertical_alignment="center", key="run_line"):
            st.title(_title(page, reading), width="content")
            home.show_box(names, run, nothing, hidden=True)
            if moves(reading):
                run_controls.show_buttons(run, offers(status), keys=page != "Annotate", unit=reading.unit)
        phase, stretch = session.drawn_for(status)
        session.fragment(run_controls.show_status, stretch and STATUS_EVERY * stretch)(
            run, (phase, stretch), page == "Annotate" or not session.labels_shown(run)
        )
        _tabs(page, reading)
    run_controls.show_problem()


def asks_first(run: str) -> bool:
    """Ask before labels of a run that is annotated blind are shown; return whether the question is open."""
    reading, _ = session.look(run)
    if not reading.blind or session.labels_shown(run):
        return False
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="labels_hidden"):
        st.text("This run is annotated blind, and what comes here shows the model's labels.")
        st.button(
            "Show them", key="show_labels", icon=":material/visibility:", on_click=session.show_labels, args=(run,)
        )
    return True


def _title(page: str, reading: Reading) -> str:
    """The name of a page, as the run calls what it takes."""
    return "Rounds" if page == "Steps" and reading.by_folds else page


def _tabs(page: str, reading: Reading) -> None:
    chosen = session.selection(reading.run.name)
    with st.container(horizontal=True, gap="small", key="tabs"):
        for tab in (*TABS, *ACTIONS):
            current = page == tab.name or page in (name for name, _ in tab.parts)
            with st.container(key=f"tab_{tab.name.lower()}_{'on' if current else 'off'}", width="content"):
                st.page_link(tab.page, label=_title(tab.name, reading), icon=tab.icon, query_params=chosen)
    parts = next((tab.parts for tab in TABS if page == tab.name or page in dict(tab.parts)), ())
    if parts:
        with st.container(horizontal=True, gap="small", key="parts"):
            for name, target in parts:
                with st.container(key=f"part_{target[6:-3]}_{'on' if name == page else 'off'}", width="content"):
                    st.page_link(target, label=name, query_params=chosen)


def about(reading: Reading, status: RunStatus, *further: str) -> None:
    """Draw what a run is, on a page that does not follow it, with a button that draws the page again."""
    spec, done = reading.run.spec, f"{status.steps:,} of {status.max_steps:,} {reading.unit}s"
    facts = (spec.dataset, spec.model, *further, f"seed {spec.search.seed}", done, status.phase)
    with st.container(key="about", horizontal=True, vertical_alignment="center", gap="small"):
        st.text(" · ".join(facts), width="content")
        if not status.settled:
            st.button(
                "Refresh",
                key="read_on",
                icon=":material/refresh:",
                type="tertiary",
                help="The run continues; this page is updated when you press Refresh.",
            )


def follow(run: str, drawn: int, *selecting: str) -> None:
    """Keep a tab at the newest event of its run; if a selection froze it, say how far behind it is.

    `drawn` is the last event of the reading that the tab was drawn from; any of the URL parameters `selecting`
    freezes it.
    """
    _, status = session.look(run)
    frozen = tuple(name for name in selecting if name in st.query_params)
    session.fragment(_follow, None if status.settled else FOLLOW_EVERY)(run, drawn, frozen)


def _follow(run: str, drawn: int, frozen: tuple[str, ...]) -> None:
    if st.session_state.pop("unfrozen", False):
        st.rerun()  # the button redraws this fragment alone
    reading, status = session.look(run)
    if reading.cursor == drawn and not frozen:
        return
    if not frozen:
        st.rerun()
    if status.settled:
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="behind"):
        st.text(f"The run continues: it is at {reading.unit} {status.steps:,}.")
        st.button(
            "Follow the run", key="follow", icon=":material/sync:", type="tertiary", on_click=_unfreeze, args=(frozen,)
        )


def _unfreeze(frozen: tuple[str, ...]) -> None:
    for name in frozen:
        st.query_params.pop(name, None)
    session.forget_selection(*frozen)
    st.session_state["unfrozen"] = True
