"""The access policy that follows from how the app was started: host names, kind of login, or why the app is closed.

Without ICM_EXPOSE the app serves one person on one machine and answers on loopback alone. ICM_EXPOSE names the hosts
under which others reach it, and requires a login: ICM_PASSWORD_HASH, or OIDC (`[auth]` in secrets.toml) with ICM_USERS.
Any inconsistent setting closes the app, which then shows only the reason.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from icm_engine.access.password import HASH, Password, read_hash
from icm_engine.core.errors import SettingError

EXPOSE, USERS = "ICM_EXPOSE", "ICM_USERS"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SHORTEST_SECRET = 32  # characters; whoever guesses it can forge a login
LARGEST_UPLOAD = 200  # megabytes; uploads are held in memory, larger files are imported from the data folder
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Server options and environment variables that decide access.

    `oidc` is the length of the cookie secret in [auth] of secrets.toml; None without that section.
    """

    address: str | None
    allowed_hosts: tuple[str, ...] = ()
    cors: bool = True
    xsrf: bool = True
    development: bool = False
    under_test: bool = False
    agents: bool = False
    trusted_headers: bool = False
    upload: int = 50
    oidc: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Who may use the app: `login` is "" (no login), "password" or "oidc". With `problems` the app is closed."""

    hosts: frozenset[str]
    exposed: bool
    login: str
    problems: tuple[str, ...]
    password: Password | None = None
    users: tuple[str, ...] = ()

    def admits(self, email: object, verified: object) -> bool:
        """Say whether the provider's user with this address is admitted; unverified addresses never are."""
        if not isinstance(email, str) or verified is False:
            return False
        user = email.strip().lower()
        return any(user == rule or (rule.startswith("*@") and user.endswith(rule[1:])) for rule in self.users)


def access_policy(started: ServerOptions) -> AccessPolicy:
    """Return the access policy, or the problems that close the app."""
    names = started.environment.get(EXPOSE, "").strip()
    if not names:
        problems = (*_unsafe(started), *_local(started))
        return AccessPolicy(LOOPBACK, False, "", problems)
    hosts = tuple(name.strip().lower().rstrip(".") for name in names.split(","))
    login, password, users, wrong = _login(started)
    problems = (*_unsafe(started), *_wrong_hosts(hosts), *wrong)
    return AccessPolicy(LOOPBACK | set(hosts), True, login, problems, password, users)


def is_loopback(address: str | None) -> bool:
    """Say whether a server bound to this address is reachable from this machine alone; None means every address."""
    if not address:
        return False
    if address == "localhost" or address.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def _local(started: ServerOptions) -> Iterator[str]:
    if not is_loopback(started.address):
        shown = started.address or "every address of this machine"
        yield (
            f"The app was started on {shown}, which others can reach: start it with --server.address 127.0.0.1, or "
            f"expose it on purpose: name its hosts in {EXPOSE} and set up a login (docs/security.md)."
        )
    if strange := sorted(set(started.allowed_hosts) - LOOPBACK) or (["any"] if not started.allowed_hosts else []):
        yield (
            f"server.allowedHosts has {strange[0]!r}: leave it as .streamlit/config.toml has it, or expose the app on "
            f"purpose ({EXPOSE})."
        )


def _unsafe(started: ServerOptions) -> Iterator[str]:
    for is_wrong, found, remedy in (
        (not started.cors, "server.enableCORS is off", "any web page could open the app: leave it on"),
        (not started.xsrf, "server.enableXsrfProtection is off", "any web page could upload files: leave it on"),
        (started.development, "global.developmentMode is on", "it disables the origin checks: leave it off"),
        (started.under_test, "global.appTest is on", "it is for tests: leave it off"),
        (
            started.agents,
            "server.enableAgentApi is on",
            "programs could control the app without its pages: leave it off",
        ),
        (started.trusted_headers, "server.trustedUserHeaders is set", "the app trusts no header: remove it"),
        (
            not 0 < started.upload <= LARGEST_UPLOAD,
            f"server.maxUploadSize is {started.upload}",
            f"uploads are held in memory: use {LARGEST_UPLOAD} or less, and the data folder for larger files",
        ),
    ):
        if is_wrong:
            yield f"{found}; {remedy}."


def _wrong_hosts(hosts: tuple[str, ...]) -> Iterator[str]:
    for host in hosts:
        if not (_is_address(host) or (_HOST.fullmatch(host) and re.search("[a-z]", host))):
            yield (
                f"{EXPOSE} has {host[:60]!r}, which is not a host: give the names or addresses that people type, "
                "without http:// and port, separated by commas."
            )


def _is_address(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _login(started: ServerOptions) -> tuple[str, Password | None, tuple[str, ...], tuple[str, ...]]:
    """The kind of login, its password or users, and what is wrong with the configuration."""
    given, users = started.environment.get(HASH, "").strip(), _users(started.environment.get(USERS, ""))
    if given and started.oidc is not None:
        return "", None, (), (f"Both {HASH} and [auth] in secrets.toml are set: keep one of them.",)
    if given:
        try:
            return "password", read_hash(given), (), ()
        except SettingError as error:
            return "", None, (), (f"{error}.",)
    wrong = tuple(_wrong_oidc(started.oidc, users))
    return "" if wrong else "oidc", None, users, wrong


def _wrong_oidc(secret: int | None, users: tuple[str, ...]) -> Iterator[str]:
    if secret is None:
        yield (
            f"{EXPOSE} is set, but no login is: set {HASH} (make one with `python -m icm_engine password`), or set up "
            f"OIDC ([auth] in .streamlit/secrets.toml) and name who may log in {USERS}."
        )
        return
    if secret < SHORTEST_SECRET:
        yield f"cookie_secret in secrets.toml has {secret} characters: use {SHORTEST_SECRET} or more, made at random."
    if not users or not all(re.fullmatch(r"(\*|[^@\s*]+)@[^@\s*]+", user) for user in users):
        yield (
            f"{USERS} does not say who may log in: name e-mail addresses, separated by commas; *@example.org is "
            "everybody there."
        )


def _users(text: str) -> tuple[str, ...]:
    return tuple(user.strip().lower() for user in text.split(",") if user.strip())
