"""What only a real browser shows of the Annotate page: the keyboard, a worker that applies it, a reload."""

import os
import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import load
from icm_engine.core.settings import SearchConfig
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.runs import control
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.app_server import MODEL, Server, serving
from tests.support.chromium import NEEDS_BROWSER, PATIENCE, new_page, reload, stand_still, visit
from tests.support.pictures import in_both_themes

pytestmark = NEEDS_BROWSER


def begun(database: Path, pairs: Dataset) -> str:
    """A run of the fake model with labels, its own worker beside it."""
    with Store(database) as store:
        if not store.has_dataset(pairs.name):
            store.add_dataset(pairs)
        run = control.create_run(store, RunSpec("pairs", "fake", search=SearchConfig(max_steps=1000)))
        control.step(store, run, 20)
        control.wait_until_settled(store, run)
    return run


def annotating(browser: Browser, server: Server, database: Path, pairs: Dataset) -> tuple[str, Page]:
    """Such a run, and the page on its first example."""
    run = begun(database, pairs)
    page = new_page(browser)
    visit(page, f"{server.url}/annotate?run={run}")
    at(page, "e0")
    return run, page


def read(database: Path, run: str) -> Reading:
    with Store(database) as store:
        control.wait_until_settled(store, run)
        return load(store, run)


def at(page: Page, example: str) -> None:
    """Wait until this example is on the page, by its text and by its address."""
    expect(page.locator(".st-key-example_facts")).to_contain_text(f"id {example}")
    expect(page).to_have_url(re.compile(rf"example={example}(&|$)"))
    for name in ("pin_0", "override_1"):  # the first and the last of the labels' buttons are this example's
        expect(page.locator(f".st-key-{name}_{example[1:]}").get_by_role("button")).to_be_enabled()
    stand_still(page)  # what is pressed while the page is drawn is about nothing, and meant to be


def label(page: Page, word: str, pinned: bool) -> None:
    """Wait until the example has this label now, applied by the worker."""
    box = page.locator(".st-key-label_now")
    expect(box).to_contain_text(word)
    expect(box).to_contain_text("pinned: the search keeps it" if pinned else "not pinned")
    stand_still(page)


def test_labels_by_keyboard_are_applied_undone_and_found_again(
    browser: Browser, server: Server, database: Path, pairs: Dataset
) -> None:
    run = begun(database, pairs)
    before = read(database, run).labeling.get(0)
    page = new_page(browser)
    visit(page, f"{server.url}/annotate?run={run}")
    at(page, "e0")
    page.keyboard.press("2")
    at(page, "e1")
    page.keyboard.press("Shift+1")
    at(page, "e2")
    page.keyboard.press("ArrowLeft")
    at(page, "e1")
    label(page, "True", pinned=False)
    page.keyboard.press("ArrowLeft")
    at(page, "e0")
    label(page, "False", pinned=True)
    reading = read(database, run)
    assert (reading.labeling[0], reading.labeling[1], reading.pins) == ("False", "True", {0})
    page.keyboard.press("z")  # the override, which is shown again
    at(page, "e1")
    page.keyboard.press("z")
    at(page, "e0")
    expect(page.locator(".st-key-label_now")).to_contain_text(
        "No label yet" if before is None else "not pinned", timeout=PATIENCE
    )
    reading = read(database, run)
    assert (reading.labeling.get(0), reading.pins) == (before, frozenset())
    stand_still(page)
    page.keyboard.press("y")
    label(page, "False", pinned=True)
    page.keyboard.press("ArrowRight")
    at(page, "e1")
    reload(page)
    at(page, "e1")
    expect(page.locator(".st-key-walk")).to_contain_text("2 of 40")


def test_keys_pressed_before_the_page_moved_on_are_about_what_was_seen(
    browser: Browser, server: Server, database: Path, pairs: Dataset
) -> None:
    run, page = annotating(browser, server, database, pairs)
    press = "document.dispatchEvent(new KeyboardEvent('keydown', {key: '1', code: 'Digit1', bubbles: true}))"
    page.evaluate(f"for (let k = 0; k < 4; k++) {{ {press} }}")  # all of them before anything is drawn anew
    while not read(database, run).acts:
        page.wait_for_timeout(200)
    page.wait_for_timeout(1000)  # for what must not come
    reading = read(database, run)
    assert {place for done in reading.acts for place in done.act.examples} == {0}
    assert reading.labeling[0] == "True"


def test_fast_presses_of_an_arrow_key_all_count(
    browser: Browser, server: Server, database: Path, pairs: Dataset
) -> None:
    run, page = annotating(browser, server, database, pairs)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    at(page, "e5")
    for _ in range(3):  # slow enough to be sent one by one, too fast for the page
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(120)
    at(page, "e2")
    visit(page, f"{server.url}/annotate?run={run}&queue=pinned&example=e7")  # beside a queue, which is empty
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(500)  # for what must not come
    at(page, "e7")


def test_keys_have_a_sheet_and_a_switch_and_are_quiet_while_one_types(
    browser: Browser, server: Server, database: Path, pairs: Dataset
) -> None:
    run, page = annotating(browser, server, database, pairs)
    page.get_by_role("textbox", name="Note").fill("1 2 p z")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Acts so far: 1")).to_be_visible()  # the worker has it, and the page knows
    expect(page.locator(".st-key-sheet")).to_be_visible()
    at(page, "e0")
    page.locator(".st-key-example").click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("pin the label as it is")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_text("Keyboard shortcuts", exact=True).click()
    expect(page.locator(".st-key-pin_0_0")).not_to_contain_text("1")
    stand_still(page)
    page.keyboard.press("1")
    page.keyboard.press("?")
    page.wait_for_timeout(1000)  # for what must not come
    expect(page.get_by_role("dialog")).to_have_count(0)
    at(page, "e0")
    reading = read(database, run)
    assert reading.state is not None
    assert (reading.state.hand.notes, reading.pins) == ({0: "1 2 p z"}, frozenset())


def picture_of_an_annotation(browser: Browser, tmp_path: Path) -> None:
    """Write docs/annotate.png: the least certain label of a run on sample data, some pins before it."""
    database = tmp_path / "icm.db"
    with Store(database) as store:
        ensure_sample_dataset(store, "arithmetic")
        spec = RunSpec("arithmetic", MODEL, "none", limit=48, search=SearchConfig(max_steps=120))
        run = control.create_run(store, spec)
        control.step(store, run, 100)
        control.wait_until_settled(store, run)
        ids = load(store, run).run.codec.ids
        control.submit_intervention(store, run, "pin", ids[:2], ["True", "False"])
        control.submit_intervention(store, run, "note", ids[:1], text="checked by hand")
        control.wait_until_settled(store, run)
    with serving(database) as server:
        for page in in_both_themes(browser, "annotate", 1180):
            page.goto(f"{server.url}/annotate?run={run}&queue=margin")
            expect(page.locator(".st-key-walk")).to_contain_text("1 of")
            page.get_by_text("The whole queue at once").click()


if "ICM_SCREENSHOTS" in os.environ:  # not a skip: a browser test that skips means that there is no browser
    test_picture_of_an_annotation = picture_of_an_annotation
