"""Restarts on the pages: asked for on the form of a new run, seen on the Evaluate tab, in Streamlit's own tester."""

import pytest

from icm_engine import jobs
from icm_engine.analysis import restarts as told
from icm_engine.jobs import restarts
from icm_engine.runs import control
from icm_engine.store.store import Store
from tests.support.drawn_pages import frame, page, shown_markup, texts
from tests.support.machines import RESTARTED, RestartMachine
from tests.support.stores import HOSTILE, add_run


def test_more_than_one_chain_is_a_job_and_its_first_run_is_shown(store: Store, restart_machine: RestartMachine) -> None:
    test = page("search")
    test.selectbox(key="dataset").set_value("sums")
    test.selectbox(key="model").set_value("fake")
    test.number_input(key="seed").set_value(7)
    test.number_input(key="chains").set_value(3)
    test.button(key="start_new").click().run()
    assert not test.exception
    (job,) = jobs.names(store)
    runs = restarts.chains_of(store, job)
    assert [store.spec(run).search.seed for run in runs] == [7, 8, 9]
    assert jobs.status(store, job).phase == "starting"
    assert test.query_params["run"] in (runs[0], [runs[0]])
    assert "Chain 1 of 3 that differ in their seed alone. 0 of them finished" in texts(test)


def test_home_starts_chains_on_sample_data(store: Store, restart_machine: RestartMachine) -> None:
    test = page()
    test.button(key="first_chains").click().run()
    assert not test.exception
    (job,) = jobs.names(store)
    assert restarts.chains_of(store, job) == ["arithmetic-1", "arithmetic-2", "arithmetic-3"]


def test_chains_on_their_way_are_listed_before_there_are_labels(store: Store, restart_machine: RestartMachine) -> None:
    job = restarts.submit(store, RESTARTED, 3)
    runs = restarts.chains_of(store, job)
    test = page("compare", run=runs[1], view="Seeds")
    shown = frame(test, "so far")
    assert list(shown["run"]) == runs
    assert set(shown["status"]) == {"created"}
    assert "This run has no labels yet." in texts(test)


def test_the_proposal_is_shown_with_its_reason_and_its_support(store: Store, restart_machine: RestartMachine) -> None:
    job = restarts.submit(store, RESTARTED, 3)
    restart_machine.do(job)
    found = told.proposal_of(store, job)
    assert found is not None
    runs = restarts.chains_of(store, job)
    for run in runs:  # whichever of them is looked at
        test = page("compare", run=run, view="Seeds")
        assert told.why(found) in texts(test)
        ended = frame(test, "in the choice")
        assert list(ended["run"]) == runs
        assert list(ended[ended["in the choice"] == "proposed"]["run"]) == [found.run]
        examples = frame(test, "give it")
        assert len(examples) == len(found.supports)
        for row in examples.to_dict("records"):
            assert row["proposed"] == row[found.run]
            given = [row[one] for one in runs if row[one] in ("True", "False")]
            assert row["give it"] == pytest.approx(given.count(row["proposed"]) / len(given))
        assert list(examples["agreement"]) == sorted(examples["agreement"])
        assert HOSTILE not in shown_markup(test)
    assert told.why(found) in texts(page("search", run=runs[0]))


def test_a_failed_chain_and_a_failed_job_are_said(store: Store, restart_machine: RestartMachine) -> None:
    job = restarts.submit(store, RESTARTED, 2)
    for run in restarts.chains_of(store, job):
        store.append(run, "control", {"verb": "stop"})
    restart_machine.do(job)
    test = page("compare", run="sums-1", view="Seeds")
    assert "none of 2 chains can be proposed" in "\n".join(code.value for code in test.code)
    assert test.button(key=f"again_{job}").label == "Try again"


def test_runs_of_no_job_are_as_they_were(store: Store, restart_machine: RestartMachine) -> None:
    run = add_run(store, "finished")
    add_run(store, "finished", seed=4)
    test = page("compare", run=run, view="Seeds")
    assert not [found for found in test.dataframe if "in the choice" in found.value]
    assert "give it" not in frame(test, "agreement")
    assert "Chain " not in texts(page("search", run=run))
    assert control.status(store, run).phase == "finished"
