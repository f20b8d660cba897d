"""A chart with its title, its caption, and the same numbers as a table."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from icm_engine.analysis.figures import Chart
from pages.parts import live_curve


def show(
    chart: Chart,
    table: Any,
    key: str,
    columns: dict[str, Any] | None = None,
    clicked: Callable[[str], None] | None = None,
) -> None:
    """Draw a chart, or its table where that was asked for; without a table, whoever calls shows one beside it.

    `clicked` is called with the customdata of a point that is clicked.
    """
    st.markdown(f"**{chart.title}**")
    if table is not None and st.session_state.get(f"table_{key}"):
        st.dataframe(table, hide_index=True, column_config=columns, placeholder="–", alt=f"{chart.title} as a table")
    else:
        live_curve.show(chart, key, clicked)
    st.caption(chart.caption)
    if table is not None:
        st.toggle("As a table", key=f"table_{key}")
