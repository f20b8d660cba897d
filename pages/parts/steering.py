"""What a person can change while a run is on its way: settings, and where it should pause by itself."""

import streamlit as st

from icm_engine.analysis import steering
from icm_engine.analysis.choices import IcmError, Store
from icm_engine.analysis.reading import Reading
from icm_engine.runs import control
from pages.parts import session

FIELDS = {"alpha": "alpha", "temperature": "Temperature now", "neighbour_weight": "Neighbour weight"}


def show(reading: Reading) -> None:
    """Draw the panel; it is folded until somebody wants it."""
    run = reading.run.name
    with st.expander("Retune and breakpoints", icon=":material/tune:", key=f"steering_{run}"):
        if reading.state is None:
            st.text("Both can be set once there are labels.")
            return
        retuning, stopping = st.columns(2, gap="large")
        with retuning:
            _retune(reading)
        with stopping:
            _breakpoints(reading)
        if error := st.session_state.pop("steering_problem", None):
            session.complain(error)


def _retune(reading: Reading) -> None:
    now = steering.tunable(reading)
    st.markdown("**From the next step on**")
    for name, label in FIELDS.items():
        st.number_input(
            label, 0.0 if name != "neighbour_weight" else 1, value=now[name].value, key=f"tune_{name}",
            help=now[name].explanation,
        )  # fmt: skip
    st.button(
        "Retune", key="do_retune", icon=":material/tune:", on_click=_send_settings, args=(reading.run.name,),
        help="Changes nothing that was decided; the change is an event, and a marker on every curve.",
    )  # fmt: skip


def _send_settings(run: str) -> None:
    reading, _ = session.look(run)
    wanted = {name: st.session_state[f"tune_{name}"] for name in FIELDS}
    try:
        if settings := steering.changed(reading, wanted):
            with Store() as store:
                control.retune(store, run, settings)
    except IcmError as error:
        st.session_state["steering_problem"] = error


def _breakpoints(reading: Reading) -> None:
    now = reading.breakpoints
    st.markdown("**Pause by itself**")
    st.text_input(
        "When one of these examples changes its label", ", ".join(now.flips), key="break_flips",
        placeholder="ids, separated by commas", help="The ids are in the table of labels below.",
    )  # fmt: skip
    st.number_input(
        "When a step lowers U by at least", 0.0, value=now.utility_falls, key="break_falls", placeholder="never",
        help="Accepted steps that lose are what annealing is for; a large loss is worth a look.",
    )  # fmt: skip
    st.number_input(
        "When a pair has been inconsistent for so many steps", 1, value=now.inconsistent_for, key="break_pairs",
        placeholder="never", help="Counted from the step that made the pair inconsistent.",
    )  # fmt: skip
    st.button(
        "Set breakpoints", key="do_breakpoints", icon=":material/pause_circle:", on_click=_send_breakpoints,
        args=(reading.run.name,), help="Resume then runs up to the first of them. Empty fields take them away.",
    )  # fmt: skip
    st.text(steering.breakpoint_words(now))


def _send_breakpoints(run: str) -> None:
    reading, _ = session.look(run)
    state = st.session_state
    try:
        points = steering.breakpoints(reading, state["break_flips"], state["break_falls"], state["break_pairs"])
        with Store() as store:
            control.set_breakpoints(store, run, points)
    except IcmError as error:
        st.session_state["steering_problem"] = error
