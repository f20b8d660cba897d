"""Commands that put a person's hand into a run: labels, settings, forks, and the question what if."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from icm_engine.analysis.forks import answer_words, begin_fork, submit_what_if
from icm_engine.analysis.views import load, run_summary
from icm_engine.cli import job_commands
from icm_engine.core.errors import NotFound, RunError
from icm_engine.core.interventions import Verb
from icm_engine.runs import control
from icm_engine.runs.progress import follow
from icm_engine.store.store import Store

Add = Callable[[str, Callable[[Store, argparse.Namespace], Any]], argparse.ArgumentParser]


def pin_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Fix labels by hand: the search keeps them from its next step on."""
    return _labels(store, given, "pin")


def override_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Put labels in by hand that the search may change again."""
    return _labels(store, given, "override")


def unpin_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Let the search change these examples again."""
    return _put_in(store, given.run, "unpin", given.examples)


def note_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Keep a note about an example; an empty one takes it away."""
    return _put_in(store, given.run, "note", [given.example], text=given.text)


def undo_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Take back the last thing that was put in by hand."""
    return _put_in(store, given.run, "undo")


def redo_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Do again what was taken back."""
    return _put_in(store, given.run, "redo")


def retune_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Go on under other settings (alpha, temperatures, cooling_rate, neighbour_weight) from the next step."""
    last = store.last_number(given.run)
    control.retune(store, given.run, dict(text.split("=", 1) for text in given.settings))
    return _answered(store, given.run, last)


def fork_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Begin a new run where this one stood after a step, under other settings, and drive it to its end."""
    reading = load(store, given.run)
    if reading.trajectory.last is None:
        raise NotFound(f"run {given.run!r} has no labels yet: take a step first")
    step = reading.trajectory.last.step if given.step is None else given.step
    child = begin_fork(store, reading, step, given.steps, dict(text.split("=", 1) for text in given.set), given.rule)
    if given.detach:
        return {"run": child, "status": "starting"}
    follow(store, child)
    return run_summary(store, child)


def what_if_command(store: Store, given: argparse.Namespace) -> dict[str, object] | None:
    """Score the run's labels with one of them changed, and with repair; nothing changes."""
    reading = load(store, given.run)
    found = job_commands.follow(store, submit_what_if(store, reading, reading.cursor, given.example, given.label))
    if given.json:
        return found
    print("\n".join(answer_words(found)))
    return None


def _labels(store: Store, given: argparse.Namespace, verb: Verb) -> dict[str, object]:
    pairs = [text.rsplit("=", 1) for text in given.labels]
    return _put_in(store, given.run, verb, [name for name, _ in pairs], [label for _, label in pairs])


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


def add(command: Add, assignment: Callable[[str], str], count: Callable[[str], int]) -> None:
    """Add these commands to the parser."""
    for name, function in (("pin", pin_command), ("override", override_command)):
        made = _of_run(command, name, function)
        made.add_argument("labels", nargs="+", type=assignment, metavar="EXAMPLE=LABEL")
    _of_run(command, "unpin", unpin_command).add_argument("examples", nargs="+", metavar="EXAMPLE")
    note = _of_run(command, "note", note_command)
    note.add_argument("example", metavar="EXAMPLE")
    note.add_argument("text", metavar="TEXT")
    _of_run(command, "undo", undo_command)
    _of_run(command, "redo", redo_command)
    retune = _of_run(command, "retune", retune_command)
    retune.add_argument("settings", nargs="+", type=assignment, metavar="name=value")
    fork = _of_run(command, "fork", fork_command)
    fork.add_argument("--step", type=count, metavar="N", help="the step after which it parts (else the last)")
    fork.add_argument("--steps", type=count, default=100, metavar="N", help="steps to take from there (100)")
    fork.add_argument("--set", action="append", default=[], type=assignment, metavar="name=value")
    fork.add_argument("--rule", help="another consistency rule")
    fork.add_argument("--detach", action="store_true", help="return at once with the new run's name")
    asked = _of_run(command, "what-if", what_if_command)
    asked.add_argument("example", metavar="EXAMPLE")
    asked.add_argument("label", metavar="LABEL")


def _of_run(command: Add, name: str, function: Callable[[Store, argparse.Namespace], Any]) -> argparse.ArgumentParser:
    made = command(name, function)
    made.add_argument("run", metavar="RUN")
    return made
