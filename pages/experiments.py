"""Experiments: suites of runs, their tables and figures."""

from collections.abc import Sequence

import streamlit as st

from icm_engine import jobs
from icm_engine.analysis.formatting import moment
from icm_engine.analysis.run_form import (
    ABOUT,
    QUANTIZATIONS,
    dataset_names,
    model_choice,
    model_names,
    require_server,
)
from icm_engine.core.errors import IcmError
from icm_engine.core.server_address import is_server
from icm_engine.experiments import runner
from icm_engine.experiments.report import as_html, as_markdown, figures
from icm_engine.experiments.report_tables import facts, table_frame, tables
from icm_engine.experiments.suites import SHIPPED, Suite, read_suite
from icm_engine.store.events import Json
from icm_engine.store.store import Store
from pages.parts import charts, home, job_line, menu, session

WHAT = (
    "A suite labels the same examples from several sources with several seeds, and reports them side by side with "
    "intervals. An interrupted suite continues with what is left when started again."
)


def show_form(store: Store) -> None:
    """Draw the form; Run starts the suite in a separate process."""
    st.text(WHAT)
    suite, model, quantization, processes = st.columns([2, 2, 2, 1], gap="medium")
    name = suite.selectbox("Suite", SHIPPED, key="suite", help="Each is a small TOML file.")
    named = model.selectbox(
        "Model", model_names(store), key="suite_model", help=ABOUT["model"], accept_new_options=True
    )
    quantization.selectbox(
        "Quantization",
        list(QUANTIZATIONS),
        key="suite_quantization",
        help=ABOUT["quantization"],
        disabled=is_server(named or ""),
    )
    processes.number_input(
        "Processes", 1, value=1, key="suite_processes", help="How many work side by side, each with its own model."
    )
    declared = read_suite(name)
    st.text(f"{declared.title}. {declared.question}")
    _form_data(declared, dataset_names(store))
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.button(
            "Run the suite",
            type="primary",
            icon=":material/science:",
            key="suite_run",
            on_click=_ask,
            help="Runs in separate processes; you can leave the page meanwhile.",
        )
        st.toggle("Quick", key="suite_quick", help="The suite's smaller version, which takes a few minutes.")
    if error := st.session_state.pop("suite_problem", None):
        session.complain(error)


def _form_data(declared: Suite, names: Sequence[str]) -> None:
    """Draw the fields that override the suite's own data."""
    data, test, examples = st.columns([3, 2, 1], gap="medium")
    data.multiselect(
        "Data sets",
        names,
        [],
        key="suite_datasets",
        placeholder=", ".join(declared.datasets),
        help="Instead of the suite's own.",
    )
    test.selectbox(
        "Test data set",
        names,
        None,
        key="suite_test",
        placeholder="its test part, and what is left over",
        help="Labels are used as demonstrations on these examples.",
    )
    examples.number_input(
        "Examples",
        1,
        value=None,
        key="suite_examples",
        placeholder=str(declared.examples),
        help="The number of examples to label, instead of the suite's own.",
    )


def _ask() -> None:
    now = st.session_state
    try:
        with Store() as store:
            require_server(now["suite_model"])
            st.query_params["job"] = runner.submit_from_page(
                store,
                now["suite"],
                model_choice(now["suite_model"], now["suite_quantization"]),
                quick=now["suite_quick"],
                test=now["suite_test"],
                processes=now["suite_processes"],
                datasets=now["suite_datasets"],
                examples=now["suite_examples"],
            )
    except IcmError as error:
        now["suite_problem"] = error


def show_results(store: Store) -> None:
    """Draw the suite in the URL, else the last one."""
    made = jobs.names(store, runner.KIND)
    if not made:
        st.info("No suite has been run yet.", icon=":material/info:")
        return
    job = job_line.chosen(store, made, "Results of", title=_title)
    if len(made) == 1:
        st.caption(_title(store, job))
    if job_line.show(store, job).complete and (found := jobs.result(store, job)):
        _found(found, job)


def _title(store: Store, job: str) -> str:
    spec = jobs.spec(store, job)
    return f"{spec.body['key']} · {spec.model.model if spec.model else ''} · {moment(jobs.created(store, job))}"


def _found(found: Json, job: str) -> None:
    st.header(found["title"])
    st.text(found["question"])
    for number, chart in enumerate(figures(found, session.dark())):
        charts.show(chart, None, f"figure_{number}_{job}")
    for table in tables(found):
        st.markdown(f"**{table.title}**")
        st.dataframe(table_frame(table), hide_index=True, height="content", alt=table.title)
        st.caption(table.caption)
    _runs(found, job)
    with st.expander("How this was made", icon=":material/receipt_long:"):
        for name, value in facts(found):
            st.text(f"{name}: {value}")
    name = runner.folder_name(found)
    with st.container(horizontal=True, gap="small"):
        st.download_button(
            "Report (HTML)",
            lambda: as_html(found, figures(found)),
            f"{name}.html",
            "text/html",
            key="report_html",
            icon=":material/download:",
            on_click="ignore",
        )
        st.download_button(
            "Report (Markdown)",
            lambda: as_markdown(found, figures(found), {}),
            f"{name}.md",
            "text/markdown",
            key="report_markdown",
            icon=":material/download:",
            on_click="ignore",
        )


def _runs(found: Json, job: str) -> None:
    """Links from a row to its runs."""
    runs = runner.runs_of(found)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        run = st.selectbox(
            "Run behind the numbers", list(runs), key=f"run_{job}", format_func=runs.__getitem__, width=420
        )
        if run is not None:
            st.page_link(menu.SEARCH, label="Open it", icon=":material/show_chart:", query_params={"run": run})


menu.require(home.show)

st.title("Experiments")
try:
    with Store() as store:
        show_form(store)
        show_results(store)
except IcmError as error:
    session.complain(error)
