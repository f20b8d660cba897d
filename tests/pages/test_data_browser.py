"""What only a real browser shows of the Data page: an upload from file to save, jobs that move, a phone, no markup."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from icm_engine import jobs
from icm_engine.data.importing import import_file
from icm_engine.store.store import Store
from tests.support.app_server import MODEL, Server, serving
from tests.support.chromium import CURVE, NEEDS_BROWSER, at_address, choose, new_page, press, reload, stand_still, visit
from tests.support.paths import ROOT
from tests.support.pictures import in_both_themes
from tests.support.stores import HOSTILE

pytestmark = NEEDS_BROWSER
MARKUP = f"{HOSTILE} <img src=x onerror=\"document.title='broken'\"> [link](http://example.com) # heading"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the server."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def server(database: Path, folder: Path) -> Iterator[Server]:
    with serving(database, ICM_DATA=str(folder)) as server:
        yield server


@pytest.fixture(scope="module")
def mine(database: Path, folder: Path) -> str:
    """A data set of 60 examples."""
    with Store(database) as store:
        import_file(store, claims(folder / "mine.json", 30), "truthfulness")
    return "mine"


def claims(path: Path, questions: int = 10) -> Path:
    """Write claims in groups of two, of which gold calls both true in every fifth."""
    rows = [
        {
            "question": f"What is {q} + 2? {MARKUP}",
            "choice": f"It is {q + 2 + k}.\n{MARKUP}",
            "label": int(not k or q % 5 == 0),
        }
        for q in range(questions)
        for k in range(2)
    ]
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def shows(page: Page, label: str, value: str) -> None:
    """Wait until the number with this name has this value."""
    found = page.get_by_test_id("stMetric").filter(has=page.get_by_text(label, exact=True)).first
    expect(found.get_by_test_id("stMetricValue")).to_have_text(value)


def open_view(page: Page, view: str) -> None:
    page.get_by_role("radio", name=view).click()
    at_address(page, f"view={view.replace(' ', '+')}")
    stand_still(page)


def test_a_file_is_uploaded_checked_saved_checked_again_and_deleted(
    browser: Browser, server: Server, database: Path, folder: Path
) -> None:
    page = new_page(browser)
    visit(page, f"{server.url}/data")
    page.set_input_files("input[type=file]", claims(folder / "uploaded.json"))
    _the_form_is_corrected(page)
    press(page, "save")
    expect(page.get_by_text("Imported.")).to_be_visible()
    at_address(page, "dataset=uploaded")
    stand_still(page)
    shows(page, "Examples", "20")
    shows(page, "Gold labels", "20")
    open_view(page, "Rule check")
    shows(page, "Constrained pairs", "10")
    shows(page, "Gold violations", "2")
    reload(page)
    shows(page, "Gold violations", "2")  # the view is in the address
    _the_context_is_checked(page)
    assert page.title() == "ICM Workbench"  # no markup of the file was obeyed
    assert page.locator("img[src=x], a[href='http://example.com']").count() == 0
    _it_is_deleted(page)
    with Store(database) as store:
        assert "uploaded" not in store.dataset_names()


def _the_form_is_corrected(page: Page) -> None:
    expect(page.get_by_text("Validation", exact=True)).to_be_visible()
    stand_still(page)
    choose(page, "Rule", "exactly-one")
    expect(page.get_by_text("Gold itself violates the rule in 2 of 10 pairs")).to_be_visible()
    stand_still(page)
    prompt = page.get_by_test_id("stCode").filter(has_text="I·").first
    page.set_viewport_size({"width": 400, "height": 800})  # the form fits a phone
    stand_still(page)
    fits_the_window(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    stand_still(page)
    shown = prompt.inner_text().replace(chr(0x200B), "")
    assert "Question:·What·is·0·+·2?·<b·onclick=alert(1)>bold</b>·**stars**·$x$·:smile:·<img·src=x" in shown
    assert shown.rstrip().endswith("I·think·this·claim·is")
    assert "↵" in shown


def _the_context_is_checked(page: Page) -> None:
    open_view(page, "Context check")
    choose(page, "Model", MODEL)
    choose(page, "Quantization", "none")
    stand_still(page)
    press(page, "context_start")
    expect(page.get_by_text("The longest examples")).to_be_visible()
    shows(page, "Batch", "20")
    expect(page.locator(CURVE)).to_be_visible()
    at_address(page, "check=context-check.1")
    stand_still(page)


def _it_is_deleted(page: Page) -> None:
    warning = page.get_by_text("are deleted with it, permanently")
    press(page, "delete")
    expect(warning).to_be_visible()
    press(page, "keep")
    expect(warning).to_have_count(0)
    stand_still(page)
    press(page, "delete")
    press(page, "delete_really")
    expect(page.get_by_role("heading", name="Data sets")).to_be_visible()


def test_a_large_file_is_imported_in_the_background_while_the_page_answers(
    browser: Browser, server: Server, database: Path, folder: Path
) -> None:
    with (folder / "large.csv").open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        file.writelines(f"text number {k} {'of many ' * 8},{'ab'[k % 2]}\n" for k in range(60_000))
    page = new_page(browser)
    visit(page, f"{server.url}/data")
    page.get_by_role("radio", name="A file on this machine").click()
    choose(page, "Files there", "large.csv")
    expect(page.get_by_text("Filled in from column 'label', in its first 1,000 rows.")).to_be_visible()
    _label_is_added(page, "another")
    expect(page.get_by_text("It is checked during the import")).to_be_visible()
    stand_still(page)
    press(page, "save")
    expect(page.get_by_text("Import of large")).to_be_visible()
    page.get_by_test_id("stSidebarNavLink").filter(has_text="Runs").click()  # meanwhile another page
    expect(page.get_by_role("heading", name="ICM Workbench")).to_be_visible()
    with Store(database) as store:
        (job,) = jobs.names(store, "import")
        assert jobs.wait_until_settled(store, job).phase == "done"
        moved = [event.body["words"] for event in store.read_after(job, kinds=("progress",))]
    assert moved
    visit(page, f"{server.url}/data?dataset=large&page=6000")
    shows(page, "Examples", "60.0 k")
    expect(page.get_by_text("Examples 59,991 to 60,000 of 60,000.")).to_be_visible()


def _label_is_added(page: Page, label: str) -> None:
    """Type a label of one's own into the box of labels, on a page that stands still."""
    stand_still(page)
    page.get_by_role("combobox", name="Labels", exact=True).fill(label)
    page.keyboard.press("Enter")
    expect(page.get_by_text(label, exact=True)).to_be_visible()


def test_what_is_looked_at_is_in_the_address(browser: Browser, server: Server, database: Path, mine: str) -> None:
    """A page of examples and a row of it survive a reload; from there the data set goes to the form of a new run."""
    with Store(database) as store:
        twelfth = store.examples_at(mine, [11])[0].id
    page = new_page(browser)
    visit(page, f"{server.url}/data?dataset={mine}&view=Examples")
    expect(page.get_by_text("Examples 1 to 10 of 60.")).to_be_visible()
    page.locator(".st-key-page_mine button").filter(has_text="2").click()
    expect(page.get_by_text("Examples 11 to 20 of 60.")).to_be_visible()
    stand_still(page)
    table = page.get_by_test_id("stDataFrame").first.bounding_box()
    assert table is not None
    page.mouse.click(table["x"] + 16, table["y"] + 2.5 * 34)  # the box of the second row, below the header
    expect(page.get_by_text(f"example {twelfth}")).to_be_visible()
    reload(page)
    expect(page.get_by_text(f"example {twelfth}")).to_be_visible()
    page.get_by_text("Label it").click()
    expect(page.get_by_role("combobox", name="Data set", exact=True)).to_have_value(mine)


@pytest.mark.parametrize("view", ["Examples", "Rule check", "Context check"])
def test_nothing_is_wider_than_a_phone(browser: Browser, server: Server, mine: str, view: str) -> None:
    page = new_page(browser, width=400)
    visit(page, f"{server.url}/data?dataset={mine}&view={view.replace(' ', '+')}")
    shows(page, "Examples", "60")
    fits_the_window(page)


def fits_the_window(page: Page) -> None:
    main = page.get_by_test_id("stMain")
    assert main.evaluate("node => node.scrollWidth - node.clientWidth") <= 0


def picture_of_the_data_page(browser: Browser, tmp_path: Path) -> None:
    """Write docs/data.png: the form of sample data that is brought in as a file of one's own."""
    with serving(tmp_path / "icm.db") as server:
        for page in in_both_themes(browser, "data", 1290):
            page.goto(f"{server.url}/data")
            page.set_input_files("input[type=file]", ROOT / "sample_data" / "arithmetic_test.csv")
            expect(page.get_by_text("Gold never violates the rule")).to_be_visible()


if "ICM_SCREENSHOTS" in os.environ:  # not a skip: a browser test that skips means that there is no browser
    test_picture_of_the_data_page = picture_of_the_data_page
