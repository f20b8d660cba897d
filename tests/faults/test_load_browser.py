"""Load in a real browser: tabs and runs at once, by the program that measures them (`benchmarks.load`)."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from benchmarks.load import Figures, measured
from tests.support.chromium import NEEDS_BROWSER
from tests.support.faults import Fault

pytestmark = NEEDS_BROWSER
QUICK, LONG = 0.1, 3.0  # minutes; an hour is `python -m benchmarks.load --minutes 60`


def told(seen: Figures) -> str:
    """Assert what is promised, and say the rest."""
    assert seen.problems == 0
    assert seen.ticks > 0
    memory = (*seen.server, *seen.worker)
    return (
        f"{seen.steps:,} steps, {seen.pace:.1f} per second and run, none lost; {seen.ticks:,} ticks, median "
        f"{seen.median:.0f} ms, 95th percentile {seen.percentile95:.0f} ms; after a tenth of the time and at the end, "
        "the server held {:.0f} and {:.0f} MB, the largest worker {:.0f} and {:.0f} MB".format(*memory)
    )


@pytest.mark.timeout(3600)
@pytest.mark.fault("tabs on one live run, 20 steps/s", "no event is lost; every tab shows how the run ended")
def test_many_tabs_on_one_run(chromium: Browser, tmp_path: Path, fault: Fault) -> None:
    tabs = fault.times(quick=2, long=10)
    fault.happened = told(measured(chromium, tmp_path / "icm.db", 1, tabs, LONG if fault.torture else QUICK))


@pytest.mark.timeout(3600)
@pytest.mark.fault(
    "simultaneous runs, each with a tab, 20 steps/s", "no event is lost; every tab shows how the run ended"
)
def test_many_runs_at_once(chromium: Browser, tmp_path: Path, fault: Fault) -> None:
    runs = fault.times(quick=2, long=10)
    fault.happened = told(measured(chromium, tmp_path / "icm.db", runs, runs, LONG if fault.torture else QUICK))
