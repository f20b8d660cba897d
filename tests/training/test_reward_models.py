"""Reward models: whom they prefer, by hand; and real ones of the sample model, trained for a few steps."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from icm_engine import jobs
from icm_engine.analysis import tuned_models
from icm_engine.analysis.evaluation import accuracy, agreement_with_gold, right_pairs, share, truth_of, wins
from icm_engine.cli.main import main
from icm_engine.core.errors import ModelNotUsable, NotFound, SettingError
from icm_engine.core.labeling import Example, Task
from icm_engine.core.prompting import render
from icm_engine.core.settings import ModelChoice
from icm_engine.core.training_rows import (
    CONTRADICTING,
    IDENTICAL,
    TIED,
    UNLABELLED,
    form_of,
    judged_examples,
    ranked_rows,
)
from icm_engine.data.gold import add_gold
from icm_engine.jobs import JobSpec, job_worker, policies
from icm_engine.jobs.downstream_eval import DatasetPart
from icm_engine.jobs.job_process import run_in_process
from icm_engine.jobs.policies import RewardSettings, settings_from
from icm_engine.runs import model_registry
from icm_engine.store.events import Json
from icm_engine.store.store import Store
from tests.support.finetunings import done
from tests.support.labelled_runs import CAPITALS, CLAIMS, PAIRS, add, capitals_run, claim, labelled, pair
from tests.support.paths import ROOT

SHORT = RewardSettings(steps=4, batch_size=4, rank=2)


# -- a response by itself


def test_a_response_stands_in_the_template_s_own_words() -> None:
    form = form_of(PAIRS)
    assert form.prompt("Which number is larger?") == "Query: Which number is larger?\nResponse A:"
    assert (form.lead, form.after, form.answered) == (" ", "\nResponse B: ", ("response_a", "response_b"))
    example = pair("p", "3", "4")
    whole = form.prompt(form.asked(example)) + form.lead + form.responses(example)[0] + form.after
    assert render(PAIRS, example).startswith(whole)
    assert form.ends_with_a_line


def test_a_template_without_a_query_has_a_prompt_of_fixed_words() -> None:
    form = form_of(Task("author", "Post A: {response_a}\nPost B: {response_b}\nA was written by"))
    assert (form.prompt(""), form.asking) == ("Post A:", "")


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Task("texts", "{text} is"), "has fields text and 2 labels"),
        (Task("three", CLAIMS.template, ("True", "False", "Unknown")), "and 3 labels"),
        (Task("more", "{topic}: {query}\n{response_a}\n{response_b} is"), "shows more than query before {response_a}"),
        (Task("hidden", "{question} is", fields=("question", "claim")), "before {claim}"),
    ],
)
def test_a_task_without_responses_is_refused(task: Task, said: str) -> None:
    with pytest.raises(SettingError) as refused:
        form_of(task)
    assert said in str(refused.value)


# -- rewards as labels, by hand


def test_the_higher_reward_is_chosen_and_ties_are_left_out() -> None:
    pairs = [pair("p", "3", "4"), pair("q", "9", "2"), pair("r", "5", "6"), pair("s", "7", "7")]
    made = ranked_rows(form_of(PAIRS), zip(pairs, [(0.1, 0.2), (1.0, -1.0), (0.5, 0.5), (2.0, 1.0)], strict=True))
    assert [(row["chosen"], row["rejected"]) for row in made.rows] == [("4", "3"), ("9", "2")]
    assert made.left_out == {TIED: 1, IDENTICAL: 1}
    assert made.rows[0]["prompt"] == "Which number is larger?"


def test_of_claims_the_best_stands_against_the_worst() -> None:
    claims = [claim("a", "Q1", "x"), claim("b", "Q1", "y"), claim("c", "Q1", "z"), claim("d", "Q2", "only")]
    made = ranked_rows(form_of(CLAIMS), zip(claims, [(0.2,), (0.9,), (-0.3,), (5.0,)], strict=True))
    assert made.rows == ({"prompt": "Q1", "chosen": "y", "rejected": "z"},)


def test_a_twin_is_no_judgement_of_its_own() -> None:
    assert [one.id for one in judged_examples([pair("p", "3", "4"), pair("t", "4", "3", "p")])] == ["p"]


# -- rewards beside gold, by hand


def test_pairs_are_right_where_the_higher_reward_is_gold_s() -> None:
    judged = [
        (pair("p", "3", "4"), "False", (0.1, 0.2)),  # b is better and has more: right
        (pair("q", "9", "2"), "True", (-1.0, 1.0)),  # wrong
        (pair("r", "8", "1"), "True", (0.5, 0.5)),  # equal: half
    ]
    assert right_pairs(PAIRS, judged) == {"p": (1.0, 1), "q": (0.0, 1), "r": (0.5, 1)}


def test_each_true_claim_stands_against_each_false_one() -> None:
    judged = [
        (claim("a", "Q1", "x"), "True", (0.9,)),
        (claim("b", "Q1", "y"), "True", (0.1,)),
        (claim("c", "Q1", "z"), "False", (0.5,)),  # above b, below a: one of two
        (claim("d", "Q2", "w"), "True", (3.0,)),  # no False beside it
    ]
    assert right_pairs(CLAIMS, judged) == {"Q1": (1.0, 2)}


def test_a_win_rate_counts_all_pairs_of_responses_and_ties_half() -> None:
    one, other = {"Q": [1.0, 0.0]}, {"Q": [0.0, 0.5]}
    # 1 beats 0 and 0.5; 0 ties 0 and loses to 0.5: (1 + 1 + 0.5 + 0) / 4
    assert wins(one, other) == {"Q": (0.625, 1)}
    assert wins(other, one) == {"Q": (0.375, 1)}
    assert wins(one, one) == {"Q": (0.5, 1)}
    assert share(one) == {"Q": (0.5, 1)}
    with pytest.raises(ValueError, match="different prompts"):
        wins(one, {"R": [1.0]})


def test_truth_is_what_gold_spells_out(store: Store) -> None:
    add(store, "two", CLAIMS, (claim("a", "Q1", "It is x."), claim("b", "Q1", "It is y."), claim("c", "Q2", "no")))
    add_gold(store, "two", {"a": "True", "b": "False", "c": "False"})
    found: Json = {"asked": ["Q1"], "responses": [["It is x.", "It is y.", "It is z.", ""]]}
    assert truth_of(store, "two", found) == {"Q1": [1.0, 0.0, 0.0, 0.0]}
    with pytest.raises(SettingError, match="no True claim about 'Q2'"):
        truth_of(store, "two", {"asked": ["Q2"], "responses": [["no"]]})


# -- what can be asked


def test_what_cannot_be_trained_is_refused_at_once(store: Store) -> None:
    run = capitals_run(store)
    add(store, "numbers", PAIRS, (pair("p", "3", "4"),))
    with pytest.raises(SettingError, match="has another template"):
        policies.create(store, run, SHORT, rest=[DatasetPart("numbers")])
    add(store, "moods", Task("moods", "{text} is", ("good", "bad"), "good"), (Example("a", {"text": "x"}, "a"),))
    with pytest.raises(SettingError, match="rewards and policies need two labels, and pairs of responses or questions"):
        policies.create(store, run, SHORT, test=[DatasetPart("moods")])
    with pytest.raises(SettingError, match="no setting 'epochs' here: use learning_rate"):
        settings_from(RewardSettings, {"epochs": 3})
    with pytest.raises(SettingError, match="steps is 0: use a value above 0"):
        settings_from(RewardSettings, {"steps": "0"})
    with pytest.raises(SettingError, match="rank is 'two': use a whole number"):
        settings_from(RewardSettings, {"rank": "two"})
    first = policies.create(store, run, SHORT, name="mine")
    assert jobs.spec(store, first).body["rest"] == [{"dataset": "capitals", "start": 8}]
    with pytest.raises(SettingError, match="'mine' is taken"):
        policies.create(store, run, SHORT, name="mine")
    with pytest.raises(NotFound):
        policies.create(store, "nothing-1", SHORT)


def test_contradictions_and_what_is_unlabelled_are_left_out_and_counted(store: Store) -> None:
    twins = [pair(n, a, b) for n, a, b in (("p", "3", "4"), ("q", "9", "2"), ("r", "5", "6"))]
    swapped = [pair(f"{e.id}2", e.fields["response_b"], e.fields["response_a"], e.id) for e in twins]
    both = tuple(e for pair_of in zip(twins, swapped, strict=True) for e in pair_of)
    add(store, "numbers", PAIRS, both)
    run = labelled(store, "numbers", {"p": "False", "p2": "True", "q": "True", "q2": "True"})
    _, made = policies.preferences(store, run)
    assert [(row["chosen"], row["rejected"]) for row in made.rows] == [("4", "3")]
    assert made.left_out == {UNLABELLED: 1, CONTRADICTING: 1, IDENTICAL: 0}


def test_data_of_another_task_and_sampled_responses_are_off_distribution(store: Store) -> None:
    run = capitals_run(store)
    add(store, "more", CLAIMS, (claim("a", "Q", "x"),))
    add(store, "sums", replace(CLAIMS, name="sums"), (claim("a", "1 + 1?", "2"),))
    add(store, "numbers", PAIRS, (pair("p", "3", "4"),))
    job = jobs.create(store, JobSpec(policies.RESPOND, {"dataset": "more"}, ModelChoice("fake")))
    store.append(job, "result", {"model": "trained:p", "asked": ["Q"], "responses": [["x", "y"]]})
    policies.keep_responses(store, job, "drawn")
    names = ["capitals", "more", "sums", "numbers", "drawn"]
    assert policies.off_distribution(store, run, names) == ["sums", "numbers", "drawn"]


def test_each_test_data_set_has_its_accuracy(store: Store) -> None:
    add(store, "claims", CLAIMS, (claim("a", "Q1", "x"), claim("b", "Q1", "y")))
    add(store, "numbers", PAIRS, (pair("p", "3", "4"), pair("q", "9", "2")))
    add(store, "silent", CLAIMS, (claim("a", "Q1", "x"),))
    add_gold(store, "claims", {"a": "True", "b": "False"})
    add_gold(store, "numbers", {"p": "False", "q": "True"})
    given = [("claims", "a", [1.0]), ("claims", "b", [0.0]), ("numbers", "p", [1.0, 0.0]), ("numbers", "q", [1.0, 0.0])]
    rows = [{"dataset": name, "example": example, "rewards": rewards} for name, example, rewards in given]
    silent = {"dataset": "silent", "example": "a", "rewards": [0.5]}
    facts: Json = {"name": "r", "test": {"first": [*rows, silent]}, "off_distribution": ["numbers"]}
    one, two, three = tuned_models.reward_tests(store, facts)
    assert one.to_json() == {
        "dataset": "claims", "off_distribution": False, "accuracy_first": 1.0, "interval_first": [0.0, 1.0],
    }  # fmt: skip
    assert (two.dataset, two.off_distribution, two.to_json()["accuracy_first"]) == ("numbers", True, 0.5)
    assert "data set 'silent', a test of 'r', has no gold" in str(three.right["first"])
    assert three.to_json() == {"dataset": "silent", "off_distribution": False}
    assert accuracy(store, [facts], "first").mean == pytest.approx(2 / 3)  # over all of them, as ever
    shown = tuned_models.reward_tests_frame([one, two, three])
    assert shown["off distribution"].tolist() == ["no", "yes"]
    old = {key: value for key, value in facts.items() if key != "off_distribution"}
    assert [test.off_distribution for test in tuned_models.reward_tests(store, old)] == [False] * 3


# -- real ones


@pytest.fixture
def tested(store: Store) -> str:
    """A run whose rest and test part have gold."""
    run = capitals_run(store)
    examples = list(store.examples("capitals"))
    add_gold(store, "capitals", {e.id: "True" if e.id.endswith("-0") else "False" for e in examples})
    return run


def made(store: Store, run: str, name: str, **changed: Any) -> Json:
    job = policies.create(store, run, SHORT, name=name, test=[DatasetPart("capitals", 8)], **changed)
    return done(store, job)


@pytest.mark.model
def test_the_first_labels_the_rest_and_the_final_learns_from_both(store: Store, tested: str) -> None:
    facts = made(store, tested, "two-stages")
    assert facts["stages"]["first"]["rows"] == 4
    assert facts["stages"]["first"]["first_loss"] == pytest.approx(0.693, abs=0.1)  # nothing is preferred yet
    assert facts["stages"]["first"]["last_loss"] < facts["stages"]["first"]["first_loss"]
    assert (facts["rest"]["examples"], facts["rest"]["rows"], facts["rows"]) == (4, 2, 6)
    for row in facts["rest"]["rewards"]:
        assert row["dataset"] == "capitals"
        assert len(row["rewards"]) == 1
    assert [row["example"] for row in facts["test"]["final"]] == ["Ghana-0", "Ghana-1", "Japan-0", "Japan-1"]
    by_hand = {row["example"]: row["rewards"][0] for row in facts["test"]["final"]}
    right = agreement_with_gold(store, facts, "final")
    for land in ("Ghana", "Japan"):
        higher = float(by_hand[f"{land}-0"] > by_hand[f"{land}-1"])
        assert right[f"capitals What is the capital of {land}?"] == (higher, 1)
    assert accuracy(store, [facts], "final").mean == sum(s for s, _ in right.values()) / 2
    folder = model_registry.folder(store, "two-stages")
    assert (folder / "adapter_model.safetensors").is_file()
    assert (folder / "first" / "adapter_model.safetensors").is_file()
    card = (folder / "README.md").read_text(encoding="utf-8")
    learned = "from 6 preferences (Internal Coherence Maximization), 2 of them labelled by a first reward model."
    assert f"A reward model on `sample`, {learned}" in card
    assert "reinforce two-stages" in card
    assert not model_registry.workplace(store, "two-stages").exists()


@pytest.mark.slow
@pytest.mark.model
def test_a_saved_reward_model_gives_the_rewards_it_gave(store: Store, tested: str) -> None:
    from icm_engine.models.loading import load
    from icm_engine.training.reward_model import RewardReader, example_rewards, load_rewards

    facts = made(store, tested, "one", rest=[])
    assert facts["rest"] == {"examples": 0, "rows": 0}
    assert list(facts["test"]) == ["first"]
    loaded = load(ModelChoice("sample", "none", "float32", "cpu"))
    form = form_of(CLAIMS)
    reader, model = RewardReader(loaded, form), load_rewards(loaded, model_registry.folder(store, "one"))
    examples = [e for e in store.examples("capitals") if e.id[:5] in ("Ghana", "Japan")]
    again = example_rewards(model, reader, examples)
    assert again == [pytest.approx(row["rewards"], abs=1e-5) for row in facts["test"]["first"]]
    with pytest.raises(ModelNotUsable, match="is a reward model, which predicts no next token"):
        load(ModelChoice(str(model_registry.folder(store, "one")), "none", "float32", "cpu"))


KILLED = """
import os, signal, sys
from pathlib import Path
from icm_engine.jobs import job_worker
from icm_engine.jobs.job_process import run_in_process
from icm_engine.store.store import Store
from icm_engine.training import trainers

own, taken = trainers.JobCallback.on_step_end, []

def killing(self, args, state, control, **more):
    own(self, args, state, control, **more)
    taken.append(state.global_step)
    if len(taken) == 7:
        os.kill(os.getpid(), signal.SIGKILL)

trainers.JobCallback.on_step_end = killing
with Store(Path(sys.argv[1])) as store:
    store.append(sys.argv[2], "start", {})
    run_in_process(store, sys.argv[2], job_worker.perform)
"""


@pytest.mark.slow
@pytest.mark.model
def test_a_killed_reward_model_goes_on_from_its_last_checkpoint(
    store: Store, tested: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL in the final stage, after its third step and before that is saved."""
    from icm_engine.training import trainers

    whole = made(store, tested, "whole")
    job = policies.create(store, tested, SHORT, name="killed", test=[DatasetPart("capitals", 8)])
    ended = subprocess.run([sys.executable, "-c", KILLED, str(store.path), job], cwd=ROOT, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    own, steps = trainers.JobCallback.on_step_end, list[int]()

    def recording(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        own(self, args, state, control, **more)
        steps.append(state.global_step)

    monkeypatch.setattr(trainers.JobCallback, "on_step_end", recording)
    facts = done(store, job)
    assert steps == [3, 4]  # the first stage is not trained again, the third step is taken once more
    assert facts["resumed_from"] == 2
    assert facts["labels_sha256"] == whole["labels_sha256"]
    for stage in ("first", "final"):
        for one, other in zip(facts["test"][stage], whole["test"][stage], strict=True):
            assert one["rewards"] == pytest.approx(other["rewards"], abs=1e-4)


@pytest.mark.model
def test_labels_that_change_under_a_reward_model_are_refused(store: Store, tested: str) -> None:
    job = policies.create(store, tested, SHORT)
    store.append(job, "part", {"labels_sha256": "of other labels"})
    store.append(job, "start", {})
    assert run_in_process(store, job, job_worker.perform) == 1
    assert "have changed since it began: request it again" in jobs.status(store, job).message


@pytest.mark.model
def test_a_reward_model_reads_the_tokens_of_the_search(store: Store) -> None:
    from icm_engine.core.labeling import Labeling
    from icm_engine.core.prompting import query_prompt
    from icm_engine.models.loading import load
    from icm_engine.models.transformers_scorer import TransformersScorer
    from icm_engine.training.reward_model import RewardReader

    loaded = load(ModelChoice("sample", "none", "float32", "cpu"))
    for task, example in (
        (PAIRS, pair("p", "23", "4")),
        (CLAIMS, claim("c", "What is the capital of Peru?", "It is Lima.")),
    ):
        form = form_of(task)
        reader = RewardReader(loaded, form)
        read = reader.whole(form.asked(example), form.responses(example)[0])
        segments = TransformersScorer(loaded, "full-prompts").segments(query_prompt(task, [example], Labeling(), 0))
        searched = [token for segment in segments for token in segment]
        assert searched[: len(read)] == read
        last = loaded.tokenizer.decode(read[-1:])
        assert "\n" in last
        assert "\n" not in loaded.tokenizer.decode(read[len(reader.prompt(form.asked(example))) : -1])


@pytest.mark.slow
@pytest.mark.model
def test_the_command_says_how_good_it_is(
    store: Store, tested: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jobs, "start", lambda s, job: done(s, job))
    add(store, "capitals_of_others", CLAIMS, tuple(store.examples("capitals"))[8:])
    add_gold(store, "capitals_of_others", {"Ghana-0": "True", "Ghana-1": "False"})
    add(store, "numbers", PAIRS, (pair("p", "3", "4"), pair("q", "9", "2")))
    add_gold(store, "numbers", {"p": "False", "q": "True"})
    asked = ["reward", tested, "--no-rest", "--test", "capitals_of_others", "numbers", "--steps", "2", "--rank", "2"]
    assert main([*asked, "--json", "--db", str(store.path)]) == 0
    told = json.loads(capsys.readouterr().out)
    near, far = told["tests"]
    assert [near["dataset"], near["off_distribution"]] == ["capitals_of_others", False]
    assert [far["dataset"], far["off_distribution"]] == ["numbers", True]
    assert far["accuracy_first"] in (0.0, 0.5, 1.0)
    assert told["accuracy_first"] == pytest.approx((near["accuracy_first"] + 2 * far["accuracy_first"]) / 3)
    card = (model_registry.folder(store, told["reward"]) / "README.md").read_text(encoding="utf-8")
    assert "| numbers | `2 examples, off distribution` |" in card
    assert told["reward"] == f"{tested}-reward"
    assert (told["pairs"], told["rest_labelled"], near["accuracy_first"] in (0.0, 0.5, 1.0)) == (4, 0, True)


def test_capitals_are_in_the_sample_model_s_world() -> None:
    from sample_data.make.claims import CAPITALS as KNOWN

    assert set(CAPITALS.items()) <= set(KNOWN.items())
    assert isinstance(claim("a", "b", "c"), Example)
