"""What only a real browser shows of the Compare page: a click on a cell, the keyboard, a landscape, a reload."""

import contextlib
import os
from pathlib import Path

import pytest
from filled import add_run
from playwright.sync_api import Browser, Page, TimeoutError, expect
from serving import NEEDS_BROWSER, PATIENCE, ROOT, new_page, serving
from test_browser import MODEL

from icm_engine.analysis import landscape, views
from icm_engine.analysis.agreement_with_gold import cell_caption, gold_by_place
from icm_engine.core.settings import SearchConfig
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.runs import control, jobs
from icm_engine.runs.events import RunSpec
from icm_engine.runs.store import Store

pytestmark = NEEDS_BROWSER
SOON = 4000  # milliseconds


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "icm.db"


def matrix(page: Page):  # type: ignore[no-untyped-def]
    """The drawn confusion matrix."""
    chart = page.locator("[class*='st-key-confusion_'] .icm-curve.js-plotly-plot")
    expect(chart).to_be_visible(timeout=PATIENCE)
    return chart


def click_cell(page: Page, row: int, column: int, rows: int = 2, columns: int = 3) -> None:
    """Click the middle of a cell of the confusion matrix, once the chart knows which cell the mouse is on.

    What is drawn later may move the chart from under the mouse: then the mouse goes there again.
    """
    on = f"n => n._hoverdata?.[0]?.pointNumber?.join() === '{row},{column}' && n._ev?.listenerCount('plotly_click') > 0"
    for _ in range(PATIENCE // SOON):
        chart = matrix(page)
        chart.evaluate("node => node.scrollIntoView({block: 'center'})")
        area = chart.locator(".nsewdrag").first.bounding_box()
        assert area is not None
        x, y = area["x"] + area["width"] * (column + 0.5) / columns, area["y"] + area["height"] * (row + 0.5) / rows
        page.mouse.move(x - 9, y - 9)
        page.mouse.move(x, y, steps=3)
        with contextlib.suppress(TimeoutError):
            page.wait_for_function(f"() => [...document.querySelectorAll('.icm-curve')].some({on})", timeout=SOON)
            break
    page.mouse.click(x, y)


def test_a_cell_is_clicked_linked_and_reached_by_keyboard(browser: Browser, database: Path) -> None:
    with Store(database) as store:
        run = add_run(store, "finished")
        reading = views.load(store, run)
    wrong = [
        i
        for i, label in reading.labeling.items()
        if label == "False" and reading.gold[reading.run.codec.ids[i]] == "True"
    ]
    with serving(database) as server:
        page = new_page(browser)
        page.goto(f"{server.url}/compare?run={run}")
        click_cell(page, 0, 1)
        expect(page.get_by_text(cell_caption(len(wrong), 500), exact=True)).to_be_visible(timeout=PATIENCE)
        assert "cell=True%2CFalse" in page.url
        page.reload()
        expect(page.get_by_text(cell_caption(len(wrong), 500), exact=True)).to_be_visible(timeout=PATIENCE)
        matrix(page)
        page.get_by_role("combobox", name="Examples of a cell", exact=True).focus()
        page.keyboard.press("ArrowDown")
        page.get_by_role("option").first.wait_for()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_function("!location.search.includes('cell=True%2CFalse')")
        page.close()


def test_a_landscape_is_scored_and_its_link_shows_it_again(browser: Browser, database: Path) -> None:
    with Store(database) as store:
        run = add_run(store, "finished")
    with serving(database) as server:
        page = new_page(browser)
        page.goto(f"{server.url}/compare?run={run}&view=Landscape")
        page.locator(".st-key-landscape").get_by_role("button").click()
        verdict = page.locator(".st-key-verdict")
        expect(verdict).to_contain_text("what was found", timeout=PATIENCE)
        assert "job=landscape.1" in page.url
        said = verdict.inner_text()
        page.reload()
        expect(verdict).to_have_text(said, timeout=PATIENCE)
        expect(page.locator(".icm-curve.js-plotly-plot")).to_have_count(1, timeout=PATIENCE)
        page.close()


def picture_of_a_comparison(browser: Browser, database: Path) -> None:
    """Write docs/compare.png and docs/landscape.png: a run on sample data beside its gold, and its landscape."""
    with Store(database) as store:
        ensure_sample_dataset(store, "arithmetic")
        spec = RunSpec("arithmetic", MODEL, "none", limit=48, search=SearchConfig(max_steps=120))
        run = control.create_run(store, spec)
        control.start(store, run)
        control.wait_until_settled(store, run)
        reading = views.load(store, run)
        job = landscape.ask(store, reading, gold_by_place(store, reading, tuple(reading.labeling)))
        assert jobs.wait_until_settled(store, job).phase == "done"
    with serving(database) as server:
        for name, view, height in (
            ("compare", "view=Gold&cell=True,False", 1440),
            ("landscape", "view=Landscape", 1160),
        ):
            page = new_page(browser, height=height)
            page.goto(f"{server.url}/compare?run={run}&{view}")
            expect(page.locator(".icm-curve.js-plotly-plot").first).to_be_visible(timeout=PATIENCE)
            page.wait_for_timeout(3000)
            page.screenshot(path=ROOT / "docs" / f"{name}.png")
            page.close()


if "ICM_SCREENSHOTS" in os.environ:  # not a skip: a browser test that skips means that there is no browser
    test_picture_of_a_comparison = picture_of_a_comparison
