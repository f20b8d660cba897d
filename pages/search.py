"""Overview of a run, with its curves first; without a run, the form of a new one."""

from typing import Any

import streamlit as st

from icm_engine import jobs
from icm_engine.analysis.alerts import server_words
from icm_engine.analysis.batches import begin_batches
from icm_engine.analysis.figures import settings_frame
from icm_engine.analysis.formatting import escaped, without_flags
from icm_engine.analysis.model_trials import CHECK, folds_cost, run_cost, too_long, trials_with
from icm_engine.analysis.restarts import begin_chains
from icm_engine.analysis.run_form import (
    ABOUT,
    APART,
    FIRST_RUN,
    METHODS,
    NOT_OF_FOLDS,
    OF_FOLDS,
    QUANTIZATIONS,
    FoldField,
    NewRun,
    Problem,
    Setting,
    ask_context,
    begin,
    dataset_names,
    fold_fields,
    labelled,
    make_spec,
    model_choice,
    model_names,
    named_model,
    presets,
    problems,
    put_sample,
    remarks,
    require_server,
    rules,
    settings,
    steps_words,
    taken,
)
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import moves, rule_name, searches
from icm_engine.core.errors import IcmError
from icm_engine.core.server_address import is_server
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.jobs.batches import is_batched
from icm_engine.store.store import Store
from pages.parts import batch_view, charts, home, job_line, menu, run_controls, session, workspace

NEW = "New run"


def show_form(store: Store) -> None:
    """Draw the form of a new run; Start creates it and opens it."""
    _what(store)
    wish = _wish()
    examples = taken(store, wish)
    for number, problem in enumerate(_problems(store, wish, examples)):
        _problem(number, problem, wish)
    with st.container(horizontal=True, gap="medium", vertical_alignment="center", key="start_line"):
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
        _cost(store, wish, examples)
    if error := st.session_state.pop("problem", None):
        session.complain(error)
    for words in remarks(store, wish.dataset, wish.preset, wish.rule):
        st.caption(escaped(without_flags(words)))
    _size(wish)
    if wish.by_folds:
        _folds()
    _model()
    _all_settings(wish)
    st.page_link(menu.DATA, label="Import a data set of your own", icon=":material/database:")


def _what(store: Store) -> None:
    names, asked = dataset_names(store), st.query_params.get("dataset")
    if asked not in names:
        session.missed("dataset")
    elif "dataset" not in st.session_state:
        st.session_state["dataset"] = asked
    data, model = st.columns(2, gap="medium")
    chosen = data.selectbox("Data set", names, key="dataset", help=ABOUT["dataset"])
    model.selectbox("Model", model_names(store), key="model", help=ABOUT["model"], accept_new_options=True)
    if chosen in SAMPLE_DATASETS:
        st.caption(SAMPLE_DATASETS[chosen])
    st.segmented_control(
        "How labels are found",
        list(METHODS),
        default=None if "method" in st.session_state else METHOD,
        required=True,
        key="method",
        format_func=METHODS.__getitem__,
        help=ABOUT["method"],
    )


METHOD = next(iter(METHODS))  # unless chosen otherwise
OWN_RULE = "the data set's own"
USUAL: dict[str, Any] = {"limit": FIRST_RUN.limit, "batch_size": None, "max_steps": None, "chains": 1, "rule": OWN_RULE}


def _wish() -> NewRun:
    """The current choices in the form; fields that are drawn further below have their defaults until then."""
    state = st.session_state
    now = {name: state.get(name, usual) for name, usual in USUAL.items()}
    preset = state.get("preset", presets()[0])
    values = {setting.name: state.get(_key(preset, setting.name), setting.value) for setting in settings(preset)}
    return NewRun(
        state["dataset"],
        now["limit"],
        preset,
        values["predictability"],
        values["initial_labels"] or 0,
        now["max_steps"],
        now["batch_size"],
        now["chains"] or 1,
        _rule(now["rule"]),
        named_model(state["model"] or "", state.get("quantization", next(iter(QUANTIZATIONS)))),
        state.get("method") or METHOD,
        *_fold_choices(),
    )


def _fold_choices() -> tuple[int, dict[str, Any]]:
    """The rounds, and the options of the folds that are not the usual ones."""
    rounds, *others = fold_fields()
    state = st.session_state
    chosen = {field.key.removeprefix(OF_FOLDS): state.get(field.key) for field in others}
    usual = {field.key.removeprefix(OF_FOLDS): field.value for field in others}
    options = {name: value for name, value in chosen.items() if value is not None and value != usual[name]}
    return state.get(rounds.key) or rounds.value, options


def _rule(chosen: str) -> str | None:
    return None if chosen == OWN_RULE else chosen


# -- problems and cost


def _problems(store: Store, wish: NewRun, examples: int | None) -> list[Problem]:
    model = wish.model
    long = too_long(store, wish, examples, model) if model and examples else None
    return [*problems(store, wish), *([long] if long else [])]


def _problem(number: int, problem: Problem, wish: NewRun) -> None:
    with st.container(key=f"problem_{number}"):
        st.warning(escaped(problem.text), icon=":material/warning:")
        with st.container(horizontal=True, gap="small"):
            for remedy in problem.remedies:
                st.button(
                    escaped(remedy.words),
                    key=f"mend_{remedy.field}_{remedy.value}",
                    icon=":material/build:",
                    on_click=_mend,
                    args=(_key(wish.preset, remedy.field), remedy.value),
                )
            if not problem.remedies:
                view = {"dataset": wish.dataset}
                st.page_link(menu.DATA, label="Open the data set", icon=":material/database:", query_params=view)


def _mend(key: str, value: Any) -> None:
    st.session_state[key] = value


def _cost(store: Store, wish: NewRun, examples: int | None) -> None:
    """Draw the expected cost of the run; if nothing has measured it, the button of the context check."""
    model = wish.model
    if wish.by_folds:
        _folds_cost(store, wish, examples)
        return
    if examples is None:
        most = "" if wish.limit is None else f", at most {wish.limit:,} examples"
        steps = f"{wish.max_steps:,}" if wish.max_steps else f"{steps_words(wish.preset)}{most}"
        st.text(f"Steps: {steps}.", width="content")
    elif examples and model:
        found = run_cost(store, wish, examples, model)
        st.text(found.words, width="content")
        if found.job:
            st.caption(f"By {found.job}.", width="content")
            return
    made = trials_with(store, CHECK, wish.dataset, model) if model else []
    if made and not jobs.status(store, made[0]).complete:
        with st.container():
            job_line.show(store, made[0])
        return
    st.text(
        "Its tokens and minutes on this machine are not known yet: a context check finds them out.", width="content"
    )
    st.button(
        "Check tokens and time",
        key="measure",
        icon=":material/straighten:",
        on_click=_measure,
        help="Loads the model in a separate process, counts tokens and times a few evaluations.",
    )


def _folds_cost(store: Store, wish: NewRun, examples: int | None) -> None:
    """Draw the most that a run with folds can cost."""
    if examples is None or wish.model is None:
        st.text(f"At most {wish.rounds:,} rounds; each tunes one model for each fold.", width="content")
        return
    found = folds_cost(store, wish, examples, wish.model)
    st.text(f"{found.words}.", width="content")
    if found.job:
        st.caption(f"By {found.job}.", width="content")
    st.caption("The first fits show how long one takes here; the run can be paused within a fit.", width="content")


def _measure() -> None:
    """Start the context check for the current choices."""
    now = st.session_state
    try:
        with Store() as store:
            require_server(now["model"])
            put_sample(store, now["dataset"])
            model = model_choice(now["model"], now.get("quantization", next(iter(QUANTIZATIONS))))
            ask_context(store, now["dataset"], model, now.get("limit", USUAL["limit"]))
    except IcmError as error:
        now["problem"] = error


# -- the folded fields


def _size(wish: NewRun) -> None:
    """Draw the preset and the size of the search, folded."""
    preset, steps = wish.preset, not wish.by_folds
    for name in ("limit", "batch_size", "max_steps", "chains"):
        st.session_state.setdefault(name, USUAL[name])
    apart = {setting.name: setting for setting in settings(preset)}
    st.session_state.setdefault("seed", apart["seed"].value)
    title = (
        "Preset, number of examples, batches, seed, steps and chains" if steps else "Preset, number of examples, seed"
    )
    with st.expander(title, icon=":material/straighten:"):
        left, middle, right = st.columns(3, gap="medium")
        words = labelled("Preset: a named set of values", presets()[0])
        left.selectbox(words, presets(), key="preset", help=ABOUT["preset"])
        words = labelled("Examples to label at most", USUAL["limit"], "limit")
        middle.number_input(words, 1, value=None, step=8, key="limit", help=ABOUT["limit"], placeholder="all examples")
        if steps:
            words = labelled("Examples in a batch", "no batches", "batch size")
            right.number_input(
                words, 1, value=None, step=8, key="batch_size", help=ABOUT["batch_size"], placeholder="no batches"
            )
        left.number_input(apart["seed"].phrase, value=None, step=1, key="seed", help=apart["seed"].explanation)
        if steps:
            _steps_and_chains(preset, middle, right)
        words = labelled("Consistency rule", OWN_RULE)
        (left if steps else right).selectbox(words, (OWN_RULE, *rules()), key="rule", help=ABOUT["rule"])


def _steps_and_chains(preset: str, left: Any, right: Any) -> None:
    words = labelled("Steps of the search", steps_words(preset))
    left.number_input(
        words, 1, value=None, step=50, key="max_steps", help=ABOUT["max_steps"], placeholder=steps_words(preset)
    )
    words = labelled("Searches with other seeds", 1, "chains")
    right.number_input(words, 1, value=None, step=1, key="chains", help=ABOUT["chains"], placeholder="1")


def _folds() -> None:
    """Draw the rounds and the options of the folds, folded."""
    with st.expander("Folds, rounds and tuning", icon=":material/model_training:"):
        columns = st.columns(3, gap="medium")
        for number, field in enumerate(fold_fields()):
            _fold_field(field, columns[number % 3])


def _fold_field(field: FoldField, column: Any) -> None:
    st.session_state.setdefault(field.key, field.value)
    if field.choices:
        column.selectbox(field.label, field.choices, key=field.key, help=field.explanation)
        return
    whole = isinstance(field.value, int)
    least, step = (2 if field.key == f"{OF_FOLDS}folds" else 1, 1) if whole else (0.0, 0.0001)
    column.number_input(
        field.label,
        least,
        value=None,
        step=step,
        format=None if whole else "%g",
        key=field.key,
        help=field.explanation,
        placeholder=f"{field.value:g}",
    )


def _model() -> None:
    with st.expander("How the model is loaded", icon=":material/memory:"):
        st.selectbox(
            labelled("How the weights are stored", next(iter(QUANTIZATIONS)), "quantization"),
            list(QUANTIZATIONS),
            key="quantization",
            help=ABOUT["quantization"],
            disabled=is_server(st.session_state["model"] or ""),
            width=360,
        )


def _all_settings(wish: NewRun) -> None:
    """Draw every other setting, keyed by preset, so that another preset shows its own values."""
    preset, left_out = wish.preset, {*APART, *(NOT_OF_FOLDS if wish.by_folds else ())}
    shown = sorted((s for s in settings(preset) if s.name not in left_out), key=lambda s: isinstance(s.value, bool))
    with st.expander("All settings of the search", icon=":material/tune:"):
        columns = st.columns(3, gap="medium")
        for setting, column in zip(shown, [*columns] * len(shown), strict=False):
            _setting(setting, column, _key(preset, setting.name))


def _setting(setting: Setting, column: Any, key: str) -> None:
    st.session_state.setdefault(key, setting.value)  # not the field's default, because a remedy could not replace that
    if isinstance(setting.value, bool):
        column.toggle(setting.phrase, key=key, help=setting.explanation)
    elif setting.choices:
        column.selectbox(setting.phrase, setting.choices, key=key, help=setting.explanation)
    else:
        step: Any = 1 if isinstance(setting.value, int) else 0.01
        column.number_input(
            setting.phrase, value=None, step=step, key=key, help=setting.explanation, placeholder=f"{setting.value:g}"
        )


def _key(preset: str, name: str) -> str:
    return name if name in (*APART, *USUAL, "method") or name.startswith(OF_FOLDS) else f"{preset}_{name}"


def _begin() -> None:
    """Start a run with the current choices; the drawn ones may be older than the last keystroke."""
    now = st.session_state
    keys = {setting.name: _key(now["preset"], setting.name) for setting in settings(now["preset"])}
    values = {name: now[key] for name, key in keys.items() if now.get(key) is not None}
    folds = None
    if now.get("method", METHOD) != METHOD:
        values["max_steps"], folds = _fold_choices()
    try:
        with Store() as store:
            require_server(now["model"])
            model = model_choice(now["model"], now["quantization"])
            spec = make_spec(now["dataset"], model, now["limit"], now["preset"], values, _rule(now["rule"]), folds)
            if folds is not None:
                session.choose(begin(store, spec))
            elif size := now.get("batch_size"):
                session.choose(begin_batches(store, spec, size, now["chains"] or 1))
            else:
                session.choose(begin_chains(store, spec, now["chains"] or 1))
    except IcmError as error:
        now["problem"] = error


RHYTHMS = {"curves": 2.0, "tables": 5.0}  # seconds; a slow part must not delay the buttons


def show_run(run: str, names: list[str]) -> None:
    """Draw a run; its fragments refresh only while something moves."""
    workspace.show_header("Overview", names, run, NEW)
    run_controls.show_failure(run)
    if workspace.asks_first(run):
        return
    reading, now = session.look(run)
    _, stretch = session.drawn_for(now)
    every = {part: stretch and seconds * stretch for part, seconds in RHYTHMS.items()}
    curves = session.fragment(charts.show_curves, every["curves"])
    if moves(reading) and not now.over:
        curves(run)
    if now.over:
        run_controls.show_end(reading)  # first: at its end, people ask which labels to doubt
    session.fragment(run_controls.show_news, every["curves"])(run)
    if moves(reading) and now.over:
        curves(run)
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
    source = () if searches(reading) else ("fine-tuned folds" if reading.by_folds else f"source {spec.source}",)
    facts = (
        *source,
        spec.dataset,
        f"{count:,} examples",
        spec.model,
        spec.quantization,
        f"preset {spec.preset_name}",
        f"seed {spec.search.seed}",
        f"rule {rule_name(reading)}",
    )
    with st.container(key="about"):
        st.text(" · ".join(facts))
        for words in server_words(reading.model):
            st.text(words)


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
