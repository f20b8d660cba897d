"""Commands for several runs at once: batches (`--batch-size`), chains (`--restarts`), a cluster (`--ray`)."""

import sys
from typing import Any

import click

from icm_engine import cluster, jobs
from icm_engine.analysis import batches, restarts
from icm_engine.analysis.alerts import notes_of_run
from icm_engine.analysis.formatting import decimal, percent
from icm_engine.analysis.views import run_summary
from icm_engine.cli import terminal
from icm_engine.cli.options import ClusterOptions, count
from icm_engine.cli.terminal import Output
from icm_engine.core.errors import RunError
from icm_engine.jobs.restarts import SIDE_BY_SIDE
from icm_engine.runs.control import wait
from icm_engine.runs.verify import verify
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store

restarts_option = click.option(
    "--restarts", type=count, metavar="R", help="R chains from seeds SEED, SEED + 1, ...; the best by U is proposed."
)
side_by_side_option = click.option(
    "--side-by-side",
    type=count,
    metavar="N",
    help=f"How many chains (default: {SIDE_BY_SIDE}) or batches (default: 1) at once; each loads the model.",
)
batch_size_option = click.option(
    "--batch-size",
    type=count,
    metavar="N",
    help="Split the data set into batches of at most N examples, in whole groups; each is a search of its own.",
)


def run_there(store: Store, run: str, where: cluster.ClusterSpec, detach: bool) -> Json:
    """Have a run done on a cluster and return its summary. Raises RunError if it did not finish."""
    job = cluster.hand_over(store, [run], where)
    if detach:
        return {"run": run, "job": job, "status": "starting"}
    failed = terminal.follow(store, job)["failed"]
    if run in failed:
        raise RunError(f"run {run!r} did not finish: {failed[run]} (`jobs {job}` shows the job)")
    return run_summary(store, run)


def run_batches(
    store: Store, spec: RunSpec, size: int, side_by_side: int | None, where: ClusterOptions, detach: bool
) -> Json:
    """Label every batch and return the summary over all. Ctrl-C pauses; the same command continues."""
    many = side_by_side or 1
    name = batches.submit(store, spec, size, many, where=where.spec(many))
    if detach:
        return {"run": name, "batches": batches.batched(store, name).of, "status": "starting"}
    result, whole = followed(store, name), batches.batched(store, name)
    for number, run in enumerate(filter(store.has_run, map(whole.run, range(1, whole.of + 1)))):
        for words in notes_of_run(store, run, server=number == 0):  # all batches are scored by one
            print(f"{run}: {words}", file=sys.stderr)
    return result


def followed(store: Store, name: str) -> Json:
    """Show progress over all batches on stderr until nothing more happens; return the summary."""
    whole = batches.batched(store, name)
    terminal.follow(store, name, lambda: batches.at_work(store, whole))
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


def rows(store: Store) -> list[tuple[float, dict[str, Any]]]:
    """Return the batched runs with when they were asked for, as `list` shows them."""
    return [(jobs.created(store, name), batches.summary(store, name)) for name in batches.names(store)]


ACCURACIES = ("accuracy", "accuracy_flipped")  # of a chain with gold, read when the choice is made


def run_chains(
    store: Store, spec: RunSpec, chains: int, side_by_side: int | None, where: ClusterOptions, detach: bool
) -> Json | Output:
    """Run the chains and return the summary of the proposed one, `restarts`, agreement and what to know.

    Ctrl-C pauses the chains; the same command continues them.
    """
    many = side_by_side or SIDE_BY_SIDE
    job = restarts.submit(store, spec, chains, many, where.spec(many))
    if detach:
        return {"job": job, "runs": restarts.chains_of(store, job), "status": "starting"}
    terminal.follow(store, job)
    found = restarts.proposal_of(store, job)
    if found is None:
        raise RunError(f"job {job!r} has no result: `jobs {job} --again` starts it again")
    summary = _summary(store, job, found)
    for words in notes_of_run(store, found.run):  # all chains read the same texts
        print(words, file=sys.stderr)
    return Output(summary, _text(summary))


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


def _text(summary: Json) -> str:
    """The summary, a line a chain, and the sentences."""
    apart = ("restarts", "why", "warnings")
    lines = [f"{name:<22} {value}" for name, value in summary.items() if name not in apart]
    return "\n".join([*lines, *map(_line, summary["restarts"]), summary["why"], *summary["warnings"]])


def _line(row: Json) -> str:
    accuracy = f"  accuracy {percent(row['accuracy'])}" if "accuracy" in row else ""
    return (
        f"{'* ' if row['proposed'] else '  '}{row['run']:<20} seed {row['seed']:<6} {row['status']:<10} "
        f"U {decimal(row['utility'], 2):>9}  {row['labelled']:,} labelled  "
        f"same {percent(row['same_as_proposed'])}{accuracy}"
    )
