"""Label changes as a table with filters in the URL, and one example's labels over time."""

import html

import streamlit as st

from icm_engine.analysis.flips import Filter, changes_frame, counts, cycle_words, doubt_words, filtered, returns
from icm_engine.analysis.formatting import escaped
from icm_engine.analysis.label_history import CAUSES
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.step_figures import Stretch, stretches, strip_chart
from icm_engine.analysis.views import known
from icm_engine.core.text import whole_number
from pages.parts import charts, menu, session, step_card

ALL = "all causes"
ROWS = 500


def show_changes(reading: Reading) -> None:
    """Draw the filters and the changes that pass them."""
    st.subheader("Label changes")
    wanted = _filter(reading)
    found = filtered(reading, wanted)
    said = " · ".join(f"{cause} {count:,}" for cause, count in counts(found).items())
    st.text(f"{len(found):,} of {len(reading.history):,} label changes" + (f": {said}" if said else ""))
    if found:
        st.dataframe(
            changes_frame(reading, found[-ROWS:]),
            hide_index=True,
            placeholder="–",
            alt="Label changes, newest first",
            column_config={
                "card": st.column_config.LinkColumn(display_text="open", help="The decision card of this change."),
                "text": st.column_config.TextColumn(width="medium"),
            },
        )
        st.caption(f"Newest first, at most {ROWS} here.")


def _filter(reading: Reading) -> Filter:
    """Draw the filters, initially as in the URL."""
    points, asked = reading.trajectory.points, st.query_params
    first, last = points[0].step, points[-1].step
    columns = st.columns([1.4, 1, 1, 1.6], gap="medium", vertical_alignment="bottom")
    options = [ALL, *CAUSES]
    cause = columns[0].selectbox(
        "Cause",
        options,
        options.index(asked["cause"]) if asked.get("cause") in CAUSES else 0,
        key="cause",
        on_change=session.address,
        args=("cause", "cause"),
        help="What changed the label.",
    )
    with columns[1]:
        low = _step(f"From {reading.unit}", "from", session.number("from", first, first, last), first, last)
    with columns[2]:
        high = _step(f"To {reading.unit}", "to", session.number("to", last, first, last), first, last)
    kept = columns[3].toggle(
        "Only labels still in force",
        asked.get("kept") == "True",
        key="kept",
        on_change=session.address,
        args=("kept", "kept"),
    )
    example = known(reading, asked.get("example", ""))
    return Filter(cause if cause in CAUSES else None, example.place if example else None, low, high, kept)


def _step(words: str, name: str, now: int, first: int, last: int) -> int:
    """Draw the choice of a step, kept in the URL under this name."""
    return st.number_input(
        words,
        first,
        last,
        now,
        key=name,
        on_change=session.address,
        args=(name, name),
    )


LINKS = 12  # changes with their own links; the table below has all


def clicked(where: str) -> None:
    """Put the example and step of a clicked cell into the URL."""
    step, name = where.split(" ", 1)
    st.query_params["example"] = html.unescape(name)
    st.query_params["at"] = step


def show_example(reading: Reading) -> None:
    """Draw the example in the URL; nothing without one."""
    example = known(reading, st.query_params.get("example", ""))
    if example is None:
        return
    found = stretches(reading, example.place)
    with st.container(border=True, key="one_example"):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown("**One example over time**")
            st.button("Close", key="close_example", icon=":material/close:", type="tertiary", on_click=_close)
        step_card.text_of(example)
        if not found:
            st.text("It never had a label.")
            return
        if (back := returns([part.label for part in found])) and sum(back.values()) > 1:
            st.text(f"⟲ It {cycle_words(back)}.")
        st.text(doubt_words(reading, example.place))
        run = reading.run.name
        charts.show_live(strip_chart(reading, found, session.dark()), key=f"strip_{run}", clicked=_opened)
        if event := st.session_state.pop("opened_event", None):
            st.switch_page(menu.STEPS, query_params={"run": run, "event": event, "example": example.id})
        _links({"run": run, "example": example.id}, found, reading.unit)


def _links(chosen: dict[str, str], found: list[Stretch], unit: str) -> None:
    """Link to the step clicked in the picture of all labels, and to the changes of this example."""
    if (at := whole_number(st.query_params.get("at", ""))) is not None:
        query = {**chosen, "step": str(at)}
        st.page_link(menu.STEPS, label=f"Open {unit} {at:,}", icon=":material/stairs:", query_params=query)
    with st.container(gap="small", key="decisions"):
        st.markdown("**Decisions that changed its label**")
        with st.container(horizontal=True, gap="small", key="changes"):
            for part in found[-LINKS:]:
                st.page_link(
                    menu.STEPS,
                    label=escaped(part.words),
                    icon=":material/arrow_forward:",
                    query_params={**chosen, "event": str(part.event)},
                )


def _opened(event: str) -> None:
    st.session_state["opened_event"] = event


def _close() -> None:
    for name in ("example", "at"):
        st.query_params.pop(name, None)
