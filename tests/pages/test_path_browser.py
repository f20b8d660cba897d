"""A new user's path from an empty database to three labels in doubt: the clicks that Help lists are the clicks made."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from icm_engine.analysis.flips import doubt_words, lowest_margin
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.tour import PATH_TO_DOUBTS, Click
from icm_engine.analysis.views import load
from icm_engine.runs import control
from icm_engine.store.store import Store
from tests.support.app_server import Server
from tests.support.chromium import NEEDS_BROWSER, at_address, new_page, stand_still, visit

pytestmark = [*NEEDS_BROWSER, pytest.mark.model]
MOST = 12  # clicks
HEIGHT = 800  # pixels of the window
BOLD = re.compile(r"\*\*(.+?)\*\*")


def test_the_clicks_in_help_lead_to_three_labels_in_doubt(browser: Browser, server: Server, database: Path) -> None:
    page = new_page(browser, height=HEIGHT)
    visit(page, f"{server.url}/tour")
    expect(page.get_by_text("No runs yet")).to_be_visible()
    listed = page.locator(".st-key-path li")
    expect(listed).to_have_text([BOLD.sub(r"\1", click.words) for click in PATH_TO_DOUBTS])
    assert listed.count() <= MOST
    visit(page, server.url)
    start, *rest = PATH_TO_DOUBTS
    follow(page, start)
    reading = finished(page, database)
    doubted = [row.example for row in lowest_margin(reading)[:3]]
    are_in_view(page, [doubt_words(reading, example) for example in doubted])
    assert [click.area for click in rest] == ["doubts", "decisions", "tab_overview_off"] * len(doubted)
    for number, example in enumerate(doubted):
        an_example, its_decision, overview = rest[3 * number :][:3]
        follow(page, an_example)
        at_address(page, f"example={reading.run.codec.ids[example]}")
        expect(page.locator(".st-key-one_example")).to_contain_text(doubt_words(reading, example))
        follow(page, its_decision)
        decision_is_shown(page, reading, example)
        follow(page, overview)
        expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()


def follow(page: Page, click: Click) -> None:
    """Click as Help says: in the part of the page that has the words in bold, on the button or link in that place."""
    part = page.locator(f".st-key-{click.area}")
    for words in BOLD.findall(click.words):
        expect(part).to_contain_text(words)
    stand_still(page)
    part.locator("button:visible, [data-testid=stPageLink] a:visible").nth(click.place).click()


def finished(page: Page, database: Path) -> Reading:
    """Wait until the one run has ended and its page says so; return what the run found."""
    expect(page.locator(".st-key-headline")).to_be_visible()
    with Store(database) as store:
        (run,) = store.run_names()
        assert control.wait_until_settled(store, run).phase == "finished"
        reading = load(store, run)
    expect(page.locator(".st-key-run_end")).to_be_visible()
    return reading


def decision_is_shown(page: Page, reading: Reading, example: int) -> None:
    """Wait until Steps shows the step that set the example's label, with its verdict, and the label it set."""
    change = [change for change in reading.history if change.example == example][-1]
    at_address(page, f"event={change.event}")
    expect(page.get_by_role("spinbutton", name="Step", exact=True)).to_have_value(str(change.step))
    expect(page.locator(".st-key-verdict")).to_contain_text("Accepted")
    label, name = reading.labeling[example], reading.run.codec.ids[example]
    expect(page.locator(".st-key-followed")).to_contain_text(f"Following example {name}: its label then was {label}.")


def are_in_view(page: Page, reasons: list[str]) -> None:
    """Assert that the list of doubts begins with these reasons, each with its margin, in view without scrolling."""
    said = page.locator(".st-key-doubts").get_by_test_id("stCaptionContainer")
    stand_still(page)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop") == 0
    for number, reason in enumerate(reasons):
        assert re.match(r"Margin [+−]\d+\.\d\d: .* to 1\. Flips: \d+, conflicts: \d+, last set at step \d+ \(", reason)
        expect(said.nth(number)).to_have_text(reason)
        box = said.nth(number).bounding_box()
        assert box is not None
        assert 0 <= box["y"] <= box["y"] + box["height"] <= HEIGHT
