"""Jobs that take several runs in one process, which loads the model once.

What failed is said and the others go on; what is finished is left alone, so that the same batch can be asked again;
what another process has is waited for.
"""

from collections.abc import Callable, Iterator

from icm_engine import jobs
from icm_engine.core.errors import RunBusy
from icm_engine.jobs.batches import BatchedRun, batched, finished, keep_end, make_run, wait
from icm_engine.jobs.job_process import Cancelled, Job
from icm_engine.runs import control
from icm_engine.store.events import Json
from icm_engine.store.store import Store

KIND = "batch"
_GOING = ("start", "resume", "step")  # commands that have a run go on

Progress = Callable[[int, int | None, str], None]
Do = Callable[[Store, str], int]


def do_batch(store: Store, names: list[str], progress: Progress, search: Do, job: Do) -> Json:
    """Take every run (`search`) and every job (`job`) of these names as far as it goes; return what failed, and why."""
    failed = dict[str, str]()
    for number, name in enumerate(names):
        progress(number, len(names), name)
        while not done(store, name):
            resume_or_start(store, name)
            try:
                (search if store.has_run(name) else job)(store, name)
            except RunBusy:  # such as the process of a suite that was cancelled, still at its last step
                progress(number, len(names), f"{name}, which another process has")
                control.wait()
                continue
            if message := missing(store, name):
                failed[name] = message
            break
    return {"names": names, "failed": failed}


def done(store: Store, name: str) -> bool:
    """Say whether a run is finished, or a job has its result."""
    if store.has_run(name):
        return control.status(store, name).complete
    return jobs.result(store, name) is not None


def resume_or_start(store: Store, name: str) -> None:
    """Have a run or job begin, or go on, when whoever has taken it over comes to it; twice is once."""
    if not store.has_run(name):
        if jobs.status(store, name).settled:
            store.append(name, "start", {})
    elif control.steps_left(store, name) == 0 and not any(sent.verb in _GOING for sent in store.pending(name)):
        control.queue(store, name)


def missing(store: Store, name: str) -> str:
    """Return why a run or job is not done, or nothing."""
    if done(store, name):
        return ""
    return (control.status if store.has_run(name) else jobs.status)(store, name).message


IN_A_ROW = 3  # batches that fail one after the other, after which a lane takes no more: what fails them is no accident


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


def _order(whole: BatchedRun, lane: int, lanes: int, done: set[int]) -> Iterator[int]:
    """The batches of a lane: every n-th one, so that lanes do not collide, then those that others left."""
    mine = range(1 + lane, whole.of + 1, lanes)
    yield from (number for number in mine if number not in done)
    yield from (number for number in range(1, whole.of + 1) if number not in mine and number not in done)


def _take(job: Job, whole: BatchedRun, number: int) -> str | None:
    """The run of a batch, made if there is none yet and told to go on; None where there is nothing to do."""
    store, run = job.store, whole.run(number)
    _look(job, whole)
    while not make_run(store, whole, number):  # its model is still being made
        wait()
        _look(job, whole)
    now = control.status(store, run)
    if now.over or now.pid is not None:
        return None
    control.queue(store, run)
    return run


def _look(job: Job, whole: BatchedRun) -> None:
    """End here if this lane, or the whole, is no longer wanted."""
    last = job.store.last_event(whole.name, ("start", "cancel"))
    if job.cancelled() or (last is not None and last.kind == "cancel"):
        raise Cancelled


def _settle(store: Store, run: str) -> str:
    """Keep how a run ended, or say why it has not."""
    now = control.status(store, run)
    if now.complete:
        keep_end(store, run)
    return now.message if now.phase == "failed" else ""
