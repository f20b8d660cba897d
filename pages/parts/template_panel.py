"""The template trial of a data set: which model, how far the job is, what fits."""

import streamlit as st

from icm_engine.analysis import template_trial
from icm_engine.analysis.choices import (
    ABOUT,
    QUANTIZATIONS,
    IcmError,
    Store,
    is_server,
    model_choice,
    model_names,
    require_server,
)
from icm_engine.runs import jobs
from pages.parts import job_line, session

WHAT = (
    "Tries the task's template and plainer ones, each with several words for the labels, on a few examples. With a "
    "template that does not fit, the model's probability falls elsewhere. Gold is not used."
)


def show(store: Store, dataset: str) -> None:
    """Draw the choice of a model, and the trial in the address, else the last one."""
    st.text(WHAT)
    _form(store, dataset)
    if error := st.session_state.pop("trial_problem", None):
        session.complain(error)
    made = jobs.names(store, template_trial.KIND, dataset)
    if not made:
        return
    job = job_line.chosen(store, made, "Trial")
    if job_line.show(store, job).phase == "done" and (found := jobs.result(store, job)):
        for sentence in template_trial.sentences(found):
            st.text(f"· {sentence}")
        st.dataframe(template_trial.trial_frame(found), hide_index=True, alt="Templates and label words, best first")
        st.download_button(
            "Task file of the best row", template_trial.task_file(store, found, 1), f"{dataset}_task.toml",
            icon=":material/download:", help="Import the file again with this task to use its template.",
        )  # fmt: skip


def _form(store: Store, dataset: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="trial_form"):
        named = st.selectbox(
            "Model", model_names(store), key="trial_model", help=ABOUT["model"], accept_new_options=True, width=300
        )
        st.selectbox(
            "Quantization", list(QUANTIZATIONS), key="trial_quantization", help=ABOUT["quantization"], width=170,
            disabled=is_server(named or ""),
        )  # fmt: skip
        st.number_input(
            "Limit", 1, value=64, step=8, key="trial_limit", help=ABOUT["limit"], placeholder="all examples", width=170
        )
        st.button(
            "Try", type="primary", icon=":material/science:", key="trial", on_click=_ask, args=(dataset,), width=140,
            help="Loads the model in a process of its own; the page can be left meanwhile.",
        )  # fmt: skip


def _ask(dataset: str) -> None:
    now = st.session_state
    try:
        with Store() as store:
            require_server(now["trial_model"])
            model = model_choice(now["trial_model"], now["trial_quantization"])
            st.query_params["job"] = template_trial.ask(store, dataset, model, now.get("trial_limit"))
    except IcmError as error:
        now["trial_problem"] = error
