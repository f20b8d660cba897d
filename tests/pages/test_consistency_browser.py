"""What only a real browser shows of Conflicts and repairs: a click in the graph, a link that is the view, a phone."""

from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from icm_engine.analysis import views
from icm_engine.analysis.conflicts import pair_code, pair_line, pairs_now
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
from tests.support.stores import CARELESS, add_run, small_dataset

pytestmark = NEEDS_BROWSER


def test_a_cross_of_the_graph_leads_to_its_pair_and_its_repairs(
    browser: Browser, server: Server, database: Path
) -> None:
    with Store(database) as store:
        small_dataset(store, groups=30)
        run = add_run(store, "paused", 80, **CARELESS)
        reading = views.load(store, run)
        codes = {pair_code(pair_line(reading, pair).ids) for pair in pairs_now(reading)}
    page = new_page(browser)
    visit(page, f"{server.url}/consistency?run={run}&view=Groups")
    clicked = _click_a_cross(page)
    assert clicked in codes
    example = page.get_by_text(f"example {clicked.split(',')[0]} ·")
    expect(example).to_be_visible()
    at_address(page, "view=Pairs")
    reload(page)  # the link is the view
    expect(example).to_be_visible()
    visit(page, f"{server.url}/consistency?run={run}&view=Repairs")
    expect(page.get_by_text("The repair", exact=True)).to_be_visible()
    press(page, "to_pair")
    expect(page.get_by_text("The pair", exact=True)).to_be_visible()
    stand_still(page)
    press(page, "to_repairs")
    expect(page.get_by_text("This pair only")).to_be_visible()
    _fits_a_phone(browser, f"{server.url}/consistency?run={run}")


def _click_a_cross(page: Page) -> str:
    """Click the first cross of the graph and return the pair that it stands for."""
    graph = page.locator(CURVE).nth(1)
    code, x, y = graph.evaluate(
        """node => { const cross = node.data.find(t => t.marker && t.marker.symbol === "x"), f = node._fullLayout;
             return [cross.customdata[0], f.xaxis.d2p(cross.x[0]) / f.xaxis._length,
                     f.yaxis.d2p(cross.y[0]) / f.yaxis._length]; }"""
    )
    click_chart(page, graph, x, y, code)
    return str(code)


def _fits_a_phone(browser: Browser, url: str) -> None:
    page = new_page(browser, width=400)
    for view in ("Pairs", "Groups", "Repairs"):
        visit(page, f"{url}&view={view}&show=ever")
        expect(page.get_by_test_id("stMetric")).to_have_count(6)
        expect(page.locator(CURVE).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
