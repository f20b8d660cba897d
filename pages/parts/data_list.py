"""The data sets there are, the imports on their way, and the choice of one."""

from collections.abc import Sequence

import streamlit as st

from icm_engine.analysis.choices import Store, load_sample
from icm_engine.analysis.datasets import Line, lines, samples
from icm_engine.analysis.wording import count
from icm_engine.runs import jobs
from pages.parts import job_line, menu, session

ALL = "All data sets"
SHOWN = 12  # data sets drawn before a person asks for the rest


def heading(names: Sequence[str], dataset: str | None) -> None:
    """Draw the title and the choice of data sets, which writes the data set into the address."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute", key="heading"):
        st.title("Data", width="content")
        options = [ALL, *names]
        st.selectbox(
            "Data set", options, options.index(dataset or ALL), key=f"open_{dataset}", width=300, on_change=_picked,
            args=(dataset,), help="Data sets there are, in the order of their import.",
        )  # fmt: skip
    if dataset is None:
        session.missed("dataset")


def _picked(dataset: str | None) -> None:
    """Go to the data set that was picked; a box that says what it was drawn with picks nothing (see run_heading)."""
    chosen = st.session_state[f"open_{dataset}"]
    if chosen != (dataset or ALL):
        session.choose_dataset(None if chosen == ALL else chosen)


def show(store: Store) -> None:
    """Draw the imports on their way, then the list of data sets."""
    for job in jobs.names(store, "import")[:SHOWN]:
        _import(store, job)
    st.header("Data sets")
    found = lines(store)
    with st.container(key="datasets"):
        for line in found if st.session_state.get("all_datasets") else found[:SHOWN]:
            _card(line)
    if len(found) > SHOWN:
        st.toggle(f"Show all {len(found):,}", key="all_datasets")
    _samples(store)


def _samples(store: Store) -> None:
    """Draw a button for each sample data set that is not in the database yet."""
    waiting = samples(store)
    if not waiting:
        return
    st.text("Sample data that comes with the app:")
    with st.container(horizontal=True, gap="small", key="samples"):
        for name, about in waiting.items():
            st.button(name, icon=":material/add:", key=f"load_{name}", help=about, on_click=_load, args=(name,))


def _import(store: Store, job: str) -> None:
    """Draw an import on its way or cut short, and the one in the address however it ended; the others are no news."""
    now = jobs.status(store, job)
    asked_for = st.query_params.get("job") == job
    if now.settled and now.phase != "interrupted" and not asked_for:
        return
    name = jobs.spec(store, job).body["dataset"]
    if now.phase == "done":
        if store.has_dataset(name):
            session.choose_dataset(name, arrived=True)
            st.rerun()
        return
    with st.container(border=True):
        st.text(f"Import of {name}")
        job_line.show(store, job)


def _card(line: Line) -> None:
    with st.container(border=True, key=f"dataset_{line.name}"):
        name, numbers = st.columns([2.6, 3], vertical_alignment="center", gap="medium")
        with name:
            st.page_link(menu.DATA, label=line.label, icon=":material/dataset:", query_params={"dataset": line.name})
            st.text(line.about)
        with numbers, st.container(key=f"counts_{line.name}"):
            for label, value in (("Examples", line.examples), ("Groups", line.groups), ("Gold", line.gold),
                                 ("Human", line.human), ("Runs", line.runs)):  # fmt: skip
                st.metric(label, count(value))


def _load(name: str) -> None:
    with Store() as store:
        load_sample(store, name)
    session.choose_dataset(name)
