"""HTTP to an OpenAI-compatible server: bounded concurrency, retries of what can be retried, errors that name the cause.

The API key comes from the environment alone and is in no message; redirects are not followed, so it goes nowhere else.
"""

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx2

from icm_engine.core.errors import ModelNotUsable, ServerUnavailable
from icm_engine.core.scoring import Retries
from icm_engine.core.server_address import KEY, ServerAddress

Json = dict[str, Any]
Given = TypeVar("Given")
Found = TypeVar("Found")

TRIES = 6  # 0.5 + 1 + 2 + 4 + 8 s between them: a server that restarts is often back by then
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds; the second also bounds what a server asks for
CONNECT = 10.0  # seconds
AGAIN = frozenset({429, 502, 503, 504})  # statuses that say: not now


class ServerClient:
    """One server. Safe for several threads; `retries` counts what was asked again, and says why the last time."""

    def __init__(self, address: ServerAddress, tries: int = TRIES) -> None:
        self.address, self.tries, self.retries = address, tries, Retries()
        self._key = os.environ.get(KEY, "")
        self._lock, self._gone = threading.Lock(), threading.Event()
        self._pool = ThreadPoolExecutor(address.concurrency, "server")
        self._http = httpx2.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx2.Timeout(address.timeout, connect=min(CONNECT, address.timeout)),
            limits=httpx2.Limits(max_connections=address.concurrency),
        )

    def get(self, url: str) -> httpx2.Response:
        """Return the answer to a GET. Raises ServerUnavailable, ModelNotUsable."""
        return self._asked("GET", url, None)

    def post(self, url: str, body: Json) -> Json:
        """Return the JSON object that a POST gives. Raises ServerUnavailable, ModelNotUsable."""
        return self.object_of(self._asked("POST", url, body))

    def each(self, function: Callable[[Given], Found], items: Iterable[Given]) -> Iterator[Found]:
        """Yield the results in order, begun in order, as many at once as the address allows; an error ends the rest."""
        self._gone.clear()
        try:
            yield from self._pool.map(function, items)
        except BaseException:
            self._gone.set()  # whoever waits for another try gives up
            raise

    def object_of(self, response: httpx2.Response) -> Json:
        """Return the JSON object in an answer. Raises ModelNotUsable."""
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ModelNotUsable(
                f"server {self.address.base} answers with something that is not JSON ({self._shown(response.text)!r}): "
                "is this the address of an OpenAI-compatible API?"
            )
        return found

    def _asked(self, verb: str, url: str, body: Json | None) -> httpx2.Response:
        for left in reversed(range(self.tries)):
            try:
                response = self._http.request(verb, url, json=body)
            except (httpx2.NetworkError, httpx2.TimeoutException, httpx2.RemoteProtocolError) as error:
                why, wait = _words(error, self.address.timeout), None
            except httpx2.HTTPError as error:
                raise ModelNotUsable(
                    f"server {self.address.base} cannot be asked ({error}): check the address"
                ) from error
            else:
                if response.status_code not in AGAIN:
                    return self._accepted(response)
                why, wait = f"{response.status_code}: {self._message(response)}", _wanted_wait(response.headers)
            if left and self._again(why, wait, self.tries - 1 - left):
                continue
            break
        raise self._unavailable(why)

    def _again(self, why: str, wait: float | None, done: int) -> bool:
        """Wait for the next try and count it; False if another thread has given up on the server meanwhile."""
        seconds = min(LONGEST_WAIT, FIRST_WAIT * 2**done if wait is None else wait)
        if self._gone.wait(seconds):
            return False
        with self._lock:
            self.retries = Retries(self.retries.count + 1, why)
        return True

    def _accepted(self, response: httpx2.Response) -> httpx2.Response:
        """The answer, if it is one. Raises ServerUnavailable for the server's fault, ModelNotUsable for a refusal."""
        status, said = response.status_code, self._message(response)
        if status < 300:
            return response
        if status in (401, 403):
            have = "the key in it" if self._key else "there is none now"
            raise ModelNotUsable(
                f"server {self.address.base} refuses access ({status}): put its API key into the environment variable "
                f"{KEY} ({have})"
            )
        if status >= 500:
            raise self._unavailable(f"{status}: {said}")
        raise ModelNotUsable(
            f"server {self.address.base} refuses a request ({status}: {said}): "
            "it must be an OpenAI-compatible completions API that takes token ids"
        )

    def _unavailable(self, why: str) -> ServerUnavailable:
        return ServerUnavailable(
            f"server {self.address.base} does not answer ({why}): start it, or wait until it is back, and resume"
        )

    def _message(self, response: httpx2.Response) -> str:
        """What the server says of an error, in one short line."""
        try:
            body = response.json()
        except ValueError:
            body = response.text
        if isinstance(body, dict):
            error = body.get("error", body)
            body = error.get("message", error) if isinstance(error, dict) else error
        return self._shown(str(body)) or response.reason_phrase

    def _shown(self, text: str) -> str:
        """A line of what came from outside, without the key, should a server repeat it."""
        line = " ".join(text.split())
        return (line.replace(self._key, "***") if self._key else line)[:200]


def _words(error: Exception, timeout: float) -> str:
    if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return "no connection in time"
    if isinstance(error, httpx2.TimeoutException):
        return f"no answer within {timeout:g} s"
    said = " ".join(str(error).split())
    return re.sub(r"^\[Errno -?\d+\] ", "", said) or type(error).__name__


def _wanted_wait(headers: Mapping[str, str]) -> float | None:
    """The seconds a server asks to wait; a date, which is allowed too, is not worth reading here."""
    value = headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None
