"""A search with folds in a browser: started from the form, followed to its end, and looked at round by round."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from icm_engine.core.folds import FOLDS
from icm_engine.store.store import Store
from tests.support.app_server import Server
from tests.support.chromium import CURVE, NEEDS_BROWSER, at_address, choose, insist, new_page, press, stand_still, visit
from tests.support.search_page import wait_for_phase
from tests.support.stored_logs import LOGS, put

pytestmark = NEEDS_BROWSER


def choose_folds(page: Page) -> None:
    """Choose fine-tuned folds in the form, until their options are there."""
    way = page.locator(".st-key-method").get_by_text("Fine-tuned folds")
    options = page.get_by_text("Folds, rounds and tuning")
    insist(way.click, lambda soon: expect(options).to_be_visible(timeout=soon))
    stand_still(page)


def test_a_search_with_folds_is_started_and_followed_to_its_end(
    browser: Browser, server: Server, database: Path
) -> None:
    page = new_page(browser)
    visit(page, f"{server.url}/search?dataset=arithmetic")
    choose(page, "Model", "fake")
    choose_folds(page)
    expect(page.locator(".st-key-start_line")).to_contain_text("rounds")
    press(page, "start_new")
    wait_for_phase(page, "finished")
    expect(page.locator(".st-key-run_end")).to_contain_text("Ended after round")
    expect(page.get_by_test_id("stProgress")).to_contain_text("of at most 8 rounds")
    expect(page.locator(CURVE)).to_have_count(3)  # U, accuracy, labels
    stand_still(page)
    page.locator(".st-key-last_decision").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1, name="Rounds")).to_be_visible()
    expect(page.locator(".st-key-card")).to_contain_text("5 fits")
    stand_still(page)
    press(page, "go_first")
    at_address(page, "event=4")
    expect(page.locator(".st-key-card")).to_contain_text("The labels to start from")
    with Store(database) as store:
        (run,) = store.run_names()
        assert store.spec(run).source == FOLDS


@pytest.mark.parametrize("width", [1280, 400])
def test_a_round_that_was_not_kept_is_looked_at_with_a_fit_of_it(
    browser: Browser, server: Server, database: Path, width: int
) -> None:
    with Store(database) as store:
        run = put(store, LOGS / "arithmetic-folds.jsonl.gz")
    page = new_page(browser, width=width)
    visit(page, f"{server.url}/steps?run={run}&step=4")
    expect(page.locator(".st-key-verdict")).to_contain_text("not kept")
    expect(page.locator(".st-key-card")).to_contain_text("the labels before stayed")
    tables = page.get_by_test_id("stDataFrame")
    before = tables.count()
    choose(page, "Predictions of one fit", "Fold 2")
    at_address(page, "fold=2")
    expect(tables).to_have_count(before + 1)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
