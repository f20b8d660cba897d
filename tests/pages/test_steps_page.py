"""The Steps page in every state, drawn by Streamlit's own tester."""

import pytest
from streamlit.testing.v1 import AppTest

from icm_engine.analysis import views
from icm_engine.analysis.run_history import Reading
from icm_engine.store.replay import open_run, state_at
from icm_engine.store.store import Event, Store
from tests.support.drawn_pages import button, page, shown_markup, texts
from tests.support.steered_runs import forked_run, steered_run
from tests.support.stores import HOSTILE, add_run, small_dataset

ZERO_WIDTH = chr(0x200B)


@pytest.fixture
def run(store: Store, monkeypatch: pytest.MonkeyPatch) -> str:
    return steered_run(store, monkeypatch)


def event_where(store: Store, run: str, **wanted: object) -> Event:
    """The first event with these values in its body; `kind` is its own."""
    kind = wanted.pop("kind", "step")
    return next(
        event
        for event in store.read_after(run, kinds=(str(kind),))
        if all(event.body[name] == value for name, value in wanted.items())
    )


def at(store: Store, run: str, event: Event, **query: str) -> AppTest:
    return page("steps", run=run, event=str(event.number), **query)


def tables(test: AppTest, column: str):  # type: ignore[no-untyped-def]
    return [frame.value for frame in test.dataframe if column in frame.value]


@pytest.mark.parametrize("verdict", ["accepted", "rejected", "unchanged"])
def test_a_card_of_every_verdict(store: Store, run: str, verdict: str) -> None:
    event = event_where(store, run, verdict=verdict)
    test = at(store, run, event)
    said = texts(test)
    assert f"{verdict.capitalize()}" in said
    assert f"step {event.body['step']:,} of 75 · event {event.number}" in said
    assert f"example {event.body['example']}" in said
    assert event.body["prompt_sha256"] in said
    (frame,) = tables(test, "log-prob")
    assert dict(zip(frame["label"], frame["log-prob"], strict=True)) == event.body["log_probs"]
    if event.body["after"]:
        terms = next(frame for frame in tables(test, "term"))
        assert list(terms["change"])[-1] == pytest.approx(event.body["delta"])
    if verdict == "rejected":
        assert "It would be accepted at T of at least" in said


def test_repairs_stand_on_the_card_with_all_their_options(store: Store, run: str) -> None:
    event = next(e for e in store.read_after(run, kinds=("step",)) if e.body["repairs"])
    test = at(store, run, event)
    frames = tables(test, "against U now")
    assert len(frames) == len(event.body["repairs"])
    for frame, repair in zip(frames, event.body["repairs"], strict=True):
        assert sorted(frame["U"].dropna()) == sorted(option["utility"] for option in repair["options"])


def test_the_prompt_is_shown_with_its_whitespace_and_its_hash(store: Store, run: str) -> None:
    event = event_where(store, run, reused=False)
    test = at(store, run, event, view="Prompt")
    assert "this is what the model read" in texts(test)
    (shown,) = [
        code.value.replace(ZERO_WIDTH, "")
        for code in test.code
        if "I·think·this·claim·is·" in code.value.replace(ZERO_WIDTH, "")
    ]
    assert shown.endswith("I·think·this·claim·is")
    assert "<b·onclick=alert(1)>bold</b>" in shown


def test_the_labels_are_those_of_then(store: Store, run: str) -> None:
    opened = open_run(store, run)
    for event in store.read_after(run, kinds=("initial", "hand", "step"))[::17]:
        test = at(store, run, event, view="Labels")
        frame = next(frame for frame in tables(test, "probability"))
        state = state_at(store, opened, event.number)
        assert state is not None
        expected = {opened.codec.ids[i]: label for i, label in state.labeling.items()}
        assert {e: y for e, y in zip(frame["example"], frame["label"], strict=True) if isinstance(y, str)} == expected


def test_the_buttons_lead_through_time(store: Store, run: str) -> None:
    reading: Reading = views.load(store, run)
    points = reading.trajectory.points
    test = page("steps", run=run, event=str(points[10].event))
    button(test, "go_next").click().run()
    assert test.query_params["event"] == str(points[11].event)
    button(test, "go_previous").click().run()
    button(test, "go_previous").click().run()
    assert test.query_params["event"] == str(points[9].event)
    button(test, "go_accepted").click().run()
    assert test.query_params["event"] == str(next(p.event for p in points[10:] if p.verdict == "accepted"))
    button(test, "go_first").click().run()
    assert "Initial labels" in shown_markup(test)
    assert button(test, "go_previous").disabled
    button(test, "go_last").click().run()
    assert button(test, "go_next").disabled
    assert not test.exception


def test_the_slider_and_the_step_field_write_the_address(store: Store, run: str) -> None:
    points = views.load(store, run).trajectory.points
    test = page("steps", run=run)
    assert test.slider(key=f"travel_{run}").value == len(points) - 1
    test.slider(key=f"travel_{run}").set_value(12).run()
    assert test.query_params["event"] == str(points[12].event)
    test.number_input(key=f"jump_{run}").set_value(33).run()
    assert test.query_params["step"] == "33"
    assert "event" not in test.query_params
    assert "step 33 of 75" in texts(test)
    assert test.slider(key=f"travel_{run}").value == next(k for k, p in enumerate(points) if p.step == 33)


def test_the_next_flip_follows_one_example(store: Store, run: str) -> None:
    changes = views.load(store, run).history
    example = next(c.example for c in changes if sum(d.example == c.example for d in changes) > 2)
    mine = [c.event for c in changes if c.example == example]
    name = open_run(store, run).codec.ids[example]
    test = page("steps", run=run, event=str(mine[0]), example=name)
    for event in mine[1:]:
        button(test, "go_flip").click().run()
        assert (test.query_params["event"], test.query_params["example"]) == (str(event), name)
        assert f"Following example {name}" in texts(test)
    assert button(test, "go_flip").disabled
    button(test, "unfollow").click().run()
    assert "example" not in test.query_params


def test_acts_settings_and_forks_have_cards(store: Store, run: str) -> None:
    said = texts(at(store, run, event_where(store, run, kind="hand")))
    assert "Pinned: 1 example." in said
    assert "U went from" in said
    said = texts(at(store, run, event_where(store, run, kind="retuned")))
    assert "alpha: 50 → 20" in said
    child = forked_run(store, run)
    test = page("steps", run=child, event="1")
    assert f"This run began in the state of run {run} after" in texts(test)


@pytest.mark.parametrize("view", ["Curves", "Prompt", "Labels", "Inconsistent pairs", "What if"])
def test_text_from_outside_is_never_markup(store: Store, run: str, view: str) -> None:
    for event in store.read_after(run, kinds=("initial", "hand", "step"))[::20]:
        test = at(store, run, event, view=view)
        assert HOSTILE not in shown_markup(test)
        assert not [label for label in (expander.label for expander in test.expander) if HOSTILE in label]


def test_without_gold_nothing_of_it_is_shown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    small_dataset(store, gold=False)
    run = steered_run(store, monkeypatch)
    for view in ("Curves", "Labels"):
        test = page("steps", run=run, event="20", view=view)
        assert "gold" not in texts(test)
        assert "Accuracy" not in {metric.label for metric in test.metric}
        assert not tables(test, "gold")


def test_a_run_without_labels_says_so(store: Store) -> None:
    run = add_run(store, "created")
    assert "no labels yet" in texts(page("steps", run=run))
    assert "Choose a run" in shown_markup(page("steps"))
    assert "Choose a run" in shown_markup(page("steps", run="nothing-1"))


def test_an_address_that_means_nothing_shows_the_newest(store: Store, run: str) -> None:
    for query in ({"event": "x"}, {"event": "99999"}, {"step": "99999"}, {"event": "²"}, {"example": "nobody"}):
        assert "step 75 of 75" in texts(page("steps", run=run, **query))
