"""Tables of examples with their labels in several runs."""

from typing import Any

import streamlit as st

SHARE = st.column_config.NumberColumn(format="percent")
NUMBERS = {
    "agreement": st.column_config.NumberColumn(format="percent", help="Share of pairs of runs with the same label."),
    "kappa": st.column_config.NumberColumn(format="%.2f", help="Cohen's kappa of the two."),
    "text": st.column_config.TextColumn(width="large"),
}


def examples(title: str, frame: Any, rows: int, order: str) -> None:
    """Draw a table of examples."""
    st.markdown(f"**{title}**")
    st.dataframe(frame, hide_index=True, column_config=NUMBERS, placeholder="–", alt=title)
    st.caption(f"Examples labelled in all of these runs, {order}; at most {rows} here.")
