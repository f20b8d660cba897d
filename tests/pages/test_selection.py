"""The selection that all tabs of a run share: what is remembered, what replaces it, what a link carries on."""

from types import SimpleNamespace

import pytest

from icm_engine.store.store import Store
from pages.parts import session
from tests.support.drawn_pages import button, page, texts
from tests.support.stores import add_run


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The URL parameters of a session of its own."""
    query: dict[str, str] = {}
    monkeypatch.setattr(session, "st", SimpleNamespace(query_params=query, session_state={}))
    return query


def opened(url: dict[str, str], run: str, **asked: str) -> dict[str, str]:
    """Open a page of a run with these parameters, and return what the links on it carry."""
    url.clear()
    url.update({"run": run, **asked})
    session.remember_selection(run)
    return session.selection(run)


def test_nothing_selected_is_the_run_alone(url: dict[str, str]) -> None:
    assert session.selection("a") == {"run": "a"}
    assert opened(url, "a") == {"run": "a"}


def test_an_event_and_an_example_hold_over_pages_that_do_not_name_them(url: dict[str, str]) -> None:
    assert opened(url, "a", event="7") == {"run": "a", "event": "7"}
    assert opened(url, "a", example="e1") == {"run": "a", "event": "7", "example": "e1"}
    assert opened(url, "a") == {"run": "a", "event": "7", "example": "e1"}


def test_a_step_replaces_an_event_and_the_other_way_round(url: dict[str, str]) -> None:
    opened(url, "a", event="7", example="e1")
    assert opened(url, "a", step="3") == {"run": "a", "step": "3", "example": "e1"}
    assert opened(url, "a", event="9") == {"run": "a", "event": "9", "example": "e1"}


def test_another_run_has_a_selection_of_its_own(url: dict[str, str]) -> None:
    opened(url, "a", event="7")
    assert session.selection("b") == {"run": "b"}
    assert opened(url, "b") == {"run": "b"}
    assert opened(url, "a") == {"run": "a"}  # one selection, that of the run last looked at


def test_forgetting_the_moment_keeps_the_example(url: dict[str, str]) -> None:
    opened(url, "a", event="7", example="e1")
    session.forget_selection("event", "step")
    assert session.selection("a") == {"run": "a", "example": "e1"}


def test_parameters_about_one_page_are_not_part_of_it(url: dict[str, str]) -> None:
    assert opened(url, "a", view="Labels", queue="margin") == {"run": "a"}


def test_what_links_carry_may_be_changed_without_harm(url: dict[str, str]) -> None:
    opened(url, "a", event="7")
    session.selection("a")["event"] = "8"
    assert session.selection("a") == {"run": "a", "event": "7"}


def test_steps_says_how_far_a_running_run_is_once_an_event_is_selected(store: Store) -> None:
    run = add_run(store, "running")
    assert "The run continues" not in texts(page("steps", run=run))
    test = page("steps", run=run, step="3")
    assert "The run continues: it is at step 30." in texts(test)
    button(test, "follow").click().run()
    assert not test.exception
    assert "step" not in test.query_params
    assert "The run continues" not in texts(test)


def test_steps_of_a_run_that_rests_offers_nothing_to_follow(store: Store) -> None:
    assert "The run continues" not in texts(page("steps", run=add_run(store), step="3"))
