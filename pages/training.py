"""Train: a model, a reward model or a policy tuned on a run's labels, its loss, and its test."""

from dataclasses import dataclass

import streamlit as st

from icm_engine import jobs
from icm_engine.analysis import tuned_models
from icm_engine.analysis.formatting import percent
from icm_engine.analysis.gold_agreement import gold_shown
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.tuned_models import POLICY, REWARD
from icm_engine.core.errors import IcmError
from icm_engine.jobs.finetuning import KIND
from icm_engine.store.events import Json
from icm_engine.store.store import Store
from pages.parts import charts, job_line, session, workspace


@dataclass(frozen=True, slots=True)
class What:
    """What can be trained on a run's labels, and how the tab speaks of it; `key` begins the keys of its widgets."""

    kind: str
    title: str
    about: str
    key: str
    button: str
    header: str
    use: str
    name: str


TRAININGS = {
    "labels": What(
        KIND,
        "Labels",
        "Fine-tuning teaches a model the labels of this run: small matrices added to its weights (LoRA) learn to "
        "answer each example, asked without demonstrations, with its label. The model itself stays as it is.",
        "tune",
        "Tune on {labels} labels",
        "The tuned model",
        "Use this name wherever a model is needed: a new run, a context check, a suite.",
        "trained:{name}",
    ),
    "reward": What(
        REWARD,
        "Reward model",
        "A reward model learns from this run's labels which response is better. Its rewards label the examples that "
        "the run left out, and a final one learns from both (LoRA).",
        "reward",
        "Train on {labels} labels",
        "The reward model",
        "It gives rewards and no labels. On the command line, reinforce trains a policy against it, by this name.",
        "{name}",
    ),
    "policy": What(
        POLICY,
        "Policy",
        "A policy is tuned to give the responses that this run's labels prefer (DPO, LoRA). Several rounds of "
        "responses and labels are a loop: see Experiments.",
        "policy",
        "Train on {labels} labels",
        "The policy",
        "Use this name wherever a model is needed; on the command line, respond samples it.",
        "trained:{name}",
    ),
}


def show(store: Store, run: str) -> None:
    """Draw the form, and the training in the URL, else the last one."""
    reading, _ = session.look(run)
    if not reading.labeling:
        st.text("This run has no labels yet.")
        return
    job = st.query_params.get("job", "")
    meant = next((name for name, what in TRAININGS.items() if job.startswith(f"{what.kind}.")), None)
    titles = {name: what.title for name, what in TRAININGS.items()}
    what = TRAININGS[session.choice("train", titles, "train", meant)]
    st.text(what.about)
    made = tuned_models.jobs_about(store, run, what.kind)
    _form(store, run, what, len(reading.labeling), busy=bool(made) and not jobs.status(store, made[0]).settled)
    if not made:
        return
    job = job_line.chosen(store, made, "Training")
    _show_training(store, reading, what, job)


def _form(store: Store, run: str, what: What, labels: int, busy: bool) -> None:
    key = what.key
    with st.expander("Settings", icon=":material/tune:"):
        columns = st.columns(3, gap="medium")
        for setting, column in zip(tuned_models.settings(what.kind), [*columns] * 3, strict=False):
            column.number_input(
                setting.words.capitalize(),
                value=setting.value,
                key=f"{key}_{setting.name}",
                help=setting.explanation,
                format="%g" if isinstance(setting.value, float) else None,
            )
        if what.kind == REWARD:
            st.multiselect(
                "Test data sets",
                store.dataset_names(),
                key=f"{key}_test",
                placeholder="none",
                help="Their pairs or claims are rewarded, to be compared with gold. Those of other tasks show how the "
                "reward model does off its distribution.",
            )
        st.text_input(
            "Name",
            key=f"{key}_name",
            placeholder=f"{run}-{what.key if what.kind != KIND else 'tuned'}",
            help="Of what is trained.",
        )
    st.button(
        what.button.format(labels=f"{labels:,}"),
        type="primary",
        icon=":material/model_training:",
        key=key,
        on_click=_ask,
        args=(run, what),
        disabled=busy,
        help="Runs in a separate process; you can leave the page meanwhile.",
    )
    if error := st.session_state.pop("tune_problem", None):
        session.complain(error)


def _ask(run: str, what: What) -> None:
    now, key = st.session_state, what.key
    values = {setting.name: now[f"{key}_{setting.name}"] for setting in tuned_models.settings(what.kind)}
    name = now[f"{key}_name"].strip()
    try:
        with Store() as store:
            if what.kind == KIND:
                job = tuned_models.submit(store, [run], values, name)
            else:
                job = tuned_models.submit_preferences(store, what.kind, run, values, name, now.get(f"{key}_test", ()))
            st.query_params["job"] = job
    except IcmError as error:
        now["tune_problem"] = error


# -- one training

EVERY = 2.0  # seconds
COLUMNS = {name: charts.SHARE for name in ("right", "from", "to", "said True")}


def _show_training(store: Store, reading: Reading, what: What, job: str) -> None:
    """Draw the current state of a training."""
    now = job_line.show(store, job)
    if what.kind != REWARD:  # whose two stages would be one curve
        session.fragment(_curve, None if now.settled else EVERY)(job)
    if not now.complete or not (facts := tuned_models.facts_of(store, job)):
        return
    _result(what, facts)
    if what.kind == KIND:
        _test(store, reading, job)
    elif what.kind == REWARD and gold_shown(reading):
        _reward_tests(store, facts)


def _reward_tests(store: Store, facts: Json) -> None:
    """Draw how often a reward model agrees with gold, and for several test data sets, or one off distribution, each."""
    for stage, right in tuned_models.stage_accuracies(store, facts).items():
        if isinstance(right, str):
            session.message(right)
            continue
        interval = f"[{percent(right.low)}, {percent(right.high)}]"
        st.text(f"Right on the test part, {stage} model: {percent(right.mean)} {interval}")
    tests = tuned_models.reward_tests(store, facts)
    if len(tests) > 1 or any(one.off_distribution for one in tests):
        st.dataframe(
            tuned_models.reward_tests_frame(tests),
            hide_index=True,
            column_config=COLUMNS,
            alt="Accuracy of the reward model by test data set",
        )
        st.caption("Off distribution: of another task than the labels, or responses that were sampled from a model.")


def _curve(job: str) -> None:
    with Store() as store:
        points = tuned_models.points(store, job)
    if not points:
        st.text("The curve begins with the first step.")
        return
    last = points[-1]
    st.text(f"Step {last.step:,} of {last.steps:,} · epoch {last.epoch:.1f} · {last.seconds:.0f} s")
    charts.show(tuned_models.loss_chart(points, session.dark()), tuned_models.points_frame(points), f"loss_{job}")


def _result(what: What, facts: Json) -> None:
    st.header(what.header)
    st.text(what.use)
    session.plain(what.name.format(name=facts["name"]))
    with st.expander("What it is", icon=":material/receipt_long:"):
        st.dataframe(tuned_models.card_frame(facts), hide_index=True, height="content", alt="What was trained")


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
