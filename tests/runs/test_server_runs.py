"""Runs through a server: it is killed in the middle, and nothing is lost, repeated or made up."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from icm_engine.analysis.alerts import alerts, notes_of_run, server_words
from icm_engine.analysis.landscape import references
from icm_engine.analysis.views import load, run_summary
from icm_engine.core.settings import PRESETS, ModelChoice
from icm_engine.jobs.downstream_eval import use_labels
from icm_engine.jobs.model_trials import check_context
from icm_engine.jobs.rescoring import score_landscape, try_label
from icm_engine.models.server_scorer import ServerScorer
from icm_engine.runs import control, worker
from icm_engine.runs.model_registry import model_of_run
from icm_engine.runs.verify import verify
from icm_engine.runs.worker import BACK, make_scorer
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Event, Store
from tests.support.fake_server import Completions, serving, small_server
from tests.support.held_jobs import HeldJob
from tests.support.in_process_runs import search_facts
from tests.support.paths import ROOT

SERVER = "tests.support.fake_server"


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Process:
    """A server that is a process of its own, at a port of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", SERVER, str(self.port)], cwd=ROOT)
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def process(port: int) -> Iterator[Process]:
    made = Process(port)
    yield made
    made.kill()


def spec(address: str, steps: int = 24, **more: object) -> RunSpec:
    search = replace(PRESETS["default"], max_steps=steps, seed=3)
    return RunSpec("pairs", address, search=search, **more)  # type: ignore[arg-type]


def wait_for(store: Store, run: str, phase: str) -> control.RunStatus:
    while (now := control.status(store, run)).phase != phase:
        assert now.phase != "failed", now.message
        time.sleep(0.05)
    return now


def controls(store: Store, run: str) -> list[Event]:
    return store.read_after(run, kinds=("control",))


@pytest.mark.slow
def test_a_run_pauses_when_its_server_is_killed_and_goes_on_when_it_is_back(
    store: Store, pairs: Dataset, process: Process
) -> None:
    """The worker is a process, the server is another; both logs of one spec are equal, one of them with the gap."""
    store.add_dataset(pairs)
    address = f"http://127.0.0.1:{process.port}/v1"
    run, whole = control.create_run(store, spec(address)), control.create_run(store, spec(address))
    control.start(store, run)
    while control.status(store, run).steps < 5:
        time.sleep(0.02)
    process.kill()
    paused = wait_for(store, run, "paused")
    assert paused.message.startswith(f"server {address} does not answer (")
    assert 5 <= paused.steps < 24
    assert paused.pid is not None  # it looks whether the server is back
    events = store.last_number(run)
    time.sleep(1.0)
    assert store.last_number(run) == events  # nothing is made up meanwhile
    process.start()
    wait_for(store, run, "finished")
    assert controls(store, run)[-1].body == {"verb": "resume", "reason": BACK}
    assert verify(store, open_run(store, run)) == (24, [])
    control.queue(store, whole)
    assert worker.run_in_process(store, whole, 0.0) == 0
    assert search_facts(store, run) == search_facts(store, whole)


# -- in this process, with a server in it that can be told to fail


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Completions:
    monkeypatch.setattr("icm_engine.models.server_client.FIRST_WAIT", 0.001)
    monkeypatch.setattr("icm_engine.runs.worker.SERVER_LOOK", 0.0)
    monkeypatch.setattr("icm_engine.runs.worker.SERVER_POLL", 0.001)
    worker.make_scorer.cache_clear()
    return small_server()


@pytest.fixture
def address(said: Completions) -> Iterator[str]:
    with serving(said) as address:
        yield f"{address}#concurrency=1"


def begun(store: Store, pairs: Dataset, asked: RunSpec) -> str:
    store.add_dataset(pairs)
    run = control.create_run(store, asked)
    control.queue(store, run)
    return run


@pytest.mark.slow
def test_what_was_asked_again_is_in_the_log_and_on_the_page(
    store: Store, pairs: Dataset, said: Completions, address: str
) -> None:
    run = begun(store, pairs, spec(address, 4))
    make_scorer(model_of_run(store, run))  # so that the faults come while it searches
    said.faults += [(503, {}, "busy"), (429, {}, "slow down")]
    assert worker.run_in_process(store, run, 0.0) == 0
    (event,) = store.read_after(run, kinds=("retried",))
    assert event.body == {"retries": 2, "why": "429: slow down"}
    (alert,) = [alert for alert in alerts(load(store, run)) if alert.kind == "requests repeated"]
    assert "retried 2 times so far, most recently because of: 429: slow down" in alert.text
    assert run_summary(store, run)["retries"] == 2


def test_a_run_whose_server_was_never_there_fails_with_the_remedy(store: Store, pairs: Dataset, port: int) -> None:
    run = begun(store, pairs, spec(f"http://127.0.0.1:{port}/v1"))
    assert worker.run_in_process(store, run, 0.0) == 1
    now = control.status(store, run)
    assert now.phase == "failed"
    assert f"server http://127.0.0.1:{port}/v1 does not answer" in now.message
    assert "start it" in now.message


@pytest.mark.slow
def test_steps_that_were_asked_for_are_still_owed_when_the_server_is_back(
    store: Store, pairs: Dataset, said: Completions, address: str
) -> None:
    """Three steps are asked for; the server fails in the first; then three are taken, and the run waits."""
    store.add_dataset(pairs)
    run = control.create_run(store, spec(address))
    store.send(run, "step", "once", 3)
    make_scorer(model_of_run(store, run))
    said.faults.append((500, {}, "down"))
    assert worker.run_in_process(store, run, 3.0) == 0
    assert [event.body["verb"] for event in controls(store, run)][:3] == ["step", "pause", "step"]
    assert controls(store, run)[2].body["steps"] == 3
    assert control.status(store, run).steps == 3
    assert control.status(store, run).phase == "paused"


@pytest.mark.slow
def test_a_worker_that_may_not_wait_leaves_the_run_paused(
    store: Store, pairs: Dataset, said: Completions, address: str
) -> None:
    run = begun(store, pairs, spec(address, 4))
    make_scorer(model_of_run(store, run))
    said.faults += [(500, {}, "down")]
    assert worker.run_in_process(store, run, -1.0) == 0
    now = control.status(store, run)
    assert (now.phase, now.steps) == ("paused", 0)
    assert "500: down" in now.message
    control.queue(store, run)
    assert worker.run_in_process(store, run, 0.0) == 0
    assert control.status(store, run).phase == "finished"


@pytest.mark.slow
def test_another_server_at_the_address_is_a_persons_decision(
    store: Store, pairs: Dataset, said: Completions, address: str
) -> None:
    run = begun(store, pairs, spec(address, 12))

    def change(answer: dict[str, object]) -> dict[str, object]:
        if len(said.asked) > 60:
            said.fingerprint = "vllm-0-another"
        return {**answer, "system_fingerprint": said.fingerprint}

    said.spoil = change
    assert worker.run_in_process(store, run, 3.0) == 0
    now = control.status(store, run)
    assert (now.phase, 0 < now.steps < 12) == ("paused", True)
    assert "not as it was (fingerprint: vllm-0-test -> vllm-0-another): resume continues" in now.message
    control.queue(store, run)
    assert worker.run_in_process(store, run, 0.0) == 0
    assert control.status(store, run).phase == "finished"
    models = [event.body["fingerprint"] for event in store.read_after(run, kinds=("model",))]
    assert models == ["vllm-0-test", "vllm-0-another"]


def test_what_the_server_can_do_is_recorded_and_said(
    store: Store, pairs: Dataset, said: Completions, address: str
) -> None:
    run = begun(store, pairs, spec(address, 2))
    assert worker.run_in_process(store, run, 0.0) == 0
    words = (
        "vLLM 0.test gives log-probabilities of given token ids (logprob_token_ids), so labels are exact at any rank."
    )
    assert notes_of_run(store, run) == [words]
    assert server_words(load(store, run).model) == [words]
    assert notes_of_run(store, run, server=False) == []


def test_a_run_from_before_this_was_recorded_goes_on(
    store: Store, pairs: Dataset, said: Completions, address: str
) -> None:
    """Its facts are a subset of today's: they are recorded once more, and nothing counts as another model."""
    run = begun(store, pairs, spec(address, 8))
    with pytest.MonkeyPatch.context() as patch:
        describe = ServerScorer.describe
        patch.setattr(
            ServerScorer, "describe", lambda scorer: {k: v for k, v in describe(scorer).items() if k != "ability"}
        )
        said.spoil = lambda answer: answer if len(said.asked) < 30 else {}
        assert worker.run_in_process(store, run, 0.0) == 1
    said.spoil = lambda answer: answer
    make_scorer.cache_clear()
    control.queue(store, run)
    assert worker.run_in_process(store, run, 0.0) == 0
    assert control.status(store, run).phase == "finished"
    old, new = (event.body for event in store.read_after(run, kinds=("model",)))
    assert old == {k: v for k, v in new.items() if k != "ability"}
    assert verify(store, open_run(store, run)) == (8, [])


@pytest.mark.slow
def test_jobs_score_through_a_server(store: Store, pairs: Dataset, said: Completions, address: str) -> None:
    """The context check, what if, the landscape, and labels in use, on a run that was scored through it."""
    run = begun(store, pairs, spec(address, 12))
    assert worker.run_in_process(store, run, 0.0) == 0
    scorer = make_scorer(ModelChoice(address))
    checked = check_context(HeldJob(store, {"dataset": "pairs", "limit": 8}), scorer)
    assert checked["context"] == 4096
    assert checked["evaluation"]["seconds"] > 0
    reading = load(store, run)
    asked = {"run": run, "event": reading.cursor, "labelings": references(reading, {}), "zero_shot": True}
    found = score_landscape(HeldJob(store, asked), scorer)
    last = reading.trajectory.last
    assert last is not None
    assert found["rows"][0]["utility"] == pytest.approx(last.utility)  # the table rounds nothing
    i, label = next(iter(reading.labeling.items()))
    other = "False" if label == "True" else "True"
    trial = {"run": run, "event": reading.cursor, "example": pairs.examples[i].id, "label": other}
    tried = try_label(HeldJob(store, trial), scorer)
    assert (tried["label"], tried["before"]["utility"]) == (other, pytest.approx(last.utility))
    parts = [{"dataset": "pairs", "start": 30}]
    body = {"run": run, "test": parts, "most": 4, "shots": [2], "shuffles": 1, "seed": 0}
    assert use_labels(HeldJob(store, body), scorer)


@pytest.mark.slow
def test_what_is_asked_in_words_does_not_go_through_a_server(store: Store, address: str, pairs: Dataset) -> None:
    run = begun(store, pairs, spec(address, source="judge"))
    assert worker.run_in_process(store, run, 0.0) == 1
    assert "a server scores labels only" in control.status(store, run).message
    other = control.create_run(store, spec(address, source="bootstrap"))
    control.queue(store, other)
    assert worker.run_in_process(store, other, 0.0) == 0
    assert control.status(store, other).phase == "finished"


def test_nothing_of_the_key_is_stored(
    store: Store, pairs: Dataset, said: Completions, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICM_SERVER_KEY", "s3cret-key")
    said.key = "s3cret-key"
    run = begun(store, pairs, spec(address, 3))
    assert worker.run_in_process(store, run, 0.0) == 0
    said.key = "another"
    worker.make_scorer.cache_clear()
    again = control.create_run(store, spec(address, 3))
    control.queue(store, again)
    assert worker.run_in_process(store, again, 0.0) == 1
    store.db.execute("pragma wal_checkpoint(truncate)")
    for file in store.path.parent.rglob("*"):
        if file.is_file():
            assert b"s3cret-key" not in file.read_bytes(), file
