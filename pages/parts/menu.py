"""The frame of all pages: who may see them, title, icon, CSS and menu. The CSS never contains untrusted text."""

import os
import sys
from typing import Any

import streamlit as st
from streamlit import config
from streamlit.runtime.scriptrunner import get_script_run_ctx

from icm_engine.access.middleware import MARK, PASSED, AccessMiddleware
from icm_engine.access.policy import AccessPolicy, ServerOptions, access_policy
from icm_engine.analysis.formatting import escaped
from icm_engine.core.resources import resource
from pages.parts import session

CSS = """
<style>
.st-key-tiles { display: grid !important; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 0.75rem; }
.st-key-tiles > * { width: 100% !important; }
.st-key-theme { display: none !important; }
.st-key-runs [data-testid="stPageLink"] a { padding-left: 0; font-weight: 600; }
.st-key-runs [data-testid="stText"] { opacity: 0.75; }
[data-testid="stLayoutWrapper"]:has(> .st-key-run_header) { position: sticky; top: 2.6rem; z-index: 99; }
.st-key-run_header {
  background: BACKGROUND; padding: 0.5rem 0 0; border-bottom: 1px solid BORDER; gap: 0.3rem !important;
}
.st-key-last_decision a { background: transparent !important; padding-left: 0 !important; }
.st-key-last_decision a p { font-weight: 400 !important; }
[data-testid="stMainBlockContainer"] { padding-left: 2.5rem; padding-right: 2.5rem; }
.st-key-run_header h1 { font-size: 1.3rem; padding: 0; }
.st-key-run_header [data-testid="stPageLink"] a { padding: 0.1rem 0.5rem 0.1rem 0; }
.st-key-controls { gap: 0.4rem !important; }
.st-key-controls button { padding-left: 0.6rem; padding-right: 0.6rem; }
.st-key-headline [data-testid="stText"] { font-variant-numeric: tabular-nums; }
.st-key-headline [data-testid="stProgress"] p { font-size: 0.85rem; }
[class*="st-key-tab_"] a, [class*="st-key-part_"] a { border-radius: 0; border-bottom: 3px solid transparent; }
[class*="st-key-tab_"] a { padding: 0.35rem 0.6rem !important; }
[class*="st-key-tab_"][class*="_on"] a, [class*="st-key-part_"][class*="_on"] a { border-bottom-color: PRIMARY; }
[class*="st-key-tab_"][class*="_on"] p, [class*="st-key-part_"][class*="_on"] p { font-weight: 650; }
.st-key-about [data-testid="stText"] { opacity: 0.7; font-size: 0.93rem; }
.st-key-counts, .st-key-checks, .st-key-decisive, [class*="st-key-counts_"] {
  display: grid !important; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 0.75rem;
}
[class*="st-key-counts_"] { grid-template-columns: repeat(5, minmax(0, 1fr)); gap: 0.5rem; }
.st-key-counts > *, .st-key-checks > *, .st-key-decisive > *, [class*="st-key-counts_"] > * { width: 100% !important; }
[class*="st-key-counts_"] [data-testid="stMetricValue"] { font-size: 1.15rem; }
.st-key-decisive { grid-template-columns: repeat(auto-fit, minmax(118px, 1fr)) !important; gap: 0.5rem; }
.st-key-decisive [data-testid="stMetricValue"] { font-size: 1.15rem; }
.st-key-datasets [data-testid="stPageLink"] a, .st-key-doubts [data-testid="stPageLink"] a {
  padding-left: 0; font-weight: 600;
}
.st-key-doubts [data-testid="stCaptionContainer"] { margin-bottom: -0.5rem; }
.st-key-path ol { margin-left: 0.4rem; }
.st-key-datasets [data-testid="stPageLink"] a:not(:hover) { background: transparent; }
.st-key-datasets [data-testid="stText"] { opacity: 0.75; }
.st-key-example [data-testid="stText"] {
  font-size: 1.2rem; line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere;
}
.st-key-columns [data-testid="stText"] {
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.9rem; opacity: 0.85;
}
.st-key-example_facts [data-testid="stText"] { font-size: 0.9rem; opacity: 0.7; }
[data-testid="stMain"] button:not(:disabled) kbd { color: inherit; opacity: 0.9; }
.st-key-label_word [data-testid="stText"] { font-size: 1.5rem; font-weight: 600; }
.st-key-news [data-testid="stText"], .st-key-blind [data-testid="stText"] { font-size: 0.93rem; opacity: 0.85; }
/* Streamlit's grey boxes, for parts whose scripts are on their way: only where these take long, and apart. */
@keyframes icm-late { from { visibility: hidden; } to { visibility: visible; } }
[data-testid="stSkeleton"] {
  animation: icm-late 0.01s 0.8s backwards; min-width: 4.5rem; height: 1.7rem !important; margin: 0.3rem 0;
}
/* Contrast of 4.5 and more, which the theme's faded text has not. */
[data-testid="stCaptionContainer"] { color: inherit !important; opacity: 0.78 !important; }
@media (max-width: 900px) { .st-key-tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
@media (max-width: 640px) {
  [data-testid="stMainBlockContainer"] { padding: 3.9rem 1rem 2rem; } /* below the bar, which is 3.75rem high */
  .st-key-headline { gap: 0.2rem 0.75rem !important; }
  .st-key-tabs { flex-wrap: nowrap !important; overflow-x: auto; gap: 0 !important; }
  .st-key-tabs [data-testid="stSkeleton"] { margin-right: 0.4rem; }
  [data-testid="stLayoutWrapper"]:has(> .st-key-run_header) { position: static; }
  .st-key-controls { display: grid !important; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0.5rem; }
  .st-key-controls > * { width: 100% !important; }
  /* Streamlit cuts links at the edge. Here they wrap; tabs scroll, and a changing sentence keeps its height. */
  [data-testid="stMain"] [data-testid="stPageLink"] a span { white-space: normal; overflow-wrap: anywhere; }
  .st-key-tabs [data-testid="stPageLink"] a span, .st-key-parts [data-testid="stPageLink"] a span,
  .st-key-last_decision [data-testid="stPageLink"] a span { white-space: nowrap !important; }
}
</style>
"""

# No primary colour works both as a background of white text and as text on black, so it is not used for text.
DARK = """
<style>
[data-testid="stButtonGroup"] button[data-selected="true"] p, [data-testid="stTab"][aria-selected="true"] p,
[data-testid="stSlider"] [role="slider"] p, [data-testid="stSliderThumbValue"] p {
  color: #7CC0EC !important;
}
</style>
"""


def _coloured(css: str, background: str, border: str, primary: str) -> str:
    return css.replace("BACKGROUND", background).replace("BORDER", border).replace("PRIMARY", primary)


# The colours of .streamlit/config.toml, which CSS cannot name.
LIGHT_PAGE = _coloured(CSS, background="#FBFCFD", border="#D8DFE5", primary="#0067A0")
DARK_PAGE = _coloured(CSS + DARK, background="#12181E", border="#2C3843", primary="#7CC0EC")


def apply(dark: bool) -> None:
    """Add the style to the page."""
    st.html(DARK_PAGE if dark else LIGHT_PAGE)
    with st.container(key="theme"):
        _theme(key="theme_listener", on_changed_change=lambda: None)


# Streamlit runs no page again when the system or a person changes the theme, for which charts and this CSS are drawn.
JS = """
export default function ({ parentElement, setTriggerValue }) {
  const app = document.querySelector("[data-testid=stApp]"), scheme = () => getComputedStyle(app).colorScheme;
  let seen = scheme();
  parentElement.icmTheme?.disconnect();
  parentElement.icmTheme = new MutationObserver(() => {
    if (scheme() === seen) return;
    seen = scheme();
    setTriggerValue("changed", seen);
  });
  parentElement.icmTheme.observe(app, { attributes: true, attributeFilter: ["class"] });
  return () => parentElement.icmTheme.disconnect();
}
"""
_theme = st.components.v2.component("icm_theme", html="<span></span>", js=JS, isolate_styles=False)


SEARCH = "pages/search.py"
STEPS = "pages/steps.py"
EXAMPLES = "pages/examples.py"
FLIPS = "pages/flips.py"
CONSISTENCY = "pages/consistency.py"
COMPARE = "pages/compare.py"
ANNOTATE = "pages/annotate.py"
FORKS = "pages/forks.py"
TRAINING = "pages/training.py"
EXPERIMENTS = "pages/experiments.py"
DATA = "pages/data.py"
TOUR = "pages/tour.py"
ICON = resource("static", "icon.svg")  # a local file; other icons would be loaded over the network


def show(home: Any) -> Any:
    """Draw the frame and return the page chosen in the menu; users who are not admitted get neither."""
    st.session_state["menu"] = True
    st.set_page_config(page_title="ICM Workbench", page_icon=str(ICON), layout="wide")
    require_admission()
    apply(session.dark())
    if not admitted():
        st.navigation(_pages(home), position="hidden")
        show_login()
        st.stop()
    show_logout()
    page = st.navigation(_pages(home))
    _show_run_link()
    return page


def _pages(home: Any) -> list[Any]:
    """The four entries of the menu, then the pages that links lead to."""
    return [
        st.Page(home, title="Runs", icon=":material/home:", url_path="home", default=True),
        st.Page(DATA, title="Data", icon=":material/database:"),
        st.Page(EXPERIMENTS, title="Experiments", icon=":material/science:"),
        st.Page(TOUR, title="Help", icon=":material/help:"),
        *(st.Page(page, title=title, visibility="hidden") for page, title in OF_A_RUN),
    ]


OF_A_RUN = (
    (SEARCH, "Overview"),
    (STEPS, "Steps"),
    (EXAMPLES, "Examples"),
    (FLIPS, "Label changes"),
    (CONSISTENCY, "Conflicts and repairs"),
    (COMPARE, "Evaluate"),
    (ANNOTATE, "Annotate"),
    (FORKS, "Fork"),
    (TRAINING, "Train"),
)


def _show_run_link() -> None:
    """Link, below the menu, to the run last viewed, with its selection."""
    if (run := st.query_params.get("run") or session.seen_run()) is not None:
        with st.sidebar, st.container(key="seen_run"):
            st.caption("Open run")
            st.page_link(SEARCH, label=escaped(run), icon=":material/show_chart:", query_params=session.selection(run))


def require(home: Any) -> None:
    """Rerun through app.py if a new server opened this page directly: its first request skips app.py.

    Streamlit treats a folder `pages/` as its older kind of app until `st.navigation` has been called once.
    """
    require_admission()
    if "menu" not in st.session_state or not admitted():
        show(home)
        st.rerun()


def link_step(run: str, step: int, event: int, unit: str = "step") -> None:
    """Link to one step or round on the Steps page."""
    label = f"{unit.capitalize()} {step:,}" if step else "Initial labels"
    query = {"run": run, "event": str(event)}
    st.page_link(STEPS, label=label, icon=":material/stairs:", query_params=query)


# -- access: server options, the middleware, login and logout

LOGOUT = '<a href="./_icm/logout" target="_self">Log out</a>'  # next to the page, at any base path
_gates: list[AccessMiddleware] = []  # the middleware of an earlier server in this process


def guarded(app: Any) -> AccessMiddleware:
    """Return the app behind its access middleware; if access is closed, print the reason to the terminal."""
    found = access_policy(started())
    for problem in found.problems:
        print(f"icm: the app is closed. {problem}", file=sys.stderr, flush=True)
    if found.exposed:
        config.set_option("server.allowedHosts", sorted(found.hosts))
    _gates[:] = [AccessMiddleware(app, found, config.get_option("server.baseUrlPath") or "")]
    return _gates[0]


def started() -> ServerOptions:
    """Return the options that the server was started with."""
    option = config.get_option
    return ServerOptions(
        option("server.address"),
        tuple(option("server.allowedHosts")),
        bool(option("server.enableCORS")),
        bool(option("server.enableXsrfProtection")),
        bool(option("global.developmentMode")),
        bool(option("global.appTest")),
        bool(option("server.enableAgentApi")),
        bool(option("server.trustedUserHeaders")),
        int(option("server.maxUploadSize")),
        _cookie_secret(),
        os.environ,
    )


def _cookie_secret() -> int | None:
    """The length of the secret in [auth] of secrets.toml; None without that section."""
    if not st.secrets.load_if_toml_exists() or "auth" not in st.secrets:
        return None
    return len(str(st.secrets["auth"].get("cookie_secret", "")))


def require_admission() -> None:
    """Stop here unless this request passed the middleware."""
    if not _came_through():
        st.error("This file does not start the app: start the app with `streamlit run app.py`.")
        st.stop()


def admitted() -> bool:
    """Say whether this user may see the page."""
    if not _gates or _gates[0].doors.login != "oidc":
        return True
    may = _is_a_user(_gates[0].doors)
    (_gates[0].admitted.add if may else _gates[0].admitted.discard)(_session())
    return may


def show_login() -> None:
    """Draw the login instead of the page for users who are not admitted."""
    st.title("Log in")
    if st.user.is_logged_in:
        st.text(f"{st.user.get('email') or 'A user without an address'} has no access.")
        st.button("Log out", key="log_out", on_click=st.logout)
    for provider in [] if st.user.is_logged_in else _providers():
        st.button(
            f"Log in with {provider}" if provider else "Log in",
            key=f"log_in_{provider}",
            type="primary",
            icon=":material/login:",
            on_click=st.login,
            args=(provider,) if provider else (),
        )


def show_logout() -> None:
    """Draw the logout button in the sidebar, if there was a login."""
    login = _gates[0].doors.login if _gates else ""
    if login == "oidc":
        st.sidebar.button("Log out", key="log_out", icon=":material/logout:", on_click=st.logout)
    elif login == "password":
        st.sidebar.html(LOGOUT)


def _came_through() -> bool:
    if config.get_option("global.appTest"):  # closed in a real server, see `access.policy`
        return True
    return bool(_gates) and st.context.headers.get(MARK.decode()) == PASSED


def _is_a_user(found: AccessPolicy) -> bool:
    return bool(st.user.is_logged_in) and found.admits(st.user.get("email"), st.user.get("email_verified"))


def _session() -> str:
    context = get_script_run_ctx()
    return context.session_id if context else ""


def _providers() -> list[str]:
    """The providers in secrets.toml; "" is the unnamed one."""
    auth = st.secrets["auth"]
    return [""] if "client_id" in auth else [name for name in auth if hasattr(auth[name], "keys")]
