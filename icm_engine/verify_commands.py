"""The command that checks a run: its log against the method, and on request a sample of its steps against its model."""

import argparse
from collections.abc import Callable
from typing import Any

from icm_engine import batch_commands
from icm_engine.analysis.batches import is_batched
from icm_engine.core.errors import RunError, SettingError
from icm_engine.job_commands import follow
from icm_engine.runs import jobs
from icm_engine.runs.replay import open_run
from icm_engine.runs.rescore import KIND
from icm_engine.runs.store import Store
from icm_engine.runs.verify import verify


def verify_command(store: Store, given: argparse.Namespace) -> dict[str, object]:
    """Recompute every decision of a run, or of every batch, from its log; with --rescore, ask its model again."""
    if is_batched(store, given.run):
        if given.rescore is not None:
            raise SettingError(f"--rescore is for one run: name one of the batches, such as '{given.run}-1'")
        return batch_commands.verify_batches(store, given.run)
    steps, wrong = verify(store, open_run(store, given.run))
    if wrong:
        raise RunError(f"run {given.run!r} has {len(wrong)} wrong entries, first {wrong[0]}: do not use its labels")
    checked: dict[str, object] = {"run": given.run, "steps_checked": steps, "wrong": 0}
    return checked if given.rescore is None else {**checked, **_drift(store, given.run, given.rescore, given.json)}


def _drift(store: Store, run: str, steps: int, whole: bool) -> dict[str, object]:
    """What a job finds that takes so many of the run's steps again; of its JSON, all or what a person reads."""
    spec = jobs.JobSpec(KIND, {"run": run, "steps": steps}, jobs.model_of_run(store, run))
    found = follow(store, jobs.request(store, spec))
    if whole:
        return {"drift": found}
    return {
        "steps_rescored": f"{found['steps']} of {found['of']}",
        "largest_difference": f"{found['largest_difference']:.2e} of {found['compared']:,} log-probabilities",
        "mean_difference": f"{found['mean_difference']:.2e}",
        "steps_another_way": found["other_way"],
        **({"model_changes": found["model_changes"]} if found["model_changes"] else {}),
    }


def add(command: Callable[[str, Any], argparse.ArgumentParser], count: Callable[[str], int]) -> None:
    """Add the command to the parser; `count` parses a whole number of 1 or more."""
    made = command("verify", verify_command)
    made.add_argument("run", metavar="RUN")
    made.add_argument("--rescore", type=count, metavar="N", help="score N sampled steps again with the run's own model")
