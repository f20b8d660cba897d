"""The commands about data: `import` a file, `check` a rule, try `templates` on a model, and count its `context`."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from icm_engine import jobs
from icm_engine.analysis import model_trials
from icm_engine.analysis.datasets import rule_sentences
from icm_engine.cli import options
from icm_engine.cli.options import ModelOptions, command
from icm_engine.cli.terminal import Output, follow
from icm_engine.core.custom_rules import rule_reference
from icm_engine.core.errors import SettingError
from icm_engine.core.text import expanded
from icm_engine.data.import_plan import split_labels
from icm_engine.data.importing import Progress, ensure_sample_dataset, import_file
from icm_engine.data.readers.dialect import QUOTINGS
from icm_engine.data.row_parser import TIES
from icm_engine.data.rule_check import RuleCheck, check_rule
from icm_engine.data.tasks import SAMPLE_DATASETS, TASKS
from icm_engine.store.events import Json
from icm_engine.store.store import Store

map_option = click.option(
    "--map",
    "mapped",
    multiple=True,
    default=[],
    type=options.assignment,
    metavar="field=column",
    help="Which column is which field; may be given again.",
)
labels_option = click.option(
    "--labels", metavar="A,B,...", help="The labels of a classification; one with a comma in quotes: 'A,\"B, C\"'."
)
encoding_option = click.option(
    "--encoding", metavar="NAME", help="Encoding of a text file that is not UTF-8 and has no byte order mark."
)
split_option = click.option(
    "--split", metavar="NAME", help="Of a data set with several splits, or the list of a JSON file with several."
)
quoting_option = click.option(
    "--quoting",
    type=click.Choice(QUOTINGS),
    help="What quotation marks mean in CSV and TSV: they quote (double) or are text (none).",
)


@dataclass(frozen=True, slots=True)
class ImportArguments:
    """The arguments of `import`."""

    file: Path
    task: str
    name: str | None
    mapped: list[str]
    rule: str | None
    labels: str | None
    ties: str
    first_wins: str | None
    encoding: str | None
    split: str | None
    quoting: str | None


@command("import")
@click.argument("file", type=Path, metavar="FILE", help="A file, a directory of `datasets`, or hub:owner/name.")
@click.option("--task", required=True, metavar="TASK", help=f"{', '.join(TASKS)}, or a file (my_task.toml).")
@click.option("--name", metavar="NAME", help="Name of the data set (default: that of the file).")
@map_option
@options.rule("Consistency rule, or a Python file with one (default: that of the task).")
@labels_option
@click.option("--ties", type=click.Choice(TIES), default=TIES[0], help="What happens to rows whose gold is a tie.")
@click.option("--first-wins", metavar="CELL", help="The value of gold that means: the first response is better.")
@encoding_option
@split_option
@quoting_option
def import_command(store: Store, **given: Any) -> Json:
    """Import a file as a data set."""
    arguments = ImportArguments(**given)
    with _bar() as progress:
        report = import_file(
            store,
            arguments.file,
            arguments.task,
            arguments.name,
            mapping(arguments.mapped),
            rule_of(arguments.rule),
            split_labels(arguments.labels) if arguments.labels else (),
            progress=progress,
            encoding=arguments.encoding,
            split=arguments.split,
            ties=arguments.ties,
            first=arguments.first_wins,
            quoting=arguments.quoting,
        )
    for note in report.notes:
        print(note, file=sys.stderr)
    counts = {"examples": report.examples, "groups": report.groups, "constraints": report.constraints}
    return {"dataset": report.dataset, **counts, "notes": list(report.notes)}


@command("check")
@options.dataset_argument
@options.rule("Consistency rule, or a Python file with one (default: that of the data set).")
def check_command(store: Store, dataset: str, rule: str | None) -> Output:
    """Count the pairs of a rule, and how often gold breaks it."""
    if dataset in SAMPLE_DATASETS:
        ensure_sample_dataset(store, dataset)
    found = check_rule(store, dataset, rule_of(rule))
    lines = [f"Data set {found.dataset} has {found.examples:,} examples.", *rule_sentences(found)]
    return Output(_facts(found), "\n".join(lines))


def _facts(found: RuleCheck) -> Json:
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
    """Return the requested rule; a path to a Python file becomes a reference to it as it is now."""
    return rule_reference(given) if given is not None and given.endswith(".py") else given


def mapping(texts: Sequence[str]) -> dict[str, str | Sequence[str]]:
    """Return which column is which field; `human` may be given several times."""
    pairs = [text.split("=", 1) for text in texts]
    humans = [column for field, column in pairs if field == "human" and column]
    found: dict[str, str | Sequence[str]] = {field: column for field, column in pairs}
    return {**found, "human": humans} if humans else found


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


@command("templates")
@options.dataset_argument
@options.model_options(required=True, encoding=False)
@options.limit("Estimate the time of a run with this limit.")
@click.option(
    "--template",
    "template",
    multiple=True,
    default=[],
    metavar="TEXT",
    help=r'Such as "Review: {text}\nSentiment:"; may be given again.',
)
@click.option("--labels", multiple=True, default=[], metavar="A,B,...", help="Other words for the labels.")
@click.option("--write", type=Path, metavar="FILE", help="Write a task file of the best row, or of --row.")
@click.option("--row", type=options.count, default=1, metavar="N", help="Which row to write; 1 is the best.")
def templates_command(
    store: Store,
    dataset: str,
    model: ModelOptions,
    limit: int | None,
    template: list[str],
    labels: list[str],
    write: Path | None,
    row: int,
) -> Output:
    """Try templates and label words on a few unlabelled examples.

    Shows how much probability the labels get, and how it varies.
    """
    if dataset in SAMPLE_DATASETS:
        ensure_sample_dataset(store, dataset)
    texts, words = [text.replace("\\n", "\n") for text in template], [text.split(",") for text in labels]
    found = follow(store, model_trials.submit(store, dataset, model.choice(), limit, texts, words))
    if write is not None:
        _write(store, found, row, write)
    table = model_trials.trial_frame(found).to_string(index=False)
    return Output(found, "\n".join([table, *model_trials.trial_sentences(found)]))


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


@command("context")
@options.dataset_argument
@options.model_options(required=True)
@options.limit("Check a run with this limit.")
@options.detach
def context_command(store: Store, dataset: str, model: ModelOptions, limit: int | None, detach: bool) -> Json | Output:
    """Count tokens, prompts that fit the context, and time.

    Counts what a run on this data set costs with this model.
    """
    if dataset in SAMPLE_DATASETS:
        ensure_sample_dataset(store, dataset)
    store.dataset_info(dataset)  # an unknown one is refused before anything is stored
    spec = jobs.JobSpec("context-check", {"dataset": dataset, "limit": limit}, model.choice())
    job = jobs.request(store, spec)
    if detach:
        return {"job": job, "status": "starting"}
    found = follow(store, job)
    return Output(found, "\n".join(model_trials.check_sentences(found)))
