"""Train: models, reward models and policies from a run's labels, with their curves and tests, and their responses."""

from dataclasses import dataclass
from itertools import cycle

import streamlit as st

from icm_engine import jobs
from icm_engine.analysis import tuned_models
from icm_engine.analysis.formatting import percent
from icm_engine.analysis.gold_agreement import gold_shown
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.tuned_models import POLICY, REINFORCE, RESPOND, REWARD
from icm_engine.core.errors import IcmError
from icm_engine.jobs import policies
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
        "It gives rewards and no labels. Under Reinforcement, a policy is trained against it.",
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
        "Use this name wherever a model is needed. Under Responses, it is sampled.",
        "trained:{name}",
    ),
    "reinforcement": What(
        REINFORCE,
        "Reinforcement",
        "A policy is trained to get high rewards from a reward model (RLOO, LoRA). That reward can keep rising "
        "while the responses get worse. So a judge, best another reward model, scores responses to held-out prompts "
        "during training, and the step with the highest judged reward is kept.",
        "reinforce",
        "Train against the reward model",
        "The policy",
        "Use this name wherever a model is needed. Under Responses, it is sampled.",
        "trained:{name}",
    ),
    "responses": What(
        RESPOND,
        "Responses",
        "A model responds to the prompts of a data set, and reward models score the responses. They can be stored as a "
        "data set of their own, to be labelled by a run.",
        "respond",
        "Sample responses",
        "The responses",
        "",
        "",
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
    ready = _choices(store, run, what)
    with st.expander("Settings", icon=":material/tune:"):
        columns = st.columns(3, gap="medium")
        for setting, column in zip(tuned_models.settings(what.kind), cycle(columns), strict=False):
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
        if what.kind != RESPOND:
            named = what.key if what.kind != KIND else "tuned"
            st.text_input(
                "Name",
                key=f"{key}_name",
                placeholder=f"{run}-{named}" if what.kind != REINFORCE else "made from that of the reward model",
                help="Of what is trained.",
            )
    st.button(
        what.button.format(labels=f"{labels:,}"),
        type="primary",
        icon=":material/model_training:" if what.kind != RESPOND else ":material/forum:",
        key=key,
        on_click=_ask,
        args=(run, what),
        disabled=busy or not ready,
        help="Runs in a separate process; you can leave the page meanwhile.",
    )
    if error := st.session_state.pop("tune_problem", None):
        session.complain(error)


def _choices(store: Store, run: str, what: What) -> bool:
    """Draw the data and models that a training on rewards, or a sampling, needs; return whether there are any."""
    if what.kind not in (REINFORCE, RESPOND):
        return True
    datasets, own = store.dataset_names(), store.spec(run).dataset
    judges = tuned_models.trained_from(store, None, REWARD)
    by = tuned_models.trained_from(store, run, REWARD)
    columns = st.columns(4, gap="medium", vertical_alignment="bottom")
    columns[1].selectbox(
        "Data set", datasets, datasets.index(own), key=f"{what.key}_dataset", help="Its prompts are answered."
    )
    if what.kind == RESPOND:
        models = tuned_models.responding_models(store, run)
        columns[0].selectbox("Model", models, key="respond_model", help="The policies of this run, and its own model.")
        columns[2].multiselect(
            "Judges", judges, key="respond_judges", placeholder="none", help="Reward models that score the responses."
        )
        columns[3].number_input(
            "Prompts at most", 1, value=None, key="respond_most", placeholder="all", help="The first ones are taken."
        )
        return True
    columns[0].selectbox("Reward model", by, key="reinforce_reward", help="Learned from this run's labels.")
    columns[2].selectbox(
        "Judge", judges, None, key="reinforce_judge", placeholder="the reward model", help=JUDGE, width="stretch"
    )
    columns[3].selectbox(
        "Checked prompts", datasets, None, key="reinforce_test", placeholder="held out", help="Whose prompts the "
        "checks use; by default one in four of the data set's is held out for them.",
    )  # fmt: skip
    if not by:
        st.text("No reward model has learned from this run's labels: train one under Reward model first.")
    return bool(by)


JUDGE = (
    "Another reward model, best one from other labels. A policy that is judged by its own reward cannot show "
    "over-optimisation. If gold or people made the judge's labels, the policy is supervised."
)


def _ask(run: str, what: What) -> None:
    now = st.session_state
    try:
        with Store() as store:
            st.query_params["job"] = _submitted(store, run, what)
    except IcmError as error:
        now["tune_problem"] = error


def _submitted(store: Store, run: str, what: What) -> str:
    """The job of what the form says."""
    now, key = st.session_state, what.key
    values = {setting.name: now[f"{key}_{setting.name}"] for setting in tuned_models.settings(what.kind)}
    if what.kind == RESPOND:
        chosen, judges = (now["respond_model"], now["respond_dataset"]), now["respond_judges"]
        return tuned_models.submit_responses(store, run, *chosen, values, judges, now["respond_most"])
    name = now[f"{key}_name"].strip()
    if what.kind == REINFORCE:
        judge, test = now["reinforce_judge"], now["reinforce_test"]
        against = now["reinforce_reward"], now["reinforce_dataset"]
        return tuned_models.submit_reinforcement(store, *against, values, name, judge, test)
    if what.kind == KIND:
        return tuned_models.submit(store, [run], values, name)
    return tuned_models.submit_preferences(store, what.kind, run, values, name, now.get(f"{key}_test", ()))


# -- one training

EVERY = 2.0  # seconds
COLUMNS = {name: charts.SHARE for name in ("right", "from", "to", "said True")}


def _show_training(store: Store, reading: Reading, what: What, job: str) -> None:
    """Draw the current state of a training."""
    now = job_line.show(store, job)
    if what.kind in CURVES:
        session.fragment(CURVES[what.kind], None if now.settled else EVERY)(job)
    if not now.complete or not (facts := tuned_models.facts_of(store, job)):
        return
    if what.kind == RESPOND:
        _responses(store, reading, job, facts)
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


def _checks(job: str) -> None:
    with Store() as store:
        checks, judged = tuned_models.checks(store, job), tuned_models.has_judge(store, job)
        told = tuned_models.facts_of(store, job)
    if not checks:
        st.text("This policy was trained without checks." if told else "The curve begins with the first check.")
        return
    chart = tuned_models.checks_chart(checks, judged, session.dark())
    charts.show(chart, tuned_models.checks_frame(checks), f"checks_{job}", CHECK_COLUMNS)


# A reward model has none: its two stages would be one curve.
CURVES = {KIND: _curve, POLICY: _curve, REINFORCE: _checks}
CHECK_COLUMNS = {
    **{name: st.column_config.NumberColumn(format="%.3f") for name in ("own reward", "judged reward", "KL")},
    "distinct": st.column_config.NumberColumn(format="percent", help="Share of distinct responses to a prompt."),
}


def _responses(store: Store, reading: Reading, job: str, found: Json) -> None:
    """Draw sampled responses and their rewards, and what stores them as a data set."""
    st.header("The responses")
    count = sum(map(len, found["responses"]))
    st.text(f"{len(found['asked']):,} prompts · {count:,} responses · {found['cut']:,} cut off at the maximum length")
    for judge, mean in tuned_models.mean_rewards(found).items():
        st.text(f"Mean reward by {judge}: {mean:.2f}")
    if gold_shown(reading) and (right := tuned_models.true_responses(store, job)) is not None:
        st.text(f"Right by gold: {percent(right.mean)} [{percent(right.low)}, {percent(right.high)}]")
    frame = tuned_models.responses_frame(found, charts.ROWS)
    rewards = {judge: st.column_config.NumberColumn(format="%.2f") for judge in found["rewards"]}
    st.dataframe(frame, hide_index=True, column_config=rewards, alt="Prompts, responses and their rewards")
    if count > charts.ROWS:
        st.caption(f"The first {charts.ROWS:,} responses.")
    name, button = st.columns([3, 1], vertical_alignment="bottom")
    name.text_input("Name of a data set", key="keep_name", help="Distinct responses are stored, without gold.")
    button.button("Store", key="keep", icon=":material/dataset:", on_click=_keep, args=(job,), width="stretch")
    if error := st.session_state.pop("keep_problem", None):
        session.complain(error)
    if kept := st.session_state.pop("kept", None):
        st.text(f"Stored {kept:,} examples. A new run can label them.")


def _keep(job: str) -> None:
    now = st.session_state
    try:
        with Store() as store:
            now["kept"] = tuned_models.store_responses(store, job, now["keep_name"].strip())
    except IcmError as error:
        now["keep_problem"] = error


def _result(what: What, facts: Json) -> None:
    st.header(what.header)
    for note in policies.check_notes(facts):
        st.text(note)
    if "kept_step" in facts:
        st.text(f"Kept: step {facts['kept_step']:,} of {facts['steps']:,}. Ended: {facts['ended']}.")
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
