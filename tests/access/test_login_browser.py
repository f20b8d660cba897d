"""A login at a provider (OIDC), whole: a real provider's protocol, a real server behind the gate, a real browser.

The provider has no passwords: whoever comes says who they are. What it then tells of them is the provider's word.
"""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from icm_engine.store.store import Store
from tests.support.app_server import Server, free_port, serving
from tests.support.chromium import NEEDS_BROWSER, PATIENCE, stand_still
from tests.support.stores import add_run

pytestmark = NEEDS_BROWSER
RUN = "sums-1"
USERS = (
    {"sub": "ann", "email": "ann@example.org", "email_verified": True},
    {"sub": "bob", "email": "Bob@lab.example.org", "email_verified": True},
    {"sub": "eve", "email": "eve@elsewhere.example", "email_verified": True},
    {"sub": "not-ann", "email": "ann@example.org", "email_verified": False},
    {"sub": "nobody"},
)


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """The address of a provider who knows these users, in a process of its own."""
    port = free_port()
    known = [f"--user-claims={json.dumps(user)}" for user in USERS]
    process = subprocess.Popen(
        [sys.executable, "-m", "oidc_provider_mock", f"--port={port}", *known], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}/.well-known/openid-configuration"
    while not _answers(address):
        assert process.poll() is None, "the provider ended while it started"
        time.sleep(0.2)
    yield address
    process.kill()
    process.wait()


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def behind_it(provider: str, database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app, exposed, with ann and everybody of the lab as its users."""
    with Store(database) as store:
        assert add_run(store, "paused") == RUN
    secrets, port = tmp_path_factory.mktemp("secrets") / "secrets.toml", free_port()
    secrets.write_text(
        "[auth]\n"
        f'redirect_uri = "http://127.0.0.1:{port}/oauth2callback"\n'
        f'cookie_secret = "{"not so secret " * 3}"\n'
        'client_id = "workbench"\nclient_secret = "of the workbench"\n'
        f'server_metadata_url = "{provider}"\n',
        encoding="utf-8",
    )
    named = {"ICM_EXPOSE": "labels.example.org", "ICM_USERS": "ann@example.org, *@lab.example.org"}
    with serving(database, port, arguments=[f"--secrets.files={secrets}"], **named) as server:
        yield server


@contextmanager
def a_browser_of_their_own(browser: Browser, width: int = 1280) -> Iterator[Page]:
    """A browser that nobody has logged in with; the provider's page fetches nothing from elsewhere."""
    context = browser.new_context(viewport={"width": width, "height": 900})
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.route(lambda url: "127.0.0.1" not in url, lambda route: route.abort())
        yield page
    finally:
        context.close()


def log_in(page: Page, who: str) -> None:
    page.get_by_role("button", name="Log in").click()
    page.get_by_placeholder("sub").fill(who)
    page.get_by_role("button", name="Authorize").click()


def log_out(page: Page) -> None:
    """Out of the app, and at the provider, which asks once more."""
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("button", name="End session").click()


@pytest.mark.parametrize("who", ["ann", "bob"])
def test_a_user_logs_in_at_the_provider_and_out_again(browser: Browser, behind_it: Server, who: str) -> None:
    with a_browser_of_their_own(browser, 400 if who == "bob" else 1280) as page:
        page.goto(f"{behind_it.url}/search?run={RUN}")
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        assert "sums" not in page.locator("[data-testid=stApp]").inner_text()
        log_in(page, who)
        expect(page.get_by_role("heading", name="ICM Workbench")).to_be_visible()
        page.goto(f"{behind_it.url}/search?run={RUN}")
        expect(page.get_by_role("heading", name="Overview", exact=True)).to_be_visible()
        stand_still(page)
        with a_browser_of_their_own(browser) as strange:
            strange.goto(page.url)
            expect(strange.get_by_role("heading", name="Log in")).to_be_visible()
        if who == "bob":
            page.get_by_test_id("stExpandSidebarButton").click()
        log_out(page)
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        page.goto(f"{behind_it.url}/search?run={RUN}")
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()


@pytest.mark.parametrize(
    ("who", "called"),
    [("eve", "eve@elsewhere.example"), ("not-ann", "ann@example.org"), ("nobody", "A user without an address")],
)
def test_whom_the_app_does_not_name_the_provider_lets_in_in_vain(
    browser: Browser, behind_it: Server, who: str, called: str
) -> None:
    with a_browser_of_their_own(browser) as page:
        page.goto(f"{behind_it.url}/search?run={RUN}")
        log_in(page, who)
        expect(page.get_by_text(f"{called} has no access.")).to_be_visible()
        page.goto(f"{behind_it.url}/search?run={RUN}")
        expect(page.get_by_text(f"{called} has no access.")).to_be_visible()
        assert "sums" not in page.locator("[data-testid=stApp]").inner_text()
        log_out(page)
        expect(page.get_by_role("button", name="Log in")).to_be_visible()


def test_who_goes_back_at_the_provider_is_not_in(browser: Browser, behind_it: Server) -> None:
    with a_browser_of_their_own(browser) as page:
        page.goto(behind_it.url)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("button", name="Deny").click()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
