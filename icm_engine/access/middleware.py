"""ASGI middleware in front of the app: host check, origin check, login, and its two HTML pages.

Checks run in this order: requested host, configuration problems that close the app, unannounced proxy, origin of the
calling page, login. Responses carry headers that stop the browser from loading anything from elsewhere and from showing
the app in another page's frame. So no other web site can read the app or act in it, whatever name it uses.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from html import escape
from typing import Any
from urllib.parse import parse_qs, urlsplit

from icm_engine.access.policy import EXPOSE, LASTS, AccessPolicy, Attempts, Sessions

STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 12vh auto 0; max-width: 26rem; padding: 0 1.25rem; }
body.wide { max-width: 46rem; }
h1 { font-size: 1.6rem; margin: 0 0 1rem; }
label, input, button { display: block; font: inherit; width: 100%; box-sizing: border-box; }
input { margin: .35rem 0 1rem; padding: .55rem .7rem; border: 1px solid #76828c; border-radius: .6rem; }
button { padding: .6rem; border: 0; border-radius: .6rem; background: #0067a0; color: #fff; cursor: pointer; }
.said { border-left: .25rem solid #d55e00; padding-left: .75rem; }
"""


def login_page(action: str, onward: str, said: str = "") -> str:
    """Return the login form; `onward` is the path to open afterwards, `said` the error to show."""
    wrong = f'<p class="said" role="alert">{escape(said)}</p>' if said else ""
    return _html_page(
        "Log in",
        f'{wrong}<form method="post" action="{escape(action)}">'
        f'<input type="hidden" name="onward" value="{escape(onward)}">'
        '<label for="password">Password</label>'
        '<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>'
        "<button>Log in</button></form>",
    )


def closed_page(problems: Sequence[str]) -> str:
    """Return the page that says why the app is closed."""
    items = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    return _html_page("The app is closed", f"<p>It was started in a way that is not safe:</p><ul>{items}</ul>", "wide")


def _html_page(title: str, body: str, kind: str = "") -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · ICM Workbench</title><style>{STYLE}</style></head>"
        f'<body class="{kind}"><main><h1>{escape(title)}</h1>{body}</main></body></html>'
    )


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

COOKIE = "icm_session"
MARK = b"x-icm-gate"  # marks requests that passed; pages draw for nothing else
PASSED = secrets.token_urlsafe(16)
HEALTH = "/_stcore/health"  # answers "ok", also for whoever started the server
UPLOAD = "/_stcore/upload_file/"
LARGEST_FORM = 4096  # bytes
FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip")
POLICY = b"content-security-policy"
SAFE = ("GET", "HEAD", "OPTIONS")
EVERYWHERE = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),  # without it, browsers send a form with the origin "null"
    (b"cross-origin-resource-policy", b"same-origin"),
)
# Streamlit compiles components from text and uses inline styles
OF_THE_APP = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob: data:; media-src 'self' data: blob:; "
    b"worker-src 'self' blob:; frame-src 'self' blob: data:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    b"frame-ancestors 'none'"
)
OF_A_FORM = (
    b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
log = logging.getLogger(__name__)


class AccessMiddleware:
    """Passes to `app` the requests that the access policy admits; `base` is the path under which the app is served."""

    def __init__(self, app: App, doors: AccessPolicy, base: str = "") -> None:
        self.app, self.doors = app, doors
        self.base = f"/{base.strip('/')}" if base.strip("/") else ""
        self.attempts, self.sessions, self._trying = Attempts(), Sessions(), asyncio.Lock()
        self.admitted: set[str] = set()  # sessions of pages whose user is known to the provider and admitted

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(self.base)
        if not self._is_our_host(scope):
            await _answer(send, 421, "This is not one of the app's addresses.")
        elif path == HEALTH:
            await self._through(scope, receive, send)
        elif problems := self._problems(scope):
            await _answer(send, 403, closed_page(problems), "text/html")
        elif scope["method"] not in SAFE and not _is_same_origin(scope):
            await _answer(send, 403, "Another site's page may not do this.")
        elif self.doors.login == "password" and path == "/_icm/login" and scope["method"] == "POST":
            await self._log_in(scope, receive, send)
        elif self.doors.login == "password" and path == "/_icm/logout":
            await self._log_out(scope, send)
        elif self.doors.login == "password" and not self.sessions.knows(_token(scope)):
            await self._ask(send, _asked_for(scope))
        elif self.doors.login == "oidc" and path.startswith(UPLOAD) and path.split("/")[3] not in self.admitted:
            await _answer(send, 401, "Log in first.")
        else:
            await self._through(scope, receive, send)

    async def _socket(self, scope: Message, receive: Receive, send: Send) -> None:
        token = _token(scope)
        password = self.doors.login == "password"
        if (
            not self._is_our_host(scope)
            or self._problems(scope)
            or not _is_same_origin(scope)
            or (password and not self.sessions.knows(token))
        ):
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return

        async def receive_while_in() -> Message:
            message = await receive()
            return message if self.sessions.knows(token) else {"type": "websocket.disconnect", "code": 1008}

        await self.app(_marked(scope), receive_while_in if password else receive, send)

    def _problems(self, scope: Message) -> tuple[str, ...]:
        if self.doors.problems or self.doors.exposed or not any(_all(scope, name) for name in FORWARDED):
            return self.doors.problems
        return (
            "A proxy forwards requests to the app, which is for this machine alone: name the hosts that people type in "
            f"{EXPOSE}, and set up a login (docs/security.md).",
        )

    def _is_our_host(self, scope: Message) -> bool:
        hosts = _all(scope, b"host")
        return len(hosts) == 1 and _name(hosts[0]) in self.doors.hosts

    async def _through(self, scope: Message, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()),
                    *EVERYWHERE,
                    (b"content-security-policy", OF_THE_APP),
                ]
            await send(message)

        await self.app(_marked(scope), receive, send_with_headers)

    # -- the password

    async def _ask(self, send: Send, onward: str, said: str = "", status: int = 401) -> None:
        """Answer with the login form instead of the requested page."""
        await _answer(send, status, login_page(f"{self.base}/_icm/login", onward, said), "text/html")

    async def _log_in(self, scope: Message, receive: Receive, send: Send) -> None:
        form = await _form(receive)
        given, onward = form.get("password", ""), _local(form.get("onward", ""), f"{self.base}/")
        if self._trying.locked() or (wait := self.attempts.take()):  # one at a time: each takes 32 MiB
            seconds = 1 if self._trying.locked() else int(wait) + 1
            await self._ask(send, onward, f"Too many tries: wait {seconds} s, then try again.", 429)
            return
        async with self._trying:
            right = self.doors.password is not None and await asyncio.to_thread(self.doors.password.matches, given)
        if not right:
            log.warning("a wrong password was given from %s", (scope.get("client") or ("?",))[0])
            await self._ask(send, onward, "That is not the password.")
            return
        self.attempts.give_back()
        await _answer(
            send, 303, "", extra=[(b"location", onward.encode("ascii")), self._cookie(scope, self.sessions.open())]
        )

    async def _log_out(self, scope: Message, send: Send) -> None:
        self.sessions.close(_token(scope))
        home = f"{self.base}/".encode()
        await _answer(send, 303, "", extra=[(b"location", home), self._cookie(scope, "", lasts=0)])

    def _cookie(self, scope: Message, token: str, lasts: float = LASTS) -> tuple[bytes, bytes]:
        secure = scope.get("scheme") == "https" or _all(scope, b"x-forwarded-proto") == ["https"]
        rest = f"Path={self.base or '/'}; Max-Age={int(lasts)}; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"
        return b"set-cookie", f"{COOKIE}={token}; {rest}".encode("ascii")


def _all(scope: Message, name: bytes) -> list[str]:
    """All values of a header."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _marked(scope: Message) -> Message:
    """The scope with our own mark on it; marks sent by a client are removed."""
    headers: Headers = [(name, value) for name, value in scope["headers"] if name.lower() != MARK]
    return {**scope, "headers": [*headers, (MARK, PASSED.encode())]}


def _name(host: str) -> str | None:
    """The name or address in a Host header; None if the header is malformed."""
    try:
        url = urlsplit(f"//{host}")
        _ = url.port  # raises for an invalid port
    except ValueError:
        return None
    plain = url.username is None and url.password is None and not (url.path or url.query or url.fragment)
    return url.hostname.rstrip(".") if plain and url.hostname else None


def _is_same_origin(scope: Message) -> bool:
    """Say whether the calling page belongs to the app. Programs send no origin and are let through."""
    origins = _all(scope, b"origin")
    if not origins:
        return True
    try:
        return len(origins) == 1 and [urlsplit(origins[0]).netloc.lower()] == [h.lower() for h in _all(scope, b"host")]
    except ValueError:
        return False


def _token(scope: Message) -> str | None:
    """The session token in the browser's cookie."""
    for line in _all(scope, b"cookie"):
        for part in line.split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE:
                return value
    return None


def _asked_for(scope: Message) -> str:
    """The path and query of a request, unchanged, to open after the login."""
    path = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
    query = scope.get("query_string", b"")
    return (path + (b"?" + query if query else b"")).decode("latin-1") if scope["method"] == "GET" else ""


def _local(path: str, otherwise: str) -> str:
    """A path on this server to open next, never one that a browser reads as another server's or as a header."""
    plain = path.isascii() and path.isprintable() and "\\" not in path
    inside = path.startswith("/") and not path.startswith("//") and "/_icm/" not in path
    return path if plain and inside else otherwise


async def _form(receive: Receive) -> dict[str, str]:
    """The fields of a posted form; empty if the form is too long."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > LARGEST_FORM or message["type"] == "http.disconnect":
            return {}
        if not message.get("more_body"):
            break
    try:
        return {name: values[0] for name, values in parse_qs(body.decode("ascii"), max_num_fields=8).items()}
    except ValueError:
        return {}


async def _answer(send: Send, status: int, body: str, kind: str = "text/plain", extra: Headers | None = None) -> None:
    content = body.encode()
    headers = [
        (b"content-type", f"{kind}; charset=utf-8".encode()),
        (b"content-length", str(len(content)).encode()),
        (b"cache-control", b"no-store"),
        (POLICY, OF_A_FORM),
        *EVERYWHERE,
        *(extra or ()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
