"""A run as it stood after one event: the way through time, the card of that event, and what was known then."""

import streamlit as st

from icm_engine.analysis.choices import Store, whole_number
from icm_engine.analysis.decision_figures import curves_then
from icm_engine.analysis.frames import conflicts_frame, labels_frame
from icm_engine.analysis.prompt_read import prompt_read
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.strip import tiles_then
from icm_engine.analysis.travel import Moment, open_moment, place_at
from icm_engine.analysis.travel_words import followed
from icm_engine.analysis.views import conflicts_now, labels_table, notices
from pages.parts import live_curve, menu, session, step_beside, step_card, step_travel, tables, what_if

VIEWS = ("Curves", "Prompt", "Labels", "Inconsistent pairs", "What if")
PROMPT_HEIGHT = 520  # pixels; a long one scrolls


def show(store: Store, run: str) -> None:
    """Draw the moment in the address; the newest one without any."""
    reading = session.shelf().reading(store, run)
    if reading.trajectory.last is None:
        st.text("This run has no labels yet: the first event to look at are its initial labels.")
        return
    moment = open_moment(store, reading, place_at(reading, _asked("event"), _asked("step")))
    step_travel.show(reading, moment)
    if moment.event.kind == "step":
        step_card.show(reading, moment)
    else:
        step_beside.show(reading, moment)
    for notice in notices(reading):
        st.warning(notice.text, icon=":material/info:")
    _views(reading, moment)


def _asked(name: str) -> int | None:
    return whole_number(st.query_params.get(name, ""))


def _views(reading: Reading, moment: Moment) -> None:
    """Draw what was known then; only the view that is open is computed."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="then"):
        st.subheader("As of then", width="content")
        st.page_link(menu.FORKS, label="Fork from here", icon=":material/fork_right:", width="content",
                     query_params={"run": reading.run.name, "step": str(moment.state.step)})  # fmt: skip
    with st.container(key="counts"):
        for tile in tiles_then(moment.then):
            st.metric(tile.name, tile.value, tile.note, delta_color="off", delta_arrow="off", border=True,
                      help=tile.explanation)  # fmt: skip
    asked, key = st.query_params.get("view"), f"view_{reading.run.name}"
    view = st.segmented_control(
        "View", VIEWS, default=asked if asked in VIEWS else VIEWS[0], required=True, key=key,
        label_visibility="collapsed", on_change=session.address, args=("view", key),
    )  # fmt: skip
    drawn = {VIEWS[1]: _prompt, VIEWS[2]: _labels, VIEWS[3]: _pairs, VIEWS[4]: _what_if}
    drawn.get(str(view), _curves)(reading, moment)


def _curves(reading: Reading, moment: Moment) -> None:
    charts = curves_then(moment.then, reading.trajectory, session.dark())
    for pair in (charts[:2], charts[2:]):
        for column, chart in zip(st.columns(2, gap="large"), pair, strict=False):
            with column:
                st.markdown(f"**{chart.title}**")
                live_curve.show(chart, key=f"then_{chart.title}_{reading.run.name}")
                st.caption(chart.caption)


def _prompt(reading: Reading, moment: Moment) -> None:
    if moment.event.kind != "step":
        st.text("No single prompt belongs to this event: it drew no example.")
        return
    found = prompt_read(reading, moment)
    if found.matches is False:
        st.warning(found.sentence, icon=":material/warning:")
    else:
        st.text(found.sentence)
    session.exactly(found.text, PROMPT_HEIGHT)
    st.caption("· space · ↵ line end · → tab. The label follows after the last sign.")
    st.text(f"sha256 {found.sha256}")


def _labels(reading: Reading, moment: Moment) -> None:
    rows = labels_table(moment.then, tables.ROWS)
    st.dataframe(labels_frame(rows), hide_index=True, column_config=tables.NUMBERS, placeholder="–",
                 alt="The labels as of then")  # fmt: skip
    st.caption(f"Labelled examples first, at most {tables.ROWS} here.")


def _pairs(reading: Reading, moment: Moment) -> None:
    pairs = conflicts_now(moment.then)
    if not pairs:
        st.text("Nothing was inconsistent then.")
        return
    st.dataframe(conflicts_frame(pairs[: tables.ROWS]), hide_index=True, alt="The pairs that were inconsistent then")


def _what_if(reading: Reading, moment: Moment) -> None:
    example = followed(reading, moment, st.query_params.get("example"))
    if example is None:
        st.text("This event drew no example: put one into the address, or go to a step.")
        return
    st.text(f"Example {example.id}, with the labels as of then:")
    what_if.show(moment.then, moment.event.number, example.id)
