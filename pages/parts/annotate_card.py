"""One example to annotate: its text, large; its label now; what was sent; its group and its last changes."""

import streamlit as st

from icm_engine.analysis.annotating import Card, card, change_words, margin_words, sent, sent_words
from icm_engine.analysis.choices import IcmError, Store
from icm_engine.analysis.frames import members_frame
from icm_engine.analysis.queues import FROM_GOLD
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.wording import escaped
from icm_engine.runs import control
from icm_engine.runs.control import RunStatus
from pages.parts import session

EVERY = 1.0  # seconds, only while something moves
Seen = tuple[str, bool, int, int, str | None, bool]


def text(reading: Reading, found: Card) -> None:
    """Draw the texts of an example as they are."""
    with st.container(border=True, key="example"):
        for name, value in found.fields.items():
            st.caption(escaped(name.replace("_", " ")))
            st.text(value)
        facts = [f"id {found.example}", *([f"answer {found.answer}"] if found.answer else [])]
        if st.query_params.get("queue") == FROM_GOLD and found.example in reading.gold:
            facts.append(f"gold {reading.gold[found.example]}")
        with st.container(key="example_facts"):
            st.text(" · ".join(facts))


def label(run: str, place: int) -> None:
    """Draw the label that the example has now."""
    reading, _ = session.look(run)
    with Store() as store:
        found = card(store, reading, place)
    with st.container(border=True, key="label_now"):
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            with st.container(key="label_word", width="content"):
                st.text(found.label or "unlabelled")
            if found.pinned:
                st.badge("pinned", icon=":material/push_pin:", color="violet")
        st.text(" · ".join(filter(None, (found.words, margin_words(found)))))


def about(run: str, place: int) -> None:
    """Draw the other examples of the group with their labels, and the last changes of this one's."""
    reading, _ = session.look(run)
    with Store() as store:
        found = card(store, reading, place)
    group, changes = st.columns(2, gap="medium")
    with group:
        _group(found)
    with changes:
        st.markdown("**Its last changes**")
        st.text("\n".join(map(change_words, found.changes)) or "Its label has never changed.")


def _group(found: Card) -> None:
    st.markdown("**The rest of its group**")
    if not found.members:
        st.text("It is alone in its group.")
        return
    st.dataframe(members_frame(found.members), hide_index=True, placeholder="–", alt="Other examples of the group")
    if found.rest:
        st.caption(f"{found.rest:,} more are not shown.")


def seen(reading: Reading, status: RunStatus, place: int) -> Seen:
    """Return what the buttons hang on: when it is no longer so, the page is drawn anew."""
    mine = (reading.labeling.get(place), place in reading.pins)
    return status.phase, status.settled, len(status.pending), len(reading.acts), *mine


def news(run: str, place: int, then: Seen) -> None:
    """Draw what was sent and is not applied, and what was refused."""
    reading, status = session.look(run)
    if seen(reading, status, place) != then:
        # a tick that was under way when somebody went on brings the address of the example before
        st.query_params["example"] = reading.run.codec.ids[place]
        st.rerun()
    with Store() as store:
        waiting = sent(store, reading)
    with st.container(key="news"):
        for line in sent_words(reading, waiting, place):
            st.text(f"◔ {line}")
    if status.pending and status.pid is None and status.phase != "starting":
        _no_worker(run)
    _refused(reading)
    if error := st.session_state.pop("annotate_problem", None):
        session.complain(error)


def _no_worker(run: str) -> None:
    st.warning("No worker has taken this yet. It is kept, and applied as soon as one starts.", icon=":material/info:")
    st.button("Start a worker", key="launch", icon=":material/refresh:", on_click=_launch, args=(run,))
    with Store() as store:
        tail = control.log_tail(store, run)
    if tail:
        with st.expander("The worker's last lines"):
            session.plain(tail)


def _launch(run: str) -> None:
    try:
        with Store() as store:
            control.launch(store, run)
    except IcmError as error:
        st.session_state["annotate_problem"] = error


def _refused(reading: Reading) -> None:
    """The last refusal, until an act after it was taken in or somebody has read it."""
    found = reading.refused
    acted = reading.moments[-1].event if reading.moments else 0
    if found is None or found.event < acted or st.session_state.get("refused_read") == (reading.run.name, found.event):
        return
    st.error(f"**{escaped(found.verb)}** was refused:", icon=":material/block:")
    session.plain(found.message)
    st.button("I have read it", key="refused_ok", type="tertiary", on_click=_read, args=(reading.run.name, found.event))


def _read(run: str, event: int) -> None:
    st.session_state["refused_read"] = (run, event)
