"""One run as an HTML file: what it has, gold only if asked, texts as text, and a browser without a network."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from icm_engine.analysis import audit
from icm_engine.analysis.views import load
from icm_engine.cli.main import main
from icm_engine.core.errors import SettingError
from icm_engine.data.gold import add_gold, load_gold
from icm_engine.experiments.report import share_run
from icm_engine.store.store import Store
from tests.support.chromium import NEEDS_BROWSER, new_page
from tests.support.stores import HOSTILE, add_run

END = "</script><script>icmHit()</script><img src=x onerror=icmHit()>"


@pytest.fixture
def run(store: Store) -> str:
    """A finished run with three answers of an audit."""
    run = add_run(store, "finished")
    for label in ("True", "False", None):
        reading = load(store, run)
        now = audit.audit_of(store, reading)
        audit.record(store, reading, now, now.next, label)
    return run


def text_of(page: str) -> str:
    """The page without its scripts and marks."""
    return re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL))


def test_a_shared_run_has_its_summary_curves_decisions_labels_and_audit(store: Store, run: str) -> None:
    page, reading = share_run(store, run), load(store, run)
    for title in ("Summary", "Utility", "Decisions", "Labels", "Audit", "Settings of the search"):
        assert title in text_of(page)
    for name in reading.run.codec.ids:
        assert f"<td>{name}</td>" in page
    found = audit.audit_of(store, reading).finding
    assert audit.verdict_words(found) in text_of(page)
    assert page.count('<div id="figure-') == 4  # U, temperature, labels, the audit


def test_gold_is_in_no_byte_unless_asked(store: Store, run: str) -> None:
    page = share_run(store, run)
    assert "gold" not in text_of(page).casefold()
    assert not re.search("gold|accuracy", page.split("const figures")[1], re.IGNORECASE)
    gold = load_gold(store, "sums").labels
    for change in ({name: str(label == "False") for name, label in gold.items()}, {}):  # inverted, removed
        add_gold(store, "sums", change)
        assert share_run(store, run) == page
    add_gold(store, "sums", gold)
    told = share_run(store, run, gold=True)
    assert "<th>gold</th>" in told
    assert "accuracy against gold" in text_of(told)


def test_gold_of_a_run_that_is_annotated_blind_is_not_shared(store: Store, run: str) -> None:
    act = {"verb": "blind", "examples": [], "labels": [], "text": "", "changes": []}
    store.append(run, "hand", {"acts": [act], "flips": [], "after": None})
    with pytest.raises(SettingError, match="is annotated blind: share it without gold"):
        share_run(store, run, gold=True)
    assert share_run(store, run)


def test_texts_are_text_and_only_two_scripts_may_run(store: Store, run: str) -> None:
    page = share_run(store, run)
    assert HOSTILE not in page
    assert "&lt;b onclick=alert(1)&gt;bold&lt;/b&gt;" in page
    assert page.count("<script") == page.count("</script>") == 2
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.split("style-src")[0]
    assert not re.search(r"<(?:link|img|iframe)\b|\ssrc=", page.split("<script")[0])


def test_a_run_without_labels_can_be_shared(store: Store) -> None:
    page = share_run(store, add_run(store, "created"))
    assert "<script" not in page
    assert "script-src 'none'" in page


def test_the_command_writes_the_file(
    store: Store, run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = tmp_path / "run.html"
    words = ["share", run, "--db", str(store.path), "--output"]
    assert main([*words, str(where), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["run"], told["bytes"], told["gold"]) == (run, where.stat().st_size, False)
    assert where.read_text(encoding="utf-8") == share_run(store, run)
    assert main([*words, str(tmp_path / "none" / "run.html")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.browser
@pytest.mark.skipif(NEEDS_BROWSER[2].args[0], reason="no Chromium on this machine: install the package chromium")
def test_a_browser_without_a_network_draws_it_and_runs_nothing_else(
    store: Store, run: str, browser: Browser, tmp_path: Path
) -> None:
    where = tmp_path / "run.html"
    where.write_text(share_run(store, run).replace("<h1>", f"{END}<h1>", 1), encoding="utf-8")  # as if not escaped
    page = new_page(browser)
    asked, said = list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.add_init_script("window.icmHit = () => { window.wasHit = true; }")
    page.context.set_offline(True)
    try:
        page.goto(where.as_uri())
        expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible()
        expect(page.locator(".js-plotly-plot")).to_have_count(4)
        assert page.evaluate("window.wasHit") is None
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
        assert all("Content Security Policy" in text for text in said)
        assert any("inline script" in text or "inline event handler" in text for text in said)
    finally:
        page.context.set_offline(False)
