"""Fork: the tree of forks of a run, a new fork from any step, and where two runs diverge."""

import streamlit as st

from icm_engine.analysis import forks
from icm_engine.analysis.figures import branches_frame, differing_frame
from icm_engine.analysis.run_form import rules
from icm_engine.analysis.run_history import Reading
from icm_engine.core.errors import IcmError
from icm_engine.store.store import Store
from pages.parts import menu, session, workspace

SAME = "as it is"


def show(store: Store, run: str) -> None:
    """Draw the forks of one run."""
    if child := st.session_state.pop("forked", None):
        st.switch_page(menu.SEARCH, query_params={"run": child})
    reading, _ = session.look(run)
    _tree(store, run)
    _form(reading)
    _difference(store, reading, [name for name in store.run_names() if name != run])


def _tree(store: Store, run: str) -> None:
    st.subheader("Tree")
    branches = forks.tree(store, run)
    if len(branches) == 1:
        st.text("This run has no forks and is not itself a fork.")
        return
    frame = branches_frame(branches, run)
    st.dataframe(
        frame,
        hide_index=True,
        placeholder="–",
        alt="The tree of forks, each parent before its forks",
    )


def _form(reading: Reading) -> None:
    st.subheader("Fork this run")
    last = reading.trajectory.last
    if last is None:
        st.text("A run can be forked once it has labels.")
        return
    search = reading.config
    first = reading.trajectory.points[0].step
    begin = session.number("step", last.step, first, last.step)
    columns = st.columns(3, gap="medium")
    unit, folds = reading.unit, reading.by_folds
    columns[0].number_input(f"After {unit}", first, last.step, begin, key="fork_step", help="Where the runs diverge.")
    usual = forks.usual_steps(reading)
    columns[1].number_input(f"{unit.capitalize()}s to take", 1, value=usual, key="fork_more", help="From there on.")
    drawn = "folds" if folds else "examples"
    columns[2].number_input("Seed", value=search.seed, key="fork_seed", help=f"The same seed draws the same {drawn}.")
    columns[0].number_input("alpha", 0.0, value=float(search.alpha), key="fork_alpha", help="Weight of P(D) in U(D).")
    if not folds:
        columns[1].number_input(
            "Initial temperature",
            0.0,
            value=float(search.initial_temperature),
            key="fork_heat",
            help="T0 of the schedule, which keeps counting steps where the fork begins.",
        )
    columns[2].selectbox("Rule", [SAME, *rules()], key="fork_rule", help="Which pairs constrain each other.")
    st.button(
        "Fork and start",
        type="primary",
        icon=":material/fork_right:",
        key="do_fork",
        on_click=_fork,
        args=(reading.run.name,),
        help=f"A new run with the labels of that {unit}. This one stays as it is.",
    )
    if error := st.session_state.pop("fork_problem", None):
        session.complain(error)


def _fork(run: str) -> None:
    reading, _ = session.look(run)
    state = st.session_state
    settings = {"seed": state["fork_seed"], "alpha": state["fork_alpha"]}
    if not reading.by_folds:
        settings["initial_temperature"] = state["fork_heat"]
    rule = None if state["fork_rule"] == SAME else state["fork_rule"]
    try:
        with Store() as store:
            state["forked"] = forks.begin_fork(store, reading, state["fork_step"], state["fork_more"], settings, rule)
    except IcmError as error:
        state["fork_problem"] = error


def _difference(store: Store, reading: Reading, others: list[str]) -> None:
    st.subheader("Difference")
    same = forks.comparable(store, reading, others)
    if not same:
        st.text("There is no other run on the same examples yet.")
        return
    asked = st.query_params.get("with")
    other = st.selectbox(
        "Other run",
        same,
        same.index(asked) if asked in same else 0,
        key="with",
        width=300,
        on_change=session.address,
        args=("with", "with"),
        help="Runs on the same examples; forks of this one first.",
    )
    theirs, _ = session.look(other)
    found = forks.difference(store, reading, theirs)
    st.text(found.words)
    if found.differing:
        frame = differing_frame(reading, found, other)
        st.dataframe(frame, hide_index=True, placeholder="–", alt="The examples on which the two runs differ")


workspace.show("Fork", show)
