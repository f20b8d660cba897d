"""Beside the example: acts on the whole queue, the acts so far, labels to keep, the influence of a pin."""

import streamlit as st

from icm_engine.analysis.annotating import act_rows
from icm_engine.analysis.choices import IcmError, Store
from icm_engine.analysis.frames import acts_frame
from icm_engine.analysis.keeping import keep, own_labels
from icm_engine.analysis.reading import Reading
from pages.parts import annotate_bulk, annotate_influence, menu, session, what_if


def show(store: Store, reading: Reading, place: int | None) -> None:
    """Draw them, folded."""
    with st.expander("The whole queue at once", icon=":material/select_all:"):
        annotate_bulk.show(store, reading)
    if place in reading.labeling:
        with st.expander("What if it had another label?", icon=":material/help:"):
            what_if.show(reading, reading.cursor, reading.run.codec.ids[place])
    with st.expander("Influence of a pin", icon=":material/fork_right:", expanded="influence" in st.query_params):
        annotate_influence.show(store, reading, place)
    with st.expander("Keep my labels", icon=":material/save:"):
        _keep(reading)
    with st.expander(f"Acts so far: {len(reading.acts):,}", icon=":material/history:"):
        _acts(reading)


def _acts(reading: Reading) -> None:
    rows = act_rows(reading)
    if not rows:
        st.text("Nobody has put anything into this run yet.")
        return
    st.dataframe(acts_frame(rows), hide_index=True, placeholder="–", alt="What people put in, the newest first")


def _keep(reading: Reading) -> None:
    """Draw the way from a person's labels to a set of human labels of the data set."""
    count, dataset = len(own_labels(reading)), reading.run.dataset.name
    st.text(
        f"{count:,} labels of this run are a person's: pinned, or put in and not changed since. Kept, they are a set "
        "of human labels of the data set: a baseline beside the others, never seen by the search."
    )
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="keep"):
        st.text_input("Name of the source", "annotator", key="keep_source", width=240, help="Whose labels these are.")
        st.toggle("Replace", key="keep_replace", help="Take the place of what this source has said before.")
        st.button(
            f"Keep {count:,} labels", key="keep_labels", icon=":material/save:", disabled=not count,
            on_click=_save, args=(reading.run.name,),
        )  # fmt: skip
    if error := st.session_state.pop("keep_problem", None):
        session.complain(error)
    if kept := st.session_state.pop("kept", None):
        st.success(f"{kept:,} labels kept.", icon=":material/check:")
        st.page_link(menu.DATA, label="See them on the Data page", query_params={"dataset": dataset})


def _save(run: str) -> None:
    reading, _ = session.look(run)
    try:
        with Store() as store:
            source, replace = st.session_state["keep_source"], st.session_state["keep_replace"]
            st.session_state["kept"] = keep(store, reading, source, replace)
    except IcmError as error:
        st.session_state["keep_problem"] = error
