"""Several runs and jobs one after the other in one process, which loads the model once.

What failed is said and the others go on; what is finished is left alone, so that the same batch can be asked again.
"""

from collections.abc import Callable

from icm_engine.core.errors import RunBusy
from icm_engine.runs import control, jobs
from icm_engine.runs.events import Json
from icm_engine.runs.store import Store

KIND = "batch"

Progress = Callable[[int, int | None, str], None]
Do = Callable[[Store, str], int]


def do_batch(store: Store, names: list[str], progress: Progress, search: Do, job: Do) -> Json:
    """Take every run (`search`) and every job (`job`) of these names as far as it goes; return what failed, and why."""
    failed = dict[str, str]()
    for number, name in enumerate(names):
        progress(number, len(names), name)
        try:
            message = _run(store, name, search) if store.has_run(name) else _job(store, name, job)
        except RunBusy as error:
            message = str(error)
        if message:
            failed[name] = message
    return {"names": names, "failed": failed}


def _run(store: Store, run: str, search: Do) -> str:
    """Why a run did not finish, or nothing."""
    if control.status(store, run).phase == "finished":
        return ""
    control.queue(store, run)
    search(store, run)
    now = control.status(store, run)
    return "" if now.phase == "finished" else now.message


def _job(store: Store, name: str, job: Do) -> str:
    if jobs.result(store, name) is not None:
        return ""
    store.append(name, "start", {})
    job(store, name)
    return "" if jobs.result(store, name) is not None else jobs.status(store, name).message
