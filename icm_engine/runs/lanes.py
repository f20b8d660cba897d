"""One process that takes batch after batch: thousands of them need no process each, and the model is loaded once."""

from collections.abc import Callable, Iterator

from icm_engine.core.errors import RunBusy
from icm_engine.runs import control
from icm_engine.runs.batches import OVER, Batched, batched, finished, make_run, nap
from icm_engine.runs.ends import keep_end
from icm_engine.runs.events import Json
from icm_engine.runs.job_process import Cancelled, Job
from icm_engine.runs.store import Store

IN_A_ROW = 3  # batches that fail one after the other, after which a lane takes no more: what fails them is no accident

Do = Callable[[Store, str], int]


def work_lane(job: Job, search: Do) -> Json:
    """Take every batch that is left to this lane as far as it goes (`search`); return how many, and what failed."""
    store, whole = job.store, batched(job.store, job.spec.body["batches"])
    taken, failed, in_a_row = 0, dict[str, str](), 0
    for number in _order(whole, job.spec.body["lane"], job.spec.body["lanes"], set(finished(store, whole))):
        run = _take(job, whole, number)
        if run is None:
            continue
        try:
            search(store, run)
        except RunBusy:
            continue
        taken, message = taken + 1, _settle(store, run)
        in_a_row = in_a_row + 1 if message else 0
        if message:
            failed[run] = message
        if in_a_row == IN_A_ROW:
            break
    return {"taken": taken, "failed": failed}


def _order(whole: Batched, lane: int, lanes: int, done: set[int]) -> Iterator[int]:
    """The batches a lane looks at: every so-manieth, so that lanes do not meet, then what others have left."""
    mine = range(1 + lane, whole.of + 1, lanes)
    yield from (number for number in mine if number not in done)
    yield from (number for number in range(1, whole.of + 1) if number not in mine and number not in done)


def _take(job: Job, whole: Batched, number: int) -> str | None:
    """The run of a batch, made if there is none yet and told to go on; None where there is nothing to do."""
    store, run = job.store, whole.run(number)
    _look(job, whole)
    while not make_run(store, whole, number):  # its model is still being made
        nap()
        _look(job, whole)
    now = control.status(store, run)
    if now.phase in OVER or now.pid is not None:
        return None
    control.queue(store, run)
    return run


def _look(job: Job, whole: Batched) -> None:
    """End here if this lane, or the whole, is no longer wanted."""
    last = job.store.last_event(whole.name, ("start", "cancel"))
    if job.cancelled() or (last is not None and last.kind == "cancel"):
        raise Cancelled


def _settle(store: Store, run: str) -> str:
    """Keep how a run ended, or say why it has not."""
    now = control.status(store, run)
    if now.phase == "finished":
        keep_end(store, run)
    return now.message if now.phase == "failed" else ""
