"""Kill anything at any moment: what goes on from there ends as if nothing had happened."""

from pathlib import Path
from random import Random

import pytest
from faults import Fault
from killing import RandomKills

from icm_engine.core.settings import SearchConfig
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.runs.events import RunSpec
from icm_engine.runs.store import Dataset, Store

SEED = 8
SPEC = RunSpec("pairs", "fake", search=SearchConfig(seed=11, max_steps=150))
SAME = "`resume` goes on; the finished log equals that of an uninterrupted run byte for byte, times aside"


@pytest.mark.timeout(7200)
@pytest.mark.fault("SIGKILL of the worker at random moments (fake model)", SAME)
def test_a_worker_killed_at_random_moments(store: Store, pairs: Dataset, fault: Fault) -> None:
    store.add_dataset(pairs)
    kills = RandomKills(store, SPEC, Random(SEED))
    kills.kill(fault.times(quick=5, long=200))
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
