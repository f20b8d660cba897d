"""Independent seeds beside each other: runs that differ in their seed alone. No gold is needed."""

import streamlit as st

from icm_engine.analysis.agreement_with_gold import gold_by_place
from icm_engine.analysis.between_runs import agreement, labels_of, pairs_of, per_example, siblings, verdict
from icm_engine.analysis.choices import Store
from icm_engine.analysis.compare_frames import balances_frame, disagreements_frame, pairs_frame
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.restarts import supports_frame
from icm_engine.analysis.wording import decimal, percent
from pages.parts import chains, compare_tables, session

ROWS = 500


def show(store: Store, reading: Reading) -> None:
    """Draw what was proposed, if these seeds were asked for together, and how far this run and its seeds agree."""
    proposed = chains.show(store, reading.run.name)
    if not reading.labeling:
        st.text("This run has no labels yet.")
        return
    others = [found for name in siblings(store, reading.run.name) if (found := session.look(name)[0]).labeling]
    readings = [reading, *others]
    names = [one.run.name for one in readings]
    if not others:
        st.text(
            "There is no other run with labels that differs from this one in its seed alone. Start one with another "
            "seed on the Search page: labels that two seeds share do not hang on chance."
        )
        _balances(readings)
        return
    labelings = dict(zip(names, map(labels_of, readings), strict=True))
    found, pairs = agreement(list(labelings.values())), pairs_of(labelings)
    with st.container(key="checks"):
        st.metric("Seeds", len(readings), border=True, help="Forks are left out: they share labels by descent.")
        st.metric("Labelled in all", f"{found.examples:,}", border=True, help="The examples that count here.")
        st.metric("Raw agreement", percent(found.raw), border=True, help="Mean over pairs of runs.")
        st.metric(found.kind, decimal(found.kappa, 2), border=True,
                  help="1: full agreement. 0: what chance gives with these label balances.")  # fmt: skip
    st.text(verdict(found, pairs))
    left, right = st.columns(2, gap="large")
    with left:
        _balances(readings)
    with right:
        st.markdown("**Every two runs**")
        st.dataframe(pairs_frame(pairs), hide_index=True, column_config=compare_tables.NUMBERS, placeholder="–",
                     alt="Agreement of every two runs")  # fmt: skip
    gold = gold_by_place(store, reading, tuple(reading.labeling))
    by_id = {reading.run.codec.ids[i]: label for i, label in gold.items()}
    if proposed is not None:
        rows = per_example(readings, by_id, ROWS, tuple(proposed.supports))
        frame = supports_frame(disagreements_frame(rows, names), proposed)
        compare_tables.examples("Every example", frame, ROWS, chains.ORDER)
    elif found.examples:
        frame = disagreements_frame(per_example(readings, by_id, ROWS), names)
        compare_tables.examples("Every example", frame, ROWS, compare_tables.ORDER)


def _balances(readings: list[Reading]) -> None:
    st.markdown("**Label balance**")
    frame = balances_frame(readings)
    columns = {name: compare_tables.SHARE for name in frame if str(name).startswith("share ")}
    st.dataframe(frame, hide_index=True, column_config=columns, placeholder="–", alt="Label balance of each run")
