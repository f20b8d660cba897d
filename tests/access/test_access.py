"""Doors: who may reach the app, asked of the rules alone and of real servers, past any browser."""

import socket
from pathlib import Path
from typing import Any

import psutil
import pytest

from icm_engine.access.policy import (
    BURST,
    LASTS,
    MOST,
    REFILL,
    Attempts,
    ServerOptions,
    Sessions,
    access_policy,
    hashed,
    is_loopback,
    read_hash,
)
from icm_engine.cli.main import main
from icm_engine.core.errors import SettingError
from tests.support.app_server import Server, serving
from tests.support.faults import Fault
from tests.support.paths import ROOT
from tests.support.raw_requests import ask, log_in, socket_status

LOCAL = ("localhost", "127.0.0.1")
WORDS = "four words and a dot."
HASHED = hashed(WORDS)
AT_HOME: dict[str, Any] = {"address": "127.0.0.1", "allowed_hosts": LOCAL}
EXPOSED: dict[str, Any] = {"ICM_EXPOSE": "labels.example.org, 10.0.0.7", "ICM_PASSWORD_HASH": HASHED}
OIDC = {"ICM_EXPOSE": "labels.example.org", "ICM_USERS": "ann@example.org, *@lab.example.org"}


def test_on_this_machine_alone_nobody_has_to_log_in() -> None:
    found = access_policy(ServerOptions(**AT_HOME))
    assert (found.problems, found.exposed, found.login) == ((), False, "")
    assert found.hosts == {"localhost", "127.0.0.1", "::1"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"address": None}, "every address of this machine"),
        ({"address": "0.0.0.0"}, "0.0.0.0"),
        ({"address": "::"}, "::"),
        ({"address": "192.168.1.5"}, "192.168.1.5"),
        ({"address": "labels.example.org"}, "labels.example.org"),
        ({"allowed_hosts": ()}, "server.allowedHosts has 'any'"),
        ({"allowed_hosts": ("*",)}, "server.allowedHosts has '*'"),
        ({"allowed_hosts": (*LOCAL, "evil.example")}, "server.allowedHosts has 'evil.example'"),
        ({"cors": False}, "server.enableCORS is off"),
        ({"xsrf": False}, "server.enableXsrfProtection is off"),
        ({"development": True}, "global.developmentMode is on"),
        ({"under_test": True}, "global.appTest is on"),
        ({"agents": True}, "server.enableAgentApi is on"),
        ({"trusted_headers": True}, "server.trustedUserHeaders is set"),
        ({"upload": 201}, "server.maxUploadSize is 201"),
        ({"upload": 0}, "server.maxUploadSize is 0"),
    ],
)
def test_what_opens_a_door_closes_the_app(wrong: dict[str, object], said: str) -> None:
    found = access_policy(ServerOptions(**{**AT_HOME, **wrong}))
    assert len(found.problems) == 1
    assert said in found.problems[0]


@pytest.mark.parametrize(
    ("environment", "oidc", "said"),
    [
        ({"ICM_EXPOSE": "labels.example.org"}, None, "no login is"),
        ({"ICM_EXPOSE": "1", "ICM_PASSWORD_HASH": HASHED}, None, "'1', which is not a host"),
        ({"ICM_EXPOSE": "*", "ICM_PASSWORD_HASH": HASHED}, None, "'*', which is not a host"),
        ({"ICM_EXPOSE": "0.0.0.0", "ICM_PASSWORD_HASH": HASHED}, None, "'0.0.0.0', which is not a host"),
        ({"ICM_EXPOSE": "http://a.example:80", "ICM_PASSWORD_HASH": HASHED}, None, "which is not a host"),
        ({"ICM_EXPOSE": "a.example,", "ICM_PASSWORD_HASH": HASHED}, None, "'', which is not a host"),
        ({"ICM_EXPOSE": "a.example", "ICM_PASSWORD_HASH": "hunter2"}, None, "not a password hash"),
        ({"ICM_EXPOSE": "a.example", "ICM_PASSWORD_HASH": HASHED[:-8]}, None, "not a password hash"),
        ({"ICM_EXPOSE": "a.example", "ICM_PASSWORD_HASH": HASHED}, 64, "keep one of them"),
        ({"ICM_EXPOSE": "a.example"}, 64, "does not say who may log in"),
        ({"ICM_EXPOSE": "a.example", "ICM_USERS": "*"}, 64, "does not say who may log in"),
        ({"ICM_EXPOSE": "a.example", "ICM_USERS": "*@a.example"}, 31, "cookie_secret in secrets.toml has 31"),
    ],
)
def test_an_exposed_app_is_closed_without_a_login(environment: dict[str, str], oidc: int | None, said: str) -> None:
    found = access_policy(ServerOptions("0.0.0.0", oidc=oidc, environment=environment))
    assert found.login == "" or found.problems
    assert len(found.problems) == 1
    assert said in found.problems[0]
    assert "hunter2" not in found.problems[0]


def test_an_exposed_app_has_a_password_or_users() -> None:
    found = access_policy(ServerOptions("0.0.0.0", environment=EXPOSED))
    assert (found.problems, found.login) == ((), "password")
    assert found.hosts == {"labels.example.org", "10.0.0.7", "localhost", "127.0.0.1", "::1"}
    assert WORDS not in repr(found)
    assert HASHED.split(":")[-1] not in repr(found)
    found = access_policy(ServerOptions("127.0.0.1", oidc=64, environment=OIDC))
    assert (found.problems, found.login) == ((), "oidc")


@pytest.mark.parametrize(
    ("email", "verified", "may"),
    [
        ("ann@example.org", True, True), ("Ann@Example.org ", None, True), ("bob@lab.example.org", True, True),
        ("ann@example.org", False, False), ("bob@example.org", True, False), ("bob@xlab.example.org", True, False),
        ("ann@example.org.evil.example", True, False), ("", True, False), (None, True, False), (7, True, False),
    ],
)  # fmt: skip
def test_users_are_those_who_are_named(email: object, verified: object, may: bool) -> None:
    assert access_policy(ServerOptions("127.0.0.1", oidc=64, environment=OIDC)).admits(email, verified) == may


@pytest.mark.parametrize(
    ("address", "is_ours"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("localhost", True), ("::1", True), ("[::1]", True),
     ("unix:///run/icm.sock", True), (None, False), ("", False), ("0.0.0.0", False), ("localhost.evil.example", False),
     ("10.0.0.1", False)],
)  # fmt: skip
def test_what_loopback_is(address: str | None, is_ours: bool) -> None:
    assert is_loopback(address) == is_ours


def test_a_hash_fits_its_password_alone() -> None:
    assert read_hash(HASHED).matches(WORDS)
    assert not read_hash(HASHED).matches(WORDS + " ")
    assert not read_hash(HASHED).matches("")
    assert not read_hash(HASHED).matches("x" * 1_000_000)
    assert hashed(WORDS) != HASHED  # its own salt
    with pytest.raises(SettingError, match="has 11 characters"):
        hashed("x" * 11)


def test_tries_are_counted_for_everybody_together() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    assert [attempts.take() for _ in range(BURST)] == [0.0] * BURST
    assert attempts.take() == REFILL
    now[0] = REFILL / 2
    assert attempts.take() == pytest.approx(REFILL / 2)
    now[0] = REFILL
    assert attempts.take() == 0.0
    attempts.give_back()  # it was the right one
    assert attempts.take() == 0.0


def test_a_token_counts_until_it_is_closed_or_old() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    one, other = sessions.open(), sessions.open()
    assert sessions.knows(one)
    assert not sessions.knows(one[:-1])
    assert not sessions.knows("")
    assert not sessions.knows(None)
    sessions.close(one)
    assert not sessions.knows(one)
    assert sessions.knows(other)
    now[0] = LASTS
    assert not sessions.knows(other)
    tokens = [sessions.open() for _ in range(MOST + 1)]
    assert [sessions.knows(token) for token in (tokens[0], tokens[1], tokens[-1])] == [False, True, True]


def test_the_command_makes_a_hash(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for given, status in ((WORDS, 0), ("short", 1)):
        monkeypatch.setattr("sys.stdin", Pipe(given))
        assert main(["password"]) == status
    said = capsys.readouterr()
    assert read_hash(said.out.strip().removeprefix("ICM_PASSWORD_HASH=")).matches(WORDS)
    assert said.err == "icm: the password has 5 characters: use 12 or more (up to 256), such as four words\n"


class Pipe:
    def __init__(self, line: str) -> None:
        self.line = line

    def isatty(self) -> bool:
        return False

    def readline(self) -> str:
        return f"{self.line}\n"


def listening(server: Server) -> set[str]:
    """The addresses at which a server can be reached."""
    found = psutil.Process(server.process.pid).net_connections("tcp")
    return {connection.laddr.ip for connection in found if connection.status == psutil.CONN_LISTEN}


@pytest.fixture(scope="module")
def at_home(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:  # type: ignore[misc]
    """The app as it is started from another folder than its own, with nothing said about doors."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with serving(database, script=ROOT / "app.py", folder=elsewhere) as server:
        yield server


@pytest.mark.fault(
    "another site's page, or a host name rebound to 127.0.0.1 (DNS rebinding), sends requests to the app",
    "no request is answered and no socket opens; the app's own page is served",
)
def test_other_sites_get_nothing(at_home: Server, fault: Fault) -> None:
    port, own = at_home.port, f"127.0.0.1:{at_home.port}"
    assert listening(at_home) == {"127.0.0.1"}
    hosts = ["evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "", f"x@{own}", f"{own}/x",
             f"localhost:{port}x", "0.0.0.0", f"{own},evil.example", "[::1",
             f"{own}\r\nHost: evil.example"]  # fmt: skip
    origins = ["http://evil.example", "null", f"http://evil.example:{port}", "http://localhost:1", "file://",
               f"http://{own}.evil.example", f"http://{own}@evil.example", f"http://localhost:{port}", "http://[",
               f"http://{own}\r\nOrigin: http://evil.example"]  # fmt: skip
    refused = 0
    for _ in range(fault.times(quick=1, long=10)):
        assert socket_status(port) == 101
        assert socket_status(port, Origin=f"http://{own}") == 101
        for host in hosts:
            for path in ("/", "/data", "/_stcore/health", "/app/static/plotly.min.js", "/_stcore/host-config"):
                assert ask(port, path, host=host).status in (400, 421), (host, path)
            assert socket_status(port, host=host, Origin=f"http://{host}") in (400, 403), host
        for origin in origins:
            assert socket_status(port, Origin=origin) in (400, 403), origin
            for verb in ("PUT", "POST", "DELETE"):
                assert ask(port, "/_stcore/upload_file/x/y", verb, Origin=origin).status == 403, origin
        refused += 6 * len(hosts) + 4 * len(origins)
    assert ask(port).status == 200
    fault.happened = f"{refused:,} requests and handshakes with wrong Host or Origin: {refused:,} refused"


def test_what_is_served_is_shown_in_no_frame_and_loads_nothing_from_elsewhere(at_home: Server) -> None:
    page = ask(at_home.port)
    assert page.header("x-frame-options") == "DENY"
    policy = page.header("content-security-policy")
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "access-control-allow-origin" not in ask(at_home.port, Origin="http://evil.example").headers


def test_uploads_need_a_session_and_the_token_of_its_page(at_home: Server) -> None:
    assert ask(at_home.port, "/_stcore/upload_file/x/y", "PUT", body=b"x").status == 403  # XSRF
    for path in ("/../app.py", "/app/static/..%2f..%2fapp.py", "/app/static/../app.py", "/media/../../app.py",
                 "/component/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/app/static/%00"):  # fmt: skip
        assert "import streamlit" not in ask(at_home.port, path).body
        assert "root:" not in ask(at_home.port, path).body


def test_a_proxy_that_nobody_announced_is_told_so(at_home: Server) -> None:
    answer = ask(at_home.port, X_Forwarded_For="10.1.1.1")
    assert answer.status == 403
    assert "A proxy forwards requests" in answer.body
    assert socket_status(at_home.port, X_Forwarded_For="10.1.1.1") == 403


def test_an_app_that_others_can_reach_says_why_it_is_closed_and_nothing_else(database: Path) -> None:
    flags = ["--server.address=0.0.0.0", "--server.enableCORS=false", "--server.enableXsrfProtection=false"]
    with serving(database, arguments=flags, STREAMLIT_SERVER_ALLOWED_HOSTS="*") as server:
        closed = ask(server.port)
        assert closed.status == 403
        for said in ("0.0.0.0, which others can reach", "server.enableCORS is off", "enableXsrfProtection is off",
                     "server.allowedHosts has"):  # fmt: skip
            assert said in closed.body
        for path in ("/data", "/app/static/plotly.min.js", "/_stcore/host-config", "/media/x", "/oauth2callback"):
            assert ask(server.port, path).status == 403
        assert socket_status(server.port) == 403
        assert ask(server.port, host="evil.example").status == 421


@pytest.fixture(scope="module")
def exposed(database: Path) -> Server:  # type: ignore[misc]
    """The app as it is exposed with a password, behind a proxy on this machine."""
    with serving(database, **EXPOSED) as server:
        yield server


@pytest.mark.smoke
@pytest.mark.fault(
    "the app is exposed and requested without a password and with wrong ones",
    "only the login is shown; after ten wrong passwords, one is checked every six seconds; the right one admits one "
    "browser",
)
def test_without_the_password_there_is_nothing(exposed: Server, fault: Fault) -> None:
    port = exposed.port
    paths = ("/", "/data?dataset=sums", "/app/static/plotly.min.js", "/_stcore/host-config", "/media/x.csv", "/nothing")
    for path in paths:
        asked = ask(port, path)
        assert asked.status == 401
        assert '<input id="password"' in asked.body
        assert "Streamlit" not in asked.body
    assert ask(port, "/_stcore/upload_file/x/y", "PUT", body=b"x").status == 401
    for cookie in ("", "icm_session=", "icm_session=x", "icm_session=" + "x" * 4000, "other=1"):
        assert socket_status(port, Cookie=cookie) == 403
    wrong = 0
    for k in range(fault.times(quick=12, long=300)):
        answer = log_in(port, f"{WORDS[:-1]}{k}")
        assert answer.status in (401, 429)
        assert answer.token == ""
        wrong += answer.status == 401
    slow = fault.tried - wrong
    assert wrong >= BURST
    assert slow > 0
    fault.happened = f"{wrong} wrong passwords were checked, {slow} more were delayed; no page, file or socket opened"


def test_the_password_opens_one_browser_until_it_logs_out(database: Path) -> None:
    with serving(database, **EXPOSED) as server:
        port = server.port
        assert log_in(port, WORDS, Origin="http://evil.example").status == 403
        opened = log_in(port, WORDS, "/data?dataset=sums")
        assert (opened.status, opened.header("location")) == (303, "/data?dataset=sums")
        assert "HttpOnly; SameSite=Lax" in opened.header("set-cookie")
        assert "Secure" not in opened.header("set-cookie")
        assert "Secure" in log_in(port, WORDS, X_Forwarded_Proto="https").header("set-cookie")
        for elsewhere in (
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nX: y",
            "",
            "/_icm/logout",
        ):
            assert log_in(port, WORDS, elsewhere).header("location") == "/"
        other = log_in(port, WORDS)
        assert opened.token != other.token
        assert ask(port, "/", Cookie=opened.token).status == 200
        assert socket_status(port, Cookie=opened.token) == 101
        assert socket_status(port, Cookie=opened.token, Origin="http://evil.example") == 403
        assert ask(port, "/_icm/logout", Cookie=opened.token).status == 303
        assert ask(port, "/", Cookie=opened.token).status == 401
        assert socket_status(port, Cookie=opened.token) == 403
        assert ask(port, "/", Cookie=other.token).status == 200
        assert ask(port, "/", Cookie=other.token, host="labels.example.org").status == 200
        assert ask(port, "/", Cookie=other.token, host="evil.example").status == 421


def test_long_and_broken_forms_are_wrong_passwords(exposed: Server) -> None:
    for body in (b"password=" + b"x" * 5000, b"\xff\xfe", b"&".join(b"a=b" for _ in range(100)), b"password"):
        assert ask(exposed.port, "/_icm/login", "POST", body=body).status in (401, 429)
    with socket.create_connection(("127.0.0.1", exposed.port), timeout=60) as sock:  # who hangs up amid a form
        sock.sendall(b"POST /_icm/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\npass")
    assert ask(exposed.port, "/_stcore/health").status == 200
