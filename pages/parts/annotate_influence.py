"""What one pin changes: two forks that differ in it alone and draw the same, and the labels on which they part."""

import streamlit as st

from icm_engine.analysis import forks
from icm_engine.analysis.choices import IcmError, Store
from icm_engine.analysis.frames import differing_frame
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.strip import look
from icm_engine.analysis.wording import escaped
from pages.parts import annotate_card, menu, session


def show(store: Store, reading: Reading, place: int | None) -> None:
    """Draw the button for a pinned example, and the pair of forks in the address."""
    if place is None or place not in reading.pins:
        st.text("Pin the label of this example first: then two forks, with and without the pin, show what it changes.")
    else:
        _ask(reading, reading.run.codec.ids[place])
    if error := st.session_state.pop("influence_problem", None):
        session.complain(error)
    pair = st.query_params.get("influence", "").split(",")
    if len(pair) == 2 and all(store.has_run(name) for name in pair):
        moving = any(not session.look(name)[1].settled for name in pair)
        session.fragment(_pair, annotate_card.EVERY if moving else None)(pair[0], pair[1], moving)


def _ask(reading: Reading, example: str) -> None:
    st.text("Two new runs begin at the act that set this pin, one of them without it, and draw the same examples.")
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        st.number_input("Steps of each", 1, value=50, key="influence_steps", width=150)
        st.button(
            "Show its influence", key="influence_go", icon=":material/fork_right:", on_click=_begin,
            args=(reading.run.name, example), help="Starts both; each loads the model and takes that many steps.",
        )  # fmt: skip


def _begin(run: str, example: str) -> None:
    try:
        with Store() as store:
            pair = forks.begin_influence(store, run, example, int(st.session_state["influence_steps"]))
        st.query_params["influence"] = ",".join(pair)
    except IcmError as error:
        st.session_state["influence_problem"] = error


def _pair(kept: str, without: str, moving: bool) -> None:
    """Draw both runs, and on which examples they differ now."""
    ours, theirs = session.look(kept), session.look(without)
    if moving and ours[1].settled and theirs[1].settled:
        st.rerun()
    for words, (found, status) in (("with the pin", ours), ("without it", theirs)):
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            name = found.run.name
            st.page_link(menu.SEARCH, label=escaped(name), icon=":material/show_chart:", query_params={"run": name})
            shown = look(status)
            st.text(f"{words}: {shown.icon} {shown.word}, {status.steps:,} steps")
    with Store() as store:
        difference = forks.difference(store, ours[0], theirs[0])
    st.text(difference.words)
    if difference.differing:
        frame = differing_frame(ours[0], difference, without)
        st.dataframe(frame, hide_index=True, placeholder="–", alt="The examples on which the two runs differ")
