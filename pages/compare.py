"""Evaluate: a run compared with gold, other seeds, other runs, and reference labelings."""

import streamlit as st

from icm_engine.analysis.gold_agreement import gold_shown
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import notices
from icm_engine.store.store import Store
from pages.parts import comparison, session, workspace

VIEWS = ("Gold", "Seeds", "Runs", "Landscape")
MEANT = {  # the view that URL parameters imply if none is named
    "cell": "Gold",
    "with": "Runs",
    "by": "Runs",
    "job": "Landscape",
}


def show(store: Store, run: str) -> None:
    """Draw the view that the URL names."""
    reading, status = session.look(run)
    workspace.about(reading, status)
    for notice in notices(reading):
        st.warning(notice.text, icon=":material/info:")
    view = _view(reading)
    if view == "Seeds":
        comparison.show_seeds(store, reading)
    elif not reading.labeling:
        st.text("This run has no labels yet.")
    elif view == "Gold":
        comparison.show_gold(store, reading)
    elif view == "Runs":
        comparison.show_runs(store, reading, store.run_names())
    else:
        comparison.show_landscape(store, reading)


def _view(reading: Reading) -> str:
    at_first = VIEWS[0] if gold_shown(reading) else VIEWS[1]
    meant = next((MEANT[name] for name in MEANT if name in st.query_params), at_first)
    return session.choice("view", VIEWS, f"view_{reading.run.name}", meant)


workspace.show("Evaluate", show)
