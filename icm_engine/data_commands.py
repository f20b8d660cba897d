"""Commands about data: import a file, and check what a rule ties together before a run."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from icm_engine.analysis.datasets import rule_sentences
from icm_engine.core.own_rules import reference
from icm_engine.data.building import TIES
from icm_engine.data.checking import check_rule
from icm_engine.data.importing import SAMPLE_DATASETS, Progress, ensure_sample_dataset, import_file
from icm_engine.data.preparing import split_labels
from icm_engine.data.reading import QUOTINGS
from icm_engine.data.tasks import TASKS
from icm_engine.runs.store import Store


def import_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Import a file as a data set."""
    labels = split_labels(given.labels) if given.labels else ()
    with _bar() as progress:
        report = import_file(
            store, given.file, given.task, given.name, mapping(given.map), rule_of(given.rule), labels,
            progress=progress, encoding=given.encoding, split=given.split, ties=given.ties, first=given.first_wins,
            quoting=given.quoting,
        )  # fmt: skip
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
    return reference(given) if given is not None and given.endswith(".py") else given


def mapping(texts: Sequence[str]) -> dict[str, str | Sequence[str]]:
    """Return which column is which field; `human` may be given several times."""
    pairs = [text.split("=", 1) for text in texts]
    humans = [column for field, column in pairs if field == "human" and column]
    found: dict[str, str | Sequence[str]] = {field: column for field, column in pairs}
    return {**found, "human": humans} if humans else found


def add(command: Callable[[str, Callable[[Store, argparse.Namespace], Any]], Any], assignment: Any) -> None:
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
        "--quoting", choices=QUOTINGS,
        help="what quotation marks mean in CSV and TSV: they quote (double) or are text (none)",
    )  # fmt: skip
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
