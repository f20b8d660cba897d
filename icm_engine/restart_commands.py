"""`run --restarts R`: chains that differ in the seed alone, the best by U as the result, the others beside it."""

import argparse
import sys
from collections.abc import Callable

from icm_engine import job_commands, ray_commands
from icm_engine.analysis import restarts
from icm_engine.analysis.views import run_summary
from icm_engine.analysis.wording import decimal, percent
from icm_engine.core.errors import RunError
from icm_engine.runs.events import Json, RunSpec
from icm_engine.runs.reading_notes import notes_of_run
from icm_engine.runs.restarts import SIDE_BY_SIDE
from icm_engine.runs.store import Store

ACCURACIES = ("accuracy", "accuracy_flipped")  # of a chain, where there is gold: read when the choice is made


def run_chains(store: Store, spec: RunSpec, given: argparse.Namespace) -> Json | None:
    """Run the chains and return the summary of the proposed one, `restarts`, agreement and what to know; text prints.

    Ctrl-C pauses the chains; the same command goes on with them.
    """
    side_by_side = given.side_by_side or SIDE_BY_SIDE
    where = ray_commands.where_of(given, side_by_side)
    job = restarts.ask(store, spec, given.restarts, side_by_side, where)
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


def _row(store: Store, one: restarts.Outcome) -> Json:
    shown = run_summary(store, one.run)
    return {
        "run": one.run, "seed": one.seed, "utility": one.utility, "labelled": one.labelled, "proposed": one.proposed,
        "status": one.phase, "compared": one.compared, "same_as_proposed": one.same, "mirror": one.mirror,
        **{name: shown[name] for name in ACCURACIES if name in shown},
    }  # fmt: skip


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


def add(command: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
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
