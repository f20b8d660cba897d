"""Steering a run from its page, forking it, and asking what if: read models and pages."""

import pytest

from icm_engine import jobs
from icm_engine.analysis import forks, run_form
from icm_engine.analysis.views import load
from icm_engine.core.advance import Breakpoints
from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.search import temperature
from icm_engine.core.settings import with_settings
from icm_engine.jobs import job_process, job_worker
from icm_engine.runs import fork, model_registry, worker
from icm_engine.store.store import Store
from tests.support.drawn_pages import page, texts
from tests.support.stores import add_run

pytestmark = pytest.mark.usefixtures("no_processes")


def obey(store: Store, name: str, module: object = worker) -> None:
    if module is worker:
        assert worker.main(["--db", str(store.path), name]) == 0
    else:
        assert job_process.main(job_worker.perform, ["--db", str(store.path), name]) == 0


def test_a_temperature_now_is_an_initial_temperature(store: Store) -> None:
    reading = load(store, add_run(store))
    assert reading.state is not None
    now = {name: found.value for name, found in run_form.tunable(reading).items()}
    assert run_form.changed_settings(reading, now) == {}
    for wanted in (5.0, 0.001):
        settings = run_form.changed_settings(reading, {**now, "temperature": wanted, "alpha": 9.0})
        config = with_settings(reading.config, settings)
        assert config.alpha == 9
        assert temperature(reading.state.step + 1, reading.state.accepted, config) == pytest.approx(wanted)
    with pytest.raises(SettingError, match="above 0"):
        run_form.changed_settings(reading, {**now, "temperature": 0.0})


def test_breakpoints_as_they_are_typed(store: Store) -> None:
    reading = load(store, add_run(store))
    points = run_form.breakpoints(reading, " sums-0-0, sums-1-2 ,", 0.0, 7)
    assert points == Breakpoints(("sums-0-0", "sums-1-2"), None, 7)
    words = run_form.breakpoint_words(points)
    assert words == (
        "In force: pause when sums-0-0, sums-1-2 changes its label or a pair has been inconsistent for 7 steps."
    )
    with pytest.raises(NotFound, match="'nobody' is not in this run"):
        run_form.breakpoints(reading, "nobody", None, None)


def test_the_search_page_retunes_and_sets_breakpoints(store: Store) -> None:
    run = add_run(store)
    test = page("search", run=run)
    test.number_input(key="tune_alpha").set_value(12.0).run()
    test.button(key="do_retune").click().run()
    test.text_input(key="break_flips").set_value("sums-0-0").run()
    test.button(key="do_breakpoints").click().run()
    assert not test.exception
    obey(store, run)
    reading = load(store, run)
    assert (reading.config.alpha, reading.breakpoints.flips) == (12.0, ("sums-0-0",))
    assert reading.trajectory.points[-1].verdict == "retuned"
    assert "In force: pause when sums-0-0" in texts(page("search", run=run))


def test_the_tree_and_the_difference(store: Store) -> None:
    run = add_run(store)
    parent = load(store, run)
    child = forks.begin_fork(store, parent, 20, 10, {"seed": 77})
    obey(store, child)
    grandchild = forks.begin_fork(store, load(store, child), 25, 10, {"alpha": 3.0})
    assert [(b.run, b.depth, b.step) for b in forks.tree(store, grandchild)] == [
        (run, 0, None), (child, 1, 20), (grandchild, 2, 25),
    ]  # fmt: skip
    (_, first, second) = forks.tree(store, run)
    assert first.changes["seed"] == (3, 77)
    assert second.changes["alpha"] == (50.0, 3.0)
    ours, theirs = load(store, run), load(store, child)
    found = forks.difference(store, ours, theirs)
    assert found.parted is not None
    assert found.parted > 20
    ids = ours.run.codec.ids
    assert {row.example for row in found.differing} == {
        ids[i] for i in range(18) if ours.labeling.get(i) != theirs.labeling.get(i)
    }
    same = forks.difference(store, ours, ours)
    assert (same.parted, same.differing) == (None, ())
    assert forks.comparable(store, ours, [grandchild, child]) == [grandchild, child]


def test_the_forks_page_forks_and_shows_the_difference(store: Store) -> None:
    run = add_run(store)
    test = page("forks", run=run, step="12")
    assert test.number_input(key="fork_step").value == 12
    test.number_input(key="fork_seed").set_value(5).run()
    test.button(key="do_fork").click().run()
    assert not test.exception
    (child,) = [name for name in store.run_names() if name != run]
    assert store.spec(child).search.seed == 5
    obey(store, child)
    test = page("forks", run=run, **{"with": child})
    assert not test.exception
    assert "diverge at step" in texts(test)


def test_what_if_is_asked_answered_and_pinned(store: Store) -> None:
    run = add_run(store)
    reading = load(store, run)
    i, label = next(iter(reading.labeling.items()))
    example = reading.run.codec.ids[i]
    (other,) = forks.other_labels(reading, example)
    assert forks.price(reading).prompts == len(reading.labeling)
    assert "tokens" in forks.price(reading).words
    job = forks.submit_what_if(store, reading, reading.cursor, example, other)
    assert forks.asked_before(store, run, example) == [job]
    obey(store, job, job_worker)
    found = jobs.result(store, job)
    assert found is not None
    words = forks.answer_words(found)
    assert f"with {other} in place of {label}" in words[0]
    assert load(store, run).labeling == reading.labeling
    child = forks.begin_with_label(store, run, reading.cursor, example, other)
    obey(store, child)
    assert load(store, child).labeling[i] == other


def test_the_menu_keeps_to_the_run_that_was_looked_at(store: Store) -> None:
    first, second = add_run(store), add_run(store)
    test = page("forks", run=first)
    del test.query_params["run"]
    test.switch_page("pages/steps.py").run()
    assert test.query_params["run"] in (first, [first])
    test.selectbox(key=f"pick_{first}").set_value(second).run()
    del test.query_params["run"]
    test.switch_page("pages/flips.py").run()
    assert test.query_params["run"] in (second, [second])
    test.selectbox(key=f"pick_{second}").set_value("Choose a run").run()
    test.switch_page("pages/steps.py").run()
    assert "run" not in test.query_params


def test_a_run_and_its_forks_keep_the_dtype_they_were_scored_with(store: Store) -> None:
    """Resumed on a machine with other instructions, dtype `auto` would otherwise become another one."""
    run = add_run(store)
    assert store.spec(run).dtype == "auto"
    assert model_registry.model_of_run(store, run).dtype == "auto"  # the fake has none
    store.append(run, "model", {"model": "sample", "dtype": "bfloat16"})
    child = fork.fork(store, run, store.last_number(run), {})
    assert model_registry.model_of_run(store, run).dtype == "bfloat16"
    assert model_registry.model_of_run(store, child).dtype == "bfloat16"
    store.append(child, "model", {"model": "sample", "dtype": "float32"})
    assert model_registry.model_of_run(store, child).dtype == "float32"
