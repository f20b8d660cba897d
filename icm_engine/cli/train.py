"""The commands of training: `finetune`, `trained`, `use`, `reward`, `respond`, `prefer`, `reinforce`, `self-reward`,
`self-teach`.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import click

from icm_engine import jobs
from icm_engine.analysis import tuned_models
from icm_engine.analysis.evaluation import asked, estimate, unlabelled_parts
from icm_engine.analysis.formatting import percent
from icm_engine.cli import options
from icm_engine.cli.options import Many, ModelOptions, command, run_argument
from icm_engine.cli.terminal import Output, follow, text_of
from icm_engine.core.errors import SettingError
from icm_engine.core.settings import ModelChoice, TuneSettings
from icm_engine.core.text import whole_number
from icm_engine.data.answers import reader_for
from icm_engine.data.importing import SAMPLE_DIRECTORY, ensure_sample_dataset, import_file
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.experiments import self_rewarding
from icm_engine.experiments.self_rewarding import Loop, LoopSettings
from icm_engine.jobs import policies, self_teaching
from icm_engine.jobs.downstream_eval import FIT, DatasetPart
from icm_engine.jobs.finetuning import EXPLANATIONS
from icm_engine.jobs.policies import (
    TRAINING_EXPLANATIONS,
    LoraSettings,
    PreferenceSettings,
    ReinforceSettings,
    RewardSettings,
    settings_from,
)
from icm_engine.jobs.self_teaching import Teaching, TeachSettings
from icm_engine.runs import model_registry
from icm_engine.store.events import Json
from icm_engine.store.store import Store

Some = TypeVar("Some", Json, Output)
LISTED = ("name", "kind", "base", "rows", "supervised", "last_loss")


def _shots(text: object) -> int | str:
    number = FIT if text == FIT else whole_number(str(text))
    if number is not None:
        return number
    raise click.BadParameter(f"{text!r} is not a number of shots: use 0, 1, 2, ... or fit")


def _training(settings: type[LoraSettings]) -> options.Decorator:
    """Add the options that all training by preferences and rewards has."""
    name = click.option("--name", metavar="NAME", help="Name of what is trained (default: made from its source).")
    values = options.settings_options(settings, TRAINING_EXPLANATIONS)
    return lambda function: name(options.trained_model_option(values(options.detach(function))))


@command("finetune")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", help="Whose labels; those of several are combined.")
@click.option("--name", metavar="NAME", help="Name of the tuned model (default: that of the run, with -tuned).")
@options.settings_options(TuneSettings, EXPLANATIONS)
@options.detach
def finetune_command(store: Store, runs: list[str], name: str | None, training: Json, detach: bool) -> Json:
    """Fine-tune a model on the labels of runs (LoRA).

    The adapter is kept in a folder beside the database, and used as trained:NAME.
    """
    job = tuned_models.submit(store, runs, training, name)
    if detach:
        return {"job": job, "name": jobs.spec(store, job).body["name"], "status": "starting"}
    facts = follow(store, job)
    return {
        "job": job,
        "model": tuned_models.how_to_use(facts),
        "folder": str(model_registry.folder(store, facts["name"])),
        **{key: facts[key] for key in ("base", "rows", "steps", "first_loss", "last_loss", "supervised")},
    }


@command("trained")
@click.argument("name", required=False, metavar="[NAME]")
def trained_command(store: Store, name: str | None) -> Json | Output:
    """Show everything that was trained here, or one of it in full."""
    if name is not None:
        return model_registry.model_facts(store, name)
    facts = [model_registry.model_facts(store, one) for one in model_registry.names(store)]
    found = [{key: one.get(key) for key in LISTED} for one in facts]
    lines = ["  ".join(f"{value!s:<20}" for value in row.values()).rstrip() for row in found]
    return Output(found, "\n".join(lines) or "nothing yet")


@command("use")
@run_argument
@click.option("--model", metavar="MODEL", help="A model to use instead of the run's, such as trained:NAME.")
@click.option(
    "--shots",
    cls=Many,
    type=_shots,
    default=[0, "fit"],
    metavar="K...",
    help="How many labels are shown: numbers, or fit for as many as fit.",
)
@click.option("--test", metavar="NAME", help="Data set of the questions (default: the run's test part and the rest).")
@click.option(
    "--most", type=options.count, default=tuned_models.TESTED, metavar="N", help="How many test examples at most."
)
@click.option("--seed", type=int, default=0, metavar="SEED", help="Seed of which labels are shown, and their order.")
def use_command(
    store: Store, run: str, model: str | None, shots: list[int | str], test: str | None, most: int, seed: int
) -> Output:
    """Test a model with labels of a run as demonstrations.

    The model predicts examples that the run did not label, with none or some of its labels shown, and its answers are
    compared with gold.
    """
    spec, own = store.spec(run), model_registry.model_of_run(store, run)
    parts = unlabelled_parts(store, spec.dataset, spec, test)
    if not parts:
        raise SettingError(f"run {run!r} labelled all of its data set: name a test data set (--test)")
    job = asked(store, run, replace(own, model=model or own.model), shots, most, parts, seed)
    jobs.start(store, job)
    follow(store, job)
    rows = [_row(line) for line in tuned_models.lines(store, [job])]
    return Output({"job": job, "results": rows}, "\n".join(map(_line, rows)))


def _row(line: tuned_models.TunedAccuracy) -> Json:
    right = line.right
    return {
        "model": line.model,
        "shots": line.used.shots,
        "accuracy": right.mean if right else None,
        "low": right.low if right else None,
        "high": right.high if right else None,
        "said_true": line.used.predicted_true,
    }


def _line(row: Json) -> str:
    right = "no gold" if row["accuracy"] is None else f"{percent(row['accuracy'])} right"
    return f"{row['model']:<28} {row['shots']:>4} shots  {right}  {percent(row['said_true'])} True"


@command("reward")
@click.argument("run", metavar="RUN", help="Whose labels are preferences.")
@click.option("--test", cls=Many, default=[], metavar="DATASET...", help="Data to test it on, of other tasks too.")
@click.option(
    "--rest",
    cls=Many,
    default=[],
    metavar="DATASET...",
    help="What the first model labels (default: what the run's limit left).",
)
@click.option("--no-rest", is_flag=True, help="Train in one stage only.")
@_training(RewardSettings)
def reward_command(
    store: Store,
    run: str,
    test: list[str],
    rest: list[str],
    no_rest: bool,
    name: str | None,
    model: ModelOptions,
    training: Json,
    detach: bool,
) -> Json | Output:
    """Train a reward model on a run's preferences.

    A first model labels the rest of the data; the final one learns from both.
    """
    own = [] if no_rest else _parts(store, rest) if rest else None
    settings = settings_from(RewardSettings, training)
    base = model.instead_of(model_registry.base_choice(store, run))
    job = policies.create(store, run, settings, name=name, model=base, rest=own, test=_parts(store, test))
    return _done(store, job, detach, lambda found: _reward_found(store, found))


@dataclass(frozen=True, slots=True)
class RespondArguments:
    """The arguments of `respond`."""

    dataset: str
    model: ModelOptions
    samples: int
    temperature: float
    max_tokens: int
    seed: int
    thought: int
    limit: int | None
    judge: list[str]
    keep: str | None
    rule: str
    detach: bool


@command("respond")
@click.argument("dataset", metavar="DATASET", help="Whose prompts are answered.")
@options.model_options(encoding=False, defaults=False, help=f"{options.MODEL_HELP.rstrip('.')} (default: sample).")
@click.option("--samples", type=options.count, default=8, metavar="K", help="Responses to each prompt.")
@click.option("--temperature", type=float, default=1.0, metavar="T", help="Temperature of sampling.")
@click.option("--max-tokens", type=options.count, default=16, metavar="N", help="Tokens of a response at most.")
@click.option("--seed", type=int, default=0, metavar="SEED", help="Seed of sampling.")
@click.option(
    "--thought", type=int, default=0, metavar="N", help="Tokens of a line of thought before each response at most."
)
@options.limit("The first N prompts.")
@click.option("--judge", cls=Many, default=[], metavar="REWARD...", help="Reward models that score the responses.")
@click.option("--keep", metavar="NAME", help="Store the distinct responses as a data set to be labelled.")
@options.rule("Rule of that data set, where its examples are claims.", default="none")
@options.detach
def respond_command(store: Store, **given: Any) -> Json:
    """Sample responses of a model to the prompts of a data set.

    They can be stored as a data set to be labelled, or scored by reward models.
    """
    arguments = RespondArguments(**given)
    if arguments.keep and arguments.detach:
        raise SettingError("--keep needs the responses: leave --detach out")
    if arguments.keep and store.has_dataset(arguments.keep):
        raise SettingError(f"data set {arguments.keep!r} exists already: keep the responses under another name")
    how = policies.Sampling(
        arguments.samples, arguments.temperature, arguments.max_tokens, arguments.seed, arguments.thought
    )
    model = arguments.model.instead_of(_as_trained(store, arguments.model.model))
    job = policies.ask_responses(
        store, model, _parts(store, [arguments.dataset]), how, arguments.judge, arguments.limit
    )
    return _done(store, job, arguments.detach, lambda found: _responses_found(store, arguments, job, found))


@command("prefer")
@click.argument("run", metavar="RUN", help="Whose labels are preferences.")
@_training(PreferenceSettings)
def prefer_command(store: Store, run: str, name: str | None, model: ModelOptions, training: Json, detach: bool) -> Json:
    """Train a policy on the preferences in a run's labels (DPO).

    With --model trained:NAME, a policy is trained further.
    """
    settings = settings_from(PreferenceSettings, training)
    trained = (model.model or "").startswith(model_registry.PREFIX)
    base = model.instead_of(_as_trained(store, model.model) if trained else model_registry.base_choice(store, run))
    job = policies.ask_preference_tuning(store, run, settings, name=name, model=base)
    return _done(store, job, detach, _policy_found)


@dataclass(frozen=True, slots=True)
class ReinforceArguments:
    """The arguments of `reinforce`."""

    reward: str
    dataset: str
    judge: str | None
    test: str | None
    limit: int | None
    name: str | None
    model: ModelOptions
    training: Json
    detach: bool


@command("reinforce")
@click.argument("reward", metavar="REWARD", help="Name of a reward model.")
@click.option("--dataset", required=True, metavar="NAME", help="Whose prompts are answered.")
@click.option("--judge", metavar="REWARD", help="Reward model that scores the checks (default: the one trained on).")
@click.option("--test", metavar="NAME", help="Whose prompts the checks use (default: some of DATASET are held out).")
@options.limit("The first N prompts.")
@_training(ReinforceSettings)
def reinforce_command(store: Store, **given: Any) -> Json | Output:
    """Train a policy against a reward model (RLOO).

    The policy is checked during training, and kept as it was when the judge's reward was highest.
    """
    arguments = ReinforceArguments(**given)
    settings = settings_from(ReinforceSettings, arguments.training)
    reward = arguments.reward.removeprefix(model_registry.PREFIX)
    base = arguments.model.instead_of(policies.model_of(model_registry.model_facts(store, reward)))
    job = policies.ask_reinforcement(
        store,
        reward,
        _parts(store, [arguments.dataset]),
        settings,
        name=arguments.name,
        model=base,
        most=arguments.limit,
        judge=arguments.judge.removeprefix(model_registry.PREFIX) if arguments.judge else None,
        test=_parts(store, [arguments.test] if arguments.test else []),
    )
    jobs.start(store, job)
    return {"job": job, "status": "starting"} if arguments.detach else _reinforced(follow(store, job))


def _reinforced(found: Json) -> Output:
    """How a reinforcement went, with a line for each check; one that was done before there were checks has none."""
    names = ("judge", "ended", "held_out", "kept_step", "checks")
    told = {**_policy_found(found), **{name: found[name] for name in names if name in found}}
    notes = policies.check_notes(found)
    shown = {name: value for name, value in told.items() if name not in ("held_out", "checks")}
    lines = [text_of(shown), *(_check_line(one, found["kept_step"]) for one in found.get("checks", ())), *notes]
    return Output({**told, "notes": notes}, "\n".join(lines))


def _check_line(one: Json, kept: int) -> str:
    rewards = f"own reward {one['own']:.2f}  judged {one['judged']:.2f}"
    line = f"step {one['step']:>5}  {rewards}  {percent(one['distinct'])} distinct  KL {one['kl']:.2f}"
    return f"{line}  kept" if one["step"] == kept else line


@command("self-reward")
@click.argument("dataset", metavar="DATASET", help="Whose prompts are answered.")
@options.model_options(encoding=False, defaults=False, help=f"{options.MODEL_HELP.rstrip('.')} (default: sample).")
@click.option("--test", metavar="NAME", help="Data set of the held-out prompts (default: the next ones of DATASET).")
@click.option("--name", metavar="NAME", help="Name of the loop; its policies are NAME-1, NAME-2, ...")
@options.settings_options(LoopSettings, self_rewarding.EXPLANATIONS, "loop")
@options.settings_options(PreferenceSettings, TRAINING_EXPLANATIONS)
@options.detach
def self_reward_command(
    store: Store,
    dataset: str,
    model: ModelOptions,
    test: str | None,
    name: str | None,
    loop: Json,
    training: Json,
    detach: bool,
) -> Json | Output:
    """Train a policy on its own responses, which ICM judges.

    In each round the policy responds, the judge labels the responses, and the policy is tuned on the labels (DPO). The
    round whose responses beat the start's most often by the judge, on held-out prompts, is kept.
    """
    _parts(store, [dataset, *([test] if test else [])])
    asked = Loop(
        name or self_rewarding.free_loop_name(store, dataset),
        dataset,
        test,
        settings_from(LoopSettings, loop),
        settings_from(PreferenceSettings, training),
        model.instead_of(ModelChoice("sample")),
    )
    job = self_rewarding.ask(store, asked)
    jobs.start(store, job)
    if detach:
        return {"job": job, "status": "starting"}
    found = follow(store, job)
    rounds = tuned_models.loop_rounds(store, job)
    told = {name: found[name] for name in ("name", "judge", "best", "policy", "ended")}
    notes = tuned_models.loop_notes(rounds, found["best"])
    whole = {"job": job, **told, "rounds": [one.to_json() for one in rounds], "notes": notes}
    lines = [_rounds_told(map(_round_line, rounds), found["ended"], found["policy"]), *notes]
    return Output(whole, "\n".join(lines))


def _rounds_told(lines: Iterable[str], ended: str, kept: str | None) -> str:
    """A line for each round, why there are no more, and which model is kept."""
    return "\n".join([*lines, f"{ended}; kept: {kept or 'the start, which no round surpassed'}"])


def _round_line(one: tuned_models.LoopRound) -> str:
    rate = f"wins {percent(one.win_rate.mean)} [{percent(one.win_rate.low)}, {percent(one.win_rate.high)}]"
    true = "no gold" if one.true is None else f"{percent(one.true.mean)} true"
    labels = "" if one.labels_right is None else f"  labels {percent(one.labels_right)} right"
    pairs = f"  {one.pairs} pairs" if one.number else ""
    utilities = ", ".join(f"{made.utility:.1f}" for made in one.judgements)
    judged = f"  best U of {utilities}" if utilities else ""
    return f"round {one.number}  {rate}  {true}  {percent(one.distinct)} distinct{pairs}{labels}{judged}"


@command("self-teach")
@click.argument("dataset", metavar="DATASET", help="Whose prompts are answered.")
@options.model_options(encoding=False, defaults=False, help=f"{options.MODEL_HELP.rstrip('.')} (default: sample).")
@click.option("--test", metavar="NAME", help="Data set of the held-out prompts (default: the next ones of DATASET).")
@click.option("--name", metavar="NAME", help="Name of the judge; those of its rounds are NAME-1, NAME-2, ...")
@options.settings_options(TeachSettings, self_teaching.EXPLANATIONS)
@options.detach
def self_teach_command(
    store: Store, dataset: str, model: ModelOptions, test: str | None, name: str | None, training: Json, detach: bool
) -> Json | Output:
    """Teach a judge by its own judgements, without labels.

    The model's response to a prompt is better than its response to another prompt. It judges such pairs or claims with
    reasoning, and is tuned on the judgements that came to the known side. The round that finds both known sides of most
    held-out prompts is kept.
    """
    _parts(store, [dataset, *([test] if test else [])])
    named = name or self_teaching.free_teaching_name(store, dataset)
    settings = settings_from(TeachSettings, training)
    job = self_teaching.ask(store, Teaching(named, dataset, test, settings, model.instead_of(ModelChoice("sample"))))
    jobs.start(store, job)
    if detach:
        return {"job": job, "status": "starting"}
    found = follow(store, job)
    rounds = tuned_models.taught_rounds(store, job)
    told = {name: found[name] for name in ("name", "best", "judge", "ended")}
    whole = {"job": job, **told, "rounds": [one.to_json() for one in rounds]}
    return Output(whole, _rounds_told(map(_taught_line, rounds), found["ended"], found["judge"]))


def _taught_line(one: tuned_models.TaughtRound) -> str:
    right = "no gold" if one.right is None else f"{percent(one.right.mean)} right by gold"
    both = f"{percent(one.agreement.mean)} [{percent(one.agreement.low)}, {percent(one.agreement.high)}]"
    verdicts = f"{percent(estimate([one.verdicts]).mean)} of verdicts, {percent(one.abstained)} abstained"
    lessons = f"  {one.lessons} judgements learned" if one.number else ""
    return f"round {one.number}  both sides found {both}  {verdicts}  {right}{lessons}"


def _done(store: Store, job: str, detach: bool, summary: Callable[[Json], Some]) -> Json | Some:
    """Start the job, follow it to its end and return what came of it."""
    jobs.start(store, job)
    return {"job": job, "status": "starting"} if detach else summary(follow(store, job))


def _responses_found(store: Store, arguments: RespondArguments, job: str, found: Json) -> Json:
    """How many responses there are and how they were scored; they are stored if requested."""
    kept = None
    if arguments.keep:
        read = reader_for(store.examples(jobs.spec(store, job).body["dataset"]))
        kept = policies.keep_responses(store, job, arguments.keep, arguments.rule, read_answer=read)
    return {
        "job": job,
        "prompts": len(found["asked"]),
        "responses": sum(map(len, found["responses"])),
        "cut": found["cut"],
        **{f"reward by {judge}": _mean(rows) for judge, rows in found["rewards"].items()},
        **({"dataset": arguments.keep, "examples": len(kept.examples)} if kept else {}),
    }


def _reward_found(store: Store, found: Json) -> Output:
    """What was learned from, and the accuracy on the test data where that has gold: of all, and of each data set."""
    summary = {
        "reward": found["name"],
        "supervised": found["supervised"],
        "pairs": found["stages"]["first"]["rows"],
        **found["left_out"],
        "rest_labelled": found["rest"]["rows"],
        "pairs_in_all": found["rows"],
    }
    for stage, right in tuned_models.stage_accuracies(store, found).items():
        if isinstance(right, str):
            print(f"icm: {right}", file=sys.stderr)
            continue
        summary |= {f"accuracy_{stage}": right.mean, f"interval_{stage}": [right.low, right.high]}
    tests = tuned_models.reward_tests(store, found)
    return Output({**summary, "tests": [one.to_json() for one in tests]}, "\n".join([text_of(summary), *_tests(tests)]))


def _tests(tests: Sequence[tuned_models.RewardTest]) -> list[str]:
    """A line for each test data set and stage, if there are several or one is off distribution."""
    if len(tests) < 2 and not any(one.off_distribution for one in tests):
        return []
    return [
        f"{one.dataset:<22} {stage:<5} {percent(right.mean)} [{percent(right.low)}, {percent(right.high)}]"
        f"{'  off distribution' * one.off_distribution}"
        for one in tests
        for stage, right in one.right.items()
        if not isinstance(right, str)
    ]


def _policy_found(found: Json) -> Json:
    names = ("name", "base", "supervised", "rows", "steps", "first_reward", "last_reward", "last_kl", "last_loss")
    return {name: found[name] for name in names if name in found}


def _mean(rows: Sequence[Sequence[float]]) -> float:
    values = [value for row in rows for value in row]
    return sum(values) / len(values)


def _parts(store: Store, names: Sequence[str]) -> list[DatasetPart]:
    """The data sets of these names, whole; sample data and its test parts are imported when they are first named."""
    for name in names:
        sample = name.removesuffix("_test")
        if sample in SAMPLE_DATASETS and name != sample and not store.has_dataset(name):
            import_file(store, SAMPLE_DIRECTORY / f"{name}.csv", sample, name)
        elif name in SAMPLE_DATASETS:
            ensure_sample_dataset(store, name)
    return [DatasetPart(name) for name in names]


def _as_trained(store: Store, model: str | None) -> ModelChoice:
    """How a model that was trained here was loaded then; of any other, the defaults."""
    if model is None or not model.startswith(model_registry.PREFIX):
        return ModelChoice("sample")
    return policies.model_of(model_registry.model_facts(store, model.removeprefix(model_registry.PREFIX)))
