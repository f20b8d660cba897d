"""The Experiments page in Streamlit's own tester: asking for a suite, its results, the way to its runs."""

from pathlib import Path

import pytest

from icm_engine import jobs
from icm_engine.store.store import Store
from tests.support.drawn_pages import frame, page, shown_markup, texts
from tests.support.experiment_suites import done_suite
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
