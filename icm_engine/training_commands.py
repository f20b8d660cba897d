"""The commands of training: `finetune` tunes a model on labels, `trained` lists what there is, `use` asks a model."""

import argparse
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from icm_engine.analysis import tuning
from icm_engine.analysis.using import asked, unlabelled_parts
from icm_engine.analysis.wording import percent
from icm_engine.core.errors import SettingError
from icm_engine.core.numbers import whole_number
from icm_engine.job_commands import follow
from icm_engine.runs import jobs, trained
from icm_engine.runs.events import Json
from icm_engine.runs.finetuning import EXPLANATIONS, TuneSettings
from icm_engine.runs.store import Store
from icm_engine.runs.use import FIT

LISTED = ("name", "kind", "base", "rows", "supervised", "last_loss")


def finetune_command(store: Store, given: argparse.Namespace) -> Json:
    """Tune a model on the labels of runs: a LoRA adapter, in a folder beside the database, used as trained:NAME."""
    values = {name: getattr(given, name) for name in _settings() if getattr(given, name) is not None}
    job = tuning.ask(store, given.runs, values, given.name)
    if given.detach:
        return {"job": job, "name": jobs.spec(store, job).body["name"], "status": "starting"}
    facts = follow(store, job)
    return {
        "job": job, "model": tuning.how_to_use(facts), "folder": str(trained.folder(store, facts["name"])),
        **{name: facts[name] for name in ("base", "rows", "steps", "first_loss", "last_loss", "supervised")},
    }  # fmt: skip


def trained_command(store: Store, given: argparse.Namespace) -> Any:
    """Show everything that was trained beside this database, or all about one of it."""
    if given.name is not None:
        return trained.facts(store, given.name)
    found = [{name: facts.get(name) for name in LISTED} for facts in map(_facts(store), trained.names(store))]
    if given.json:
        return found
    print("\n".join("  ".join(f"{value!s:<20}" for value in row.values()).rstrip() for row in found) or "nothing yet")
    return None


def use_command(store: Store, given: argparse.Namespace) -> Any:
    """Ask a model about examples that a run did not label, with none or some of its labels shown, beside gold."""
    spec = store.spec(given.run)
    own = jobs.model_of_run(store, given.run)
    model = replace(own, model=given.model or own.model)
    parts = unlabelled_parts(store, spec.dataset, spec, given.test)
    if not parts:
        raise SettingError(f"run {given.run!r} labelled all of its data set: name a test data set (--test)")
    job = asked(store, given.run, model, given.shots, given.most, parts, given.seed)
    jobs.start(store, job)
    follow(store, job)
    rows = [_row(line) for line in tuning.lines(store, [job])]
    if given.json:
        return {"job": job, "results": rows}
    for row in rows:
        right = "no gold" if row["accuracy"] is None else f"{percent(row['accuracy'])} right"
        print(f"{row['model']:<28} {row['shots']:>4} shots  {right}  {percent(row['said_true'])} True")
    return None


def _row(line: tuning.Line) -> Json:
    right = line.right
    return {
        "model": line.model, "shots": line.used.shots, "accuracy": right.mean if right else None,
        "low": right.low if right else None, "high": right.high if right else None,
        "said_true": line.used.predicted_true,
    }  # fmt: skip


def _facts(store: Store) -> Callable[[str], Json]:
    return lambda name: trained.facts(store, name)


def _settings() -> list[str]:
    return [field.name for field in fields(TuneSettings)]


def _shots(text: str) -> int | str:
    number = FIT if text == FIT else whole_number(text)
    if number is not None:
        return number
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of shots: use 0, 1, 2, ... or fit")


def add(command: Callable[[str, Any], argparse.ArgumentParser], count: Callable[[str], int]) -> None:
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
    used.add_argument("--most", type=count, default=tuning.TESTED, metavar="N", help="test examples at most")
    used.add_argument("--seed", type=int, default=0, help="which labels are shown, in which order")
