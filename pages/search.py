"""Overview of a run, with its curves first; without a run, the form of a new one."""

from typing import Any

import streamlit as st

from icm_engine.analysis.batches import begin_batches
from icm_engine.analysis.figures import settings_frame
from icm_engine.analysis.restarts import begin_chains
from icm_engine.analysis.run_form import (
    ABOUT,
    APART,
    QUANTIZATIONS,
    Setting,
    dataset_names,
    make_spec,
    model_choice,
    model_names,
    presets,
    remarks,
    require_server,
    settings,
    steps_words,
)
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import rule_name, searches
from icm_engine.core.errors import IcmError
from icm_engine.core.server_address import is_server
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.jobs.batches import is_batched
from icm_engine.store.store import Store
from pages.parts import batch_view, charts, home, menu, run_controls, session, workspace


def show_form(store: Store) -> None:
    """Draw the form of a new run; Start creates it and opens it."""
    _what(store)
    preset = _how()
    for words in remarks(store, st.session_state["dataset"], preset):
        st.caption(words)
    _all_settings(preset)
    st.button(
        "Start",
        type="primary",
        icon=":material/play_arrow:",
        shortcut="S",
        key="start_new",
        width=220,
        on_click=_begin,
        help="Creates the run and starts its worker.",
    )
    if error := st.session_state.pop("problem", None):
        session.complain(error)
    st.page_link(menu.DATA, label="Import a data set of your own", icon=":material/database:")


def _what(store: Store) -> None:
    names, asked = dataset_names(store), st.query_params.get("dataset")
    if asked not in names:
        session.missed("dataset")
    elif "dataset" not in st.session_state:
        st.session_state["dataset"] = asked
    data, model, quantization = st.columns(3, gap="medium")
    chosen = data.selectbox("Data set", names, key="dataset", help=ABOUT["dataset"])
    named = model.selectbox("Model", model_names(store), key="model", help=ABOUT["model"], accept_new_options=True)
    quantization.selectbox(
        "Quantization",
        list(QUANTIZATIONS),
        key="quantization",
        help=ABOUT["quantization"],
        disabled=is_server(named or ""),
    )
    if chosen in SAMPLE_DATASETS:
        st.caption(SAMPLE_DATASETS[chosen])


def _how() -> str:
    preset, limit, batch, seed, steps, chains = st.columns([1.1, 1, 1, 0.8, 1.5, 0.8], gap="medium")
    chosen: str = preset.selectbox("Preset", presets(), key="preset", help=ABOUT["preset"])
    apart = {setting.name: setting for setting in settings(chosen)}
    limit.number_input("Limit", 1, value=64, step=8, key="limit", help=ABOUT["limit"], placeholder="all examples")
    batch.number_input(
        "Batch size", 1, value=None, step=8, key="batch_size", help=ABOUT["batch_size"], placeholder="none"
    )
    seed.number_input("Seed", value=apart["seed"].value, key="seed", help=apart["seed"].explanation)
    steps.number_input(
        "Steps", 1, value=None, step=50, key="max_steps", help=ABOUT["max_steps"], placeholder=steps_words(chosen)
    )
    chains.number_input("Chains", 1, value=1, key="chains", help=ABOUT["chains"])
    return chosen


def _all_settings(preset: str) -> None:
    """Draw every other setting, keyed by preset, so that another preset shows its own values."""
    shown = sorted((s for s in settings(preset) if s.name not in APART), key=lambda s: isinstance(s.value, bool))
    with st.expander("All settings of the search", icon=":material/tune:"):
        columns = st.columns(3, gap="medium")
        for setting, column in zip(shown, [*columns] * len(shown), strict=False):
            _setting(setting, column, _key(preset, setting.name))


def _setting(setting: Setting, column: Any, key: str) -> None:
    label = setting.words.capitalize()
    if isinstance(setting.value, bool):
        column.toggle(label, setting.value, key=key, help=setting.explanation)
    elif setting.choices:
        place = setting.choices.index(setting.value)
        column.selectbox(label, setting.choices, place, key=key, help=setting.explanation)
    else:
        column.number_input(label, value=setting.value, key=key, help=setting.explanation)


def _key(preset: str, name: str) -> str:
    return name if name in APART else f"{preset}_{name}"


def _begin() -> None:
    """Start what the form holds now; what was drawn may be older than the last keystroke."""
    now = st.session_state
    keys = {setting.name: _key(now["preset"], setting.name) for setting in settings(now["preset"])}
    values = {name: now[key] for name, key in keys.items() if now.get(key) is not None}
    try:
        with Store() as store:
            require_server(now["model"])
            model = model_choice(now["model"], now["quantization"])
            spec = make_spec(now["dataset"], model, now["limit"], now["preset"], values)
            if size := now.get("batch_size"):
                session.choose(begin_batches(store, spec, size, now["chains"]))
            else:
                session.choose(begin_chains(store, spec, now["chains"]))
    except IcmError as error:
        now["problem"] = error


NEW = "New run"
RHYTHMS = {"curves": 2.0, "tables": 5.0}  # seconds; a slow part must not delay the buttons


def show_run(run: str, names: list[str]) -> None:
    """Draw a run; its fragments refresh only while something moves."""
    workspace.show_header("Overview", names, run, NEW)
    run_controls.show_failure(run)
    reading, now = session.look(run)
    _, stretch = session.drawn_for(now)
    every = {part: stretch and seconds * stretch for part, seconds in RHYTHMS.items()}
    if searches(reading):
        session.fragment(charts.show_curves, every["curves"])(run)
    session.fragment(run_controls.show_news, every["curves"])(run)
    if now.over:
        run_controls.show_end(reading)
    session.fragment(charts.show_tables, every["tables"])(run)
    session.fragment(run_controls.show_tiles, every["tables"])(run)
    run_controls.show_extras(run)
    if searches(reading):
        run_controls.show_settings(reading)
    _about(reading)
    batch_view.chain_line(run)
    batch_view.line(run)
    with st.expander("Settings of this run", icon=":material/tune:"):
        st.dataframe(settings_frame(reading.run.spec.to_json()), hide_index=True, alt="The settings of this run")
        if reading.model:
            st.dataframe(settings_frame({"search": reading.model}), hide_index=True, alt="The model of this run")


def _about(reading: Reading) -> None:
    spec, count = reading.run.spec, len(reading.run.dataset.examples)
    source = () if searches(reading) else (f"source {spec.source}",)
    facts = (
        *source,
        spec.dataset,
        f"{count:,} examples",
        spec.model,
        spec.quantization,
        f"preset {spec.preset}",
        f"seed {spec.search.seed}",
        f"rule {rule_name(reading)}",
    )
    with st.container(key="about"):
        st.text(" · ".join(facts))


menu.require(home.show)

try:
    with Store() as store:
        names = session.run_names(store, wholes=True)
        run = session.chosen_run(names)
        if run is None or is_batched(store, run):
            home.show_heading(NEW if run is None else "Batches", names, run, NEW)
        if run is None:
            show_form(store)
        elif is_batched(store, run):
            batch_view.show(store, run)
        else:
            show_run(run, names)
except IcmError as error:
    session.complain(error)
