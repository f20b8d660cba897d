"""The context check and the template trial of a data set."""

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
    _context_form(store, dataset)
    if error := st.session_state.pop("context_problem", None):
        session.complain(error)
    made = jobs.names(store, KIND, dataset)
    if not made:
        return
    asked = st.query_params.get("check")
    job = asked if asked in made else made[0]
    if len(made) > 1:
        st.selectbox(
            "Check",
            made,
            made.index(job),
            key=f"check_{job}",
            on_change=_picked,
            args=(job,),
            width=420,
            format_func=lambda name: _title(store, name),
            help="The checks of this data set, newest first.",
        )
    now = job_line.show(store, job)
    if now.complete and (found := jobs.result(store, job)):
        if len(made) == 1:
            st.caption(_title(store, job))
        _found(found, job)


def _context_form(store: Store, dataset: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="context_form"):
        named = st.selectbox(
            "Model", model_names(store), key="context_model", help=ABOUT["model"], accept_new_options=True, width=300
        )
        st.selectbox(
            "Quantization",
            list(QUANTIZATIONS),
            key="context_quantization",
            help=ABOUT["quantization"],
            width=170,
            disabled=is_server(named or ""),
        )
        st.number_input(
            "Limit",
            1,
            value=None,
            step=8,
            key="context_limit",
            help=ABOUT["limit"],
            placeholder="all examples",
            width=170,
        )
        st.button(
            "Check",
            type="primary",
            icon=":material/straighten:",
            key="context_check",
            on_click=_ask_context_check,
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


def _picked(job: str) -> None:
    """Open the picked job; ignore a box that still has the value it was drawn with (see home)."""
    if (chosen := st.session_state[f"check_{job}"]) != job:
        st.query_params["check"] = chosen


def _title(store: Store, job: str) -> str:
    spec = jobs.spec(store, job)
    limit = spec.body.get("limit")
    model = f"{spec.model.model} · {spec.model.quantization}" if spec.model else ""
    return f"{model} · {'all examples' if limit is None else f'limit {limit:,}'} · {moment(jobs.created(store, job))}"


def _found(found: Json, job: str) -> None:
    with st.container(key="checks"):
        for tile in check_tiles(found):
            st.metric(
                tile.name,
                tile.value,
                tile.note,
                delta_color="off",
                delta_arrow="off",
                border=True,
                help=tile.explanation,
            )
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
    _template_form(store, dataset)
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


def _template_form(store: Store, dataset: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="trial_form"):
        named = st.selectbox(
            "Model", model_names(store), key="trial_model", help=ABOUT["model"], accept_new_options=True, width=300
        )
        st.selectbox(
            "Quantization",
            list(QUANTIZATIONS),
            key="trial_quantization",
            help=ABOUT["quantization"],
            width=170,
            disabled=is_server(named or ""),
        )
        st.number_input(
            "Limit", 1, value=64, step=8, key="trial_limit", help=ABOUT["limit"], placeholder="all examples", width=170
        )
        st.button(
            "Try",
            type="primary",
            icon=":material/science:",
            key="trial",
            on_click=_ask_template_trial,
            args=(dataset,),
            width=140,
            help="Loads the model in a separate process; you can leave the page meanwhile.",
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
