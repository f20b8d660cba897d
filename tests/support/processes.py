"""What becomes of the processes that runs and jobs launch."""

from collections.abc import Callable

import pytest

from icm_engine import jobs
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import TableScorer
from icm_engine.runs import control, worker
from icm_engine.store.store import Store

Spawn = Callable[[Store, str, str], object]


def spawn_by(patch: pytest.MonkeyPatch, spawn: Spawn) -> None:
    """Have `spawn(store, module, name)` called in place of starting a process, for runs and jobs alike."""
    for module in (control, jobs):
        patch.setattr(module, "spawn", spawn)


def score_by(patch: pytest.MonkeyPatch, belief: Callable[[Prompt], tuple[float, ...]]) -> None:
    """Give workers in this process a table in place of the model of their run."""
    patch.setattr(worker, "make_scorer", lambda choice: TableScorer(belief))
