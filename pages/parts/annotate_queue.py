"""The annotation queue, kept in the URL, and the list of keys under "?"."""

from collections.abc import Sequence

import streamlit as st

from icm_engine.analysis.annotation import (
    FROM_GOLD,
    GIVEN_AWAY,
    QUEUES,
    SUPERVISION,
    moved,
    offered_queues,
    own_labels,
    queue,
    standing,
)
from icm_engine.analysis.run_history import Reading
from icm_engine.core.text import whole_number
from icm_engine.store.store import Store
from pages.parts import session, step_card

SHEET = (
    ("1, 2, …", "pin the first, second, … label and continue"),
    ("Shift+1, Shift+2, …", "set that label without pinning it, and continue"),
    ("P", "pin the label as it is and continue"),
    ("U", "take the pin away"),
    ("→", "continue without a label"),
    ("←", "go back"),
    ("Z", "undo the last act"),
    ("Y", "redo"),
    ("?", "this sheet"),
)
MOST = 9  # number of labels with their own key
PICKER = "label_picker"  # key of the container with the text box that the key / focuses

# Ignored while somebody types. The function runs at every redraw, so the previous listener is removed.
JS = """
export default function ({ data, parentElement, setTriggerValue }) {
  document.removeEventListener("keydown", parentElement.icmListener);
  parentElement.icmListener = (event) => {
    const typing = event.target.closest && event.target.closest("input, textarea, select, [contenteditable=true]");
    if (!data.on || typing) return;
    if (event.key === "?") setTriggerValue("asked", true);
    const box = event.key === "/" && document.querySelector(`.st-key-${data.picker} input`);
    if (box) { event.preventDefault(); box.focus(); }
  };
  document.addEventListener("keydown", parentElement.icmListener);
  return () => document.removeEventListener("keydown", parentElement.icmListener);
}
"""
_listener = st.components.v2.component("icm_question_mark", html="<span></span>", js=JS, isolate_styles=False)


def on() -> bool:
    """Say whether keyboard shortcuts are on."""
    return bool(st.session_state.get("shortcuts", True))


def shortcut(name: str) -> str | None:
    """Return the key of a button; None while shortcuts are off."""
    return name if on() else None


def show_keys(labels: Sequence[str]) -> None:
    """Draw the button for the list of keys and the switch, and the list if requested."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="keys"):
        st.button("? Keys", key="sheet", type="tertiary", on_click=_ask)
        st.toggle("Keyboard shortcuts", True, key="shortcuts", help="Keys on the buttons; never while you type.")
        with st.container(key="question_mark", width="content"):
            _listener(key="listener", data={"on": on(), "picker": PICKER}, on_asked_change=_ask)
    if st.session_state.pop("sheet_asked", False):
        _sheet(labels)


def _ask() -> None:
    st.session_state["sheet_asked"] = True


@st.dialog("Keys", icon=":material/keyboard:")
def _sheet(labels: Sequence[str]) -> None:
    many = len(labels) > MOST
    rows = [row for row in SHEET if not (many and row[0].startswith("Shift+"))]
    if many:
        rows += [
            ("/", "find a label by typing"),
            ("Pin it", "the switch; when it is off, labels are set without pinning"),
        ]
    for keys, meaning in rows:
        left, right = st.columns([1, 2])
        left.text(keys)
        right.text(meaning)
    st.text(f"The labels: {', '.join(f'{k + 1} {label}' for k, label in enumerate(labels[:MOST]))}.")
    st.caption("Keys do nothing while you type. The switch on the page turns them off.")


FROZEN = "annotate_queue"  # session key of this browser's queue


def show(store: Store, reading: Reading) -> int | None:
    """Draw the queue and the position in it; return the place of the example, None if there is none."""
    name = _choice(reading)
    text = st.query_params.get("filter", "")
    places, made = frozen(store, reading, name, text)
    place, here, inside = _here(reading, places)
    _position(reading, places, place, here, inside, made)
    if name == FROM_GOLD:
        st.warning(SUPERVISION, icon=":material/visibility:")
    if reading.blind and places and name in GIVEN_AWAY:
        st.caption(GIVEN_AWAY[name])
    return place


def _choice(reading: Reading) -> str:
    offered = offered_queues(reading)
    name = chosen(reading)
    which, search = st.columns([2, 3], gap="medium", vertical_alignment="bottom")
    which.selectbox(
        "Queue",
        offered,
        offered.index(name),
        key=f"queue_{reading.run.name}_{name}",
        format_func=QUEUES.__getitem__,
        on_change=_picked,
        args=(f"queue_{reading.run.name}_{name}", "queue"),
        help="A queue stays as built until you rebuild it, so an example just labelled does not vanish.",
    )
    text = st.query_params.get("filter", "")
    search.text_input(
        "Only examples with",
        text,
        key=f"filter_{text}",
        placeholder="a text, an id, or a note",
        on_change=_picked,
        args=(f"filter_{text}", "filter"),
    )
    return name


def chosen(reading: Reading) -> str:
    """Return the queue in the URL, or data set order if that is not offered."""
    asked = st.query_params.get("queue", "order")
    return asked if asked in offered_queues(reading) else "order"


def _picked(key: str, name: str) -> None:
    """Put the chosen queue into the URL and restart at its beginning."""
    session.address(name, key)
    for other in ("example", "at"):
        st.query_params.pop(other, None)


def frozen(store: Store, reading: Reading, name: str, text: str) -> tuple[Sequence[int], int]:
    """Return the queue as built in this browser, and the step it was built after."""
    key, kept = (reading.run.name, name, text, reading.blind), st.session_state.get(FROZEN)
    if kept is None or kept[0] != key:
        last = reading.trajectory.last
        kept = (key, queue(store, reading, name, text), last.step if last else 0)
        st.session_state[FROZEN] = kept
    return kept[1], kept[2]


def _at() -> int:
    """The position in the URL; the first one is 0."""
    return max(1, whole_number(st.query_params.get("at", "")) or 1) - 1


def _here(reading: Reading, places: Sequence[int]) -> tuple[int | None, int, bool]:
    """The example in the URL, else the one at the position there, and its position in the queue."""
    at = _at()
    try:
        place: int | None = reading.run.codec.index(st.query_params.get("example", ""))
    except KeyError:
        place = places[min(at, len(places) - 1)] if places else None
    here, inside = standing(places, place, at)
    if place is not None:
        st.query_params["example"] = reading.run.codec.ids[place]
        st.query_params["at"] = str(here + 1)
    return place, here, inside


def _position(reading: Reading, places: Sequence[int], place: int | None, here: int, inside: bool, made: int) -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="walk"):
        for by, label, key, icon in ((-1, "Previous", "←", "arrow_back"), (1, "Next", "→", "arrow_forward")):
            st.button(
                f"{label} `{key}`" if on() else label,
                key=f"go_{by}_{place}",
                icon=f":material/{icon}:",
                disabled=moved(places, place, here, by) is None,
                on_click=go,
                args=(reading.run.name, place, by),
                help="Next example, without a label." if by > 0 else "Go back.",
            )
        st.text(f"{_words(places, here, inside)} · {_done(reading)}")
        st.button(
            "Rebuild queue",
            key="queue_again",
            icon=":material/refresh:",
            type="tertiary",
            on_click=_again,
            help=f"It was built after {reading.unit} {made:,}; it does not change while you annotate.",
        )
        _listen(reading, places, here, inside)


def _listen(reading: Reading, places: Sequence[int], here: int, inside: bool) -> None:
    """Count presses of the arrow keys, which a button would lose while the page is drawn."""
    run, after = reading.run.name, here + 1 if inside else here  # what left the queue leaves a gap
    order = f"annotate_{run}_{chosen(reading)}"
    standing = step_card.Standing(order, here if inside else None, here - 1, after, len(places) - 1)
    step_card.listen(standing, on(), lambda there: _open(run, places, there))


def _words(places: Sequence[int], here: int, inside: bool) -> str:
    if not places:
        return "This queue is empty."
    if not inside:
        return f"Beside the queue of {len(places):,}"
    end = " · the end" if here + 1 == len(places) else ""
    return f"{here + 1:,} of {len(places):,}{end}"


def _done(reading: Reading) -> str:
    return f"{len(own_labels(reading)):,} of {len(reading.run.dataset.examples):,} labelled by you"


def _again() -> None:
    st.session_state.pop(FROZEN, None)


def go(run: str, place: int | None, by: int) -> None:
    """Go to the next or previous example of the queue; stay at its ends."""
    kept = st.session_state.get(FROZEN)
    if kept is None:
        return
    there = moved(kept[1], place, _at(), by)
    if there is not None:
        _open(run, kept[1], there)


def _open(run: str, places: Sequence[int], there: int) -> None:
    """Put a position in the queue, and its example, into the URL."""
    reading, _ = session.look(run)
    found = {"example": reading.run.codec.ids[places[there]], "at": str(there + 1)}
    # in one act: a press that follows at once may end this one halfway
    st.query_params.from_dict({**st.query_params.to_dict(), **found})
