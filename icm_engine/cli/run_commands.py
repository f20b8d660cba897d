"""The commands of runs: `run` starts one; the others continue it, show it and write its labels out."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from icm_engine.analysis import batches
from icm_engine.analysis.alerts import notes_of_run
from icm_engine.analysis.views import load, run_end, run_summary, summary
from icm_engine.baselines.llm_judge import EXPLANATIONS, source_options
from icm_engine.cli import options, several_runs
from icm_engine.cli.data_commands import rule_of
from icm_engine.cli.options import ClusterOptions, ModelOptions, command, pairs, run_argument
from icm_engine.cli.terminal import Output
from icm_engine.core.errors import SettingError
from icm_engine.core.settings import PRESETS, with_settings
from icm_engine.core.text import expanded
from icm_engine.data.export import FORMATS, export_run, push_run
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.jobs import deletion
from icm_engine.runs import control, new_run
from icm_engine.runs.control import follow
from icm_engine.store.events import SEARCH, Json, RunSpec
from icm_engine.store.store import Store


@dataclass(frozen=True, slots=True)
class RunArguments:
    """The arguments of `run`."""

    dataset: str
    model: ModelOptions
    limit: int | None
    preset: str
    settings: list[str]
    source: str
    option: list[str]
    rule: str | None
    seed: int | None
    steps: int | None
    detach: bool
    restarts: int | None
    side_by_side: int | None
    where: ClusterOptions
    batch_size: int | None

    def changed(self) -> Json:
        """Return the settings of the search that were given, a flag before --set. Raises SettingError for any."""
        for text in self.settings:  # checked even if another value replaces it
            with_settings(PRESETS[self.preset], pairs([text]))
        flags = {"seed": self.seed, "max_steps": self.steps}
        return pairs(self.settings) | {name: value for name, value in flags.items() if value is not None}

    def spec(self) -> RunSpec:
        """Return the run. Raises SettingError."""
        return RunSpec(
            dataset=self.dataset,
            **self.model.given(),  # type: ignore[arg-type]
            limit=self.limit,
            rule=rule_of(self.rule),
            preset=self.preset,
            source=self.source,
            source_options=source_options(self.source, pairs(self.option)),
            search=with_settings(PRESETS[self.preset], self.changed()),
        )


steps_option = click.option(
    "--steps",
    type=options.count,
    metavar="N",
    help="Steps of the search (default: one per example with --preset paper, four with the others).",
)
preset_option = click.option(
    "--preset",
    type=click.Choice(sorted(PRESETS)),
    default="default",
    help="Named settings; paper takes N steps for N examples, the others 4N.",
)
source_option = click.option(
    "--source",
    type=click.Choice((SEARCH, *EXPLANATIONS)),
    default=SEARCH,
    metavar="SOURCE",
    help=f"What labels: the search ({SEARCH}), or a baseline: {', '.join(EXPLANATIONS)}.",
)
source_options_option = click.option(
    "--option",
    multiple=True,
    default=[],
    type=options.assignment,
    metavar="name=value",
    help="An option of the label source; may be given again.",
)


@command("run")
@click.option("--dataset", required=True, metavar="NAME", help="The data set, such as arithmetic.")
@options.model_options(required=True)
@options.limit("Label at most N examples, in whole groups.")
@preset_option
@options.settings
@source_option
@source_options_option
@options.rule("Consistency rule (default: that of the data set).")
@click.option("--seed", type=int, metavar="SEED", help="Seed of the random draws.")
@steps_option
@options.detach
@several_runs.restarts_option
@several_runs.side_by_side_option
@options.cluster_options
@several_runs.batch_size_option
def run_command(store: Store, **given: Any) -> Json | Output:
    """Label a data set, and wait for the end.

    With --restarts or --batch-size, several runs label it.
    """
    arguments = RunArguments(**given)
    if arguments.dataset in SAMPLE_DATASETS:
        ensure_sample_dataset(store, arguments.dataset)
    spec = arguments.spec()
    new_run.fitted(store, spec, named="predictability" in arguments.changed())
    for words in new_run.remarks(store, spec):
        print(words, file=sys.stderr)
    if words := new_run.taken_words(store, spec):
        print(f"The limit takes {words}.", file=sys.stderr)
    return _started(store, arguments, spec)


def _started(store: Store, arguments: RunArguments, spec: RunSpec) -> Json | Output:
    """Start one run, chains, or batches. Raises SettingError for chains of batches."""
    several = arguments.side_by_side, arguments.where, arguments.detach
    if arguments.batch_size is not None and arguments.restarts is not None:
        raise SettingError(
            f"--restarts {arguments.restarts} and --batch-size {arguments.batch_size} cannot be combined: use one"
        )
    if arguments.batch_size is not None:
        return several_runs.run_batches(store, spec, arguments.batch_size, *several)
    if arguments.restarts is not None:
        return several_runs.run_chains(store, spec, arguments.restarts, *several)
    return _one(store, spec, arguments)


def _one(store: Store, spec: RunSpec, arguments: RunArguments) -> Json:
    where = arguments.where.spec(side_by_side=1)
    run = control.create_run(store, spec)
    if where is not None:
        return several_runs.run_there(store, run, where, arguments.detach)
    control.start(store, run)
    if arguments.detach:
        return _detached(run)
    result = _follow(store, run)
    for words in notes_of_run(store, run):
        print(words, file=sys.stderr)
    return result


@command("resume")
@run_argument
@options.detach
def resume_command(store: Store, run: str, detach: bool) -> Json:
    """Continue a run, or what is left of a batched run."""
    if batches.is_batched(store, run):
        return several_runs.resume(store, run, detach)
    control.resume(store, run)
    return _detached(run) if detach else _follow(store, run)


@command("pause")
@run_argument
def pause_command(store: Store, run: str) -> Json:
    """Pause a run after the step in progress.

    Of a batched run, all batches in progress are paused.
    """
    if batches.is_batched(store, run):
        return several_runs.pause(store, run)
    control.pause(store, run)
    return _follow(store, run)


@command("stop")
@run_argument
def stop_command(store: Store, run: str) -> Json:
    """End a run after the step in progress."""
    control.stop(store, run)
    return _follow(store, run)


@command("step")
@run_argument
@click.argument("steps", type=options.count, default=1, metavar="[N]", help="How many steps; 1 if left out.")
def step_command(store: Store, run: str, steps: int) -> Json:
    """Take some steps, then pause."""
    control.step(store, run, steps)
    return _follow(store, run)


@command("list")
def list_command(store: Store) -> Output:
    """Show all runs, the newest first.

    A batched run is shown as one.
    """
    single = [(store.created(run), run_summary(store, run)) for run in store.run_names()]
    whole = several_runs.rows(store)
    rows = [row for _, row in (sorted([*single, *whole], key=lambda pair: -pair[0]) if whole else single)]
    lines = [f"{row['run']:<24} {row['status']:<12} step {row['steps']}" for row in rows]
    return Output(rows, "\n".join(lines) or "no runs yet")


@command("show")
@run_argument
def show_command(store: Store, run: str) -> Json:
    """Show the state of a run, or of all batches together."""
    return batches.summary(store, run) if batches.is_batched(store, run) else run_summary(store, run)


@command("log")
@run_argument
def log_command(store: Store, run: str) -> None:
    """Print the events of a run, one JSON object per line."""
    store.spec(run)
    for event in store.read_after(run):
        row = {"number": event.number, "kind": event.kind, "time": event.time, "seconds": event.seconds}
        print(json.dumps({**row, **event.body}, ensure_ascii=False))


@command("export")
@run_argument
@click.option("--format", "form", type=click.Choice(FORMATS), default="csv", help="The form of the file.")
@click.option("--output", type=Path, required=True, metavar="PATH", help="A file; for datasets, a new folder.")
@click.option("--excel", is_flag=True, help="CSV that Excel reads as it is: UTF-8, ids as texts.")
@click.option(
    "--at",
    type=click.Choice(("final", "best")),
    default="final",
    help="The labels at the end, or those with the highest U of at least as many examples.",
)
@options.labels_of_others
def export_command(
    store: Store, run: str, form: str, output: Path, excel: bool, at: str, gold: bool, human: bool
) -> Json:
    """Write the labels of a run, or of all batches, to a file."""
    until = _event_of_best(store, run) if at == "best" else None
    made = export_run(store, run, output, form, gold, human, excel, until)
    if made.withheld:
        names = ", ".join(made.withheld)
        print(f"Left out, since they look like labels (--gold keeps them): {names}.", file=sys.stderr)
    return {"run": run, "output": str(output), "rows": made.rows, **made.left_out}


@command("share")
@run_argument
@click.option("--output", type=Path, required=True, metavar="FILE", help="The HTML file.")
@click.option("--gold", is_flag=True, help="Show gold labels and the accuracy too.")
def share_command(store: Store, run: str, output: Path, gold: bool) -> Json:
    """Write one HTML file about a run.

    It has the summary, curves, last decisions, labels and audit, and opens without a server or a network.
    """
    from icm_engine.experiments.report import share_run  # imported late: it draws figures, as no other command here

    page = share_run(store, run, gold).encode()
    try:
        expanded(output).write_bytes(page)
    except OSError as error:
        raise SettingError(f"{output} cannot be written ({error}): use another file (--output)") from None
    return {"run": run, "output": str(output), "bytes": len(page), "gold": gold}


@command("push")
@run_argument
@click.option("--repo", required=True, metavar="OWNER/NAME", help="The data set repository.")
@click.option("--public", is_flag=True, help="Make the repository public; otherwise it is private.")
@click.option("--update", is_flag=True, help="Add to a repository that exists.")
@options.labels_of_others
def push_command(store: Store, run: str, repo: str, public: bool, update: bool, gold: bool, human: bool) -> Json:
    """Upload the labels of a run to the Hugging Face hub.

    The repository gets what `export --format datasets` writes.
    """
    url, rows = push_run(store, run, repo, public, update, gold, human)
    return {"run": run, "url": url, "rows": rows}


@command("delete")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete_command(store: Store, runs: tuple[str, ...], yes: bool) -> Output:
    """Delete runs for good, with what was computed about them.

    A run that something else is built on (a fork, a trained model, a suite) stays until that is deleted too.
    """
    if not yes and not sys.stdin.isatty():
        raise SettingError(
            f"deleting {', '.join(runs)} needs a confirmation and there is no terminal: add --yes; nothing was deleted"
        )
    if not yes and not click.confirm(f"Delete {', '.join(runs)} for good?", err=True):
        return Output({"deleted": []}, "nothing was deleted")
    gone = deletion.delete(store, runs)
    return Output({"deleted": gone}, f"deleted: {', '.join(gone)}")


def _event_of_best(store: Store, run: str) -> int | None:
    """The event that led to the best state of a run; None before it has labels. Raises SettingError, NotFound."""
    if batches.is_batched(store, run):
        raise SettingError(f"{run!r} is a batched run, whose batches end separately: leave out --at best")
    end = run_end(load(store, run))
    return end.best.event if end else None


def _follow(store: Store, run: str) -> Json:
    """Show progress on stderr until nothing more happens; Ctrl-C pauses. Raises RunError if the run failed."""
    follow(store, run)
    reading, status = load(store, run), control.status(store, run)
    end = run_end(reading)
    if status.phase == "finished" and end is not None and end.differs:
        print(f"{end.words} `export {run} --at best` writes the labels of that step.", file=sys.stderr)
    return summary(reading, status)


def _detached(run: str) -> Json:
    return {"run": run, "status": "starting"}
