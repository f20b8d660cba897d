"""The commands of experiments: `evaluate SUITE` runs one, `predictors` looks at all that were run."""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from icm_engine import ray_commands
from icm_engine.analysis.experiments import asking
from icm_engine.analysis.experiments.report import write_report
from icm_engine.analysis.experiments.report_tables import predictors_table
from icm_engine.analysis.experiments.suites import SHIPPED
from icm_engine.core.chat_sources import EXPLANATIONS
from icm_engine.core.paths import expanded, home_expanded
from icm_engine.job_commands import follow
from icm_engine.runs import jobs
from icm_engine.runs.events import SEARCH
from icm_engine.runs.store import Store


def evaluate_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Run a suite of experiments and write its report; the same command again goes on with what is left."""
    model = jobs.ModelChoice(home_expanded(given.model), given.quantization, given.dtype, given.device, given.encoding)
    instead = {"datasets": given.datasets, "examples": given.examples, "seeds": given.seeds}
    job = asking.ask(
        store, given.suite, model, quick=given.quick, test=given.test, processes=given.processes,
        where=ray_commands.where_of(given, given.processes),
        instead={name: value for name, value in instead.items() if value is not None},
        command=f"python -m icm_engine evaluate {shlex.join(_arguments(given.suite))}",
    )  # fmt: skip
    if given.detach:
        return {"job": job, "status": "starting"}
    found = follow(store, job)
    folder = expanded(given.output or Path("reports") / asking.folder_name(found))
    files = write_report(found, folder)
    return {
        "job": job,
        "seconds": round(found["seconds"]),
        "cells": len(found["cells"]),
        "report": list(map(str, files)),
    }


def predictors_command(store: Store, given: argparse.Namespace) -> dict[str, object] | None:
    """Say which of the numbers that need no gold predict accuracy, over the latest results of every suite."""
    found = asking.all_predictors(store, given.source, given.labelled)
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


def add(command: Callable[[str, Any], argparse.ArgumentParser], count: Callable[[str], int]) -> None:
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
        help=jobs.MODELS,
    )
    evaluate.add_argument("--quantization", choices=("nf4", "int8", "none"), default="nf4")
    evaluate.add_argument("--dtype", choices=jobs.DTYPES, default=jobs.DTYPES[0])
    evaluate.add_argument("--device", default="auto", help="auto, cpu, cuda")
    evaluate.add_argument("--encoding", choices=("prefix-tree", "full-prompts"), default="prefix-tree")
    evaluate.add_argument("--datasets", nargs="+", metavar="NAME", help="in place of the suite's own")
    evaluate.add_argument("--test", metavar="NAME", help="data set whose examples labels are used on")
    evaluate.add_argument("--examples", type=count, metavar="N", help="in place of the suite's own")
    evaluate.add_argument("--seeds", nargs="+", type=int, metavar="S", help="in place of the suite's own")
    evaluate.add_argument("--processes", type=count, default=1, metavar="P", help="how many work side by side")
    ray_commands.add(evaluate, count)
    evaluate.add_argument("--output", type=Path, metavar="FOLDER", help="where the report goes (else reports/SUITE)")
    evaluate.add_argument("--detach", action="store_true", help="return at once with the job's name")
