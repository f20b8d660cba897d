"""One act on all examples of the queue: counted and said before it is sent, and taken back by one undo."""

import streamlit as st

from icm_engine.analysis.annotating import Bulk, bulk, bulk_body
from icm_engine.analysis.choices import Store
from icm_engine.analysis.queues import FROM_GOLD, SUPERVISION
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.wording import escaped
from pages.parts import annotate_buttons, annotate_queue, session


def show(store: Store, reading: Reading) -> None:
    """Draw the acts there are for the queue as it was made, with its filter."""
    name = annotate_queue.chosen(reading)
    if name == FROM_GOLD:
        st.text(SUPERVISION)
        return
    if reading.state is None:
        st.text("This can be done once the run has labels.")
        return
    places, _ = annotate_queue.frozen(store, reading, name, st.query_params.get("filter", ""))
    st.text("Each of these is one act: one undo takes it back. The examples are those of the queue above.")
    label = st.selectbox("Label", reading.tally.labels, key="bulk_label", width=240)
    with st.container(horizontal=True, gap="small", key="bulk"):
        for k, act in enumerate((bulk(reading, places, "pin"), bulk(reading, places, "pin", label),
                                 bulk(reading, places, "unpin"))):  # fmt: skip
            st.button(
                f"{escaped(act.words)} …", key=f"bulk_{k}", disabled=not act.possible, on_click=_ask, args=(act,),
                help=escaped(act.left_out) or None,
            )  # fmt: skip
    if asked := st.session_state.pop("bulk_asked", None):
        _confirm(reading.run.name, asked)


def _ask(act: Bulk) -> None:
    st.session_state["bulk_asked"] = act


@st.dialog("Do this to all of them?", icon=":material/select_all:")
def _confirm(run: str, act: Bulk) -> None:
    st.text(f"{act.words}.")
    if act.left_out:
        st.text(act.left_out)
    st.text("The search respects it from its next step on. One undo takes all of it back.")
    with st.container(horizontal=True):
        if st.button("Leave them", key="bulk_no"):
            st.rerun()
        if st.button(escaped(act.words), key="bulk_yes", type="primary", on_click=_send, args=(run, act)):
            st.rerun()


def _send(run: str, act: Bulk) -> None:
    reading, _ = session.look(run)
    annotate_buttons.send(run, act.verb, *bulk_body(reading, act))
