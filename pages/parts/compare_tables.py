"""Tables of examples with their labels in several runs."""

from typing import Any

import streamlit as st

SHARE = st.column_config.NumberColumn(format="percent")
NUMBERS = {
    "agreement": st.column_config.NumberColumn(format="percent", help="Share of pairs of runs with the same label."),
    "kappa": st.column_config.NumberColumn(format="%.2f", help="Cohen's kappa of the two."),
    "give it": st.column_config.NumberColumn(
        format="percent",
        help="Share of the chains that label it, the proposed one among them, with the proposed label.",
    ),
    "mirrors turned": st.column_config.NumberColumn(
        format="percent", help="The same, once the labels of chains that are the proposal's mirror are swapped."
    ),
    "text": st.column_config.TextColumn(width="large"),
}

ORDER = "Examples labelled in all of these runs, those with least agreement first"


def examples(title: str, frame: Any, rows: int, order: str) -> None:
    """Draw a table of examples."""
    st.markdown(f"**{title}**")
    st.dataframe(frame, hide_index=True, column_config=NUMBERS, placeholder="–", alt=title)
    st.caption(f"{order}; at most {rows} here.")
