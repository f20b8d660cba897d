"""Verify: every kind of tampering with a log is found, and a sample of steps is scored again by the run's own model."""

import base64
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from icm_engine.cli.main import main
from icm_engine.core.scoring import TableScorer
from icm_engine.core.settings import SearchConfig
from icm_engine.jobs import job_process, job_worker, rescoring
from icm_engine.runs import control, model_registry, worker
from icm_engine.runs.verify import verify
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.support.faults import Fault
from tests.support.held_jobs import HeldJob
from tests.support.processes import score_by, spawn_by
from tests.support.stores import moody_belief

Body = dict[str, Any]
Change = Callable[[Body], None]


@pytest.fixture
def run(store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch) -> str:
    """A finished run with accepted, rejected and repaired steps, snapshots among them."""
    score_by(monkeypatch, moody_belief)
    monkeypatch.setattr(worker, "SNAPSHOT_EVERY", 20)
    store.add_dataset(pairs)
    made = control.create_run(store, RunSpec("pairs", "fake", search=SearchConfig(seed=11, max_steps=100)))
    store.send(made, "start", "start")
    assert worker.main(["--db", str(store.path), made]) == 0
    return made


def another_score(body: Body) -> None:
    """One log-probability, in its last digits."""
    values = bytearray(zlib.decompress(base64.b64decode(body["scores"])))
    first = struct.unpack_from("<d", values)[0]
    struct.pack_into("<d", values, 0, first - 1e-6)
    body["scores"] = base64.b64encode(zlib.compress(bytes(values))).decode()


def put(*path: str | int, value: object = None, by: float | None = None) -> Change:
    """A change of one value of a body, to another or by a number."""

    def change(body: Body) -> None:
        for key in path[:-1]:
            body = body[key]  # type: ignore[index]
        body[path[-1]] = value if by is None else body[path[-1]] + by  # type: ignore[index]

    return change


def other_label(body: Body) -> None:
    flip = body["flips"][0]
    flip["new"] = "False" if flip["new"] == "True" else "True"


TAMPERED: dict[str, tuple[str, Change]] = {
    "a score of an accepted labeling": ("accepted", another_score),
    "a score of the initial labels": ("initial", another_score),
    "a score of the drawn example": ("rejected", put("log_probs", "True", by=-1e-6)),
    "the label mass": ("rejected", put("label_mass", by=1e-6)),
    "the draw": ("rejected", put("draw", by=1e-6)),
    "the draw of an accepted step": ("accepted", put("draw", value=0.0)),
    "the drawn example": ("rejected", put("example", value="e0")),
    "the old label": ("accepted", put("old", value="maybe")),
    "the proposed label": ("rejected", put("proposed", value="maybe")),
    "the temperature": ("rejected", put("temperature", by=1e-6)),
    "delta": ("rejected", put("delta", by=1e-6)),
    "the chance": ("rejected", put("accept_probability", by=1e-6)),
    "the verdict": ("rejected", put("verdict", value="accepted")),
    "U after": ("accepted", put("after", "utility", by=1e-6)),
    "P after": ("accepted", put("after", "mutual_predictability", by=1e-6)),
    "inconsistency after": ("accepted", put("after", "inconsistency", by=1.0)),
    "the pairs after": ("accepted", put("after", "pairs", value=[["e0", "e1"]])),
    "U before": ("rejected", put("before", "weighted_predictability", by=1e-6)),
    "U of a repair's option": ("repaired", put("repairs", 0, "options", 0, "utility", by=1000.0)),
    "a repair's pair": ("repaired", put("repairs", 0, "pair", value=["e0", "e1"])),
    "a repair left out": ("repaired", put("repairs", value=[])),
    "a label change": ("accepted", other_label),
    "a label change left out": ("accepted", put("flips", value=[])),
    "an initial label": ("initial", other_label),
    "the number of the step": ("rejected", put("step", by=1)),
    "the steps at the end": ("finished", put("steps", by=1)),
}


def numbers(store: Store, run: str) -> dict[str, int]:
    """An event of each kind, and of each way a step can go."""
    found: dict[str, int] = {}
    for event in store.read_after(run):
        found.setdefault(event.kind, event.number)
        if event.kind == "step":
            found.setdefault(event.body["verdict"], event.number)
            if event.body["repairs"] and event.body["repairs"][0]["options"]:
                found.setdefault("repaired", event.number)
    return found


def rewrite(store: Store, run: str, number: int, body: Body) -> None:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    store.db.execute("update events set body = ? where run = ? and number = ?", [text, run, number])


@pytest.mark.fault("one value of a log is changed", "verify names the event")
def test_every_changed_value_is_found(fault: Fault, store: Store, run: str) -> None:
    opened, places = open_run(store, run), numbers(store, run)
    assert verify(store, opened) == (100, [])
    fault.times(len(TAMPERED), len(TAMPERED))
    for what, (where, change) in TAMPERED.items():
        number = places[where]
        event = store.event(run, number)
        changed = json.loads(json.dumps(event.body))
        change(changed)
        assert changed != event.body, what
        rewrite(store, run, number, changed)
        _, wrong = verify(store, opened)
        assert wrong, what
        assert any(problem.startswith(f"event {number}") for problem in wrong), (what, wrong)
        rewrite(store, run, number, event.body)
    assert verify(store, opened) == (100, [])
    fault.happened = f"all {len(TAMPERED)} kinds of change were found"


@pytest.mark.fault("an event of a log is dropped or moved", "verify finds it")
def test_every_dropped_event_is_found(fault: Fault, store: Store, run: str) -> None:
    opened, last = open_run(store, run), store.last_number(run)
    times = fault.times(quick=12, long=last - 1)
    for number in [n for n in range(1, last) if n % max(1, last // times) == 0 or fault.torture]:
        for move in ("delete from events where run = :run and number = :n",
                     "update events set number = number + 1000 where run = :run and number = :n"):  # fmt: skip
            store.db.execute("begin")
            store.db.execute(move, {"run": run, "n": number})
            _, wrong = verify(store, opened)
            assert any(problem.startswith(f"event {number} is missing") for problem in wrong), (number, wrong)
            store.db.execute("rollback")
    store.db.execute("begin")  # all that follows moved up, so that no number is missing
    store.db.execute("delete from events where run = ? and number = 50", [run])
    store.db.execute("update events set number = -number where run = ? and number > 50", [run])
    store.db.execute("update events set number = -number - 1 where run = ? and number < 0", [run])
    assert any("event 50: follows step" in problem for problem in verify(store, opened)[1])
    store.db.execute("rollback")
    fault.happened = f"found at each of {times} places, also after renumbering"


def test_a_changed_snapshot_is_found(store: Store, run: str) -> None:
    opened = open_run(store, run)
    number, body = store.db.execute("select number, body from snapshots where run = ?", [run]).fetchone()
    state = json.loads(body)
    state["labels"][0][1] = "False" if state["labels"][0][1] == "True" else "True"
    store.db.execute("update snapshots set body = ? where run = ? and number = ?", [json.dumps(state), run, number])
    assert verify(store, opened)[1] == [f"event {number}: the state kept after it is not what the log leads to"]


def test_a_body_that_is_no_json_is_found(store: Store, run: str) -> None:
    store.db.execute("update events set body = substr(body, 1, 90) where run = ? and number = 30", [run])
    _, wrong = verify(store, open_run(store, run))
    assert "event 30" in wrong[-1]
    assert main(["verify", run, "--db", str(store.path)]) == 1


# -- scoring again


def test_the_same_model_drifts_by_nothing(store: Store, run: str) -> None:
    found = rescoring.rescore(HeldJob(store, {"run": run, "steps": 30}), TableScorer(moody_belief))
    assert (found["steps"], found["of"], found["largest_difference"], found["other_way"]) == (30, 100, 0.0, 0)
    assert found["compared"] > 2 * 30  # two labels of every drawn example, and those of accepted labelings
    assert len(set(found["sampled"])) == 30
    everything = rescoring.rescore(HeldJob(store, {"run": run, "steps": 1000}), TableScorer(moody_belief))
    assert everything["sampled"] == list(range(1, 101))


def test_a_model_that_drifted_is_measured(store: Store, run: str) -> None:
    """Every log-probability is lower by an eighth: all differences are that, and no label's share moves."""
    lower = TableScorer(lambda prompt: tuple(value - 0.125 for value in moody_belief(prompt)))
    found = rescoring.rescore(HeldJob(store, {"run": run, "steps": 20}), lower)
    assert found["largest_difference"] == pytest.approx(0.125)
    assert found["mean_difference"] == pytest.approx(0.125)
    assert found["other_way"] == 0
    assert found["largest_utility_difference"] == pytest.approx(0.0, abs=1e-9)


def test_a_model_that_turned_round_goes_another_way(store: Store, run: str) -> None:
    turned = TableScorer(lambda prompt: moody_belief(prompt)[::-1])
    found = rescoring.rescore(HeldJob(store, {"run": run, "steps": 100}), turned)
    assert found["other_way"] > 50
    assert len(found["other"]) == rescoring.SHOWN
    assert {row["proposed_now"] for row in found["other"]} <= {"True", "False"}


def test_a_score_that_verify_cannot_judge_is_found_by_scoring_again(store: Store, run: str) -> None:
    """A log-probability and the mass that follows from it, changed together in a step that was rejected."""
    number = numbers(store, run)["rejected"]
    body = store.event(run, number).body
    body["log_probs"] = {label: value - 0.5 for label, value in body["log_probs"].items()}
    body["label_mass"] *= 2.718281828459045**-0.5
    reused, body["reused"] = body["reused"], False
    rewrite(store, run, number, body)
    assert verify(store, open_run(store, run)) == (100, [])
    found = rescoring.rescore(HeldJob(store, {"run": run, "steps": 100}), TableScorer(moody_belief))
    assert found["largest_difference"] == pytest.approx(0.5)
    assert found["largest_at"]["step"] == body["step"]
    assert reused in (True, False)


def test_the_command_asks_a_job_and_says_the_drift(
    store: Store, pairs: Dataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_this_process(store: Store, module: str, name: str) -> None:
        job_process.run_in_process(store, name, job_worker.perform)

    spawn_by(monkeypatch, in_this_process)
    store.add_dataset(pairs)
    run = control.create_run(store, RunSpec("pairs", "fake", search=SearchConfig(seed=11, max_steps=30)))
    assert main(["verify", run, "--rescore", "5"]) == 1  # nothing to score yet
    assert "has no steps to score again" in capsys.readouterr().err
    store.send(run, "start", "start")
    assert worker.main(["--db", str(store.path), run]) == 0
    capsys.readouterr()
    assert main(["verify", run, "--rescore", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["wrong"], told["drift"]["steps"], told["drift"]["largest_difference"]) == (0, 5, 0.0)
    assert told["drift"]["model_changes"] == {}
    assert main(["verify", run, "--rescore", "5"]) == 0
    assert "largest_difference     0.00e+00 of" in capsys.readouterr().out


@pytest.mark.model
def test_the_sample_model_drifts_by_nothing_on_the_machine_that_scored(store: Store, pairs: Dataset) -> None:
    store.add_dataset(pairs)
    spec = RunSpec("pairs", "sample", "none", "float32", "cpu", limit=8, search=SearchConfig(seed=3, max_steps=6))
    run = control.create_run(store, spec)
    store.send(run, "start", "start")
    assert worker.main(["--db", str(store.path), run]) == 0
    found = rescoring.rescore(
        HeldJob(store, {"run": run, "steps": 4}), worker.make_scorer(model_registry.model_of_run(store, run))
    )
    assert found["largest_difference"] < 1e-5  # a leave-one-out prompt by itself is another call shape
    assert (found["other_way"], found["model_changes"]) == (0, {})
