"""Which attention and how many tokens per call a walk has: as measured, and then for the life of a run."""

import json

import pytest
import torch

from icm_engine.core.scoring import Kernel
from icm_engine.core.settings import ModelChoice, SearchConfig
from icm_engine.models import attention
from icm_engine.models.attention import NAME, OURS, TORCH, UNMEASURED, fastest, instruction_set
from icm_engine.models.loading import LoadedModel, load
from icm_engine.models.transformers_scorer import TransformersScorer
from icm_engine.runs import control, worker
from icm_engine.runs.fork import fork
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import kernel_of_run
from icm_engine.store.store import Store
from tests.support.scorer_contract import PROMPTS
from tests.support.small_models import save_model

Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(ModelChoice(save_model(tmp_path_factory.mktemp("llama")), "none", "float32", "cpu"))


def measured(patch: Patch, ours: bool, tokens: int) -> None:
    """Let measurements on this processor have found this."""
    patch.setattr(attention, "FASTEST", {(instruction_set("float32"), "float32"): {16: (ours, tokens)}})


@pytest.mark.parametrize(
    ("widest", "tiles", "dtype", "wanted"),
    [
        ("AVX2", False, "float32", "avx2"),
        ("AVX2", True, "bfloat16", "avx2"),  # a processor that is held to it
        ("AVX512", True, "float32", "avx512"),
        ("AVX512", True, "bfloat16", "amx"),
        ("NEON", False, "bfloat16", "neon"),
    ],
)
def test_instruction_sets_by_dtype(widest: str, tiles: bool, dtype: str, wanted: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: widest)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    assert instruction_set(dtype) == wanted


def test_the_nearest_measured_width_is_taken_and_what_was_not_measured_is_left_to_torch(monkeypatch: Patch) -> None:
    table = {("avx2", "float32"): {32: (OURS, 640), 128: (TORCH, 320)}}
    monkeypatch.setattr(attention, "FASTEST", table)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert [fastest("float32", width) for width in (16, 64, 96, 256)] == [(OURS, 640), (OURS, 640), *[(TORCH, 320)] * 2]
    assert fastest("bfloat16", 32) == UNMEASURED


@pytest.mark.parametrize(("ours", "tokens"), [(True, 64), (False, 96)])
def test_a_scorer_takes_the_faster_attention(loaded: LoadedModel, ours: bool, tokens: int, monkeypatch: Patch) -> None:
    measured(monkeypatch, ours, tokens)
    scorer = TransformersScorer(loaded)
    assert scorer.attention == (NAME if ours else loaded.attention)
    assert (scorer.describe()["tokens_per_call"], scorer.calls.tokens) == (tokens, tokens)


@pytest.mark.usefixtures("our_attention")
def test_a_scorer_takes_over_a_kernel_if_the_model_has_it_and_gives_it_back(loaded: LoadedModel) -> None:
    scorer, other = TransformersScorer(loaded), TransformersScorer(loaded, chunk_tokens=80)
    before = scorer.usage
    scorer.begin_calls(None, Kernel(loaded.attention, 80))
    assert (scorer.attention, scorer.chunk_tokens, scorer.usage) == (loaded.attention, 80, before)
    other.attention = loaded.attention
    assert scorer.score(PROMPTS) == other.score(PROMPTS)
    scorer.begin_calls(40, Kernel("flash_of_another_device", 80))
    assert (scorer.attention, scorer.chunk_tokens) == (NAME, 40)
    scorer.begin_calls(None)
    assert scorer.score(PROMPTS) == TransformersScorer(loaded).score(PROMPTS)


def work(store: Store, run: str, loaded: LoadedModel, patch: Patch, verb: str, steps: int = 0) -> None:
    """Be a worker of its own process."""
    scorer = TransformersScorer(loaded)
    store.send(run, verb, f"{verb} {run}", steps)
    with patch.context() as inner:
        inner.setattr(worker, "make_scorer", lambda spec: scorer)
        assert worker.run_in_process(store, run, idle=0.0) == 0


def test_a_run_keeps_the_kernel_it_began_with(
    store: Store, pairs: Dataset, loaded: LoadedModel, monkeypatch: Patch
) -> None:
    """Resumed where another kernel is the faster one, it has the log of a run that was not interrupted."""
    store.add_dataset(pairs)
    spec = RunSpec("pairs", "tiny", "none", "float32", "cpu", limit=10, search=SearchConfig(seed=4, max_steps=6))
    whole, cut, other = (control.create_run(store, spec) for _ in range(3))
    measured(monkeypatch, OURS, 160)
    work(store, whole, loaded, monkeypatch, "start")
    work(store, cut, loaded, monkeypatch, "step", 3)
    measured(monkeypatch, TORCH, 96)
    work(store, cut, loaded, monkeypatch, "resume")
    work(store, other, loaded, monkeypatch, "start")

    def log(run: str, *kinds: str) -> list[str]:
        return [json.dumps(event.body) for event in store.read_after(run, kinds=kinds)]

    assert log(cut, "initial", "step") == log(whole, "initial", "step") != log(other, "initial", "step")
    assert log(cut, "model") == log(whole, "model")  # recorded once
    assert kernel_of_run(store, cut) == Kernel(NAME, 160)
    assert kernel_of_run(store, other) == Kernel(loaded.attention, 96)
    assert kernel_of_run(store, fork(store, cut, store.last_number(cut))) == Kernel(NAME, 160)


def test_runs_from_before_kernels_were_recorded_had_640_tokens_per_call(store: Store, pairs: Dataset) -> None:
    store.add_dataset(pairs)
    run = control.create_run(store, RunSpec("pairs", "tiny"))
    assert kernel_of_run(store, run) is None
    store.append(run, "model", {"model": "tiny", "attention": NAME})
    assert kernel_of_run(store, run) == Kernel(NAME, 640)
