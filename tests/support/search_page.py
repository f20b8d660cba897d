"""The Overview of a run in a browser: waiting for what the run does."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from icm_engine.runs import control
from icm_engine.store.store import Store
from tests.support.chromium import (
    stand_still,
)


def wait_for_phase(page: Page, word: str) -> None:
    expect(page.locator(".st-key-headline")).to_contain_text(word)


def wait_for_steps(page: Page, more_than: int) -> None:
    page.wait_for_function(
        """n => { const bar = document.querySelector('[data-testid="stProgress"]');
                  return bar && parseInt(bar.innerText.replaceAll(',', '')) > n; }""",
        arg=more_than,
    )


def paused_at(page: Page, database: Path) -> int:
    """Wait until the run is paused and the page shows the last step that it took; return that step."""
    wait_for_phase(page, "paused")
    with Store(database) as store:
        (run,) = store.run_names()
        taken = control.wait_until_settled(store, run).steps
    expect(page.get_by_test_id("stProgress")).to_contain_text(re.compile(rf"^{taken:,} of"))
    stand_still(page)
    return taken
