"""The sheet of all keys, under "?": a key that buttons cannot have, so a little script listens for it."""

from collections.abc import Sequence

import streamlit as st

SHEET = (
    ("1, 2, …", "pin the first, second, … label and go on"),
    ("Shift+1, Shift+2, …", "put that label in without a pin, and go on"),
    ("P", "pin the label as it is and go on"),
    ("U", "take the pin away"),
    ("→", "go on without a label"),
    ("←", "go back"),
    ("Z", "undo the last act"),
    ("Y", "redo"),
    ("?", "this sheet"),
)
MOST = 9  # labels with a key of their own

# Never while somebody types; the function is called again at every drawing, so the listener before goes.
JS = """
export default function ({ data, parentElement, setTriggerValue }) {
  document.removeEventListener("keydown", parentElement.icmListener);
  parentElement.icmListener = (event) => {
    const typing = event.target.closest && event.target.closest("input, textarea, select, [contenteditable=true]");
    if (data.on && event.key === "?" && !typing) setTriggerValue("asked", true);
  };
  document.addEventListener("keydown", parentElement.icmListener);
  return () => document.removeEventListener("keydown", parentElement.icmListener);
}
"""
_listener = st.components.v2.component("icm_question_mark", html="<span></span>", js=JS, isolate_styles=False)


def on() -> bool:
    """Say whether keys are switched on."""
    return bool(st.session_state.get("shortcuts", True))


def key(name: str) -> str | None:
    """Return the key of a button, None while keys are switched off."""
    return name if on() else None


def show(labels: Sequence[str]) -> None:
    """Draw the button of the sheet and the switch; the sheet itself where it was asked for."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="keys"):
        st.button("? Keys", key="sheet", type="tertiary", on_click=_ask)
        st.toggle("Keyboard shortcuts", True, key="shortcuts", help="Keys on the buttons; never while you type.")
        with st.container(key="question_mark", width="content"):
            _listener(key="listener", data={"on": on()}, on_asked_change=_ask)
    if st.session_state.pop("sheet_asked", False):
        _sheet(labels)


def _ask() -> None:
    st.session_state["sheet_asked"] = True


@st.dialog("Keys", icon=":material/keyboard:")
def _sheet(labels: Sequence[str]) -> None:
    for keys, meaning in SHEET:
        left, right = st.columns([1, 2])
        left.text(keys)
        right.text(meaning)
    st.text(f"The labels: {', '.join(f'{k + 1} {label}' for k, label in enumerate(labels[:MOST]))}.")
    st.caption("Keys do nothing while you type. The switch on the page turns them off.")
