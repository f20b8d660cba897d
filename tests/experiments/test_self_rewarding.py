"""The self-rewarding loop: its win rate, its judges, what it refuses, and a real one that goes on after it was cut."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from icm_engine import jobs
from icm_engine.analysis import tuned_models
from icm_engine.analysis.evaluation import truth_of
from icm_engine.analysis.tuned_models import loop_rounds, rounds_frame
from icm_engine.cli.main import main
from icm_engine.core.errors import RunError, SettingError
from icm_engine.core.labeling import Example, Task
from icm_engine.core.settings import ModelChoice
from icm_engine.core.training_rows import form_of
from icm_engine.data.answers import extract_answer
from icm_engine.data.gold import add_gold, gold_of
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.experiments import self_rewarding
from icm_engine.experiments.self_rewarding import Loop, LoopSettings, best_of, majority, win_rates
from icm_engine.jobs import JobSpec, deletion, finetuning, job_worker, policies, scheduler
from icm_engine.jobs.downstream_eval import DatasetPart
from icm_engine.jobs.finetuning import labels_sha256
from icm_engine.jobs.job_process import perform, run_in_process
from icm_engine.jobs.policies import PreferenceSettings, keep_responses
from icm_engine.runs import model_registry, worker
from icm_engine.store.events import Json
from icm_engine.store.replay import current_state, open_run
from icm_engine.store.store import Store
from tests.support.labelled_runs import CLAIMS, PAIRS, SAMPLE, add, capitals, claim, labelled, pair, stored_loop

SMALL = LoopSettings(rounds=2, prompts=3, samples=4, test_prompts=3, test_samples=4)
BRIEF = PreferenceSettings(steps=3, batch_size=4, rank=2)


def loop(store: Store, settings: LoopSettings = SMALL, name: str = "own", **changed: Any) -> Loop:
    """A loop on the six capitals, which are stored if they are not there."""
    if not store.has_dataset("capitals"):
        add(store, "capitals", replace(CLAIMS, rule="exactly-one"), capitals())
        add_gold(store, "capitals", {e.id: "True" if e.id.endswith("-0") else "False" for e in capitals()})
    return replace(Loop(name, "capitals", None, settings, BRIEF, SAMPLE), **changed)


def answered(store: Store, dataset: str, found: dict[str, list[str]]) -> str:
    """A finished job with these responses by prompt."""
    job = jobs.create(store, JobSpec(policies.RESPOND, {"dataset": dataset}, ModelChoice("fake")))
    body = {"model": "fake", "asked": list(found), "responses": list(found.values()), "cut": 1}
    store.append(job, "result", body)
    return job


# -- the win rate


def test_a_claim_labelled_true_beats_one_labelled_false(store: Store) -> None:
    add(store, "some", CLAIMS, (claim("a", "Q1", "x"), claim("b", "Q2", "x")))
    start = answered(store, "some", {"Q1": ["x", "y"], "Q2": ["v", "v"], "Q3": ["s", "s"]})
    now = answered(store, "some", {"Q1": ["x", "z"], "Q2": ["w", ""], "Q3": ["s", "s"]})
    made = keep_responses(store, start, "pool", "none", now)
    assert [e.fields["claim"] for e in made.examples] == ["x", "y", "z", "v", "w"]  # of Q3 nothing is to judge
    run = labelled(store, "pool", {"pool-0-0": "True", "pool-0-1": "False", "pool-1-0": "False"})
    # Q1: x ties with x and beats y; z is unlabelled, loses to x and beats y. Q2: w is unlabelled, beats v twice; an
    # empty response ties with a False one. Q3: all tie.
    assert win_rates(store, run, start, now) == {"Q1": (2.5 / 4, 1), "Q2": (3 / 4, 1), "Q3": (0.5, 1)}


def test_of_a_pair_the_preferred_response_wins_in_both_orders(store: Store) -> None:
    add(store, "numbers", PAIRS, (pair("p", "3", "4"),))
    start = answered(store, "numbers", {"Q1": ["1", "2", "5"], "Q2": ["8", "8"]})
    now = answered(store, "numbers", {"Q1": ["3", "2", "4"], "Q2": ["9", "7"]})
    made = keep_responses(store, start, "pool", beside=now)
    shown = [(e.fields["response_a"], e.fields["response_b"]) for e in made.examples if e.twin_of is None]
    assert shown == [("1", "3"), ("5", "4"), ("8", "9"), ("8", "7")]  # start against now; equal responses tie
    labels = {
        "pool-0-0": "False", "pool-0-0-swapped": "True",  # 3 is preferred over 1: now wins
        "pool-0-1-swapped": "False",  # 4 is not preferred over 5: now loses
        "pool-1-0": "True", "pool-1-0-swapped": "True",  # contradicting: a tie
    }  # fmt: skip
    run = labelled(store, "pool", labels)
    assert win_rates(store, run, start, now) == {"Q1": ((1 + 0.5 + 0) / 3, 1), "Q2": (0.5, 1)}


def test_the_round_with_the_highest_win_rate_is_kept_and_the_start_counts_one_half() -> None:
    assert best_of([]) == 0
    assert best_of([0.5, 0.4]) == 0
    assert best_of([0.6, 0.8, 0.8, 0.7]) == 2


# -- judges


def test_the_majority_is_of_answers_where_claims_have_them() -> None:
    examples = [
        Example(f"e{k}", {"question": "Q", "claim": text}, "Q", answer)
        for k, (text, answer) in enumerate([("It is 7.", "7"), ("3 + 4 = 7", "7"), ("It is 8.", "8")])
    ]
    said = ["It is 7.", "It is 8.", "3 + 4 = 7", "It is 8.", ""]
    first = {("Q", "It is 7."), ("Q", "3 + 4 = 7")}  # of equals
    assert majority(form_of(CLAIMS), examples, [{"asked": ["Q"], "responses": [said]}]) == first
    more = [{"asked": ["Q"], "responses": [said]}, {"asked": ["Q"], "responses": [["It is 8."]]}]
    assert majority(form_of(CLAIMS), examples, more) == {("Q", "It is 8.")}


def test_final_answers_are_read_where_the_data_has_any(store: Store) -> None:
    sums = Task("sums", CLAIMS.template, rule="same-answer", fields=("question", "claim"))
    asked = {"What is 3 + 4?": ["3 + 4 = 7. The answer is 7.", "The answer is 8."]}
    for name, answer in (("with", "7"), ("without", None)):
        example = Example("a", {"question": "What is 3 + 4?", "claim": "The answer is 7."}, "a", answer)
        add(store, name, sums, (example,))
        job = answered(store, name, asked)
        made = keep_responses(store, job, f"{name}-kept", "same-answer", read_answer=extract_answer)
        assert [e.answer for e in made.examples] == (["7", "8"] if answer else [None, None])


def test_a_response_is_right_by_the_answer_that_is_read_as_the_data_s_are(store: Store) -> None:
    """Equations have no mention of a final answer: their task read the last number."""
    sums = Task("sums", CLAIMS.template, rule="same-answer", fields=("question", "claim"))
    texts = {"a": ("3 + 4 = 7", "7"), "b": ("3 + 4 = 8", "8")}
    examples = tuple(
        Example(name, {"question": "What is 3 + 4?", "claim": text}, "a", answer)
        for name, (text, answer) in texts.items()
    )
    add(store, "equations", sums, examples)
    add_gold(store, "equations", {"a": "True", "b": "False"})
    job = answered(store, "equations", {"What is 3 + 4?": ["It makes 7", "3 + 4 = 9"]})
    found = jobs.result(store, job)
    assert found is not None
    assert truth_of(store, "equations", found) == {"What is 3 + 4?": [1.0, 0.0]}
    assert tuned_models.store_responses(store, job, "kept") == 2
    assert [e.answer for e in store.examples("kept")] == ["7", "9"]


# -- what cannot be asked


def test_what_a_loop_cannot_do_is_refused_before_anything_is_made(store: Store) -> None:
    for settings, message in (
        ({"samples": 1}, "a preference needs two responses"),
        ({"thought": -1}, "thought is -1: use 0 for none, or a number of tokens"),
        ({"judgements": 2, "judge": "majority"}, "compared by U, which judge majority does not raise: use judge icm"),
        ({"tune_judge": True, "judge": "golden"}, "judge golden has no model that could be tuned"),
        ({"tune_judge": True, "judge": "folds"}, "judge folds has no model that could be tuned"),
        ({"rounds": 0}, "rounds is 0: use a value above 0"),
        ({"judge": "nobody"}, "label source 'nobody' does not exist"),
        ({"prompts": 6}, "the data has 6 prompts, and the first 6 are passed over"),
    ):
        with pytest.raises(SettingError, match=message):
            self_rewarding.ask(store, loop(store, replace(SMALL, **settings)))
    for model, message in (
        ("fake", "the fake model cannot be trained"),
        ("http://x/v1", "behind a server cannot be trained"),
    ):
        with pytest.raises(SettingError, match=message):
            self_rewarding.ask(store, loop(store, model=ModelChoice(model)))
    add(store, "numbers", PAIRS, tuple(pair(str(k), "3", "4") for k in range(2)))
    with pytest.raises(SettingError, match="judge majority counts equal answers, and 'numbers' has pairs"):
        self_rewarding.ask(
            store, loop(store, replace(SMALL, judge="majority", prompts=1), dataset="numbers", test="numbers")
        )
    add(store, "unknown", CLAIMS, capitals())
    with pytest.raises(SettingError, match="data set 'unknown' has no True claim about"):
        self_rewarding.ask(store, loop(store, replace(SMALL, judge="golden"), dataset="unknown"))
    add(store, "own-test-2", CLAIMS, (claim("a", "Q", "x"),))
    with pytest.raises(SettingError, match="data set 'own-test-2' exists, and the loop would store another"):
        self_rewarding.ask(store, loop(store))
    assert jobs.names(store) == []
    job = self_rewarding.ask(store, loop(store, name="other"))
    assert Loop.of(jobs.spec(store, job)) == loop(store, name="other")
    assert self_rewarding.free_loop_name(store, "other") == "other-loop-1"
    assert loop_rounds(store, job) == []


# -- real ones


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and jobs of a loop are done in the test's own process."""

    def do(pool: scheduler.SharedWorkers, look: Callable[[], object]) -> None:
        look()
        scheduler.do_in_turn(
            pool.store,
            pool.names,
            lambda *told: None,
            lambda store, run: worker.run_in_process(store, run, idle=0.0),
            lambda store, name: run_in_process(store, name, job_worker.perform),
        )

    monkeypatch.setattr(scheduler, "work_off", do)


def done(store: Store, asked: Loop) -> Json:
    """Do a loop here, and return what it found."""
    return finished(store, self_rewarding.ask(store, asked))


def finished(store: Store, job: str) -> Json:
    store.append(job, "start", {})
    assert run_in_process(store, job, perform) == 0, jobs.status(store, job).message
    found = jobs.result(store, job)
    assert found is not None
    return found


@pytest.mark.model
def test_a_loop_trains_a_policy_on_what_icm_says_of_its_responses(store: Store, here: None) -> None:
    found = done(store, loop(store))
    assert (found["judge"], found["ended"]) == ("icm", self_rewarding.ROUNDS_DONE)
    assert [one["policy"] for one in found["rounds"]] == ["trained:own-1", "trained:own-2"]
    assert found["best"] == best_of([one["win_rate"] for one in found["rounds"]])
    facts = model_registry.model_facts(store, "own-2")
    assert (facts["continues"], facts["supervised"]) == ("own-1", False)
    assert [run["run"] for run in facts["runs"]] == [one["run"] for one in found["rounds"]]
    spec = store.spec(found["rounds"][1]["run"])
    assert (spec.dataset, spec.source, spec.model) == ("own-round-2", "icm", "sample")  # the start is the judge
    assert store.dataset_info("own-round-2").task.rule == "exclusive"
    drawn, held_out = (jobs.result(store, found["rounds"][1][name]) for name in ("responses", "held_out"))
    assert drawn is not None
    assert held_out is not None
    assert (drawn["model"], held_out["model"]) == ("trained:own-1", "trained:own-2")
    assert not {*drawn["asked"]} & {*held_out["asked"]}
    job = jobs.names(store, self_rewarding.KIND)[0]
    start, *rounds = loop_rounds(store, job)
    assert (start.number, start.win_rate.mean, start.pairs) == (0, 0.5, 0)
    assert all(one.true is not None and one.labels_right is not None for one in rounds)
    assert json.loads(json.dumps([one.to_json() for one in rounds]))[0]["policy"] == "trained:own-1"


META = replace(SMALL, judgements=2, tune_judge=True)


@pytest.mark.slow
@pytest.mark.model
def test_judgements_are_compared_by_u_and_the_judge_learns_the_better_one(store: Store, here: None) -> None:
    found = done(store, loop(store, META))
    first, second = found["rounds"]
    for number, one in enumerate((first, second), 1):
        runs, utilities = zip(*((made["run"], made["utility"]) for made in one["judgements"]), strict=True)
        assert len({store.spec(run).search.seed for run in runs}) == 2
        assert {store.spec(run).dataset for run in runs} == {f"own-round-{number}"}
        assert one["run"] == runs[utilities.index(max(utilities))]
        evaluated = [current_state(store, open_run(store, run).whole()) for run in runs]
        assert [state.evaluation.utility for state in evaluated if state] == [*utilities]
        assert store.spec(one["test_run"]).model == "sample"  # the win rate is always by the judge at the start
    assert "judge" not in first
    assert second["judge"] == "trained:own-judge-1"
    assert {store.spec(made["run"]).model for made in second["judgements"]} == {"trained:own-judge-1"}
    facts = model_registry.model_facts(store, "own-judge-1")
    assert ([run["run"] for run in facts["runs"]], facts["supervised"]) == ([first["run"]], False)
    _, *rounds = loop_rounds(store, jobs.names(store, self_rewarding.KIND)[0])
    for one in rounds:
        shares = {made.run: made.labels_right for made in one.judgements}
        assert len(shares) == 2
        assert one.run is not None
        assert shares[one.run] == one.labels_right is not None
    assert [one.judge for one in rounds] == [None, "trained:own-judge-1"]
    assert list(rounds_frame(rounds)["judge"])[1:] == ["trained:own-judge-1"]
    plain = [replace(one, judge=None, judgements=()) for one in rounds]
    assert not {"judge", "U of the judgements"} & {*rounds_frame(plain)}
    with pytest.raises(RunError, match="belongs to self-rewarding own: it stays"):
        deletion.delete(store, [first["run"]])


@pytest.mark.slow
@pytest.mark.model
def test_a_hidden_thought_is_trained_and_never_judged(store: Store, here: None) -> None:
    (one,) = done(store, loop(store, replace(SMALL, rounds=1, thought=6)))["rounds"]
    drawn, held_out = (jobs.result(store, one[name]) for name in ("responses", "held_out"))
    for found in (drawn, held_out):
        assert found is not None
        assert [*map(len, found["thoughts"])] == [*map(len, found["responses"])] == [4, 4, 4]
        assert found["sampling"]["thought"] == 6
    assert drawn is not None
    judged = {(e.fields["question"], e.fields["claim"]) for e in store.examples("own-round-1")}
    said = {
        (asked, text) for asked, some in zip(drawn["asked"], drawn["responses"], strict=True) for text in some if text
    }
    assert judged <= said  # responses alone
    form, made = policies.preferences(store, one["run"])
    rows = policies.with_thoughts(store, one["responses"], form, made).rows
    thoughts = {line for lines in drawn["thoughts"] for line in lines}
    for before, row in zip(made.rows, rows, strict=True):
        for side in ("chosen", "rejected"):
            thought, end, response = row[side].partition("\nClaim: ")
            assert (thought in thoughts, end, response) == (True, "\nClaim: ", before[side])
    facts = model_registry.model_facts(store, "own-1")
    assert (facts["thought"], facts["labels_sha256"]) == (6, labels_sha256(rows))
    card = (model_registry.folder(store, "own-1") / "README.md").read_text(encoding="utf-8")
    assert "It writes a thought first: `respond --thought 6`." in card


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (replace(SMALL, rounds=1), 7),  # responses, data set, run, tuning, held-out responses, data set, run
        (META, 2 * (7 + 1) + 1),  # a second run in each round; the judge is tuned once
    ],
)
def test_a_loop_that_was_cut_off_anywhere_comes_to_the_same_end(
    store: Store, here: None, settings: LoopSettings, expected: int
) -> None:
    """After each thing it makes, and before each is done: whoever continues makes nothing twice."""
    whole = done(store, loop(store, settings, "whole"))
    job, cuts = self_rewarding.ask(store, loop(store, settings, "cut")), 0

    class Cut(BaseException):
        pass

    made, most = self_rewarding._Driven.made, 1

    def cutting(self: Any, what: str, make: Callable[[], str]) -> str:
        nonlocal most
        before = len(self.job.kept())
        name = made(self, what, make)
        if len(self.job.kept()) > before and before >= most:
            most = before + 1
            raise Cut
        return name

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(self_rewarding._Driven, "made", cutting)
        while True:
            store.append(job, "start", {})
            try:
                assert run_in_process(store, job, perform) == 0
                break
            except Cut:
                cuts += 1
    assert cuts == expected
    found = jobs.result(store, job)
    assert found is not None
    assert told(found) == told(whole)
    assert len(jobs.names(store, policies.RESPOND)) == 2 * (1 + 2 * settings.rounds)
    assert len(jobs.names(store, policies.PREFER)) == 2 * settings.rounds
    assert len(jobs.names(store, finetuning.KIND)) == 2 * settings.tune_judge


def told(found: Json) -> list[Any]:
    """What a loop found, without names."""
    names = ("pairs", "win_rate", "low", "high", "distinct", "cut")
    return [found["best"], found["ended"], *([one[name] for name in names] for one in found["rounds"])]


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize("judge", ["golden", "majority", "self-ranked"])
def test_other_judges_label_in_its_place(store: Store, here: None, judge: str) -> None:
    found = done(store, loop(store, replace(SMALL, rounds=1, judge=judge)))
    (one,) = found["rounds"]
    spec = store.spec(one["run"])
    assert (spec.source, spec.supervised) == ("self-ranked" if judge == "self-ranked" else "given", judge == "golden")
    assert model_registry.model_facts(store, "own-1")["supervised"] is (judge == "golden")
    (_, told) = loop_rounds(store, jobs.names(store, self_rewarding.KIND)[0])
    assert judge != "golden" or told.labels_right == 1.0


@pytest.mark.slow
@pytest.mark.model
def test_a_loop_is_the_same_without_the_gold_it_had(store: Store, here: None) -> None:
    ensure_sample_dataset(store, "facts")
    gold = gold_of(store, "facts", [e.id for e in store.examples("facts")])
    found, shares = list[Any](), list[Any]()
    for name, labels in (("true", gold), ("turned", {i: "False" if y == "True" else "True" for i, y in gold.items()})):
        add_gold(store, "facts", labels)
        found.append(told(done(store, loop(store, replace(SMALL, rounds=1), name, dataset="facts"))))
        shares.append(loop_rounds(store, jobs.names(store, self_rewarding.KIND)[0])[0].true)
    assert found[0] == found[1]
    assert shares[0] != shares[1]  # so gold was read, where it may be


@pytest.mark.model
def test_a_loop_with_nothing_to_prefer_ends_and_says_why(
    store: Store, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a policy has collapsed to one response."""
    monkeypatch.setattr("icm_engine.training.policies.sample", alike)
    found = done(store, loop(store))
    assert (found["rounds"], found["best"], found["policy"]) == ([], 0, None)
    assert "nothing left to prefer (job" in found["ended"]
    assert "no prompt with two different responses" in found["ended"]


@pytest.mark.model
def test_a_judge_that_cannot_label_is_an_error_and_no_end(
    store: Store, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*unused: object) -> str:
        raise SettingError("this judge cannot label them")

    job = self_rewarding.ask(store, loop(store))
    monkeypatch.setattr("icm_engine.runs.control.create_run", refusing)
    store.append(job, "start", {})
    assert run_in_process(store, job, perform) == 1
    assert (jobs.status(store, job).phase, jobs.status(store, job).message) == (
        "failed",
        "this judge cannot label them",
    )


def alike(loaded: Any, form: Any, asked: Sequence[str], how: policies.Sampling, *unused: Any) -> list[list[Any]]:
    """The same response to every prompt."""
    from icm_engine.baselines.generation import Generated

    return [[Generated("It is so.", 4, True) for _ in range(how.samples)] for _ in asked]


@pytest.mark.slow
@pytest.mark.model
def test_responses_that_are_all_those_of_the_start_tie(
    store: Store, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from icm_engine.training.policies import sample

    held_out = replace(SMALL, rounds=1, test_samples=3)
    monkeypatch.setattr(
        "icm_engine.training.policies.sample", lambda *given: (alike if given[3].samples == 3 else sample)(*given)
    )
    (one,) = done(store, loop(store, held_out))["rounds"]
    assert (one["win_rate"], one["low"], one["high"], one["test_run"]) == (0.5, 0.5, 0.5, None)
    assert (one["distinct"], one["pairs"] > 0) == (1 / 3, True)


def test_rounds_that_are_no_better_end_the_loop(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {1: 0.6, 2: 0.5, 3: 0.6}
    monkeypatch.setattr(self_rewarding._Driven, "round", lambda self, number: {"win_rate": rates[number]})
    monkeypatch.setattr(self_rewarding._Driven, "start", lambda self: {"win_rate": 0.5})
    found = done(store, loop(store, replace(SMALL, rounds=4, patience=2)))
    assert ([one["win_rate"] for one in found["rounds"]], found["best"]) == ([0.6, 0.5, 0.6], 1)
    assert (found["policy"], found["ended"]) == ("trained:own-1", self_rewarding.NO_BETTER)


@pytest.mark.slow
@pytest.mark.model
def test_the_command_tells_of_each_round(
    store: Store, here: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loop(store)
    monkeypatch.setattr(jobs, "start", lambda s, job: finished(s, job))
    small = ["--rounds", "1", "--prompts", "3", "--samples", "4", "--test-prompts", "3", "--test-samples", "4"]
    asked = [
        "self-reward",
        "capitals",
        *small,
        "--steps",
        "3",
        "--rank",
        "2",
        "--quantization",
        "none",
        "--dtype",
        "float32",
    ]
    assert main([*asked, "--db", str(store.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["round 0", "round 1"]
    assert lines[2].startswith("all rounds done; kept: ")
    assert main([*asked, "--name", "capitals-loop-1", "--json", "--db", str(store.path)]) == 1
    assert (
        "self-rewarding.1 has the name 'capitals-loop-1' and is done: use another name (--name)"
        in capsys.readouterr().err
    )


def test_held_out_prompts_are_the_next_ones_or_another_data_set(store: Store) -> None:
    asked = loop(store)
    assert (asked.source(False), asked.source(True)) == (("capitals", 0, 3), ("capitals", 3, 3))
    assert replace(asked, test="others").source(True) == ("others", 0, 3)
    _, first = policies.prompts_of(store, [DatasetPart("capitals").to_json()], 3)
    _, then = policies.prompts_of(store, [DatasetPart("capitals").to_json()], 3, 3)
    assert len({*first, *then}) == 6


def test_what_speaks_against_the_kept_policy_is_said(store: Store) -> None:
    rounds = tuned_models.loop_rounds(store, stored_loop(store))
    good = replace(rounds[1], win_rate=replace(rounds[1].win_rate, low=0.51))
    start = replace(rounds[0], distinct=0.8, cut=0.1)

    def notes(**changed: Any) -> list[str]:
        return tuned_models.loop_notes([start, replace(good, **{"distinct": 0.41, "cut": 0.2, **changed})], 1)

    last = "Read some of its responses before it is used."
    assert notes() == tuned_models.loop_notes([start, good], 0) == []
    assert notes(cut=0.75) == ["75% of its responses reached the maximum length, 10% of the start's.", last]
    assert notes(distinct=0.4) == [
        "Its responses to a prompt are less varied: 40% are different, 80% of the start's.", last,
    ]  # fmt: skip
    assert notes(win_rate=replace(good.win_rate, mean=0.75, low=0.5, high=0.85)) == [
        "A win rate of 75% [50%, 85%] does not show that it is better than the start.", last,
    ]  # fmt: skip
