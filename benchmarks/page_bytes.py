"""Kilobytes that the open Overview of a run receives while its run goes on, counted on its socket in a real browser."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.app_server import browsing, serving
from benchmarks.report import Row

SECONDS = 20  # watched: ten ticks of the curves, four of the tables


def received(database: Path, run: str, step: Callable[[], None]) -> Row:
    """Open the page of a run that is held as running, take a step a second, and return what arrived."""
    sizes = list[int]()
    with serving(database) as served, browsing() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("websocket", lambda ws: ws.on("framereceived", lambda frame: sizes.append(len(frame))))
        page.goto(f"{served.url}/search?run={run}")
        page.wait_for_selector(".icm-curve.js-plotly-plot", timeout=300_000)
        page.wait_for_timeout(5000)
        first = sum(sizes)
        sizes.clear()
        for _ in range(SECONDS):
            step()
            page.wait_for_timeout(1000)
    each = sum(sizes) / 1000 / (SECONDS / 2)
    return {"first drawing, kB": first / 1000, "a tick of the curves, with all that came beside it, kB": each}
