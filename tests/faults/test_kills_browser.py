"""Server killed, browser killed, both with the worker: the run is where it is, and a new page shows it there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control, worker
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.app_server import Server, end_workers, serving
from tests.support.chromium import CHROMIUM, NEEDS_BROWSER, QUIET, new_page, press, visit
from tests.support.faults import Fault
from tests.support.kills import kill, searched, wait_for
from tests.support.search_page import paused_at, wait_for_phase, wait_for_steps

pytestmark = NEEDS_BROWSER
SPEC = RunSpec("pairs", "fake", search=SearchConfig(seed=11, max_steps=5_000_000))
GOES_ON = "the run continues; a new page shows its progress, and its log is that of an uninterrupted run"


@pytest.fixture
def run(store: Store, pairs: Dataset) -> Iterator[str]:
    """A run that was never started."""
    store.add_dataset(pairs)
    yield control.create_run(store, SPEC)
    end_workers(store.path)


@contextmanager
def another(browser: Browser) -> Iterator[tuple[Page, int]]:
    """A page of a browser that may be killed, and the pid of its main process."""
    before = set(_browsers())
    made = browser.browser_type.launch(executable_path=CHROMIUM, args=QUIET)
    (pid,) = set(_browsers()) - before
    yield new_page(made), pid
    made.close()


def _browsers() -> list[int]:
    """The main processes of the browsers that this process runs: theirs alone are told no type."""
    found = psutil.Process().children(recursive=True)
    lines = {process.pid: process.cmdline() for process in found if process.status() != psutil.STATUS_ZOMBIE}
    mains = [
        pid for pid, line in lines.items()
        if "--remote-debugging-pipe" in line and not any(part.startswith("--type=") for part in line)
    ]  # fmt: skip
    parents = {process.pid: process.ppid() for process in found}
    return [pid for pid in mains if parents[pid] not in mains]  # a child looks like its parent until it is told a type


def set_going(page: Page, server: Server, run: str, how: str, taken: int) -> None:
    """Have a run go on by the button of this name, and see the page tell its steps."""
    visit(page, f"{server.url}/search?run={run}")
    press(page, how)
    wait_for_phase(page, "running")
    wait_for_steps(page, taken)


def seen_anew(page: Page, server: Server, store: Store, run: str, phase: str, least: int) -> None:
    """A new page shows the run in this phase, no step lost."""
    page.goto(f"{server.url}/search?run={run}")
    wait_for_phase(page, phase)
    expect(page.get_by_test_id("stProgress")).to_be_visible()
    wait_for_steps(page, least - 1)
    assert control.status(store, run).phase == phase


def goes_on_alone(store: Store, run: str, pid: int | None) -> None:
    """The same worker takes steps, with nobody there."""
    before = control.status(store, run)
    assert before.pid == pid
    wait_for(lambda: control.status(store, run).steps > before.steps + 20)
    assert control.status(store, run).pid == pid


def require_undisturbed(store: Store, run: str) -> int:
    """Stop a run; its log is that of a run of the same spec that took as many steps at once. Return how many."""
    control.stop(store, run)
    steps = control.wait_until_settled(store, run).steps
    other = control.create_run(store, replace(SPEC, search=replace(SPEC.search, max_steps=steps)))
    store.send(other, "start", other)
    worker.run_in_process(store, other, idle=0.0)
    assert searched(store, run) == searched(store, other)[:-1]  # but for `finished`
    return steps


@pytest.mark.timeout(3600)
@pytest.mark.fault("SIGKILL of the Streamlit server during a run that was started from its page", GOES_ON)
def test_the_server_is_killed(browser: Browser, store: Store, run: str, fault: Fault) -> None:
    with serving(store.path) as server:
        taken = 0
        for k in range(fault.times(quick=1, long=10)):
            page = new_page(browser)
            set_going(page, server, run, "do_resume" if k else "do_start", taken)
            pid = control.status(store, run).pid
            server.kill()
            goes_on_alone(store, run, pid)
            server.start()
            page = new_page(browser)
            seen_anew(page, server, store, run, "running", control.status(store, run).steps)
            press(page, "do_pause")
            taken = paused_at(page, store.path)
    fault.happened = f"the same worker process continued each time; {require_undisturbed(store, run):,} steps, equal"


@pytest.mark.timeout(3600)
@pytest.mark.fault("SIGKILL of the browser during a run", GOES_ON)
def test_the_browser_is_killed(browser: Browser, store: Store, run: str, fault: Fault) -> None:
    with serving(store.path) as server:
        taken = 0
        for k in range(fault.times(quick=1, long=10)):
            with another(browser) as (page, pid):
                set_going(page, server, run, "do_resume" if k else "do_start", taken)
                assert kill(pid)
            goes_on_alone(store, run, control.status(store, run).pid)
            page = new_page(browser)
            seen_anew(page, server, store, run, "running", control.status(store, run).steps)
            press(page, "do_pause")
            taken = paused_at(page, store.path)
    fault.happened = f"the worker continued each time; {require_undisturbed(store, run):,} steps, equal"


@pytest.mark.timeout(3600)
@pytest.mark.fault(
    "SIGKILL of server, browser and worker at once",
    "a new server shows the run as interrupted at its last step, and Resume continues to the log of "
    "an uninterrupted run",
)
def test_everything_is_killed_at_once(browser: Browser, store: Store, run: str, fault: Fault) -> None:
    with serving(store.path) as server:
        taken = 0
        for k in range(fault.times(quick=1, long=10)):
            with another(browser) as (page, pid):
                set_going(page, server, run, "do_resume" if k else "do_start", taken)
                for one in (control.status(store, run).pid, pid):
                    assert kill(one)
                server.kill()
            taken = control.status(store, run).steps
            server.start()
            seen_anew(page := new_page(browser), server, store, run, "interrupted", taken)
            assert control.status(store, run).steps == taken
            set_going(page, server, run, "do_resume", taken)
            press(page, "do_pause")
            taken = paused_at(page, store.path)
    fault.happened = (
        f"shown as interrupted at its last step each time; {require_undisturbed(store, run):,} steps, equal"
    )
