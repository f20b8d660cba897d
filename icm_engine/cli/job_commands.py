"""The commands about jobs: `context` (a job that counts) and `jobs`; and how a command follows a job to its end."""

import sys
from collections.abc import Callable
from typing import Any

import click
from tqdm import tqdm

from icm_engine import jobs
from icm_engine.analysis.model_trials import check_sentences
from icm_engine.cli import options
from icm_engine.cli.options import ModelOptions, command
from icm_engine.cli.terminal import Output
from icm_engine.core.errors import RunError
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.runs.control import wait
from icm_engine.store.events import Json
from icm_engine.store.store import Store


@command("context")
@options.dataset_argument
@options.model_options(required=True)
@options.limit("Check a run with this limit.")
@options.detach
def context_command(store: Store, dataset: str, model: ModelOptions, limit: int | None, detach: bool) -> Json | Output:
    """Count tokens, prompts that fit the context, and time.

    Counts what a run on this data set costs with this model.
    """
    if dataset in SAMPLE_DATASETS:
        ensure_sample_dataset(store, dataset)
    store.dataset_info(dataset)  # an unknown one is refused before anything is stored
    spec = jobs.JobSpec("context-check", {"dataset": dataset, "limit": limit}, model.choice())
    job = jobs.request(store, spec)
    if detach:
        return {"job": job, "status": "starting"}
    found = follow(store, job)
    return Output(found, "\n".join(check_sentences(found)))


@command("jobs")
@click.argument("job", required=False, metavar="[JOB]")
@click.option("--cancel", is_flag=True, help="End the job.")
@click.option("--again", is_flag=True, help="Start a job again that failed or was interrupted.")
def jobs_command(store: Store, job: str | None, cancel: bool, again: bool) -> Json | Output:
    """Show all jobs, newest first, or one; cancel or restart one."""
    if job is None:
        rows = [jobs.summary(store, name) for name in jobs.names(store)]
        lines = [f"{row['job']:<24} {row['status']:<12} {row['asked'].get('dataset', '')}" for row in rows]
        return Output(rows, "\n".join(lines) or "no jobs yet")
    if cancel:
        jobs.cancel(store, job)
    if again:
        jobs.start(store, job)
    return jobs.summary(store, job)


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
                bar.set_postfix_str(said, refresh=live or news != told)  # a file gets changes only
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
