"""The groups in conflict, drawn as graphs, some at a time."""

import streamlit as st

from icm_engine.analysis.choices import Store
from icm_engine.analysis.conflict_figures import groups_chart
from icm_engine.analysis.conflict_frames import groups_frame
from icm_engine.analysis.conflict_groups import graph, group_page, group_pages, groups_in_conflict
from icm_engine.analysis.conflicts import counted
from icm_engine.analysis.reading import Reading
from pages.parts import charts, conflict_shared, session

SHOWS = {"now": "In conflict now", "ever": "Ever in conflict"}


def show(store: Store, reading: Reading) -> None:
    """Draw the groups of one page, those most in conflict first."""
    asked = conflict_shared.choice("show", SHOWS, f"show_groups_{reading.run.name}")
    groups = groups_in_conflict(reading, ever=asked == "ever")
    if not groups:
        st.text("No group is in conflict now." if asked == "now" else "No group has been in conflict so far.")
        return
    page = conflict_shared.turned("groups", f"groups_{asked}_{reading.run.name}", group_pages(groups))
    graphs = [graph(store, reading, group) for group in group_page(groups, page)]
    chart = groups_chart(graphs, reading.trajectory.labels, session.dark())
    key = f"groups_{asked}_{page}_{reading.run.name}"
    st.caption(f"{counted(len(groups), 'group')}, {len(graphs)} of them here.")
    charts.show(chart, groups_frame(graphs), key, clicked=lambda code: _clicked(reading.run.name, code))


def _clicked(run: str, code: str) -> None:
    """Show the pair whose cross was clicked."""
    st.session_state[f"view_{run}"] = "Pairs"
    st.query_params.update({"view": "Pairs", "pair": code})
