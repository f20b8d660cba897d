"""What only a real browser shows of Steps and changes: arrow keys, a curve that stays, clicks on pictures, links."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from icm_engine.analysis import views
from icm_engine.analysis.figures import DARK, LIGHT
from icm_engine.analysis.flips import QUEUES
from icm_engine.analysis.run_history import Reading
from icm_engine.store.replay import state_at
from icm_engine.store.store import Store
from tests.support.app_server import Server
from tests.support.chromium import (
    CURVE,
    NEEDS_BROWSER,
    at_address,
    click_chart,
    new_page,
    press,
    reload,
    stand_still,
    visit,
)
from tests.support.steered_runs import steered_run

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def reading(database: Path) -> Reading:
    """One run that has everything in it."""
    with Store(database) as store, pytest.MonkeyPatch.context() as patch:
        steered_run(store, patch)
        return views.load(store, "sums-1")


def opened(browser: Browser, server: Server, link: str, width: int = 1280) -> Page:
    page = new_page(browser, width=width, height=1000)
    visit(page, f"{server.url}/{link}")
    return page


def wait_for_event(page: Page, reading: Reading, event: int) -> None:
    """Wait until the page is drawn as of this event, and the address says so."""
    expect(page.get_by_text(f"· event {event:,} ·")).to_be_visible()
    at_address(page, f"event={event}")
    stand_still(page)


def test_the_arrow_keys_lead_through_time_and_the_curve_stays(
    browser: Browser, server: Server, reading: Reading
) -> None:
    points = reading.trajectory.points
    page = opened(browser, server, f"steps?run=sums-1&event={points[20].event}")
    wait_for_event(page, reading, points[20].event)
    curve = page.locator(f".st-key-then_Utility_sums-1 {CURVE}")
    expect(curve).to_be_visible()
    curve.evaluate("node => { node.icmSame = true; }")
    for place in (21, 22):
        page.keyboard.press("ArrowRight")
        wait_for_event(page, reading, points[place].event)
    page.keyboard.press("ArrowLeft")
    wait_for_event(page, reading, points[21].event)
    drawn = "document.querySelector('.st-key-then_Utility_sums-1 .icm-curve').data"
    end = f"Math.max(...{drawn}.find(t => t.name === 'U(D)').x)"
    page.wait_for_function(f"step => {end} === step", arg=points[21].step)
    assert curve.evaluate("node => node.icmSame === true")  # updated in place, 3 times
    for theme, colours in (("dark", DARK), ("light", LIGHT)):  # as a system does in the evening
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        page.wait_for_function(
            "color => document.querySelector('.st-key-then_Utility_sums-1 .icm-curve').layout.font.color === color",
            arg=colours.text,
        )


def test_fast_presses_of_an_arrow_key_all_count(browser: Browser, server: Server, reading: Reading) -> None:
    """Five presses move five places, however long a page takes to draw; those of a person who types move none."""
    points = reading.trajectory.points
    page = opened(browser, server, f"steps?run=sums-1&event={points[20].event}")
    wait_for_event(page, reading, points[20].event)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    wait_for_event(page, reading, points[25].event)
    for _ in range(3):  # slow enough to be sent one by one, too fast for the page
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(120)
    wait_for_event(page, reading, points[22].event)
    page.get_by_role("spinbutton", name="Step", exact=True).focus()
    page.keyboard.press("ArrowRight")
    press(page, "go_next")
    wait_for_event(page, reading, points[23].event)
    page.get_by_role("heading", level=1).click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    wait_for_event(page, reading, points[24].event)


def test_without_shortcuts_an_arrow_key_does_nothing(browser: Browser, server: Server, reading: Reading) -> None:
    event = reading.trajectory.points[20].event
    page = opened(browser, server, f"steps?run=sums-1&event={event}")
    wait_for_event(page, reading, event)
    page.get_by_text("Keyboard shortcuts").click()
    expect(page.locator(".st-key-go_next")).not_to_contain_text("→")
    stand_still(page)
    page.keyboard.press("ArrowRight")
    press(page, "go_previous")
    wait_for_event(page, reading, reading.trajectory.points[19].event)


def test_the_slider_moves_one_place_a_key(browser: Browser, server: Server, reading: Reading) -> None:
    """An arrow key on the focused slider is the slider's alone, and not the button's too."""
    points = reading.trajectory.points
    page = opened(browser, server, f"steps?run=sums-1&event={points[30].event}")
    wait_for_event(page, reading, points[30].event)
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    wait_for_event(page, reading, points[31].event)
    page.wait_for_timeout(1500)  # for what must not come
    wait_for_event(page, reading, points[31].event)


def test_labels_of_then_equal_a_replay_and_survive_a_reload(
    browser: Browser, server: Server, reading: Reading, database: Path
) -> None:
    event = reading.trajectory.points[33].event
    with Store(database) as store:
        state = state_at(store, reading.run, event)
    assert state is not None
    page = opened(browser, server, f"steps?run=sums-1&event={event}&view=Labels")
    for _ in range(2):
        wait_for_event(page, reading, event)
        counts = [f"{list(state.labeling.values()).count(label)} {label}" for label in ("True", "False")]
        expect(page.get_by_text(" · ".join(counts))).to_be_visible()
        rows = page.get_by_test_id("stDataFrame").last.locator("table tbody tr")
        expect(rows.first).to_be_attached()
        shown = {cells[0]: cells[1] for cells in (row.locator("td").all_text_contents() for row in rows.all())}
        expected = {reading.run.codec.ids[i]: label for i, label in state.labeling.items()}
        assert {name: shown[name] for name in list(shown) if name in expected} == {
            name: label for name, label in expected.items() if name in shown
        }
        assert len(set(shown) & set(expected)) >= 8
        reload(page)


def test_a_click_on_the_picture_opens_the_example_and_one_on_the_strip_its_decision(
    browser: Browser, server: Server, reading: Reading
) -> None:
    page = opened(browser, server, "flips?run=sums-1&queue=most-flipped")
    queue = QUEUES[0].find(reading)
    name = reading.run.codec.ids[queue[0].example]
    picture = page.locator(f".st-key-grid_sums-1 {CURVE}")
    click_chart(page, picture, 0.5, 0.5 / len(queue), f" {name}")  # the first row
    expect(page.get_by_text(f"example {name} ·")).to_be_visible()
    at_address(page, f"example={name}")
    strip = page.locator(f".st-key-strip_sums-1 {CURVE}")
    last = [change.event for change in reading.history if change.example == queue[0].example][-1]
    click_chart(page, strip, 0.99, 0.5, str(last))
    expect(page.get_by_role("heading", level=1, name="Steps")).to_be_visible()
    wait_for_event(page, reading, last)


@pytest.mark.parametrize("link", ["steps?run=sums-1&event=7", "flips?run=sums-1&queue=most-flipped&example=sums-4-0"])
def test_nothing_is_wider_than_a_phone_nor_obeys_markup(browser: Browser, server: Server, link: str) -> None:
    page = opened(browser, server, link, width=400)
    expect(page.locator(CURVE).first).to_be_visible()
    main = page.get_by_test_id("stMain")
    assert main.evaluate("node => node.scrollWidth - node.clientWidth") <= 0
    assert page.locator("b[onclick]").count() == 0
