"""Annotate: label examples by hand, one at a time, by mouse or keyboard."""

import streamlit as st

from icm_engine.analysis import forks
from icm_engine.analysis.annotation import (
    FROM_GOLD,
    SUPERVISION,
    Bulk,
    act_rows,
    bulk,
    bulk_body,
    card,
    own_labels,
    save_labels,
)
from icm_engine.analysis.figures import acts_frame, differing_frame
from icm_engine.analysis.formatting import counted, escaped
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.status_tiles import look
from icm_engine.core.errors import IcmError
from icm_engine.runs import control
from icm_engine.runs.control import RunStatus
from icm_engine.store.store import Store
from pages.parts import annotate_card, annotate_queue, menu, session, step_card, workspace

BY_FOLDS = (
    "Labels of this run cannot be changed here: they are predicted by models tuned on folds, and a label set by hand "
    "between two rounds would be scored by prompts. Labels can be pinned as they are, and notes kept."
)


def show(store: Store, run: str) -> None:
    """Draw the page of one run."""
    reading, status = session.look(run)
    every = None if status.settled else annotate_card.EVERY
    annotate_card.show_blinding(reading)
    if reading.by_folds:
        st.caption(BY_FOLDS)
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
    _show_extras(store, reading, place)


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
            f"Take one {session.look(run)[0].unit}",
            key="first_step",
            type="primary",
            icon=":material/skip_next:",
            on_click=_step,
            args=(run,),
            help="Finds the first labels, goes on from them once, then pauses.",
        )


def _until_labels(run: str) -> None:
    reading, status = session.look(run)
    if reading.state is not None or status.settled:
        st.rerun()


def _step(run: str) -> None:
    with Store() as store:
        control.step(store, run)


# -- acts on the whole queue, the acts so far, saving labels, the influence of a pin


def show_bulk(store: Store, reading: Reading) -> None:
    """Draw the acts that are possible on the current, filtered queue."""
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
        for k, act in enumerate(
            (bulk(reading, places, "pin"), bulk(reading, places, "pin", label), bulk(reading, places, "unpin"))
        ):
            st.button(
                f"{escaped(act.words)} …",
                key=f"bulk_{k}",
                disabled=not act.possible,
                on_click=_ask_bulk,
                args=(act,),
                help=escaped(act.left_out) or None,
            )
    if asked := st.session_state.pop("bulk_asked", None):
        _confirm(reading.run.name, asked)


def _ask_bulk(act: Bulk) -> None:
    st.session_state["bulk_asked"] = act


@st.dialog("Do this to all of them?", icon=":material/select_all:")
def _confirm(run: str, act: Bulk) -> None:
    st.text(f"{act.words}.")
    if act.left_out:
        st.text(act.left_out)
    st.text("The search respects it from then on. One undo takes all of it back.")
    with st.container(horizontal=True):
        if st.button("Leave them", key="bulk_no"):
            st.rerun()
        if st.button(escaped(act.words), key="bulk_yes", type="primary", on_click=_send, args=(run, act)):
            st.rerun()


def _send(run: str, act: Bulk) -> None:
    reading, _ = session.look(run)
    annotate_card.send(run, act.verb, *bulk_body(reading, act))


def show_influence(store: Store, reading: Reading, place: int | None) -> None:
    """Draw the button for a pinned example, and the pair of forks in the URL."""
    if reading.blind:
        st.text("This shows labels of other examples. It can be done once the run is unblinded.")
        return
    if place is None or place not in reading.pins:
        st.text("Pin the label of this example first: then two forks, with and without the pin, show what it changes.")
    else:
        _ask_influence(reading, reading.run.codec.ids[place])
    if error := st.session_state.pop("influence_problem", None):
        session.complain(error)
    pair = st.query_params.get("influence", "").split(",")
    if len(pair) == 2 and all(store.has_run(name) for name in pair):
        moving = any(not session.look(name)[1].settled for name in pair)
        session.fragment(_pair, annotate_card.EVERY if moving else None)(pair[0], pair[1], moving)


def _ask_influence(reading: Reading, example: str) -> None:
    st.text("Two new runs begin at the act that set this pin, one of them without it, and draw the same examples.")
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        usual = 2 if reading.by_folds else 50
        st.number_input(f"{reading.unit.capitalize()}s of each", 1, value=usual, key="influence_steps", width=150)
        st.button(
            "Show its influence",
            key="influence_go",
            icon=":material/fork_right:",
            on_click=_begin,
            args=(reading.run.name, example),
            help=f"Starts both; each loads the model and takes that many {reading.unit}s.",
        )


def _begin(run: str, example: str) -> None:
    try:
        with Store() as store:
            pair = forks.begin_influence(store, run, example, int(st.session_state["influence_steps"]))
        st.query_params["influence"] = ",".join(pair)
    except IcmError as error:
        st.session_state["influence_problem"] = error


def _pair(kept: str, without: str, moving: bool) -> None:
    """Draw both runs, and the examples on which they differ now."""
    ours, theirs = session.look(kept), session.look(without)
    if moving and ours[1].settled and theirs[1].settled:
        st.rerun()
    for words, (found, status) in (("with the pin", ours), ("without it", theirs)):
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            name = found.run.name
            st.page_link(menu.SEARCH, label=escaped(name), icon=":material/show_chart:", query_params={"run": name})
            shown = look(status)
            st.text(f"{words}: {shown.icon} {shown.word}, {counted(status.steps, found.unit)}")
    with Store() as store:
        difference = forks.difference(store, ours[0], theirs[0])
    st.text(difference.words)
    if difference.differing:
        frame = differing_frame(ours[0], difference, without)
        st.dataframe(frame, hide_index=True, placeholder="–", alt="The examples on which the two runs differ")


def _show_extras(store: Store, reading: Reading, place: int | None) -> None:
    """Draw the extras, folded."""
    with st.expander("The whole queue at once", icon=":material/select_all:"):
        show_bulk(store, reading)
    if place is not None and place in reading.labeling and not card(store, reading, place).hidden:
        with st.expander("What if it had another label?", icon=":material/help:"):
            step_card.show_what_if(reading, reading.cursor, reading.run.codec.ids[place])
    with st.expander("Influence of a pin", icon=":material/fork_right:", expanded="influence" in st.query_params):
        show_influence(store, reading, place)
    with st.expander("Save my labels", icon=":material/save:"):
        _keep(reading)
    with st.expander(f"Acts so far: {len(reading.acts):,}", icon=":material/history:"):
        _acts(reading)


def _acts(reading: Reading) -> None:
    rows = act_rows(reading)
    if not rows:
        st.text("Nothing has been changed by hand in this run yet.")
        return
    st.dataframe(acts_frame(rows), hide_index=True, placeholder="–", alt="Changes made by hand, newest first")


def _keep(reading: Reading) -> None:
    """Draw the form that saves a person's labels as human labels of the data set."""
    count, dataset = len(own_labels(reading)), reading.run.dataset.name
    st.text(
        f"{count:,} labels of this run are a person's: pinned, or set and not changed since. Saved, they become "
        "human labels of the data set: another baseline, never seen by the search."
    )
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="keep"):
        st.text_input("Name of the source", "annotator", key="keep_source", width=240, help="Whose labels these are.")
        st.toggle("Replace", key="keep_replace", help="Replaces the earlier labels of this source.")
        st.button(
            f"Keep {count:,} labels",
            key="keep_labels",
            icon=":material/save:",
            disabled=not count,
            on_click=_save,
            args=(reading.run.name,),
        )
    if error := st.session_state.pop("keep_problem", None):
        session.complain(error)
    if kept := st.session_state.pop("kept", None):
        st.success(f"{kept:,} labels kept.", icon=":material/check:")
        st.page_link(menu.DATA, label="See them on the Data page", query_params={"dataset": dataset})


def _save(run: str) -> None:
    reading, _ = session.look(run)
    try:
        with Store() as store:
            source, replace = st.session_state["keep_source"], st.session_state["keep_replace"]
            st.session_state["kept"] = save_labels(store, reading, source, replace)
    except IcmError as error:
        st.session_state["keep_problem"] = error


workspace.show("Annotate", show)
