"""How far labels can be trusted: the commands `verify`, `audit`, `compare`, `concepts`, `evaluate` and `predictors`."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from icm_engine import jobs
from icm_engine.analysis import audit, landscape, paired
from icm_engine.analysis.formatting import percent
from icm_engine.analysis.views import load
from icm_engine.baselines.llm_judge import EXPLANATIONS
from icm_engine.cli import options, several_runs
from icm_engine.cli.options import ClusterOptions, Many, ModelOptions, command
from icm_engine.cli.terminal import Output, follow, text_of
from icm_engine.core.errors import RunError, SettingError
from icm_engine.core.text import expanded
from icm_engine.experiments import runner
from icm_engine.experiments.report_tables import predictors_table
from icm_engine.experiments.suites import SHIPPED
from icm_engine.jobs.batches import is_batched
from icm_engine.jobs.rescoring import KIND, prompted
from icm_engine.runs import model_registry
from icm_engine.runs.verify import verify
from icm_engine.store.events import SEARCH, Json
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store


@command("verify")
@options.run_argument
@click.option("--rescore", type=options.count, metavar="N", help="Score N sampled steps again with the run's model.")
def verify_command(store: Store, run: str, rescore: int | None) -> Json | Output:
    """Recompute every decision of a run from its log.

    Of a batched run, the decisions of every batch are recomputed. With --rescore, the model is asked again.
    """
    if is_batched(store, run):
        if rescore is not None:
            raise SettingError(f"--rescore is for one run: name one of the batches, such as '{run}-1'")
        return several_runs.verify_batches(store, run)
    if rescore is not None:
        prompted(store, run)
    steps, wrong = verify(store, open_run(store, run))
    if wrong:
        raise RunError(f"run {run!r} has {len(wrong)} wrong entries, first {wrong[0]}: do not use its labels")
    checked: Json = {"run": run, "steps_checked": steps, "wrong": 0}
    if rescore is None:
        return checked
    found = _drift(store, run, rescore)
    return Output({**checked, "drift": found}, text_of({**checked, **_drift_in_short(found)}))


def _drift(store: Store, run: str, steps: int) -> Json:
    """The result of a job that scores a number of the run's steps again."""
    spec = jobs.JobSpec(KIND, {"run": run, "steps": steps}, model_registry.model_of_run(store, run))
    return follow(store, jobs.request(store, spec))


def _drift_in_short(found: Json) -> Json:
    return {
        "steps_rescored": f"{found['steps']} of {found['of']}",
        "largest_difference": f"{found['largest_difference']:.2e} of {found['compared']:,} log-probabilities",
        "mean_difference": f"{found['mean_difference']:.2e}",
        "steps_another_way": found["other_way"],
        **({"model_changes": found["model_changes"]} if found["model_changes"] else {}),
    }


@command("audit")
@options.run_argument
@click.option("--number", type=options.count, default=20, metavar="N", help="How many questions to ask at most.")
@click.option("--answers", metavar="SOURCE", help="Who answers: gold, a set of human labels, or a column of the file.")
@click.option("--seed", type=int, metavar="S", help="Decides which examples are drawn (default: the audit's number).")
@click.option("--new", is_flag=True, help="Begin a new audit, of the labels as they are now.")
def audit_command(
    store: Store, run: str, number: int, answers: str | None, seed: int | None, new: bool
) -> Json | Output:
    """Find out from a few answers how far the labels can be trusted.

    You label examples that are drawn at random, without seeing their labels. Each answer narrows the interval of the
    accuracy, until the labels are right, mirrored or no better than chance. You can stop at any time; the same command
    continues. Answers are kept with the run, and no search reads them. With --answers, nothing is kept.
    """
    reading = load(store, run)
    if answers is None:
        return _audited(run, _interview(store, run, number, seed, new), False)
    return _audited(run, audit.answered_by(store, reading, answers, number, 1 if seed is None else seed), True)


def _audited(run: str, found: audit.Audit, supervised: bool) -> Output:
    finding = found.finding
    lines = ["Supervised: the answers are labels that were there already.", ""] if supervised else []
    lines += [_verdict(finding), audit.caution_words(finding)]
    return Output(audit.facts(run, found, supervised), "\n".join(filter(None, lines)))


def _verdict(found: audit.AuditFinding) -> str:
    return f"{audit.answers_words(found)}\n{audit.VERDICTS[found.verdict]}. {audit.verdict_words(found)}"


CANNOT_TELL, BACK, STOP = "?", "b", "q"


def _interview(store: Store, run: str, number: int, seed: int | None, new: bool) -> audit.Audit:
    """Ask questions on stderr and record the answers; return the audit as it is then."""
    now = audit.audit_of(store, load(store, run), seed, new)
    at, last = now.next, min(now.next + number - 1, len(now.places))
    while at <= last:
        said = _asked(store, run, now, at)
        if said == STOP:
            break
        if said == BACK:
            at = max(1, at - 1)
            continue
        label = None if said == CANNOT_TELL else now.labels[int(said) - 1]
        audit.record(store, load(store, run), now, at, label)
        now = audit.audit_of(store, load(store, run))
        print(f"{_verdict(now.finding)}\n", file=sys.stderr)
        at = now.next
    return now


def _asked(store: Store, run: str, now: audit.Audit, number: int) -> str:
    """Show an example without its label, and return the key that was typed; the end of the input stops."""
    place = now.place(number)
    assert place is not None
    fields = load(store, run).run.dataset.examples[place].fields
    shown = "\n".join(f"{name}: {text}" for name, text in fields.items())
    keys = {str(k): label for k, label in enumerate(now.labels, start=1)}
    offered = "   ".join(f"{key} {label}" for key, label in keys.items())
    print(f"Question {number}\n\n{shown}\n\n{offered}   ? cannot tell   b back   q stop", file=sys.stderr)
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        said = line.strip().lower() or ("" if line else STOP)
        if said in (*keys, CANNOT_TELL, BACK, STOP):
            return said
        print(f"Type one of {', '.join((*keys, CANNOT_TELL, BACK, STOP))}.", file=sys.stderr)


@command("compare")
@click.argument("one", metavar="ONE")
@click.argument("other", metavar="OTHER")
@click.option(
    "--against", metavar="REFERENCE", help="What says which is right: gold, audit, a set of human labels, or a run."
)
@click.option("--dataset", metavar="NAME", help="The data set, where neither of the two is a run.")
def compare_command(store: Store, one: str, other: str, against: str | None, dataset: str | None) -> Output:
    """Compare two label sources on the same examples.

    A source is a run, a set of human labels by its name, gold, or zero-shot (labels that a model gave without
    demonstrations, where some are stored). Shows how far the two agree; with --against, also which is right more often,
    with a paired interval and the exact McNemar test. audit: what people answered in audits of the runs.
    """
    where, found = paired.compare(store, one, other, against, dataset)
    lines = paired.paired_words(found)
    if found.rows:
        rows = ([label, *counts] for label, counts in zip(found.labels, found.confusion, strict=True))
        lines += [f"Rows: {one}. Columns: {other}.", _table([["", *found.labels], *rows])]
    return Output(paired.paired_facts(where, found), "\n".join(lines))


@command("concepts")
@options.run_argument
@options.model_options(default=None, help="A witness: another, cheap model to predict each label from all others.")
def concepts_command(store: Store, run: str, model: ModelOptions) -> Output:
    """Show which concept the labels of a run follow.

    Their agreement with labelings that need no gold (length of texts, negation, the first option, single words, stored
    zero-shot labels, witnesses), beside gold, audits and human labels where there are any. With --model, that model is
    asked first.
    """
    said = []
    if model.model is not None:
        job = landscape.ask_witness(store, load(store, run), model.choice())
        said.append(landscape.witness_words(follow(store, job), load(store, run), model.model))
    reading = load(store, run)
    rows = landscape.concepts(store, reading)
    width = max((len(row.name) for row in rows), default=0)
    lines = [landscape.concept_words(rows, reading), *said, "", *(_concept_line(row, width) for row in rows)]
    return Output(landscape.concept_facts(reading, rows), "\n".join(lines).rstrip())


def _concept_line(row: landscape.ConceptRow, width: int) -> str:
    own, swapped = row.agreement, "" if row.mirrored is None else f"  swapped {percent(row.mirrored.mean):>4}"
    between = f"[{percent(own.low)}, {percent(own.high)}]"
    return f"{row.name:<{width}}  {percent(own.mean):>4} {between:<13}{swapped}  of {row.examples:,}"


def _table(rows: Sequence[Sequence[object]]) -> str:
    """Rows of cells as text, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(cell.rjust(n) for cell, n in zip(row, widths, strict=True)).rstrip() for row in cells)


@command("predictors")
@click.option("--source", type=click.Choice((SEARCH, *EXPLANATIONS)), help="Only runs of this label source.")
@click.option(
    "--labelled", type=float, default=0.0, metavar="SHARE", help="Only runs that labelled at least this share."
)
def predictors_command(store: Store, source: str | None, labelled: float) -> Output:
    """Show which numbers that need no gold predict accuracy.

    Reads the latest results of every suite.
    """
    found = runner.all_predictors(store, source, labelled)
    table = predictors_table(found["predictors"])
    rows = ["  ".join(cell.ljust(28) for cell in row).rstrip() for row in (table.head, *table.rows)]
    return Output(found, "\n".join([f"{found['runs']} runs of {', '.join(found['suites'])}", *rows]))


@dataclass(frozen=True, slots=True)
class EvaluateArguments:
    """The arguments of `evaluate`."""

    suite: str
    quick: bool
    model: ModelOptions
    datasets: list[str]
    test: str | None
    examples: int | None
    seeds: list[int]
    processes: int
    where: ClusterOptions
    output: Path | None
    detach: bool

    def instead(self) -> Json:
        """Return the arguments that override the suite."""
        given = {"datasets": self.datasets, "examples": self.examples, "seeds": self.seeds}
        return {name: value for name, value in given.items() if value}


@command("evaluate")
@click.argument("suite", metavar="SUITE", help=f"{', '.join(SHIPPED)}, or a file (my_suite.toml).")
@click.option("--quick", is_flag=True, help="The smaller form of the suite, which takes a few minutes.")
@options.model_options(default="sample")
@click.option("--datasets", cls=Many, metavar="NAME...", help="Data sets to use instead of the suite's.")
@click.option("--test", metavar="NAME", help="Data set on which labels are tried out as demonstrations.")
@click.option("--examples", type=options.count, metavar="N", help="How many examples, instead of the suite's number.")
@click.option("--seeds", cls=Many, type=int, metavar="S...", help="Seeds to use instead of the suite's.")
@click.option("--processes", type=options.count, default=1, metavar="P", help="How many runs at the same time.")
@options.cluster_options
@click.option("--output", type=Path, metavar="FOLDER", help="Where the report goes (default: reports/SUITE).")
@options.detach
def evaluate_command(store: Store, **given: Any) -> Json:
    """Run a suite of experiments and write its report.

    The same command again continues with what is left.
    """
    from icm_engine.experiments.report import write_report  # imported late: it draws with plotly

    arguments = EvaluateArguments(**given)
    job = _submit(store, arguments)
    if arguments.detach:
        return {"job": job, "status": "starting"}
    found = follow(store, job)
    files = write_report(found, expanded(arguments.output or Path("reports") / runner.folder_name(found)))
    counts = {"seconds": round(found["seconds"]), "cells": len(found["cells"])}
    return {"job": job, **counts, "report": list(map(str, files))}


def _submit(store: Store, arguments: EvaluateArguments) -> str:
    return runner.submit(
        store,
        arguments.suite,
        arguments.model.choice(),
        quick=arguments.quick,
        test=arguments.test,
        processes=arguments.processes,
        where=arguments.where.spec(arguments.processes),
        instead=arguments.instead(),
        command=f"python -m icm_engine evaluate {shlex.join(_arguments(arguments.suite))}",
    )


def _arguments(suite: str) -> list[str]:
    """The words after the command, as they were given; from elsewhere than a command line, the suite alone."""
    words = sys.argv[1:]
    return words[1:] if words[:1] == ["evaluate"] else [suite]
