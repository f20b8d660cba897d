"""What only a real browser shows of the Evaluate tab: a click on a cell, the keyboard, a landscape, a reload."""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from icm_engine import jobs
from icm_engine.analysis import landscape, views
from icm_engine.analysis.gold_agreement import cell_caption, gold_by_place
from icm_engine.core.settings import SearchConfig
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.runs import control
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.app_server import MODEL, Server, serving
from tests.support.chromium import (
    CURVE,
    NEEDS_BROWSER,
    at_address,
    click_chart,
    new_page,
    press,
    reload,
    stand_still,
    take_another_by_keyboard,
    visit,
)
from tests.support.pictures import in_both_themes
from tests.support.stores import add_run

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def run(database: Path) -> str:
    with Store(database) as store:
        return add_run(store, "finished")


def test_a_cell_is_clicked_linked_and_reached_by_keyboard(
    browser: Browser, server: Server, database: Path, run: str
) -> None:
    with Store(database) as store:
        reading = views.load(store, run)
    wrong = [
        i
        for i, label in reading.labeling.items()
        if label == "False" and reading.gold[reading.run.codec.ids[i]] == "True"
    ]
    caption = cell_caption(len(wrong), 500)
    page = new_page(browser)
    visit(page, f"{server.url}/compare?run={run}")
    matrix = page.locator(f"[class*='st-key-confusion_'] {CURVE}")
    click_chart(page, matrix, 1.5 / 3, 0.5 / 2, "True,False")
    expect(page.get_by_text(caption, exact=True)).to_be_visible()
    at_address(page, "cell=True%2CFalse")
    reload(page)
    expect(page.get_by_text(caption, exact=True)).to_be_visible()
    take_another_by_keyboard(page, "Examples of a cell")
    expect(page).not_to_have_url(re.compile("cell=True%2CFalse"))


def test_a_landscape_is_scored_and_its_link_shows_it_again(browser: Browser, server: Server, run: str) -> None:
    page = new_page(browser)
    visit(page, f"{server.url}/compare?run={run}&view=Landscape")
    press(page, "landscape")
    verdict = page.locator(".st-key-verdict")
    expect(verdict).to_contain_text("the found labels")
    at_address(page, "job=landscape.1")
    stand_still(page)
    said = verdict.inner_text()
    reload(page)
    expect(verdict).to_have_text(said)
    expect(page.locator(CURVE)).to_have_count(1)


def picture_of_a_comparison(browser: Browser, tmp_path: Path) -> None:
    """Write docs/compare.png and docs/landscape.png: a run on sample data beside its gold, and its landscape."""
    database = tmp_path / "icm.db"
    with Store(database) as store:
        ensure_sample_dataset(store, "arithmetic")
        spec = RunSpec("arithmetic", MODEL, "none", limit=48, search=SearchConfig(max_steps=120))
        run = control.create_run(store, spec)
        control.start(store, run)
        control.wait_until_settled(store, run)
        reading = views.load(store, run)
        job = landscape.submit(store, reading, gold_by_place(store, reading, tuple(reading.labeling)))
        assert jobs.wait_until_settled(store, job).phase == "done"
    with serving(database) as server:
        for name, view, height in (
            ("compare", "view=Gold&cell=True,False", 1440),
            ("landscape", "view=Landscape", 1160),
        ):
            for page in in_both_themes(browser, name, height):
                visit(page, f"{server.url}/compare?run={run}&{view}")
                expect(page.locator(CURVE).first).to_be_visible()


if "ICM_SCREENSHOTS" in os.environ:  # not a skip: a browser test that skips means that there is no browser
    test_picture_of_a_comparison = picture_of_a_comparison
