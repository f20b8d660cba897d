"""Experiments: suites of runs with their tables and figures; self-rewarding loops and self-taught judges by round."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from typing import TYPE_CHECKING, Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

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

if TYPE_CHECKING:
    import pandas

    from icm_engine.analysis.figures import Chart

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


# -- what goes in rounds: self-rewarding loops and self-taught judges

EVERY = 2.0  # seconds
Settings = Iterable[tuple[str, int | float, str]]  # name, default and explanation


@dataclass(frozen=True, slots=True)
class InRounds:
    """What is trained in rounds, and how the page speaks of it; `key` begins the keys of its widgets.

    `fields` draws what its form has beside the data set and the model, in columns of these `widths`; `ask` stores the
    job that the form says. `title` is that of a job, and `draw` draws its rounds. `model` is the key of the kept model
    in its result, and `notes` is what speaks against it.
    """

    kind: str
    key: str
    about: str
    data: str
    held_out: str
    button: str
    icon: str
    none_yet: str
    use: str
    model: str
    widths: Sequence[int]
    fields: Callable[[Sequence[DeltaGenerator]], None]
    settings: Callable[[], Settings]
    ask: Callable[[Store], str]
    title: Callable[[Store, str], str]
    draw: Callable[[str], None]
    notes: Callable[[Store, str, int], Sequence[str]]


def show_round_form(store: Store, what: InRounds) -> None:
    """Draw the form; the button starts the job in processes of its own."""
    key, names = what.key, dataset_names(store)
    st.text(what.about)
    dataset, model, quantization, *others = st.columns([2, 2, 2, *what.widths], gap="medium")
    dataset.selectbox("Data set", names, key=f"{key}_dataset", help=what.data)
    models = model_names(store)
    named = model.selectbox("Model", models, key=f"{key}_model", help=ABOUT["model"], accept_new_options=True)
    quantization.selectbox("Quantization", list(QUANTIZATIONS), key=f"{key}_quantization", help=ABOUT["quantization"])
    what.fields(others)
    with st.expander("Settings", icon=":material/tune:"):
        next_ones = "the next prompts of the same data set"
        st.selectbox("Test data set", names, None, key=f"{key}_test", placeholder=next_ones, help=what.held_out)
        _draw_settings(key, what.settings())
    st.button(
        what.button,
        type="primary",
        icon=what.icon,
        key=f"{key}_start",
        on_click=_ask_rounds,
        args=(what,),
        disabled=not named or is_server(named),
        help="Runs in processes of its own; you can leave the page meanwhile. The model must be on this machine.",
    )
    if error := st.session_state.pop(f"{key}_problem", None):
        session.complain(error)


def _draw_settings(key: str, settings: Settings) -> None:
    """Draw settings in three columns, each a number or a box to tick."""
    waiting = iter(settings)
    while row := list(islice(waiting, 3)):
        columns = st.columns(3, gap="medium", vertical_alignment="bottom")
        for column, (name, value, words) in zip(columns, row, strict=False):
            title, about = name.replace("_", " ").capitalize(), f"{words[0].upper()}{words[1:]}."
            if isinstance(value, bool):
                column.checkbox(title, value, key=f"{key}_{name}", help=about)
            else:
                shown = "%g" if isinstance(value, float) else None
                column.number_input(title, value=value, key=f"{key}_{name}", help=about, format=shown)


def _ask_rounds(what: InRounds) -> None:
    try:
        with Store() as store:
            job = what.ask(store)
            jobs.start(store, job)
            st.query_params["job"] = job
    except IcmError as error:
        st.session_state[f"{what.key}_problem"] = error


def _given(what: InRounds) -> dict[str, Any]:
    """The settings that the form's drawer has."""
    return {name: st.session_state[f"{what.key}_{name}"] for name, _, _ in what.settings()}


def show_rounds(store: Store, what: InRounds) -> None:
    """Draw the rounds of the job in the URL, else of the last one, and the model that was kept."""
    job = _chosen(store, what.kind, "Rounds of", what.title)
    if job is None:
        st.info(what.none_yet, icon=":material/info:")
        return
    now = job_line.show(store, job)
    session.fragment(what.draw, None if now.settled else EVERY)(job)
    if not now.complete or (found := jobs.result(store, job)) is None:
        return
    st.text(f"Ended: {found['ended']}.")
    if found[what.model] is None:
        st.text("The start is kept: no round surpassed it.")
        return
    st.text(f"Round {found['best']} is kept. {what.use}:")
    session.plain(found[what.model])
    for note in what.notes(store, job, found["best"]):
        st.text(note)


def _draw_rounds(
    chart: "Chart", frame: "pandas.DataFrame", columns: dict[str, Any], alt: str, caption: str, key: str
) -> None:
    """Draw the curve of what is kept by, and under it the rounds as a table."""
    charts.show(chart, None, key)
    st.dataframe(frame, hide_index=True, height="content", column_config=columns, placeholder="–", alt=alt)
    st.caption(caption)


# -- self-rewarding loops

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
LOOP_COLUMNS = {
    **{name: charts.SHARE for name in ("win rate", "from", "to", "right by gold", "labels right", "distinct", "cut")},
    "judged in": st.column_config.LinkColumn(display_text=r"run=(.+)$", help="The run that labelled the responses."),
}
LOOP_CAPTION = (
    "Win rate: against the start, by the judge, with a 95 % interval over prompts. Right by gold: share of "
    "responses. Labels right: share of the judge's labels on the training prompts. Pairs: preferences that the "
    "policy was tuned on. Distinct: share of different responses to a prompt, which falls when a policy collapses. "
    "Cut: share of responses that reached the maximum length."
)


def _loop_fields(columns: Sequence[DeltaGenerator]) -> None:
    judge, rounds = columns
    judge.selectbox("Judge", list(JUDGES), key="loop_judge", format_func=JUDGES.__getitem__, help=JUDGING)
    rounds.number_input("Rounds", 1, value=LoopSettings().rounds, key="loop_rounds")


def _loop_settings() -> Settings:
    """The settings in the drawer; those of sampling, then those of training."""
    values = {**asdict(LoopSettings()), **asdict(PreferenceSettings())}
    words = {**self_rewarding.EXPLANATIONS, **TRAINING_EXPLANATIONS}
    return ((name, value, words[name]) for name, value in values.items() if name not in ("rounds", "judge"))


def _ask_loop(store: Store) -> str:
    now, given = st.session_state, _given(LOOP)
    training = {field.name: given.pop(field.name) for field in fields(PreferenceSettings)}
    how = LoopSettings(rounds=now["loop_rounds"], judge=now["loop_judge"], **given)
    dataset, test = now["loop_dataset"], now["loop_test"]
    model = model_choice(now["loop_model"], now["loop_quantization"])
    name = self_rewarding.free_loop_name(store, dataset)
    return self_rewarding.ask(store, Loop(name, dataset, test, how, PreferenceSettings(**training), model))


def _loop_title(store: Store, job: str) -> str:
    loop = Loop.of(jobs.spec(store, job))
    return f"{loop.name} · {loop.settings.judge} · {loop.model.model} · {moment(jobs.created(store, job))}"


def _loop_rounds(job: str) -> None:
    with Store() as store:
        rounds = tuned_models.loop_rounds(store, job)
    if not rounds:
        st.text("The curve begins once the start has responded to the held-out prompts.")
        return
    best = self_rewarding.best_of([one.win_rate.mean for one in rounds[1:]])
    chart, frame = tuned_models.rounds_chart(rounds, best, session.dark()), tuned_models.rounds_frame(rounds)
    _draw_rounds(chart, frame, LOOP_COLUMNS, "The rounds of the loop", LOOP_CAPTION, f"rounds_{job}")


LOOP = InRounds(
    kind=self_rewarding.KIND,
    key="loop",
    about="In each round a policy responds to prompts, a judge labels the responses, and the policy is tuned on the "
    "labels (DPO). The round that beats the start most often on held-out prompts, by the judge, is kept. An "
    "interrupted loop continues with what is left when started again.",
    data="Its prompts are answered: questions, or queries.",
    held_out="Its prompts are held out: the policy is not tuned on responses to them.",
    button="Start the loop",
    icon=":material/autorenew:",
    none_yet="No loop has been run yet.",
    use="Use this name wherever a model is needed",
    model="policy",
    widths=(2, 1),
    fields=_loop_fields,
    settings=_loop_settings,
    ask=_ask_loop,
    title=_loop_title,
    draw=_loop_rounds,
    notes=lambda store, job, best: tuned_models.loop_notes(tuned_models.loop_rounds(store, job), best),
)


# -- self-taught judges

TAUGHT_COLUMNS = {
    name: charts.SHARE
    for name in ("both sides found", "from", "to", "known labels found", "abstained", "right by gold")
}
TAUGHT_CAPTION = (
    "Both sides found: held-out prompts on which the judge says that its own response is right and the one to "
    "another prompt is not, with a 95 % interval. Known labels found, abstained: shares of single verdicts. Right "
    "by gold: its labels of the data set's examples about these prompts. Judgements learned: what it was tuned on."
)


def _taught_settings() -> Settings:
    return ((name, value, self_teaching.EXPLANATIONS[name]) for name, value in asdict(TeachSettings()).items())


def _ask_teaching(store: Store) -> str:
    now, how = st.session_state, settings_from(TeachSettings, _given(TAUGHT))
    dataset, test = now["taught_dataset"], now["taught_test"]
    model = model_choice(now["taught_model"], now["taught_quantization"])
    name = self_teaching.free_teaching_name(store, dataset)
    return self_teaching.ask(store, Teaching(name, dataset, test, how, model))


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
    frame = tuned_models.taught_frame(rounds)
    _draw_rounds(chart, frame, TAUGHT_COLUMNS, "The rounds of the self-taught judge", TAUGHT_CAPTION, f"taught_{job}")


TAUGHT = InRounds(
    kind=self_teaching.KIND,
    key="taught",
    about="A model learns to judge with reasoning, without labels. Its own response to a prompt is taken to be better "
    "than its response to another prompt. It judges both, and is tuned on the judgements that came to the known side. "
    "The round that finds both known sides of most held-out prompts is kept.",
    data="Its prompts are answered, and the answers judged.",
    held_out="Its prompts are held out: they decide which round is kept.",
    button="Teach the judge",
    icon=":material/school:",
    none_yet="No judge has been taught yet.",
    use="Use this name for the model of the label source judge, in the style steps",
    model="judge",
    widths=(),
    fields=lambda columns: None,
    settings=_taught_settings,
    ask=_ask_teaching,
    title=_taught_title,
    draw=_taught_rounds,
    notes=lambda *unused: (),
)


menu.require(home.show)

st.title("Experiments")
PARTS = {"suites": None, "loop": LOOP, "judge": TAUGHT}
NAMES = {"suites": "Suites", "loop": "Self-rewarding loop", "judge": "Self-taught judge"}
job = st.query_params.get("job", "")
meant = next((part for part, what in PARTS.items() if what is not None and job.startswith(f"{what.kind}.")), "suites")
try:
    with Store() as store:
        if (what := PARTS[session.choice("part", NAMES, "part", meant)]) is None:
            show_form(store)
            show_results(store)
        else:
            show_round_form(store, what)
            show_rounds(store, what)
except IcmError as error:
    session.complain(error)
