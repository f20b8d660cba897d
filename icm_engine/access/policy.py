"""Who may use the app: the policy that follows from how it was started, its password, and logged-in browsers.

Without ICM_EXPOSE the app serves one person on one machine and answers on loopback alone. ICM_EXPOSE names the hosts
under which others reach it, and requires a login: ICM_PASSWORD_HASH, or OIDC (`[auth]` in secrets.toml) with ICM_USERS.
Any inconsistent setting closes the app, which then shows only the reason.

A password is stored as its scrypt hash. `scrypt:15:8:1:SALT:HASH` holds the cost (2^15, 8, 1: 32 MiB and about 0.1 s an
attempt), then salt and hash in base64. No character in it needs quoting in a shell.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from icm_engine.core.errors import SettingError

# -- the password, its attempts, and sessions

HASH = "ICM_PASSWORD_HASH"  # the environment variable
SHORTEST, LONGEST = 12, 256  # characters
COST, BLOCK, PARALLEL = 15, 8, 1
COSTS = range(14, 21)  # accepted cost of a hash made elsewhere: 16 MiB to 1 GiB
BURST, REFILL = 10, 6.0  # attempts in a row, then one every so many seconds: 14,400 a day in all


@dataclass(frozen=True, slots=True)
class Password:
    """A stored password: its cost, salt and hash."""

    cost: int
    salt: bytes
    digest: bytes

    def matches(self, given: str) -> bool:
        """Say whether this is the password, in constant time."""
        if len(given) > LONGEST:
            return False
        return hmac.compare_digest(self.digest, _digest(given, self.salt, self.cost))

    def __repr__(self) -> str:
        return "Password(***)"


def hashed(password: str) -> str:
    """Return the value of `ICM_PASSWORD_HASH` for a password. Raises SettingError if it is too short."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise SettingError(
            f"the password has {len(password)} characters: use {SHORTEST} or more (up to {LONGEST}), such as four words"
        )
    salt = os.urandom(16)
    parts = (base64.urlsafe_b64encode(part).decode() for part in (salt, _digest(password, salt, COST)))
    return ":".join(("scrypt", str(COST), str(BLOCK), str(PARALLEL), *parts))


def read_hash(text: str) -> Password:
    """Return the password that a hash describes. Raises SettingError, whose message does not repeat the hash."""
    try:
        name, cost, block, parallel, *encoded = text.strip().split(":")
        salt, digest = (base64.b64decode(part, altchars=b"-_", validate=True) for part in encoded)
        known = (name, int(block), int(parallel)) == ("scrypt", BLOCK, PARALLEL) and int(cost) in COSTS
        if known and len(salt) >= 16 and len(digest) == 32:
            return Password(int(cost), salt, digest)
    except (ValueError, binascii.Error):
        pass
    raise SettingError(f"{HASH} is not a password hash: make one with `python -m icm_engine password`")


def _digest(password: str, salt: bytes, cost: int) -> bytes:
    needed = 128 * BLOCK * 2**cost  # bytes
    text = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(text, salt=salt, n=2**cost, r=BLOCK, p=PARALLEL, maxmem=2 * needed, dklen=32)


class Attempts:
    """Limits password attempts for all clients together: addresses are cheap, and a proxy hides them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._left, self._seen = float(BURST), clock()

    def take(self) -> float:
        """Use one attempt and return 0, or return the seconds until the next is allowed."""
        with self._lock:
            now = self._clock()
            self._left = min(BURST, self._left + (now - self._seen) / REFILL)
            self._seen = now
            if self._left >= 1:
                self._left -= 1
                return 0.0
            return (1 - self._left) * REFILL

    def give_back(self) -> None:
        """Give back the attempt that a correct password used."""
        with self._lock:
            self._left = min(BURST, self._left + 1)


LASTS = 12 * 3600.0  # seconds
MOST = 1000  # browsers; the oldest session ends first


class Sessions:
    """Session tokens of logged-in browsers; they end with the process. Used from one event loop alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._until = clock, dict[bytes, float]()

    def open(self) -> str:
        """Return a token for a browser that has just logged in."""
        token = secrets.token_urlsafe(32)
        while len(self._until) >= MOST:
            del self._until[next(iter(self._until))]
        self._until[_kept(token)] = self._clock() + LASTS
        return token

    def knows(self, token: str | None) -> bool:
        """Say whether a token is valid."""
        until = self._until.get(_kept(token)) if token else None
        return until is not None and self._clock() < until

    def close(self, token: str | None) -> None:
        """Revoke a token; open connections that use it end with their next message."""
        if token:
            self._until.pop(_kept(token), None)


def _kept(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


# -- the policy

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
