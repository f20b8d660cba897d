"""Experiments: suites of runs, their tables and figures."""

import streamlit as st

from icm_engine.analysis.choices import IcmError, Store
from pages.parts import experiment_form, experiment_view, home, menu, session

menu.require(home.show)

st.title("Experiments")
try:
    with Store() as store:
        experiment_form.show(store)
        experiment_view.show(store)
except IcmError as error:
    session.complain(error)
