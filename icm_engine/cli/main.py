"""The command line: the same things as the pages, without a browser. JSON goes to stdout alone.

Exit status 0 when it did what was asked, 2 for arguments, 1 otherwise with one line on stderr.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from icm_engine.analysis import batches
from icm_engine.analysis.views import load, run_end, run_summary, summary
from icm_engine.baselines.llm_judge import EXPLANATIONS, source_options
from icm_engine.cli import (
    app_commands,
    data_commands,
    evaluate,
    job_commands,
    model_commands,
    several_runs,
    steer,
    train,
)
from icm_engine.cli.terminal import hang_up, sanitized
from icm_engine.core import __version__
from icm_engine.core.errors import IcmError, SettingError
from icm_engine.core.settings import PRESETS, with_settings
from icm_engine.core.text import one_line, whole_number
from icm_engine.data.export import FORMATS, export_run, push_run
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.data.readers.source import storable
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.runs import control, model_registry, remarks
from icm_engine.runs.progress import follow
from icm_engine.runs.remarks import notes_of_run
from icm_engine.store.events import SEARCH, RunSpec
from icm_engine.store.store import Store

Command = Callable[[Store, argparse.Namespace], Any]


def run_command(store: Store, given: argparse.Namespace) -> dict[str, object] | None:
    """Label a data set: create a run, drive its worker, wait for the end. With --restarts or --batch-size, several."""
    if given.dataset in SAMPLE_DATASETS:
        ensure_sample_dataset(store, given.dataset)
    settings = _settings(given)
    spec = RunSpec(
        dataset=given.dataset,
        model=given.model,
        quantization=given.quantization,
        dtype=given.dtype,
        device=given.device,
        encoding=given.encoding,
        limit=given.limit,
        rule=data_commands.rule_of(given.rule),
        preset=given.preset,
        source=given.source,
        source_options=source_options(given.source, dict(_pairs(given.option))),
        search=with_settings(PRESETS[given.preset], settings),
    )
    remarks.fitted(store, spec, named="predictability" in settings)
    for words in remarks.remarks(store, spec):
        print(words, file=sys.stderr)
    if words := control.taken_words(store, spec):
        print(f"The limit takes {words}.", file=sys.stderr)
    if given.batch_size is not None:
        return several_runs.run_batches(store, spec, given)
    if given.restarts is not None:
        return several_runs.run_chains(store, spec, given)
    where = several_runs.where_of(given, side_by_side=1)
    run = control.create_run(store, spec)
    if where is not None:
        return several_runs.run_there(store, run, where, given.detach)
    control.start(store, run)
    if given.detach:
        return _detached(run)
    told = _follow(store, run)
    for words in notes_of_run(store, run):
        print(words, file=sys.stderr)
    return told


def _settings(given: argparse.Namespace) -> dict[str, object]:
    """The settings of the search that were asked for, a flag before --set. Raises SettingError for any of them."""
    settings: dict[str, object] = {}
    for text in given.set:  # one that is given again, or by a flag, is checked all the same
        settings |= _pairs([text])
        with_settings(PRESETS[given.preset], _pairs([text]))
    return settings | {k: v for k, v in (("seed", given.seed), ("max_steps", given.steps)) if v is not None}


def resume_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Go on with a run, or with what is left of a batched run."""
    if batches.is_batched(store, given.run):
        return several_runs.resume(store, given.run, given.detach)
    control.resume(store, given.run)
    return _detached(given.run) if given.detach else _follow(store, given.run)


def pause_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Pause a run, or the batches of a batched run, after the step in progress."""
    if batches.is_batched(store, given.run):
        return several_runs.pause(store, given.run)
    control.pause(store, given.run)
    return _follow(store, given.run)


def stop_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """End a run after the step in progress."""
    control.stop(store, given.run)
    return _follow(store, given.run)


def step_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Take some steps, then pause."""
    control.step(store, given.run, given.steps)
    return _follow(store, given.run)


def list_command(store: Store, given: argparse.Namespace) -> list[dict[str, object]]:
    """Show all runs, the newest first, a batched run as one."""
    rows = [(store.created(run), run_summary(store, run)) for run in store.run_names()]
    if not (whole := several_runs.rows(store)):
        return [row for _, row in rows]
    return [row for _, row in sorted([*rows, *whole], key=lambda pair: -pair[0])]


def show_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Show where a run stands, or all batches of a batched run together."""
    if batches.is_batched(store, given.run):
        return batches.summary(store, given.run)
    return run_summary(store, given.run)


def log_command(store: Store, given: argparse.Namespace) -> None:
    """Print the events of a run, one JSON object a line."""
    store.spec(given.run)
    for event in store.read_after(given.run):
        row = {"number": event.number, "kind": event.kind, "time": event.time, "seconds": event.seconds}
        print(json.dumps({**row, **event.body}, ensure_ascii=False))


def export_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Write the labels of a run, or of all batches together, to a file."""
    until = _event_of_best(store, given.run) if given.at == "best" else None
    made = export_run(store, given.run, given.output, given.format, given.gold, given.human, given.excel, until)
    if made.withheld:
        print(
            f"Left out, since they look like labels (--gold keeps them): {', '.join(made.withheld)}.", file=sys.stderr
        )
    return {"run": given.run, "output": str(given.output), "rows": made.rows, **made.left_out}


def push_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Upload the labels of a run to the hub, as `export --format datasets` writes them."""
    url, rows = push_run(store, given.run, given.repo, given.public, given.update, given.gold, given.human)
    return {"run": given.run, "url": url, "rows": rows}


def _event_of_best(store: Store, run: str) -> int | None:
    """The event that led to the best state of a run; None before it has labels. Raises SettingError, NotFound."""
    if batches.is_batched(store, run):
        raise SettingError(f"{run!r} is a batched run, whose batches end each for itself: leave out --at best")
    end = run_end(load(store, run))
    return end.best.event if end else None


def _follow(store: Store, run: str) -> dict[str, object]:
    """Show progress on stderr until nothing more happens; Ctrl-C pauses. Raises RunError if the run failed."""
    follow(store, run)
    reading, status = load(store, run), control.status(store, run)
    end = run_end(reading)
    if status.phase == "finished" and end is not None and end.differs:
        print(f"{end.words} `export {run} --at best` writes the labels of then.", file=sys.stderr)
    return summary(reading, status)


def _detached(run: str) -> dict[str, object]:
    return {"run": run, "status": "starting"}


def _pairs(texts: Sequence[str]) -> dict[str, Any]:
    return dict(text.split("=", 1) for text in texts)


def _assignment(text: str) -> str:
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} has no '=': use name=value")
    return text


def _count(text: str) -> int:
    if not (number := whole_number(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return number


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog=_called(), description=__doc__)
    top.add_argument("--version", action="version", version=f"icm-workbench {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    data_commands.add_data(lambda name, function: _command(commands, name, function), _assignment)
    _add_run(_command(commands, "run", run_command))
    for name, function in (
        ("resume", resume_command),
        ("pause", pause_command),
        ("stop", stop_command),
        ("step", step_command),
        ("show", show_command),
        ("log", log_command),
        ("export", export_command),
        ("push", push_command),
    ):
        command = _command(commands, name, function)
        command.add_argument("run", metavar="RUN")
        if name == "resume":
            command.add_argument("--detach", action="store_true", help="return at once")
        if name == "step":
            command.add_argument("steps", nargs="?", type=_count, default=1, metavar="N")
        if name == "export":
            _add_export(command)
        if name == "push":
            _add_push(command)
    _command(commands, "list", list_command)
    evaluate.add_verify(lambda name, function: _command(commands, name, function), _count)
    steer.add(lambda name, function: _command(commands, name, function), _assignment, _count)
    job_commands.add(lambda name, function: _command(commands, name, function), _count)
    data_commands.add_templates(lambda name, function: _command(commands, name, function), _count)
    evaluate.add_suites(lambda name, function: _command(commands, name, function), _count)
    train.add_finetuning(lambda name, function: _command(commands, name, function), _count)
    train.add_policies(lambda name, function: _command(commands, name, function), _count)
    model_commands.add(commands, _command)
    app_commands.add_password(commands)
    app_commands.add_app(commands)
    return top


def _called() -> str:
    """The program as it was called: by its own name, or as a module."""
    return "icm" if Path(sys.argv[0]).stem == "icm" else "python -m icm_engine"


def _command(commands: Any, name: str, function: Command) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
    made.add_argument("--db", type=Path, metavar="FILE", help="the database (else ICM_DB, else the user's own)")
    made.add_argument("--json", action="store_true", help="print JSON on stdout")
    made.set_defaults(function=function)
    return made


def _add_export(command: argparse.ArgumentParser) -> None:
    command.add_argument("--format", choices=FORMATS, default="csv")
    command.add_argument("--output", type=Path, required=True, metavar="PATH", help="a file; of datasets, a new folder")
    command.add_argument("--excel", action="store_true", help="CSV that Excel reads as it is: UTF-8, ids as texts")
    command.add_argument(
        "--at",
        choices=("final", "best"),
        default="final",
        help="the labels at the end, or those with the highest U of at least as many examples",
    )
    _add_apart(command)


def _add_push(command: argparse.ArgumentParser) -> None:
    command.add_argument("--repo", required=True, metavar="OWNER/NAME", help="the data set repository")
    command.add_argument("--public", action="store_true", help="make the repository public (else it is private)")
    command.add_argument("--update", action="store_true", help="add to a repository that exists")
    _add_apart(command)


def _add_apart(command: argparse.ArgumentParser) -> None:
    command.add_argument("--gold", action="store_true", help="put gold, where there is any, into a folder's labels")
    command.add_argument("--human", action="store_true", help="put human labels into a folder's labels")


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset", required=True, metavar="NAME")
    command.add_argument(
        "--model",
        required=True,
        help="sample, a directory, a GGUF file, a fetched model (`model fetch`), a hub id, trained:NAME, "
        "a server (http://HOST:PORT/v1), or fake",
    )
    command.add_argument("--quantization", choices=("nf4", "int8", "none"), default="nf4")
    command.add_argument("--dtype", choices=model_registry.DTYPES, default=model_registry.DTYPES[0])
    command.add_argument("--device", default="auto", help="auto, cpu, cuda")
    command.add_argument("--encoding", choices=("prefix-tree", "full-prompts"), default="prefix-tree")
    command.add_argument("--limit", type=_count, metavar="N", help="label at most N examples, in whole groups")
    command.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        default="default",
        help="named settings; paper takes N steps of N examples, the others 4N",
    )
    command.add_argument("--set", action="append", default=[], type=_assignment, metavar="name=value")
    command.add_argument(
        "--source", choices=(SEARCH, *EXPLANATIONS), default=SEARCH, help="who labels (else the search)"
    )
    command.add_argument(
        "--option", action="append", default=[], type=_assignment, metavar="name=value", help="of the label source"
    )
    command.add_argument("--rule", help="consistency rule (else the data set's)")
    command.add_argument("--seed", type=int)
    command.add_argument(
        "--steps",
        type=_count,
        help="max_steps (else one an example with --preset paper, four with the others)",
    )
    command.add_argument("--detach", action="store_true", help="return at once with the run's name")
    several_runs.add_restarts(command, _count)
    several_runs.add_cluster(command, _count)
    several_runs.add_batches(command, _count)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    with sanitized():
        given = _parsed(sys.argv[1:] if arguments is None else arguments)
        try:
            result = _done(given)
        except IcmError as error:
            print(f"icm: {' '.join(str(error).split())}", file=sys.stderr)
            return 1
        if result is not None:
            print(json.dumps(result, ensure_ascii=False) if given.json else _as_text(result))
    return 0


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments, all of them texts that a database can hold: a shell passes any bytes on."""
    top = parser()
    for text in arguments:
        if not storable(text):
            top.error(f"argument {text!a} is no UTF-8 text: rename what it names")
    return top.parse_args(arguments)


def _done(given: argparse.Namespace) -> Any:
    if given.function in (app_commands.password, app_commands.app):  # they open no database
        return given.function(given)
    with Store(given.db) as store:
        return given.function(store, given)


def _as_text(result: Any) -> str:
    if isinstance(result, list):
        return "\n".join(f"{row['run']:<24} {row['status']:<12} step {row['steps']}" for row in result) or "no runs yet"
    return "\n".join(f"{name:<22} {one_line(str(value))}" for name, value in result.items())


def script() -> int:
    """Run the command of this process and return its exit status; that nobody reads on is no failure to be traced."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        hang_up()
        code = 1
    return code
