"""The commands that steer a run: labels by hand, settings, forks, and what-if."""

from collections.abc import Sequence

import click

from icm_engine.analysis.forks import answer_words, begin_fork, submit_what_if
from icm_engine.analysis.views import load, run_summary
from icm_engine.cli import options, terminal
from icm_engine.cli.options import command, pairs, run_argument
from icm_engine.cli.terminal import Output
from icm_engine.core.errors import NotFound, RunError
from icm_engine.core.interventions import Verb
from icm_engine.jobs.rescoring import prompted
from icm_engine.runs import control
from icm_engine.runs.control import follow
from icm_engine.store.events import Json
from icm_engine.store.store import Store

labels_argument = click.argument("labels", nargs=-1, required=True, type=options.assignment, metavar="EXAMPLE=LABEL...")


@command("pin")
@run_argument
@labels_argument
def pin_command(store: Store, run: str, labels: Sequence[str]) -> Json:
    """Fix labels by hand: the search keeps them from its next step."""
    return _labels(store, run, labels, "pin")


@command("override")
@run_argument
@labels_argument
def override_command(store: Store, run: str, labels: Sequence[str]) -> Json:
    """Set labels by hand that the search may change again."""
    return _labels(store, run, labels, "override")


@command("unpin")
@run_argument
@click.argument("examples", nargs=-1, required=True, metavar="EXAMPLE...")
def unpin_command(store: Store, run: str, examples: Sequence[str]) -> Json:
    """Let the search change pinned examples again."""
    return _put_in(store, run, "unpin", examples)


@command("note")
@run_argument
@click.argument("example", metavar="EXAMPLE")
@click.argument("text", metavar="TEXT")
def note_command(store: Store, run: str, example: str, text: str) -> Json:
    """Keep a note about an example; an empty text removes it."""
    return _put_in(store, run, "note", [example], text=text)


@command("undo")
@run_argument
def undo_command(store: Store, run: str) -> Json:
    """Undo the last change made by hand."""
    return _put_in(store, run, "undo")


@command("redo")
@run_argument
def redo_command(store: Store, run: str) -> Json:
    """Redo the change that was undone last."""
    return _put_in(store, run, "redo")


@command("retune")
@run_argument
@click.argument("settings", nargs=-1, required=True, type=options.assignment, metavar="name=value...")
def retune_command(store: Store, run: str, settings: Sequence[str]) -> Json:
    """Change settings of the search from the next step.

    These can be changed: alpha, the temperatures, cooling_rate, neighbour_weight.
    """
    last = store.last_number(run)
    control.retune(store, run, pairs(settings))
    return _answered(store, run, last)


@command("fork")
@run_argument
@click.option("--step", type=options.count, metavar="N", help="The step after which it departs (default: the last).")
@click.option("--steps", type=options.count, default=100, metavar="N", help="Steps to take from there.")
@options.settings
@options.rule("Another consistency rule.")
@options.detach
def fork_command(
    store: Store, run: str, step: int | None, steps: int, settings: Sequence[str], rule: str | None, detach: bool
) -> Json:
    """Start a new run from a step of this one, and run it to its end.

    The new run begins with the labels as they were after that step, and may have other settings.
    """
    reading = load(store, run)
    if reading.trajectory.last is None:
        raise NotFound(f"run {run!r} has no labels yet: take a step first")
    last = reading.trajectory.last.step
    child = begin_fork(store, reading, last if step is None else step, steps, pairs(settings), rule)
    if detach:
        return {"run": child, "status": "starting"}
    follow(store, child)
    return run_summary(store, child)


@command("what-if")
@run_argument
@click.argument("example", metavar="EXAMPLE")
@click.argument("label", metavar="LABEL")
def what_if_command(store: Store, run: str, example: str, label: str) -> Output:
    """Score a run with one label changed; the run stays as it is.

    The labels are scored with the change alone, and with the change and repair.
    """
    reading, _ = load(store, run), prompted(store, run)
    found = terminal.follow(store, submit_what_if(store, reading, reading.cursor, example, label))
    return Output(found, "\n".join(answer_words(found)))


def _labels(store: Store, run: str, labels: Sequence[str], verb: Verb) -> Json:
    apart = [text.rsplit("=", 1) for text in labels]
    return _put_in(store, run, verb, [name for name, _ in apart], [label for _, label in apart])


def _put_in(
    store: Store, run: str, verb: Verb, examples: Sequence[str] = (), labels: Sequence[str] = (), text: str = ""
) -> dict[str, object]:
    last = store.last_number(run)
    control.submit_intervention(store, run, verb, examples, labels, text)
    return _answered(store, run, last)


def _answered(store: Store, run: str, last: int) -> dict[str, object]:
    """Wait until the worker has answered after event `last`. Raises RunError where it refused."""
    while True:
        pending = store.pending(run)
        for event in store.read_after(run, last, ("refused", "failed")):
            raise RunError(str(event.body["message"]))
        if not pending:
            return run_summary(store, run)
        control.wait()
