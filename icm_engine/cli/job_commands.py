"""Commands about jobs: the context check, and the list of all jobs."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from icm_engine import jobs
from icm_engine.analysis.model_trials import check_sentences
from icm_engine.core.errors import RunError
from icm_engine.core.text import home_expanded
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.runs import model_registry
from icm_engine.runs.control import wait
from icm_engine.store.store import Store


def context_command(store: Store, given: argparse.Namespace) -> dict[str, object] | None:
    """Count what a data set costs with a model: tokens, what fits the context, time."""
    if given.dataset in SAMPLE_DATASETS:
        ensure_sample_dataset(store, given.dataset)
    store.dataset_info(given.dataset)  # one that does not exist is refused before anything is kept
    model = model_registry.ModelChoice(
        home_expanded(given.model), given.quantization, given.dtype, given.device, given.encoding
    )
    body = {"dataset": given.dataset, "limit": given.limit}
    job = jobs.request(store, jobs.JobSpec("context-check", body, model))
    if given.detach:
        return {"job": job, "status": "starting"}
    found = follow(store, job)
    if given.json:
        return found
    print("\n".join(check_sentences(found)))
    return None


def jobs_command(store: Store, given: argparse.Namespace) -> Any:
    """Show all jobs, the newest first, or one of them; cancel it, or start it again."""
    if given.job is None:
        rows = [jobs.summary(store, job) for job in jobs.names(store)]
        if given.json:
            return rows
        lines = [f"{row['job']:<24} {row['status']:<12} {row['asked'].get('dataset', '')}" for row in rows]
        print("\n".join(lines) or "no jobs yet")
        return None
    if given.cancel:
        jobs.cancel(store, given.job)
    if given.again:
        jobs.start(store, given.job)
    return jobs.summary(store, given.job)


def follow(store: Store, job: str, words: Callable[[], str] = str) -> dict[str, Any]:
    """Show a job's progress on stderr and return its result; Ctrl-C cancels it. Raises RunError if there is none.

    `words` say more of it than its own log does, where they say anything.
    """
    live, told = sys.stderr.isatty(), None
    with tqdm(desc=job, file=sys.stderr, mininterval=1, unit="") as bar:
        while True:
            try:
                now = jobs.status(store, job)
                news = now.done, now.total, words() or now.words or now.phase
                bar.n, bar.total, said = news
                bar.set_postfix_str(said, refresh=live or news != told)  # a file gets news, a terminal the time too
                told = news
                if now.settled:
                    break
                wait()
            except KeyboardInterrupt:
                jobs.cancel(store, job)
    found = jobs.result(store, job)
    if found is None:
        raise RunError(f"job {job!r} {now.phase}: {now.message} (`jobs {job} --again` starts it again)")
    return found


def add(command: Callable[[str, Any], argparse.ArgumentParser], count: Callable[[str], int]) -> None:
    """Add the commands to the parser; `count` parses a whole number of 1 or more."""
    context = command("context", context_command)
    context.add_argument("dataset", metavar="DATASET")
    context.add_argument(
        "--model",
        required=True,
        help=model_registry.MODELS,
    )
    context.add_argument("--quantization", choices=("nf4", "int8", "none"), default="nf4")
    context.add_argument("--dtype", choices=model_registry.DTYPES, default=model_registry.DTYPES[0])
    context.add_argument("--device", default="auto", help="auto, cpu, cuda")
    context.add_argument("--encoding", choices=("prefix-tree", "full-prompts"), default="prefix-tree")
    context.add_argument("--limit", type=count, metavar="N", help="check what a run with this limit takes")
    context.add_argument("--detach", action="store_true", help="return at once with the job's name")
    listed = command("jobs", jobs_command)
    listed.add_argument("job", nargs="?", metavar="JOB")
    listed.add_argument("--cancel", action="store_true", help="end the job")
    listed.add_argument("--again", action="store_true", help="start a job again that failed or was interrupted")
