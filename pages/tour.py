"""Tour: a guided look at one run, on its own real steps."""

import streamlit as st

from icm_engine.analysis.run_form import FIRST_RUN, begin
from icm_engine.analysis.tour import stations
from icm_engine.core.errors import IcmError
from icm_engine.store.store import Store
from pages.parts import home, menu, session

EVERY = 4.0  # seconds between two looks at a run that goes on
LINKS = {
    "search": ("Watch it", ":material/show_chart:"),
    "steps": ("Open this decision", ":material/stairs:"),
    "consistency": ("Open this repair", ":material/rule:"),
    "annotate": ("Put in a label", ":material/edit:"),
}


def show(run: str | None) -> None:
    """Draw the tour of a run; without one, offer to start the run that it is meant for."""
    if begun := st.session_state.pop("tour_run", None):
        session.choose(begun)
        st.rerun()
    if run is None:
        st.text("The tour needs a run to look at. This one takes a few minutes; its first steps can be seen at once.")
        st.button(
            "Start a run on sample data",
            type="primary",
            icon=":material/play_arrow:",
            key="tour_start",
            on_click=_begin,
            help="64 sums from the sample data, labelled by the small sample model.",
        )
        if error := st.session_state.pop("tour_problem", None):
            session.complain(error)
        return
    _, status = session.look(run)
    session.fragment(_stations, EVERY if status.moving else None)(run)


def _stations(run: str) -> None:
    reading, status = session.look(run)
    if reading.trajectory.last is None:
        st.text("The first labels are on their way." if status.moving else "This run has no labels yet.")
        return
    with Store() as store:
        found = stations(store, reading)
    for number, station in enumerate(found, 1):
        with st.container(border=True, key=f"station_{number}"):
            st.subheader(f"{number}. {station.title}")
            st.text(station.meaning)
            st.markdown("**In this run**")
            st.text(station.seen)
            if station.page:
                label, icon = LINKS[station.page]
                st.page_link(f"pages/{station.page}.py", label=label, icon=icon, query_params=station.query)


def _begin() -> None:
    try:
        with Store() as store:
            st.session_state["tour_run"] = begin(store, FIRST_RUN)
    except IcmError as error:
        st.session_state["tour_problem"] = error


menu.require(home.show)

try:
    with Store() as store:
        names = session.run_names(store)
        run = session.followed_run(names)
        home.show_heading("Tour", names, run)
        show(run)
except IcmError as error:
    session.complain(error)
