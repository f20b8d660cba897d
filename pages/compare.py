"""Evaluate: a run compared with gold, seeds, other label sources, reference labelings, a person's answers."""

import streamlit as st

from icm_engine.analysis.audit import (
    VERDICTS,
    Audit,
    answers_words,
    audit_of,
    caution_words,
    changed_since,
    record,
    verdict_words,
)
from icm_engine.analysis.compare_figures import audit_answers_frame, audit_chart, audit_frame
from icm_engine.analysis.formatting import escaped, middle_cut
from icm_engine.analysis.gold_agreement import gold_shown
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import notices
from icm_engine.core.errors import IcmError
from icm_engine.runs.control import RunStatus
from icm_engine.store.store import Store
from pages.parts import annotate_card, annotate_queue, charts, comparison, session, workspace

VIEWS = ("Gold", "Seeds", "Runs", "Pair", "Concepts", "Landscape", "Audit")
MEANT = {  # the view that URL parameters imply if none is named
    "cell": "Gold",
    "with": "Runs",
    "by": "Runs",
    "one": "Pair",
    "other": "Pair",
    "against": "Pair",
    "job": "Landscape",
}


def show(store: Store, run: str) -> None:
    """Draw the view that the URL names."""
    reading, status = session.look(run)
    _about(reading, status)
    for notice in notices(reading):
        st.warning(notice.text, icon=":material/info:")
    view = _view(reading)
    if view != "Audit" and workspace.asks_first(run):
        return
    if view == "Seeds":
        comparison.show_seeds(store, reading)
    elif not reading.labeling:
        st.text("This run has no labels yet.")
    elif view == "Audit":
        _audit(store, reading)
    elif view == "Gold":
        comparison.show_gold(store, reading)
    elif view == "Runs":
        comparison.show_runs(store, reading, store.run_names())
    elif view == "Pair":
        comparison.show_pair(store, reading, store.run_names())
    elif view == "Concepts":
        comparison.show_concepts(store, reading)
    else:
        comparison.show_landscape(store, reading)


def _view(reading: Reading) -> str:
    asked, key = st.query_params.get("view"), f"view_{reading.run.name}"
    meant = next(
        (MEANT[name] for name in MEANT if name in st.query_params), VIEWS[0] if gold_shown(reading) else VIEWS[1]
    )
    return st.segmented_control(
        "View",
        VIEWS,
        default=asked if asked in VIEWS else meant,
        required=True,
        key=key,
        label_visibility="collapsed",
        on_change=session.address,
        args=("view", key),
    )


def _about(reading: Reading, status: RunStatus) -> None:
    spec, done = reading.run.spec, f"{status.steps:,} of {status.max_steps:,} steps"
    facts = (spec.dataset, spec.model, f"seed {spec.search.seed}", done, status.phase)
    with st.container(key="about", horizontal=True, vertical_alignment="center", gap="small"):
        st.text(" · ".join(facts), width="content")
        if not status.settled:
            st.button(
                "Refresh",
                key="read_on",
                icon=":material/refresh:",
                type="tertiary",
                help="The run continues; this view is updated when you press Refresh.",
            )


# -- the audit: one example at a time without its label, the accuracy so far, the verdict

WHAT = (
    "How far can these labels be trusted? Label examples drawn at random, without seeing their labels. You can "
    "stop after any answer: the interval holds whenever you look. The search never reads your answers."
)
CHOSEN = "audit_question"  # session key of an earlier question that is answered again
PROBLEM = "audit_problem"


def _audit(store: Store, reading: Reading) -> None:
    """Draw the last audit of a run, or the first question of a new one."""
    run = reading.run.name
    audit = audit_of(store, reading, fresh=st.session_state.get("audit_fresh") == (run, len(reading.audited)))
    st.caption(WHAT)
    if error := st.session_state.pop(PROBLEM, None):
        session.complain(error)
    left, right = st.columns(2, gap="medium")
    with left:
        _show_question(reading, audit)
    with right:
        _show_finding(reading, audit)


def _question_number(reading: Reading, audit: Audit) -> int:
    """The question shown: the next one, or an earlier one that is answered again."""
    key, number = st.session_state.get(CHOSEN, (None, 0))
    return number if key == (reading.run.name, audit.number, len(reading.audited)) else audit.next


def _show_question(reading: Reading, audit: Audit) -> None:
    number = _question_number(reading, audit)
    place = audit.place(number)
    st.markdown(f"**Question {number:,}**" if place is not None else "**Every label was asked about.**")
    if place is not None:
        example = reading.run.dataset.examples[place]
        with st.container(border=True, key="example"):
            for name, value in example.fields.items():
                st.caption(escaped(name.replace("_", " ")))
                st.text(value)
        _label_buttons(reading, audit, number)
    with st.container(horizontal=True, gap="small", key="audit_turns"):
        if place is not None:
            _answer_button(reading, audit, number, None, "Cannot tell", "0", "help")
        st.button(
            "Correct the last answer",
            key=f"audit_back_{audit.number}_{number}",
            icon=":material/undo:",
            shortcut=annotate_queue.shortcut("Z"),
            disabled=number == 1,
            on_click=_go_back,
            args=(reading, audit, number - 1),
            help="Shows the question before this one; your new answer replaces the old one.",
        )
    st.toggle("Keyboard shortcuts", True, key="shortcuts", help="Keys on the buttons; never while you type.")


def _label_buttons(reading: Reading, audit: Audit, number: int) -> None:
    """Draw a button for each label; with many labels, also a choice of all of them."""
    many = len(audit.labels) > annotate_queue.MOST
    with st.container(horizontal=True, gap="small", key="audit_labels"):
        for k, label in enumerate(audit.labels[: annotate_queue.MOST], start=1):
            name = middle_cut(label, annotate_card.SHORT) if many else label
            _answer_button(reading, audit, number, label, escaped(name), str(k), None)
    if many:
        key = f"audit_pick_{audit.number}_{number}"
        st.selectbox(
            f"One of all {len(audit.labels)} labels",
            audit.labels,
            None,
            key=key,
            placeholder="type to find a label",
            on_change=_answer_picked,
            args=(reading.run.name, audit, number, key),
        )


def _answer_button(
    reading: Reading, audit: Audit, number: int, label: str | None, text: str, key: str, icon: str | None
) -> None:
    """Draw the button of one answer; its key has the question, so a late press cannot answer another one."""
    st.button(
        text,
        key=f"audit_{key}_{audit.number}_{number}",
        icon=f":material/{icon}:" if icon else None,
        type="secondary" if label is None else "primary",
        shortcut=annotate_queue.shortcut(key),
        on_click=_answer,
        args=(reading.run.name, audit, number, label),
        help="Leave this example out, and show the next one." if label is None else None,
    )


def _answer(run: str, audit: Audit, number: int, label: str | None) -> None:
    """Record an answer; the same answer again, as by a key held down, changes nothing."""
    st.session_state.pop(CHOSEN, None)
    reading, _ = session.look(run)
    try:
        with Store() as store:
            said = [body for body in reading.audited if (body["audit"], body["number"]) == (audit.number, number)]
            if not said or said[-1]["answer"] != label:
                record(store, reading, audit, number, label)
    except IcmError as error:
        st.session_state[PROBLEM] = error


def _answer_picked(run: str, audit: Audit, number: int, key: str) -> None:
    if (label := st.session_state[key]) is not None:
        _answer(run, audit, number, label)


def _go_back(reading: Reading, audit: Audit, number: int) -> None:
    st.session_state[CHOSEN] = (reading.run.name, audit.number, len(reading.audited)), number


def _begin_anew(reading: Reading) -> None:
    st.session_state["audit_fresh"] = (reading.run.name, len(reading.audited))


def _show_finding(reading: Reading, audit: Audit) -> None:
    """Draw the verdict, the accuracy over the answers, and the answers."""
    found = audit.finding
    with st.container(border=True, key="verdict"):
        st.markdown(f"**{VERDICTS[found.verdict]}**")
        st.text(verdict_words(found))
    st.text(answers_words(found))
    if caution := caution_words(found):
        st.text(caution)
    if changed := changed_since(reading, audit) if audit.answers else 0:
        st.text(f"{changed:,} of the audited labels have changed since the first question.")
    if not audit.answers:
        return
    charts.show(audit_chart(found, session.dark()), audit_frame(found), f"audit_{reading.run.name}", AUDIT_SHARES)
    with st.expander("Your answers beside the labels"):
        st.dataframe(
            audit_answers_frame(reading, audit), hide_index=True, placeholder="–", alt="Your answers beside the labels"
        )
    st.button(
        "New audit of the labels as they are now",
        key="audit_anew",
        icon=":material/restart_alt:",
        type="tertiary",
        on_click=_begin_anew,
        args=(reading,),
        help="Draws other examples. The answers given so far stay in the run's log.",
    )


AUDIT_SHARES = {name: charts.SHARE for name in ("right so far", "from", "to")}


workspace.show("Evaluate", show)
