"""One example: its text, its labels over time as a strip, and a link to each decision that changed them."""

import html

import streamlit as st

from icm_engine.analysis.choices import whole_number
from icm_engine.analysis.flip_figures import Stretch, stretches, strip_chart
from icm_engine.analysis.flips import cycle_words, returns, times
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.shown import known
from icm_engine.analysis.wording import escaped
from pages.parts import live_curve, menu, session, step_card

LINKS = 12  # changes that have a link of their own; the table below has all


def clicked(where: str) -> None:
    """Put the example and the step of a clicked cell into the address."""
    step, name = where.split(" ", 1)
    st.query_params["example"] = html.unescape(name)
    st.query_params["at"] = step


def show(reading: Reading) -> None:
    """Draw the example in the address; nothing without one."""
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
        run = reading.run.name
        live_curve.show(strip_chart(reading, found, session.dark()), key=f"strip_{run}", clicked=_opened)
        if event := st.session_state.pop("opened_event", None):
            st.switch_page(menu.STEPS, query_params={"run": run, "event": event})
        _links(run, found)


def _links(run: str, found: list[Stretch]) -> None:
    if (at := whole_number(st.query_params.get("at", ""))) is not None:
        st.page_link(menu.STEPS, label=f"Open step {at:,}", icon=":material/stairs:",
                     query_params={"run": run, "step": str(at)})  # fmt: skip
    st.text(f"{times(len(found) - 1, 'change')} after its first label.")
    with st.container(horizontal=True, gap="small", key="changes"):
        for part in found[-LINKS:]:
            st.page_link(menu.STEPS, label=escaped(part.words), icon=":material/arrow_forward:",
                         query_params={"run": run, "event": str(part.event)})  # fmt: skip


def _opened(event: str) -> None:
    st.session_state["opened_event"] = event


def _close() -> None:
    for name in ("example", "at"):
        st.query_params.pop(name, None)
