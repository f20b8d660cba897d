"""Several runs shown as one: a batched run with its batches, and the chains of a restarts job."""

import streamlit as st

from icm_engine import jobs
from icm_engine.analysis.batches import (
    AT_ONCE,
    PAGE,
    BatchedRunStatus,
    about,
    batched_status,
    lines,
    lines_frame,
    tiles,
)
from icm_engine.analysis.formatting import PHASE_STYLES
from icm_engine.analysis.restarts import (
    Proposal,
    membership,
    outcomes_frame,
    proposal_of,
    standing,
    standing_frame,
    warnings,
    why,
)
from icm_engine.core.errors import IcmError
from icm_engine.data.export import csv_bytes
from icm_engine.jobs.batches import at_work, batched_of
from icm_engine.jobs.restarts import job_of
from icm_engine.store.store import Store
from pages.parts import charts, job_line, menu, session

CHAIN_EVERY = 2.0  # seconds
ORDER = "Examples labelled in the proposal, least agreement first"
CHAIN_COLUMNS = {
    "U": st.column_config.NumberColumn(format="%.2f"),
    "U per example": st.column_config.NumberColumn(
        format="%.3f", help="The number compared: U divided by the number of labelled examples."
    ),
    "same as proposed": charts.SHARE,
}


def chain_line(run: str) -> None:
    """Name the restarts job of a run, with links to all its chains; draw nothing for other runs."""
    with Store() as store:
        told = membership(store, run)
    if told is not None:
        with st.container(key="chain", horizontal=True, vertical_alignment="center", gap="small"):
            st.text(told, width="content")
            st.page_link(
                menu.COMPARE, label="All chains", icon=":material/balance:", query_params={"run": run, "view": "Seeds"}
            )


def _standing(job: str) -> None:
    with Store() as store:
        frame = standing_frame(standing(store, job))
    st.dataframe(frame, hide_index=True, alt="The chains so far")


def show_chains(store: Store, run: str) -> Proposal | None:
    """Draw the newest job that the run is a chain of, and return its proposal."""
    job = job_of(store, run)
    if job is None:
        return None
    found = proposal_of(store, job)
    if found is None:
        now = job_line.show(store, job)
        session.fragment(_standing, None if now.settled else CHAIN_EVERY)(job)
        return None
    with st.container(border=True, key="verdict"):
        st.text(why(found))
    for told in warnings(found):
        st.text(told)
    frame = outcomes_frame(found)
    st.dataframe(frame, hide_index=True, column_config=CHAIN_COLUMNS, placeholder="–", alt="How the chains ended")
    st.page_link(
        menu.SEARCH, label="Open the proposed run", icon=":material/check_circle:", query_params={"run": found.run}
    )
    return found


EVERY = 3.0  # seconds
DOWNLOADED = 50_000  # maximum examples in a file that a page builds; the command line writes any number
COLUMNS = {
    "run": st.column_config.LinkColumn(display_text=r"run=(.+)$", help="The run of this batch."),
    "U": st.column_config.NumberColumn(format="%.2f"),
    "accuracy": st.column_config.NumberColumn(
        format="percent",
        help="Share of the batch's examples whose label equals gold; unlabelled examples count as wrong.",
    ),
    "seconds": st.column_config.NumberColumn(format="%.1f"),
}


def show(store: Store, name: str) -> None:
    """Draw a batched run."""
    now = _look(name)
    with st.container(key="about"):
        st.text(about(now))
    job = job_line.show(store, name)
    if job.phase == "cancelled":
        st.button(
            "Resume",
            key="go_on",
            icon=":material/resume:",
            type="primary",
            on_click=_go_on,
            args=(name,),
            help="Continues with what is left, each batch from where it stopped.",
        )
    every = EVERY if job.moving else None
    session.fragment(_numbers, every)(name)
    _first(now)
    session.fragment(_table, every)(name)
    _download(now)


def line(run: str) -> None:
    """Name the batched run of a batch, with links to it and to neighbouring batches; draw nothing for other runs."""
    with Store() as store:
        told = batched_of(store, run)
    if told is None:
        return
    whole, number = told
    with st.container(key="batch", horizontal=True, vertical_alignment="center", gap="small"):
        st.text(f"Batch {number:,} of {whole.of:,}, at most {whole.size:,} examples each.", width="content")
        ways = (
            ("All batches", whole.name, ":material/view_module:"),
            ("Batch before", whole.run(number - 1), None),
            ("Next batch", whole.run(number + 1), None),
        )
        for label, name, icon in ways:
            with Store() as store:
                there = name == whole.name or store.has_run(name)
            if there:
                st.page_link(menu.SEARCH, label=label, icon=icon, query_params={"run": name})


def _look(name: str, count: int = 0) -> BatchedRunStatus:
    """The status of the batched run, after counting some more batches against gold."""
    with Store() as store:
        return batched_status(store, name, session.gold_counts(), count, session.shelf())


def _numbers(name: str) -> None:
    now = _look(name, AT_ONCE)
    with Store() as store:
        told = at_work(store, now.whole)
    look = PHASE_STYLES[now.phase]
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="phase"):
        st.badge(f"{look.icon} {look.word}", color=look.colour)  # type: ignore[arg-type]
        st.text(f"At work: {told}." if told else now.progress.words)
    with st.container(key="tiles"):
        charts.tiles(tiles(now))


def _first(now: BatchedRunStatus) -> None:
    """The first batch of the table, chosen by its number, because there may be thousands."""
    if now.whole.of > PAGE:
        st.number_input(
            "From batch",
            1,
            now.whole.of,
            step=PAGE,
            key="first_batch",
            width=200,
            help=f"The table has {PAGE} batches, from this one on.",
        )


def _table(name: str) -> None:
    now, first = _look(name), st.session_state.get("first_batch", 1)
    with Store() as store:
        found = lines(store, now, first, session.gold_counts())
    st.dataframe(
        lines_frame(found, now.counted is not None),
        hide_index=True,
        column_config=COLUMNS,
        placeholder="–",
        alt="Batches with their status, U and labels",
        key=f"batches_{name}",
    )


def _download(now: BatchedRunStatus) -> None:
    name = now.whole.name
    if now.examples > DOWNLOADED:
        st.caption("There are too many labels for a download here: the command `export` writes them to one file.")
        return
    st.download_button(
        "Download CSV",
        lambda: _csv(name),
        f"{name}.csv",
        "text/csv",
        key="download",
        on_click="ignore",
        icon=":material/download:",
        help="The labels of all batches in the order of the data set, without gold.",
    )


def _csv(name: str) -> bytes:
    with Store() as store:
        return csv_bytes(store, name, gold=False)


def _go_on(name: str) -> None:
    try:
        with Store() as store:
            jobs.start(store, name)
    except IcmError as error:
        st.session_state["problem"] = error
