"""The tour: its stations are real steps of the run it looks at."""

from icm_engine.analysis.tour import NOT_YET, stations
from icm_engine.analysis.views import load
from icm_engine.experiments.suites import read_suite
from icm_engine.store.store import Store
from tests.support.drawn_pages import page, shown_markup, texts
from tests.support.stores import add_run


def test_each_station_is_the_first_step_of_its_kind(store: Store) -> None:
    run = add_run(store, steps=60)
    reading = load(store, run)
    _, heat, loss, rejected, repair, _ = stations(store, reading)
    steps = store.read_after(run, kinds=("step",))
    lost = next(e for e in steps if e.body["accepted"] and e.body["delta"] < 0)
    assert loss.query == {"run": run, "event": str(lost.number)}
    assert f"Step {lost.body['step']}" in loss.seen
    assert "although it is not a gain" in loss.seen
    turned_down = next(e for e in steps if e.body["verdict"] == "rejected")
    assert rejected.query["event"] == str(turned_down.number)
    assert "Rejected" in rejected.seen
    mended = next(e for e in steps if e.body["accepted"] and any(r["taken"] for r in e.body["repairs"]))
    assert repair.query["repair"].startswith(f"{mended.number}.")
    assert "10.00 at step 1" in heat.seen.replace(",", "")


def test_what_has_not_happened_says_so(store: Store) -> None:
    reading = load(store, add_run(store, steps=1))
    assert reading.trajectory.points[-1].verdict == "accepted"
    rejected = stations(store, reading)[3]
    assert (rejected.seen, rejected.page) == (NOT_YET, "")


def test_the_page_shows_the_stations_or_offers_a_run(store: Store) -> None:
    test = page("tour")
    assert test.button(key="tour_start").label == "Start a run on sample data"
    created = page("tour", run=add_run(store, "created"))
    assert "no labels yet" in texts(created)
    shown = page("tour", run=add_run(store, steps=60))
    assert [line.value for line in shown.subheader][:2] == ["1. What U is", "2. What T is"]
    assert "In this run" in shown_markup(shown)


def test_help_has_the_usual_exercise(store: Store) -> None:
    """It names a suite that is there, with the numbers of its file."""
    test = page("tour")
    assert "The usual exercise" in [header.value for header in test.header]
    said, suite = shown_markup(test), read_suite("truthfulqa")
    assert suite.use is not None
    assert f"labels {suite.examples} claims" in said
    assert f"for {suite.use.test} others" in said
    quick = read_suite("truthfulqa", quick=True)
    assert quick.use is not None
    assert f"*Quick* takes {quick.examples} and {quick.use.test}" in said
    assert all(f"*{arm.name}*" in said for arm in suite.arms)
