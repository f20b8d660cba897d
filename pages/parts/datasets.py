"""The list of data sets, and one data set: counts, examples, what its rule yields, and trials of a model."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from icm_engine import jobs
from icm_engine.analysis import model_trials
from icm_engine.analysis.datasets import (
    PAGE,
    QUICK,
    DatasetLine,
    ExampleLine,
    example_page,
    example_pages,
    facts,
    human_sentences,
    lines,
    rule_findings,
    rule_sentences,
    runs_code,
    samples,
    zero_shot,
)
from icm_engine.analysis.figures import examples_frame
from icm_engine.analysis.formatting import MANY, count, moment, without_flags
from icm_engine.analysis.import_form import in_page_words
from icm_engine.analysis.model_trials import check_sentences, check_tiles, histogram_frame, token_histogram
from icm_engine.analysis.run_form import (
    ABOUT,
    QUANTIZATIONS,
    ask_context,
    ask_rule_check,
    load_sample,
    model_choice,
    model_names,
    require_server,
)
from icm_engine.core.errors import IcmError
from icm_engine.core.server_address import is_server
from icm_engine.data.importing import delete_dataset, runs_using
from icm_engine.data.rule_check import RuleCheck, rule_check_of
from icm_engine.store.datasets import DatasetInfo
from icm_engine.store.events import Json
from icm_engine.store.store import Store
from pages.parts import charts, job_line, menu, session

ALL = "All data sets"
SHOWN = 12  # data sets listed until a person asks for more


def heading(names: Sequence[str], dataset: str | None) -> None:
    """Draw the title and the choice of data sets, which goes into the URL."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute", key="heading"):
        st.title("Data", width="content")
        options = [ALL, *names]
        st.selectbox(
            "Data set",
            options,
            options.index(dataset or ALL),
            key=f"open_{dataset}",
            width=300,
            on_change=_picked,
            args=(dataset,),
            help="Data sets, in order of import.",
        )
    if dataset is None:
        session.missed("dataset")


def _picked(dataset: str | None) -> None:
    """Open the picked data set; ignore a box that still has the value it was drawn with (see home)."""
    chosen = st.session_state[f"open_{dataset}"]
    if chosen != (dataset or ALL):
        session.choose_dataset(None if chosen == ALL else chosen)


def show_list(store: Store) -> None:
    """Draw the imports in progress, then the list of data sets."""
    for job in jobs.names(store, "import")[:SHOWN]:
        _import(store, job)
    st.header("Data sets")
    found = lines(store)
    with st.container(key="datasets"):
        for line in found if st.session_state.get("all_datasets") else found[:SHOWN]:
            _card(line)
    if len(found) > SHOWN:
        st.toggle(f"Show all {len(found):,}", key="all_datasets")
    _samples(store)


def _samples(store: Store) -> None:
    """Draw a button for each sample data set not imported yet."""
    waiting = samples(store)
    if not waiting:
        return
    st.text("Sample data that comes with the app:")
    with st.container(horizontal=True, gap="small", key="samples"):
        for name, about in waiting.items():
            st.button(name, icon=":material/add:", key=f"load_{name}", help=about, on_click=_load, args=(name,))


def _import(store: Store, job: str) -> None:
    """Draw an import that is in progress or interrupted, and the one in the URL in any state."""
    now = jobs.status(store, job)
    asked_for = st.query_params.get("job") == job
    if now.settled and now.phase != "interrupted" and not asked_for:
        return
    name = jobs.spec(store, job).body["dataset"]
    if now.complete:
        if store.has_dataset(name):
            session.choose_dataset(name, arrived=True)
            st.rerun()
        return
    with st.container(border=True):
        st.text(f"Import of {name}")
        job_line.show(store, job)


def _card(line: DatasetLine) -> None:
    with st.container(border=True, key=f"dataset_{line.name}"):
        name, numbers = st.columns([2.6, 3], vertical_alignment="center", gap="medium")
        with name:
            st.page_link(menu.DATA, label=line.label, icon=":material/dataset:", query_params={"dataset": line.name})
            st.text(line.about)
        with numbers, st.container(key=f"counts_{line.name}"):
            for label, value in (
                ("Examples", line.examples),
                ("Groups", line.groups),
                ("Gold", line.gold),
                ("Human", line.human),
                ("Runs", line.runs),
            ):
                st.metric(label, count(value))


def _load(name: str) -> None:
    with Store() as store:
        load_sample(store, name)
    session.choose_dataset(name)


VIEWS = ("Examples", "Rule check", "Context check", "Template trial")


def show_dataset(store: Store, dataset: str) -> None:
    """Draw a data set; only the open view is computed."""
    info, runs = store.dataset_info(dataset), runs_using(store, dataset)
    with st.container(key="about"):
        st.text(facts(info))
    if st.session_state.pop("arrived", False):
        _arrived(dataset)
    with st.container(key="counts"):
        for name, value in (
            ("Examples", info.examples),
            ("Groups", info.groups),
            ("Gold labels", info.gold),
            ("Human labels", info.human),
            ("Runs", len(runs)),
        ):
            st.metric(name, count(value), border=True)
    _actions(info, runs)
    if len(info.task.labels) > MANY:
        with st.expander(f"All {len(info.task.labels)} labels", icon=":material/label:"):
            st.text(" · ".join(info.task.labels))
    if info.notes:
        with st.expander(f"Notes of the import ({len(info.notes)})", icon=":material/sticky_note_2:"):
            for note in info.notes:
                st.text(f"· {in_page_words(note)}")
    view = session.choice("view", VIEWS, f"view_{dataset}")
    if view == VIEWS[1]:
        _rule(store, info)
    elif view == VIEWS[2]:
        show_context_check(store, dataset)
    elif view == VIEWS[3]:
        show_template_trial(store, dataset)
    else:
        _examples(store, info)


def _arrived(dataset: str) -> None:
    """Say that the import is done, and what to do next."""
    st.success("Imported. Check its rule and its context, or label it.", icon=":material/check_circle:")
    with st.container(horizontal=True, gap="small", key="next"):
        for page, label, icon in (
            (menu.SEARCH, "Start a run on it", ":material/play_arrow:"),
            (menu.DATA, "See the data set", ":material/dataset:"),
        ):
            st.page_link(page, label=label, icon=icon, query_params={"dataset": dataset})


def _actions(info: DatasetInfo, runs: list[str]) -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="actions"):
        st.page_link(menu.SEARCH, label="Label it", icon=":material/play_arrow:", query_params={"dataset": info.name})
        st.button("Delete …", key="delete", icon=":material/delete:", on_click=_ask, type="tertiary")
    if error := st.session_state.pop("delete_problem", None):
        session.complain(error)
    if st.session_state.pop("deleting", False):
        _dialog(info, runs)


def _ask() -> None:
    st.session_state["deleting"] = True


@st.dialog("Delete this data set?", icon=":material/delete:")
def _dialog(info: DatasetInfo, runs: list[str]) -> None:
    st.text(info.name)
    if runs:
        named = ", ".join(runs[:5]) + (", …" if len(runs) > 5 else "")
        st.warning("It cannot be deleted while runs use it:", icon=":material/lock:")
        st.text(named)
    else:
        st.text(
            f"{info.examples:,} examples, {info.gold:,} gold and {info.human:,} human labels are deleted with it, "
            "permanently."
        )
    with st.container(horizontal=True):
        if st.button("Keep it", key="keep"):
            st.rerun()
        st.button(
            "Delete for good",
            key="delete_really",
            type="primary",
            icon=":material/delete:",
            disabled=bool(runs),
            on_click=_delete,
            args=(info.name,),
        )
    if "dataset" not in st.query_params:
        st.rerun()  # deleted: close, and redraw the list


def _delete(dataset: str) -> None:
    try:
        with Store() as store:
            delete_dataset(store, dataset)
        session.choose_dataset(None)
    except IcmError as error:
        st.session_state["delete_problem"] = error


# -- examples


def _examples(store: Store, info: DatasetInfo) -> None:
    pages = example_pages(info.examples)
    page = _page(info.name, pages)
    lines = example_page(store, info.name, page)
    frame = examples_frame(lines, info.task.fields)
    key, ids = f"examples_{info.name}_{page}", [line.example.id for line in lines]
    st.dataframe(
        frame,
        hide_index=True,
        key=key,
        on_select=lambda: _select(key, ids),
        selection_mode="single-row",
        placeholder="–",
        alt="Examples",
        row_height=34,
        column_config=_widths(info),
    )
    first = (page - 1) * PAGE
    st.caption(f"Examples {first + 1:,} to {first + len(lines):,} of {info.examples:,}. Click a row to see all of it.")
    if lines:
        asked = st.query_params.get("example")
        _whole(store, info, lines[ids.index(asked)] if asked in ids else lines[0])


def _page(dataset: str, pages: int) -> int:
    """Draw the choice of a page, initially the one in the URL."""
    first, key = session.number("page", 1, 1, pages), f"page_{dataset}"
    if pages == 1:
        return 1
    return st.pagination(pages, default=first, key=key, on_change=session.address, args=("page", key))


def _widths(info: DatasetInfo) -> dict[str, Any]:
    """Column widths narrow enough that the columns after the texts are visible without scrolling."""
    width = 560 // max(1, len(info.task.fields))
    return {field: st.column_config.TextColumn(width=width) for field in info.task.fields}


def _select(key: str, ids: list[str]) -> None:
    """Put the selected example into the URL by id, since rows change with the page."""
    rows = st.session_state[key]["selection"]["rows"]
    if rows:
        st.query_params["example"] = ids[rows[0]]
    else:
        st.query_params.pop("example", None)


def _whole(store: Store, info: DatasetInfo, line: ExampleLine) -> None:
    st.markdown("**As the model reads it**")
    session.exactly(zero_shot(store, info.name, line.example))
    facts = [f"example {line.example.id}", f"group {line.example.group}"]
    if line.example.answer is not None:
        facts.append(f"answer {line.example.answer}")
    if line.example.twin_of is not None:
        facts.append(f"swapped twin of {line.example.twin_of}")
    st.text(" · ".join(facts))


# -- the rule check


def _rule(store: Store, info: DatasetInfo) -> None:
    if runs_code(info):
        st.text(
            "The rule is a Python file of your own, which pages do not run: its pairs are not counted here. A run "
            "applies it; the command check counts its pairs."
        )
        return
    if info.examples <= QUICK:
        _rule_found(_findings(store, info.name, info.created))
        for sentence in human_sentences(store, info.name) if info.human else ():
            st.text(f"· {without_flags(sentence)}")
        return
    made = [job for job in jobs.names(store, "rule-check", info.name) if jobs.created(store, job) > info.created]
    if not made:
        st.text(f"The check reads all {info.examples:,} examples, in the background.")
        st.button(
            "Check the rule", key="rule", icon=":material/rule:", type="primary", on_click=_ask_rule, args=(info.name,)
        )
    elif job_line.show(store, made[0]).complete and (found := jobs.result(store, made[0])):
        _rule_found(rule_check_of(found))


def _ask_rule(dataset: str) -> None:
    with Store() as store:
        ask_rule_check(store, dataset)


def _rule_found(check: RuleCheck) -> None:
    with st.container(key="checks"):
        for name, value in (
            ("Groups with pairs", check.groups),
            ("Constrained pairs", check.pairs),
            ("Without answer", check.without_answer_count),
            ("Pairs with gold", check.gold_pairs),
            ("Gold violations", check.gold_violated),
        ):
            st.metric(name, count(value), border=True)
    for sentence in rule_sentences(check):
        st.text(f"· {without_flags(sentence)}")
    if check.without_answer:
        with st.expander("Examples without an answer", icon=":material/help:"):
            session.plain("\n".join(check.without_answer))


@st.cache_data(max_entries=50, show_spinner="Checking the rule …")
def _findings(_store: Store, dataset: str, created: float) -> RuleCheck:
    return rule_findings(_store, dataset)


# -- trials of a model

CONTEXT_CHECK = "context-check"


def show_context_check(store: Store, dataset: str) -> None:
    """Draw the choice of a model, and the check in the URL, else the last one."""
    st.text("Counts tokens with the model's own tokenizer, and times a few evaluations with the loaded model.")
    _form(store, dataset, "context", None, "Check", ":material/straighten:", _ask_context_check)
    if error := st.session_state.pop("context_problem", None):
        session.complain(error)
    made = jobs.names(store, CONTEXT_CHECK, dataset)
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
