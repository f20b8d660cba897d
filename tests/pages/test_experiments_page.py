"""The Experiments page in Streamlit's own tester: asking for a suite, a loop, a judge; what came of them."""

from pathlib import Path

import pytest

from icm_engine import jobs
from icm_engine.experiments.self_rewarding import Loop, LoopSettings
from icm_engine.jobs.policies import PreferenceSettings
from icm_engine.jobs.self_teaching import Teaching, TeachSettings
from icm_engine.store.store import Store
from tests.support.drawn_pages import frame, page, shown_markup, texts
from tests.support.experiment_suites import done_suite
from tests.support.labelled_runs import CLAIMS, add, capitals, stored_loop, stored_teaching
from tests.support.stores import small_dataset


def test_without_a_suite_the_page_offers_one(store: Store) -> None:
    test = page("experiments")
    assert not test.exception
    assert "No suite has been run yet" in shown_markup(test)
    assert test.selectbox(key="suite").value == "main"
    test.selectbox(key="suite").set_value("alpha").run()
    assert "The weight of mutual predictability. How much does alpha matter?" in texts(test)


def test_a_suite_is_asked_for_with_what_the_form_says(store: Store) -> None:
    small_dataset(store)
    test = page("experiments")
    test.selectbox(key="suite").set_value("landscape")
    test.selectbox(key="suite_model").set_value("fake")
    test.multiselect(key="suite_datasets").set_value(["sums"])
    test.number_input(key="suite_examples").set_value(9)
    test.toggle(key="suite_quick").set_value(True)
    test.button(key="suite_run").click().run()
    assert not test.exception
    (job,) = jobs.names(store)
    spec = jobs.spec(store, job)
    assert spec.model is not None
    assert spec.model.model == "fake"
    assert spec.body["instead"] == {"datasets": ["sums"], "examples": 9}
    assert (spec.body["suite"], spec.body["quick"], spec.body["key"]) == ("landscape", True, "landscape quick")
    assert spec.body["command"] == (
        "python -m icm_engine evaluate landscape --model fake --quantization nf4 --quick --datasets sums --examples 9"
    )
    assert jobs.status(store, job).phase == "starting"


def test_results_are_tables_figures_and_a_way_to_the_runs(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_dataset(store)
    job = done_suite(store, monkeypatch, tmp_path)
    test = page("experiments", job=job)
    assert not test.exception
    assert test.header[0].value == "Sources side by side"
    shown = frame(test, "labels, % right")
    assert list(shown["source"])[:3] == ["ICM", "ICM, best of 2 by U", "golden *"]
    assert shown["labels, % right"][2] == "100.0 [100.0, 100.0]"
    assert set(frame(test, "pair")["pair"]) == {"ICM − golden", "ICM − random"}
    found = jobs.result(store, job)
    assert found is not None
    run = found["cells"][0]["run"]
    assert test.selectbox(key=f"run_{job}").value == run
    assert "No runs yet" in shown_markup(page())  # runs of suites do not crowd out those of a person
    assert not page("search", run=run).exception


# -- self-rewarding loops


def test_a_loop_is_asked_for_with_what_the_form_says(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "spawn", lambda *unused: None)
    add(store, "capitals", CLAIMS, capitals())
    test = page("experiments", part="loop")
    assert "No loop has been run yet" in shown_markup(test)
    test.selectbox(key="loop_dataset").set_value("capitals")
    test.selectbox(key="loop_model").set_value("sample")
    test.selectbox(key="loop_quantization").set_value("none")
    test.selectbox(key="loop_judge").set_value("majority")
    test.number_input(key="loop_rounds").set_value(2)
    test.number_input(key="loop_prompts").set_value(3)
    test.number_input(key="loop_likelihood").set_value(1.0)
    test.button(key="loop_start").click().run()
    assert not test.exception
    (job,) = jobs.names(store)
    loop = Loop.of(jobs.spec(store, job))
    assert (loop.name, loop.dataset, loop.test, loop.model.model) == ("capitals-loop-1", "capitals", None, "sample")
    assert loop.settings == LoopSettings(rounds=2, judge="majority", prompts=3)
    assert loop.training == PreferenceSettings(likelihood=1.0)
    test.number_input(key="loop_prompts").set_value(6)
    test.button(key="loop_start").click().run()
    assert "the first 6 are passed over" in test.code[0].value
    assert jobs.names(store) == [job]


def test_a_loop_is_shown_round_by_round(store: Store) -> None:
    job = stored_loop(store)
    test = page("experiments", job=job)
    assert not test.exception
    shown = frame(test, "win rate")
    assert list(shown["win rate"]) == [0.5, 0.75, 0.625]
    assert list(shown["right by gold"]) == [0.5] * 3
    said = texts(test)
    assert "Ended: nothing left to prefer (why)." in said
    assert "Round 1 is kept." in said


# -- self-taught judges


def test_a_judge_is_taught_as_the_form_says(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "spawn", lambda *unused: None)
    add(store, "capitals", CLAIMS, capitals())
    test = page("experiments", part="judge")
    assert "No judge has been taught yet" in shown_markup(test)
    test.selectbox(key="taught_dataset").set_value("capitals")
    test.selectbox(key="taught_model").set_value("sample")
    test.selectbox(key="taught_quantization").set_value("none")
    test.number_input(key="taught_prompts").set_value(3)
    test.number_input(key="taught_learning_rate").set_value(2e-3)
    test.button(key="taught_start").click().run()
    assert not test.exception
    (job,) = jobs.names(store)
    asked = Teaching.of(jobs.spec(store, job))
    assert (asked.name, asked.dataset, asked.test, asked.model.model) == (
        "capitals-judge-1",
        "capitals",
        None,
        "sample",
    )
    assert asked.settings == TeachSettings(prompts=3, learning_rate=2e-3)
    test.number_input(key="taught_rounds").set_value(0)
    test.button(key="taught_start").click().run()
    assert test.code[0].value == "rounds is 0: use a value above 0"
    assert jobs.names(store) == [job]


def test_a_self_taught_judge_is_shown_round_by_round(store: Store) -> None:
    test = page("experiments", job=stored_teaching(store))
    assert not test.exception
    shown = frame(test, "both sides found")
    assert list(shown["both sides found"]) == [0.0, 1.0]
    assert list(shown["right by gold"]) == [0.5, 1.0]
    assert "Ended: all rounds done." in texts(test)
    assert test.code[0].value == "trained:told-1"
