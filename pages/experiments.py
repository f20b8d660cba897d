"""Experiments: suites of runs with their tables and figures; self-rewarding loops and self-taught judges by round."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from itertools import islice

import streamlit as st

from icm_engine import jobs
from icm_engine.analysis import tuned_models
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
from icm_engine.experiments import runner, self_rewarding
from icm_engine.experiments.report import as_html, as_markdown, figures
from icm_engine.experiments.report_tables import facts, table_frame, tables
from icm_engine.experiments.self_rewarding import Loop, LoopSettings
from icm_engine.experiments.suites import SHIPPED, Suite, read_suite
from icm_engine.jobs import self_teaching
from icm_engine.jobs.policies import TRAINING_EXPLANATIONS, PreferenceSettings, settings_from
from icm_engine.jobs.self_teaching import Teaching, TeachSettings
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


def _chosen(store: Store, kind: str, words: str, title: Callable[[Store, str], str]) -> str | None:
    """Draw the choice of a job of this kind and return it: the one in the URL, else the last; None if there is none."""
    made = jobs.names(store, kind)
    if not made:
        return None
    job = job_line.chosen(store, made, words, title=title)
    if len(made) == 1:
        st.caption(title(store, job))
    return job


def show_results(store: Store) -> None:
    """Draw the suite in the URL, else the last one."""
    job = _chosen(store, runner.KIND, "Results of", _title)
    if job is None:
        st.info("No suite has been run yet.", icon=":material/info:")
        return
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


# -- self-rewarding loops

LOOP = (
    "In each round a policy responds to prompts, a judge labels the responses, and the policy is tuned on the labels "
    "(DPO). The round that beats the start most often on held-out prompts, by the judge, is kept. An interrupted loop "
    "continues with what is left when started again."
)
JUDGES = {
    "icm": "ICM",
    "self-ranked": "the model ranks",
    self_rewarding.MAJORITY: "majority",
    self_rewarding.GOLDEN: "gold (supervised)",
}
JUDGING = (
    "Who labels the responses: a search by ICM; the model, which takes the likeliest response to a prompt for right; "
    "the most frequent answer; or gold, as a ceiling."
)
EVERY = 2.0  # seconds
ROUND_COLUMNS = {
    **{name: charts.SHARE for name in ("win rate", "from", "to", "right by gold", "labels right", "distinct", "cut")},
    "judged in": st.column_config.LinkColumn(display_text=r"run=(.+)$", help="The run that labelled the responses."),
}


def show_loop_form(store: Store) -> None:
    """Draw the form of a loop; Start runs it in separate processes."""
    st.text(LOOP)
    dataset, model, quantization, judge, rounds = st.columns([2, 2, 2, 2, 1], gap="medium")
    names = dataset_names(store)
    dataset.selectbox("Data set", names, key="loop_dataset", help="Its prompts are answered: questions, or queries.")
    named = model.selectbox("Model", model_names(store), key="loop_model", help=ABOUT["model"], accept_new_options=True)
    quantization.selectbox("Quantization", list(QUANTIZATIONS), key="loop_quantization", help=ABOUT["quantization"])
    judge.selectbox("Judge", list(JUDGES), key="loop_judge", format_func=JUDGES.__getitem__, help=JUDGING)
    rounds.number_input("Rounds", 1, value=LoopSettings().rounds, key="loop_rounds")
    with st.expander("Settings", icon=":material/tune:"):
        st.selectbox(
            "Test data set",
            names,
            None,
            key="loop_test",
            placeholder="the next prompts of the same data set",
            help="Its prompts are held out: the policy is not tuned on responses to them.",
        )
        _draw_settings("loop", _loop_settings())
    st.button(
        "Start the loop",
        type="primary",
        icon=":material/autorenew:",
        key="loop_start",
        on_click=_ask_loop,
        disabled=not named or is_server(named),
        help="Runs in separate processes; you can leave the page meanwhile. The model must be on this machine.",
    )
    if error := st.session_state.pop("loop_problem", None):
        session.complain(error)


Settings = Iterable[tuple[str, int | float, str]]  # name, default and explanation


def _draw_settings(form: str, settings: Settings) -> None:
    """Draw settings in three columns, each a number or a box to tick with a key that begins with the form's."""
    waiting = iter(settings)
    while row := list(islice(waiting, 3)):
        columns = st.columns(3, gap="medium", vertical_alignment="bottom")
        for column, (name, value, words) in zip(columns, row, strict=False):
            title, about = name.replace("_", " ").capitalize(), f"{words[0].upper()}{words[1:]}."
            if isinstance(value, bool):
                column.checkbox(title, value, key=f"{form}_{name}", help=about)
            else:
                shown = "%g" if isinstance(value, float) else None
                column.number_input(title, value=value, key=f"{form}_{name}", help=about, format=shown)


def _loop_settings() -> Settings:
    """The settings in the drawer; those of sampling, then those of training."""
    values = {**asdict(LoopSettings()), **asdict(PreferenceSettings())}
    words = {**self_rewarding.EXPLANATIONS, **TRAINING_EXPLANATIONS}
    return ((name, value, words[name]) for name, value in values.items() if name not in ("rounds", "judge"))


def _ask_loop() -> None:
    now = st.session_state
    given = {name: now[f"loop_{name}"] for name, _, _ in _loop_settings()}
    training = {field.name: given[field.name] for field in fields(PreferenceSettings)}
    loop = {name: value for name, value in given.items() if name not in training}
    try:
        with Store() as store:
            asked = Loop(
                self_rewarding.free_loop_name(store, now["loop_dataset"]),
                now["loop_dataset"],
                now["loop_test"],
                LoopSettings(rounds=now["loop_rounds"], judge=now["loop_judge"], **loop),
                PreferenceSettings(**training),
                model_choice(now["loop_model"], now["loop_quantization"]),
            )
            job = self_rewarding.ask(store, asked)
            jobs.start(store, job)
            st.query_params["job"] = job
    except IcmError as error:
        now["loop_problem"] = error


def show_loops(store: Store) -> None:
    """Draw the loop in the URL, else the last one."""
    job = _chosen(store, self_rewarding.KIND, "Rounds of", _loop_title)
    if job is None:
        st.info("No loop has been run yet.", icon=":material/info:")
        return
    now = job_line.show(store, job)
    session.fragment(_rounds, None if now.settled else EVERY)(job)
    if now.complete and (found := jobs.result(store, job)):
        _kept(found, found["policy"], "Use this name wherever a model is needed")


def _loop_title(store: Store, job: str) -> str:
    loop = Loop.of(jobs.spec(store, job))
    return f"{loop.name} · {loop.settings.judge} · {loop.model.model} · {moment(jobs.created(store, job))}"


def _rounds(job: str) -> None:
    with Store() as store:
        rounds = tuned_models.loop_rounds(store, job)
    if not rounds:
        st.text("The curve begins once the start has responded to the held-out prompts.")
        return
    best = self_rewarding.best_of([one.win_rate.mean for one in rounds[1:]])
    charts.show(tuned_models.rounds_chart(rounds, best, session.dark()), None, f"rounds_{job}")
    st.dataframe(
        tuned_models.rounds_frame(rounds),
        hide_index=True,
        height="content",
        column_config=ROUND_COLUMNS,
        placeholder="–",
        alt="The rounds of the loop",
    )
    st.caption(
        "Win rate: against the start, by the judge, with a 95 % interval over prompts. Right by gold: share of "
        "responses. Labels right: share of the judge's labels on the training prompts. Pairs: preferences that the "
        "policy was tuned on. Distinct: share of different responses to a prompt, which falls when a policy collapses. "
        "Cut: share of responses that reached the maximum length."
    )


def _kept(found: Json, model: str | None, use: str) -> None:
    """Draw why there are no more rounds, and the model of the round that is kept."""
    st.text(f"Ended: {found['ended']}.")
    if model is None:
        st.text("The start is kept: no round surpassed it.")
        return
    st.text(f"Round {found['best']} is kept. {use}:")
    session.plain(model)


# -- self-taught judges

TEACHING = (
    "A model learns to judge with reasoning, without labels. Its own response to a prompt is taken to be better than "
    "its response to another prompt. It judges both, and is tuned on the judgements that came to the known side. The "
    "round that finds both known sides of most held-out prompts is kept."
)
TAUGHT_COLUMNS = {
    name: charts.SHARE
    for name in ("both sides found", "from", "to", "known labels found", "abstained", "right by gold")
}


def show_teaching_form(store: Store) -> None:
    """Draw the form of a self-taught judge; Start runs it in a process of its own."""
    st.text(TEACHING)
    dataset, model, quantization = st.columns(3, gap="medium")
    names = dataset_names(store)
    dataset.selectbox("Data set", names, key="taught_dataset", help="Its prompts are answered, and the answers judged.")
    named = model.selectbox(
        "Model", model_names(store), key="taught_model", help=ABOUT["model"], accept_new_options=True
    )
    quantization.selectbox("Quantization", list(QUANTIZATIONS), key="taught_quantization", help=ABOUT["quantization"])
    with st.expander("Settings", icon=":material/tune:"):
        st.selectbox(
            "Test data set",
            names,
            None,
            key="taught_test",
            placeholder="the next prompts of the same data set",
            help="Its prompts are held out: they decide which round is kept.",
        )
        _draw_settings("taught", _teaching_settings())
    st.button(
        "Teach the judge",
        type="primary",
        icon=":material/school:",
        key="taught_start",
        on_click=_ask_teaching,
        disabled=not named or is_server(named),
        help="Runs in a separate process; you can leave the page meanwhile. The model must be on this machine.",
    )
    if error := st.session_state.pop("taught_problem", None):
        session.complain(error)


def _teaching_settings() -> Settings:
    return ((name, value, self_teaching.EXPLANATIONS[name]) for name, value in asdict(TeachSettings()).items())


def _ask_teaching() -> None:
    now = st.session_state
    try:
        with Store() as store:
            asked = Teaching(
                self_teaching.free_teaching_name(store, now["taught_dataset"]),
                now["taught_dataset"],
                now["taught_test"],
                settings_from(TeachSettings, {name: now[f"taught_{name}"] for name, _, _ in _teaching_settings()}),
                model_choice(now["taught_model"], now["taught_quantization"]),
            )
            job = self_teaching.ask(store, asked)
            jobs.start(store, job)
            st.query_params["job"] = job
    except IcmError as error:
        now["taught_problem"] = error


def show_taught(store: Store) -> None:
    """Draw the self-taught judge in the URL, else the last one."""
    job = _chosen(store, self_teaching.KIND, "Rounds of", _taught_title)
    if job is None:
        st.info("No judge has been taught yet.", icon=":material/info:")
        return
    now = job_line.show(store, job)
    session.fragment(_taught_rounds, None if now.settled else EVERY)(job)
    if now.complete and (found := jobs.result(store, job)):
        _kept(found, found["judge"], "Use this name for the model of the label source judge, in the style steps")


def _taught_title(store: Store, job: str) -> str:
    teaching = Teaching.of(jobs.spec(store, job))
    return f"{teaching.name} · {teaching.model.model} · {moment(jobs.created(store, job))}"


def _taught_rounds(job: str) -> None:
    with Store() as store:
        rounds = tuned_models.taught_rounds(store, job)
    if not rounds:
        st.text("The curve begins once the model before any tuning has judged.")
        return
    agreements = [one.agreement.mean for one in rounds]
    chart = tuned_models.taught_chart(rounds, agreements.index(max(agreements)), session.dark())
    charts.show(chart, None, f"taught_{job}")
    st.dataframe(
        tuned_models.taught_frame(rounds),
        hide_index=True,
        height="content",
        column_config=TAUGHT_COLUMNS,
        placeholder="–",
        alt="The rounds of the self-taught judge",
    )
    st.caption(
        "Both sides found: held-out prompts on which the judge says that its own response is right and the one to "
        "another prompt is not, with a 95 % interval. Known labels found, abstained: shares of single verdicts. Right "
        "by gold: its labels of the data set's examples about these prompts. Judgements learned: what it was tuned on."
    )


menu.require(home.show)

st.title("Experiments")
LOOPS, TAUGHT = self_rewarding.KIND, self_teaching.KIND
PARTS = {
    "suites": (show_form, show_results),
    "loop": (show_loop_form, show_loops),
    "judge": (show_teaching_form, show_taught),
}
NAMES = {"suites": "Suites", "loop": "Self-rewarding loop", "judge": "Self-taught judge"}
job = st.query_params.get("job", "")
meant = next((part for part, kind in (("loop", LOOPS), ("judge", TAUGHT)) if job.startswith(f"{kind}.")), "suites")
try:
    with Store() as store:
        for show in PARTS[session.choice("part", NAMES, "part", meant)]:
            show(store)
except IcmError as error:
    session.complain(error)
