"""Annotate: label examples by hand, one at a time, by mouse or keyboard."""

import streamlit as st

from icm_engine.analysis.annotation import card
from icm_engine.runs import control
from icm_engine.runs.control import RunStatus
from icm_engine.store.store import Store
from pages.parts import annotate_card, annotate_extras, annotate_queue, session, workspace


def show(store: Store, run: str) -> None:
    """Draw the page of one run."""
    reading, status = session.look(run)
    every = None if status.settled else annotate_card.EVERY
    annotate_card.show_blinding(reading)
    if reading.state is None:
        _without_labels(run, status)
    place = annotate_queue.show(store, reading)
    if place is not None:
        found = card(store, reading, place)
        left, right = st.columns(2, gap="medium")
        with left:
            annotate_card.text(reading, found)
            annotate_card.note(run, found)
        with right:
            session.fragment(annotate_card.label, every)(run, place)
            annotate_card.show_buttons(store, reading, found)
            session.fragment(annotate_card.news, every)(run, place, annotate_card.seen(reading, status, place))
        session.fragment(annotate_card.about, every)(run, place)
    annotate_extras.show(store, reading, place)


def _without_labels(run: str, status: RunStatus) -> None:
    st.info(
        "This run has no labels yet. Labels can be set once the search has drawn its first ones.",
        icon=":material/info:",
    )
    if status.moving or status.pending:
        st.text("They will appear shortly.")
        session.fragment(_until_labels, annotate_card.EVERY)(run)
    else:
        st.button(
            "Take one step",
            key="first_step",
            type="primary",
            icon=":material/skip_next:",
            on_click=_step,
            args=(run,),
            help="Draws the first labels, takes one step, then pauses.",
        )


def _until_labels(run: str) -> None:
    reading, status = session.look(run)
    if reading.state is not None or status.settled:
        st.rerun()


def _step(run: str) -> None:
    with Store() as store:
        control.step(store, run)


workspace.show("Annotate", show)
