"""HTTP to an OpenAI-compatible server, its cache metrics, and the tokenizer of its model.

The API key comes from the environment alone and appears in no message. Redirects are not followed, so it goes nowhere
else. A tokenizer from a directory is fast and is checked against the server's; the server's is asked once per text.
"""

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx2

from icm_engine.core.errors import ModelNotUsable, ServerUnavailable
from icm_engine.core.scoring import Retries
from icm_engine.core.server_address import KEY, ServerAddress
from icm_engine.models.prefix_tree import Tokens
from icm_engine.models.server_dialects import SERVING, Json, TokenApi
from icm_engine.models.tokenized_prompts import ANY_CONTROL, TextReader, control_tokens, pattern_of, reader_of

Given = TypeVar("Given")
Found = TypeVar("Found")

TRIES = 6  # 0.5 + 1 + 2 + 4 + 8 s between attempts: a restarting server is often back by then
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds; the second also caps what a server asks for
CONNECT = 10.0  # seconds
AGAIN = frozenset({429, 502, 503, 504})  # statuses that mean "not now"


class ServerClient:
    """One server. Thread-safe; `retries` counts repeated requests, with the latest reason."""

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
        return self._accepted(self._asked("GET", url, None))

    def post(self, url: str, body: Json) -> Json:
        """Return the JSON object answered to a POST. Raises ServerUnavailable, ModelNotUsable."""
        return self.object_of(self._accepted(self._asked("POST", url, body)))

    def refusal(self, url: str, body: Json) -> str:
        """Return why the server refuses a POST, empty if it does not. Raises ServerUnavailable, ModelNotUsable.

        A fault of the server counts too: some answer 500 to what they cannot read.
        """
        response = self._asked("POST", url, body)
        if response.status_code >= 400 and response.status_code not in (401, 403):
            return f"{response.status_code}: {self._message(response)}"
        self._accepted(response)
        return ""

    def each(self, function: Callable[[Given], Found], items: Iterable[Given]) -> Iterator[Found]:
        """Yield results in order, with as many requests at once as the address allows; an error stops the rest."""
        self._gone.clear()
        try:
            yield from self._pool.map(function, items)
        except BaseException:
            self._gone.set()  # waiting threads give up too
            raise

    def object_of(self, response: httpx2.Response) -> Json:
        """Return the JSON object in a response. Raises ModelNotUsable."""
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
                    return response
                why, wait = f"{response.status_code}: {self._message(response)}", _wanted_wait(response.headers)
            if left and self._again(why, wait, self.tries - 1 - left):
                continue
            break
        raise self._unavailable(why)

    def _again(self, why: str, wait: float | None, done: int) -> bool:
        """Wait before the next attempt and count it; False if another thread has given up on the server."""
        seconds = min(LONGEST_WAIT, FIRST_WAIT * 2**done if wait is None else wait)
        if self._gone.wait(seconds):
            return False
        with self._lock:
            self.retries = Retries(self.retries.count + 1, why)
        return True

    def _accepted(self, response: httpx2.Response) -> httpx2.Response:
        """The response if it is valid. Raises ServerUnavailable for server faults, ModelNotUsable for refusals."""
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
            f"it must be an OpenAI-compatible completions API that takes token ids ({SERVING})"
        )

    def _unavailable(self, why: str) -> ServerUnavailable:
        return ServerUnavailable(
            f"server {self.address.base} does not answer ({why}): start it, or wait until it is back, and resume"
        )

    def _message(self, response: httpx2.Response) -> str:
        """The server's error message, in one short line."""
        try:
            body = response.json()
        except ValueError:
            body = response.text
        if isinstance(body, dict):
            error = body.get("error", body)
            body = error.get("message", error) if isinstance(error, dict) else error
        return self._shown(str(body)) or response.reason_phrase

    def _shown(self, text: str) -> str:
        """A line of untrusted text, with the key removed in case a server repeats it."""
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
    """The seconds a server asks to wait; dates, though allowed, are ignored."""
    value = headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None


_LINE = re.compile(r"^vllm:prefix_cache_(queries|hits)_total\{([^}]*)\} (\S+)$", re.MULTILINE)


class CacheFigures(NamedTuple):
    """Prompt tokens since the server's start: looked up in its prefix cache, and found there."""

    asked: int
    cached: int

    @property
    def encoded(self) -> int:
        """Tokens not served from the cache."""
        return self.asked - self.cached


def cache_figures(client: ServerClient, model: str) -> CacheFigures:
    """Return the server's counts for one model, summed over engines. Raises ModelNotUsable."""
    text = client.get(f"{client.address.root}/metrics").text
    found = {"queries": 0.0, "hits": 0.0}
    rows = [match.groups() for match in _LINE.finditer(text) if f'model_name="{model}"' in match[2]]
    if not rows:
        raise ModelNotUsable(f"server {client.address.root}/metrics reports no prefix cache for {model!r}")
    for name, _, value in rows:
        found[name] += float(value)
    return CacheFigures(int(found["queries"]), int(found["hits"]))


FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
PROBES = (
    "Question: What is 17 + 25?\nClaim: It is 42.\nI think this claim is", " True", " False", "\n\n",
    "Ünïcode — “quotes”, 数字, émigré 🙂", "  two  spaces\tand a tab", "0123 3.14159", "def f(x):\n    return x**2",
)  # fmt: skip


class ServerTokens:
    """Token ids of texts, each text read once; `beginning` precedes every prompt."""

    beginning: tuple[Tokens, ...] = ()
    control: re.Pattern[str] | None = ANY_CONTROL  # finds control tokens in a text
    words = ""  # where the tokens are from

    def __init__(self) -> None:
        self._known: dict[str, Tokens] = {}

    def tokenize(self, text: str) -> Tokens:
        """Return the token ids of a text, without the tokens put around a whole prompt."""
        if text not in self._known:
            self.learn([text])
        return self._known[text]

    def learn(self, texts: Iterable[str]) -> None:
        """Read these texts in advance, together."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known |= zip(new, self._found(new), strict=True)

    def reader(self) -> TextReader:
        """Return a reader whose tokens decode to the texts. Raises ModelNotUsable if there is none."""
        raise NotImplementedError

    def text_of(self, token: int) -> str:
        """Return the text of one token."""
        raise NotImplementedError

    def _found(self, texts: Sequence[str]) -> Iterable[Tokens]:
        raise NotImplementedError


class OwnTokens(ServerTokens):
    """A tokenizer from a directory or hub id. Raises ModelNotUsable."""

    compared = False  # with the server's own

    def __init__(self, source: str) -> None:
        super().__init__()
        from transformers import AutoTokenizer

        try:
            self.loaded: Any = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise ModelNotUsable(
                f"tokenizer {source!r} cannot be loaded ({str(error).splitlines()[0][:200]}): give the model's "
                "directory or hub id as http://HOST:PORT/v1#tokenizer=..."
            ) from error
        bos = self.loaded.bos_token_id
        self.beginning = ((bos,),) if bos is not None else ()
        self.control = pattern_of(control_tokens(self.loaded))
        self.words = source

    def reader(self) -> TextReader:
        return reader_of(self.loaded, self.words)

    def text_of(self, token: int) -> str:
        return str(self.loaded.decode([token]))

    def whole(self, text: str) -> Tokens:
        """Return the ids a server makes from a text, with the tokens that this tokenizer puts around it."""
        return tuple(self.loaded(text)["input_ids"])

    def _found(self, texts: Sequence[str]) -> list[Tokens]:
        return [tuple(self.loaded(text, add_special_tokens=False)["input_ids"]) for text in texts]


class AskedTokens(ServerTokens):
    """The server's own /tokenize and /detokenize; what it adds before a text also precedes prompts."""

    def __init__(self, client: ServerClient, model: str, api: TokenApi | None = None) -> None:
        super().__init__()
        self.client, self.model, self.api = client, model, api or TokenApi()
        plain, whole = self._asked(PROBES[0], False), self._asked(PROBES[0], True)
        place = next((k for k in range(len(whole)) if whole[k : k + len(plain)] == plain), 0)
        self.beginning = (whole[:place],) if place else ()
        self.words = self._url(self.api.tokenize)

    def reader(self) -> TextReader:
        return TextReader(self.tokenize, self._text, self.words, self.control, far=True)

    def text_of(self, token: int) -> str:
        return self._text([token])

    def _url(self, path: str) -> str:
        return path.format(base=self.client.address.base, root=self.client.address.root)

    def _text(self, tokens: Sequence[int]) -> str:
        body = {"model": self.model, "tokens": list(tokens), **dict(self.api.always)}
        return str(self.client.post(self._url(self.api.detokenize), body).get(self.api.read))

    def _asked(self, text: str, special: bool) -> Tokens:
        body = {"model": self.model, self.api.text: text, self.api.special: special}
        found = self.client.post(self._url(self.api.tokenize), body).get("tokens")
        if not isinstance(found, list) or not all(isinstance(token, int) for token in found):
            raise ModelNotUsable(
                f"{self._url(self.api.tokenize)} gives no token ids: name the model's tokenizer, as "
                f"{self.client.address.base}#tokenizer=DIRECTORY"
            )
        return tuple(found)

    def _found(self, texts: Sequence[str]) -> Iterable[Tokens]:
        return self.client.each(lambda text: self._asked(text, False), texts)


def tokens_for(client: ServerClient, served: Json, others: Sequence[Json], api: TokenApi | None = None) -> ServerTokens:
    """Return the tokenizer of a served model, checked against the server's own if it has one. Raises ModelNotUsable.

    It is the one named by the address, else that of the model's directory or an adapter's base on this machine, else
    the server's. `served` and `others` are the entries of /models.
    """
    asked = _asked_tokens(client, str(served["id"]), api)
    source = client.address.tokenizer or _directory(served, others)
    if source is not None:
        own = OwnTokens(source)
        if asked is not None:
            _require_same(own, asked)
            own.compared = True
        return own
    if asked is None:
        base = client.address.base
        raise ModelNotUsable(
            f"server {base} does not tokenize, and the directory of model {served['id']!r} is not on this machine: "
            f"name the model's tokenizer, as {base}#tokenizer=DIRECTORY"
        )
    return asked


def _asked_tokens(client: ServerClient, model: str, api: TokenApi | None) -> AskedTokens | None:
    try:
        return AskedTokens(client, model, api)
    except ModelNotUsable:
        return None  # the server lacks this endpoint, which is allowed


def _directory(served: Json, others: Sequence[Json]) -> str | None:
    """The local directory of the model, or of the base model of an adapter."""
    base = next((other for other in others if other.get("id") == served.get("parent")), {})
    for folder in (served.get("root"), base.get("root")):
        if isinstance(folder, str) and any((Path(folder) / file).is_file() for file in FILES):
            return folder
    return None


def _require_same(own: OwnTokens, asked: AskedTokens) -> None:
    asked.learn(PROBES)
    for text in PROBES:
        if own.tokenize(text) != asked.tokenize(text):
            raise ModelNotUsable(
                f"tokenizer {own.words} reads {text!r} as {own.tokenize(text)[:8]}, the server as "
                f"{asked.tokenize(text)[:8]}: it is another model's; name the one of the model that is served "
                f"({asked.client.address.base}#tokenizer=DIRECTORY)"
            )
