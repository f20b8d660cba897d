"""Databases for page tests: a small data set with gold, and a run in any phase, its events made by the real search."""

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import psutil
import pytest

from icm_engine import jobs
from icm_engine.core.advance import advance
from icm_engine.core.labeling import Example, Task
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import TableScorer, agreeable_belief
from icm_engine.core.search import RefreshInfo, asked, initialize
from icm_engine.core.settings import SearchConfig
from icm_engine.data.gold import add_gold
from icm_engine.jobs import batches, job_process
from icm_engine.runs import control
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import Cost, RunSpec, encode_refresh
from icm_engine.store.replay import OpenRun, open_run
from icm_engine.store.store import Store

Belief = Callable[[Prompt], tuple[float, ...]]
HOSTILE = "<b onclick=alert(1)>bold</b> **stars** $x$ :smile:"
SENT = {"starting": "start", "running": "start", "interrupted": "start", "failed": "start", "finished": "start",
        "paused": "pause", "stopped": "stop"}  # fmt: skip


def small_dataset(store: Store, name: str = "sums", groups: int = 6, gold: bool = True) -> None:
    """Store claims about sums, three to a question, two of them with the same answer."""
    examples = []
    for group in range(groups):
        for k, answer in enumerate((group + 2, group + 2, group + 3)):
            fields = {"question": f"What is {group} + 2? {HOSTILE}", "claim": f"({k}) It is {answer}."}
            examples.append(Example(f"{name}-{group}-{k}", fields, f"g{group}", str(answer)))
    task = Task("maths-verification", "Question: {question}\nClaim: {claim}\nI think this claim is", rule="same-answer",
                fields=("question", "claim"))  # fmt: skip
    store.add_dataset(Dataset(name, task, tuple(examples), tuple(dict(e.fields) for e in examples), task.fields, name))
    if gold:
        add_gold(store, name, {e.id: str(not e.id.endswith("-2")) for e in examples})


def add_run(
    store: Store,
    phase: str = "paused",
    steps: int = 30,
    dataset: str = "sums",
    rule: str | None = None,
    belief: Belief | None = None,
    **settings: Any,
) -> str:
    """Store a run of the fake model in this phase; any phase but `created` and `starting` has taken steps.

    `belief` is what the model believes, if not `moody_belief`; `settings` are of the search, where they are not its
    defaults.
    """
    if not store.has_dataset(dataset):
        small_dataset(store, dataset)
    most = steps if phase == "finished" else 4 * steps
    spec = RunSpec(dataset, "fake", rule=rule, search=SearchConfig(**{"max_steps": most, "seed": 3, **settings}))
    run = store.add_run(spec)
    if phase == "created":
        return run
    store.append(run, "control", {"verb": "start"})
    if phase != "starting":
        _search(store, run, steps, belief or moody_belief)
    if SENT[phase] != "start":
        store.append(run, "control", {"verb": SENT[phase]})
    if phase == "failed":
        store.append(run, "failed", {"error": "PromptTooLong", "message": f"prompt has 5,120 tokens {HOSTILE}"})
    if phase == "finished":
        store.append(run, "finished", {"steps": steps})
    if phase in ("starting", "running"):
        hold(store, run, ready=phase == "running")
    return run


def add_batches(store: Store, patch: pytest.MonkeyPatch, size: int = 9, dataset: str = "sums", **settings: Any) -> str:
    """Store a batched run of the fake model, done in this process but for its lane."""
    launch = control.spawn

    def lanes_alone(store: Store, module: str, name: str) -> None:
        if jobs.spec(store, name).kind == batches.LANE:
            launch(store, module, name)

    spec = RunSpec(dataset, "fake", search=SearchConfig(**{"max_steps": 30, "seed": 3, **settings}))
    with patch.context() as inner:
        inner.setattr(jobs, "spawn", lanes_alone)
        job = batches.submit(store, spec, size)
        assert job_process.main(job_process.perform, ["--db", str(store.path), job]) == 0
    return job


def _search(store: Store, run: str, steps: int, belief: Belief) -> None:
    """Append what the search does; it does the same whenever asked, and so is asked once."""
    opened = open_run(store, run)
    question = repr((opened.spec, list(opened.dataset.examples), steps, belief.__name__))
    if question not in _SEARCHED:
        _SEARCHED[question] = list(_events(opened, steps, belief))
    with store.transaction():
        for kind, body, seconds in _SEARCHED[question]:
            store.append(run, kind, body, seconds)


_SEARCHED: dict[str, list[tuple[str, Mapping[str, Any], float]]] = {}


def _events(opened: OpenRun, steps: int, belief: Belief) -> Iterator[tuple[str, Mapping[str, Any], float]]:
    config, scorer = opened.spec.search, TableScorer(belief)
    objective = Objective(opened.dataset.examples, opened.dataset.task, opened.rule, scorer, config.predictability,
                          config.alpha, config.pair_weight, config.centring)  # fmt: skip
    yield "model", {"model": "fake", "encoding": "table", "trained_context": 100}, 0.0
    state, first = initialize(objective, config)
    yield "initial", opened.codec.encode_initial(first, Cost(scorer.usage)), 0.5
    while state.step < steps:
        before, used = state, scorer.usage
        for state, info in advance(before, objective, config):
            cost, used = Cost(scorer.usage - used), scorer.usage
            if isinstance(info, RefreshInfo):
                yield "refreshed", encode_refresh(opened.codec, info, before, cost), 0.25
            else:
                prompt = asked(before, objective, info.example, info.reused).text
                cost = replace(cost, prompt_sha256=hashlib.sha256(prompt.encode()).hexdigest())
                yield "step", opened.codec.encode_step(info, cost, before.labeling), 0.25
            before = state


def moody_belief(prompt: Prompt) -> tuple[float, ...]:
    """Believe as the fake model does, give or take a hash of the whole prompt: some proposals are then rejected."""
    moods = hashlib.sha256(prompt.text.encode()).digest()
    return tuple(value / 4 - moods[k] / 128 for k, value in enumerate(agreeable_belief(prompt)))


def hold(store: Store, run: str, ready: bool = True) -> None:
    """Put this process down as the run's worker."""
    lease = {"run": run, "token": "test", "pid": os.getpid(), "pid_started": psutil.Process().create_time(),
             "host": socket.gethostname(), "heartbeat": time.time(), "ready": int(ready), "log": ""}  # fmt: skip
    store.put_lease(lease)


# conflicts stay: they cost nothing, and few are repaired
CARELESS: dict[str, Any] = {
    "pair_weight": 0.0, "alpha": 3.0, "repair_unchanged": False, "max_repairs": 1, "initial_labels": 24, "seed": 2,
}  # fmt: skip
