"""The buttons of an annotator, each with its key; every press is one command, and the page never waits for it."""

from collections.abc import Sequence

import streamlit as st

from icm_engine.analysis.annotating import Card, Turns, sent, turns
from icm_engine.analysis.choices import IcmError, Store
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.wording import escaped
from icm_engine.runs import control
from pages.parts import annotate_keys, annotate_queue


def show(store: Store, reading: Reading, found: Card) -> None:
    """Draw the buttons for one example. Their names hold its place: a press that comes late is never another's."""
    ready = reading.state is not None
    _labels(reading, found, "pin", "", ready)
    _labels(reading, found, "override", "Shift+", ready)
    with st.container(horizontal=True, gap="small", key="hand"):
        _button("Pin as it is", "P", "pin", found, reading, "push_pin", ready and found.label is not None, found.label)
        _button("Unpin", "U", "unpin", found, reading, "keep_off", ready and found.pinned)
    with st.container(horizontal=True, gap="small", key="turns"):
        _turns(reading, turns(reading, sent(store, reading)))
    annotate_keys.show(reading.tally.labels)


def _labels(reading: Reading, found: Card, verb: str, before: str, ready: bool) -> None:
    with st.container(horizontal=True, gap="small", key=f"{verb}_labels"):
        for k, label in enumerate(reading.tally.labels):
            st.button(
                escaped(label) if verb == "pin" else f"{escaped(label)}, not pinned", key=f"{verb}_{k}_{found.place}",
                type="primary" if verb == "pin" else "secondary", disabled=not ready, on_click=_put,
                shortcut=annotate_keys.key(f"{before}{k + 1}") if k < annotate_keys.MOST else None, help=MEANT[verb],
                args=(reading.run.name, verb, found, label),
            )  # fmt: skip


MEANT = {
    "pin": "Put this label in and pin it: the search keeps it. Then go on.",
    "override": "Put this label in; the search may change it again. Then go on.",
    "unpin": "Let the search change this label again.",
}


def _button(
    text: str, key: str, verb: str, found: Card, reading: Reading, icon: str, ready: bool, label: str | None = None
) -> None:
    st.button(
        text, key=f"as_is_{verb}_{found.place}", icon=f":material/{icon}:", shortcut=annotate_keys.key(key),
        disabled=not ready, on_click=_put, args=(reading.run.name, verb, found, label),
        help=MEANT["unpin"] if verb == "unpin" else "The search keeps the label that the example has now.",
    )  # fmt: skip


def _turns(reading: Reading, found: Turns) -> None:
    for verb, key, words, example in (
        ("undo", "Z", found.undo, found.undo_at), ("redo", "Y", found.redo, found.redo_at),
    ):  # fmt: skip
        st.button(
            verb.capitalize(), key=f"turn_{verb}", icon=f":material/{verb}:", shortcut=annotate_keys.key(key),
            disabled=words is None, on_click=_turn, args=(reading.run.name, verb, example),
            help=f"{verb.capitalize()}: {escaped(words)}" if words else f"There is nothing to {verb}.",
        )  # fmt: skip


def _put(run: str, verb: str, found: Card, label: str | None) -> None:
    """Send an act on one example and go on; a press while the next one is being drawn is about neither."""
    if st.query_params.get("example") != found.example:
        return
    if send(run, verb, [found.example], [] if label is None else [label]) and verb != "unpin":
        annotate_queue.go(run, found.place, 1)


def _turn(run: str, verb: str, example: str | None) -> None:
    """Take back or do again, and show the example that it is about."""
    if send(run, verb) and example is not None:
        st.query_params["example"] = example


def send(run: str, verb: str, examples: Sequence[str] = (), labels: Sequence[str] = (), text: str = "") -> bool:
    """Send one act; say whether it was sent. An error of ours is shown at the next drawing."""
    try:
        with Store() as store:
            control.put_in(store, run, verb, examples, labels, text)  # type: ignore[arg-type]
    except IcmError as error:
        st.session_state["annotate_problem"] = error
        return False
    return True


def note(run: str, found: Card) -> None:
    """Draw the note of an example; saving an empty one takes it away."""
    with st.form(f"note_form_{found.place}", border=False, enter_to_submit=True):
        field, save = st.columns([3, 1], vertical_alignment="bottom", gap="small")
        key = f"note_{run}_{found.place}"
        field.text_input("Note", found.note, key=key, placeholder="kept with the run; not seen by the model")
        save.form_submit_button("Save note", on_click=_note, args=(run, found.example, key))


def _note(run: str, example: str, key: str) -> None:
    send(run, "note", [example], text=st.session_state[key].strip())
