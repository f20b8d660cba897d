"""The way through time: a slider, steps back and forth by button and key, and jumps to what is of interest."""

import streamlit as st

from icm_engine.analysis.reading import Reading
from icm_engine.analysis.travel import Moment, ways
from icm_engine.analysis.travel_words import followed, where
from pages.parts import session

# name in Ways, label, icon, key on the keyboard, explanation
JUMPS = (
    ("first", "First", ":material/first_page:", None, "The initial labels."),
    ("previous", "Previous", ":material/chevron_left:", "ArrowLeft", "One event back."),
    ("next", "Next", ":material/chevron_right:", "ArrowRight", "One event on."),
    ("last", "Last", ":material/last_page:", None, "Where the run stands now."),
    ("flip", "Next flip", ":material/swap_horiz:", "F", "The next time the label of this example changes."),
    ("accepted", "Next accepted", ":material/check:", "A", "The next accepted proposal."),
    ("repair", "Next repair", ":material/build:", "E", "The next step with a repair in it."),
)


def show(reading: Reading, moment: Moment) -> None:
    """Draw the ways from this moment; each puts another event into the address."""
    run, points = reading.run.name, reading.trajectory.points
    example = followed(reading, moment, st.query_params.get("example"))
    found = ways(reading, moment.place, None if example is None else example.place)
    slider = f"travel_{run}"
    st.session_state[slider] = moment.place  # the address has been moved by other ways too
    if len(points) > 1:
        st.slider(
            "Time", 0, len(points) - 1, key=slider, on_change=lambda: _go(points[st.session_state[slider]].event),
            help="One place for the initial labels, then one for each step and each act between steps.",
        )  # fmt: skip
    keys = st.session_state.get("shortcuts", True)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="travel"):
        for name, label, icon, key, explanation in JUMPS:
            target = getattr(found, name)
            st.button(
                label, icon=icon, key=f"go_{name}", help=explanation, shortcut=key if keys else None,
                disabled=target in (None, moment.event.number), on_click=_go,
                args=(target, example.id if example and name == "flip" else None),
            )  # fmt: skip
    _jump(run, moment)
    st.text(where(reading, moment))
    if example is not None and "example" in st.query_params:
        with st.container(horizontal=True, gap="small", vertical_alignment="center", key="followed"):
            st.text(
                f"Following example {example.id}: its label then was {moment.then.labeling.get(example.place, '–')}."
            )
            st.button("Follow the drawn one", key="unfollow", type="tertiary", on_click=_unfollow)


def _jump(run: str, moment: Moment) -> None:
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom", key="jump"):
        key = f"jump_{run}"
        st.session_state[key] = moment.state.step
        st.number_input("Step", 0, key=key, width=140, on_change=_to_step, args=(key,), help="Go to this step.")
        st.toggle("Keyboard shortcuts", True, key="shortcuts", help="Keys on the buttons; never while you type.")


def _go(event: int, example: str | None = None) -> None:
    st.query_params.pop("step", None)
    st.query_params["event"] = str(event)
    if example is not None:
        st.query_params["example"] = example


def _to_step(key: str) -> None:
    st.query_params.pop("event", None)
    session.address("step", key)


def _unfollow() -> None:
    st.query_params.pop("example", None)
