"""Kill anything at any moment: what goes on from there ends as if nothing had happened."""

from functools import partial
from itertools import cycle, islice
from random import Random

import pytest

from icm_engine.core.settings import SearchConfig
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.runs import control
from icm_engine.runs.verify import verify
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.support.faults import Fault
from tests.support.kills import Dying, RandomKills, require_same, uninterrupted
from tests.support.self_killing_worker import ON_THE_WAY_OUT, POINTS

SEED = 8
SPEC = RunSpec("pairs", "fake", search=SearchConfig(seed=11, max_steps=150))
FOLDED = RunSpec(
    "pairs", "fake", limit=16, source="folds", source_options={"folds": 3, "start": "random"},
    search=SearchConfig(seed=27, predictability="centred_log_odds", alpha=1.5, pair_weight=3.0),
)  # fmt: skip
INSIDE_FOLDS = (
    [("inside a step, between prompts", 3), ("event written, not committed", 2), ("event committed", 3)],
    [("event committed", 4), ("inside a step, between prompts", 9), ("event written, not committed", 3)],
)
SAME = "`resume` continues; the finished log equals that of an uninterrupted run byte for byte, except times"


@pytest.mark.smoke
@pytest.mark.timeout(7200)
@pytest.mark.fault("SIGKILL of the worker at random moments (fake model)", SAME)
def test_a_worker_killed_at_random_moments(store: Store, pairs: Dataset, fault: Fault) -> None:
    store.add_dataset(pairs)
    kills = RandomKills(store, SPEC, Random(SEED))
    kills.kill(fault.times(quick=5, long=200, push=1))
    fault.happened = f"{kills.told()}; seed {SEED}"


@pytest.mark.model
@pytest.mark.timeout(7200)
@pytest.mark.fault("SIGKILL of the worker at random moments (sample model, nf4)", SAME)
def test_a_worker_with_a_model_killed_at_random_moments(store: Store, fault: Fault) -> None:
    ensure_sample_dataset(store, "arithmetic")
    spec = RunSpec("arithmetic", "sample", "nf4", limit=10, search=SearchConfig(seed=2, max_steps=16))
    kills = RandomKills(store, spec, Random(SEED))
    kills.kill(fault.times(quick=2, long=20))
    fault.happened = f"{kills.told()}; seed {SEED}"


@pytest.mark.timeout(7200)
@pytest.mark.fault("SIGKILL of the worker at each stage: lease, load, step, transaction, snapshot, end", SAME)
def test_a_worker_killed_at_every_point(
    store: Store, pairs: Dataset, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers of a run are killed at five points, one after the other, and the last one on its way out."""
    store.add_dataset(pairs)
    whole, dying, points, met = uninterrupted(store, SPEC), Dying(store, monkeypatch), cycle(every_point()), set[str]()
    for k in range(fault.times(quick=3, long=30)):
        run = control.create_run(store, SPEC)
        ask = partial(control.start, store, run)
        for point, count in islice(points, 5):
            dying.at(point, count, ask)
            now = control.status(store, run)
            assert (now.phase, now.settled) == ("interrupted", True), point
            met.add(point)
            ask = partial(control.resume, store, run)
        dying.at(ON_THE_WAY_OUT[k % 3], 1, ask)
        assert control.status(store, run).phase == "finished"
        require_same(store, run, whole)
    assert met == set(POINTS)
    fault.tried *= 6
    fault.happened = f"at {len(POINTS) + 3} points in turn; every log equal byte for byte ({len(whole)} events)"


@pytest.mark.timeout(7200)
@pytest.mark.fault("SIGKILL of a worker with folds: inside a fit, around a fold and a round, at its end", SAME)
def test_a_worker_with_folds_killed_at_every_point(
    store: Store, pairs: Dataset, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers of a run are killed at three points, one after the other, and the last one on its way out."""
    store.add_dataset(pairs)
    whole, dying = uninterrupted(store, FOLDED), Dying(store, monkeypatch)
    assert [kind for kind, _ in whole] == ["round", *["fold", "fold", "fold", "round"] * 2, "finished"]
    for k in range(fault.times(quick=2, long=20)):
        run = control.create_run(store, FOLDED)
        ask = partial(control.start, store, run)
        for point, count in INSIDE_FOLDS[k % 2]:
            dying.at(point, count, ask)
            assert control.status(store, run).phase == "interrupted", (point, count)
            ask = partial(control.resume, store, run)
        dying.at(ON_THE_WAY_OUT[k % 3], 1, ask)
        require_same(store, run, whole)
        assert verify(store, open_run(store, run))[1] == []
    fault.tried *= 4
    fault.happened = f"at 6 points in turn; every log equal byte for byte ({len(whole)} events)"


def every_point() -> list[tuple[str, int]]:
    """The points with their counts: first each point once, then the other counts."""
    return [(point, counts[k]) for k in range(4) for point, counts in POINTS.items() if k < len(counts)]
