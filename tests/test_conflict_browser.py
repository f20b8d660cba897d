"""What only a real browser shows of the Consistency page: a click in the graph, a link that is the view, a phone."""

from pathlib import Path

from filled import add_run, small_dataset
from playwright.sync_api import Browser, Page, expect
from serving import NEEDS_BROWSER, PATIENCE, new_page, serving
from test_conflict_page import CARELESS

from icm_engine.analysis import views
from icm_engine.analysis.conflicts import pair_code, pair_line, pairs_now
from icm_engine.runs.store import Store

pytestmark = NEEDS_BROWSER


def test_a_cross_of_the_graph_leads_to_its_pair_and_its_repairs(browser: Browser, tmp_path: Path) -> None:
    database = tmp_path / "icm.db"
    with Store(database) as store:
        small_dataset(store, groups=30)
        run = add_run(store, "paused", 80, **CARELESS)
        reading = views.load(store, run)
        codes = {pair_code(pair_line(reading, pair).ids) for pair in pairs_now(reading)}
    with serving(database) as server:
        page = new_page(browser)
        page.goto(f"{server.url}/consistency?run={run}&view=Groups")
        clicked = _click_a_cross(page)
        assert clicked in codes
        expect(page.get_by_text(f"example {clicked.split(',')[0]} ·")).to_be_visible(timeout=PATIENCE)
        assert "view=Pairs" in page.url
        page.reload()  # the link is the view
        expect(page.get_by_text(f"example {clicked.split(',')[0]} ·")).to_be_visible(timeout=PATIENCE)
        page.goto(f"{server.url}/consistency?run={run}&view=Repairs")
        expect(page.get_by_text("The repair", exact=True)).to_be_visible(timeout=PATIENCE)
        page.locator(".st-key-to_pair").get_by_role("button").click()
        expect(page.get_by_text("The pair", exact=True)).to_be_visible(timeout=PATIENCE)
        page.locator(".st-key-to_repairs").get_by_role("button").click()
        expect(page.get_by_text("This pair only")).to_be_visible(timeout=PATIENCE)
        page.close()
        _fits_a_phone(browser, f"{server.url}/consistency?run={run}")


def _click_a_cross(page: Page) -> str:
    """Click the first cross of the graph and return the pair that it stands for."""
    graph = page.locator(".icm-curve.js-plotly-plot").nth(1)
    expect(graph).to_be_visible(timeout=PATIENCE)
    graph.scroll_into_view_if_needed()
    place = """node => node.data.findIndex(t => t.marker && t.marker.symbol === 'x')"""
    trace = graph.evaluate(place)
    code = str(graph.evaluate(f"node => node.data[{trace}].customdata[0]"))
    x, y = graph.evaluate(
        f"""node => {{ const t = node.data[{trace}], f = node._fullLayout, box = node.getBoundingClientRect();
             return [box.x + f._size.l + f.xaxis.d2p(t.x[0]), box.y + f._size.t + f.yaxis.d2p(t.y[0])]; }}"""
    )
    page.mouse.move(x + 1, y + 1)
    page.mouse.click(x, y)
    return code


def _fits_a_phone(browser: Browser, url: str) -> None:
    page = new_page(browser, width=400)
    for view in ("Pairs", "Groups", "Repairs"):
        page.goto(f"{url}&view={view}&show=ever")
        expect(page.get_by_test_id("stMetric")).to_have_count(5, timeout=PATIENCE)
        expect(page.locator(".icm-curve.js-plotly-plot").first).to_be_visible(timeout=PATIENCE)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.close()
