"""Chains of a restarts job: a line where one of them is looked at, and how all of them ended with the one proposed."""

import streamlit as st

from icm_engine.analysis.choices import Store
from icm_engine.analysis.restarts import (
    Proposal,
    job_of,
    membership,
    outcomes_frame,
    proposal_of,
    standing,
    standing_frame,
    warnings,
    why,
)
from pages.parts import compare_tables, job_line, menu, session

EVERY = 2.0  # seconds
ORDER = "Examples labelled in the proposal, those with least agreement first"
COLUMNS = {
    "U": st.column_config.NumberColumn(format="%.2f"),
    "U per example": st.column_config.NumberColumn(
        format="%.3f", help="What the chains were compared by: U divided by the number of labelled examples."
    ),
    "same as proposed": compare_tables.SHARE,
}


def line(run: str) -> None:
    """Say of which chains a run is one, with the way to all of them; nothing for any other run."""
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


def show(store: Store, run: str) -> Proposal | None:
    """Draw the newest job that the run is a chain of, and return what it proposes."""
    job = job_of(store, run)
    if job is None:
        return None
    found = proposal_of(store, job)
    if found is None:
        now = job_line.show(store, job)
        session.fragment(_standing, None if now.settled else EVERY)(job)
        return None
    with st.container(border=True, key="verdict"):
        st.text(why(found))
    for told in warnings(found):
        st.text(told)
    frame = outcomes_frame(found)
    st.dataframe(frame, hide_index=True, column_config=COLUMNS, placeholder="–", alt="How the chains ended")
    st.page_link(
        menu.SEARCH, label="Open the proposed run", icon=":material/check_circle:", query_params={"run": found.run}
    )
    return found
