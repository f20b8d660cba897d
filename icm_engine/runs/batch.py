"""Several runs and jobs one after the other in one process, which loads the model once.

What failed is said and the others go on; what is finished is left alone, so that the same batch can be asked again;
what another process has is waited for.
"""

from collections.abc import Callable

from icm_engine.core.errors import RunBusy
from icm_engine.runs import control, jobs
from icm_engine.runs.events import Json
from icm_engine.runs.store import Store

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
            ask(store, name)
            try:
                (search if store.has_run(name) else job)(store, name)
            except RunBusy:  # such as the process of a suite that was cancelled, still at its last step
                progress(number, len(names), f"{name}, which another process has")
                control.nap()
                continue
            if message := missing(store, name):
                failed[name] = message
            break
    return {"names": names, "failed": failed}


def done(store: Store, name: str) -> bool:
    """Say whether a run is finished, or a job has its result."""
    if store.has_run(name):
        return control.status(store, name).phase == "finished"
    return jobs.result(store, name) is not None


def ask(store: Store, name: str) -> None:
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
