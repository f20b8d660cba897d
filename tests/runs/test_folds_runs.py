"""Runs with folds: their logs are checked whole, and last through kills, pauses, forks and a person's acts."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from icm_engine.cli.main import main
from icm_engine.core.errors import SettingError
from icm_engine.core.folds import Fit, Fitter, ShownFitter
from icm_engine.core.labeling import Labeling
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import TableScorer, Usage
from icm_engine.core.search import State
from icm_engine.core.settings import ModelChoice, TuneSettings, with_settings
from icm_engine.jobs import batches, rescoring
from icm_engine.runs import control, worker
from icm_engine.runs.fork import fork, influence_of_pin
from icm_engine.runs.verify import verify
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import current_state, open_run, state_at
from icm_engine.store.store import Event, Store
from tests.runs.test_tampering import leaves, others, with_value
from tests.support.held_jobs import HeldJob
from tests.support.in_process_runs import work
from tests.support.processes import score_by
from tests.support.stores import hold, moody_belief
from tests.support.tampered_logs import is_found, walked

SPEC = RunSpec(
    "pairs", "fake", limit=10, source="folds", source_options={"folds": 2},
    search=with_settings(RunSpec("", "fake").search, {"seed": 13, "predictability": "centred_log_odds", "alpha": 1.5,
                                                      "pair_weight": 3.0}),
)  # fmt: skip
FOLDED = ("fold", "round", "finished")


@pytest.fixture
def data(store: Store, pairs: Dataset, no_processes: None, moody_model: None) -> Store:
    store.add_dataset(pairs)
    return store


@pytest.fixture
def run(data: Store) -> str:
    """A finished run: rounds that were kept and not kept, with repairs, and a bound on the next one.

    It is made once; each test gets a copy of its database.
    """
    if not _DONE:
        assert work(data, control.create_run(data, SPEC)) == 0
        _DONE.append(sqlite3.connect(":memory:"))
        data.db.conn.backup(_DONE[0])
    _DONE[0].backup(data.db.conn)
    return data.run_names()[0]


_DONE: list[sqlite3.Connection] = []


def facts(store: Store, run: str) -> list[tuple[str, str]]:
    return [(event.kind, json.dumps(event.body)) for event in store.read_after(run, kinds=FOLDED)]


def rounds(store: Store, run: str) -> list[Event]:
    return store.read_after(run, kinds=("round",))


def test_a_finished_run(data: Store, run: str) -> None:
    taken = rounds(data, run)
    assert [event.round["kept"] for event in taken] == [True, True, False, True, False, True]
    assert [event.round["step"] for event in taken] == [0, 1, 2, 3, 4, 5]
    assert any(event.round["repairs"] for event in taken)
    assert 1 in [event.round["most"] for event in taken]
    assert taken[-1].round["left"] == 0
    kinds = [event.kind for event in data.read_after(run)]
    assert kinds == ["control", "model", "fold", "round", *["fold", "fold", "round"] * 5, "finished"]
    assert verify(data, open_run(data, run)) == (5, [])
    status = control.status(data, run)
    assert (status.phase, status.steps, status.max_steps) == ("finished", 5, 8)
    again = control.create_run(data, SPEC)
    assert work(data, again) == 0
    assert facts(data, again) == facts(data, run)


# -- verify


def picked(store: Store, run: str) -> set[int]:
    """One event of each kind: what was predicted untuned, a fold, the start, a round kept and one that was not."""
    found: dict[object, int] = {}
    for event in store.read_after(run, kinds=("fold", "round")):
        key = (event.kind, event.body.get("kept"), event.body.get("round", event.body.get("step")) == 0)
        if event.kind == "fold" or event.round["repairs"]:
            found.setdefault(key, event.number)
    assert len(found) == 5
    return set(found.values())


def until_round(store: Store, run: str, number: int) -> Iterator[Event]:
    """The events after this one, until the round that it belongs to."""
    for event in store.read_after(run, number):
        yield event
        if event.kind == "round":
            return


def test_every_value_of_a_fold_and_of_a_round_is_checked(data: Store, run: str) -> None:
    wanted, missed = picked(data, run), set()
    for event, walk in walked(data, run):
        if event.number not in wanted:
            continue
        after = [] if event.kind == "round" else list(until_round(data, run, event.number))
        for path, value in leaves(event.body):
            for other in others(value)[:1]:
                changed = replace(event, body=with_value(event.body, path, other))
                told = walk.again()
                if other != value and not is_found(told, changed) and not any(is_found(told, one) for one in after):
                    missed.add((event.kind, ".".join(map(str, path))))
    assert {name for kind, name in missed if not (kind == "fold" and re.fullmatch(r"usage\.\w+", name))} == set()


def rewrite(store: Store, run: str, event: Event, **values: Any) -> None:
    body = json.dumps({**event.body, **values})
    store.db.execute("update events set body = ? where run = ? and number = ?", [body, run, event.number])


def first(store: Store, run: str, kind: str, place: int = 0) -> Event:
    return store.read_after(run, kinds=(kind,))[place]


def test_a_log_that_misses_or_repeats_a_part_is_found(data: Store, run: str) -> None:
    opened, last = open_run(data, run), data.last_number(run)

    def wrong_after(*changes: str) -> str:
        data.db.execute("begin")
        for change in changes:
            data.db.execute(change, {"run": run, "last": last})
        found = verify(data, opened)[1]
        data.db.execute("rollback")
        return "; ".join(found)

    ends = "update events set kind = 'refused', body = '{}' where run = :run and number = "
    assert "event 7: comes after 1 of 2 folds" in wrong_after(ends + "5")
    assert "event 6: is fold 1, where 2 is due" in wrong_after(
        "update events set body = (select body from events where run = :run and number = 5) "
        "where run = :run and number = 6")  # fmt: skip
    assert "finished before the last round" in wrong_after(ends + ":last - 1", ends + ":last - 2", ends + ":last - 3")
    again = (
        "insert into events (run, number, kind, body, time, seconds) select run, number + {by}, kind, body, time, "
        "seconds from events where run = :run and number between :last - 3 and :last - 1")  # fmt: skip
    assert f"event {last + 1}: is a fold after the last round" in wrong_after(again.format(by=4))
    assert "event 4: comes after 0 of 1 folds" in wrong_after(ends + "3")
    kind = "update events set kind = 'labelled' where run = :run and number = 4"
    assert "event 4: is a labelled in a run of source folds" in wrong_after(kind)


@pytest.mark.parametrize(
    ("settings", "options"),
    [({"seed": 14}, {}), ({"alpha": 1.4}, {}), ({"pair_weight": 2.0}, {}), ({"max_steps": 4}, {}),
     ({"predictability": "sum_log_prob"}, {}), ({}, {"folds": 3}), ({}, {"start": "random"})],
)  # fmt: skip
def test_a_log_of_other_settings_is_found(
    data: Store, run: str, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    opened = open_run(data, run)
    search = replace(opened.spec.search, **settings)
    spec = replace(opened.spec, search=search, source_options={**opened.spec.source_options, **options})
    assert verify(data, replace(opened, spec=spec))[1]


def test_a_text_that_changed_is_found(data: Store, run: str) -> None:
    data.db.execute("update examples set fields = json_object('text', 'another claim') where id = 'e3'")
    wrong = verify(data, open_run(data, run))[1]
    assert any("event 4: began with other texts, or another task" in problem for problem in wrong)


def test_a_log_from_random_labels_is_right(data: Store) -> None:
    spec = replace(SPEC, source_options={"folds": 2, "start": "random"}, search=replace(SPEC.search, seed=4))
    run = control.create_run(data, spec)
    assert work(data, run) == 0
    assert [event.kind for event in data.read_after(run)][:4] == ["control", "model", "round", "fold"]
    assert len(rounds(data, run)) == 7
    assert verify(data, open_run(data, run)) == (6, [])


# -- interruptions


def test_a_run_that_was_cut_off_anywhere_goes_on_as_if_nothing_was(data: Store, run: str) -> None:
    """The database as a kill leaves it: the events up to any one, which is also what is there inside a fit."""
    log, last = facts(data, run), data.last_number(run)
    for number in range(2, last):
        cut = control.create_run(data, SPEC)
        data.db.execute(
            "insert into events (run, number, kind, body, time, seconds) "
            "select ?, number, kind, body, time, seconds from events where run = ? and number <= ?",
            [cut, run, number])  # fmt: skip
        assert work(data, cut, "resume") == 0
        assert facts(data, cut) == log, number
    assert verify(data, open_run(data, cut)) == (5, [])


def test_an_error_inside_a_fit_costs_one_fit(data: Store, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = facts(data, run)
    prompts = 0

    def fails_once(prompt: Prompt) -> tuple[float, ...]:
        nonlocal prompts
        prompts += 1
        if prompts == 10 + 8:  # untuned all ten, then in the middle of the second fold
            raise RuntimeError("the card fell off")
        return moody_belief(prompt)

    score_by(monkeypatch, fails_once)
    run = control.create_run(data, SPEC)
    assert work(data, run) == 1
    assert control.status(data, run).message == "the card fell off"
    assert [event.kind for event in data.read_after(run, kinds=FOLDED)] == ["fold", "round", "fold"]
    assert work(data, run, "resume") == 0
    assert facts(data, run) == log


class OtherScorer:
    """A model that is no table, so that its runs ask the factory for what tunes it."""

    def __init__(self) -> None:
        self._table = TableScorer(moody_belief)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)


@dataclass
class SlowFitter:
    """Takes ten steps a fit and looks after each whether it is wanted back; `meanwhile` happens after a step."""

    objective: Objective
    interrupted: Callable[[], bool]
    meanwhile: Callable[[int], None]
    steps: list[int]

    def fit(self, labels: Labeling, asked: Sequence[int]) -> Fit | None:
        for step in range(10):
            self.steps.append(step)
            self.meanwhile(len(self.steps))
            if self.interrupted():
                return None
        return ShownFitter(self.objective).fit(labels, asked)


@pytest.mark.parametrize("verb", ["pause", "stop"])
def test_a_pause_or_stop_waits_for_one_training_step(
    data: Store, run: str, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    log = facts(data, run)
    run, steps = control.create_run(data, SPEC), list[int]()

    def asks(taken: int) -> None:
        if taken == 14:  # in the middle of the second fit
            data.send(run, verb, verb)

    def tuner(choice: ModelChoice, objective: Objective, tuning: TuneSettings, back: Callable[[], bool]) -> Fitter:
        assert (choice.model, tuning.epochs, tuning.seed) == ("fake", 10, 13)
        return SlowFitter(objective, back, asks, steps)

    monkeypatch.setattr(worker, "make_scorer", lambda choice: OtherScorer())
    monkeypatch.setattr(worker, "make_tuner", tuner)
    assert work(data, run) == 0
    assert len(steps) == 14  # no step after the one in which it was asked
    assert [event.kind for event in data.read_after(run, kinds=FOLDED)] == ["fold", "round", "fold"]
    assert control.status(data, run).phase == {"pause": "paused", "stop": "stopped"}[verb]
    assert work(data, run, "resume") == 0
    assert facts(data, run) == log
    assert len(steps) == 14 + 10 * 9  # of ten fits the second one began again


def test_steps_are_rounds(data: Store, run: str) -> None:
    log = facts(data, run)
    run = control.create_run(data, SPEC)
    for asked, taken in ((1, 1), (2, 3)):
        assert work(data, run, "step", asked) == 0
        status = control.status(data, run)
        assert (status.phase, status.steps) == ("paused", taken)
    assert work(data, run, "stop") == 0
    assert control.status(data, run).phase == "stopped"
    assert work(data, run, "resume") == 0
    assert facts(data, run) == log


def test_a_pause_that_comes_after_the_last_round_never_shows(data: Store, run: str) -> None:
    data.db.execute("delete from events where run = ? and kind = 'finished'", [run])
    hold(data, run)
    data.append(run, "control", {"verb": "pause"})
    assert control.status(data, run).phase == "running"
    data.append(run, "retuned", {**rounds(data, run)[-1].body, "settings": {"alpha": 2.0}})
    assert control.status(data, run).phase == "paused"  # another U: what is left is not known before somebody asks


def test_replay_at_every_event_is_the_live_state(data: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = control.create_run(data, SPEC)
    live = dict[int, State | None]()
    take = worker.Worker._advance
    monkeypatch.setattr(
        worker.Worker, "_advance",
        lambda self, *given: (take(self, *given), live.__setitem__(data.last_number(run), self.state))[0],
    )  # fmt: skip
    assert work(data, run) == 0
    opened = open_run(data, run)
    assert len(live) == 17
    for number, state in live.items():
        assert state_at(data, opened, number) == state
    assert current_state(data, opened) == live[max(live)]


# -- a person's acts


def paused(store: Store, after: int = 3) -> str:
    run = control.create_run(store, SPEC)
    assert work(store, run, "step", after) == 0
    return run


def label(store: Store, run: str, example: str) -> str:
    state, opened = current_state(store, open_run(store, run)), open_run(store, run)
    assert state is not None
    return state.labeling[opened.codec.index(example)]


def other(label: str) -> str:
    return "False" if label == "True" else "True"


def act(store: Store, run: str, verb: str, example: str = "e0", given: str | None = None, text: str = "") -> None:
    labels = [] if given is None else [given]
    body = {"verb": verb, "examples": [example] if example else [], "labels": labels, "text": text}
    store.send(run, "hand", f"{verb}-{example}-{given}-{store.last_number(run)}", body=body)
    worker.main(["--db", str(store.path), run])


@pytest.mark.parametrize("verb", ["pin", "override"])
def test_an_act_that_changes_a_label_is_refused_with_what_to_do(data: Store, verb: str) -> None:
    run = paused(data)
    before, now = current_state(data, open_run(data, run)), label(data, run, "e0")
    act(data, run, verb, given=other(now))
    (refused,) = data.read_after(run, kinds=("refused",))
    assert refused.refused["message"] == (
        f"'e0' cannot become {other(now)} by hand: this run takes U from models tuned on folds, and a label set "
        f"between two rounds would be scored by prompts: pin it as it is (e0={now}), or export the labels and change "
        "it there")  # fmt: skip
    assert current_state(data, open_run(data, run)) == before
    act(data, run, "pin", given=now)  # the remedy
    assert len(data.read_after(run, kinds=("refused",))) == 1


def test_one_impossible_act_does_not_keep_others_from_being_done(data: Store) -> None:
    run = paused(data)
    wrong = {"verb": "override", "examples": ["e0"], "labels": [other(label(data, run, "e0"))], "text": ""}
    data.send(run, "hand", "first", body={"verb": "note", "examples": ["e1"], "labels": [], "text": "see p. 3"})
    data.send(run, "hand", "second", body=wrong)
    act(data, run, "pin", "e2", label(data, run, "e2"))
    state = current_state(data, open_run(data, run))
    assert state is not None
    assert (dict(state.hand.notes), set(state.hand.pins)) == ({1: "see p. 3"}, {2})
    assert len(data.read_after(run, kinds=("refused",))) == 1


def test_pins_are_kept_by_the_rounds(data: Store, run: str) -> None:
    """Every example that the last rounds changed is pinned before: they change others, or nothing."""
    steered, opened = paused(data, 2), open_run(data, run)
    moved = {flip["example"] for event in rounds(data, run)[3:] for flip in event.round["flips"]}
    assert moved
    for example in sorted(moved):
        act(data, steered, "pin", example, label(data, steered, example))
    kept = {example: label(data, steered, example) for example in moved}
    assert work(data, steered, "resume") == 0
    assert {example: label(data, steered, example) for example in moved} == kept
    assert {example: label(data, run, example) for example in moved} != kept
    assert control.status(data, steered).phase == "finished"
    assert verify(data, open_run(data, steered))[1] == []
    act(data, steered, "unpin", sorted(moved)[0])
    act(data, steered, "undo", "")
    state = current_state(data, open_run(data, steered))
    assert state is not None
    assert state.hand.pins == {opened.codec.index(example) for example in moved}
    assert verify(data, open_run(data, steered))[1] == []


def test_everything_pinned_ends_the_run_without_another_fit(data: Store) -> None:
    run = paused(data)
    for k in range(10):
        act(data, run, "pin", f"e{k}", label(data, run, f"e{k}"))
    before = len(data.read_after(run, kinds=("fold",)))
    assert work(data, run, "resume") == 0
    assert control.status(data, run).phase == "finished"
    assert len(data.read_after(run, kinds=("fold",))) == before
    assert verify(data, open_run(data, run)) == (3, [])


def retune(store: Store, run: str, **settings: float) -> None:
    store.send(run, "retune", f"retune-{settings}", body={"settings": settings})
    worker.main(["--db", str(store.path), run])


def test_other_settings_count_from_the_next_round(data: Store) -> None:
    run = paused(data, 2)  # the last round was not kept: the next one may change one group
    before = current_state(data, open_run(data, run))
    assert before is not None
    assert before.most == 1
    retune(data, run, alpha=9.0)
    now = current_state(data, open_run(data, run))
    assert now is not None
    assert now.evaluation.mutual_predictability == before.evaluation.mutual_predictability
    assert now.evaluation.utility == 9 * now.evaluation.mutual_predictability - now.evaluation.inconsistency
    assert now.most is None  # U is another, so it says nothing about larger changes
    assert work(data, run, "resume") == 0
    assert verify(data, open_run(data, run))[1] == []


def test_a_fold_fitted_before_other_settings_is_used_only_for_the_same_labels(
    data: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first fold of a round, alpha falls to nothing: other labels are tried, and both folds are fitted."""
    run, fitted = control.create_run(data, SPEC), list[int]()

    def tuner(choice: ModelChoice, objective: Objective, tuning: TuneSettings, back: Callable[[], bool]) -> Fitter:
        def meanwhile(taken: int) -> None:
            if taken == 1 + 10 * 3:  # the first step of the fourth fit: the second fold of round 2
                data.send(run, "pause", "pause")

        return SlowFitter(objective, back, meanwhile, fitted)

    monkeypatch.setattr(worker, "make_scorer", lambda choice: OtherScorer())
    monkeypatch.setattr(worker, "make_tuner", tuner)
    assert work(data, run) == 0
    (abandoned,) = data.read_after(run, rounds(data, run)[-1].number, ("fold",))
    retune(data, run, alpha=0.01)
    assert work(data, run, "step", 1) == 0
    after = data.read_after(run, abandoned.number, ("fold",))
    assert [event.fold["fold"] for event in after] == [1, 2]
    assert {event.fold["labels"] for event in after} != {abandoned.fold["labels"]}
    assert verify(data, open_run(data, run)) == (2, [])


def test_other_settings_that_change_no_proposal_waste_no_fit(data: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run, fitted = control.create_run(data, SPEC), list[int]()

    def tuner(choice: ModelChoice, objective: Objective, tuning: TuneSettings, back: Callable[[], bool]) -> Fitter:
        return SlowFitter(
            objective, back, lambda taken: data.send(run, "pause", "once") if taken == 31 else None, fitted
        )

    monkeypatch.setattr(worker, "make_scorer", lambda choice: OtherScorer())
    monkeypatch.setattr(worker, "make_tuner", tuner)
    assert work(data, run) == 0
    (begun,) = data.read_after(run, rounds(data, run)[-1].number, ("fold",))
    retune(data, run, initial_temperature=3.0)
    assert work(data, run, "step", 1) == 0
    after = data.read_after(run, begun.number, ("fold",))
    assert [(event.fold["fold"], event.fold["labels"]) for event in after] == [(2, begun.fold["labels"])]
    assert verify(data, open_run(data, run)) == (2, [])


# -- forks


def test_a_fork_goes_on_as_its_parent_did(data: Store, run: str) -> None:
    for event in rounds(data, run)[::2]:
        child = fork(data, run, event.number)
        assert work(data, child) == 0
        assert facts(data, child) == [
            (one.kind, json.dumps(one.body)) for one in data.read_after(run, event.number, FOLDED)
        ]
        assert verify(data, open_run(data, child))[1] == []


def test_a_fork_in_the_middle_of_a_round_begins_after_the_one_before(data: Store, run: str) -> None:
    at = first(data, run, "fold", 3).number
    child = fork(data, run, at)
    assert work(data, child) == 0
    assert [kind for kind, _ in facts(data, child)][:3] == ["fold", "fold", "round"]
    assert facts(data, child)[-2:] == facts(data, run)[-2:]


def test_a_fork_under_other_settings_may_change_everything_again(data: Store, run: str) -> None:
    end = rounds(data, run)[2]
    assert end.round["most"] == 1
    same, other = fork(data, run, end.number, {"max_steps": 20}), fork(data, run, end.number, {"alpha": 3.0})
    assert (data.event(same, 1).body.get("most"), data.event(other, 1).body.get("most")) == (1, None)
    for child in (same, other):
        assert work(data, child) == 0
        assert verify(data, open_run(data, child))[1] == []
    rewrite(data, same, data.event(same, 1), most=2)
    assert any("may change 2 groups" in problem for problem in verify(data, open_run(data, same))[1])


def test_the_influence_of_a_pin(data: Store) -> None:
    run = paused(data, 2)
    act(data, run, "pin", "e0", label(data, run, "e0"))
    assert work(data, run, "resume") == 0
    pair = influence_of_pin(data, run, "e0", 2)
    for child in pair:
        worker.main(["--db", str(data.path), child])
        assert verify(data, open_run(data, child))[1] == []
        assert rounds(data, child)
    with_pin, without = (current_state(data, open_run(data, child)) for child in pair)
    assert with_pin is not None
    assert without is not None
    assert (with_pin.hand.pins, without.hand.pins) == ({0}, frozenset())


# -- what a run with folds cannot be asked


def test_what_would_ask_by_prompts_is_refused(data: Store, run: str, capsys: pytest.CaptureFixture[str]) -> None:
    last = data.last_number(run)
    asked = {
        rescoring.rescore: {"run": run, "steps": 3},
        rescoring.score_landscape: {"run": run, "event": last, "labelings": {}, "zero_shot": True},
        rescoring.try_label: {"run": run, "event": last, "example": "e0", "label": other(label(data, run, "e0"))},
    }
    for perform, body in asked.items():
        with pytest.raises(SettingError, match=r"takes U from models tuned on folds.*use a run of the search"):
            perform(HeldJob(data, body), TableScorer(moody_belief))
    assert main(["verify", run, "--rescore", "3"]) == 1
    assert main(["what-if", run, "e0", "True"]) == 1
    assert capsys.readouterr().err.count("takes U from models tuned on folds") == 2
    assert data.db.execute("select count(*) from jobs").fetchone()[0] == 0  # no process was asked


def test_what_cannot_be_tuned_is_refused_at_once(data: Store) -> None:
    for model, said in (("http://127.0.0.1:1/v1", "a model behind a server"), ("trained:mine", "a model tuned here")):
        with pytest.raises(SettingError, match=f"{said} cannot be tuned fold by fold: name a whole model"):
            control.create_run(data, replace(SPEC, model=model))
    with pytest.raises(SettingError, match="5 groups of examples cannot fill 6 folds: use fewer folds"):
        control.create_run(data, replace(SPEC, source_options={"folds": 6}))
    with pytest.raises(SettingError, match="1 groups of examples cannot fill 2 folds"):
        batches.submit(data, replace(SPEC, limit=None), 2)
    assert data.run_names() == []


def test_a_batch_counts_what_its_folds_cost(data: Store, run: str) -> None:
    end = batches.end_of(data, run)
    assert end is not None
    spent = [Usage(**event.fold["usage"]) for event in data.read_after(run, kinds=("fold",))]
    assert (end.prompts, end.set_evaluations) == (sum(usage.prompts for usage in spent), 5)
    assert end.prompts == 10 + 5 * 10


def test_tuned_facts_of_a_fold_are_checked_as_far_as_a_log_can_tell(data: Store, run: str) -> None:
    """The same log, as of a model that was tuned: steps follow from the settings, and losses are numbers."""
    body, rows = {"tokens": 400, "first_loss": 0.5, "last_loss": 0.25, "steps": 10}, first(data, run, "fold", 1)
    for event in data.read_after(run, rounds(data, run)[0].number, ("fold",)):
        rewrite(data, run, event, **body)
    opened = open_run(data, run)
    tuned = replace(opened, spec=replace(opened.spec, model="sample"))
    assert verify(data, tuned) == (5, [])
    assert verify(data, opened)[1]  # the fake model is not tuned
    for name, value in {"steps": 11, "tokens": 0, "first_loss": None, "last_loss": -1.0}.items():
        rewrite(data, run, rows, **{**body, name: value})
        assert f"event {rows.number}: has another {name.replace('_', ' ')}" in verify(data, tuned)[1][0]
