"""Labels that the model prefers exactly alike: in the step, on its card, as an alert; and a log that says otherwise."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from icm_engine.analysis.alerts import alerts
from icm_engine.analysis.step_card import decision, proposal_sentence
from icm_engine.analysis.time_travel import open_moment
from icm_engine.analysis.views import load
from icm_engine.core.batching import FIRST, NEWEST
from icm_engine.core.custom_rules import make_rule
from icm_engine.core.labeling import Example, Task
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import LabelLogProbs, TableScorer
from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control, worker
from icm_engine.runs.verify import verify
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.support.processes import score_by
from tests.support.stores import add_run, moody_belief
from tests.support.tampered_logs import is_found, walked


def at_times_even(prompt: Prompt) -> tuple[float, ...]:
    """Half of the queries have labels that are equally likely."""
    query = hashlib.sha256(prompt.segments[-1][0].encode()).digest()[1]
    return (-0.75,) * len(prompt.labels) if query % 2 == 0 else moody_belief(prompt)


def searched(store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch, **spec: Any) -> str:
    score_by(monkeypatch, at_times_even)
    store.add_dataset(pairs)
    config = SearchConfig(seed=5, max_steps=30, initial_labels=6)
    run = control.create_run(store, RunSpec("pairs", "fake", limit=16, **{"search": config, **spec}))
    store.send(run, "start", run)
    assert worker.main(["--db", str(store.path), run]) == 0
    return run


def objective(labels: tuple[str, ...], **settings: Any) -> Objective:
    task, examples = (
        Task("t", "{x}", labels, labels[0]),
        tuple(Example(str(i), {"x": str(i)}, str(i)) for i in range(5)),
    )
    return Objective(
        examples, task, make_rule("none", examples, labels, labels[0]), TableScorer(moody_belief), **settings
    )


@pytest.mark.parametrize(
    ("raw", "foremost"),
    [
        ((-1.0, -1.0), ("A", "B")),
        ((-1.0, -1.0 - 1e-15), ("A",)),
        ((-2.0, -1.0), ("B",)),
        ((-2.0, -1.0, -1.0), ("B", "C")),
        ((-1.0, -2.0, -1.0), ("A", "C")),
        ((-1.0, -2.0, -2.0), ("A",)),  # a tie further down decides nothing
        ((-1.0, -1.0, -1.0), ("A", "B", "C")),
    ],
)
def test_all_labels_of_a_tie_at_the_top(raw: tuple[float, ...], foremost: tuple[str, ...]) -> None:
    found = objective(("A", "B", "C")[: len(raw)], predictability="mean_log_prob")
    assert found.foremost({}, 0, LabelLogProbs(raw)) == foremost
    assert found.proposed({}, 0, LabelLogProbs(raw)) == foremost[0]


def test_a_centred_form_ties_where_labels_stand_out_alike() -> None:
    """The others lean to A by 2 on average: log-odds of 2 stand out not at all, and those of 0 go to B."""
    found = objective(("A", "B"), predictability="centred_log_odds")
    others = {1: LabelLogProbs((-1.0, -2.0)), 2: LabelLogProbs((-1.0, -4.0))}
    assert found.foremost(others, 0, LabelLogProbs((-1.0, -3.0))) == ("A", "B")
    assert found.foremost(others, 0, LabelLogProbs((-1.0, -1.0))) == ("B",)


def test_steps_have_their_ties_and_verify_finds_changed_ones(
    store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = searched(store, pairs, monkeypatch)
    assert verify(store, open_run(store, run)) == (30, [])
    tied = other = 0
    for event, walk in walked(store, run):
        if event.kind != "step":
            continue
        raw = list(event.body["log_probs"].values())
        assert event.body.get("tied") == (["True", "False"] if raw[0] == raw[1] else None)
        bare = {key: value for key, value in event.body.items() if key != "tied"}
        if "tied" in event.body:
            tied += 1
            assert event.body["proposed"] == "True"
            wrong: list[Any] = [[], ["True"], ["False", "True"], ["True", "False", "True"], None, "True"]
        else:
            other += 1
            wrong = [["True", "False"], [], None]
        for value in wrong:
            assert is_found(walk.again(), replace(event, body={**bare, "tied": value})), value
        assert is_found(walk.again(), replace(event, body=bare)) == ("tied" in event.body)
    assert tied > 3
    assert other > 3


def test_the_first_version_says_nothing_of_ties(store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    run = searched(store, pairs, monkeypatch, version=FIRST)
    assert verify(store, open_run(store, run)) == (30, [])
    steps = [(event, walk) for event, walk in walked(store, run) if event.kind == "step"]
    assert not any("tied" in event.body for event, _ in steps)
    event, walk = next((e, w) for e, w in steps if len(set(e.body["log_probs"].values())) == 1)
    assert is_found(walk, replace(event, body={**event.body, "tied": ["True", "False"]}))


@pytest.mark.parametrize("version", [FIRST, NEWEST])
def test_the_alert_counts_ties_and_the_card_names_the_labels(
    store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    reading = load(store, searched(store, pairs, monkeypatch, version=version))
    steps = store.read_after(reading.run.name, kinds=("step",))
    ties = sum("tied" in event.body for event in steps)
    told = [alert.text for alert in alerts(reading) if alert.kind == "exact ties"]
    assert (reading.ties, reading.drawn) == (ties, 30)
    if version == FIRST:
        assert told == []
        return
    assert told == [f"{ties} of 30 proposals were exact ties, decided by the order of the labels."]
    for place, point in enumerate(reading.trajectory.points):
        event = store.event(reading.run.name, point.event)
        if event.kind == "step":
            card = decision(reading, open_moment(store, reading, place))
            said = "True and False tie exactly: the first label was proposed." in proposal_sentence(card)
            assert said == ("tied" in event.body) == bool(card.tied)


def test_one_tie_is_one(store: Store) -> None:
    reading = replace(load(store, add_run(store)), ties=1, drawn=1250)
    assert [alert.text for alert in alerts(reading)] == [
        "1 of 1,250 proposals was an exact tie, decided by the order of the labels."
    ]


def test_a_step_without_a_tie_has_no_such_key(store: Store) -> None:
    run = add_run(store)
    assert not any("tied" in json.dumps(event.body) for event in store.read_after(run, kinds=("step",)))
