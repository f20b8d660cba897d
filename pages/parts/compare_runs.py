"""A run against others that a person chooses: U overlaid, and the examples on which they differ."""

import streamlit as st

from icm_engine.analysis.agreement_with_gold import gold_by_place
from icm_engine.analysis.between_runs import difference, differing, other_settings
from icm_engine.analysis.choices import Store
from icm_engine.analysis.compare_figures import AXES, utilities
from icm_engine.analysis.compare_frames import disagreements_frame, utilities_frame
from icm_engine.analysis.reading import Reading
from pages.parts import charts, compare_tables, session

ROWS = 500
MOST = 4  # other runs: more curves cannot be told apart


def show(store: Store, reading: Reading, names: list[str]) -> None:
    """Draw the choice of other runs, and what it leads to."""
    run = reading.run.name
    options = [name for name in names if name != run]
    asked = [name for name in st.query_params.get_all("with") if name in options][:MOST]
    key = f"with_{run}"
    chosen = st.multiselect(
        "Other runs", options, asked, key=key, on_change=_picked, args=(key,), max_selections=MOST,
        placeholder="choose one or more",
    )  # fmt: skip
    readings = [reading, *(session.look(name)[0] for name in chosen)]
    _curves(readings)
    if not chosen:
        return
    for other in readings[1:]:
        _settings(reading, other)
    same = [other for other in readings if other.run.spec.dataset == reading.run.spec.dataset]
    if len(same) > 1:
        _differences(store, same)


def _picked(key: str) -> None:
    st.query_params["with"] = st.session_state[key]


def _curves(readings: list[Reading]) -> None:
    asked, key = st.query_params.get("by"), "by_axis"
    by = st.segmented_control(
        "Against", list(AXES), default=asked if asked in AXES else "step", required=True, key=key,
        format_func=lambda axis: f"by {axis}", on_change=session.address, args=("by", key),
        label_visibility="collapsed",
    )  # fmt: skip
    charts.show(utilities(readings, by, session.dark()), utilities_frame(readings, by), f"utilities_{by}")


def _settings(reading: Reading, other: Reading) -> None:
    apart = other_settings(reading.run.spec, other.run.spec)
    st.text(f"{other.run.name} differs in: {', '.join(apart) or 'nothing'}.")


def _differences(store: Store, readings: list[Reading]) -> None:
    st.text(difference(readings).words)
    first = readings[0]
    gold = gold_by_place(store, first, tuple(first.labeling))
    rows = differing(readings, {first.run.codec.ids[i]: label for i, label in gold.items()}, ROWS)
    if rows:
        frame = disagreements_frame(rows, [one.run.name for one in readings])
        compare_tables.examples("Where they differ", frame, ROWS, compare_tables.ORDER)
