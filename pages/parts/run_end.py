"""The summary of a run that has ended: how it ended, what to doubt, and what to do next."""

import streamlit as st

from icm_engine.analysis.flips import lowest_margin
from icm_engine.analysis.formatting import decimal, escaped, one_line
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import example_text, run_end
from pages.parts import menu

DOUBTS = 5  # examples listed as least certain


def show(reading: Reading) -> None:
    """Draw the summary, with links to the least certain examples and to the next steps."""
    end = run_end(reading)
    if end is None:
        return
    run = reading.run.name
    with st.container(border=True, key="run_end"):
        balance = " · ".join(
            f"{count:,} {label}" for label, count in zip(reading.tally.labels, reading.tally.balance, strict=True)
        )
        st.text(f"Ended at step {end.last.step:,} with U {decimal(end.last.utility, 2)}. Labels: {balance}.")
        if end.differs:
            st.text(f"{end.words} The best labels can be exported (Export with the highest U).")
        _doubts(reading)
        with st.container(horizontal=True, gap="small", key="next"):
            for page, label, icon, view in (
                (menu.COMPARE, "Compare with gold", ":material/balance:", {"view": "Gold"}),
                (menu.COMPARE, "Compare with other seeds", ":material/shuffle:", {"view": "Seeds"}),
                (menu.ANNOTATE, "Annotate the least certain", ":material/edit_note:", {"queue": "margin"}),
                (menu.TRAINING, "Train on these labels", ":material/model_training:", {}),
            ):
                st.page_link(page, label=label, icon=icon, query_params={"run": run, **view})


def _doubts(reading: Reading) -> None:
    found = lowest_margin(reading)[:DOUBTS]
    if not found:
        return
    st.markdown("**Least certain**")
    ids, labels = reading.run.codec.ids, reading.labeling
    for row in found:
        text = one_line(example_text(reading, row.example), 90)
        st.page_link(
            menu.EXAMPLES,
            label=escaped(f"{labels[row.example]} ({row.why}) · {text}"),
            query_params={"run": reading.run.name, "example": ids[row.example]},
        )
