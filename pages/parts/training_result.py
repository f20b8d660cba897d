"""One training: its loss while it learns and after, what it made, and what that says on a test part."""

import streamlit as st

from icm_engine.analysis import tuned_models
from icm_engine.analysis.gold_agreement import gold_shown
from icm_engine.analysis.run_history import Reading
from icm_engine.core.errors import IcmError
from icm_engine.store.events import Json
from icm_engine.store.store import Store
from pages.parts import charts, job_line, session

EVERY = 2.0  # seconds
COLUMNS = {name: charts.SHARE for name in ("right", "from", "to", "said True")}


def show(store: Store, reading: Reading, job: str) -> None:
    """Draw a training as it is now."""
    now = job_line.show(store, job)
    session.fragment(_curve, None if now.settled else EVERY)(job)
    if now.complete and (facts := tuned_models.facts_of(store, job)):
        _result(facts)
        _test(store, reading, job)


def _curve(job: str) -> None:
    with Store() as store:
        points = tuned_models.points(store, job)
    if not points:
        st.text("The curve begins with the first step.")
        return
    last = points[-1]
    st.text(f"Step {last.step:,} of {last.steps:,} · epoch {last.epoch:.1f} · {last.seconds:.0f} s")
    charts.show(tuned_models.loss_chart(points, session.dark()), tuned_models.points_frame(points), f"loss_{job}")


def _result(facts: Json) -> None:
    st.header("The tuned model")
    st.text("Give this name wherever a model is asked for: a new run, a context check, a suite.")
    session.plain(tuned_models.how_to_use(facts))
    with st.expander("What it is", icon=":material/receipt_long:"):
        st.dataframe(tuned_models.card_frame(facts), hide_index=True, height="content", alt="What the tuned model is")


def _test(store: Store, reading: Reading, job: str) -> None:
    """The base model and the tuned one on examples that the run did not label, once somebody has asked for it."""
    st.button(
        "Try it on the test part",
        key="try_out",
        icon=":material/quiz:",
        on_click=_try,
        args=(job,),
        help="Asks the base model, without and with the labels shown, and the tuned one.",
    )
    if error := st.session_state.pop("try_problem", None):
        session.complain(error)
    tried = tuned_models.tried(store, job)
    for one in tried:
        job_line.show(store, one)
    if lines := tuned_models.lines(store, tried, gold_shown(reading)):
        st.dataframe(
            tuned_models.lines_frame(lines),
            hide_index=True,
            column_config=COLUMNS,
            placeholder="–",
            alt="The base model and the tuned one on the test part",
        )
        st.caption(tuned_models.TESTED_WORDS)


def _try(job: str) -> None:
    try:
        with Store() as store:
            tuned_models.try_out(store, job)
    except IcmError as error:
        st.session_state["try_problem"] = error
