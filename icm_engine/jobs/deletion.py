"""Deleting runs: with all that is only about them, and only if nothing else is built on them.

Landscapes, what-ifs, rescorings and tests of a run's labels go with it. Forks, chains that were compared with it, and
models trained on its labels need it as their origin: they go in the same deletion, or it is refused. No name is used
again, so no link, file or report can come to refer to another run.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from icm_engine import jobs
from icm_engine.core.errors import RunBusy, RunError
from icm_engine.jobs import batches, restarts
from icm_engine.runs import control
from icm_engine.store.store import Store

ABOUT = ("what-if", "landscape", "rescore", "use")  # kinds of jobs that only say something about a run


def delete(store: Store, names: Sequence[str]) -> list[str]:
    """Delete runs and batched runs, all or none, and return every name that is gone, with batches and jobs.

    Raises NotFound; RunBusy while one works; RunError if something that stays is built on one.
    """
    with store.transaction():
        runs = [run for name in dict.fromkeys(names) for run in _runs_of(store, name)]
        gone = list(dict.fromkeys([*runs, *_jobs_of(store, runs)]))
        for name in gone:
            _require_at_rest(store, name)
        if kept := next(_built_on(store, runs, gone), None):
            raise RunError(kept)
        store.delete(gone)
    for name in gone:
        with suppress(OSError):  # a log that cannot be deleted is only a file too many
            control.log_path(store, name).unlink(missing_ok=True)
    return gone


def _runs_of(store: Store, name: str) -> list[str]:
    """The run, or the batches of a batched run and its job."""
    if batches.is_batched(store, name):
        between = batches.batched(store, name).between
        rows = store.db.execute("select name from runs where name >= ? and name < ?", between)
        return [name, *(row[0] for row in rows)]
    store.spec(name)
    return [name]


def _jobs_of(store: Store, runs: Sequence[str]) -> list[str]:
    """The jobs that go with these runs."""
    return [job for job, used in _uses(store, runs) if used and _goes(store, job, runs)]


def _uses(store: Store, runs: Sequence[str]) -> Iterator[tuple[str, set[str]]]:
    """Each job, with those of these runs that it is about."""
    for job in jobs.names(store):
        body = jobs.spec(store, job).body
        named = {body.get("run"), body.get("batches"), *body.get("runs", ()), *body.get("chains", ())}
        yield job, {run for run in runs if run in named}


def _goes(store: Store, job: str, runs: Sequence[str]) -> bool:
    """Whether a job about these runs goes with them: it only says something about them, or it came to nothing."""
    spec, now = jobs.spec(store, job), jobs.status(store, job)
    if spec.kind == restarts.KIND:
        return set(spec.body["chains"]) <= set(runs)
    return spec.kind in (*ABOUT, batches.LANE) or not (now.moving or now.complete)


def _require_at_rest(store: Store, name: str) -> None:
    """Raise RunBusy while a run or job works."""
    if store.has_run(name) and control.status(store, name).moving:
        raise RunBusy(f"run {name!r} is at work: pause or stop it first; nothing was deleted")
    if not store.has_run(name) and jobs.status(store, name).moving:
        raise RunBusy(f"job {name!r} is at work: cancel it first; nothing was deleted")


def _built_on(store: Store, runs: Sequence[str], gone: Sequence[str]) -> Iterator[str]:
    """Say what stays and would lose its origin, a sentence each."""
    forks = "select name from runs where json_extract(spec, '$.forked_from') = ?"
    for run in runs:
        for (fork,) in store.db.execute(forks, [run]):
            if fork not in gone:
                yield f"run {run!r} is where {fork!r} was forked from: delete both, or neither; nothing was deleted"
        if (suite := store.spec(run).experiment if store.has_run(run) else None) is not None:
            whose = "" if suite.startswith("self-rewarding ") else "the results of the suite "
            yield f"run {run!r} belongs to {whose}{suite}: it stays; nothing was deleted"
        whole = batches.batched_of(store, run)
        if whole is not None and whole[0].name not in gone:
            yield f"run {run!r} is a batch of {whole[0].name!r}: delete that; nothing was deleted"
    for job, used in _uses(store, runs):
        if used and job not in gone:
            chains = jobs.spec(store, job).body.get("chains")
            why = f"it was compared with {', '.join(chains)}" if chains else "it was made from the run's labels"
            yield f"run {min(used)!r} is part of job {job!r}, which stays ({why}); nothing was deleted"
