"""A run of a real base model, kept as a log: it is replayed and verified, and the README's first picture shows it.

It is the run of the README's command: `run --dataset reviews --model gemma-3-270m --quantization none --preset centred
--limit 64`, with the seed 0. Its process was halted for some minutes during one step, so its seconds are no timing.
"""

import json
import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from icm_engine.analysis.views import load
from icm_engine.cli.main import main
from icm_engine.runs.verify import verify
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.support.app_server import serving
from tests.support.chromium import CURVE, browsing, new_page, visit
from tests.support.paths import ROOT
from tests.support.stored_logs import LOGS, put

LOG = LOGS / "reviews-gemma-3-270m.jsonl.gz"


def test_a_log_of_a_real_model_follows_the_method_to_its_last_step(store: Store) -> None:
    run = put(store, LOG)
    assert verify(store, open_run(store, run)) == (256, [])
    assert sum(load(store, run).tally.counts.values()) == 63


def test_the_command_line_tells_a_log_of_a_real_model_with_gold(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    run = put(store, LOG)
    assert main(["show", run, "--db", str(store.path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["status"], shown["labelled"]) == ("finished", 63)
    assert shown["accuracy"] == 53 / 64  # the one without a label counts as wrong


def picture_of_a_real_model(tmp_path: Path) -> None:
    """Write docs/real-model.png: the overview of a base model's run on reviews."""
    with Store(tmp_path / "icm.db") as store:
        run = put(store, LOG)
    with serving(tmp_path / "icm.db") as server, browsing() as browser:
        page = new_page(browser, height=1300)
        visit(page, f"{server.url}/search?run={run}")
        expect(page.locator(CURVE).first).to_be_visible()
        page.wait_for_timeout(5000)  # the tables follow the curves
        page.screenshot(path=ROOT / "docs" / "real-model.png")


if "ICM_SCREENSHOTS" in os.environ:  # not a skip: a browser test that skips means that there is no browser
    test_picture_of_a_real_model = pytest.mark.browser(picture_of_a_real_model)
