"""Train: a model tuned on a run's labels, its loss, and its answers on a test part."""

import streamlit as st

from icm_engine import jobs
from icm_engine.analysis import tuned_models
from icm_engine.analysis.gold_agreement import gold_shown
from icm_engine.analysis.run_history import Reading
from icm_engine.core.errors import IcmError
from icm_engine.store.events import Json
from icm_engine.store.store import Store
from pages.parts import charts, job_line, session, workspace

WHAT = (
    "Fine-tuning teaches a model the labels of this run: small matrices added to its weights (LoRA) learn to answer "
    "each example, asked without demonstrations, with its label. The model itself stays as it is."
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
    _show_training(store, reading, job)


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


# -- one training

EVERY = 2.0  # seconds
COLUMNS = {name: charts.SHARE for name in ("right", "from", "to", "said True")}


def _show_training(store: Store, reading: Reading, job: str) -> None:
    """Draw the current state of a training."""
    now = job_line.show(store, job)
    session.fragment(_curve, None if now.settled else EVERY)(job)
    if now.complete and (facts := tuned_models.facts_of(store, job)):
        _result(facts)
        _test(store, reading, job)


def _curve(job: str) -> None:
    with Store() as store:
        points = tuned_models.points(store, job)
    if not points:
        st.text("The curve begins with the first step.")
        return
    last = points[-1]
    st.text(f"Step {last.step:,} of {last.steps:,} · epoch {last.epoch:.1f} · {last.seconds:.0f} s")
    charts.show(tuned_models.loss_chart(points, session.dark()), tuned_models.points_frame(points), f"loss_{job}")


def _result(facts: Json) -> None:
    st.header("The tuned model")
    st.text("Use this name wherever a model is needed: a new run, a context check, a suite.")
    session.plain(tuned_models.how_to_use(facts))
    with st.expander("What it is", icon=":material/receipt_long:"):
        st.dataframe(tuned_models.card_frame(facts), hide_index=True, height="content", alt="What the tuned model is")


def _test(store: Store, reading: Reading, job: str) -> None:
    """Draw the base and the tuned model's results on examples the run did not label, once requested."""
    st.button(
        "Try it on the test part",
        key="try_out",
        icon=":material/quiz:",
        on_click=_try,
        args=(job,),
        help="Asks the base model, without and with the labels shown, and the tuned one.",
    )
    if error := st.session_state.pop("try_problem", None):
        session.complain(error)
    tried = tuned_models.tried(store, job)
    for one in tried:
        job_line.show(store, one)
    if lines := tuned_models.lines(store, tried, gold_shown(reading)):
        st.dataframe(
            tuned_models.lines_frame(lines),
            hide_index=True,
            column_config=COLUMNS,
            placeholder="–",
            alt="The base model and the tuned one on the test part",
        )
        st.caption(tuned_models.TESTED_WORDS)


def _try(job: str) -> None:
    try:
        with Store() as store:
            tuned_models.try_out(store, job)
    except IcmError as error:
        st.session_state["try_problem"] = error


workspace.show("Train", show)
