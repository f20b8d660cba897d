"""Access control behind Streamlit: server options, the middleware, and who may see a page."""

import os
import sys
from typing import Any

import streamlit as st
from streamlit import config
from streamlit.runtime.scriptrunner import get_script_run_ctx

from icm_engine.access.middleware import MARK, PASSED, AccessMiddleware
from icm_engine.access.policy import AccessPolicy, ServerOptions, access_policy

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


def require() -> None:
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
