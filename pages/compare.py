"""Evaluate: a run compared with gold, other seeds, other runs, reference labelings, and a person's answers."""

import streamlit as st

from icm_engine.analysis.gold_agreement import gold_shown
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import notices
from icm_engine.runs.control import RunStatus
from icm_engine.store.store import Store
from pages.parts import audit, comparison, session, workspace

VIEWS = ("Gold", "Seeds", "Runs", "Landscape", "Audit")
MEANT = {  # the view that URL parameters imply if none is named
    "cell": "Gold",
    "with": "Runs",
    "by": "Runs",
    "job": "Landscape",
}


def show(store: Store, run: str) -> None:
    """Draw the view that the URL names."""
    reading, status = session.look(run)
    _about(reading, status)
    for notice in notices(reading):
        st.warning(notice.text, icon=":material/info:")
    view = _view(reading)
    if view != "Audit" and workspace.asks_first(run):
        return
    if view == "Seeds":
        comparison.show_seeds(store, reading)
    elif not reading.labeling:
        st.text("This run has no labels yet.")
    elif view == "Audit":
        audit.show(store, reading)
    elif view == "Gold":
        comparison.show_gold(store, reading)
    elif view == "Runs":
        comparison.show_runs(store, reading, store.run_names())
    else:
        comparison.show_landscape(store, reading)


def _view(reading: Reading) -> str:
    asked, key = st.query_params.get("view"), f"view_{reading.run.name}"
    meant = next(
        (MEANT[name] for name in MEANT if name in st.query_params), VIEWS[0] if gold_shown(reading) else VIEWS[1]
    )
    return st.segmented_control(
        "View",
        VIEWS,
        default=asked if asked in VIEWS else meant,
        required=True,
        key=key,
        label_visibility="collapsed",
        on_change=session.address,
        args=("view", key),
    )


def _about(reading: Reading, status: RunStatus) -> None:
    spec, done = reading.run.spec, f"{status.steps:,} of {status.max_steps:,} steps"
    facts = (spec.dataset, spec.model, f"seed {spec.search.seed}", done, status.phase)
    with st.container(key="about", horizontal=True, vertical_alignment="center", gap="small"):
        st.text(" · ".join(facts), width="content")
        if not status.settled:
            st.button(
                "Refresh",
                key="read_on",
                icon=":material/refresh:",
                type="tertiary",
                help="The run continues; this view is updated when you press Refresh.",
            )


workspace.show("Evaluate", show)
