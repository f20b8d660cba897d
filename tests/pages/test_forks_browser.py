"""A fork, its difference, and a what-if, with a real browser and real workers."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from icm_engine.analysis.forks import difference
from icm_engine.analysis.views import load
from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control, worker
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.app_server import Server
from tests.support.chromium import NEEDS_BROWSER, at_address, fill, new_page, press, reload, stand_still, visit
from tests.support.stores import small_dataset

pytestmark = NEEDS_BROWSER


@pytest.fixture
def run(database: Path) -> str:
    """A finished run of the fake model."""
    with Store(database) as store:
        if not store.has_dataset("sums"):
            small_dataset(store)
        run = control.create_run(store, RunSpec("sums", "fake", search=SearchConfig(seed=2, max_steps=40)))
        store.send(run, "start", f"{run} start")
        assert worker.main(["--db", str(database), run]) == 0
    return run


def the_fork(database: Path, run: str) -> str:
    """The name of the one run that a fork of this one gave."""
    with Store(database) as store:
        (fork,) = (name for name in store.run_names() if store.spec(name).forked_from == run)
    return fork


def test_a_fork_is_made_started_and_compared(browser: Browser, server: Server, database: Path, run: str) -> None:
    page = new_page(browser)
    visit(page, f"{server.url}/forks?run={run}&step=10")
    expect(page.get_by_role("spinbutton", name="After step")).to_have_value("10")
    fill(page, "Seed", "9")
    press(page, "do_fork")
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    fork = the_fork(database, run)
    at_address(page, f"run={fork}")
    expect(page.locator(".st-key-headline")).to_contain_text("finished")
    visit(page, f"{server.url}/forks?run={run}&with={fork}")
    with Store(database) as store:
        words = difference(store, load(store, run), load(store, fork)).words
        assert store.spec(fork).search.seed == 9
    expect(page.get_by_text(words)).to_be_visible()
    reload(page)
    expect(page.get_by_text(words)).to_be_visible()


def test_what_if_answers_and_opens_a_fork(browser: Browser, server: Server, database: Path, run: str) -> None:
    with Store(database) as store:
        reading = load(store, run)
    place, label = next(iter(reading.labeling.items()))
    example, other = reading.run.codec.ids[place], "False" if label == "True" else "True"
    page = new_page(browser)
    visit(page, f"{server.url}/steps?run={run}&example={example}&view=What if")
    page.get_by_role("button", name=f"What if {other}?").click()
    expect(page.get_by_text(f"with {other} in place of {label}")).to_be_visible()
    stand_still(page)  # the job's bar ticks no more
    page.get_by_role("button", name=re.compile("Open as fork")).click()
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    fork = the_fork(database, run)
    at_address(page, f"run={fork}")
    expect(page.locator(".st-key-headline")).to_contain_text("finished")
    with Store(database) as store:
        forked = load(store, fork)
        assert (forked.labeling[place], forked.pins) == (other, {place})
        assert load(store, run).labeling == reading.labeling
