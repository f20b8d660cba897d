"""The password of an exposed app: its scrypt hash, limited attempts, and sessions of logged-in browsers.

`scrypt:15:8:1:SALT:HASH` holds the cost (2^15, 8, 1: 32 MiB and about 0.1 s an attempt), then salt and hash in base64.
No character in it needs quoting in a shell.
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
