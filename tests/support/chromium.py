"""A headless Chromium, and acts on pages of the app that wait until each is done."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
from playwright.sync_api import Browser, Locator, Page, TimeoutError, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
NEEDS_BROWSER = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        CHROMIUM is None and "ICM_REQUIRE_BROWSER" not in os.environ,
        reason="no Chromium on this machine: install the package chromium",
    ),
]
Theme = Literal["light", "dark"]
PATIENCE = 120_000  # milliseconds: a loaded machine is slow, not wrong
expect.set_options(timeout=PATIENCE)
SOON = 4_000  # milliseconds after which a person would do it again
CURVE = ".icm-curve.js-plotly-plot"  # a chart that is drawn

# Whether a page stands still: its script has run and drawn its heading, every chart and table has its room, and ten
# frames in a row look the same. The first page of a cold server runs its script twice, with a pause between the two.
STILL = """() => {
  const app = document.querySelector("[data-testid=stApp]"), main = document.querySelector("[data-testid=stMain]");
  const ready = app?.dataset.testScriptState === "notRunning" && app.dataset.testConnectionState === "CONNECTED"
    && main?.querySelector("h1")
    && !main.querySelector("[data-stale=true], [data-testid=stSkeleton], .icm-curve:not(.js-plotly-plot)");
  const look = [main?.scrollHeight, main?.scrollTop, main?.getElementsByTagName("*").length].join();
  window.icmStill = ready && look === window.icmLook ? (window.icmStill ?? 0) + 1 : 0;
  window.icmLook = look;
  return window.icmStill >= 10;
}"""
# Whether the mouse is on the point of a chart that a click tells as this, and a click would be heard.
ON_POINT = """([chart, told]) => {
  const at = chart._hoverdata?.[0];
  return at && chart._ev?.listenerCount("plotly_click") > 0
    && String(at.customdata ?? `${at.x} ${at.y}`).endsWith(told);
}"""


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run a headless Chromium for a while."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


def new_page(browser: Browser, width: int = 1280, height: int = 900, theme: Theme = "light") -> Page:
    """Return an empty page: the one of the test before, if it is open, in which the app's scripts are compiled."""
    context = browser.contexts[0] if browser.contexts else browser.new_context()
    page = context.pages[0] if context.pages else context.new_page()
    page.goto("about:blank")
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)
    page.set_default_timeout(PATIENCE)
    return page


def visit(page: Page, url: str) -> None:
    """Open a page on which nothing ticks, and wait until it stands still."""
    page.goto(url)
    stand_still(page)


def reload(page: Page) -> None:
    """Load such a page again."""
    page.reload()
    stand_still(page)


def stand_still(page: Page) -> None:
    """Wait until a page on which nothing ticks stands still; after an act, wait for what it does first."""
    page.evaluate("window.icmStill = 0")
    page.wait_for_function(STILL)


def insist(act: Callable[[], object], seen: Callable[[int], object]) -> None:
    """Act until that is seen: who sees that a redraw swallowed a key or a click acts again.

    `seen` gets the milliseconds it may wait. Only for acts that may be done twice.
    """
    for left in reversed(range(PATIENCE // SOON)):
        try:
            act()
            seen(SOON)
            return
        except (AssertionError, TimeoutError):
            if not left:
                raise


def choose(page: Page, label: str, option: str) -> None:
    """Choose an option of the box with this label, until the box says so."""
    box = page.get_by_role("combobox", name=label, exact=True)

    def act() -> None:
        if not page.get_by_role("option").count():
            box.click()
        page.get_by_role("option", name=option, exact=True).click(timeout=SOON)

    insist(act, lambda soon: expect(box).to_have_value(option, timeout=soon))


def take_another_by_keyboard(page: Page, label: str) -> None:
    """Take another option of the box with this label by keyboard alone: open it, go down, take it."""
    box, options = page.get_by_role("combobox", name=label, exact=True), page.get_by_role("option")
    before = box.input_value()

    def act() -> None:
        box.focus()
        page.keyboard.press("ArrowDown")
        expect(options.first).to_be_visible(timeout=SOON)
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")

    insist(act, lambda soon: expect(box).not_to_have_value(before, timeout=soon))


def fill(page: Page, label: str, value: str) -> None:
    """Type into the number field with this label and leave it; what is there then is what was typed."""
    field = page.get_by_role("spinbutton", name=label, exact=True)

    def act() -> None:
        field.fill(value)
        field.press("Enter")

    insist(act, lambda soon: expect(field).to_have_value(value, timeout=soon))


def press(page: Page, key: str) -> None:
    """Press the button with this key in Streamlit, once a redrawing page has no other one like it."""
    button = page.locator(f".st-key-{key} button:visible")
    expect(button).to_have_count(1)
    expect(button).to_be_enabled()
    button.click()


def click_chart(page: Page, chart: Locator, x: float, y: float, told: str) -> None:
    """Click at these shares of a chart's width and height, once the mouse is on the point that is told like this.

    `told` is how the words end that the chart tells of a click.
    """
    expect(chart).to_be_visible()
    stand_still(page)

    def hover() -> None:
        chart.evaluate("node => node.scrollIntoView({block: 'center'})")
        area = chart.locator(".nsewdrag").first.bounding_box()
        assert area is not None
        at[:] = area["x"] + area["width"] * x, area["y"] + area["height"] * y
        page.mouse.move(at[0] - 9, at[1] - 9)
        page.mouse.move(*at, steps=3)

    at = [0.0, 0.0]
    insist(hover, lambda soon: page.wait_for_function(ON_POINT, arg=[chart.element_handle(), told], timeout=soon))
    page.mouse.click(*at)


def at_address(page: Page, part: str) -> None:
    """Wait until the address has this part, written as it is there."""
    expect(page).to_have_url(re.compile(rf"[?&]{re.escape(part)}(&|$)"))
