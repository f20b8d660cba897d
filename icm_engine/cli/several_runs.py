"""Commands for several runs at once: batches (`--batch-size`), chains (`--restarts`), a cluster (`--ray`)."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from icm_engine import cluster, jobs
from icm_engine.analysis import batches, restarts
from icm_engine.analysis.formatting import decimal, percent
from icm_engine.analysis.views import run_summary
from icm_engine.cli import job_commands
from icm_engine.core.errors import RunError, SettingError
from icm_engine.jobs.restarts import SIDE_BY_SIDE
from icm_engine.runs.control import wait
from icm_engine.runs.remarks import notes_of_run
from icm_engine.runs.verify import verify
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store


def run_there(store: Store, run: str, where: cluster.ClusterSpec, detach: bool) -> Json:
    """Have a run done on a cluster and return its summary. Raises RunError if it did not finish."""
    job = cluster.hand_over(store, [run], where)
    if detach:
        return {"run": run, "job": job, "status": "starting"}
    failed = job_commands.follow(store, job)["failed"]
    if run in failed:
        raise RunError(f"run {run!r} did not finish: {failed[run]} (`jobs {job}` shows the job)")
    return run_summary(store, run)


def where_of(given: argparse.Namespace, side_by_side: int) -> cluster.ClusterSpec | None:
    """Return the cluster that was asked for, None for this machine. Raises SettingError where Ray cannot be used."""
    if given.ray is None:
        return None
    where = cluster.ClusterSpec(given.ray, given.ray_cpus, given.ray_gpus, side_by_side)
    cluster.require_ray(where)
    return where


def add_cluster(command: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
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


def run_batches(store: Store, spec: RunSpec, given: argparse.Namespace) -> Json:
    """Label every batch and return the summary over all. Ctrl-C pauses; the same command goes on."""
    if given.restarts is not None:
        raise SettingError(
            f"--restarts {given.restarts} and --batch-size {given.batch_size} do not go together: use one"
        )
    side_by_side = given.side_by_side or 1
    where = where_of(given, side_by_side)
    name = batches.submit(store, spec, given.batch_size, side_by_side, where=where)
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
        wait()
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


def add_batches(command: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    """Add the argument to `run`; `count` parses a whole number of 1 or more."""
    command.add_argument(
        "--batch-size",
        type=count,
        metavar="N",
        help="split the data set into batches of at most N examples, whole groups, each a search of its own",
    )


def rows(store: Store) -> list[tuple[float, dict[str, Any]]]:
    """Return the batched runs with when they were asked for, as `list` shows them."""
    return [(jobs.created(store, name), batches.summary(store, name)) for name in batches.names(store)]


ACCURACIES = ("accuracy", "accuracy_flipped")  # of a chain, where there is gold: read when the choice is made


def run_chains(store: Store, spec: RunSpec, given: argparse.Namespace) -> Json | None:
    """Run the chains and return the summary of the proposed one, `restarts`, agreement and what to know; text prints.

    Ctrl-C pauses the chains; the same command goes on with them.
    """
    side_by_side = given.side_by_side or SIDE_BY_SIDE
    where = where_of(given, side_by_side)
    job = restarts.submit(store, spec, given.restarts, side_by_side, where)
    if given.detach:
        return {"job": job, "runs": restarts.chains_of(store, job), "status": "starting"}
    job_commands.follow(store, job)
    found = restarts.proposal_of(store, job)
    if found is None:
        raise RunError(f"job {job!r} has no result: `jobs {job} --again` starts it again")
    told = _summary(store, job, found)
    for words in notes_of_run(store, found.run):  # all chains read the same texts
        print(words, file=sys.stderr)
    if given.json:
        return told
    _print(told)
    return None


def _summary(store: Store, job: str, found: restarts.Proposal) -> Json:
    agreed = restarts.agreement_of(store, found)
    return {
        **run_summary(store, found.run),
        "job": job,
        "restarts": [_row(store, one) for one in found.outcomes],
        "mean_agreement": agreed.raw if agreed else None,
        "kappa": agreed.kappa if agreed else None,
        "compared_by": "utility per labelled example" if found.per_example else "utility",
        "why": restarts.why(found),
        "warnings": list(restarts.warnings(found)),
    }


def _row(store: Store, one: restarts.ChainOutcome) -> Json:
    shown = run_summary(store, one.run)
    return {
        "run": one.run,
        "seed": one.seed,
        "utility": one.utility,
        "labelled": one.labelled,
        "proposed": one.proposed,
        "status": one.phase,
        "compared": one.compared,
        "same_as_proposed": one.same,
        "mirror": one.mirror,
        **{name: shown[name] for name in ACCURACIES if name in shown},
    }


def _print(told: Json) -> None:
    """Print the summary, a line a chain, and the sentences."""
    apart = ("restarts", "why", "warnings")
    print("\n".join(f"{name:<22} {value}" for name, value in told.items() if name not in apart))
    for row in told["restarts"]:
        accuracy = f"  accuracy {percent(row['accuracy'])}" if "accuracy" in row else ""
        print(
            f"{'* ' if row['proposed'] else '  '}{row['run']:<20} seed {row['seed']:<6} {row['status']:<10} "
            f"U {decimal(row['utility'], 2):>9}  {row['labelled']:,} labelled  "
            f"same {percent(row['same_as_proposed'])}{accuracy}"
        )
    print("\n".join([told["why"], *told["warnings"]]))


def add_restarts(command: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    """Add the arguments to `run`; `count` parses a whole number of 1 or more."""
    command.add_argument(
        "--restarts", type=count, metavar="R", help="R chains from seeds SEED, SEED + 1, ...: best by U"
    )
    command.add_argument(
        "--side-by-side",
        type=count,
        metavar="N",
        help=f"chains (else {SIDE_BY_SIDE}) or batches (else 1) at once; each loads the model",
    )
