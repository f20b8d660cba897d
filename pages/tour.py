"""Help: the way to the labels in doubt, the usual exercise, a tour of one run, the terms, the keyboard shortcuts."""

import streamlit as st

from icm_engine.analysis.run_form import FIRST_RUN, begin
from icm_engine.analysis.tour import EXERCISE, EXERCISE_BUDGET, PATH_TO_DOUBTS, stations
from icm_engine.core.errors import IcmError
from icm_engine.store.store import Store
from pages.parts import home, menu, session, workspace

EVERY = 4.0  # seconds between two checks of a moving run
LINKS = {
    "search": ("Watch it", ":material/show_chart:"),
    "steps": ("Open this decision", ":material/stairs:"),
    "consistency": ("Open this repair", ":material/rule:"),
    "annotate": ("Put in a label", ":material/edit:"),
}


def show(run: str | None) -> None:
    """Draw the tour of a run; without a run, offer to start the one that the tour is written for."""
    if begun := st.session_state.pop("tour_run", None):
        session.choose(begun)
        st.rerun()
    if run is None:
        st.text("The tour needs a run to look at. This one takes about a minute; its first steps can be seen at once.")
        st.button(
            "Start a run on sample data",
            type="primary",
            icon=":material/play_arrow:",
            key="tour_start",
            on_click=_begin,
            help="64 sums from the sample data, labelled by the small sample model.",
        )
        if error := st.session_state.pop("tour_problem", None):
            session.complain(error)
        return
    if workspace.asks_first(run):
        return
    _, status = session.look(run)
    session.fragment(_stations, EVERY if status.moving else None)(run)


def _stations(run: str) -> None:
    reading, status = session.look(run)
    if reading.trajectory.last is None:
        st.text("The first labels are on their way." if status.moving else "This run has no labels yet.")
        return
    with Store() as store:
        found = stations(store, reading)
    for number, station in enumerate(found, 1):
        with st.container(border=True, key=f"station_{number}"):
            st.subheader(f"{number}. {station.title}")
            st.text(station.meaning)
            st.markdown("**In this run**")
            st.text(station.seen)
            if station.page:
                label, icon = LINKS[station.page]
                st.page_link(f"pages/{station.page}.py", label=label, icon=icon, query_params=station.query)


def _begin() -> None:
    try:
        with Store() as store:
            st.session_state["tour_run"] = begin(store, FIRST_RUN)
    except IcmError as error:
        st.session_state["tour_problem"] = error


WORDS = (
    ("U(D)", "Utility of a labeling: alpha · P(D) − I(D). The search looks for the labels with the highest U."),
    ("P(D)", "Mutual predictability: how well the model predicts each label from all the others."),
    ("I(D)", "Inconsistency: the number of pairs of labels that contradict each other under the rule."),
    ("Temperature", "How much loss of U the search still accepts. It cools with every step."),
    ("Round", "Of fine-tuned folds: many labels are tried at once, and kept if U by the tuned models is higher."),
    ("Fit", "Of fine-tuned folds: one model tuned on the labels of all folds but one, which it then predicts."),
    ("Repair", "A proposal that leaves a conflict gets the consistent labels that raise U most."),
    ("Conflict", "A pair of labels that contradict each other under the rule."),
    ("Flip", "A change of an example's label after its first one."),
    ("Margin", "Log-probability of the label minus that of the best other label, given all other labels."),
    ("Label collapse", "Nearly all labels are the same. A model may find constant labels very predictable."),
    ("Mirrored labeling", "Coherent labels that all say the opposite of the truth. U cannot tell it from the truth."),
    ("Pin", "A label that a person fixed; the search keeps it."),
)
KEYS = (
    ("S", "Start a run"), ("N", "Take one step or round"), ("M", "Take N of them"), ("P", "Pause"), ("U", "Resume"),
    ("X", "Stop"), ("← →", "On Steps and Annotate: back or on"), ("F", "On Steps: next label change"),
    ("A", "On Steps: next accepted proposal"), ("E", "On Steps: next repair"),
    ("?", "On Annotate: all its keys"),
)  # fmt: skip


def _show_path() -> None:
    st.header("Which labels should I doubt, and why?")
    st.markdown(f"From an empty database to three labels in doubt, in {len(PATH_TO_DOUBTS)} clicks:")
    with st.container(key="path"):
        st.markdown("\n".join(f"{number}. {click.words}" for number, click in enumerate(PATH_TO_DOUBTS, 1)))
    st.markdown(
        "Each example shows its margin, its flips and its conflicts: a label is in doubt if the margin is small or "
        "negative, if it flipped often, or if it is in conflict. The decision shows why the search took the label. "
        "On Steps, **What if** scores another label; on Annotate you give one of your own."
    )


def _show_exercise() -> None:
    st.header("The usual exercise")
    st.markdown("What newcomers to this method do most: TruthfulQA, with the paper's baselines beside it.")
    with st.container(key="exercise"):
        st.markdown("\n".join(f"{number}. {step}" for number, step in enumerate(EXERCISE, 1)))
        st.markdown(EXERCISE_BUDGET)
        with st.container(horizontal=True, gap="small"):
            st.page_link(menu.DATA, label="Import a file", icon=":material/upload_file:")
            st.page_link(menu.EXPERIMENTS, label="Choose a suite", icon=":material/science:")


def _show_words() -> None:
    st.header("Words")
    st.dataframe([{"word": word, "meaning": meaning} for word, meaning in WORDS], hide_index=True, alt="Words")
    st.header("Keys")
    st.dataframe([{"key": key, "what it does": what} for key, what in KEYS], hide_index=True, alt="Keys")


menu.require(home.show)

try:
    with Store() as store:
        names = session.run_names(store)
        run = session.followed_run(names)
        home.show_heading("Help", names, run)
        _show_path()
        _show_exercise()
        st.header("A tour of one run")
        show(run)
    _show_words()
except IcmError as error:
    session.complain(error)
