"""What becomes of the processes that runs and jobs launch."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from icm_engine import jobs
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import TableScorer
from icm_engine.jobs import job_process, job_worker
from icm_engine.runs import control, worker
from icm_engine.store.store import Store

Spawn = Callable[[Store, str, str], object]


def spawn_by(patch: pytest.MonkeyPatch, spawn: Spawn) -> None:
    """Have `spawn(store, module, name)` called in place of starting a process, for runs and jobs alike."""
    for module in (control, jobs):
        patch.setattr(module, "spawn", spawn)


@contextmanager
def workers_as_threads(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have runs, and jobs with a model, done by threads of this process; at the end, wait for them."""
    threads = list[threading.Thread]()

    def work(path: Path, module: str, name: str) -> None:
        with Store(path) as store:
            if module == jobs.WORKER:
                job_process.run_in_process(store, name, job_worker.perform)
            else:
                worker.run_in_process(store, name, idle=0.0)

    def launch(store: Store, module: str, name: str) -> None:
        threads.append(threading.Thread(target=work, args=(store.path, module, name)))
        threads[-1].start()

    spawn_by(patch, launch)
    yield
    for thread in threads:
        thread.join()


def score_by(patch: pytest.MonkeyPatch, belief: Callable[[Prompt], tuple[float, ...]]) -> None:
    """Give workers in this process a table in place of the model of their run."""
    patch.setattr(worker, "make_scorer", lambda choice: TableScorer(belief))
