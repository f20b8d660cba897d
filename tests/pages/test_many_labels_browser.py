"""Every tab and view of a run with twenty labels, on a desk and on a phone, and the axis of a short run."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, expect

from icm_engine.store.store import Store
from tests.support.app_server import Server
from tests.support.chromium import CURVE, NEEDS_BROWSER, new_page, visit
from tests.support.many_labels import NAME, banking_run
from tests.support.stores import add_run

pytestmark = NEEDS_BROWSER
STEPS = 60
RUN, OTHER = f"{NAME}-1", f"{NAME}-2"
# address below the server, and how many charts are drawn there; a word that stands there
VIEWS = (
    ("", 0, "runs. Click a name"),
    (f"search?run={RUN}", 4, "other labels."),
    (f"search?dataset={NAME}", 0, "256 steps for 64 examples"),
    (f"steps?run={RUN}&step=30&view=Curves", 4, "State after this step"),
    (f"steps?run={RUN}&step=30&view=Prompt", 0, "sha256"),
    (f"steps?run={RUN}&step=30&view=Labels", 0, "Labelled examples first"),
    (f"steps?run={RUN}&step=30&view=Inconsistent pairs", 0, "State after this step"),
    (f"steps?run={RUN}&step=30&example={NAME}-37&view=What if", 0, "What if it were one of 19 other labels?"),
    (f"examples?run={RUN}&example={NAME}-5", 0, "One example over time"),
    (f"flips?run={RUN}&example={NAME}-5", 1, "Dark grey: any other label."),
    (f"flips?run={RUN}&queue=most-flipped", 1, "Examples whose label changed after they had one."),
    (f"consistency?run={RUN}&view=Pairs", 1, "Click a row to see the whole pair."),
    (f"consistency?run={RUN}&view=Groups", 2, "Groups in conflict"),
    (f"consistency?run={RUN}&view=Repairs", 2, "The best 8 of 20 options; the table has all."),
    (f"compare?run={RUN}&view=Gold", 3, "Balanced accuracy, the mean recall"),
    (f"compare?run={RUN}&view=Seeds", 0, "Every two runs"),
    (f"compare?run={RUN}&view=Runs&with={OTHER}", 1, "Where they differ"),
    (f"compare?run={RUN}&view=Landscape", 0, "one of 20 labels for everything"),
    (f"annotate?run={RUN}", 0, "One of all 20 labels"),
    (f"forks?run={RUN}&with={OTHER}", 0, "examples differ"),
    (f"training?run={RUN}", 0, "Tune on"),
    (f"data?dataset={NAME}&view=Examples", 0, "As the model reads it"),
    (f"data?dataset={NAME}&view=Rule check", 0, "Constrained pairs"),
    (f"data?dataset={NAME}&view=Context check", 0, "Counts tokens"),
    (f"data?dataset={NAME}&view=Template trial", 0, "Tries the task's template"),
)


@pytest.fixture(scope="module", autouse=True)
def runs(database: Path) -> None:
    with Store(database) as store:
        assert (banking_run(store, STEPS), banking_run(store, STEPS, seed=4)) == (RUN, OTHER)


@pytest.mark.parametrize("width", [1280, 400])
def test_every_view_of_a_run_with_twenty_labels(browser: Browser, server: Server, width: int) -> None:
    """No exception, no error on the console, nothing wider than the page, and the content that belongs there."""
    page, errors = new_page(browser, width, 800), list[str]()

    def hear(message: ConsoleMessage) -> None:
        # Streamlit asks for its own addresses below the page's, before those at the root
        if message.type == "error" and "/_stcore/" not in message.location["url"]:
            errors.append(f"{page.url}: {message.text}")

    page.on("console", hear)
    page.on("pageerror", lambda error: errors.append(f"{page.url}: {error}"))
    for address, charts, words in VIEWS:
        visit(page, f"{server.url}/{address}")
        expect(page.get_by_text(words).filter(visible=True).first).to_be_visible()
        assert page.locator(CURVE).count() >= charts, address
        assert page.get_by_test_id("stException").count() == 0, address
        assert page.locator(".st-key-problem, [data-testid=stAlertContentError]").count() == 0, address
        main = page.get_by_test_id("stMain")
        assert main.evaluate("node => node.scrollWidth - node.clientWidth") <= 0, address
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, address
    page.remove_listener("console", hear)
    assert not errors


def test_axes_of_steps_and_counts_have_no_half_ticks_whatever_is_zoomed(
    browser: Browser, server: Server, database: Path
) -> None:
    with Store(database) as store:
        short, long = add_run(store, "finished", steps=2), add_run(store, "finished", steps=30)
    page = new_page(browser, 1280, 800)
    for run, zoomed in ((short, [0, 1]), (long, [7, 9])):
        for name in ("consistency", "search"):
            visit(page, f"{server.url}/{name}?run={run}")
            for curve in page.locator(CURVE).all():
                for show in ("() => null", f"node => Plotly.relayout(node, {{'xaxis.range': {zoomed}}})"):
                    curve.evaluate(show)
                    page.wait_for_timeout(300)
                    are_whole(curve.locator(".xtick text").all_text_contents(), run)
                if curve.evaluate("node => ['pairs', 'examples'].includes(node.layout.yaxis.title.text)"):
                    are_whole(curve.locator(".ytick text").all_text_contents(), run)
        curve.evaluate("node => Plotly.relayout(node, {'xaxis.autorange': true})")
        page.wait_for_timeout(300)
        assert len(curve.locator(".xtick text").all()) <= 9  # a long run has not a tick for each step


def are_whole(ticks: list[str], run: str) -> None:
    assert len(ticks) == len(set(ticks)) >= 2, (run, ticks)
    assert all(float(tick).is_integer() for tick in ticks), (run, ticks)
