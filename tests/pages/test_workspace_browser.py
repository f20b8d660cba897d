"""What only a real browser shows of a run's workspace: what is in view, what stays selected, what is followed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.app_server import Server
from tests.support.chromium import CURVE, NEEDS_BROWSER, SOON, at_address, new_page, press, stand_still, visit
from tests.support.search_page import wait_for_phase, wait_for_steps
from tests.support.stores import add_run

pytestmark = NEEDS_BROWSER
HEIGHT = 800
ROW = 34  # pixels of a row of a table


def begun(database: Path, pairs: Dataset) -> str:
    """A run of the fake model that has taken twenty steps and goes on for as long as it is let."""
    with Store(database) as store:
        if not store.has_dataset(pairs.name):
            store.add_dataset(pairs)
        run = control.create_run(store, RunSpec("pairs", "fake", search=SearchConfig(max_steps=10_000_000)))
        control.step(store, run, 20)
        control.wait_until_settled(store, run)
    return run


@pytest.fixture
def paused(database: Path, pairs: Dataset) -> str:
    return begun(database, pairs)


@pytest.fixture
def running(database: Path, pairs: Dataset) -> Iterator[str]:
    """A run that goes on during the test and is paused after it."""
    run = begun(database, pairs)
    with Store(database) as store:
        control.start(store, run)
        yield run
        control.pause(store, run)
        control.wait_until_settled(store, run)


def is_in_view(found: Locator, whole: bool = True) -> None:
    """Assert that an element, or its top at least, is in the window although nobody has scrolled."""
    expect(found).to_be_visible()
    page = found.page
    stand_still(page) if page.locator(".st-key-do_pause").count() == 0 else page.wait_for_timeout(SOON)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop") == 0
    box = found.bounding_box()
    assert box is not None
    assert 0 <= box["y"] <= box["y"] + whole * box["height"] <= HEIGHT, box


@pytest.mark.parametrize("width", [1280, 400])
def test_both_curves_and_the_last_decision_of_a_running_run_are_in_view(
    browser: Browser, server: Server, running: str, width: int
) -> None:
    page = new_page(browser, width, HEIGHT)
    page.goto(f"{server.url}/search?run={running}")
    wait_for_phase(page, "running")
    wait_for_steps(page, 20)
    expect(page.locator(CURVE)).to_have_count(3)
    is_in_view(page.locator(".st-key-last_decision"))
    for title in ("Utility", "Temperature and acceptance"):
        is_in_view(page.locator(f"[class*='st-key-curve_{title.replace(' ', '-')}'] {CURVE}"), whole=False)


def test_the_header_stays_in_view(browser: Browser, server: Server, paused: str) -> None:
    page = new_page(browser, height=HEIGHT)
    visit(page, f"{server.url}/search?run={paused}")
    page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 500)")
    page.wait_for_function("document.querySelector('[data-testid=stMain]').scrollTop >= 500")
    for part in ("headline", "last_decision", "controls", "tabs"):
        box = page.locator(f".st-key-{part}").bounding_box()
        assert box is not None
        assert 0 <= box["y"] <= box["y"] + box["height"] <= 240, part
    behind = page.locator(".st-key-headline").evaluate(  # nothing of the page is drawn over it
        """node => { const { left, top } = node.getBoundingClientRect();
                     return node.contains(document.elementFromPoint(left + 20, top + 12)); }"""
    )
    assert behind


def test_a_selection_is_kept_over_all_tabs_and_entries(browser: Browser, server: Server, database: Path) -> None:
    with Store(database) as store:
        run = add_run(store)
        event = next(event.number for event in store.read_after(run, kinds=("step",)) if event.body["step"] == 7)
    page = new_page(browser, height=HEIGHT)
    visit(page, f"{server.url}/search?run={run}&event={event}&example=sums-2-1")
    for tab, heading in (
        ("Steps", "Steps"),
        ("Examples", "Labels"),
        ("Annotate", "Annotate"),
        ("Overview", "Overview"),
    ):
        page.locator(".st-key-tabs").get_by_role("link", name=tab, exact=False).click()
        expect(page.get_by_role("heading", level=1, name=heading)).to_be_visible()
        selected(page, run, event)
    page.get_by_test_id("stSidebarNavLink").filter(has_text="Data").click()
    expect(page.get_by_role("heading", level=1, name="Data")).to_be_visible()
    stand_still(page)
    page.locator(".st-key-seen_run").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    selected(page, run, event)


def selected(page: Page, run: str, event: int) -> None:
    """Wait until the address has the whole selection."""
    for part in (f"run={run}", f"event={event}", "example=sums-2-1"):
        at_address(page, part)
    stand_still(page)


def test_steps_follows_a_running_run_until_an_event_is_selected(browser: Browser, server: Server, running: str) -> None:
    page = new_page(browser, height=HEIGHT)
    page.goto(f"{server.url}/steps?run={running}")
    wait_for_phase(page, "running")
    for _ in range(2):  # it goes on by itself, twice
        goes_on(page)
    page.goto(f"{server.url}/steps?run={running}&step=5")
    said = page.locator(".st-key-behind")
    expect(said).to_contain_text("The run continues: it is at step ")
    before = said.inner_text()
    expect(said).not_to_have_text(before)  # how far it is, is up to date
    expect(step(page)).to_have_value("5")
    page.locator(".st-key-follow").get_by_role("button").click()
    expect(said).to_have_count(0)
    expect(step(page)).not_to_have_value("5")
    goes_on(page)


def step(page: Page) -> Locator:
    return page.get_by_role("spinbutton", name="Step", exact=True)


def goes_on(page: Page) -> None:
    """Wait until the page shows a later step."""
    before = step(page).input_value()
    expect(step(page)).not_to_have_value(before)
    assert int(step(page).input_value()) > int(before)


@pytest.mark.smoke
def test_a_step_by_keyboard_shows_its_verdict_in_view(
    browser: Browser, server: Server, database: Path, paused: str
) -> None:
    page = new_page(browser, height=HEIGHT)
    visit(page, f"{server.url}/search?run={paused}")
    decided = page.locator(".st-key-last_decision")
    expect(decided).to_contain_text("Step 20 ")
    page.keyboard.press("n")
    expect(decided).to_contain_text("Step 21 ")
    is_in_view(decided)
    with Store(database) as store:
        control.wait_until_settled(store, paused)
        (body,) = (event.body for event in store.read_after(paused, kinds=("step",)) if event.body["step"] == 21)
    expect(decided).to_contain_text(str(body["verdict"]))


def test_runs_are_opened_and_compared_from_the_table(browser: Browser, server: Server, database: Path) -> None:
    with Store(database) as store:
        older, newer = add_run(store, "finished", dataset="overlaid"), add_run(store, "finished", dataset="overlaid")
    page = new_page(browser, height=HEIGHT)
    open_runs(page, server, "overlaid")
    for row in (1, 2):
        click_cell(page, row, 16)
    overlay = page.get_by_role("link", name="Overlay curves and compare labels")
    expect(overlay).to_be_visible()
    stand_still(page)
    overlay.click()
    expect(page.get_by_role("heading", level=1, name="Evaluate")).to_be_visible()
    for part in (f"run={newer}", "view=Runs", f"with={older}"):
        at_address(page, part)
    open_runs(page, server, "overlaid")
    click_cell(page, 2, 80)
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    at_address(page, f"run={older}")


def test_a_selected_run_is_deleted_and_no_other_row_is_selected_in_its_place(
    browser: Browser, server: Server, database: Path
) -> None:
    with Store(database) as store:
        older, newer = (add_run(store, "finished", dataset="deleted") for _ in range(2))
    page = new_page(browser, height=HEIGHT)
    open_runs(page, server, "deleted")
    click_cell(page, 1, 12)
    press(page, "delete_runs")
    expect(page.get_by_role("dialog")).to_contain_text(newer)
    press(page, "delete_runs_really")
    expect(page.get_by_text(re.compile(r"^1 run\. Click a name"))).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(".st-key-delete_runs")).to_have_count(0)  # nothing is selected
    with Store(database) as store:
        assert [run for run in store.run_names() if run.startswith("deleted")] == [older]


def open_runs(page: Page, server: Server, dataset: str) -> None:
    """Open the table of runs with the two runs on a data set alone in it."""
    visit(page, server.url)
    page.get_by_role("textbox", name="Find").fill(dataset)
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile(r"^2 runs\. Click a name"))).to_be_visible()
    stand_still(page)


def click_cell(page: Page, row: int, x: int) -> None:
    """Click into a row of the table, this many pixels from its left."""
    table = page.locator(".st-key-runs").get_by_test_id("stDataFrame")
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + x, box["y"] + (row + 0.5) * ROW)
    stand_still(page)
