"""The context check of a data set: which model, how far the job is, what it found."""

import streamlit as st

from icm_engine.analysis.choices import (
    ABOUT,
    QUANTIZATIONS,
    IcmError,
    Store,
    ask_context,
    is_server,
    model_names,
    require_server,
)
from icm_engine.analysis.context import Json, histogram_frame, sentences, tiles, token_histogram
from icm_engine.analysis.wording import moment
from icm_engine.runs import jobs
from pages.parts import job_line, live_curve, session

KIND = "context-check"


def show(store: Store, dataset: str) -> None:
    """Draw the choice of a model, and the check in the address, else the last one."""
    st.text("Counts tokens with the model's own tokenizer, and times a few evaluations with the loaded model.")
    _form(store, dataset)
    if error := st.session_state.pop("context_problem", None):
        session.complain(error)
    made = jobs.names(store, KIND, dataset)
    if not made:
        return
    asked = st.query_params.get("check")
    job = asked if asked in made else made[0]
    if len(made) > 1:
        st.selectbox(
            "Check", made, made.index(job), key=f"check_{job}", on_change=_picked, args=(job,), width=420,
            format_func=lambda name: _title(store, name), help="The checks of this data set, the newest first.",
        )  # fmt: skip
    now = job_line.show(store, job)
    if now.phase == "done" and (found := jobs.result(store, job)):
        if len(made) == 1:
            st.caption(_title(store, job))
        _found(found, job)


def _form(store: Store, dataset: str) -> None:
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
            "Limit", 1, value=None, step=8, key="context_limit", help=ABOUT["limit"], placeholder="all examples",
            width=170,
        )  # fmt: skip
        st.button(
            "Check", type="primary", icon=":material/straighten:", key="context_check", on_click=_ask, args=(dataset,),
            width=140, help="Loads the model in a process of its own; the page can be left meanwhile.",
        )  # fmt: skip


def _ask(dataset: str) -> None:
    now = st.session_state
    try:
        with Store() as store:
            require_server(now["context_model"])
            job = ask_context(
                store, dataset, now["context_model"], now["context_quantization"], now.get("context_limit")
            )
        st.query_params["check"] = job
    except IcmError as error:
        now["context_problem"] = error


def _picked(job: str) -> None:
    """Go to the job that was picked; a box that says what it was drawn with picks nothing (see run_heading)."""
    if (chosen := st.session_state[f"check_{job}"]) != job:
        st.query_params["check"] = chosen


def _title(store: Store, job: str) -> str:
    spec = jobs.spec(store, job)
    limit = spec.body.get("limit")
    model = f"{spec.model.model} · {spec.model.quantization}" if spec.model else ""
    return f"{model} · {'all examples' if limit is None else f'limit {limit:,}'} · {moment(jobs.created(store, job))}"


def _found(found: Json, job: str) -> None:
    with st.container(key="checks"):
        for tile in tiles(found):
            st.metric(
                tile.name, tile.value, tile.note, delta_color="off", delta_arrow="off", border=True,
                help=tile.explanation,
            )  # fmt: skip
    for sentence in sentences(found):
        st.text(f"· {sentence}")
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
        live_curve.show(chart, key=f"histogram_{job}")
    st.toggle("Histogram as a table", key="histogram_as_table")
