"""Which suite to run, with which model, on which data."""

import streamlit as st

from icm_engine.analysis.choices import (
    ABOUT,
    QUANTIZATIONS,
    IcmError,
    Store,
    dataset_names,
    is_server,
    model_names,
    require_server,
)
from icm_engine.analysis.experiments import asking
from icm_engine.analysis.experiments.suites import SHIPPED, read_suite
from pages.parts import session

WHAT = (
    "A suite labels the same examples from several sources, with several seeds, and reports them side by side with "
    "intervals. A suite that was cut off goes on with what is left when it is asked for again."
)


def show(store: Store) -> None:
    """Draw the form; Run starts the suite in a process of its own."""
    st.text(WHAT)
    suite, model, quantization, processes = st.columns([2, 2, 2, 1], gap="medium")
    name = suite.selectbox("Suite", SHIPPED, key="suite", help="Each is a small TOML file.")
    named = model.selectbox(
        "Model", model_names(store), key="suite_model", help=ABOUT["model"], accept_new_options=True
    )
    quantization.selectbox("Quantization", list(QUANTIZATIONS), key="suite_quantization", help=ABOUT["quantization"],
                           disabled=is_server(named or ""))  # fmt: skip
    processes.number_input(
        "Processes", 1, value=1, key="suite_processes", help="How many work side by side, each with its own model."
    )
    declared = read_suite(name)
    st.text(f"{declared.title}. {declared.question}")
    names = dataset_names(store)
    data, test, examples = st.columns([3, 2, 1], gap="medium")
    data.multiselect("Data sets", names, [], key="suite_datasets", placeholder=", ".join(declared.datasets),
                     help="In place of the suite's own.")  # fmt: skip
    test.selectbox("Test data set", names, None, key="suite_test", placeholder="its test part, and what is left over",
                   help="Labels are used as demonstrations on these examples.")  # fmt: skip
    examples.number_input("Examples", 1, value=None, key="suite_examples", placeholder=str(declared.examples),
                          help="How many examples are labelled, in place of the suite's own number.")  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.button("Run the suite", type="primary", icon=":material/science:", key="suite_run", on_click=_ask,
                  help="Works in processes of its own; the page can be left meanwhile.")  # fmt: skip
        st.toggle("Quick", key="suite_quick", help="The suite's own smaller form, in a few minutes.")
    if error := st.session_state.pop("suite_problem", None):
        session.complain(error)


def _ask() -> None:
    now = st.session_state
    try:
        with Store() as store:
            require_server(now["suite_model"])
            st.query_params["job"] = asking.ask_from_page(
                store, now["suite"], now["suite_model"], now["suite_quantization"], quick=now["suite_quick"],
                test=now["suite_test"], processes=now["suite_processes"], datasets=now["suite_datasets"],
                examples=now["suite_examples"],
            )  # fmt: skip
    except IcmError as error:
        now["suite_problem"] = error
