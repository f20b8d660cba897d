"""What if an example had another label: asked on request, answered exactly; nothing changes until somebody says so."""

import streamlit as st

from icm_engine.analysis import forks, supposing
from icm_engine.analysis.choices import IcmError, Store
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.wording import escaped
from icm_engine.runs import control, jobs
from pages.parts import job_line, menu, session


def show(reading: Reading, event: int, example: str) -> None:
    """Draw the question about one labelled example as of an event, and the answers there are."""
    labels = supposing.other_labels(reading, example)
    if not labels:
        st.text("What if? can be asked about examples that have a label.")
        return
    st.caption(supposing.price(reading).words)
    with st.container(horizontal=True, gap="small"):
        for label in labels:
            st.button(
                f"What if {escaped(label)}?", key=f"what_if_{example}_{label}", icon=":material/help:", on_click=_ask,
                args=(reading.run.name, event, example, label), help="Scores the other label. Nothing changes.",
            )  # fmt: skip
    if error := st.session_state.pop("what_if_problem", None):
        session.complain(error)
    if child := st.session_state.pop("what_if_fork", None):
        st.switch_page(menu.SEARCH, query_params={"run": child})
    with Store() as store:
        for job in supposing.asked(store, reading.run.name, example)[:3]:
            if job_line.show(store, job).phase == "done":
                _answer(store, job)


def _ask(run: str, event: int, example: str, label: str) -> None:
    reading, _ = session.look(run)
    with Store() as store:
        supposing.ask(store, reading, event, example, label)


def _answer(store: Store, job: str) -> None:
    found = jobs.result(store, job)
    if found is None:
        return
    with st.container(border=True):
        for line in supposing.answer_words(found):
            st.text(line)
        with st.container(horizontal=True, gap="small"):
            st.button(
                f"Pin {escaped(found['label'])}", key=f"pin_{job}", icon=":material/push_pin:", on_click=_pin,
                args=(found["run"], found["example"], found["label"]), help="Puts the label into this run, for good.",
            )  # fmt: skip
            st.button(
                "Open as fork", key=f"fork_{job}", icon=":material/fork_right:", on_click=_fork,
                args=(found["run"], found["event"], found["example"], found["label"]),
                help="A new run from here with this label pinned; this one stays as it is.",
            )  # fmt: skip


def _pin(run: str, example: str, label: str) -> None:
    try:
        with Store() as store:
            control.put_in(store, run, "pin", [example], [label])
    except IcmError as error:
        st.session_state["what_if_problem"] = error


def _fork(run: str, event: int, example: str, label: str) -> None:
    try:
        with Store() as store:
            st.session_state["what_if_fork"] = forks.begin_with_label(store, run, event, example, label)
    except IcmError as error:
        st.session_state["what_if_problem"] = error
