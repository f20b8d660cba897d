"""`run --batch-size N`: a data set in batches, each a search of its own; what the other commands do with the whole."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from icm_engine import job_commands, ray_commands
from icm_engine.analysis import batches
from icm_engine.core.errors import RunError, SettingError
from icm_engine.runs import jobs
from icm_engine.runs.control import nap
from icm_engine.runs.events import Json, RunSpec
from icm_engine.runs.reading_notes import notes_of_run
from icm_engine.runs.replay import open_run
from icm_engine.runs.store import Store
from icm_engine.runs.verify import verify


def run_batches(store: Store, spec: RunSpec, given: argparse.Namespace) -> Json:
    """Label every batch and return the summary over all. Ctrl-C pauses; the same command goes on."""
    if given.restarts is not None:
        raise SettingError(
            f"--restarts {given.restarts} and --batch-size {given.batch_size} do not go together: use one"
        )
    side_by_side = given.side_by_side or 1
    where = ray_commands.where_of(given, side_by_side)
    name = batches.ask(store, spec, given.batch_size, side_by_side, where=where)
    if given.detach:
        return {"run": name, "batches": batches.batched(store, name).of, "status": "starting"}
    told, whole = followed(store, name), batches.batched(store, name)
    for run in filter(store.has_run, map(whole.run, range(1, whole.of + 1))):
        for words in notes_of_run(store, run):
            print(f"{run}: {words}", file=sys.stderr)
    return told


def followed(store: Store, name: str) -> Json:
    """Show progress over all batches on stderr until nothing more happens; return the summary."""
    whole = batches.batched(store, name)
    job_commands.follow(store, name, lambda: batches.at_work(store, whole))
    return batches.summary(store, name)


def resume(store: Store, name: str, detach: bool) -> Json:
    """Go on with what is left."""
    jobs.start(store, name)
    return {"run": name, "status": "starting"} if detach else followed(store, name)


def pause(store: Store, name: str) -> Json:
    """Pause the batches on their way, each after the step in progress."""
    jobs.cancel(store, name)
    while not jobs.status(store, name).settled:
        nap()
    return batches.summary(store, name)


def verify_batches(store: Store, name: str) -> Json:
    """Recompute every decision of every batch that has begun."""
    whole, steps, checked = batches.batched(store, name), 0, 0
    for number in range(1, whole.of + 1):
        run = whole.run(number)
        if not store.has_run(run):
            continue
        found, wrong = verify(store, open_run(store, run))
        if wrong:
            raise RunError(f"run {run!r} has {len(wrong)} wrong entries, first {wrong[0]}: do not use its labels")
        steps, checked = steps + found, checked + 1
    return {"run": name, "batches_checked": checked, "steps_checked": steps, "wrong": 0}


def add(command: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    """Add the argument to `run`; `count` parses a whole number of 1 or more."""
    command.add_argument(
        "--batch-size", type=count, metavar="N",
        help="split the data set into batches of at most N examples, whole groups, each a search of its own",
    )  # fmt: skip


def rows(store: Store) -> list[tuple[float, dict[str, Any]]]:
    """Return the batched runs with when they were asked for, as `list` shows them."""
    return [(jobs.created(store, name), batches.summary(store, name)) for name in batches.names(store)]
