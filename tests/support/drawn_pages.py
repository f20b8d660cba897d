"""Pages drawn by Streamlit's own tester, and what is on them."""

import functools

from streamlit.components.v2 import manifest_scanner
from streamlit.runtime.scriptrunner.script_cache import ScriptCache
from streamlit.testing.v1 import AppTest, app_test

from icm_engine.runs.life_cycle import Phase
from tests.support.paths import ROOT

PHASES: tuple[Phase, ...] = ("created", "starting", "running", "paused", "interrupted", "failed", "stopped", "finished")

# A server looks for installed components once and compiles each page once. The tester would do both for every session,
# which takes longer than the pages do.
manifest_scanner.scan_component_manifests = functools.cache(manifest_scanner.scan_component_manifests)
app_test.ScriptCache = functools.cache(ScriptCache)  # type: ignore[attr-defined, assignment]


def app(timeout: float = 60) -> AppTest:
    """The app in a new session, with nothing drawn yet."""
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=timeout)


def page(name: str | None = None, **query: str) -> AppTest:
    """Draw the home page, or the named one as a link opens it: in a new session, with nothing drawn before it."""
    test = app()
    test.query_params.update(query)
    (test.switch_page(f"pages/{name}.py") if name else test).run()
    assert not test.exception
    return test


def texts(test: AppTest) -> str:
    return "\n".join(element.value for element in test.text)


def shown_markup(test: AppTest) -> str:
    """Everything that Streamlit would read as Markdown or HTML."""
    kinds = (test.markdown, test.caption, test.info, test.warning, test.error, test.success, test.title, test.header)
    return "\n".join(element.value for elements in kinds for element in elements)


def button(test: AppTest, key: str):  # type: ignore[no-untyped-def]
    return test.button(key=key)


def frame(test: AppTest, column: str):  # type: ignore[no-untyped-def]
    return next(found.value for found in test.dataframe if column in found.value)


def write(test: AppTest, key: str, text: str) -> None:
    """Type into a box that takes new options, which Streamlit's tester cannot."""
    box = test.selectbox(key=key)
    box.options.append(text)
    box.set_value(text)
