"""The commands of training: `finetune`, `trained`, `use`, `reward`, `respond`, `prefer` and `reinforce`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

from icm_engine import jobs
from icm_engine.analysis import tuned_models
from icm_engine.analysis.evaluation import accuracy, asked, unlabelled_parts
from icm_engine.analysis.formatting import percent
from icm_engine.cli.job_commands import follow
from icm_engine.core.errors import SettingError
from icm_engine.core.text import whole_number
from icm_engine.data.importing import SAMPLE_DIRECTORY, ensure_sample_dataset, import_file
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.jobs import policies
from icm_engine.jobs.downstream_eval import FIT, DatasetPart
from icm_engine.jobs.finetuning import EXPLANATIONS, TuneSettings
from icm_engine.jobs.policies import (
    TRAINING_EXPLANATIONS,
    LoraSettings,
    PreferenceSettings,
    ReinforceSettings,
    RewardSettings,
    Some,
    settings_from,
)
from icm_engine.runs import model_registry
from icm_engine.runs.model_registry import ModelChoice
from icm_engine.store.events import Json
from icm_engine.store.store import Store

LISTED = ("name", "kind", "base", "rows", "supervised", "last_loss")


def finetune_command(store: Store, given: argparse.Namespace) -> Json:
    """Tune a model on the labels of runs: a LoRA adapter, in a folder beside the database, used as trained:NAME."""
    values = {name: getattr(given, name) for name in _settings_finetuning() if getattr(given, name) is not None}
    job = tuned_models.submit(store, given.runs, values, given.name)
    if given.detach:
        return {"job": job, "name": jobs.spec(store, job).body["name"], "status": "starting"}
    facts = follow(store, job)
    return {
        "job": job,
        "model": tuned_models.how_to_use(facts),
        "folder": str(model_registry.folder(store, facts["name"])),
        **{name: facts[name] for name in ("base", "rows", "steps", "first_loss", "last_loss", "supervised")},
    }


def trained_command(store: Store, given: argparse.Namespace) -> Any:
    """Show everything that was trained beside this database, or all about one of it."""
    if given.name is not None:
        return model_registry.model_facts(store, given.name)
    found = [{name: facts.get(name) for name in LISTED} for facts in map(_facts(store), model_registry.names(store))]
    if given.json:
        return found
    print("\n".join("  ".join(f"{value!s:<20}" for value in row.values()).rstrip() for row in found) or "nothing yet")
    return None


def use_command(store: Store, given: argparse.Namespace) -> Any:
    """Ask a model about examples that a run did not label, with none or some of its labels shown, beside gold."""
    spec = store.spec(given.run)
    own = model_registry.model_of_run(store, given.run)
    model = replace(own, model=given.model or own.model)
    parts = unlabelled_parts(store, spec.dataset, spec, given.test)
    if not parts:
        raise SettingError(f"run {given.run!r} labelled all of its data set: name a test data set (--test)")
    job = asked(store, given.run, model, given.shots, given.most, parts, given.seed)
    jobs.start(store, job)
    follow(store, job)
    rows = [_row(line) for line in tuned_models.lines(store, [job])]
    if given.json:
        return {"job": job, "results": rows}
    for row in rows:
        right = "no gold" if row["accuracy"] is None else f"{percent(row['accuracy'])} right"
        print(f"{row['model']:<28} {row['shots']:>4} shots  {right}  {percent(row['said_true'])} True")
    return None


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


def _facts(store: Store) -> Callable[[str], Json]:
    return lambda name: model_registry.model_facts(store, name)


def _settings_finetuning() -> list[str]:
    return [field.name for field in fields(TuneSettings)]


def _shots(text: str) -> int | str:
    number = FIT if text == FIT else whole_number(text)
    if number is not None:
        return number
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of shots: use 0, 1, 2, ... or fit")


def add_finetuning(command: Callable[[str, Any], argparse.ArgumentParser], count: Callable[[str], int]) -> None:
    """Add the commands to the parser; `count` parses a whole number of 1 or more."""
    tune = command("finetune", finetune_command)
    tune.add_argument("runs", nargs="+", metavar="RUN", help="whose labels; several are taken together")
    tune.add_argument("--name", help="of the tuned model (else the run's, with -tuned)")
    for field in fields(TuneSettings):
        option = f"--{field.name.replace('_', '-')}"
        tune.add_argument(option, help=f"{EXPLANATIONS[field.name]} ({field.default})")
    tune.add_argument("--detach", action="store_true", help="return at once with the job's name")
    listed = command("trained", trained_command)
    listed.add_argument("name", nargs="?", metavar="NAME")
    used = command("use", use_command)
    used.add_argument("run", metavar="RUN")
    used.add_argument("--model", help="in place of the run's own, such as trained:NAME")
    used.add_argument("--shots", nargs="+", type=_shots, default=[0, "fit"], help="labels shown: numbers, or fit")
    used.add_argument("--test", metavar="NAME", help="data set to ask about (else the run's own test part and rest)")
    used.add_argument("--most", type=count, default=tuned_models.TESTED, metavar="N", help="test examples at most")
    used.add_argument("--seed", type=int, default=0, help="which labels are shown, in which order")


def reward_command(store: Store, given: argparse.Namespace) -> Json | None:
    """Train a reward model on a run's preferences; it labels the rest, and a final one learns from both."""
    rest = [] if given.no_rest else _parts(store, given.rest) if given.rest else None
    settings = _settings_policies(RewardSettings, given)
    model = _model(given, model_registry.base_choice(store, given.run))
    test = _parts(store, given.test)
    job = policies.create(store, given.run, settings, name=given.name, model=model, rest=rest, test=test)
    return _done(store, given, job, lambda found: _told_rewards(store, found))


def respond_command(store: Store, given: argparse.Namespace) -> Json | None:
    """Sample responses of a model to the prompts of a data set; keep them for a judge, or have them rewarded."""
    if given.keep and given.detach:
        raise SettingError("--keep needs the responses: leave --detach out")
    if given.keep and store.has_dataset(given.keep):
        raise SettingError(f"data set {given.keep!r} exists already: keep the responses under another name")
    how = policies.Sampling(given.samples, given.temperature, given.max_tokens, given.seed)
    model = _model(given, _as_trained(store, given.model))
    job = policies.ask_responses(store, model, _parts(store, [given.dataset]), how, given.judge, given.limit)

    def told(found: Json) -> Json:
        kept = policies.keep_responses(store, job, given.keep, given.rule) if given.keep else None
        number = sum(map(len, found["responses"]))
        return {
            "job": job,
            "prompts": len(found["asked"]),
            "responses": number,
            "cut": found["cut"],
            **{f"reward by {judge}": _mean(rows) for judge, rows in found["rewards"].items()},
            **({"dataset": given.keep, "examples": len(kept.examples)} if kept else {}),
        }

    return _done(store, given, job, told)


def prefer_command(store: Store, given: argparse.Namespace) -> Json | None:
    """Tune a policy on the preferences in a run's labels (DPO)."""
    settings = _settings_policies(PreferenceSettings, given)
    model = _model(given, model_registry.base_choice(store, given.run))
    job = policies.ask_preference_tuning(store, given.run, settings, name=given.name, model=model)
    return _done(store, given, job, _told_policy)


def reinforce_command(store: Store, given: argparse.Namespace) -> Json | None:
    """Train a policy against a reward model, on the prompts of a data set (RLOO)."""
    settings = _settings_policies(ReinforceSettings, given)
    reward = given.reward.removeprefix(model_registry.PREFIX)
    model = _model(given, policies.model_of(model_registry.model_facts(store, reward)))
    job = policies.ask_reinforcement(
        store, reward, _parts(store, [given.dataset]), settings, name=given.name, model=model, most=given.limit
    )
    return _done(store, given, job, _told_policy)


def _done(store: Store, given: argparse.Namespace, job: str, told: Callable[[Json], Json]) -> Json | None:
    """Start the job, follow it to its end and say what came of it."""
    jobs.start(store, job)
    if given.detach:
        return {"job": job, "status": "starting"}
    return told(follow(store, job))


def _told_rewards(store: Store, found: Json) -> Json:
    """What was learned from, and the accuracy on the test part where that has gold."""
    told = {
        "reward": found["name"],
        "supervised": found["supervised"],
        "pairs": found["stages"]["first"]["rows"],
        **found["left_out"],
        "rest_labelled": found["rest"]["rows"],
        "pairs_in_all": found["rows"],
    }
    for stage in found["test"]:
        try:
            right = accuracy(store, [found], stage)
            told |= {f"accuracy_{stage}": right.mean, f"interval_{stage}": [right.low, right.high]}
        except SettingError as error:
            print(f"icm: {error}", file=sys.stderr)
    return told


def _told_policy(found: Json) -> Json:
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


def _model(given: argparse.Namespace, own: ModelChoice) -> ModelChoice:
    """The run's or the reward model's own model, with what was named in place of it."""
    named = {name: getattr(given, name, None) for name in ("model", "quantization", "dtype", "device")}
    return replace(own, **{name: value for name, value in named.items() if value is not None})


def _as_trained(store: Store, model: str | None) -> ModelChoice:
    """How a model that was trained here was loaded then; of any other, the defaults."""
    if model is None or not model.startswith(model_registry.PREFIX):
        return ModelChoice("sample")
    return policies.model_of(model_registry.model_facts(store, model.removeprefix(model_registry.PREFIX)))


def _settings_policies(kind: type[Some], given: argparse.Namespace) -> Some:
    named = {field.name: getattr(given, field.name) for field in fields(kind)}
    return settings_from(kind, {name: value for name, value in named.items() if value is not None})


def add_policies(command: Callable[[str, Any], argparse.ArgumentParser], count: Callable[[str], int]) -> None:
    """Add the commands to the parser; `count` parses a whole number of 1 or more."""
    reward = command("reward", reward_command)
    reward.add_argument("run", metavar="RUN", help="whose labels are preferences")
    reward.add_argument("--test", nargs="+", default=[], metavar="DATASET", help="pairs to try it on")
    reward.add_argument(
        "--rest",
        nargs="+",
        default=[],
        metavar="DATASET",
        help="what the first model labels (else what the run's limit left)",
    )
    reward.add_argument("--no-rest", action="store_true", help="one stage only")
    _add_training(reward, RewardSettings)
    prefer = command("prefer", prefer_command)
    prefer.add_argument("run", metavar="RUN", help="whose labels are preferences")
    _add_training(prefer, PreferenceSettings)
    reinforce = command("reinforce", reinforce_command)
    reinforce.add_argument("reward", metavar="REWARD", help="name of a reward model")
    reinforce.add_argument("--dataset", required=True, metavar="NAME", help="whose prompts are responded to")
    reinforce.add_argument("--limit", type=count, metavar="N", help="the first N prompts")
    _add_training(reinforce, ReinforceSettings)
    respond = command("respond", respond_command)
    respond.add_argument("dataset", metavar="DATASET", help="whose prompts are responded to")
    respond.add_argument("--model", help=f"{model_registry.MODELS} (else sample)")
    respond.add_argument("--quantization", choices=("nf4", "int8", "none"))
    respond.add_argument("--dtype", choices=model_registry.DTYPES)
    respond.add_argument("--device", help="auto, cpu, cuda")
    respond.add_argument("--samples", type=count, default=8, metavar="K", help="responses to each prompt")
    respond.add_argument("--temperature", type=float, default=1.0)
    respond.add_argument("--max-tokens", type=count, default=16, metavar="N")
    respond.add_argument("--seed", type=int, default=0)
    respond.add_argument("--limit", type=count, metavar="N", help="the first N prompts")
    respond.add_argument("--judge", nargs="+", default=[], metavar="REWARD", help="reward models that judge them")
    respond.add_argument("--keep", metavar="NAME", help="store the distinct responses as a data set to be labelled")
    respond.add_argument("--rule", default="none", help="of that data set, where its examples are claims")
    respond.add_argument("--detach", action="store_true", help="return at once with the job's name")


def _add_training(command: argparse.ArgumentParser, settings: type[LoraSettings]) -> None:
    command.add_argument("--name", help="of what is trained (else made from what it learns from)")
    command.add_argument("--model", help="what is trained (else what the labels are from)")
    for field in fields(settings):
        command.add_argument(
            f"--{field.name.replace('_', '-')}", help=f"{TRAINING_EXPLANATIONS[field.name]} ({field.default})"
        )
    command.add_argument("--detach", action="store_true", help="return at once with the job's name")
