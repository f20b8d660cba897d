"""Policies: what can be asked, candidates for a judge, and real ones of the sample model after a few steps."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from icm_engine import jobs
from icm_engine.cli.main import main
from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.labeling import Task
from icm_engine.core.settings import ModelChoice
from icm_engine.core.training_rows import TrainingSet, form_of, preference_rows, preferences_of
from icm_engine.jobs import JobSpec, job_worker, policies
from icm_engine.jobs.downstream_eval import DatasetPart
from icm_engine.jobs.job_process import run_in_process
from icm_engine.jobs.policies import PreferenceSettings, ReinforceSettings, RewardSettings, Sampling
from icm_engine.runs import model_registry
from icm_engine.runs.fetched_models import APACHE, FETCHABLE, Fetchable
from icm_engine.store.events import Json
from icm_engine.store.store import Store
from tests.support.finetunings import done
from tests.support.gguf_files import gemma3, write
from tests.support.labelled_runs import CLAIMS, PAIRS, SAMPLE, add, capitals, capitals_run, claim, pair
from tests.support.paths import ROOT


def answered(store: Store, dataset: str, asked: list[str], responses: list[list[str]]) -> str:
    """A finished job with these responses."""
    job = jobs.create(store, JobSpec(policies.RESPOND, {"dataset": dataset}, ModelChoice("fake")))
    store.append(job, "result", {"model": "fake", "asked": asked, "responses": responses})
    return job


# -- what can be asked


def test_what_cannot_be_asked_of_a_policy_is_refused_at_once(store: Store) -> None:
    run = capitals_run(store)
    add(store, "same_line", Task("same", "{question}: {claim} is", fields=("question", "claim")), capitals())
    with pytest.raises(SettingError, match="samples is 0: use a value above 0"):
        Sampling(samples=0)
    with pytest.raises(SettingError, match=r"continues on the line of the response \(' is'\)"):
        policies.ask_responses(store, SAMPLE, [DatasetPart("same_line")], Sampling())
    with pytest.raises(SettingError, match="no data set is named"):
        policies.ask_responses(store, SAMPLE, [], Sampling())
    with pytest.raises(SettingError, match="the fake model cannot be trained"):
        policies.ask_preference_tuning(store, run, PreferenceSettings(), model=ModelChoice("fake"))
    with pytest.raises(SettingError, match="a model behind a server cannot be sampled here: name one on this machine"):
        policies.ask_responses(store, ModelChoice("http://x/v1"), [DatasetPart("capitals")], Sampling())
    with pytest.raises(NotFound, match="no model named 'mine' was trained"):
        policies.ask_reinforcement(store, "mine", [DatasetPart("capitals")], ReinforceSettings())
    model_registry.put(store, "tuned", lambda place: None, {"name": "tuned", "kind": "finetune"})
    with pytest.raises(SettingError, match="'tuned' is not a reward model, but comes from finetune"):
        policies.ask_reinforcement(store, "tuned", [DatasetPart("capitals")], ReinforceSettings())


def test_prompts_are_the_distinct_questions_in_order(store: Store) -> None:
    add(store, "some", CLAIMS, (claim("a", "Q1", "x"), claim("b", "Q2", "x"), claim("c", "Q1", "y")))
    form, asked = policies.prompts_of(store, [{"dataset": "some", "start": 0}], None)
    assert (asked, form) == (["Q1", "Q2"], form_of(CLAIMS))
    assert policies.prompts_of(store, [{"dataset": "some", "start": 1}], 1)[1] == ["Q2"]
    with pytest.raises(SettingError, match="no prompt to respond to"):
        policies.prompts_of(store, [{"dataset": "some", "start": 3}], None)


# -- what a reinforcement is checked on, and when it ends


def test_some_prompts_are_held_out_for_the_checks(store: Store) -> None:
    claims = tuple(claim(f"c{k}", f"Q{k}", "x") for k in range(12))
    add(store, "some", CLAIMS, claims)
    add(store, "others", CLAIMS, (claim("a", "Q3", "x"), claim("b", "R", "y")))
    body = {"parts": [{"dataset": "some", "start": 0}], "most": None}
    prompts = policies.checked_prompts(store, body, 8)
    assert prompts.checked == ["Q0", "Q4", "Q8"]  # one in four, at equal distances
    assert prompts.asked == [f"Q{k}" for k in range(12) if k % 4]
    assert policies.checked_prompts(store, body, 2).checked == ["Q0", "Q6"]
    assert policies.checked_prompts(store, {**body, "most": 2}, 8).checked == ["Q0"]
    alone = policies.checked_prompts(store, {**body, "most": 1}, 8)
    assert (alone.asked, alone.checked, alone.shared) == (["Q0"], ["Q0"], 1)
    named = policies.checked_prompts(store, {**body, "test": [{"dataset": "others", "start": 0}]}, 8)
    assert (len(named.asked), named.checked, named.shared) == (12, ["Q3", "R"], 1)


def checks(*found: tuple[float, float]) -> list[Json]:
    """Checks with these judged rewards and shares of distinct responses."""
    return [{"step": k, "judged": judged, "distinct": distinct} for k, (judged, distinct) in enumerate(found)]


def test_a_policy_has_collapsed_where_it_lost_its_variety_for_nothing() -> None:
    assert policies.has_collapsed(checks((0.0, 0.8), (1.0, 0.6), (0.5, 0.39)))
    assert not policies.has_collapsed(checks((0.0, 0.8), (1.0, 0.6), (0.5, 0.4)))  # half of the variety is left
    assert not policies.has_collapsed(checks((0.0, 0.8), (1.0, 0.6), (0.9, 0.1)))  # it found the right answers
    assert policies.has_collapsed(checks((0.0, 0.8), (-1.0, 0.1)))  # nothing was ever gained
    assert not policies.has_collapsed(checks((0.0, 0.8), (0.1, 0.1)))
    assert policies.why_ended(checks((0.0, 0.8), (0.0, 0.1)), done=True) == policies.ALL_STEPS
    assert policies.why_ended(checks((0.0, 0.8), (0.0, 0.1)), done=False) == policies.HAS_COLLAPSED
    assert policies.why_ended(checks((0.0, 0.8), (-1.0, 0.8)), done=False) == policies.NO_BETTER


def test_what_limits_the_checks_is_said() -> None:
    held_out = {"prompts": 1, "responses": 64, "trained_on": 1}
    facts = {"reward": "r", "judge": "r", "checks": checks((0.0, 1.0)), "held_out": held_out}
    how, own, shared = policies.check_notes(facts)
    assert how == "Checked on prompts: 1, with 64 responses each, scored by 'r'."
    assert "a policy judged by its own reward cannot show over-optimisation" in own
    assert shared == "Trained on too: 1 of the 1 checked prompts."
    (only,) = policies.check_notes({**facts, "judge": "other", "held_out": {**held_out, "trained_on": 0}})
    assert "scored by 'other'" in only
    assert policies.check_notes({"reward": "r"}) == []  # trained before there were checks


def test_a_policy_from_before_the_checks_is_still_shown() -> None:
    from icm_engine.cli.train import _reinforced

    old = {"name": "p", "base": "sample", "supervised": False, "rows": 4, "steps": 9, "first_reward": 0.5}
    told = _reinforced(old)
    assert told.value == {**old, "notes": []}
    assert told.text.splitlines()[-1].split() == ["first_reward", "0.5"]


# -- candidates


def test_distinct_claims_of_a_question_become_a_group_to_judge(store: Store) -> None:
    add(store, "some", CLAIMS, (claim("a", "Q1", "x"),))
    job = answered(store, "some", ["Q1", "Q2"], [["x", "y", "x", ""], ["same", "same"]])
    made = policies.keep_responses(store, job, "drawn", "exclusive")
    assert [(e.id, e.fields["claim"], e.group) for e in made.examples] == [
        ("drawn-0-0", "x", "drawn-0"),
        ("drawn-0-1", "y", "drawn-0"),
    ]  # an empty response is none, and of one text alone there is nothing to judge
    assert store.dataset_info("drawn").task == replace(CLAIMS, rule="exclusive")
    assert store.dataset_info("drawn").gold == 0


def test_responses_are_paired_with_their_neighbours_and_have_twins(store: Store) -> None:
    add(store, "numbers", PAIRS, (pair("p", "3", "4"),))
    job = answered(store, "numbers", ["Which?"], [["1", "2", "2", "5", "9", "7"]])
    made = policies.keep_responses(store, job, "drawn")
    shown = [(e.fields["response_a"], e.fields["response_b"], e.twin_of) for e in made.examples]
    assert shown == [("1", "2", None), ("2", "1", "drawn-0-0"), ("5", "9", None), ("9", "5", "drawn-0-1")]
    labels = dict(zip((e.id for e in made.examples), ("False", "True", "False", "True"), strict=True))
    pairs = preferences_of(PAIRS, PAIRS.fields)
    assert pairs is not None
    rows = preference_rows(made.task, [(e, labels[e.id]) for e in made.examples], pairs).rows
    assert [(row["chosen"], row["rejected"]) for row in rows] == [("2", "1"), ("9", "5")]


def test_responses_that_cannot_be_judged_are_refused(store: Store) -> None:
    add(store, "some", CLAIMS, (claim("a", "Q1", "x"),))
    with pytest.raises(SettingError, match="no prompt with two different responses"):
        policies.keep_responses(store, answered(store, "some", ["Q1"], [["x", "x"]]), "drawn")
    with pytest.raises(SettingError, match="rule 'nothing'"):
        policies.keep_responses(store, answered(store, "some", ["Q1"], [["x", "y"]]), "drawn", "nothing")
    waiting = policies.ask_responses(store, SAMPLE, [DatasetPart("some")], Sampling())
    with pytest.raises(NotFound, match="has no responses"):
        policies.keep_responses(store, waiting, "drawn")


# -- real ones


@pytest.mark.model
def test_a_sample_owes_nothing_to_what_is_asked_beside_it(store: Store) -> None:
    from icm_engine.models.loading import load
    from icm_engine.training.policies import sample

    loaded, form = load(ModelChoice("sample", "none", "float32", "cpu")), form_of(CLAIMS)
    asked = [f"What is the capital of {land}?" for land in ("France", "Peru", "Japan")]
    whole = sample(loaded, form, asked, Sampling(samples=4, seed=3))
    (alone,) = sample(loaded, form, asked[1:2], Sampling(samples=4, seed=3))
    assert whole[1] == alone
    texts = {one.text for some in whole for one in some}
    assert all(text.startswith("It is ") and text.endswith(".") for text in texts), texts
    assert len(texts) > 3
    assert all(one.ended for some in whole for one in some)
    ((cut,),) = sample(loaded, form, asked[:1], Sampling(samples=1, max_tokens=1))
    assert not cut.ended


@pytest.mark.model
def test_dpo_moves_a_policy_towards_what_was_chosen(store: Store) -> None:
    run = capitals_run(store)
    job = policies.ask_preference_tuning(store, run, PreferenceSettings(steps=6, batch_size=4), name="p", model=SAMPLE)
    facts = done(store, job)
    assert facts["first_loss"] == pytest.approx(0.693, abs=1e-3)  # log 2: the policy is its own reference
    assert facts["last_loss"] < facts["first_loss"]
    assert (facts["rows"], facts["kind"], facts["supervised"]) == (4, "preference-tuning", False)
    assert "tuned on 4 preferences" in (model_registry.folder(store, "p") / "README.md").read_text(encoding="utf-8")
    before, after = (log_odds(store, model) for model in ("sample", "trained:p"))
    assert after > before


@pytest.mark.model
def test_what_is_trained_from_a_fetched_model_is_used_by_its_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a model has a name that only the application knows, and an adapter has the file of its base."""
    monkeypatch.setitem(FETCHABLE, "tiny", Fetchable("tiny", "", "", 0, (), APACHE))
    file = store.path.parent / "models" / "tiny.gguf"
    file.parent.mkdir()
    write(file, gemma3(num_hidden_layers=1))
    run, model, part = capitals_run(store), replace(SAMPLE, model="tiny"), [DatasetPart("capitals", 8)]
    how = PreferenceSettings(steps=1, batch_size=4, rank=2)
    done(store, policies.ask_preference_tuning(store, run, how, name="p", model=model))
    done(store, policies.create(store, run, RewardSettings(steps=1, rank=2), name="r", model=model, rest=[]))
    brief = ReinforceSettings(steps=1, prompts=1, responses=2, rank=2, max_tokens=2)
    done(store, policies.ask_reinforcement(store, "r", part, brief, name="q", model=model))
    first = replace(SAMPLE, model="trained:p")
    done(store, policies.ask_preference_tuning(store, run, how, name="p-2", model=first))
    for name, judges in (("p", []), ("q", []), ("p-2", ["r"])):
        config = model_registry.folder(store, name) / "adapter_config.json"
        assert json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"] == str(file)
        config.write_text(config.read_text(encoding="utf-8").replace(str(file), "tiny"))  # as it was once
        tuned = replace(SAMPLE, model=f"trained:{name}")
        found = done(store, policies.ask_responses(store, tuned, part, Sampling(1, max_tokens=2), judges))
        assert len(found["responses"]) == 2
    assert [len(rewards) for rewards in found["rewards"]["r"]] == [1, 1]


@pytest.mark.model
def test_a_policy_is_trained_further_from_where_it_stood(store: Store) -> None:
    """Its first loss is log 2 again: the reference is the policy as it was, not the base model."""
    from safetensors.torch import load_file

    run = capitals_run(store)
    how = PreferenceSettings(steps=4, batch_size=4, rank=2)
    done(store, policies.ask_preference_tuning(store, run, how, name="p", model=SAMPLE))
    first = ModelChoice("trained:p", "none", "float32", "cpu")
    with pytest.raises(SettingError, match=r"trained:p has rank 2.* in place of rank 8"):
        policies.ask_preference_tuning(store, run, PreferenceSettings(), name="q", model=first)
    facts = done(store, policies.ask_preference_tuning(store, run, replace(how, passes=3), name="q", model=first))
    assert facts["steps"] == 3  # of four pairs, four a step
    assert facts["first_loss"] == pytest.approx(0.693, abs=1e-3)
    assert (facts["base"], facts["continues"], [one["run"] for one in facts["runs"]]) == ("sample", "p", [run, run])
    assert "It continues the policy `p`." in (model_registry.folder(store, "q") / "README.md").read_text("utf-8")
    one, other = (load_file(model_registry.folder(store, name) / "adapter_model.safetensors") for name in "pq")
    assert one.keys() == other.keys()
    assert any((one[key] != other[key]).any() for key in one)
    assert not (model_registry.folder(store, "q") / "ref").exists()
    before, middle, after = (log_odds(store, model) for model in ("sample", "trained:p", "trained:q"))
    assert before < middle < after


def test_a_thought_stands_on_the_line_before_its_response(store: Store) -> None:
    add(store, "facts", CLAIMS, (claim("a", "Q1", "It is 2."),))
    form = form_of(CLAIMS)
    found = {"asked": ["Q1"], "responses": [["It is 2.", "It is 3.", "It is 2."]], "thoughts": [["Add.", "", "Guess."]]}
    job = jobs.create(store, JobSpec(policies.RESPOND, {"dataset": "facts"}, SAMPLE))
    store.append(job, "result", {**found, "sampling": {"thought": 8}})
    row = {"prompt": "Q1", "chosen": "It is 2.", "rejected": "It is 3."}
    made = policies.with_thoughts(store, job, form, TrainingSet((row,), {"unlabelled": 1}))
    assert made.left_out == {"unlabelled": 1}
    (told,) = made.rows  # of equal responses the first thought counts
    assert told == {"prompt": "Q1", "chosen": "Add.\nClaim: It is 2.", "rejected": "\nClaim: It is 3."}
    with pytest.raises(SettingError, match="has no response 'It is 4"):
        policies.with_thoughts(store, job, form, TrainingSet(({**row, "chosen": "It is 4."},), {}))
    with pytest.raises(SettingError, match="no line of its own for the response"):
        form_of(replace(CLAIMS, template="Question: {question} Claim: {claim}\nIs it")).thinking()
    assert "thought" not in Sampling().to_json()  # as jobs kept it before there were thoughts


@pytest.mark.model
def test_a_response_is_sampled_after_its_own_thought() -> None:
    from icm_engine.models.loading import load
    from icm_engine.training.policies import sample, think

    loaded, form = load(SAMPLE), form_of(CLAIMS)
    asked, how = ["What is the capital of Peru?", "What is the capital of Italy?"], Sampling(2, 0.1, 8, thought=5)
    thoughts = think(loaded, form, asked, how)
    assert [*map(len, thoughts)] == [2, 2]
    assert all("\n" not in thought for some in thoughts for thought in some)
    whole = sample(loaded, form, asked, how, thoughts)
    assert sample(loaded, form, asked[1:], how, thoughts[1:]) == whole[1:]  # whatever else is asked
    plain = sample(loaded, form, asked, how, [["", ""], ["", ""]])
    assert [*map(len, plain)] == [2, 2]


def test_passes_limit_the_steps_by_the_number_of_pairs() -> None:
    how = PreferenceSettings(steps=60, batch_size=8, passes=15)
    assert [how.steps_for(pairs) for pairs in (1, 8, 9, 30, 40)] == [15, 15, 30, 60, 60]  # 15 passes of 5 steps are 75
    assert PreferenceSettings(steps=60).steps_for(1) == 60
    with pytest.raises(SettingError, match="passes is -1: use 0 or more"):
        PreferenceSettings(passes=-1)


@pytest.mark.model
def test_the_likelihood_of_what_was_chosen_is_a_part_of_the_loss(store: Store) -> None:
    run = capitals_run(store)
    plain, added = (
        done(store, policies.ask_preference_tuning(store, run, how, model=SAMPLE))
        for how in (PreferenceSettings(steps=1, batch_size=4), PreferenceSettings(steps=1, batch_size=4, likelihood=2))
    )
    from icm_engine.training.policies import load_choice
    from icm_engine.training.reward_model import RewardReader

    loaded = load_choice(store, SAMPLE)
    form, made = policies.preferences(store, run)
    reader, sums, tokens = RewardReader(loaded, form), 0.0, 0
    for row in made.rows:
        said = reader.response(row["chosen"])
        sums, tokens = sums - log_prob(loaded, reader.prompt(row["prompt"]), said), tokens + len(said)
    assert added["first_loss"] - plain["first_loss"] == pytest.approx(2 * sums / tokens, rel=1e-3)
    with pytest.raises(SettingError, match=r"likelihood is -1: use 0 or more"):
        PreferenceSettings(likelihood=-1)


def log_prob(loaded: Any, before: list[int], said: list[int]) -> float:
    """log p of these tokens after those."""
    import torch

    with torch.inference_mode():
        logs = loaded.model(input_ids=torch.tensor([before + said])).logits[0].log_softmax(-1)
    return float(logs[len(before) - 1 : -1][torch.arange(len(said)), torch.tensor(said)].sum())


def log_odds(store: Store, model: str) -> float:
    """Mean log p of the right capital less that of the wrong one, over the four that were labelled."""
    from icm_engine.training.policies import load_choice
    from icm_engine.training.reward_model import RewardReader

    loaded = load_choice(store, ModelChoice(model, "none", "float32", "cpu"))
    reader = RewardReader(loaded, form_of(CLAIMS))
    sums = [
        log_prob(loaded, reader.prompt(one.fields["question"]), reader.response(one.fields["claim"]))
        for one in capitals()[:8]
    ]
    return sum(sums[0::2]) / 4 - sum(sums[1::2]) / 4


@pytest.mark.model
def test_reinforcement_follows_the_reward_and_the_policy_can_be_judged(store: Store) -> None:
    run = capitals_run(store)
    reward = done(store, policies.create(store, run, RewardSettings(steps=2, rank=2), name="r", rest=[]))
    how = ReinforceSettings(steps=2, prompts=3, responses=4, rank=2, max_tokens=8)  # more than there are prompts
    job = policies.ask_reinforcement(store, "r", [DatasetPart("capitals", 8)], how)
    facts = done(store, job)
    assert (facts["name"], facts["reward"], facts["prompts"]) == ("r-policy", "r", 1)  # the other one is checked
    assert (facts["held_out"]["prompts"], facts["judge"], len(facts["checks"])) == (1, "r", 3)
    assert facts["runs"] == reward["runs"]
    assert abs(facts["first_reward"]) < 10
    card = (model_registry.folder(store, "r-policy") / "README.md").read_text(encoding="utf-8")
    assert "reinforced (RLOO) against the reward model `r`" in card
    policy = ModelChoice("trained:r-policy", "none", "float32", "cpu")
    found = done(store, policies.ask_responses(store, policy, [DatasetPart("capitals", 8)], Sampling(2), ["r"]))
    assert [len(row) for row in found["responses"]] == [len(row) for row in found["rewards"]["r"]] == [2, 2]


def by_hand(
    store: Store, folder: Path, judged: Sequence[float], patience: int
) -> tuple[Any, list[Json], Callable[[str], Any]]:
    """A reinforcement of 8 steps, checked at every second one, whose judge gives these rewards check by check.

    Returns the trainer after training, its checks, and how to read the weights of a folder.
    """
    from safetensors.torch import load_file

    from icm_engine.models.loading import load
    from icm_engine.training import trainers
    from icm_engine.training.policies import make_rloo_trainer

    given = iter(judged)

    def own(completions: list[str], **unused: Any) -> list[float | None]:
        return [float(len(text)) for text in completions]

    def judge(completions: list[str], **unused: Any) -> list[float | None]:
        return [next(given)] * len(completions)

    loaded, form = load(SAMPLE), form_of(CLAIMS)
    prompts = policies.CheckedPrompts(form, ["What is the capital of Peru?"], ["What is the capital of Ghana?"])
    how = ReinforceSettings(steps=8, prompts=1, responses=2, rank=2, max_tokens=4, checks=4, patience=patience)
    trainer = make_rloo_trainer(loaded, prompts, [own, judge], how, folder)
    trainer.train()
    return trainer, trainers.checks_of(trainer.state.log_history), lambda name: load_file(folder / name / WEIGHTS)


WEIGHTS = "adapter_model.safetensors"


@pytest.mark.model
def test_a_reinforcement_keeps_the_step_that_its_judge_likes_best(store: Store, tmp_path: Path) -> None:
    """Its own reward is the length; the judge, by hand, likes step 2 best, and two checks after it are no better."""
    from peft import get_peft_model_state_dict

    trainer, checks, weights = by_hand(store, tmp_path, [0.5, 1.0, 0.75, 0.25], patience=2)
    assert [one["step"] for one in checks] == [0, 2, 4, 6]
    assert [one["judged"] for one in checks] == [0.5, 1.0, 0.75, 0.25]
    assert all(0 < one["distinct"] <= 1 and one["own"] > 1 for one in checks)
    assert checks[0]["kl"] == pytest.approx(0, abs=1e-6)  # nothing is learned yet
    assert (trainer.state.best_global_step, trainer.state.global_step) == (2, 6)
    kept, best, last = get_peft_model_state_dict(trainer.model), weights("checkpoint-2"), weights("checkpoint-6")
    assert all((kept[key] == best[key]).all() for key in best)
    assert any((last[key] != best[key]).any() for key in best)


def test_a_resumed_reinforcement_finds_its_best_step_where_its_folder_is_now(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from icm_engine.training.policies import CheckCallback

    state = SimpleNamespace(best_global_step=4, best_model_checkpoint="/elsewhere/checkpoint-4")
    CheckCallback().on_train_begin(SimpleNamespace(output_dir=str(tmp_path)), state, None)
    assert state.best_model_checkpoint == str(tmp_path / "checkpoint-4")


@pytest.mark.model
def test_a_reinforcement_that_its_judge_never_likes_keeps_the_start(store: Store, tmp_path: Path) -> None:
    from peft import get_peft_model_state_dict

    trainer, checks, _ = by_hand(store, tmp_path, [0.5, 0.25], patience=1)
    assert (trainer.state.best_global_step, trainer.state.global_step, len(checks)) == (0, 2, 2)
    kept = get_peft_model_state_dict(trainer.model)
    assert all((kept[key] == 0).all() for key in kept if "lora_B" in key)  # what it was before the first step


def rewarded(store: Store) -> str:
    """A reward model r, and one of gold's, g; returns the run of the first."""
    run = capitals_run(store)
    done(store, policies.create(store, run, RewardSettings(steps=2, rank=2), name="r", rest=[]))
    facts = {**model_registry.model_facts(store, "r"), "name": "g", "supervised": True}
    folder = model_registry.folder(store, "r")

    def copied(place: Path) -> None:
        shutil.copytree(folder, place, dirs_exist_ok=True)

    model_registry.put(store, "g", copied, facts)
    return run


CHECKED = ReinforceSettings(steps=6, prompts=2, responses=2, rank=2, max_tokens=8, checks=3, patience=9)


@pytest.mark.slow
@pytest.mark.model
def test_a_policy_that_gold_s_reward_model_judged_is_supervised(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    rewarded(store)
    monkeypatch.setattr(jobs, "start", lambda s, job: done(s, job))
    asked = ["reinforce", "r", "--dataset", "capitals", "--steps", "2", "--prompts", "2", "--responses", "2"]
    asked += ["--rank", "2", "--max-tokens", "8", "--checks", "1", "--db", str(store.path)]
    assert main([*asked, "--judge", "g", "--name", "p", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["supervised"], told["judge"]) == (True, "g")
    assert told["notes"] == ["Checked on prompts: 1, with 4 responses each, scored by 'g'."]
    assert [one["step"] for one in told["checks"]] == [0, 2]
    assert told["kept_step"] in (0, 2)
    assert told["held_out"] == {"prompts": 1, "responses": 4, "trained_on": 0}
    assert all(one["own"] == pytest.approx(one["judged"], abs=1e-4) for one in told["checks"])  # they are equal here
    assert main([*asked, "--name", "q"]) == 0
    shown = capsys.readouterr().out
    assert "a policy judged by its own reward cannot show over-optimisation" in shown
    assert re.search(r"step     0  own reward .* distinct  KL 0\.00", shown)
    assert not model_registry.model_facts(store, "q")["supervised"]
    card = (model_registry.folder(store, "p") / "README.md").read_text(encoding="utf-8")
    assert "## Checks" in card
    assert "scored by 'g'" in card
    assert "It is supervised: gold or people made the labels of its reward model, or of the judge" in card


SELF_KILLED = """
import os, signal, sys
from pathlib import Path
from icm_engine.jobs import job_worker
from icm_engine.jobs.job_process import run_in_process
from icm_engine.store.store import Store
from icm_engine.training import trainers

own = trainers.JobCallback.on_step_end

def killing(self, args, state, control, **more):
    own(self, args, state, control, **more)
    if state.global_step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[3] == "kill":
    trainers.JobCallback.on_step_end = killing
with Store(Path(sys.argv[1])) as store:
    store.append(sys.argv[2], "start", {})
    sys.exit(run_in_process(store, sys.argv[2], job_worker.perform))
"""


@pytest.mark.slow
@pytest.mark.model
def test_a_killed_reinforcement_reaches_the_same_checks_and_the_same_step(store: Store) -> None:
    """SIGKILL at step 5, after two checks; what goes on begins at the second one, and takes its counts along."""

    def one_thread(job: str, how: str) -> int:
        told = subprocess.run(
            [sys.executable, "-c", SELF_KILLED, str(store.path), job, how], cwd=ROOT, capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        return told.returncode

    rewarded(store)
    whole, killed = (
        policies.ask_reinforcement(store, "r", [DatasetPart("capitals")], CHECKED, name=name, judge="g")
        for name in ("whole", "killed")
    )
    assert one_thread(whole, "whole") == 0
    assert one_thread(killed, "kill") == -signal.SIGKILL
    assert jobs.result(store, killed) is None
    assert one_thread(killed, "whole") == 0
    facts, other = (model_registry.model_facts(store, name) for name in ("whole", "killed"))
    assert other["resumed_from"] == 4
    last = model_registry.folder(store, "whole") / "last"
    assert (last / WEIGHTS).is_file() is (facts["kept_step"] != facts["steps"])
    assert [one["step"] for one in facts["checks"]] == [0, 2, 4, 6]
    names = ("checks", "kept_step", "ended", "steps", "last_reward", "last_kl")
    assert [facts[name] for name in names] == [other[name] for name in names]
    weights = [(model_registry.folder(store, name) / WEIGHTS).read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


@pytest.mark.slow
@pytest.mark.model
def test_a_reinforcement_that_was_cut_off_at_its_end_takes_no_further_step(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended early, its last checkpoint was saved, and then its process died before it could store the policy."""
    from icm_engine.training import trainers

    rewarded(store)
    how = replace(CHECKED, patience=1, learning_rate=1e-9)  # nothing is learned, so the first check is one of the best
    job = policies.ask_reinforcement(store, "r", [DatasetPart("capitals")], how, name="p", judge="g")

    def killing(*unused: Any) -> None:
        raise Killed

    with monkeypatch.context() as changed:
        changed.setattr(model_registry, "put", killing)
        store.append(job, "start", {})
        with pytest.raises(Killed):
            run_in_process(store, job, job_worker.perform)
    last = trainers.last_checkpoint(model_registry.workplace(store, "p"))
    assert last is not None
    found = [event.body for event in store.read_after(job, kinds=(trainers.CHECKED,))]
    facts = done(store, job)
    assert facts["checks"] == found
    assert facts["steps"] == facts["resumed_from"] == int(last.name.rpartition("-")[2])
    assert facts["kept_step"] == max(found, key=lambda one: float(one["judged"]))["step"]
    assert facts["parameters"] > 0
    folder = model_registry.folder(store, "p")
    assert (folder / "last").is_dir() is (facts["kept_step"] != facts["steps"])
    last_of = folder / "last" if (folder / "last").is_dir() else folder
    policy = ModelChoice(str(last_of), "none", "float32", "cpu")
    sampled = done(store, policies.ask_responses(store, policy, [DatasetPart("capitals", 8)], Sampling(1)))
    assert len(sampled["responses"]) == 2  # the policy after its last step can be sampled, by its path


class Killed(BaseException):
    """Nothing in the engine catches it, as nothing catches a signal."""


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize("kind", [policies.PREFER, "further", policies.REINFORCE])
def test_a_policy_that_was_cut_off_goes_on_from_its_last_checkpoint(
    store: Store, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from icm_engine.training import trainers

    run = capitals_run(store)
    if kind == policies.PREFER:
        job = policies.ask_preference_tuning(store, run, PreferenceSettings(steps=4, rank=2), name="p")
    elif kind == "further":
        how = PreferenceSettings(steps=2, rank=2)
        done(store, policies.ask_preference_tuning(store, run, how, name="first", model=SAMPLE))
        model, how = replace(SAMPLE, model="trained:first"), PreferenceSettings(steps=4, rank=2)
        job = policies.ask_preference_tuning(store, run, how, name="p", model=model)
    else:
        done(store, policies.create(store, run, RewardSettings(steps=2, rank=2), name="r", rest=[]))
        against = ReinforceSettings(steps=4, prompts=2, responses=2, rank=2, max_tokens=8)
        job = policies.ask_reinforcement(store, "r", [DatasetPart("capitals")], against, name="p")
    own, steps = trainers.JobCallback.on_step_end, list[int]()

    def killing(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        own(self, args, state, control, **more)
        steps.append(state.global_step)
        if len(steps) == 3:  # before the third step is saved
            raise Killed

    monkeypatch.setattr(trainers.JobCallback, "on_step_end", killing)
    store.append(job, "start", {})
    with pytest.raises(Killed):
        run_in_process(store, job, job_worker.perform)
    facts = done(store, job)
    assert (facts["resumed_from"], facts["steps"], steps) == (2, 4, [1, 2, 3, 3, 4])


@pytest.mark.model
def test_what_reinforcement_is_rewarded_for_is_what_a_judge_sees(store: Store) -> None:
    """The function that trl calls gives what `respond --judge` gives, whatever ended the response."""
    from icm_engine.models.loading import load
    from icm_engine.training.policies import judge_responses, reward_of
    from icm_engine.training.reward_model import RewardReader, load_rewards

    run = capitals_run(store)
    done(store, policies.create(store, run, RewardSettings(steps=2, rank=2), name="r", rest=[], model=SAMPLE))
    form, asked = form_of(CLAIMS), "What is the capital of Peru?"
    loaded = load(ModelChoice("sample", "none", "float32", "cpu"))
    reward = reward_of(load_rewards(loaded, model_registry.folder(store, "r")), RewardReader(loaded, form))
    endings = ["", "\nI think this claim is", "\n\n"]
    given = reward(completions=[f" It is Lima.{end}" for end in endings], asked=[asked] * 3, prompts=["unused"] * 3)
    (judged,) = judge_responses(store, "r", form, [asked], [["It is Lima."]])
    assert given == [pytest.approx(judged[0], abs=1e-5)] * 3


@pytest.mark.slow
@pytest.mark.model
def test_the_commands_sample_and_keep(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    capitals_run(store)
    monkeypatch.setattr(jobs, "start", lambda s, job: done(s, job))
    local = ["--quantization", "none", "--dtype", "float32", "--json", "--db", str(store.path)]
    asked = ["respond", "capitals", "--limit", "2", "--samples", "4", "--keep", "drawn", "--rule", "exclusive"]
    assert main([*asked, *local]) == 0
    told: Json = json.loads(capsys.readouterr().out)
    assert (told["prompts"], told["responses"], told["dataset"]) == (2, 8, "drawn")
    assert told["examples"] == store.dataset_size("drawn")
    assert main([*asked, *local]) == 1
    assert "data set 'drawn' exists already" in capsys.readouterr().err


def test_a_model_is_loaded_as_the_run_had_it_unless_another_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = capitals_run(store)
    monkeypatch.setattr(jobs, "start", lambda s, job: None)
    choices: dict[str, Any] = {}
    for name, words in (("own", []), ("other", ["--model", "elsewhere"])):
        assert main(["prefer", run, "--name", name, "--detach", *words, "--db", str(store.path)]) == 0
        job = next(j for j in jobs.names(store, policies.PREFER) if jobs.spec(store, j).body["name"] == name)
        choices[name] = jobs.spec(store, job).model
    capsys.readouterr()
    assert choices["own"] == SAMPLE
    assert choices["other"] == ModelChoice("elsewhere", "none", "float32", "cpu")
