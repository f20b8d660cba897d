"""Training: a model tuned on a run's labels, its loss, and its answers on a test part."""

import streamlit as st

from icm_engine import jobs
from icm_engine.analysis import tuned_models
from icm_engine.core.errors import IcmError
from icm_engine.store.store import Store
from pages.parts import job_line, session, training_result, workspace

WHAT = (
    "Fine-tuning teaches a model the labels of this run: matrices beside its own weights (LoRA) learn to answer each "
    "example, asked without demonstrations, with its label. The model itself stays as it is."
)


def show(store: Store, run: str) -> None:
    """Draw the form, and the training in the URL, else the last one."""
    st.text(WHAT)
    reading, _ = session.look(run)
    if not reading.labeling:
        st.text("This run has no labels yet.")
        return
    made = tuned_models.jobs_about(store, run)
    _form(run, len(reading.labeling), busy=bool(made) and not jobs.status(store, made[0]).settled)
    if not made:
        return
    job = job_line.chosen(store, made, "Training")
    training_result.show(store, reading, job)


def _form(run: str, labels: int, busy: bool) -> None:
    with st.expander("Settings", icon=":material/tune:"):
        columns = st.columns(3, gap="medium")
        for setting, column in zip(tuned_models.settings(), [*columns] * 2, strict=True):
            column.number_input(
                setting.words.capitalize(),
                value=setting.value,
                key=f"tune_{setting.name}",
                help=setting.explanation,
                format="%g" if isinstance(setting.value, float) else None,
            )
        st.text_input("Name", key="tune_name", placeholder=f"{run}-tuned", help="Of the tuned model.")
    st.button(
        f"Tune on {labels:,} labels",
        type="primary",
        icon=":material/model_training:",
        key="tune",
        on_click=_ask,
        args=(run,),
        disabled=busy,
        help="Runs in a separate process; you can leave the page meanwhile.",
    )
    if error := st.session_state.pop("tune_problem", None):
        session.complain(error)


def _ask(run: str) -> None:
    now = st.session_state
    values = {setting.name: now[f"tune_{setting.name}"] for setting in tuned_models.settings()}
    try:
        with Store() as store:
            st.query_params["job"] = tuned_models.submit(store, [run], values, now["tune_name"].strip())
    except IcmError as error:
        now["tune_problem"] = error


workspace.show("Train", show)
