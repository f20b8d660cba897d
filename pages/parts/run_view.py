"""One run: controls that stay put, and around them what changes, each in its own rhythm."""

import streamlit as st

from icm_engine.analysis.frames import settings_frame
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.strip import offers
from icm_engine.analysis.views import rule_name, searches
from pages.parts import batch_view, chains, controls, curves, session, status, steering, tables

NEW = "New run"
RHYTHMS = {"status": 1.0, "curves": 2.0, "tables": 5.0}  # seconds; a slow one must not hold up the buttons


def show(run: str) -> None:
    """Draw a run. Only while something moves do its fragments tick."""
    reading, now = session.look(run)
    _about(reading)
    chains.line(run)
    batch_view.line(run)
    controls.show(run, offers(now))
    if searches(reading):
        steering.show(reading)
    phase, stretch = session.drawn_for(now)
    every = {part: stretch and seconds * stretch for part, seconds in RHYTHMS.items()}
    session.fragment(status.show, every["status"])(run, (phase, stretch))
    if searches(reading):
        st.toggle("Curves as a table", key="as_table")
        session.fragment(curves.show, every["curves"])(run)
    session.fragment(tables.show, every["tables"])(run)
    with st.expander("Settings of this run", icon=":material/tune:"):
        st.dataframe(settings_frame(reading.run.spec.to_json()), hide_index=True, alt="The settings of this run")
        if reading.model:
            st.dataframe(settings_frame({"search": reading.model}), hide_index=True, alt="The model of this run")


def _about(reading: Reading) -> None:
    spec, count = reading.run.spec, len(reading.run.dataset.examples)
    source = () if searches(reading) else (f"source {spec.source}",)
    facts = (*source, spec.dataset, f"{count:,} examples", spec.model, spec.quantization, f"preset {spec.preset}",
             f"seed {spec.search.seed}", f"rule {rule_name(reading)}")  # fmt: skip
    with st.container(key="about"):
        st.text(" · ".join(facts))
