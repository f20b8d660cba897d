"""`--ray`: what `run` and `evaluate` need to have their runs done on the machines of a Ray cluster."""

import argparse
from collections.abc import Callable

from icm_engine import job_commands
from icm_engine.analysis.views import run_summary
from icm_engine.core.errors import RunError
from icm_engine.runs import on_ray
from icm_engine.runs.events import Json
from icm_engine.runs.store import Store


def run_there(store: Store, run: str, where: on_ray.Where, detach: bool) -> Json:
    """Have a run done on a cluster and return its summary. Raises RunError if it did not finish."""
    job = on_ray.hand_over(store, [run], where)
    if detach:
        return {"run": run, "job": job, "status": "starting"}
    failed = job_commands.follow(store, job)["failed"]
    if run in failed:
        raise RunError(f"run {run!r} did not finish: {failed[run]} (`jobs {job}` shows the job)")
    return run_summary(store, run)


def where_of(given: argparse.Namespace, side_by_side: int) -> on_ray.Where | None:
    """Return the cluster that was asked for, None for this machine. Raises SettingError where Ray cannot be used."""
    if given.ray is None:
        return None
    where = on_ray.Where(given.ray, given.ray_cpus, given.ray_gpus, side_by_side)
    on_ray.require_ray(where)
    return where


def add(command: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    """Add the arguments; `count` parses a whole number of 1 or more."""
    command.add_argument("--ray", metavar="ADDRESS", help="work on a Ray cluster: HOST:PORT, auto, or local")
    command.add_argument("--ray-cpus", type=count, metavar="N", help="CPUs, and threads, of each run there")
    command.add_argument("--ray-gpus", type=_share, metavar="N", help="GPUs of each run there; 0.5 shares one")


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of GPUs: use 0, 0.5, 1, 2 ...")
    return value
