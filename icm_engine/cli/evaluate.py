"""The commands `verify` (a run's log against the method), `evaluate` (suites) and `predictors`."""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from icm_engine import jobs
from icm_engine.baselines.llm_judge import EXPLANATIONS
from icm_engine.cli import several_runs
from icm_engine.cli.job_commands import follow
from icm_engine.core.errors import RunError, SettingError
from icm_engine.core.text import expanded, home_expanded
from icm_engine.experiments import launch
from icm_engine.experiments.report import write_report
from icm_engine.experiments.report_tables import predictors_table
from icm_engine.experiments.suites import SHIPPED
from icm_engine.jobs.batches import is_batched
from icm_engine.jobs.rescoring import KIND
from icm_engine.runs import model_registry
from icm_engine.runs.verify import verify
from icm_engine.store.events import SEARCH
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store


def verify_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Recompute every decision of a run, or of every batch, from its log; with --rescore, ask its model again."""
    if is_batched(store, given.run):
        if given.rescore is not None:
            raise SettingError(f"--rescore is for one run: name one of the batches, such as '{given.run}-1'")
        return several_runs.verify_batches(store, given.run)
    steps, wrong = verify(store, open_run(store, given.run))
    if wrong:
        raise RunError(f"run {given.run!r} has {len(wrong)} wrong entries, first {wrong[0]}: do not use its labels")
    checked: dict[str, object] = {"run": given.run, "steps_checked": steps, "wrong": 0}
    return checked if given.rescore is None else {**checked, **_drift(store, given.run, given.rescore, given.json)}


def _drift(store: Store, run: str, steps: int, whole: bool) -> dict[str, object]:
    """What a job finds that takes so many of the run's steps again; of its JSON, all or what a person reads."""
    spec = jobs.JobSpec(KIND, {"run": run, "steps": steps}, model_registry.model_of_run(store, run))
    found = follow(store, jobs.request(store, spec))
    if whole:
        return {"drift": found}
    return {
        "steps_rescored": f"{found['steps']} of {found['of']}",
        "largest_difference": f"{found['largest_difference']:.2e} of {found['compared']:,} log-probabilities",
        "mean_difference": f"{found['mean_difference']:.2e}",
        "steps_another_way": found["other_way"],
        **({"model_changes": found["model_changes"]} if found["model_changes"] else {}),
    }


def add_verify(command: Callable[[str, Any], argparse.ArgumentParser], count: Callable[[str], int]) -> None:
    """Add the command to the parser; `count` parses a whole number of 1 or more."""
    made = command("verify", verify_command)
    made.add_argument("run", metavar="RUN")
    made.add_argument("--rescore", type=count, metavar="N", help="score N sampled steps again with the run's own model")


def evaluate_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Run a suite of experiments and write its report; the same command again goes on with what is left."""
    model = model_registry.ModelChoice(
        home_expanded(given.model), given.quantization, given.dtype, given.device, given.encoding
    )
    instead = {"datasets": given.datasets, "examples": given.examples, "seeds": given.seeds}
    job = launch.submit(
        store,
        given.suite,
        model,
        quick=given.quick,
        test=given.test,
        processes=given.processes,
        where=several_runs.where_of(given, given.processes),
        instead={name: value for name, value in instead.items() if value is not None},
        command=f"python -m icm_engine evaluate {shlex.join(_arguments(given.suite))}",
    )
    if given.detach:
        return {"job": job, "status": "starting"}
    found = follow(store, job)
    folder = expanded(given.output or Path("reports") / launch.folder_name(found))
    files = write_report(found, folder)
    return {
        "job": job,
        "seconds": round(found["seconds"]),
        "cells": len(found["cells"]),
        "report": list(map(str, files)),
    }


def predictors_command(store: Store, given: argparse.Namespace) -> dict[str, object] | None:
    """Say which of the numbers that need no gold predict accuracy, over the latest results of every suite."""
    found = launch.all_predictors(store, given.source, given.labelled)
    if given.json:
        return found
    print(f"{found['runs']} runs of {', '.join(found['suites'])}")
    table = predictors_table(found["predictors"])
    for row in (table.head, *table.rows):
        print("  ".join(cell.ljust(28) for cell in row).rstrip())
    return None


def _arguments(suite: str) -> list[str]:
    """The words after the command, as they were given; from elsewhere than a command line, the suite alone."""
    words = sys.argv[1:]
    return words[1:] if words[:1] == ["evaluate"] else [suite]


def add_suites(command: Callable[[str, Any], argparse.ArgumentParser], count: Callable[[str], int]) -> None:
    """Add the commands to the parser; `count` parses a whole number of 1 or more."""
    looked = command("predictors", predictors_command)
    looked.add_argument("--source", choices=(SEARCH, *EXPLANATIONS), help="only runs of this label source")
    looked.add_argument("--labelled", type=float, default=0.0, metavar="SHARE", help="only runs that labelled as much")
    evaluate = command("evaluate", evaluate_command)
    evaluate.add_argument("suite", metavar="SUITE", help=f"{', '.join(SHIPPED)}, or a file (my_suite.toml)")
    evaluate.add_argument("--quick", action="store_true", help="the suite's own smaller form, in a few minutes")
    evaluate.add_argument(
        "--model",
        default="sample",
        help=model_registry.MODELS,
    )
    evaluate.add_argument("--quantization", choices=("nf4", "int8", "none"), default="nf4")
    evaluate.add_argument("--dtype", choices=model_registry.DTYPES, default=model_registry.DTYPES[0])
    evaluate.add_argument("--device", default="auto", help="auto, cpu, cuda")
    evaluate.add_argument("--encoding", choices=("prefix-tree", "full-prompts"), default="prefix-tree")
    evaluate.add_argument("--datasets", nargs="+", metavar="NAME", help="in place of the suite's own")
    evaluate.add_argument("--test", metavar="NAME", help="data set whose examples labels are used on")
    evaluate.add_argument("--examples", type=count, metavar="N", help="in place of the suite's own")
    evaluate.add_argument("--seeds", nargs="+", type=int, metavar="S", help="in place of the suite's own")
    evaluate.add_argument("--processes", type=count, default=1, metavar="P", help="how many work side by side")
    several_runs.add_cluster(evaluate, count)
    evaluate.add_argument("--output", type=Path, metavar="FOLDER", help="where the report goes (else reports/SUITE)")
    evaluate.add_argument("--detach", action="store_true", help="return at once with the job's name")
