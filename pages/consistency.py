"""Conflicts and repairs: inconsistent pairs and groups, now or ever, and every repair with its options."""

import streamlit as st

from icm_engine.analysis.conflict_figures import pairs_chart, pairs_curve_frame
from icm_engine.analysis.conflicts import groups_in_conflict, has_rule, pairs_back, pairs_now, pairs_prevented
from icm_engine.analysis.formatting import count
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import rule_name
from icm_engine.store.store import Store
from pages.parts import charts, conflicts, session, workspace

VIEWS = ("Pairs", "Groups", "Repairs")
RHYTHM = 2.0  # seconds between two checks of the curve of a moving run


def show(store: Store, run: str) -> None:
    """Draw the view that the URL names."""
    reading, status = session.look(run)
    workspace.about(reading, status, f"rule {rule_name(reading)}")
    if not has_rule(reading):
        st.info("This run has no consistency rule: nothing in it can be inconsistent.", icon=":material/info:")
        return
    if reading.state is None:
        st.text("This run has no labels yet.")
        return
    _counts(reading)
    session.fragment(_curve, None if status.settled else RHYTHM)(run)
    meant = "Repairs" if "repair" in st.query_params else None
    view = session.choice("view", VIEWS, f"view_{run}", meant)
    if view == "Pairs":
        conflicts.show_pairs(reading)
    elif view == "Groups":
        conflicts.show_groups(store, reading)
    else:
        conflicts.show_repairs(store, reading)


def _counts(reading: Reading) -> None:
    kept = sum(mark.kept for mark in reading.repairs)
    with st.container(key="counts"):
        for name, value in (
            ("Inconsistent pairs", len(pairs_now(reading))),
            ("Groups in conflict", len(groups_in_conflict(reading))),
            ("Recurring conflicts", len(pairs_back(reading))),
            ("Prevented conflicts", len(pairs_prevented(reading))),
            ("Repairs", len(reading.repairs)),
            ("Repairs kept", kept),
        ):
            st.metric(name, count(value), border=True)


def _curve(run: str) -> None:
    reading, _ = session.look(run)
    charts.show(pairs_chart(reading, session.dark()), pairs_curve_frame(reading), f"conflict_curve_{run}")


workspace.show("Conflicts and repairs", show)
