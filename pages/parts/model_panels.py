"""The context check and the template trial of a data set."""

from collections.abc import Callable

import streamlit as st

from icm_engine import jobs
from icm_engine.analysis import model_trials
from icm_engine.analysis.formatting import moment, without_flags
from icm_engine.analysis.model_trials import check_sentences, check_tiles, histogram_frame, token_histogram
from icm_engine.analysis.run_form import ABOUT, QUANTIZATIONS, ask_context, model_choice, model_names, require_server
from icm_engine.core.errors import IcmError
from icm_engine.core.server_address import is_server
from icm_engine.store.events import Json
from icm_engine.store.store import Store
from pages.parts import charts, job_line, session

KIND = "context-check"


def show_context_check(store: Store, dataset: str) -> None:
    """Draw the choice of a model, and the check in the URL, else the last one."""
    st.text("Counts tokens with the model's own tokenizer, and times a few evaluations with the loaded model.")
    _form(store, dataset, "context", None, "Check", ":material/straighten:", _ask_context_check)
    if error := st.session_state.pop("context_problem", None):
        session.complain(error)
    made = jobs.names(store, KIND, dataset)
    if not made:
        return
    job = job_line.chosen(store, made, "Check", "check", _title)
    now = job_line.show(store, job)
    if now.complete and (found := jobs.result(store, job)):
        if len(made) == 1:
            st.caption(_title(store, job))
        _found(found, job)


def _form(
    store: Store, dataset: str, name: str, limit: int | None, act: str, icon: str, ask: Callable[[str], None]
) -> None:
    """The choice of a model and a limit for a job about a data set, and the button that starts it."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key=f"{name}_form"):
        named = st.selectbox(
            "Model", model_names(store), key=f"{name}_model", help=ABOUT["model"], accept_new_options=True, width=300
        )
        st.selectbox(
            "Quantization",
            list(QUANTIZATIONS),
            key=f"{name}_quantization",
            help=ABOUT["quantization"],
            width=170,
            disabled=is_server(named or ""),
        )
        st.number_input(
            "Limit",
            1,
            value=limit,
            step=8,
            key=f"{name}_limit",
            help=ABOUT["limit"],
            placeholder="all examples",
            width=170,
        )
        st.button(
            act,
            type="primary",
            icon=icon,
            key=f"{name}_start",
            on_click=ask,
            args=(dataset,),
            width=140,
            help="Loads the model in a separate process; you can leave the page meanwhile.",
        )


def _ask_context_check(dataset: str) -> None:
    now = st.session_state
    try:
        with Store() as store:
            require_server(now["context_model"])
            model = model_choice(now["context_model"], now["context_quantization"])
            job = ask_context(store, dataset, model, now.get("context_limit"))
        st.query_params["check"] = job
    except IcmError as error:
        now["context_problem"] = error


def _title(store: Store, job: str) -> str:
    spec = jobs.spec(store, job)
    limit = spec.body.get("limit")
    model = f"{spec.model.model} · {spec.model.quantization}" if spec.model else ""
    return f"{model} · {'all examples' if limit is None else f'limit {limit:,}'} · {moment(jobs.created(store, job))}"


def _found(found: Json, job: str) -> None:
    with st.container(key="checks"):
        charts.tiles(check_tiles(found))
    for sentence in check_sentences(found):
        st.text(f"· {without_flags(sentence)}")
    left, right = st.columns([3, 2], gap="large")
    with left:
        _histogram(found, job)
    with right:
        st.markdown("**The longest examples**")
        st.dataframe(found["longest"], hide_index=True, alt="The longest examples")


def _histogram(found: Json, job: str) -> None:
    chart = token_histogram(found, session.dark())
    st.markdown(f"**{chart.title}**")
    if st.session_state.get("histogram_as_table"):
        st.dataframe(histogram_frame(found), hide_index=True, height=280, alt="The histogram as a table")
    else:
        charts.show_live(chart, key=f"histogram_{job}")
    st.toggle("Histogram as a table", key="histogram_as_table")


WHAT = (
    "Tries the task's template and plainer ones, each with several label words, on a few examples. With an "
    "unsuitable template, the model's probability falls on other words. Gold is not used."
)


def show_template_trial(store: Store, dataset: str) -> None:
    """Draw the choice of a model, and the trial in the URL, else the last one."""
    st.text(WHAT)
    _form(store, dataset, "trial", 64, "Try", ":material/science:", _ask_template_trial)
    if error := st.session_state.pop("trial_problem", None):
        session.complain(error)
    made = model_trials.trials(store, dataset)
    if not made:
        return
    job = job_line.chosen(store, made, "Trial")
    if job_line.show(store, job).complete and (found := jobs.result(store, job)):
        for sentence in model_trials.trial_sentences(found):
            st.text(f"· {without_flags(sentence)}")
        st.dataframe(model_trials.trial_frame(found), hide_index=True, alt="Templates and label words, best first")
        st.download_button(
            "Task file of the best row",
            model_trials.task_file(store, found, 1),
            f"{dataset}_task.toml",
            icon=":material/download:",
            help="Import the file again with this task to use its template.",
        )


def _ask_template_trial(dataset: str) -> None:
    now = st.session_state
    try:
        with Store() as store:
            require_server(now["trial_model"])
            model = model_choice(now["trial_model"], now["trial_quantization"])
            st.query_params["job"] = model_trials.submit(store, dataset, model, now.get("trial_limit"))
    except IcmError as error:
        now["trial_problem"] = error
