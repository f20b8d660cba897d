"""A fork, its difference, and a what-if, with a real browser and real workers."""

import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from filled import small_dataset
from playwright.sync_api import Browser, expect
from serving import NEEDS_BROWSER, PATIENCE, new_page, serving

from icm_engine.analysis.forks import difference
from icm_engine.analysis.views import load
from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control, worker
from icm_engine.runs.events import RunSpec
from icm_engine.runs.store import Store

pytestmark = NEEDS_BROWSER


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    """A finished run of the fake model; afterwards the workers of all runs are ended."""
    path = tmp_path / "icm.db"
    with Store(path) as store:
        small_dataset(store)
        run = control.create_run(store, RunSpec("sums", "fake", search=SearchConfig(seed=2, max_steps=40)))
        store.send(run, "start", "first")
        assert worker.main(["--db", str(path), run]) == 0
    yield path
    with Store(path) as store:
        for name in store.run_names():
            if (pid := control.status(store, name).pid) is not None:
                psutil.Process(pid).kill()


def test_a_fork_is_made_started_and_compared(browser: Browser, database: Path) -> None:
    with serving(database) as server:
        page = new_page(browser)
        page.goto(f"{server.url}/forks?run=sums-1&step=10")
        step = page.get_by_role("spinbutton", name="After step")
        expect(step).to_have_value("10", timeout=PATIENCE)
        page.get_by_role("spinbutton", name="Seed").fill("9")
        page.keyboard.press("Enter")
        page.get_by_role("button", name=re.compile("Fork and start")).click()
        page.wait_for_url(re.compile("run=sums-2"))
        expect(page.locator(".st-key-phase")).to_contain_text("finished", timeout=PATIENCE)
        page.goto(f"{server.url}/forks?run=sums-1&with=sums-2")
        with Store(database) as store:
            words = difference(store, load(store, "sums-1"), load(store, "sums-2")).words
            assert store.spec("sums-2").search.seed == 9
        expect(page.get_by_text(words)).to_be_visible(timeout=PATIENCE)
        page.reload()
        expect(page.get_by_text(words)).to_be_visible(timeout=PATIENCE)
        page.close()


def test_what_if_answers_and_opens_a_fork(browser: Browser, database: Path) -> None:
    with Store(database) as store:
        reading = load(store, "sums-1")
        place, label = next(iter(reading.labeling.items()))
        example, other = reading.run.codec.ids[place], "False" if label == "True" else "True"
    with serving(database) as server:
        page = new_page(browser)
        page.goto(f"{server.url}/steps?run=sums-1&example={example}&view=What if")
        page.get_by_role("button", name=f"What if {other}?").click()
        expect(page.get_by_text(f"with {other} in place of {label}")).to_be_visible(timeout=PATIENCE)
        page.get_by_role("button", name=re.compile("Open as fork")).click()
        page.wait_for_url(re.compile("run=sums-2"))
        expect(page.locator(".st-key-phase")).to_contain_text("finished", timeout=PATIENCE)
        with Store(database) as store:
            fork = load(store, "sums-2")
            assert (fork.labeling[place], fork.pins) == (other, {place})
            assert load(store, "sums-1").labeling == reading.labeling
        page.close()
