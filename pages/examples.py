"""Examples: the labels of a run as one table, and details of the example selected in it."""

from typing import Any

import streamlit as st

from icm_engine.analysis.example_table import FILTERS, SORTS, example_rows, examples_frame, human_labels
from icm_engine.analysis.run_history import Reading
from icm_engine.store.store import Store
from pages.parts import charts, flips, menu, session, workspace

ROWS = 500  # maximum number of rows in the table; a search finds the others


def show(store: Store, run: str) -> None:
    """Draw the table with its filters, and the selected example below it."""
    reading = session.shelf().reading(store, run)
    if reading.trajectory.last is None:
        st.text("This run has no labels yet.")
        return
    workspace.follow(run, reading.cursor, "example")
    wanted, words, order = _filters(reading)
    rows = example_rows(reading, wanted, words, order)
    shown, key = rows[:ROWS], f"examples_{run}"
    ids, frame = [row.example for row in shown], examples_frame(reading, shown, human_labels(store, reading, shown))
    st.dataframe(
        frame,
        hide_index=True,
        key=key,
        on_select=lambda: _select(key, ids),
        selection_mode="single-row",
        column_config=charts.numbers(reading),
        placeholder="–",
        alt="The examples with their labels",
    )
    st.caption(f"{len(rows):,} examples, at most {ROWS} here. Click a row to see the example below.")
    if reading.by_folds:
        st.caption(f"Probability: {charts.TUNED[:1].lower()}{charts.TUNED[1:]}")
    flips.show_example(reading)
    if example := st.query_params.get("example"):
        st.page_link(
            menu.ANNOTATE,
            label="Annotate this example",
            icon=":material/edit_note:",
            query_params={"run": run, "example": example},
        )


def _filters(reading: Reading) -> tuple[str, str, str]:
    """Draw the filters, kept in the URL."""
    run = reading.run.name
    offered = [name for name in FILTERS if name != "Differs from gold" or reading.gold]
    offered += [f"Label {label}" for label in reading.tally.labels]
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="example_filters"):
        words = st.text_input(
            "Search", st.query_params.get("words", ""), key=f"words_{run}", placeholder="in texts and ids", width=260,
            on_change=session.address, args=("words", f"words_{run}"),
        )  # fmt: skip
        wanted = _choice("Show", "show", offered, run)
        order = _choice("Order", "order", list(SORTS), run)
    return wanted, words, order


def _choice(label: str, name: str, options: list[str], run: str) -> str:
    asked, key = st.query_params.get(name), f"{name}_{run}"
    place = options.index(asked) if asked in options else 0
    found: Any = st.selectbox(label, options, place, key=key, width=200, on_change=session.address, args=(name, key))
    return str(found)


def _select(key: str, ids: list[str]) -> None:
    """Put the selected example into the URL by id, because its row may move as the run continues."""
    if rows := st.session_state[key]["selection"]["rows"]:
        st.query_params["example"] = ids[rows[0]]


workspace.show("Labels", show)
