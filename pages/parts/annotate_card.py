"""One example to annotate: its text and labels, the buttons with their keys, and blind annotation."""

from collections.abc import Sequence

import streamlit as st

from icm_engine.analysis.annotation import (
    FROM_GOLD,
    Card,
    UndoState,
    card,
    change_words,
    margin_words,
    sent,
    sent_words,
    turns,
)
from icm_engine.analysis.figures import members_frame
from icm_engine.analysis.formatting import escaped, middle_cut
from icm_engine.analysis.run_history import Reading
from icm_engine.core.errors import IcmError
from icm_engine.runs import control
from icm_engine.runs.control import RunStatus
from icm_engine.store.store import Store
from pages.parts import annotate_queue, session

EVERY = 1.0  # seconds, only while something moves
Seen = tuple[str, bool, int, int, str | None, bool]


def text(reading: Reading, found: Card) -> None:
    """Draw an example's texts literally."""
    with st.container(border=True, key="example"):
        for name, value in found.fields.items():
            st.caption(escaped(name.replace("_", " ")))
            st.text(value)
        facts = [f"id {found.example}", *([f"answer {found.answer}"] if found.answer else [])]
        if annotate_queue.chosen(reading) == FROM_GOLD and found.example in reading.gold:
            facts.append(f"gold {reading.gold[found.example]}")
        with st.container(key="example_facts"):
            st.text(" · ".join(facts))


def label(run: str, place: int) -> None:
    """Draw the example's current label."""
    reading, _ = session.look(run)
    with Store() as store:
        found = card(store, reading, place)
    with st.container(border=True, key="label_now"):
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            with st.container(key="label_word", width="content"):
                st.text("not shown" if found.hidden else found.label or "unlabelled")
            if found.pinned:
                st.badge("pinned", icon=":material/push_pin:", color="violet")
        st.text(" · ".join(filter(None, (found.words, margin_words(found)))))


def about(run: str, place: int) -> None:
    """Draw the other examples of the group with their labels, and this example's last changes; see `Card.hidden`."""
    reading, _ = session.look(run)
    with Store() as store:
        found = card(store, reading, place)
    group, changes = st.columns(2, gap="medium")
    with group:
        _group(found)
    with changes:
        st.markdown("**Its last changes**")
        nothing = "Its label has never changed." if not found.hidden else found.words
        st.text("\n".join(change_words(change, reading.unit) for change in found.changes) or nothing)


def _group(found: Card) -> None:
    st.markdown("**Other examples of its group**")
    if not found.members:
        st.text("It is alone in its group.")
        return
    st.dataframe(members_frame(found.members), hide_index=True, placeholder="–", alt="Other examples of the group")
    if found.rest:
        st.caption(f"{found.rest:,} more are not shown.")


def seen(reading: Reading, status: RunStatus, place: int) -> Seen:
    """Return what the buttons depend on; when it changes, the page is redrawn."""
    mine = (reading.labeling.get(place), place in reading.pins)
    return status.phase, status.settled, len(status.pending), len(reading.acts), *mine


def news(run: str, place: int, then: Seen) -> None:
    """Draw acts that were sent and not yet applied, and refusals."""
    reading, status = session.look(run)
    if seen(reading, status, place) != then:
        # a refresh that was in progress brings the previous example's URL
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
    st.warning(
        "No worker has applied this yet. It is stored and applied as soon as one starts.", icon=":material/info:"
    )
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
    """The last refusal, until a later act was applied or somebody dismissed it."""
    found = reading.refused
    acted = reading.moments[-1].event if reading.moments else 0
    if found is None or found.event < acted or st.session_state.get("refused_read") == (reading.run.name, found.event):
        return
    st.error(f"**{escaped(found.verb)}** was refused:", icon=":material/block:")
    session.message(found.message)
    st.button("Dismiss", key="refused_ok", type="tertiary", on_click=_read, args=(reading.run.name, found.event))


def _read(run: str, event: int) -> None:
    st.session_state["refused_read"] = (run, event)


def show_buttons(store: Store, reading: Reading, found: Card) -> None:
    """Draw the buttons for one example. Their keys contain its place, so a late press cannot affect another example."""
    ready = reading.state is not None
    if len(reading.tally.labels) > annotate_queue.MOST:
        _picker(reading, found, ready)
        _labels(reading, found, "pin" if st.session_state["pin_picked"] else "override", "", ready)
    else:
        _labels(reading, found, "pin", "", ready)
        _labels(reading, found, "override", "Shift+", ready)
    with st.container(horizontal=True, gap="small", key="hand"):
        _button("Pin as it is", "P", "pin", found, reading, "push_pin", ready and found.label is not None, found.label)
        _button("Unpin", "U", "unpin", found, reading, "keep_off", ready and found.pinned)
    with st.container(horizontal=True, gap="small", key="turns"):
        _turns(reading, turns(reading, sent(store, reading)))
    annotate_queue.show_keys(reading.tally.labels)


def _labels(reading: Reading, found: Card, verb: str, before: str, ready: bool) -> None:
    """Draw a button for each label, the current one marked; with many labels, only for those with a key."""
    many = len(reading.tally.labels) > annotate_queue.MOST
    without = ", not pinned" if verb == "override" and not many else ""
    with st.container(horizontal=True, gap="small", key=f"{verb}_labels"):
        for k, label in enumerate(reading.tally.labels[: annotate_queue.MOST]):
            current = (verb == "pin" or many) and label == found.label
            name = middle_cut(label, SHORT) if many else label
            st.button(
                f"{escaped(name)}{CURRENT if current and not many else ''}{without}",
                key=f"{verb}_{k}_{found.place}",
                icon=":material/check:" if current else None,
                type="primary" if verb == "pin" else "secondary",
                disabled=not ready,
                on_click=_put,
                shortcut=annotate_queue.shortcut(f"{before}{k + 1}"),
                help=f"{escaped(label)}: {MEANT[verb]}" if name != label else MEANT[verb],
                args=(reading.run.name, verb, found, label),
            )


def _picker(reading: Reading, found: Card, ready: bool) -> None:
    """Draw a choice of all labels, which can be searched by typing, and whether it and the keys pin."""
    labels, key = reading.tally.labels, f"pick_label_{found.place}"
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key=annotate_queue.PICKER):
        st.selectbox(
            f"One of all {len(labels)} labels",
            labels,
            None,
            key=key,
            format_func=lambda label: f"✓ {label}{CURRENT}" if label == found.label else label,
            placeholder="type to find a label (key /)" if annotate_queue.on() else "type to find a label",
            disabled=not ready,
            on_change=_pick,
            args=(reading.run.name, found, key),
            width=320,
        )
        st.toggle("Pin it", True, key="pin_picked", help=f"On: {MEANT['pin']} Off: {MEANT['override']}")


def _pick(run: str, found: Card, key: str) -> None:
    label, st.session_state[key] = st.session_state[key], None
    if label is not None:
        _put(run, "pin" if st.session_state["pin_picked"] else "override", found, label)


CURRENT = " (current)"
SHORT = 24  # characters on the button of one of many labels
MEANT = {
    "pin": "Set this label and pin it, so that the search keeps it; then show the next example.",
    "override": "Set this label, which the search may change again; then show the next example.",
    "unpin": "Let the search change this label again.",
}


def _button(
    text: str, key: str, verb: str, found: Card, reading: Reading, icon: str, ready: bool, label: str | None = None
) -> None:
    st.button(
        text,
        key=f"as_is_{verb}_{found.place}",
        icon=f":material/{icon}:",
        shortcut=annotate_queue.shortcut(key),
        disabled=not ready,
        on_click=_put,
        args=(reading.run.name, verb, found, label),
        help=MEANT["unpin"] if verb == "unpin" else "The search keeps the label that the example has now.",
    )


def _turns(reading: Reading, found: UndoState) -> None:
    for verb, key, words, example in (
        ("undo", "Z", found.undo, found.undo_at),
        ("redo", "Y", found.redo, found.redo_at),
    ):
        st.button(
            verb.capitalize(),
            key=f"turn_{verb}",
            icon=f":material/{verb}:",
            shortcut=annotate_queue.shortcut(key),
            disabled=words is None,
            on_click=_turn,
            args=(reading.run.name, verb, example),
            help=f"{verb.capitalize()}: {escaped(words)}" if words else f"There is nothing to {verb}.",
        )


def _put(run: str, verb: str, found: Card, label: str | None) -> None:
    """Send an act on one example and advance; a press while the next is being drawn affects neither."""
    if st.query_params.get("example") != found.example:
        return
    if send(run, verb, [found.example], [] if label is None else [label]) and verb != "unpin":
        annotate_queue.go(run, found.place, 1)


def _turn(run: str, verb: str, example: str | None) -> None:
    """Undo or redo, and show the example concerned."""
    if send(run, verb) and example is not None:
        st.query_params["example"] = example


def send(run: str, verb: str, examples: Sequence[str] = (), labels: Sequence[str] = (), text: str = "") -> bool:
    """Send one act; return whether it was sent. Our errors are shown at the next redraw."""
    try:
        with Store() as store:
            control.submit_intervention(store, run, verb, examples, labels, text)  # type: ignore[arg-type]
    except IcmError as error:
        st.session_state["annotate_problem"] = error
        return False
    return True


def note(run: str, found: Card) -> None:
    """Draw the note of an example; saving an empty note removes it."""
    with st.form(f"note_form_{found.place}", border=False, enter_to_submit=True):
        field, save = st.columns([3, 1], vertical_alignment="bottom", gap="small")
        key = f"note_{run}_{found.place}"
        field.text_input("Note", found.note, key=key, placeholder="kept with the run; not seen by the model")
        save.form_submit_button("Save note", on_click=_note, args=(run, found.example, key))


def _note(run: str, example: str, key: str) -> None:
    send(run, "note", [example], text=st.session_state[key].strip())


def _send(run: str, verb: str) -> None:
    send(run, verb)


def _go_blind(run: str) -> None:
    session.show_labels(run, False)
    send(run, "blind")


def show_blinding(reading: Reading) -> None:
    """Draw the badge of a blind run with the way back, or the button that blinds a run."""
    run = reading.run.name
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="blind"):
        if reading.blind:
            st.badge("blind", icon=":material/visibility_off:", color="gray")
            st.text(BLIND)
            st.button(
                "Unblind (logged)",
                key="unblind",
                icon=":material/visibility:",
                on_click=_send,
                args=(run, "unblind"),
                help="Shows gold and accuracy again; the act stays in the run's log for good.",
            )
        else:
            st.button(
                "Go blind",
                key="go_blind",
                icon=":material/visibility_off:",
                on_click=_go_blind,
                args=(run,),
                disabled=reading.state is None,
                help="Hides gold and accuracy of this run everywhere in the app; and here the label, probability "
                "and history of an example until you have labelled it, so that they cannot sway you. The other tabs "
                "ask before they show labels.",
            )


BLIND = (
    "The model's label of an example is hidden on this page until you have given yours. Gold of this run and its forks "
    "is hidden too; other runs and the Data page still show it. The other tabs ask before they show labels."
)
