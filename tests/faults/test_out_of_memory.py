"""Memory that runs out on the first or on a later call: smaller calls, said in the run's log, and repeatable digits."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from icm_engine.analysis.alerts import alerts
from icm_engine.analysis.views import load as load_reading
from icm_engine.cli.main import main
from icm_engine.core.errors import OutOfMemory
from icm_engine.core.settings import ModelChoice, SearchConfig
from icm_engine.models.loading import LoadedModel, load
from icm_engine.models.transformers_scorer import LEAST_TOKENS, TransformersScorer
from icm_engine.runs import control, worker
from icm_engine.runs.fork import fork
from icm_engine.runs.verify import verify
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import open_run, tokens_of_run
from icm_engine.store.store import Store
from tests.support.faults import Fault
from tests.support.paths import ROOT
from tests.support.scorer_contract import PROMPTS
from tests.support.small_models import save_model

pytestmark = pytest.mark.usefixtures("our_attention")

WORDS = "CUDA out of memory. Tried to allocate 2.00 GiB"
Fails = Callable[[int, int], bool]  # of the number of a call and its tokens


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A real small model; every byte is a token."""
    return load(ModelChoice(save_model(tmp_path_factory.mktemp("llama")), "none", "float32", "cpu"))


class Memory:
    """The memory of a model: `fails` says which calls it is too small for, as CUDA would."""

    def __init__(self, loaded: LoadedModel, patch: pytest.MonkeyPatch, fails: Fails) -> None:
        self.calls, self.sizes, self.fails = 0, list[int](), fails
        forward = loaded.model.forward

        def call(*given: Any, **named: Any) -> Any:
            self.calls += 1
            tokens = named["input_ids"].shape[1]
            if self.fails(self.calls, tokens):
                raise torch.OutOfMemoryError(WORDS)
            self.sizes.append(tokens)
            return forward(*given, **named)

        patch.setattr(loaded.model, "forward", call)


def fails_at(one: int) -> Fails:
    return lambda call, _: call == one


def never(call: int, tokens: int) -> bool:
    return False


@pytest.mark.parametrize(("room", "tokens"), [(400, 320), (100, 80), (40, 40)])
def test_calls_are_halved_until_they_fit(
    loaded: LoadedModel, room: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """640, 320, 160, 80, 40: the first that the memory has room for; scores have the digits of a scorer made so."""
    scorer, small = TransformersScorer(loaded), TransformersScorer(loaded, chunk_tokens=tokens)
    memory = Memory(loaded, monkeypatch, lambda _, size: size > room)
    found = scorer.score(PROMPTS)
    assert max(memory.sizes) <= room
    assert (scorer.calls.tokens, scorer.chunk_tokens) == (tokens, tokens)
    assert scorer.calls.why == f"memory ran out while scoring 12 prompts ({WORDS})"
    assert found == small.score(PROMPTS)
    assert scorer.usage == small.usage  # what failed is not counted
    scorer.begin_calls(None)
    assert (scorer.calls.tokens, scorer.calls.why) == (640, "")


@pytest.mark.fault("memory runs out once, on the first or on a later call", "scores equal those of smaller calls")
def test_whichever_call_it_is(fault: Fault, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole question is asked again, so that no score comes from calls of two sizes."""
    small = TransformersScorer(loaded, chunk_tokens=160)
    memory = Memory(loaded, monkeypatch, never)
    wanted = TransformersScorer(loaded, chunk_tokens=160).score(PROMPTS)
    first = TransformersScorer(loaded, chunk_tokens=320)
    memory.calls = 0
    first.score(PROMPTS)
    calls = memory.calls
    assert calls > 3
    tried = min(calls, fault.times(quick=4, long=1000))
    fault.tried = tried
    for k in range(1, tried + 1):
        scorer = TransformersScorer(loaded, chunk_tokens=320)
        memory.calls, memory.fails = 0, fails_at(k)
        assert scorer.score(PROMPTS) == wanted
        assert scorer.calls.tokens == 160
        memory.fails = never
    assert small.calls.why == ""
    fault.happened = (
        f"at each of {tried} calls: repeated with half as many tokens per call, and equal to the last digit"
    )


@pytest.mark.fault(
    "a process's memory is limited (RLIMIT_AS) to several amounts above its model's size",
    "scores equal those of smaller calls, or one error says what to do",
)
def test_a_real_limit_on_memory(fault: Fault, tmp_path: Path) -> None:
    """A model whose layer takes three times 84 MB for 640 tokens."""
    model = save_model(tmp_path, intermediate_size=32768, num_hidden_layers=1)
    rooms = (150, 2, 2000, 120, 75, 40, 20, 8)[: fault.times(quick=2, long=8)]
    found = {room: limited(model, room) for room in rooms}
    assert all("use a smaller --limit" in told["refused"] for told in found.values() if "refused" in told)
    scored = {room: told for room, told in found.items() if "refused" not in told}
    assert 150 in scored
    for room, told in scored.items():
        assert told["equal"], room
        assert told["tokens"] == 640 if room == 2000 else told["tokens"] < 640, room
        assert ("can't allocate memory" in told["why"]) == (room < 2000), room
    calls = ", ".join(f"{told['tokens']} with {room} MB" for room, told in sorted(scored.items()))
    refused = ", ".join(f"{room} MB" for room in sorted(found.keys() - scored.keys())) or "none"
    fault.happened = f"equal to the last digit, with these tokens per call: {calls}; refused with the remedy: {refused}"


def limited(model: str, megabytes: int) -> dict[str, Any]:
    """What a process with so much room says."""
    command = [sys.executable, "-m", "tests.support.limited_memory", model, str(megabytes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_memory_that_never_suffices_is_an_error(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = TransformersScorer(loaded)
    memory = Memory(loaded, monkeypatch, lambda *_: True)
    with pytest.raises(OutOfMemory, match=r"memory ran out while scoring 12 prompts \(CUDA out of memory.*--limit"):
        scorer.score(PROMPTS)
    assert memory.calls == 5  # 640, 320, 160, 80, 40
    assert scorer.chunk_tokens == LEAST_TOKENS
    assert scorer.usage.prompts == 0


def test_prompts_that_are_read_whole_cannot_be_read_in_parts(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = TransformersScorer(loaded, "full-prompts")
    memory = Memory(loaded, monkeypatch, lambda *_: True)
    with pytest.raises(OutOfMemory, match="--limit"):
        scorer.score(PROMPTS)
    assert memory.calls == 1


# -- a run whose memory runs out


@pytest.fixture
def data(store: Store, pairs: Dataset) -> Store:
    store.add_dataset(pairs)
    return store


def made(store: Store, steps: int = 6) -> str:
    spec = RunSpec("pairs", "tiny", "none", "float32", "cpu", limit=10, search=SearchConfig(seed=4, max_steps=steps))
    return control.create_run(store, spec)


def work(
    store: Store, run: str, scorer: TransformersScorer, patch: pytest.MonkeyPatch, verb: str = "start", steps: int = 0
) -> int:
    """Be a worker of its own process, whose scorer this is."""
    store.send(run, verb, f"{verb} {run} {store.last_number(run)}", steps)
    with patch.context() as inner:
        inner.setattr(worker, "make_scorer", lambda spec: scorer)
        return worker.run_in_process(store, run, idle=0.0)


def searched(store: Store, run: str) -> list[str]:
    return [f"{e.kind} {json.dumps(e.body)}" for e in store.read_after(run, kinds=("initial", "step"))]


def kinds(store: Store, run: str) -> list[str]:
    return [event.kind for event in store.read_after(run)]


def test_a_run_on_too_small_a_machine_has_the_log_of_smaller_calls(
    data: Store, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call fails: the event stands before the initial labels, and all digits are those of smaller calls."""
    small, tight = made(data), made(data)
    assert work(data, small, TransformersScorer(loaded, chunk_tokens=80), monkeypatch) == 0
    scorer = TransformersScorer(loaded)
    Memory(loaded, monkeypatch, lambda _, size: size > 100)
    assert work(data, tight, scorer, monkeypatch) == 0
    assert kinds(data, tight) == ["control", "model", "shrunk", "initial", *["step"] * 6, "finished"]
    (event,) = data.read_after(tight, kinds=("shrunk",))
    assert event.body["tokens"] == 80
    assert (event.body["was"], event.body["why"][:22]) == (640, "memory ran out while s")
    assert searched(data, tight) == searched(data, small)
    assert verify(data, open_run(data, tight)) == (6, [])


@pytest.mark.fault(
    "memory runs out in a step, and later the worker is replaced",
    "after `resume` the log equals that of an uninterrupted run",
)
def test_a_run_goes_on_with_the_calls_that_its_log_names(
    fault: Fault, data: Store, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for k in range(fault.times(quick=2, long=6)):
        whole, cut = made(data), made(data)
        memory = Memory(loaded, monkeypatch, never)
        for run in (whole, cut):
            scorer = TransformersScorer(loaded)
            memory.calls, memory.fails = 0, fails_at(3 + 2 * k)
            if run == whole:
                assert work(data, run, scorer, monkeypatch) == 0
                continue
            work(data, run, scorer, monkeypatch, "step", 4)
            memory.fails = never  # elsewhere there would be room: the log says what is in force
            another = TransformersScorer(loaded)
            assert work(data, run, another, monkeypatch, "resume") == 0
            assert another.calls.tokens == (tokens_of_run(data, run) or 640)
        monkeypatch.undo()
        assert searched(data, cut) == searched(data, whole)
        assert kinds(data, whole).count("shrunk") == 1
        seen.append(kinds(data, whole).index("shrunk") - 2)
        forked = fork(data, cut, data.last_number(cut))
        assert tokens_of_run(data, forked) == 320
    fault.happened = (
        f"before events {min(seen)} to {max(seen)} of the search: an event records it, and the logs are equal"
    )


def test_a_person_is_told(
    data: Store, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(data)
    scorer = TransformersScorer(loaded)
    Memory(loaded, monkeypatch, lambda _, size: size > 400)
    assert work(data, run, scorer, monkeypatch) == 0
    (alert,) = [alert for alert in alerts(load_reading(data, run)) if alert.kind == "smaller calls"]
    assert alert.text.startswith("The model reads at most 320 tokens per call now instead of 640: memory ran out while")
    assert WORDS in alert.text
    assert main(["show", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens_at_once"] == 320
