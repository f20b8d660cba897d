"""What only a real browser shows of the Evaluate tab: a click on a cell, the keyboard, a landscape, a reload."""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from icm_engine import jobs
from icm_engine.analysis import audit, landscape, views
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


def test_an_audit_goes_from_its_first_question_to_a_verdict_by_keyboard(
    browser: Browser, server: Server, database: Path
) -> None:
    with Store(database) as store:
        run = add_run(store, "finished", seed=4)
        begun = audit.audit_of(store, views.load(store, run))
    page = new_page(browser)
    visit(page, f"{server.url}/compare?run={run}&view=Audit")
    verdict, keys = page.locator(".st-key-verdict"), {label: str(k) for k, label in enumerate(begun.labels, start=1)}
    expect(page.locator(".st-key-last_decision")).to_have_count(0)  # it names a label
    expect(page.locator(".st-key-headline")).not_to_contain_text("accuracy")  # which gold gives
    page.keyboard.press("0")
    for number in range(2, 40):
        expect(page.get_by_text(f"Question {number}", exact=True)).to_be_visible()
        stand_still(page)
        if "Right" in verdict.inner_text():
            break
        place = begun.place(number)
        assert place is not None
        page.keyboard.press(keys[begun.labeling[place]])
    with Store(database) as store:
        found = audit.audit_of(store, views.load(store, run)).finding
    assert (found.verdict, found.wrong, found.unsure) == ("right", 0, 1)
    expect(verdict).to_contain_text(audit.verdict_words(found))
    page.keyboard.press("z")  # the question before, which the key of the other label answers again
    expect(page.get_by_text(f"Question {number - 1}", exact=True)).to_be_visible()
    stand_still(page)
    place = begun.place(number - 1)
    assert place is not None
    page.keyboard.press(keys[next(label for label in begun.labels if label != begun.labeling[place])])
    expect(page.get_by_text(f"Question {number}", exact=True)).to_be_visible()
    expect(page.get_by_text(f"{number - 3} of {number - 2} answers agree")).to_be_visible()
    reload(page)
    expect(page.get_by_text(f"{number - 3} of {number - 2} answers agree")).to_be_visible()


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
    """Write docs/compare.png, landscape.png and audit.png: a run beside gold, its landscape, an audit."""
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
        for _ in range(13):  # as a person who knows sums would answer
            now = audit.audit_of(store, reading)
            place = now.place(now.next)
            assert place is not None
            audit.record(store, reading, now, now.next, reading.gold[reading.run.codec.ids[place]])
            reading = views.load(store, run)
    with serving(database) as server:
        for name, view, height in (
            ("compare", "view=Gold&cell=True,False", 1440),
            ("landscape", "view=Landscape", 1160),
            ("audit", "view=Audit", 860),
        ):
            for page in in_both_themes(browser, name, height):
                visit(page, f"{server.url}/compare?run={run}&{view}")
                expect(page.locator(CURVE).first).to_be_visible()


if "ICM_SCREENSHOTS" in os.environ:  # not a skip: a browser test that skips means that there is no browser
    test_picture_of_a_comparison = picture_of_a_comparison
