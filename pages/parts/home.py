"""Home, the heading with the choice of a run, and the frame of pages about one run."""

import json
from collections.abc import Sequence
from math import ceil
from zlib import crc32

import streamlit as st

import icm_engine
from icm_engine.analysis.batches import any_moves, run_lines, run_list
from icm_engine.analysis.figures import runs_frame
from icm_engine.analysis.formatting import counted, escaped
from icm_engine.analysis.restarts import begin_chains
from icm_engine.analysis.run_form import FIRST_RUN
from icm_engine.analysis.views import STATUSES
from icm_engine.core.errors import IcmError
from icm_engine.jobs import deletion
from icm_engine.store.store import Store
from pages.parts import comparison, menu, session

CHAINS = 3  # of the second button
SHOWN = 50  # runs in a page of the table
MOST = comparison.MOST + 1  # runs compared at once

WHAT = """
A pretrained language model is asked to label a data set **without any human label**: it searches for the labels that
predict each other best and do not contradict each other. This is Internal Coherence Maximization
([Wen et al. 2025](https://arxiv.org/abs/2506.10139)), run on your own machine, one visible step at a time.
Gold labels, if there are any, are only compared with the result.
"""


def show() -> None:
    """Draw the page of runs."""
    st.title("ICM Workbench")
    st.markdown(WHAT)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
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
        st.page_link(
            menu.SEARCH, label="New run", icon=":material/add:", help="Choose your own data, model and settings."
        )
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
        listed, moving = run_list(store), any_moves(store)
    st.header("Runs")
    if chosen := st.session_state.pop("to_delete", None):
        _ask_to_delete(chosen)
    if error := st.session_state.pop("delete_problem", None):
        session.complain(error)
    if not listed:
        st.info("No runs yet. The button above starts one; it takes about a minute.", icon=":material/info:")
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="run_filters"):
        st.text_input("Find", key="find_runs", placeholder="name, data set or model", width=260, on_change=_first_page)
        st.selectbox("Status", STATUSES, key="run_status", width=160, on_change=_first_page)
    session.fragment(_table, 2 if moving else None)(moving)


def _table(moving: bool) -> None:
    if run := st.session_state.pop("opened_run", None):
        st.switch_page(menu.SEARCH, query_params={"run": run})
    if "to_delete" in st.session_state:
        st.rerun()  # the question is asked by the whole page: a refresh of the table would close it
    with Store() as store:
        state = st.session_state
        listed = run_list(store, state.get("find_runs", ""), state.get("run_status", STATUSES[0]))
        pages = max(1, ceil(len(listed) / SHOWN))
        first = SHOWN * (min(state.get("runs_page", 1), pages) - 1)
        shown = run_lines(store, session.shelf(), session.gold_counts(), listed[first : first + SHOWN])
        moves = any_moves(store)
    names, frame = [row.run for row in shown], runs_frame(shown)
    with st.container(key="runs"):
        st.dataframe(
            frame,
            hide_index=True,
            key=_table_key(names),
            on_select=lambda: _selected(names),
            selection_mode=["multi-row", "single-cell"],
            column_config=COLUMNS,
            placeholder="–",
            alt="Runs, newest first",
        )
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        part = f"{first + 1:,} to {first + len(shown):,} of " if pages > 1 else ""
        st.caption(
            f"{part}{counted(len(listed), 'run')}. Click a name to open a run; select rows to compare or delete. "
            f"{_further([str(name) for name in frame.columns])}",
            width="content",
        )
        if pages > 1:
            st.pagination(pages, key="runs_page", width=260)
    _actions([name for name in st.session_state.get("selected_runs", []) if name in names])
    if moving and not moves:
        st.rerun()  # nothing is moving: stop refreshing


def _further(columns: Sequence[str]) -> str:
    """Name the columns that a screen of 1280 pixels has no room for."""
    return f"Further to the right: {', '.join(columns[columns.index('created') :])}." if columns else ""


def _first_page() -> None:
    st.session_state["runs_page"] = 1


COLUMNS = {  # widths in pixels: up to the seed, they fit beside the menu at 1280
    "run": st.column_config.TextColumn(width=124),
    "status": st.column_config.TextColumn(width=92),
    "progress": st.column_config.ProgressColumn(format="percent", min_value=0.0, max_value=1.0, width=76),
    "U": st.column_config.NumberColumn(format="%.2f", width=62),
    "best U": st.column_config.NumberColumn(
        format="%.2f", width=62, help="Highest U of a state with at least as many labels."
    ),
    "accuracy": st.column_config.NumberColumn(format="percent", width=70, help="Share of labels that equal gold."),
    "labelled": st.column_config.TextColumn(width=88),
    "conflicts": st.column_config.NumberColumn(width=70),
    "data set": st.column_config.TextColumn(width=94),
    "model": st.column_config.TextColumn(width=94),
    "seed": st.column_config.NumberColumn(width=52),
}


def _table_key(names: Sequence[str]) -> str:
    """Name the table after its rows: a browser keeps selected rows by position, so other rows need a new table."""
    key = f"runs_table_{crc32(json.dumps(names).encode())}"
    if st.session_state.get("runs_table") != key:
        st.session_state["runs_table"] = key
        st.session_state["selected_runs"] = []
    return key


def _selected(names: list[str]) -> None:
    """Open the run whose name was clicked; remember selected rows by name, because rows may move."""
    chosen = st.session_state[_table_key(names)]["selection"]
    st.session_state["selected_runs"] = [names[row] for row in chosen["rows"]]
    for row, column in chosen.get("cells", []):
        if column == "run":
            st.session_state["opened_run"] = names[row]


def _actions(chosen: list[str]) -> None:
    """Draw the actions on the selected runs."""
    if not chosen:
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="run_actions"):
        for name in chosen[:MOST]:
            st.page_link(menu.SEARCH, label=escaped(name), icon=":material/show_chart:", query_params={"run": name})
        st.button("Delete …", key="delete_runs", icon=":material/delete:", on_click=_delete_later, args=(chosen,))
        if len(chosen) > 1:
            first, *others = chosen[:MOST]
            st.page_link(
                menu.COMPARE,
                label="Overlay curves and compare labels",
                icon=":material/stacked_line_chart:",
                query_params={"run": first, "view": "Runs", "with": others},
            )


def _delete_later(chosen: Sequence[str]) -> None:
    st.session_state["to_delete"] = list(chosen)


@st.dialog("Delete for good?", icon=":material/delete:")
def _ask_to_delete(chosen: Sequence[str]) -> None:
    st.text(", ".join(chosen))
    st.text(
        "This deletes all steps and labels of these runs, and what was computed about them. Data sets, gold and human "
        "labels are kept. A run is kept if something else is built on it: a fork, a trained model, a suite."
    )
    with st.container(horizontal=True):
        if st.button("Keep", key="keep_runs"):
            st.rerun()
        st.button(
            "Delete for good",
            key="delete_runs_really",
            type="primary",
            icon=":material/delete:",
            on_click=_delete,
            args=(chosen,),
        )
    if st.session_state.pop("delete_done", False):
        st.rerun()  # close, and draw the table again


def _delete(chosen: Sequence[str]) -> None:
    st.session_state["delete_done"] = True
    try:
        with Store() as store:
            deletion.delete(store, chosen)
    except IcmError as error:
        st.session_state["delete_problem"] = error


CHOOSE = "Choose a run"


def show_heading(title: str, names: list[str], run: str | None, nothing: str = CHOOSE) -> None:
    """Draw the title and the choice of a run (`nothing`: no run); if there are no runs, say what to do."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute", key="heading"):
        st.title(title, width="content")
        show_box(names, run, nothing)
    if run is None:
        session.missed("run")
    if run is None and nothing == CHOOSE:
        text = "Choose a run above." if names else "No runs yet. The page Runs starts one with one click."
        st.info(text, icon=":material/info:")


def show_box(names: list[str], run: str | None, nothing: str, hidden: bool = False) -> None:
    """Draw the choice of a run; `nothing` is the choice of no run, `hidden` leaves out the label above the box."""
    options = [nothing, *names]
    st.selectbox(
        "Run",
        options,
        options.index(run or nothing),
        key=f"pick_{run}",
        width=200 if hidden else 300,
        label_visibility="collapsed" if hidden else "visible",
        on_change=_picked,
        args=(run, nothing),
        help=None if hidden else "All runs, newest first.",
    )


def _picked(run: str | None, nothing: str) -> None:
    """Open the picked run; ignore a box that still has the value it was drawn with.

    A refresh from a slow browser may send the previous page's box, which would otherwise count as changed.
    """
    chosen = st.session_state[f"pick_{run}"]
    if chosen != (run or nothing):
        session.choose(None if chosen == nothing else chosen)
