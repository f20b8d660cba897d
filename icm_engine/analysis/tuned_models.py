"""Training as pages and commands show it: settings, loss, the tuned model on a test part, and the rounds of a loop."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from icm_engine import jobs
from icm_engine.analysis.evaluation import (
    Estimate,
    Right,
    Used,
    accuracy,
    asked,
    by_group,
    estimate,
    share,
    truth_of,
    unlabelled_parts,
    used,
)
from icm_engine.analysis.formatting import decimal, percent
from icm_engine.analysis.run_form import Setting
from icm_engine.core.errors import SettingError
from icm_engine.core.settings import ModelChoice, TuneSettings
from icm_engine.core.training_rows import form_of
from icm_engine.data.answers import reader_for
from icm_engine.data.gold import gold_of
from icm_engine.jobs import downstream_eval, finetuning, policies
from icm_engine.jobs.downstream_eval import DatasetPart
from icm_engine.jobs.finetuning import EXPLANATIONS, KIND
from icm_engine.jobs.policies import (
    SAMPLING_EXPLANATIONS,
    TRAINING_EXPLANATIONS,
    PreferenceSettings,
    ReinforceSettings,
    RewardSettings,
    Sampling,
    settings_from,
)
from icm_engine.runs import model_registry
from icm_engine.store.events import Json
from icm_engine.store.replay import current_state, open_run
from icm_engine.store.store import Store

if TYPE_CHECKING:
    import pandas

    from icm_engine.analysis.figures import Chart

LOGGED = "logged"
TESTED = 512  # maximum number of examples of a test part
TESTED_WORDS = (
    f"At most {TESTED} examples that the run did not label. Right: share equal to gold, with a 95 % interval over "
    "examples (whole groups). Shots: demonstrations from the run."
)
SHOTS: tuple[int | str, ...] = (0, "fit")


@dataclass(frozen=True, slots=True)
class LossPoint:
    """One log entry of the trainer; `seconds` counts from the start of training in its process."""

    step: int
    steps: int
    epoch: float
    loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TunedAccuracy:
    """A model on the test part with a number of demonstrations; `right` is None without gold."""

    model: str
    used: Used
    right: Estimate | None


REWARD, POLICY = policies.KIND, policies.PREFER  # kinds of training on a run's preferences, beside its labels
REINFORCE, RESPOND = policies.REINFORCE, policies.RESPOND  # training on rewards, and sampling
_SETTINGS: dict[str, tuple[type, Mapping[str, str]]] = {
    KIND: (TuneSettings, EXPLANATIONS),
    REWARD: (RewardSettings, TRAINING_EXPLANATIONS),
    POLICY: (PreferenceSettings, TRAINING_EXPLANATIONS),
    REINFORCE: (ReinforceSettings, TRAINING_EXPLANATIONS),
    RESPOND: (Sampling, SAMPLING_EXPLANATIONS),
}


def settings(kind: str = KIND) -> tuple[Setting, ...]:
    """Return every setting of a kind of training, or of sampling, with its default."""
    declared, explanations = _SETTINGS[kind]
    return tuple(
        Setting(field.name, field.default, (), f"{explanations[field.name][0].upper()}{explanations[field.name][1:]}.")
        for field in fields(declared)
    )


def submit(store: Store, runs: Sequence[str], values: Mapping[str, Any], name: str | None = None) -> str:
    """Start fine-tuning on the labels of runs and return the job. Raises NotFound, NotInstalled, SettingError."""
    return finetuning.request(store, runs, finetuning.settings_of(values), name or None)


def submit_preferences(
    store: Store, kind: str, run: str, values: Mapping[str, Any], name: str | None, tests: Sequence[str] = ()
) -> str:
    """Start training on the preferences in a run's labels and return the job: a reward model, or a policy (DPO).

    A reward model is tested on the data sets `tests`. Raises NotFound, NotInstalled, SettingError.
    """
    if kind == REWARD:
        parts = [DatasetPart(test) for test in tests]
        job = policies.create(store, run, settings_from(RewardSettings, values), name=name or None, test=parts)
    else:
        chosen = settings_from(PreferenceSettings, values)
        job = policies.ask_preference_tuning(store, run, chosen, name=name or None)
    jobs.start(store, job)
    return job


def submit_reinforcement(
    store: Store, reward: str, dataset: str, values: Mapping[str, Any], name: str, judge: str | None, test: str | None
) -> str:
    """Start training a policy against a reward model and return the job. Raises NotFound, NotInstalled, SettingError.

    The checks use the reward model `judge`, else `reward` itself, and the prompts of `test`, else held-out ones.
    """
    settings, tests = settings_from(ReinforceSettings, values), [DatasetPart(test)] if test else []
    job = policies.ask_reinforcement(
        store, reward, [DatasetPart(dataset)], settings, name=name or None, judge=judge, test=tests
    )
    jobs.start(store, job)
    return job


def submit_responses(
    store: Store, run: str, model: str, dataset: str, values: Mapping[str, Any], judges: Sequence[str], most: int | None
) -> str:
    """Start sampling a model's responses to a data set's prompts and return the job. Raises NotFound, SettingError.

    The model is the run's own, or a policy by its name here; reward models `judges` score the responses.
    """
    how = settings_from(Sampling, values)
    job = policies.ask_responses(store, _responding(store, run, model), [DatasetPart(dataset)], how, judges, most)
    jobs.start(store, job)
    return job


def _responding(store: Store, run: str, model: str) -> ModelChoice:
    """The model of the run, or a policy, loaded as it was in training."""
    if (facts := policies.trained_before(store, ModelChoice(model))) is None:
        return model_registry.base_choice(store, run)
    return replace(policies.model_of(facts), model=model)


def responding_models(store: Store, run: str) -> list[str]:
    """Return the models whose responses belong to a run: policies trained on its labels, and the model it used."""
    found = [f"{model_registry.PREFIX}{name}" for name in trained_from(store, run, POLICY, REINFORCE)]
    return [*reversed(found), model_registry.base_choice(store, run).model]


def trained_from(store: Store, run: str | None, *kinds: str) -> list[str]:
    """Return what was trained here of some kinds on a run's labels, directly or by a reward model; None for all."""
    facts = [model_registry.model_facts(store, name) for name in model_registry.names(store)]
    some = [one for one in facts if one.get("kind") in kinds]
    return [str(one["name"]) for one in some if run is None or run in _runs_of(one)]


def _runs_of(facts: Json) -> list[str]:
    return [one["run"] for one in facts.get("runs", ())]


def jobs_about(store: Store, run: str, kind: str = KIND) -> list[str]:
    """Return the trainings of a kind on a run's labels, or the samplings of its models, newest first."""
    if kind == KIND:
        return [job for job in jobs.names(store, KIND) if run in jobs.spec(store, job).body["runs"]]
    if kind == REINFORCE:
        rewards = trained_from(store, run, REWARD)
        made = {job: jobs.spec(store, job).body["reward"] for job in jobs.names(store, kind)}
        return [job for job, by in made.items() if by in rewards or run in _runs_of(jobs.result(store, job) or {})]
    if kind == RESPOND:
        models = responding_models(store, run)
        specs = {job: jobs.spec(store, job).model for job in jobs.names(store, kind)}
        return [job for job, model in specs.items() if model is not None and model.model in models]
    return jobs.names(store, kind, run=run)


def stage_accuracies(store: Store, facts: Json, only: str | None = None) -> dict[str, Estimate | str]:
    """Return the accuracy of a reward model on its test pairs by stage, or why it is not known.

    It is over all of them, or over those of `only` one data set.
    """
    found = dict[str, Estimate | str]()
    for stage in facts["test"]:
        try:
            found[stage] = accuracy(store, [facts], stage, only)
        except SettingError as error:
            found[stage] = str(error)
    return found


@dataclass(frozen=True, slots=True)
class RewardTest:
    """A reward model on one test data set: its accuracy by stage, or why it is not known.

    `off_distribution` says that the data set is of another task than the labels, or responses sampled from a model.
    """

    dataset: str
    off_distribution: bool
    right: Mapping[str, Estimate | str]

    def to_json(self) -> Json:
        told: Json = {"dataset": self.dataset, "off_distribution": self.off_distribution}
        for stage, right in self.right.items():
            if isinstance(right, Estimate):
                told |= {f"accuracy_{stage}": right.mean, f"interval_{stage}": [right.low, right.high]}
        return told


def reward_tests(store: Store, facts: Json) -> list[RewardTest]:
    """Return a reward model's accuracy by test data set, in the order in which they were named."""
    rows, off = next(iter(facts["test"].values()), ()), facts.get("off_distribution", ())
    names = dict.fromkeys(row["dataset"] for row in rows)
    return [RewardTest(name, name in off, stage_accuracies(store, facts, name)) for name in names]


def reward_tests_frame(tests: Sequence[RewardTest]) -> "pandas.DataFrame":
    """Return the accuracies that are known as a table: a row for each data set and stage."""
    import pandas

    rows = [
        [one.dataset, "yes" if one.off_distribution else "no", stage, right.mean, right.low, right.high]
        for one in tests
        for stage, right in one.right.items()
        if isinstance(right, Estimate)
    ]
    return pandas.DataFrame(rows, columns=["data set", "off distribution", "model", "right", "from", "to"])


def facts_of(store: Store, job: str) -> Json | None:
    """Return the facts about a tuned model; None while the fine-tuning is unfinished."""
    return jobs.result(store, job)


def points(store: Store, job: str) -> list[LossPoint]:
    """Return the trainer's log entries by step; where a resumed training repeated a step, its last entry."""
    found: dict[int, LossPoint] = {}
    for event in store.read_after(job, kinds=(LOGGED,)):
        values = {field.name: event.body[field.name] for field in fields(LossPoint)}
        found[values["step"]] = LossPoint(**values)
    return [found[step] for step in sorted(found)]


def loss_chart(some: Sequence[LossPoint], dark: bool = False) -> "Chart":
    """Loss of the labels over training steps."""
    from icm_engine.analysis.figures import Chart, blank_figure, palette

    figure = blank_figure(dark, "loss")
    figure.add_scatter(
        x=[point.step for point in some],
        y=[point.loss for point in some],
        mode="lines",
        name="loss",
        line={"color": palette(dark).strong, "width": 2},
    )
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(showlegend=False)
    last = some[-1]
    alt = f"Loss over steps: {decimal(some[0].loss, 3)} at step {some[0].step}, {decimal(last.loss, 3)} at {last.step}"
    caption = "Mean loss in each step; two equally likely labels or responses have 0.69."
    return Chart("Training loss", caption, figure, alt)


@dataclass(frozen=True, slots=True)
class Check:
    """A check of a policy during training; rewards are means over responses to held-out prompts.

    `own` is by the reward model that is trained on, `judged` by the judge; `distinct` is the share of distinct
    responses to a prompt, and `kl` the divergence from the start, a token.
    """

    step: int
    own: float
    judged: float
    distinct: float
    kl: float


CHECKED = "checked"


def checks(store: Store, job: str) -> list[Check]:
    """Return the checks of a policy so far, by step; none for one that was trained before there were checks."""
    found = {event.body["step"]: Check(**event.body) for event in store.read_after(job, kinds=(CHECKED,))}
    return [found[step] for step in sorted(found)]


def kept_of(some: Sequence[Check]) -> int:
    """Return the step with the highest judged reward, the first of equals."""
    return max(some, key=lambda one: one.judged).step


def has_judge(store: Store, job: str) -> bool:
    """Say whether another reward model judges a policy than the one that it is trained on."""
    body = jobs.spec(store, job).body
    return bool(body.get("judge", body["reward"]) != body["reward"])


def checks_chart(some: Sequence[Check], judged: bool, dark: bool = False) -> "Chart":
    """Own reward over steps, that of another judge if there is one (`judged`), and the step that is kept."""
    from icm_engine.analysis.figures import Chart, blank_figure, palette

    colours, figure = palette(dark), blank_figure(dark, "mean reward")
    steps, kept = [one.step for one in some], kept_of(some)
    lines = [("own reward", [one.own for one in some], colours.second if judged else colours.strong, "dash")]
    if judged:
        lines.append(("reward by the judge", [one.judged for one in some], colours.strong, "solid"))
    for name, values, colour, dash in lines:
        line = {"color": colour, "width": 2.0, "dash": dash if judged else "solid"}
        figure.add_scatter(x=steps, y=values, mode="lines+markers", name=name, line=line)
    best = next(one.judged for one in some if one.step == kept)
    marker = {"color": colours.text, "symbol": "star", "size": 12}
    figure.add_scatter(x=[kept], y=[best], mode="markers", name="kept step", marker=marker)
    figure.update_xaxes(rangemode="normal")
    last = some[-1]
    alt = (
        f"Reward over steps: own {decimal(some[0].own, 2)} at step {some[0].step}, {decimal(last.own, 2)} at "
        f"{last.step}; judged {decimal(some[0].judged, 2)} and {decimal(last.judged, 2)}; step {kept} is the best."
    )
    caption = "Mean rewards of responses to the checked prompts. Star: the step with the highest judged reward."
    if judged:
        caption += " Each reward model has a scale of its own."
    return Chart("Checks", caption, figure, alt)


def checks_frame(some: Sequence[Check]) -> "pandas.DataFrame":
    """Return the checks as a table."""
    import pandas

    rows = [[one.step, one.own, one.judged, one.distinct, one.kl] for one in some]
    return pandas.DataFrame(rows, columns=["step", "own reward", "judged reward", "distinct", "KL"])


# -- sampled responses


def responses_frame(found: Json, most: int) -> "pandas.DataFrame":
    """Return the first responses as a table, with a column for each reward model that scored them."""
    import pandas

    rows = [
        {"prompt": asked, "response": text, **{judge: scores[k][j] for judge, scores in found["rewards"].items()}}
        for k, (asked, texts) in enumerate(zip(found["asked"], found["responses"], strict=True))
        for j, text in enumerate(texts)
    ]
    return pandas.DataFrame(rows[:most])


def mean_rewards(found: Json) -> dict[str, float]:
    """Return the mean reward of all responses by reward model."""
    return {judge: fmean(value for row in rows for value in row) for judge, rows in found["rewards"].items()}


def true_responses(store: Store, job: str) -> Estimate | None:
    """Return the share of a job's responses that are right by gold; None where gold does not say."""
    right = _true_share(store, jobs.spec(store, job).body["dataset"], jobs.result(store, job) or {})
    return estimate([right]) if right else None


def store_responses(store: Store, job: str, name: str) -> int:
    """Store the distinct responses of a job as a data set to be labelled; return the number of its examples.

    Raises SettingError.
    """
    if not name:
        raise SettingError("the data set of responses has no name: give it one")
    dataset = jobs.spec(store, job).body["dataset"]
    rule, read = policies.rule_of_responses(store, dataset), reader_for(store.examples(dataset))
    return len(policies.keep_responses(store, job, name, rule, read_answer=read).examples)


def points_frame(some: Sequence[LossPoint]) -> "pandas.DataFrame":
    """Return the logs as a table."""
    import pandas

    names = [field.name for field in fields(LossPoint) if field.name != "steps"]
    rows = [[getattr(point, name) for name in names] for point in some]
    return pandas.DataFrame(rows, columns=[name.replace("_", " ") for name in names])


def how_to_use(facts: Json) -> str:
    """Say what to pass as the model wherever one is asked for."""
    return f"{model_registry.PREFIX}{facts['name']}"


def card_frame(facts: Json) -> "pandas.DataFrame":
    """Return the facts about a tuned model as names and values."""
    import pandas

    shown = {
        "model": facts["name"] if facts["kind"] == REWARD else how_to_use(facts),
        "base": facts["base"],
        **({"continues": facts["continues"]} if "continues" in facts else {}),
        "quantization": facts["quantization"],
        "labels of": ", ".join(run["run"] for run in facts["runs"]),
        "labels" if facts["kind"] == KIND else "preferences": f"{facts['rows']:,}",
        "supervised": "yes" if facts["supervised"] else "no",
        **({"judge": facts["judge"]} if "judge" in facts else {}),
        "steps": f"{facts['steps']:,}",
        **({"kept step": f"{facts['kept_step']:,}", "ended": facts["ended"]} if "kept_step" in facts else {}),
        "first loss": decimal(facts["first_loss"], 3),
        "last loss": decimal(facts["last_loss"], 3),
        "trained parameters": f"{facts['parameters']:,}",
        **{name.replace("_", " "): str(value) for name, value in facts["settings"].items()},
    }
    return pandas.DataFrame({"what": list(shown), "value": list(shown.values())})


def try_out(store: Store, job: str) -> list[str]:
    """Start jobs that use the base and the tuned model on examples the run did not label; return the jobs.

    Raises SettingError if no test examples are left.
    """
    run = jobs.spec(store, job).body["run"]
    spec = store.spec(run)
    parts = unlabelled_parts(store, spec.dataset, spec)
    if not parts:
        raise SettingError(f"run {run!r} labelled all of its data set: try it on another one (--test NAME)")
    made = [asked(store, run, model, shots, TESTED, parts, 0) for model, shots in _models(store, job)]
    for one in made:
        jobs.start(store, one)
    return made


def tried(store: Store, job: str) -> list[str]:
    """Return the uses of a tuned model and of its base on examples their run did not label."""
    run, wanted = jobs.spec(store, job).body["run"], _models(store, job)
    specs = {one: jobs.spec(store, one) for one in jobs.names(store, downstream_eval.KIND, run=run)}
    models = [(model, list(shots)) for model, shots in wanted]
    return [one for one, spec in sorted(specs.items()) if (spec.model, spec.body["shots"]) in models]


def _models(store: Store, job: str) -> list[tuple[ModelChoice, Sequence[int | str]]]:
    """The base model with no and with all demonstrations, and the tuned one with none."""
    facts, model = facts_of(store, job), jobs.spec(store, job).model
    assert facts is not None
    assert model is not None
    return [(model, SHOTS), (replace(model, model=how_to_use(facts)), SHOTS[:1])]


def lines(store: Store, some: Sequence[str], gold: bool = True) -> list[TunedAccuracy]:
    """Return a line for each model and number of demonstrations of finished uses; without gold only the predictions."""
    found = []
    for job in some:
        model = jobs.spec(store, job).model
        for one in used(store, job):
            right = estimate([one.right]) if gold and one.right else None
            found.append(TunedAccuracy(model.model if model else "", one, right))
    return found


def lines_frame(some: Sequence[TunedAccuracy]) -> "pandas.DataFrame":
    """Return the test as a table: shares of correct and of True answers, with 95 % intervals over examples."""
    import pandas

    rows = [[line.model, line.used.shots, *_right(line), line.used.predicted_true] for line in some]
    return pandas.DataFrame(rows, columns=["model", "shots", "right", "from", "to", "said True"])


def _right(line: TunedAccuracy) -> tuple[float | None, float | None, float | None]:
    return (line.right.mean, line.right.low, line.right.high) if line.right else (None, None, None)


# -- the rounds of a self-rewarding loop, beside gold


@dataclass(frozen=True, slots=True)
class Judgement:
    """One of several searches of a round's responses: its U, and the share of its labels that gold agrees with."""

    run: str
    utility: float
    labels_right: float | None


@dataclass(frozen=True, slots=True)
class LoopRound:
    """A round of a loop; round 0 is the start. Shares are of responses to held-out prompts.

    `win_rate` is against the start by the judge, and `run` labelled what the policy was tuned on. `right` is the share
    of responses that are right by gold, by prompt, and `labels_right` that of the judge's training labels; None where
    gold does not say. `judge` is the tuned judge that labelled (None: the start), `judgements` are what it was chosen
    from (empty if there was one).
    """

    number: int
    policy: str
    win_rate: Estimate
    distinct: float
    cut: float
    pairs: int
    run: str | None
    labels_right: float | None
    right: Right | None
    judge: str | None
    judgements: tuple[Judgement, ...]

    @property
    def true(self) -> Estimate | None:
        return estimate([self.right]) if self.right else None

    def to_json(self) -> Json:
        told = asdict(self)
        del told["right"]  # prompt by prompt
        return {**told, "true": self.true.to_json() if self.true else None}


def loop_rounds(store: Store, job: str) -> list[LoopRound]:
    """Return the rounds of a loop that are done so far, the start first; empty while none is."""
    body = jobs.spec(store, job).body
    kept = [event.body["round"] for event in store.read_after(job, kinds=("part",)) if "round" in event.body]
    held_out = body["test"] or body["dataset"]
    done = sorted((one for one in kept if "policy" in one), key=lambda one: int(one["number"]))
    return [_loop_round(store, body["dataset"], held_out, one) for one in done]


CUT_MORE = 0.1  # a larger share of cut responses than the start has by this is a sign
LESS_VARIED = 0.5  # of the start's share of different responses; at most this is a sign


def loop_notes(rounds: Sequence[LoopRound], best: int) -> list[str]:
    """Return what speaks against the policy that a loop kept, in sentences; nothing where the start was kept.

    Cut and less varied responses are signs of a collapse and no proof: a policy that learned the answers is less varied
    too.
    """
    if not best:
        return []
    start, kept, notes = rounds[0], rounds[best], list[str]()
    if kept.win_rate.low <= 0.5:
        shown = f"{percent(kept.win_rate.mean)} [{percent(kept.win_rate.low)}, {percent(kept.win_rate.high)}]"
        notes.append(f"A win rate of {shown} does not show that it is better than the start.")
    if kept.cut > start.cut + CUT_MORE:
        notes.append(
            f"{percent(kept.cut)} of its responses reached the maximum length, {percent(start.cut)} of the start's."
        )
    if kept.distinct <= LESS_VARIED * start.distinct:
        notes.append(
            f"Its responses to a prompt are less varied: {percent(kept.distinct)} are different, "
            f"{percent(start.distinct)} of the start's."
        )
    return [*notes, "Read some of its responses before it is used."] if notes else []


def _loop_round(store: Store, dataset: str, held_out: str, one: Json) -> LoopRound:
    """A round as its job kept it, and what gold says of it."""
    return LoopRound(
        one["number"],
        one["policy"],
        Estimate(one["win_rate"], one["low"], one["high"], (one["win_rate"],)),
        one["distinct"],
        one["cut"],
        one["pairs"],
        one.get("run"),
        _labels_right(store, dataset, one["responses"], one["run"]) if "run" in one else None,
        _true_share(store, held_out, jobs.result(store, one["held_out"]) or {}),
        one.get("judge"),
        tuple(
            Judgement(made["run"], made["utility"], _labels_right(store, dataset, one["responses"], made["run"]))
            for made in one.get("judgements", ())
        ),
    )


def _true_share(store: Store, dataset: str, found: Json) -> Right | None:
    """The share of sampled responses that are right by gold, by prompt; None where gold does not say."""
    try:
        return share(truth_of(store, dataset, found))
    except SettingError:
        return None


def _labels_right(store: Store, dataset: str, job: str, run: str) -> float | None:
    """The share of a run's labels of sampled responses that gold agrees with; None without gold, or if it is gone."""
    sampled = jobs.result(store, job) or {}
    if not store.has_run(run):
        return None
    try:
        truth = truth_of(store, dataset, sampled)
    except SettingError:
        return None
    worth: dict[tuple[str, ...], float] = {
        (asked, text): score
        for asked, texts in zip(sampled["asked"], sampled["responses"], strict=True)
        for text, score in zip(texts, truth[asked], strict=True)
    }
    opened = open_run(store, run).whole()
    state, form = current_state(store, opened), form_of(opened.dataset.task)
    labels = state.labeling if state is not None else {}
    said = [(opened.dataset.examples[i], label) for i, label in labels.items()]
    right = [
        (label == opened.dataset.task.true_label) == bool(worth[form.asked(e), *form.responses(e)]) for e, label in said
    ]
    return fmean(right) if right else None


@dataclass(frozen=True, slots=True)
class TaughtRound:
    """A round of a self-taught judge; round 0 is the start. The shares are by prompt, or by consistency group.

    `both_sides` says whether both verdicts on a held-out prompt are the known labels, which decides the round that is
    kept. Of single verdicts, `verdicts` is the share that are, and `abstained` the share without one. It was tuned on
    `lessons` judgements. `by_gold` is the share of its labels of the data set's own examples that gold agrees with, an
    abstention counting as wrong; None where there is no gold.
    """

    number: int
    judge: str
    lessons: int
    both_sides: Right
    verdicts: Right
    abstained: float
    by_gold: Right | None

    @property
    def agreement(self) -> Estimate:
        return estimate([self.both_sides])

    @property
    def right(self) -> Estimate | None:
        return estimate([self.by_gold]) if self.by_gold else None

    def to_json(self) -> Json:
        return {
            "number": self.number,
            "judge": self.judge,
            "lessons": self.lessons,
            "agreement": self.agreement.to_json(),
            "verdicts": estimate([self.verdicts]).to_json(),
            "abstained": self.abstained,
            "right": self.right and self.right.to_json(),
        }


def taught_rounds(store: Store, job: str) -> list[TaughtRound]:
    """Return the rounds of a self-taught judge that are done so far, the start first; empty while none is."""
    body = jobs.spec(store, job).body
    kept = [event.body["round"] for event in store.read_after(job, kinds=("part",)) if "round" in event.body]
    return [
        TaughtRound(
            one["number"],
            one["judge"],
            one["lessons"],
            {prompt: (float(right == of), 1) for prompt, (right, of) in one["agreed"].items()},
            {prompt: (float(right), of) for prompt, (right, of) in one["agreed"].items()},
            one["abstained"],
            _judged_right(store, body["test"] or body["dataset"], one["labels"]),
        )
        for one in kept
    ]


def _judged_right(store: Store, dataset: str, labels: Mapping[str, str | None]) -> Right | None:
    """The labels that gold agrees with, by group, over the examples that have gold; None if none has."""
    gold = gold_of(store, dataset, list(labels))
    rows = [(e.group, labels[e.id] == gold[e.id]) for e in store.examples(dataset) if e.id in labels and e.id in gold]
    return by_group(rows) if rows else None


def rounds_chart(rounds: Sequence[LoopRound], best: int, dark: bool = False) -> "Chart":
    """Win rate by the judge, with its interval, and the share of right responses by gold, over rounds."""
    return _over_rounds(
        "win rate by the judge",
        [one.win_rate for one in rounds],
        [one.true for one in rounds],
        best,
        "Responses to held-out prompts against those of the start, which has one half. Star: the best round.",
        dark,
    )


def taught_chart(rounds: Sequence[TaughtRound], best: int, dark: bool = False) -> "Chart":
    """Prompts of which a judge finds both known sides, with the interval, and its labels right by gold, over rounds."""
    return _over_rounds(
        "both sides found",
        [one.agreement for one in rounds],
        [one.right for one in rounds],
        best,
        "Held-out prompts whose two known sides the judge finds; a coin finds a quarter. Star: the best round.",
        dark,
    )


def _over_rounds(
    name: str, shares: Sequence[Estimate], by_gold: Sequence[Estimate | None], best: int, caption: str, dark: bool
) -> "Chart":
    """A share with its interval over rounds, and beside it what gold says, where it does."""
    from icm_engine.analysis.figures import ROUNDS, Chart, blank_figure, palette

    colours, figure = palette(dark), blank_figure(dark, "share", ROUNDS)
    figure.add_scatter(
        x=list(range(len(shares))),
        y=[share.mean for share in shares],
        error_y={
            "array": [share.high - share.mean for share in shares],
            "arrayminus": [share.mean - share.low for share in shares],
            "color": colours.strong,
            "thickness": 1,
        },
        mode="lines+markers",
        name=name,
        line={"color": colours.strong, "width": 2.5},
    )
    known = [(number, one.mean) for number, one in enumerate(by_gold) if one is not None]
    if known:
        figure.add_scatter(
            x=[number for number, _ in known],
            y=[share for _, share in known],
            mode="lines+markers",
            name="right by gold",
            line={"color": colours.second, "width": 1.5, "dash": "dash"},
        )
    figure.add_scatter(
        x=[best],
        y=[shares[best].mean],
        mode="markers",
        name="best round",
        marker={"color": colours.text, "symbol": "star", "size": 12},
    )
    figure.update_xaxes(rangemode="normal")
    figure.update_yaxes(range=[-0.02, 1.02], tickformat=".0%")
    title = name.removesuffix(" by the judge").capitalize()
    last = len(shares) - 1
    alt = f"{title} over rounds: {percent(shares[last].mean)} in round {last}; round {best} is the best."
    return Chart(title, caption, figure, alt)


def taught_frame(rounds: Sequence[TaughtRound]) -> "pandas.DataFrame":
    """Return the rounds of a self-taught judge as a table; shares from 0 to 1, missing ones None."""
    import pandas

    rows = [
        {
            "round": one.number,
            "judge": one.judge,
            "both sides found": one.agreement.mean,
            "from": one.agreement.low,
            "to": one.agreement.high,
            "known labels found": estimate([one.verdicts]).mean,
            "abstained": one.abstained,
            "right by gold": one.right.mean if one.right else None,
            "judgements learned": one.lessons if one.number else None,
        }
        for one in rounds
    ]
    return pandas.DataFrame(rows).astype({"judgements learned": "Int64"})


def rounds_frame(rounds: Sequence[LoopRound]) -> "pandas.DataFrame":
    """Return the rounds of a loop as a table; shares from 0 to 1, missing ones None."""
    import pandas

    rows = [
        {
            "round": one.number,
            "policy": one.policy,
            "win rate": one.win_rate.mean,
            "from": one.win_rate.low,
            "to": one.win_rate.high,
            "right by gold": one.true.mean if one.true else None,
            "labels right": one.labels_right,
            "pairs": one.pairs if one.number else None,
            "distinct": one.distinct,
            "cut": one.cut,
            "judged in": f"/search?run={quote(one.run)}" if one.run else None,
            "U of the judgements": ", ".join(f"{made.utility:.1f}" for made in one.judgements) or None,
            "judge": one.judge,
        }
        for one in rounds
    ]
    frame = pandas.DataFrame(rows).astype({"pairs": "Int64"})
    unused = [name for name in ("U of the judgements", "judge") if frame[name].isna().all()]
    return frame.drop(columns=unused)
