"""Commands about data: import a file, check a rule, and try templates on a model."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from icm_engine.analysis import model_trials
from icm_engine.analysis.datasets import rule_sentences
from icm_engine.cli.job_commands import follow
from icm_engine.core.custom_rules import rule_reference
from icm_engine.core.errors import SettingError
from icm_engine.core.text import expanded, home_expanded
from icm_engine.data.import_plan import split_labels
from icm_engine.data.importing import Progress, ensure_sample_dataset, import_file
from icm_engine.data.readers.dialect import QUOTINGS
from icm_engine.data.row_parser import TIES
from icm_engine.data.rule_check import check_rule
from icm_engine.data.tasks import SAMPLE_DATASETS, TASKS
from icm_engine.runs import model_registry
from icm_engine.store.store import Store


def import_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Import a file as a data set."""
    labels = split_labels(given.labels) if given.labels else ()
    with _bar() as progress:
        report = import_file(
            store,
            given.file,
            given.task,
            given.name,
            mapping(given.map),
            rule_of(given.rule),
            labels,
            progress=progress,
            encoding=given.encoding,
            split=given.split,
            ties=given.ties,
            first=given.first_wins,
            quoting=given.quoting,
        )
    for note in report.notes:
        print(note, file=sys.stderr)
    return {
        "dataset": report.dataset,
        "examples": report.examples,
        "groups": report.groups,
        "constraints": report.constraints,
        "notes": list(report.notes),
    }


def check_command(store: Store, given: argparse.Namespace) -> dict[str, object] | None:
    """Count what a rule ties together, and how often gold breaks it."""
    if given.dataset in SAMPLE_DATASETS:
        ensure_sample_dataset(store, given.dataset)
    found = check_rule(store, given.dataset, rule_of(given.rule))
    if not given.json:
        print(f"Data set {found.dataset} has {found.examples:,} examples.", *rule_sentences(found), sep="\n")
        return None
    return {
        "dataset": found.dataset,
        "rule": found.rule,
        "examples": found.examples,
        "groups": found.groups,
        "pairs": found.pairs,
        "constraints": found.constraints,
        "without_answer": found.without_answer_count,
        "without_answer_ids": list(found.without_answer),
        "gold_pairs": found.gold_pairs,
        "gold_violated": found.gold_violated,
        "gold_groups": found.gold_groups,
        "gold_groups_violated": found.gold_groups_violated,
        "gold_groups_unchecked": found.gold_groups_unchecked,
    }


def rule_of(given: str | None) -> str | None:
    """Return the rule that was asked for; a path to a Python file becomes a reference to it as it is now."""
    return rule_reference(given) if given is not None and given.endswith(".py") else given


def mapping(texts: Sequence[str]) -> dict[str, str | Sequence[str]]:
    """Return which column is which field; `human` may be given several times."""
    pairs = [text.split("=", 1) for text in texts]
    humans = [column for field, column in pairs if field == "human" and column]
    found: dict[str, str | Sequence[str]] = {field: column for field, column in pairs}
    return {**found, "human": humans} if humans else found


def add_data(command: Callable[[str, Callable[[Store, argparse.Namespace], Any]], Any], assignment: Any) -> None:
    """Add the parsers of these commands; `assignment` is the type of name=value."""
    made = command("import", import_command)
    made.add_argument("file", type=Path, metavar="FILE", help="a file, a directory of `datasets`, or hub:owner/name")
    made.add_argument("--task", required=True, help=f"{', '.join(TASKS)}, or a file (my_task.toml)")
    made.add_argument("--name", help="name of the data set (else the file's)")
    made.add_argument("--map", action="append", default=[], type=assignment, metavar="field=column")
    made.add_argument("--rule", help="consistency rule, or a Python file with one (else the task's)")
    made.add_argument(
        "--labels", metavar="A,B,...", help="the labels of a classification; one with a comma in quotes: 'A,\"B, C\"'"
    )
    made.add_argument(
        "--ties", default=TIES[0], choices=TIES, help="rows whose gold is a tie (else the file is refused)"
    )
    made.add_argument("--first-wins", metavar="CELL", help="the cell of gold that means: the first response is better")
    made.add_argument("--encoding", help="of a text file that is not UTF-8 and has no byte order mark")
    made.add_argument("--split", help="of a data set that has several, or the list of a JSON file that has several")
    made.add_argument(
        "--quoting",
        choices=QUOTINGS,
        help="what quotation marks mean in CSV and TSV: they quote (double) or are text (none)",
    )
    checked = command("check", check_command)
    checked.add_argument("dataset", metavar="DATASET")
    checked.add_argument("--rule", help="consistency rule, or a Python file with one (else the data set's)")


@contextmanager
def _bar() -> Iterator[Progress]:
    """A bar on stderr: one pass checks the rows, the next stores them."""
    looks: Any = {"unit": "row", "unit_scale": True, "mininterval": 1, "delay": 2, "leave": False}
    with tqdm(desc="checking", file=sys.stderr, **looks) as bar:

        def progress(done: int, total: int | None) -> None:
            if done < bar.n:
                bar.reset()
                bar.set_description("storing", refresh=False)
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def templates_command(store: Store, given: argparse.Namespace) -> dict[str, object] | None:
    """Try templates and label words on a few unlabelled examples: what falls on the labels, and how it moves."""
    if given.dataset in SAMPLE_DATASETS:
        ensure_sample_dataset(store, given.dataset)
    model = model_registry.ModelChoice(home_expanded(given.model), given.quantization, given.dtype, given.device)
    templates = [text.replace("\\n", "\n") for text in given.template]
    job = model_trials.submit(store, given.dataset, model, given.limit, templates, [w.split(",") for w in given.labels])
    found = follow(store, job)
    if given.write is not None:
        _write(store, found, given.row, given.write)
    if given.json:
        return found
    print(model_trials.trial_frame(found).to_string(index=False), *model_trials.trial_sentences(found), sep="\n")
    return None


def _write(store: Store, found: dict[str, Any], row: int, path: Path) -> None:
    """Write the task file of a row. Raises SettingError for a row that is not there, or a file that is."""
    if row > len(found["rows"]):
        raise SettingError(f"the trial has {len(found['rows'])} rows, and no row {row}: use one of these (--row)")
    try:
        with expanded(path).open("x", encoding="utf-8") as file:
            file.write(model_trials.task_file(store, found, row))
    except FileExistsError:
        raise SettingError(f"{path} exists already, nothing was written: name another file (--write)") from None
    print(f"Wrote {path}: import the file again with --task {path}.", file=sys.stderr)


def add_templates(command: Callable[[str, Any], argparse.ArgumentParser], count: Callable[[str], int]) -> None:
    """Add the command to the parser; `count` parses a whole number of 1 or more."""
    tried = command("templates", templates_command)
    tried.add_argument("dataset", metavar="DATASET")
    tried.add_argument("--model", required=True, help=model_registry.MODELS)
    tried.add_argument("--quantization", choices=("nf4", "int8", "none"), default="nf4")
    tried.add_argument("--dtype", choices=model_registry.DTYPES, default=model_registry.DTYPES[0])
    tried.add_argument("--device", default="auto", help="auto, cpu, cuda")
    tried.add_argument("--limit", type=count, metavar="N", help="reckon the time of a run with this limit")
    tried.add_argument(
        "--template", action="append", default=[], metavar="TEXT", help=r'such as "Review: {text}\nSentiment:"'
    )
    tried.add_argument("--labels", action="append", default=[], metavar="A,B,...", help="other words for the labels")
    tried.add_argument("--write", type=Path, metavar="FILE", help="write a task file of the best row, or of --row")
    tried.add_argument("--row", type=count, default=1, metavar="N", help="which row to write (1: the best)")
