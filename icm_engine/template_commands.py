"""The command that tries templates and label words on a model before a run."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from icm_engine.analysis import template_trial
from icm_engine.core.errors import SettingError
from icm_engine.core.paths import expanded, home_expanded
from icm_engine.data.importing import SAMPLE_DATASETS, ensure_sample_dataset
from icm_engine.job_commands import follow
from icm_engine.runs import jobs
from icm_engine.runs.store import Store


def templates_command(store: Store, given: argparse.Namespace) -> dict[str, object] | None:
    """Try templates and label words on a few unlabelled examples: what falls on the labels, and how it moves."""
    if given.dataset in SAMPLE_DATASETS:
        ensure_sample_dataset(store, given.dataset)
    model = jobs.ModelChoice(home_expanded(given.model), given.quantization, given.dtype, given.device)
    templates = [text.replace("\\n", "\n") for text in given.template]
    job = template_trial.ask(store, given.dataset, model, given.limit, templates, [w.split(",") for w in given.labels])
    found = follow(store, job)
    if given.write is not None:
        _write(store, found, given.row, given.write)
    if given.json:
        return found
    print(template_trial.trial_frame(found).to_string(index=False), *template_trial.sentences(found), sep="\n")
    return None


def _write(store: Store, found: dict[str, Any], row: int, path: Path) -> None:
    """Write the task file of a row. Raises SettingError for a row that is not there, or a file that is."""
    if row > len(found["rows"]):
        raise SettingError(f"the trial has {len(found['rows'])} rows, and no row {row}: use one of these (--row)")
    try:
        with expanded(path).open("x", encoding="utf-8") as file:
            file.write(template_trial.task_file(store, found, row))
    except FileExistsError:
        raise SettingError(f"{path} exists already, nothing was written: name another file (--write)") from None
    print(f"Wrote {path}: import the file again with --task {path}.", file=sys.stderr)


def add(command: Callable[[str, Any], argparse.ArgumentParser], count: Callable[[str], int]) -> None:
    """Add the command to the parser; `count` parses a whole number of 1 or more."""
    tried = command("templates", templates_command)
    tried.add_argument("dataset", metavar="DATASET")
    tried.add_argument("--model", required=True, help=jobs.MODELS)
    tried.add_argument("--quantization", choices=("nf4", "int8", "none"), default="nf4")
    tried.add_argument("--dtype", choices=jobs.DTYPES, default=jobs.DTYPES[0])
    tried.add_argument("--device", default="auto", help="auto, cpu, cuda")
    tried.add_argument("--limit", type=count, metavar="N", help="reckon the time of a run with this limit")
    tried.add_argument(
        "--template", action="append", default=[], metavar="TEXT", help=r'such as "Review: {text}\nSentiment:"'
    )
    tried.add_argument("--labels", action="append", default=[], metavar="A,B,...", help="other words for the labels")
    tried.add_argument("--write", type=Path, metavar="FILE", help="write a task file of the best row, or of --row")
    tried.add_argument("--row", type=count, default=1, metavar="N", help="which row to write (1: the best)")
