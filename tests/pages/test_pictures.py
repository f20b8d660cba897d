"""The pictures of the documentation that no other test makes: ICM_SCREENSHOTS=1 pytest tests/pages/test_pictures.py."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from icm_engine import jobs
from icm_engine.analysis import forks
from icm_engine.analysis.flips import lowest_margin
from icm_engine.analysis.repairs import repair_code
from icm_engine.analysis.run_form import FIRST_RUN, begin
from icm_engine.analysis.views import load
from icm_engine.core.settings import ModelChoice, SearchConfig
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.experiments import runner, self_rewarding
from icm_engine.experiments.self_rewarding import Loop, LoopSettings
from icm_engine.jobs.policies import PreferenceSettings
from icm_engine.runs import control
from icm_engine.store.store import Store
from tests.support.app_server import serving
from tests.support.chromium import CURVE, NEEDS_BROWSER, browsing, visit
from tests.support.pictures import in_both_themes
from tests.support.stored_logs import LOGS, put

pytestmark = [*NEEDS_BROWSER, pytest.mark.model]


def picture(browser: Browser, url: str, name: str, seen: str, height: int = 1000) -> None:
    """Open a page, wait until it is drawn, and keep what it looks like in light and in dark."""
    for page in in_both_themes(browser, name, height):
        visit(page, url)
        expect(page.locator(seen).first).to_be_visible()


def pictures_of_a_finished_run(tmp_path: Path) -> None:
    """Write docs/home.png, steps, examples, flips, consistency, forks and tour.

    The run has the data of the first button and the former default: with the centred form no proposal is rejected here.
    """
    with Store(tmp_path / "icm.db") as store:
        run = begin(store, replace(FIRST_RUN, search=SearchConfig(seed=1, max_steps=256)))
        control.wait_until_settled(store, run)
        reading = load(store, run)
        child = forks.begin_fork(store, reading, 100, 60, {"seed": 7})
        control.wait_until_settled(store, child)
        doubted = reading.run.codec.ids[lowest_margin(reading)[0].example]
        rejected = next(p.event for p in reading.trajectory.points[30:] if p.verdict == "rejected")
        repair = repair_code(next(mark for mark in reading.repairs if mark.kept and mark.step))
    with serving(tmp_path / "icm.db") as server, browsing() as browser:
        picture(browser, server.url, "home", ".st-key-runs", 640)
        picture(browser, f"{server.url}/steps?run={run}&event={rejected}", "steps", CURVE, 1500)
        link = f"{server.url}/examples?run={run}&example={doubted}&order=Lowest+margin"
        picture(browser, link, "examples", ".st-key-one_example", 1290)
        picture(browser, f"{server.url}/flips?run={run}", "flips", CURVE, 1300)
        link = f"{server.url}/consistency?run={run}&view=Repairs&repair={repair}"
        picture(browser, link, "consistency", ".st-key-to_pair", 1400)
        picture(browser, f"{server.url}/forks?run={run}&with={child}", "forks", ".st-key-do_fork")
        picture(browser, f"{server.url}/tour?run={run}", "tour", ".st-key-station_6", 1500)


def picture_of_a_search_with_folds(tmp_path: Path) -> None:
    """Write docs/folds.png: the Overview of a stored log of the sample model."""
    with Store(tmp_path / "icm.db") as store:
        run = put(store, LOGS / "arithmetic-folds.jsonl.gz")
    with serving(tmp_path / "icm.db") as server, browsing() as browser:
        picture(browser, f"{server.url}/search?run={run}", "folds", CURVE, 1440)


def picture_of_a_suite(tmp_path: Path) -> None:
    """Write docs/experiments.png: the quick form of the main suite on the sample model."""
    with Store(tmp_path / "icm.db") as store:
        job = runner.submit(store, "main", ModelChoice("sample"), quick=True, command="evaluate main --quick")
        assert jobs.wait_until_settled(store, job).phase == "done"
    with serving(tmp_path / "icm.db") as server, browsing() as browser:
        picture(browser, f"{server.url}/experiments?job={job}", "experiments", ".st-key-report_html", 1900)


def picture_of_a_loop(tmp_path: Path) -> None:
    """Write docs/loop.png: three rounds of the self-rewarding loop on the sample model."""
    with Store(tmp_path / "icm.db") as store:
        ensure_sample_dataset(store, "facts")
        small = LoopSettings(rounds=3, prompts=8, samples=4, test_prompts=8, test_samples=4)
        model = ModelChoice("sample", "none", "float32", "cpu")
        job = self_rewarding.ask(store, Loop("facts-loop-1", "facts", None, small, PreferenceSettings(steps=20), model))
        jobs.start(store, job)
        assert jobs.wait_until_settled(store, job).phase == "done"
    with serving(tmp_path / "icm.db") as server, browsing() as browser:
        picture(browser, f"{server.url}/experiments?job={job}", "loop", "[data-testid=stDataFrame]", 1200)


if "ICM_SCREENSHOTS" in os.environ:  # not a skip: a browser test that skips means that there is no browser
    test_pictures_of_a_finished_run = pictures_of_a_finished_run
    test_picture_of_a_search_with_folds = picture_of_a_search_with_folds
    test_picture_of_a_suite = picture_of_a_suite
    test_picture_of_a_loop = picture_of_a_loop
