"""The Train tab in Streamlit's own tester: asking for a fine-tuning, its loss, the tuned model and its test."""

from dataclasses import replace

import pytest

from icm_engine import jobs
from icm_engine.analysis import tuned_models
from icm_engine.core.labeling import Example, Task
from icm_engine.core.settings import TuneSettings
from icm_engine.data.gold import add_gold
from icm_engine.jobs import JobSpec, finetuning
from icm_engine.store.store import Store
from tests.support.drawn_pages import frame, page, shown_markup, texts
from tests.support.finetunings import facts, finished, labelled_run, logged, reinforced, reward_model
from tests.support.labelled_runs import PAIRS, SAMPLE, add, capitals, capitals_run, labelled, pair
from tests.support.stores import HOSTILE, add_run


def used(store: Store, job: str, right: list[list[bool]]) -> None:
    """What a use job found, with these predictions right for each number of shots it was asked for."""
    spec = jobs.spec(store, job).body
    gold = {example.id: not example.id.endswith("-2") for example in store.examples("sums")}
    names = list(gold)[6 : 6 + len(right[0])]
    said = [[gold[name] == good for name, good in zip(names, some, strict=True)] for some in right]
    parts = [
        {"shots": shots if isinstance(shots, int) else 6, "shuffle": 0, "usage": {"tokens_encoded": 10},
         "log_probs": [[-0.1, -2.0] if true else [-2.0, -0.1] for true in some]}
        for shots, some in zip(spec["shots"], said, strict=True)
    ]  # fmt: skip
    found = {"run": spec["run"], "labels": ["True", "False"], "examples": [["sums", n] for n in names], "parts": parts}
    store.append(job, "result", found)


def test_a_run_without_labels_has_nothing_to_tune_on(store: Store) -> None:
    assert "This run has no labels yet." in texts(page("training", run=add_run(store, "created")))
    assert "Choose a run above" in shown_markup(page("training"))


def test_a_fine_tuning_is_asked_for_with_what_the_form_says(store: Store) -> None:
    run = labelled_run(store)
    test = page("training", run=run)
    assert test.button(key="tune").label == "Tune on 6 labels"
    test.number_input(key="tune_epochs").set_value(3)
    test.number_input(key="tune_learning_rate").set_value(0.0002)
    test.text_input(key="tune_name").set_value("mine")
    test.button(key="tune").click().run()
    assert not test.exception
    (job,) = jobs.names(store, finetuning.KIND)
    assert jobs.spec(store, job).body == {
        "run": run, "runs": [run], "name": "mine",
        "settings": {"epochs": 3, "learning_rate": 0.0002, "rank": 8, "batch_size": 16, "rows_at_once": 16, "seed": 0},
    }  # fmt: skip
    assert jobs.status(store, job).phase == "starting"
    assert test.button(key="tune").disabled
    assert "The curve begins with the first step." in texts(test)


def test_what_cannot_be_is_refused_in_words(store: Store) -> None:
    test = page("training", run=labelled_run(store))
    test.text_input(key="tune_name").set_value(f"../{HOSTILE}")
    test.button(key="tune").click().run()
    assert jobs.names(store) == []
    assert "cannot be a folder: use letters" in test.code[0].value
    run = add_run(store, "finished")
    test = page("training", run=run)
    test.button(key="tune").click().run()
    assert "the fake model cannot be tuned" in test.code[0].value


def test_the_curve_grows_with_the_steps_and_a_step_taken_again_counts_once(store: Store) -> None:
    job = finetuning.create(store, [labelled_run(store)], TuneSettings())
    store.append(job, "start", {})
    for step, loss in ((1, 0.75), (2, 0.5), (3, 9.0), (3, 0.5)):  # cut off after step 3, gone on after step 2
        logged(store, job, step, loss)
    points = tuned_models.points(store, job)
    assert [(point.step, point.loss) for point in points] == [(1, 0.75), (2, 0.5), (3, 0.5)]
    chart = tuned_models.loss_chart(points)
    assert list(chart.figure.data[0].y) == [0.75, 0.5, 0.5]
    assert chart.alt == "Loss over steps: 0.750 at step 1, 0.500 at 3"
    test = page("training", run=jobs.spec(store, job).body["run"])
    assert "Step 3 of 4 · epoch 1.5 · 4 s" in texts(test)  # 4.5 s, of even and odd the even one


def test_a_tuned_model_tells_its_name_and_what_it_is(store: Store) -> None:
    run = labelled_run(store)
    job = finished(store, run)
    test = page("training", run=run, job=job)
    assert f"trained:{run}-tuned" in [code.value for code in test.code]
    shown = dict(frame(test, "what").itertuples(index=False))
    assert (shown["labels of"], shown["labels"], shown["last loss"]) == (run, "6", "0.250")
    assert shown["supervised"] == "yes"
    test.toggle(key=f"table_loss_{job}").set_value(True).run()
    assert list(frame(test, "loss")["loss"]) == [0.75, 0.5, 0.5, 0.25]


def test_the_base_and_the_tuned_model_are_tried_on_what_the_run_did_not_label(store: Store) -> None:
    run = labelled_run(store)
    job = finished(store, run)
    test = page("training", run=run)
    test.button(key="try_out").click().run()
    assert not test.exception
    base, tuned = sorted(jobs.names(store, "use"))
    assert [jobs.spec(store, one).model.model for one in (base, tuned)] == ["sample", f"trained:{run}-tuned"]  # type: ignore[union-attr]
    assert jobs.spec(store, base).body["test"] == [{"dataset": "sums", "start": 6}]
    assert (jobs.spec(store, base).body["shots"], jobs.spec(store, tuned).body["shots"]) == ([0, "fit"], [0])
    used(store, base, [[True, False, True, False], [True, True, True, False]])
    used(store, tuned, [[True] * 4])
    shown = frame(page("training", run=run, job=job), "said True")
    assert list(shown["model"]) == ["sample", "sample", f"trained:{run}-tuned"]
    assert list(shown["shots"]) == [0, 6, 0]
    assert list(shown["right"]) == [0.5, 0.75, 1.0]


def test_gold_stays_hidden_while_a_run_is_annotated_blind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = labelled_run(store)
    job = finished(store, run)
    tried = tuned_models.try_out(store, job)
    used(store, tried[0], [[True, False], [True, True]])
    lines = tuned_models.lines(store, tuned_models.tried(store, job), gold=False)
    assert [line.right for line in lines] == [None, None]
    monkeypatch.setattr("icm_engine.analysis.gold_agreement.gold_shown", lambda reading: False)
    assert frame(page("training", run=run), "said True")["right"].isna().all()


# -- reward models and policies


def test_a_reward_model_and_a_policy_are_asked_for_with_what_the_form_says(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "spawn", lambda *unused: None)
    run = capitals_run(store)
    test = page("training", run=run, train="reward")
    assert test.button(key="reward").label == "Train on 8 labels"
    test.number_input(key="reward_steps").set_value(7)
    test.multiselect(key="reward_test").set_value(["capitals"])
    test.text_input(key="reward_name").set_value("judge")
    test.button(key="reward").click().run()
    assert not test.exception
    (job,) = jobs.names(store)
    body = jobs.spec(store, job).body
    assert (body["run"], body["name"], body["settings"]["steps"]) == (run, "judge", 7)
    assert body["test"] == [{"dataset": "capitals", "start": 0}]
    assert body["rest"] == [{"dataset": "capitals", "start": 8}]
    test = page("training", run=run, train="policy")
    test.number_input(key="policy_likelihood").set_value(0.5)
    test.button(key="policy").click().run()
    assert not test.exception
    policy = jobs.spec(store, jobs.names(store, "preference-tuning")[0])
    assert (policy.body["name"], policy.body["settings"]["likelihood"]) == (f"{run}-policy", 0.5)


def test_what_cannot_be_a_preference_is_refused_in_words(store: Store) -> None:
    task = Task("moods", "Text: {text}\nMood:", ("good", "bad"), "good", fields=("text",))
    add(store, "moods", task, (Example("a", {"text": "x"}, "a"), Example("b", {"text": "y"}, "b")))
    test = page("training", run=labelled(store, "moods", {"a": "good", "b": "bad"}), train="policy")
    test.button(key="policy").click().run()
    assert jobs.names(store) == []
    assert "two labels, and pairs of responses or questions with claims" in test.code[0].value


def test_a_reward_model_tells_how_often_it_agrees_with_gold(store: Store) -> None:
    run = capitals_run(store)
    job = jobs.create(store, JobSpec("reward", {"run": run, "name": "judge"}, SAMPLE))
    rewarded = [
        {"dataset": "capitals", "example": example.id, "rewards": [float(k % 4 == 0)]}
        for k, example in enumerate(capitals())
    ]
    store.append(job, "result", {**facts("judge", run), "kind": "reward", "test": {"first": rewarded}})
    told = tuned_models.facts_of(store, job)
    assert told is not None
    assert "has no gold: its accuracy is not known" in str(tuned_models.stage_accuracies(store, told)["first"])
    add_gold(store, "capitals", {e.id: "True" if e.id.endswith("-0") else "False" for e in capitals()})
    test = page("training", run=run, job=job)
    assert not test.exception
    assert test.header[0].value == "The reward model"
    assert "Right on the test part, first model: 75% [58%, 92%]" in texts(test)  # three of six stand out, three tie
    assert test.code[0].value == "judge"
    assert dict(zip(*frame(test, "what").to_dict("list").values(), strict=True))["model"] == "judge"


def test_a_reward_model_is_shown_on_each_test_data_set(store: Store) -> None:
    run = capitals_run(store)
    add_gold(store, "capitals", {e.id: "True" if e.id.endswith("-0") else "False" for e in capitals()})
    add(store, "numbers", PAIRS, (pair("p", "3", "4"), pair("q", "9", "2")))
    add_gold(store, "numbers", {"p": "False", "q": "True"})
    near = [{"dataset": "capitals", "example": e.id, "rewards": [float(e.id.endswith("-0"))]} for e in capitals()]
    far = [{"dataset": "numbers", "example": name, "rewards": [1.0, 0.0]} for name in "pq"]
    job = jobs.create(store, JobSpec("reward", {"run": run, "name": "judge"}, SAMPLE))
    told = {**facts("judge", run), "kind": "reward", "test": {"first": [*near, *far]}, "off_distribution": ["numbers"]}
    store.append(job, "result", told)
    test = page("training", run=run, job=job)
    shown = frame(test, "off distribution")
    assert shown["data set"].tolist() == ["capitals", "numbers"]
    assert shown["off distribution"].tolist() == ["no", "yes"]
    assert shown["right"].tolist() == [1.0, 0.5]


# -- training on rewards, and responses


def test_a_reinforcement_is_asked_for_with_what_the_form_says(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "spawn", lambda *unused: None)
    run = capitals_run(store)
    test = page("training", run=run, train="reinforcement")
    assert "No reward model has learned from this run's labels" in texts(test)
    assert test.button(key="reinforce").disabled
    reward_model(store, "own", run)
    reward_model(store, "other")
    test = page("training", run=run, train="reinforcement")
    assert test.selectbox(key="reinforce_reward").options == ["own"]
    assert test.selectbox(key="reinforce_judge").options == ["other", "own"]
    test.selectbox(key="reinforce_judge").set_value("other")
    test.number_input(key="reinforce_steps").set_value(20)
    test.number_input(key="reinforce_patience").set_value(2)
    test.text_input(key="reinforce_name").set_value("p")
    test.button(key="reinforce").click().run()
    assert not test.exception
    (job,) = jobs.names(store)
    body = jobs.spec(store, job).body
    assert (body["reward"], body["judge"], body["dataset"], body["name"]) == ("own", "other", "capitals", "p")
    assert (body["settings"]["steps"], body["settings"]["patience"], "test" in body) == (20, 2, False)
    assert jobs.spec(store, job).model == SAMPLE
    assert "The curve begins with the first check." in texts(test)


def test_the_checks_of_a_reinforcement_are_a_curve_with_the_kept_step(store: Store) -> None:
    run = capitals_run(store)
    reward_model(store, "own", run)
    reward_model(store, "other")
    job = reinforced(store, run)
    test = page("training", run=run, job=job)
    assert not test.exception
    assert "Kept: step 2 of 4. Ended: no higher judged reward." in texts(test)
    assert "over-optimisation" not in texts(test).partition("The policy")[2]
    assert "trained:p" in [code.value for code in test.code]
    shown = dict(frame(test, "what").itertuples(index=False))
    assert (shown["judge"], shown["kept step"], shown["ended"]) == ("other", "2", "no higher judged reward")
    test.toggle(key=f"table_checks_{job}").set_value(True).run()
    assert list(frame(test, "judged reward")["judged reward"]) == [-0.5, 0.5, 0.25]
    some = tuned_models.checks(store, job)
    own, judged, kept = tuned_models.checks_chart(some, judged=True).figure.data
    assert (list(own.y), list(judged.y)) == ([-1.0, 0.0, 1.0], [-0.5, 0.5, 0.25])
    assert (list(kept.x), list(kept.y)) == ([2], [0.5])
    assert [line.name for line in tuned_models.checks_chart(some, judged=False).figure.data] == [
        "own reward",
        "kept step",
    ]


def test_a_policy_judged_by_its_own_reward_says_so(store: Store) -> None:
    run = capitals_run(store)
    reward_model(store, "own", run)
    test = page("training", run=run, job=reinforced(store, run, judge=None))
    assert "a policy judged by its own reward cannot show over-optimisation" in texts(test)


def test_a_policy_from_before_the_checks_is_still_shown(store: Store) -> None:
    run = capitals_run(store)
    old = {"reward": "gone", "parts": [{"dataset": "capitals", "start": 0}], "most": None, "dataset": "capitals"}
    job = jobs.create(store, JobSpec("reinforce", {**old, "name": "p", "settings": {"steps": 4}}, SAMPLE))
    store.append(job, "result", {**facts("p", run), "kind": "reinforce", "reward": "gone"})
    test = page("training", run=run, job=job)
    assert not test.exception
    assert "This policy was trained without checks." in texts(test)
    assert "trained:p" in [code.value for code in test.code]
    assert "kept step" not in list(frame(test, "what")["what"])


def test_responses_are_sampled_scored_and_stored(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "spawn", lambda *unused: None)
    run = capitals_run(store)
    add_gold(store, "capitals", {e.id: "True" if e.id.endswith("-0") else "False" for e in capitals()})
    reward_model(store, "own", run)
    reinforced(store, run, judge=None)
    test = page("training", run=run, train="responses")
    assert test.selectbox(key="respond_model").options == ["trained:p", "sample"]
    test.number_input(key="respond_samples").set_value(3)
    test.number_input(key="respond_most").set_value(1)
    test.multiselect(key="respond_judges").set_value(["own"])
    test.button(key="respond").click().run()
    assert not test.exception
    (job,) = jobs.names(store, "respond")
    spec = jobs.spec(store, job)
    assert (spec.body["sampling"]["samples"], spec.body["most"], spec.body["judges"]) == (3, 1, ["own"])
    assert spec.model == replace(SAMPLE, model="trained:p")
    first = capitals()[0]
    asked, right = first.fields["question"], first.fields["claim"]
    found = {"model": "trained:p", "asked": [asked], "responses": [[right, "It is far.", right]], "cut": 1}
    store.append(job, "result", {**found, "rewards": {"own": [[1.0, -1.0, 1.0]]}})
    test = page("training", run=run, job=job)
    assert "1 prompts · 3 responses · 1 cut off at the maximum length" in texts(test)
    assert "Mean reward by own: 0.33" in texts(test)
    assert "Right by gold: 67%" in texts(test)
    assert list(frame(test, "response")["own"]) == [1.0, -1.0, 1.0]
    test.button(key="keep").click().run()
    assert "has no name: give it one" in test.code[-1].value
    test.text_input(key="keep_name").set_value("drawn")
    test.button(key="keep").click().run()
    assert "Stored 2 examples." in texts(test)
    assert [e.fields["claim"] for e in store.examples("drawn")] == [right, "It is far."]
