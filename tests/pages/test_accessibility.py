"""Every page beside axe-core, light and dark, wide and narrow: no violation that it calls serious or critical."""

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from icm_engine.analysis import audit
from icm_engine.analysis.views import load
from icm_engine.store.store import Store
from tests.support.app_server import Server
from tests.support.chromium import NEEDS_BROWSER, Theme, new_page, stand_still, visit
from tests.support.experiment_suites import done_suite
from tests.support.finetunings import finished, labelled_run, reinforced, responded, reward_model
from tests.support.labelled_runs import capitals_run, stored_loop, stored_teaching
from tests.support.stored_logs import LOGS, put
from tests.support.stores import CARELESS, add_batches, add_run, small_dataset

pytestmark = NEEDS_BROWSER
RUN, TUNED, FOLDED, ASKED = "sums-1", "sums-2", "arithmetic-1", "capitals-1"
SEEN = {  # every page of the menu, and each view, by its link: what is there once it is drawn
    "": ".st-key-first_run",
    "search": ".st-key-start_new",
    f"search?run={RUN}": "[data-testid=stTabs] [data-testid=stDataFrame]",
    "search?run=batches.1": "[data-testid=stDataFrame]",
    "search?run=batches.1-1": ".st-key-batch",
    "consistency": "[data-testid=stAlert]",
    f"consistency?run={RUN}&show=ever": ".st-key-to_repairs",
    f"consistency?run={RUN}&view=Groups": "text=Groups in conflict >> nth=1",
    f"consistency?run={RUN}&view=Repairs": ".st-key-to_pair",
    f"examples?run={RUN}&example=sums-0-0": ".st-key-one_example",
    f"steps?run={RUN}&step=20": ".st-key-then",
    f"steps?run={RUN}&step=20&view=Labels": "[data-testid=stDataFrame]",
    f"search?run={FOLDED}": "[data-testid=stTabs] [data-testid=stDataFrame]",
    f"steps?run={FOLDED}&step=4&fold=2": "[data-testid=stDataFrame] >> nth=3",
    f"flips?run={RUN}&example=sums-0-0": ".st-key-one_example",
    f"compare?run={RUN}&view=Gold": "h1",
    f"compare?run={RUN}&view=Seeds": "h1",
    f"compare?run={RUN}&view=Runs": "h1",
    f"compare?run={RUN}&view=Landscape": "h1",
    f"compare?run={RUN}&view=Audit": ".st-key-audit_labels",
    f"annotate?run={RUN}": ".st-key-example",
    f"forks?run={RUN}": ".st-key-do_fork",
    f"tour?run={RUN}": ".st-key-station_6",
    f"training?run={TUNED}": ".st-key-try_out",
    f"training?run={TUNED}&train=reward": ".st-key-reward",
    f"training?run={ASKED}&train=reinforcement": ".st-key-table_checks_reinforce-1",
    f"training?run={ASKED}&train=responses": ".st-key-keep",
    "experiments": ".st-key-report_html",
    "experiments?part=loop": "[data-testid=stDataFrame]",
    "experiments?part=judge": "[data-testid=stDataFrame]",
    "data": "[data-testid=stFileUploader]",
    "data?dataset=sums": "[data-testid=stDataFrame]",
    "data?dataset=sums&view=Rule+check": ".st-key-checks",
    "data?dataset=sums&view=Context+check": "[data-testid=stButtonGroup]",
}
GRAVE = ("serious", "critical")
# What comes from Streamlit itself and cannot be mended from outside: (rule, a part of the selector) and why. None.
ALLOWED: dict[tuple[str, str], str] = {}


@pytest.fixture(scope="module")
def filled(database: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A run with something to show on every page, a batched one, two that models learned from, a suite and loops."""
    with Store(database) as store, pytest.MonkeyPatch.context() as patch:
        small_dataset(store, groups=30)
        assert put(store, LOGS / "arithmetic-folds.jsonl.gz") == FOLDED
        assert add_run(store, "paused", 80, **CARELESS) == RUN
        audit.record(store, load(store, RUN), audit.audit_of(store, load(store, RUN)), 1, "True")
        assert add_batches(store, patch) == "batches.1"
        assert labelled_run(store) == TUNED
        finished(store, TUNED)
        done_suite(store, patch, tmp_path_factory.mktemp("suite"))
        stored_loop(store)
        stored_teaching(store)
        assert capitals_run(store) == ASKED
        reward_model(store, "own", ASKED)
        reward_model(store, "other")
        reinforced(store, ASKED)
        responded(store, ASKED)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 400)])
def test_no_page_has_a_serious_violation(browser: Browser, server: Server, theme: Theme, width: int) -> None:
    page = new_page(browser, width, theme=theme)
    found = [line for link, seen in SEEN.items() for line in violations(page, f"{server.url}/{link}", seen)]
    assert not found, "\n".join(found)


def violations(page: Page, url: str, seen: str) -> list[str]:
    """Open a page, wait until it is drawn, and return its grave violations, one line each."""
    visit(page, url)
    expect(page.locator(seen).first).to_be_visible()
    stand_still(page)
    response: dict[str, Any] = Axe().run(page).response
    return [
        f"{url} {violation['id']} {node['html']} {node['target']} {node['failureSummary']}"
        for violation in response["violations"]
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
        if not is_allowed(violation["id"], str(node["target"]))
    ]


def is_allowed(rule: str, target: str) -> bool:
    return any(rule == allowed and part in target for allowed, part in ALLOWED)


def test_the_check_finds_what_is_wrong(browser: Browser) -> None:
    page = new_page(browser)
    page.set_content("<html lang='en'><title>t</title><main><h1>h</h1><button></button></main></html>")
    found = [(violation["id"], violation["impact"]) for violation in Axe().run(page).response["violations"]]
    assert found == [("button-name", "critical")]
