"""Label changes: every label change of a run, and queues of examples to look at."""

from collections.abc import Sequence

import streamlit as st

from icm_engine.analysis.figures import COLOURED
from icm_engine.analysis.flips import Queue, Queued, cycles_sentence, cycling, queue_frame, queues
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.step_figures import grid_chart, grid_frame, label_grid, longest, stretches
from icm_engine.analysis.views import known
from icm_engine.store.store import Store
from pages.parts import charts, flips, session, workspace

EVERYTHING = "All examples"
SHOWN = 300  # rows of a queue
FEW = "Grey: no label."
MANY = (
    "In colour: the labels of the example below, then the most frequent ones. Dark grey: any other label. Pale grey: "
    "no label."
)


def show(store: Store, run: str) -> None:
    """Draw the page of one run."""
    reading = session.shelf().reading(store, run)
    if reading.trajectory.last is None:
        st.text("This run has no labels yet.")
        return
    queue = _choice(reading)
    found = queue.find(reading) if queue else None
    if said := cycles_sentence(cycling(reading)):
        st.text(f"⟲ {said}")
    if queue is not None and found is not None:
        st.caption(queue.explanation)
        _queue(reading, queue, found)
    _picture(reading, found)
    flips.show_example(reading)
    flips.show_changes(reading)


def _choice(reading: Reading) -> Queue | None:
    """Draw the choice of a queue, initially the one in the URL."""
    known = {queue.title: queue for queue in queues(reading)}
    asked = next((queue.title for queue in known.values() if queue.name == st.query_params.get("queue")), EVERYTHING)
    key = f"queue_{reading.run.name}"
    options = [EVERYTHING, *known]
    title = st.segmented_control(
        "Queue",
        options,
        default=asked,
        required=True,
        key=key,
        label_visibility="collapsed",
        on_change=lambda: _queued({title: queue.name for title, queue in known.items()}.get(st.session_state[key])),
    )
    return known.get(str(title))


def _queued(name: str | None) -> None:
    if name is None:
        st.query_params.pop("queue", None)
    else:
        st.query_params["queue"] = name


def _queue(reading: Reading, queue: Queue, found: Sequence[Queued]) -> None:
    if not found:
        st.text("No example is in this queue.")
        return
    ids = [reading.run.codec.ids[row.example] for row in found[:SHOWN]]
    key = f"queued_{reading.run.name}_{queue.name}"
    st.dataframe(
        queue_frame(reading, found[:SHOWN]),
        hide_index=True,
        key=key,
        on_select=lambda: _select(key, ids),
        selection_mode="single-row",
        column_config=charts.numbers(reading),
        placeholder="–",
        alt=f"Queue: {queue.title}",
        height=260,
    )
    st.caption(f"{len(found):,} examples, at most {SHOWN} here. Click a row to see the example below.")


def _select(key: str, ids: list[str]) -> None:
    """Put the selected example into the URL by id, because its row may move as the run continues."""
    if rows := st.session_state[key]["selection"]["rows"]:
        st.query_params["example"] = ids[rows[0]]


def _picture(reading: Reading, found: Sequence[Queued] | None) -> None:
    grid = label_grid(reading, found)
    if not grid.examples:
        return
    example = known(reading, st.query_params.get("example", ""))
    first = longest(stretches(reading, example.place)) if example else ()
    chart = grid_chart(reading, grid, session.dark(), first)
    st.subheader(chart.title)
    if st.toggle("As a table", key="grid_table"):
        st.dataframe(grid_frame(reading, grid), hide_index=True, placeholder="–", alt=chart.alt)
    else:
        charts.show_live(chart, key=f"grid_{reading.run.name}", clicked=flips.clicked)
    colours = MANY if len(reading.tally.labels) > COLOURED else FEW
    st.caption(f"{chart.caption} {colours} Click a cell to see its example below.")


workspace.show("Label changes", show)
