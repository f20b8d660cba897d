"""Hostile texts in a real browser, on every page: nothing runs, nothing is fetched, and they are there to be read."""

from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page

from icm_engine.analysis import audit
from icm_engine.analysis.views import load
from icm_engine.store.store import Store
from tests.support.app_server import Server
from tests.support.chromium import NEEDS_BROWSER, new_page, visit
from tests.support.faults import Fault
from tests.support.hostile_texts import MARKUP, NAME, SITE, hostile_runs, long_run

pytestmark = NEEDS_BROWSER
RUN, DATA = quote(f"{NAME}-1", safe=""), quote(NAME, safe="")
FAILED = quote(f"{NAME}-2", safe="")
EXAMPLE = quote(f"id 2.0 {MARKUP[2][:60]}", safe="")
LINKS = [
    "", "search", f"search?run={RUN}", f"search?run={FAILED}", f"search?dataset={DATA}",
    f"consistency?run={RUN}&show=ever", f"consistency?run={RUN}&view=Groups", f"consistency?run={RUN}&view=Repairs",
    f"examples?run={RUN}&example={EXAMPLE}", "examples?run=long-1&example=long-0",
    f"steps?run={RUN}&step=10", f"steps?run={RUN}&step=10&view=Labels", f"flips?run={RUN}&example={EXAMPLE}",
    f"compare?run={RUN}&view=Gold", f"compare?run={RUN}&view=Seeds", f"compare?run={RUN}&view=Runs",
    f"compare?run={RUN}&view=Landscape", f"compare?run={RUN}&view=Audit",
    f"annotate?run={RUN}&example={EXAMPLE}", f"forks?run={RUN}",
    f"tour?run={RUN}", f"training?run={RUN}", "experiments", "data", f"data?dataset={DATA}",
    f"data?dataset={DATA}&example={EXAMPLE}", f"data?dataset={DATA}&view=Rule+check",
    f"data?dataset={DATA}&view=Context+check", "steps?run=long-1&step=3", "flips?run=long-1&example=long-0",
    "annotate?run=long-1&example=long-0", "compare?run=long-1&view=Audit", "data?dataset=long&example=long-0",
]  # fmt: skip
# What a page has if a text was read as markup somewhere; the names of what was found.
READ = """site => Object.entries({
  script: window.icmHits.length,
  html: document.querySelectorAll("[data-hostile]").length,
  picture: document.querySelectorAll(`img[src*="${site}"], iframe[src*="${site}"]`).length,
  link: [...document.querySelectorAll("a")].filter(a => a.host.endsWith(site) || a.protocol === "javascript:").length,
  formula: document.querySelectorAll(".katex").length,
  bold: [...document.querySelectorAll("strong, em, h1, h2, h3, blockquote")]
    .filter(node => /boldly|italic|^heading|^quote/.test(node.textContent)).length,
  emoji: document.body.innerText.includes("\\u{1F389}") ? 1 : 0,
  icon: [...document.querySelectorAll("[data-testid=stIconMaterial]")].filter(n => n.textContent === "skull").length,
  colour: [...document.querySelectorAll("span")]
    .filter(node => ["coloured", "no", "badge"].includes(node.textContent)).length,
}).filter(([, count]) => count).map(([name, count]) => `${name}: ${count}`)"""


@pytest.fixture(scope="module")
def filled(database: Path) -> None:
    with Store(database) as store:
        assert hostile_runs(store) == (f"{NAME}-1", f"{NAME}-2")
        assert long_run(store) == "long-1"
        for run in (f"{NAME}-1", "long-1"):
            begun = audit.audit_of(store, load(store, run))
            audit.record(store, load(store, run), begun, 1, begun.labels[0])


@pytest.fixture
def page(browser: Browser) -> Page:
    page = new_page(browser)
    page.add_init_script("window.icmHits = []; window.icmHit = what => window.icmHits.push(what);")
    return page


@pytest.mark.usefixtures("filled")
@pytest.mark.fault(
    "texts with HTML, Markdown, LaTeX, Streamlit's directives and controls, as examples, labels, ids, columns, names "
    "of data sets, runs, tasks and files, and errors; a cell of 1 MB; on every page, in a browser",
    "no script runs, no dialog opens, no request leaves the machine, nothing is read as markup",
)
def test_hostile_texts_are_texts_on_every_page(page: Page, server: Server, fault: Fault) -> None:
    asked: list[str] = []
    said: list[str] = []
    dialogs: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(blocked(message)))

    def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    themes = ("light", "dark")[: fault.times(quick=1, long=2)]
    wrong = []
    for theme in themes:
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        for link in LINKS:
            visit(page, f"{server.url}/{link}")
            wrong += [f"{link[:40]} has {found}" for found in page.evaluate(READ, SITE)]
            if page.get_by_text("That did not work").count() or page.get_by_text("encountered an error").count():
                wrong.append(f"{link[:40]} fails: {page.locator('[data-testid=stMain]').inner_text()[:300]}")
    elsewhere = [url for url in asked if not url.startswith((server.url, "data:", "blob:", "about:"))]
    assert not wrong, "\n".join(wrong)
    assert not elsewhere
    assert not dialogs
    assert not [words for words in said if words]
    fault.tried = len(LINKS) * len(themes)
    fault.happened = (
        f"{fault.tried} pages, {len(asked):,} requests, all to the app; no script ran, no text was read as markup"
    )


def blocked(message: ConsoleMessage) -> str:
    """What the browser kept a page from doing, else nothing."""
    return message.text if "Content Security Policy" in message.text else ""


@pytest.mark.usefixtures("filled")
def test_hostile_texts_are_there_to_be_read(page: Page, server: Server) -> None:
    visit(page, f"{server.url}/annotate?run={RUN}&example={EXAMPLE}")
    shown = page.locator("[data-testid=stMain]").inner_text()
    assert MARKUP[2] in shown
    visit(page, f"{server.url}/data?dataset={DATA}&example={EXAMPLE}")
    assert MARKUP[2].replace(" ", "·\u200b") in page.locator("[data-testid=stMain]").inner_text()


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("name", ["search", "steps", "data", "annotate"])
def test_half_a_character_in_an_address_draws_a_page(page: Page, server: Server, name: str) -> None:
    """As bytes that are no UTF-8, and as a script in the browser writes it."""
    what = "dataset" if name == "data" else "run"
    for query in (f"?{what}=%ED%A0%80", f"?{what}=\\ud800", f"?{what}=a%C3&example=\\udc00&step=\\ud800"):
        visit(page, f"{server.url}/{name}")
        page.evaluate(f'window.history.replaceState(null, "", "{query}")')
        visit(page, page.evaluate("window.location.href"))
        assert page.locator("[data-testid=stMain]").get_by_role("heading").count()
        assert page.locator("[data-testid=stException]").count() == 0
