"""What only a real browser shows: live updates without flicker, links on a cold server, a server that dies."""

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from icm_engine.analysis.run_form import FIRST_RUN, begin
from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.app_server import MODEL, end_workers, free_port, serving
from tests.support.chromium import (
    CURVE,
    NEEDS_BROWSER,
    at_address,
    choose,
    fill,
    insist,
    new_page,
    press,
    stand_still,
    visit,
)
from tests.support.pictures import in_both_themes
from tests.support.search_page import paused_at, wait_for_phase, wait_for_steps

pytestmark = NEEDS_BROWSER
PAGES = {  # link -> title
    "": "ICM Workbench",
    "search": "New run",
    "steps": "Steps",
    "examples": "Labels",
    "flips": "Label changes",
    "consistency": "Conflicts and repairs",
    "compare": "Evaluate",
    "annotate": "Annotate",
    "forks": "Fork",
    "training": "Train",
    "experiments": "Experiments",
    "data": "Data",
    "tour": "Help",
}
MENU = ["Runs", "Data", "Experiments", "Help"]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    """Yield where a new database goes; afterwards end the workers of its runs."""
    path = tmp_path / "icm.db"
    yield path
    end_workers(path)


@pytest.fixture(scope="module")
def port() -> int:
    """The port of all cold servers, one after the other: the browser has their files from the first."""
    return free_port()


def menu(page: Page) -> list[str]:
    return [text.split()[-1] for text in page.get_by_test_id("stSidebarNavLink").all_inner_texts()]


def steps(page: Page) -> int:
    """The number of steps that the progress bar tells."""
    found = re.match(r"([\d,]+) of", page.get_by_test_id("stProgress").inner_text())
    return int(found[1].replace(",", "")) if found else -1


@pytest.mark.parametrize("link", PAGES)
def test_each_page_by_its_link_on_a_cold_server_shows_the_same_menu(
    link: str, browser: Browser, database: Path, port: int
) -> None:
    with serving(database, port) as server:
        page = new_page(browser)
        page.goto(f"{server.url}/{link}")
        expect(page.get_by_role("heading", level=1, name=PAGES[link])).to_be_visible()
        expect(page.get_by_test_id("stSidebarNavLink")).to_have_count(len(MENU))
        assert menu(page) == MENU
        assert page.title() == "ICM Workbench"


@pytest.mark.smoke
def test_a_run_is_started_steered_and_downloaded(browser: Browser, database: Path, tmp_path: Path) -> None:
    with serving(database) as server:
        page = new_page(browser)
        outside: list[str] = []
        page.on("request", lambda request: outside.append(request.url) if _is_outside(request.url) else None)
        visit(page, server.url)
        page.get_by_test_id("stMain").get_by_role("link", name="New run").click()
        _start(page)
        wait_for_phase(page, "running")
        _the_curve_is_updated_in_place(page)
        press(page, "do_pause")
        before = paused_at(page, database)
        press(page, "do_step")
        wait_for_steps(page, before)
        assert paused_at(page, database) == before + 1
        press(page, "do_resume")
        wait_for_steps(page, before + 1)
        press(page, "do_stop")
        wait_for_phase(page, "stopped")
        stand_still(page)
        run, examples = _the_run(database)
        at_address(page, f"run={run}")
        assert _download(page, tmp_path) == examples
        assert outside == []  # nothing is asked of any other machine
        page.close()  # with its listener


def _is_outside(url: str) -> bool:
    return url.startswith("http") and "//127.0.0.1" not in url


def _start(page: Page) -> None:
    """Start a run on arithmetic from the form."""
    expect(page.get_by_role("heading", level=1, name=PAGES["search"])).to_be_visible()
    stand_still(page)
    choose(page, "Data set", "arithmetic")
    choose(page, "Model", MODEL)
    page.get_by_text("How the model is loaded", exact=True).click()
    choose(page, "How the weights are stored (quantization, default nf4)", "none")
    page.get_by_text("Preset, number of examples, batches, seed, steps and chains", exact=True).click()
    fill(page, "Examples to label at most (limit, default 64)", "16")
    fill(page, "Steps of the search (default 4 × examples)", "5000000")  # more than will be taken
    stand_still(page)
    press(page, "start_new")


def _the_curve_is_updated_in_place(page: Page) -> None:
    """Zoom with the mouse, let several updates come, and find the same nodes with the same zoom."""
    curve = page.locator(CURVE).first
    expect(curve).to_be_visible()
    wait_for_steps(page, 5)
    for _ in range(2):  # until the curve has five steps too
        _next_update(page)
    page.evaluate("document.querySelectorAll('.icm-curve, .icm-curve .main-svg').forEach(n => n.icmSame = true)")
    whole = curve.evaluate("node => node.layout.xaxis.range")
    insist(lambda: _zoom(page, curve), lambda soon: _wait_for_zoom(page, curve, whole[0], soon))
    zoom = curve.evaluate("node => node.layout.xaxis.range")
    for _ in range(10):
        _next_update(page)
    same = "[...document.querySelectorAll('.icm-curve, .icm-curve .main-svg')].map(n => n.icmSame === true)"
    tags = page.evaluate(same)
    assert len(tags) >= 8
    assert all(tags)
    assert curve.evaluate("node => node.layout.xaxis.range") == zoom
    page.locator(".icm-curve").first.dblclick()  # the whole curve again


def _zoom(page: Page, curve: Locator) -> None:
    """Draw a frame with the mouse; an update in the middle of it is one reason to do it again."""
    curve.evaluate("node => node.scrollIntoView({block: 'center'})")
    area = curve.locator(".nsewdrag").first.bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + area["width"] * 0.2, area["y"] + area["height"] / 2)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.6, area["y"] + area["height"] / 2, steps=8)
    page.mouse.up()


def _wait_for_zoom(page: Page, curve: Locator, low: float, soon: int) -> None:
    zoomed = "([node, low]) => node.layout.xaxis.range[0] > low"
    page.wait_for_function(zoomed, arg=[curve.element_handle(), low], timeout=soon)


def _next_update(page: Page) -> None:
    """Wait until the curve has been given new data."""
    count = "document.querySelector('.icm-curve').data.find(t => t.name === 'U(D)').x.at(-1)"
    page.wait_for_function(f"n => {count} !== n", arg=page.evaluate(count))


def _the_run(database: Path) -> tuple[str, int]:
    """The name of the one run, and how many examples it has."""
    with Store(database) as store:
        (run,) = store.run_names()
        spec = store.spec(run)
        return run, len(store.dataset(spec.dataset, spec.limit).examples)


def _download(page: Page, folder: Path) -> int:
    """Download the CSV and return how many rows it has below its header."""
    with page.expect_download() as download:
        press(page, "download")
    path = folder / "labels.csv"
    download.value.save_as(path)
    with path.open(newline="", encoding="utf-8") as file:
        return len(list(csv.DictReader(file)))


def test_the_page_finds_the_run_again_after_the_server_died(browser: Browser, database: Path, pairs: object) -> None:
    with Store(database) as store:
        store.add_dataset(pairs)  # type: ignore[arg-type]
        run = control.create_run(store, RunSpec("pairs", "fake", search=SearchConfig(max_steps=10_000_000)))
        control.start(store, run)
    with serving(database) as server:
        page = new_page(browser)
        page.goto(f"{server.url}/search?run={run}")
        wait_for_phase(page, "running")
        wait_for_steps(page, 10)
        seen = steps(page)
        server.kill()
        server.start()
        wait_for_steps(page, seen)  # the open page comes back by itself
        wait_for_phase(page, "running")


def picture_of_a_running_search(browser: Browser, database: Path) -> None:
    """Write docs/search.png: the run of the first button, before its hundredth step; another such run in dark."""
    with serving(database) as server:
        for page in in_both_themes(browser, "search", 1720):
            with Store(database) as store:
                run = begin(store, FIRST_RUN)
            page.goto(f"{server.url}/search?run={run}")
            wait_for_steps(page, 40)
            wait_for_phase(page, "running")
            expect(page.locator(CURVE).first).to_be_visible()


if "ICM_SCREENSHOTS" in os.environ:  # not a skip: a browser test that skips means that there is no browser
    test_picture_of_a_running_search = picture_of_a_running_search
