"""A small OpenAI-compatible completions server for tests, in this process, with the faults that servers have."""

import contextlib
import json
import math
import re
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
LogProbs = Callable[[tuple[int, ...]], Sequence[float]]  # of every token of the vocabulary, after these


@dataclass
class Completions:
    """What the server says and does; tests change it while it runs. `faults` are answers given before the right ones.

    A fault is a status with headers and a body, or a number of seconds to say nothing.
    """

    log_probs: LogProbs
    tokenize: Callable[[str], list[int]]
    decode: Callable[[int], str]
    root: str = "/elsewhere"
    names: list[str] = field(default_factory=lambda: ["small"])
    context: int | None = 4096
    vllm: bool = True  # takes logprob_token_ids and names tokens by id
    picky: bool = True  # refuses fields of vLLM's, if it is not vLLM
    tokenizes: bool = True
    tells: bool = True  # log-probabilities
    most: int = 20  # likeliest tokens at most
    fingerprint: str | None = "vllm-0-test"
    key: str | None = None
    detokenize: Callable[[list[int]], str] | None = None  # None: token by token
    before: Sequence[int] = ()  # what the tokenizer puts before a text, where special tokens are asked for
    spoil: Callable[[Json], Json] = lambda answer: answer
    faults: list[tuple[int, dict[str, str], str] | float] = field(default_factory=list)
    asked: list[Json] = field(default_factory=list)  # bodies of completions, in order of arrival
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    slow: float = 0.0  # seconds an answer takes
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def models(self) -> Json:
        length = {} if self.context is None else {"max_model_len": self.context}
        owner = "vllm" if self.vllm else "someone"
        return {"data": [{"id": name, "owned_by": owner, "root": self.root, **length} for name in self.names]}

    def completions(self, body: Json) -> Json:
        """The answer to a request; the next token is always the likeliest one."""
        prompt = body["prompt"]
        tokens = tuple(self.tokenize(prompt) if isinstance(prompt, str) else prompt)
        values = self.log_probs(tokens)
        order = sorted(range(len(values)), key=lambda t: -values[t])
        shown = order[: body["logprobs"]]
        if self.vllm and "logprob_token_ids" in body:
            shown = list(dict.fromkeys([*body["logprob_token_ids"], order[0]]))
        top = {self._name(t): values[t] for t in shown}
        logprobs = {"top_logprobs": [top]} if self.tells else None
        answer = {"choices": [{"index": 0, "logprobs": logprobs}], "system_fingerprint": self.fingerprint}
        return self.spoil(answer)

    def other(self, path: str, body: Json | None) -> tuple[int, Json] | None:
        """The status and answer of a path that only some servers have; `body` is None for a GET."""
        return None

    def text_of(self, tokens: list[int]) -> str:
        return self.detokenize(tokens) if self.detokenize else "".join(map(self.decode, tokens))

    def _name(self, token: int) -> str:
        return f"token_id:{token}" if self.vllm else self.decode(token)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            time.sleep(self.slow)
            yield
        finally:
            with self._lock:
                self._now -= 1

    def fault(self) -> tuple[int, dict[str, str], str] | float | None:
        with self._lock:
            return self.faults.pop(0) if self.faults else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for the other side to say that it had the headers
    said: Completions

    def do_GET(self) -> None:
        if not self._allowed():
            return
        if (found := self.said.other(self.path, None)) is not None:
            self._send(found[0], json.dumps(found[1]))
        elif self.path == "/v1/models":
            self._send(200, json.dumps(self.said.models()))
        elif self.path == "/version" and self.said.vllm:
            self._send(200, json.dumps({"version": "0.test"}))
        else:
            self._send(404, "no such thing")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            return
        if (found := self._elsewhere(body)) is not None:
            self._send(found[0], json.dumps(found[1]))
        elif self.path == "/tokenize" and self.said.tokenizes:
            before = self.said.before if body.get("add_special_tokens", True) else ()
            self._send(200, json.dumps({"tokens": [*before, *self.said.tokenize(body["prompt"])]}))
        elif self.path == "/detokenize" and self.said.tokenizes:
            self._send(200, json.dumps({"prompt": self.said.text_of(body["tokens"])}))
        elif self.path == "/v1/completions":
            self._complete(body)
        else:
            self._send(404, "no such thing")

    def _elsewhere(self, body: Json) -> tuple[int, Json] | None:
        with self.said.counted():
            return self.said.other(self.path, body)

    def _complete(self, body: Json) -> None:
        said = self.said
        said.asked.append(body)
        fault = said.fault()
        if isinstance(fault, float):
            time.sleep(fault)
            return self._send(200, "{}")
        if fault is not None:
            return self._send(fault[0], fault[2], fault[1])
        if body["model"] not in said.names:
            return self._error(404, f"The model `{body['model']}` does not exist.")
        if body["logprobs"] > said.most:
            return self._error(400, f"logprobs is greater than {said.most}")
        if not said.vllm and said.picky and "top_k" in body:
            return self._error(400, "Unrecognized request argument supplied: top_k")
        with said.counted():
            return self._send(200, json.dumps(said.completions(body)))

    def _allowed(self) -> bool:
        self.said.headers.append(dict(self.headers))
        if self.said.key is None or self.headers.get("Authorization") == f"Bearer {self.said.key}":
            return True
        self._error(401, f"Incorrect API key provided: {self.headers.get('Authorization')}")
        return False

    def _error(self, status: int, message: str) -> None:
        self._send(status, json.dumps({"error": {"message": message}}))

    def _send(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        data = body.encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who asked may have given up
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(said: Completions, port: int = 0) -> Iterator[str]:
    """Serve on this machine, and give the address of the API."""
    server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Handler,), {"said": said}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


VOCABULARY = 1032  # no two words of the trial of a tokenizer share a number
_said: dict[int, str] = {}  # what was last read as each token


def words(text: str) -> list[int]:
    """A word with the space before it, or a line's end, is a token; its number is a checksum."""
    pieces = re.findall(r"\n+|\s?\S+|\s", text)
    tokens = [1 + zlib.crc32(piece.encode()) % (VOCABULARY - 1) for piece in pieces]
    _said.update(zip(tokens, pieces, strict=True))
    return tokens


def table(tokens: tuple[int, ...]) -> list[float]:
    """Log-probabilities of all tokens, from a checksum of the last twelve before them: always the same."""
    seed = zlib.crc32(repr(tokens[-12:]).encode())
    logits = [((seed ^ (token * 2654435761)) % 9973) / 2000 for token in range(VOCABULARY)]
    total = math.log(sum(map(math.exp, logits)))
    return [logit - total for logit in logits]


def small_server(**settings: Any) -> Completions:
    """A server with words for tokens and the table for a model."""
    return Completions(table, words, lambda token: _said.get(token, f"<{token}>"), **settings)


def main() -> None:
    """Serve the table at a port until the process is killed: python -m tests.support.fake_server PORT."""
    with serving(small_server(), int(sys.argv[1])):
        threading.Event().wait()


if __name__ == "__main__":
    main()
