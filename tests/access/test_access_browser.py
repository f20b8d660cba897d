"""Doors in a real browser: what a person sees who comes to a closed app, to a login, and from another site."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from icm_engine.access.policy import hashed
from icm_engine.store.store import Store
from tests.support.app_server import Server, serving
from tests.support.chromium import NEEDS_BROWSER, PATIENCE, new_page, stand_still, visit
from tests.support.paths import ROOT
from tests.support.stores import add_run

pytestmark = NEEDS_BROWSER
WORDS = "four words and a dot."
RUN = "sums-1"


@pytest.fixture(scope="module")
def filled(database: Path) -> None:
    with Store(database) as store:
        assert add_run(store, "paused") == RUN


@pytest.fixture(scope="module")
def exposed(database: Path, filled: None) -> Iterator[Server]:
    """The app with a password, reached on every address of this machine."""
    started: dict[str, Any] = {"ICM_EXPOSE": "labels.example.org", "ICM_PASSWORD_HASH": hashed(WORDS)}
    with serving(database, arguments=["--server.address=0.0.0.0"], **started) as server:
        yield server


@pytest.fixture(scope="module")
def other_site() -> Iterator[str]:
    """A page of another site on this machine, which shows the app in a frame and opens its socket."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = b"<!doctype html><title>other</title><h1>Another site</h1>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield f"http://localhost:{site.server_address[1]}/"
    site.shutdown()


def log_in(page: Page, password: str) -> None:
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_an_app_open_to_the_network_by_mistake_shows_one_page_that_says_so(
    browser: Browser, database: Path, filled: None
) -> None:
    with serving(database, arguments=["--server.address=0.0.0.0"]) as server:
        page = new_page(browser, 400)
        page.goto(f"{server.url}/search?run={RUN}")
        expect(page.get_by_role("heading", name="The app is closed")).to_be_visible()
        expect(page.get_by_role("listitem")).to_contain_text("start it with --server.address 127.0.0.1")
        assert "sums" not in page.content()


@pytest.mark.parametrize("width", [1280, 400])
def test_a_person_logs_in_and_is_where_they_wanted_to_be(browser: Browser, exposed: Server, width: int) -> None:
    page = new_page(browser, width, theme="dark" if width == 400 else "light")
    page.goto(f"{exposed.url}/search?run={RUN}")
    expect(page.get_by_label("Password")).to_be_focused()
    assert "sums" not in page.locator("main").inner_text()
    log_in(page, "not the password")
    expect(page.get_by_role("alert")).to_have_text("That is not the password.")
    log_in(page, WORDS)
    expect(page.get_by_role("heading", name="Overview", exact=True)).to_be_visible()
    assert page.url == f"{exposed.url}/search?run={RUN}"
    stand_still(page)
    page.reload()  # still in
    expect(page.get_by_role("heading", name="Overview", exact=True)).to_be_visible()

    stranger = browser.new_context()
    try:
        theirs = stranger.new_page()
        theirs.goto(page.url, timeout=PATIENCE)
        expect(theirs.get_by_label("Password")).to_be_visible()
    finally:
        stranger.close()

    page.goto(f"{exposed.url}/_icm/logout")
    expect(page.get_by_label("Password")).to_be_visible()


def test_logging_out_is_in_the_menu_and_ends_what_is_open(browser: Browser, exposed: Server) -> None:
    page = new_page(browser)
    page.goto(exposed.url)
    log_in(page, WORDS)
    expect(page.get_by_role("heading", name="ICM Workbench")).to_be_visible()
    second = page.context.new_page()
    try:
        second.set_default_timeout(PATIENCE)
        visit(second, f"{exposed.url}/search?run={RUN}")
        stand_still(page)
        page.get_by_role("link", name="Log out").click()
        expect(page.get_by_label("Password")).to_be_visible()
        second.get_by_text("Curves as a table").click()  # what it sends is not taken any more
        expect(second.get_by_role("dialog", name="Connection error")).to_contain_text("401")
    finally:
        second.close()


def test_another_site_can_neither_frame_the_app_nor_open_its_socket(
    browser: Browser, server: Server, other_site: str
) -> None:
    page = new_page(browser)
    page.goto(other_site)
    opened = page.evaluate(
        """url => new Promise(resolve => {
          const socket = new WebSocket(url.replace("http", "ws") + "/_stcore/stream", ["streamlit"]);
          socket.onopen = () => resolve("open");
          socket.onerror = () => resolve("refused");
        })""",
        server.url,
    )
    assert opened == "refused"
    page.evaluate(
        "url => { document.body.append(Object.assign(document.createElement('iframe'), {src: url})); }", server.url
    )
    iframe = page.wait_for_selector("iframe")
    assert iframe is not None
    frame = iframe.content_frame()
    assert frame is not None
    frame.wait_for_load_state()
    assert frame.locator("[data-testid=stApp]").count() == 0
    read = page.evaluate("url => fetch(url).then(() => 'read', () => 'refused')", server.url)
    assert read == "refused"


def test_a_page_that_is_started_by_itself_is_no_way_in(browser: Browser, database: Path, filled: None) -> None:
    with serving(database, script=ROOT / "pages" / "search.py", PYTHONPATH=str(ROOT)) as server:
        page = new_page(browser)
        page.goto(f"{server.url}/?run={RUN}")
        expect(page.get_by_test_id("stAlert")).to_contain_text("start the app with streamlit run app.py")
        assert "sums" not in page.locator("[data-testid=stMain]").inner_text()
