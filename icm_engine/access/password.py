"""The password of an exposed app: scrypt hash, limited attempts, and the sessions of logged-in browsers.

`scrypt:15:8:1:SALT:HASH` has the cost (2^15, 8, 1: 32 MiB and about 0.1 s a try) and both parts in base64; no sign of
it means anything to a shell.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from icm_engine.core.errors import SettingError

HASH = "ICM_PASSWORD_HASH"  # the environment variable
SHORTEST, LONGEST = 12, 256  # characters
COST, BLOCK, PARALLEL = 15, 8, 1
COSTS = range(14, 21)  # what a hash made elsewhere may ask for: 16 MiB to 1 GiB
BURST, REFILL = 10, 6.0  # tries at once, and seconds until there is another: 14,400 a day, whoever tries


@dataclass(frozen=True, slots=True)
class Password:
    """A password as it is kept."""

    cost: int
    salt: bytes
    digest: bytes

    def matches(self, given: str) -> bool:
        """Say whether this is the password, in a time that does not tell how much of it was right."""
        if len(given) > LONGEST:
            return False
        return hmac.compare_digest(self.digest, _digest(given, self.salt, self.cost))

    def __repr__(self) -> str:
        return "Password(***)"


def hashed(password: str) -> str:
    """Return what `ICM_PASSWORD_HASH` takes for a password. Raises SettingError for one that is too short."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise SettingError(
            f"the password has {len(password)} characters: use {SHORTEST} or more (up to {LONGEST}), such as four words"
        )
    salt = os.urandom(16)
    parts = (base64.urlsafe_b64encode(part).decode() for part in (salt, _digest(password, salt, COST)))
    return ":".join(("scrypt", str(COST), str(BLOCK), str(PARALLEL), *parts))


def read_hash(text: str) -> Password:
    """Return the password that a hash stands for. Raises SettingError, which does not repeat it."""
    try:
        name, cost, block, parallel, *encoded = text.strip().split(":")
        salt, digest = (base64.b64decode(part, altchars=b"-_", validate=True) for part in encoded)
        known = (name, int(block), int(parallel)) == ("scrypt", BLOCK, PARALLEL) and int(cost) in COSTS
        if known and len(salt) >= 16 and len(digest) == 32:
            return Password(int(cost), salt, digest)
    except (ValueError, binascii.Error):
        pass
    raise SettingError(f"{HASH} is no hash of a password: make one with `python -m icm_engine password`")


def _digest(password: str, salt: bytes, cost: int) -> bytes:
    needed = 128 * BLOCK * 2**cost  # bytes
    text = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(text, salt=salt, n=2**cost, r=BLOCK, p=PARALLEL, maxmem=2 * needed, dklen=32)


class Attempts:
    """How often a password may be tried, by everybody together: addresses are cheap, and a proxy hides them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._left, self._seen = float(BURST), clock()

    def take(self) -> float:
        """Take a try and return 0, or return the seconds until there is one."""
        with self._lock:
            now = self._clock()
            self._left = min(BURST, self._left + (now - self._seen) / REFILL)
            self._seen = now
            if self._left >= 1:
                self._left -= 1
                return 0.0
            return (1 - self._left) * REFILL

    def give_back(self) -> None:
        """A right password costs no try."""
        with self._lock:
            self._left = min(BURST, self._left + 1)


LASTS = 12 * 3600.0  # seconds
MOST = 1000  # browsers; the one that came first has to log in again


class Sessions:
    """Tokens of browsers that are logged in; gone with the process. Used from one event loop alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._until = clock, dict[bytes, float]()

    def open(self) -> str:
        """Return the token of a browser that has just logged in."""
        token = secrets.token_urlsafe(32)
        while len(self._until) >= MOST:
            del self._until[next(iter(self._until))]
        self._until[_kept(token)] = self._clock() + LASTS
        return token

    def knows(self, token: str | None) -> bool:
        """Say whether a token is one of ours that still counts."""
        until = self._until.get(_kept(token)) if token else None
        return until is not None and self._clock() < until

    def close(self, token: str | None) -> None:
        """Forget a token; what is open with it ends with its next message."""
        if token:
            self._until.pop(_kept(token), None)


def _kept(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
