"""Seconds from a click in a real browser to what was asked for. Run it while nothing else runs.

    python -m benchmarks.clicks tabs --steps 250 --examples 64
    python -m benchmarks.clicks tabs --steps 100000 --examples 10000
    python -m benchmarks.clicks first-run

`tabs` opens a run, then clicks each of its tabs in turn: until its heading and its table, chart or card are drawn and
the script of the page has ended. `first-run` starts a run on sample data with the button of the home page, in a new
database each time: until the header shows U; beside it, from the run's own log, when its worker was ready and had the
first labels.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from playwright.sync_api import Page

from benchmarks.app_server import browsing, serving
from benchmarks.report import Row, reported, show
from benchmarks.run_pages import RUN, written
from icm_engine.runs import control
from icm_engine.store.store import Store

CONTENT = {  # what a tab is opened for
    "Overview": ".icm-curve.js-plotly-plot",
    "Steps": ".icm-curve.js-plotly-plot",
    "Examples": "[data-testid=stDataFrame] canvas",
    "Label changes": ".icm-curve.js-plotly-plot",
    "Conflicts and repairs": ".icm-curve.js-plotly-plot",
    "Evaluate": "[data-testid=stMain] [data-testid=stMetric], [data-testid=stMain] [data-testid=stDataFrame] canvas",
    "Annotate": ".st-key-example",
}
HEADINGS = {"Examples": "Labels"}  # where they differ from the tab
PARTS = ("Label changes", "Conflicts and repairs")  # pages of the tab Examples
DONE = """([heading, content]) => {
  const app = document.querySelector("[data-testid=stApp]"), main = document.querySelector("[data-testid=stMain]");
  const shown = [...(main?.querySelectorAll(content) ?? [])].some(one => !one.closest("[data-stale=true]"));
  return shown && main.querySelector("h1")?.innerText.trim() === heading
    && app.dataset.testScriptState === "notRunning";
}"""
U_SHOWN = """() => /(^|\\n)U\\(?D?\\)?\\s*[-−]?[0-9]/.test(
  document.querySelector(".st-key-run_header")?.innerText ?? "")"""


def timed(act: Callable[[], object], seen: Callable[[], object]) -> float:
    """Return the seconds from an act until something is seen."""
    began = time.perf_counter()
    act()
    seen()
    return time.perf_counter() - began


def tabs(page: Page, url: str, repeat: int) -> list[Row]:
    """Open a run, then click through all tabs `repeat` times after one round that is not counted."""
    first, *others = CONTENT
    opened = partial(page.wait_for_function, DONE, arg=[first, CONTENT[first]], timeout=600_000)
    print(f"opened after {timed(partial(page.goto, f'{url}/search?run={RUN}'), opened):.1f} s", flush=True)
    times: dict[str, list[float]] = {name: [] for name in CONTENT}
    for _ in range(repeat + 1):
        for name in (*others, first):
            link = page.locator(".st-key-run_header").get_by_role("link", name=name, exact=True)
            if name in PARTS:
                link = page.locator(".st-key-parts").get_by_role("link", name=name, exact=True)
            link.wait_for()
            wanted = [HEADINGS.get(name, name), CONTENT[name]]
            times[name].append(timed(link.click, partial(page.wait_for_function, DONE, arg=wanted)))
    return [
        {"tab": name, "first, s": found[0], "median, s": statistics.median(found[1:]), "most, s": max(found[1:])}
        for name, found in times.items()
    ]


def first_run(page: Page, folder: Path, number: int) -> Row:
    """Start the run of the home page in a new database, and return how long its parts took."""
    database = folder / f"{number}.db"
    with serving(database) as server:
        page.goto(server.url)
        button = page.locator(".st-key-first_run button:visible").first
        button.wait_for()
        page.wait_for_timeout(3000)  # the page stands still, as for a person who has read it
        clicked = time.time()
        seconds = timed(button.click, lambda: page.wait_for_function(U_SHOWN))
        with Store(database) as store:
            (run,) = store.run_names()
            events = {event.kind: event.time - clicked for event in reversed(store.read_after(run))}
            control.stop(store, run)
            control.wait_until_settled(store, run)
    return {
        "run": number,
        "worker started, s": events["control"],
        "model ready, s": events["model"],
        "first labels, s": events["initial"],
        "U on the page, s": seconds,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tabs", "first-run"))
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--output", type=Path)
    with reported(parser) as given, tempfile.TemporaryDirectory(prefix="icm-clicks-") as folder, browsing() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        if given.what == "first-run":
            show([first_run(page, Path(folder), number) for number in range(1, given.repeat + 1)], given.output)
            return
        database = Path(folder) / "icm.db"
        os.environ["ICM_DB"] = str(database)
        written(database, given.steps, given.examples, min(256, given.examples))
        with serving(database) as server:
            show(tabs(page, server.url, given.repeat), given.output)


if __name__ == "__main__":
    main()
