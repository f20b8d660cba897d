"""Browsers that gave the password: a random token each, in a cookie there, as a hash here, for a while."""

import hashlib
import secrets
import time
from collections.abc import Callable

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
