"""The tokenizer of a model behind a server: from its directory where that is at hand, else the server's own.

A tokenizer from a directory is quick and is compared with the server's; the server's is asked about each text once.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from icm_engine.core.errors import ModelNotUsable
from icm_engine.models.prefix_tree import Tokens
from icm_engine.models.server_client import Json, ServerClient
from icm_engine.models.text_reader import ANY_CONTROL, TextReader, control_tokens, pattern_of, reader_of

FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
PROBES = (
    "Question: What is 17 + 25?\nClaim: It is 42.\nI think this claim is", " True", " False", "\n\n",
    "Ünïcode — “quotes”, 数字, émigré 🙂", "  two  spaces\tand a tab", "0123 3.14159", "def f(x):\n    return x**2",
)  # fmt: skip


class ServerTokens:
    """Texts to token ids, each text once; `beginning` is what stands before a prompt."""

    beginning: tuple[Tokens, ...] = ()
    control: re.Pattern[str] | None = ANY_CONTROL  # finds control tokens in a text
    words = ""  # where the tokens are from

    def __init__(self) -> None:
        self._known: dict[str, Tokens] = {}

    def tokenize(self, text: str) -> Tokens:
        """Return the token ids of a text, without what stands before or after a whole one."""
        if text not in self._known:
            self.learn([text])
        return self._known[text]

    def learn(self, texts: Iterable[str]) -> None:
        """Have these texts ready, asked together."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known |= zip(new, self._found(new), strict=True)

    def reader(self) -> TextReader:
        """Return what reads texts such that they decode to themselves. Raises ModelNotUsable where nothing can."""
        raise NotImplementedError

    def text_of(self, token: int) -> str:
        """Return what one token stands for."""
        raise NotImplementedError

    def _found(self, texts: Sequence[str]) -> Iterable[Tokens]:
        raise NotImplementedError


class OwnTokens(ServerTokens):
    """A tokenizer loaded from a directory or a hub id. Raises ModelNotUsable."""

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
        """Return a text as a server reads it that is given the text: with what this tokenizer puts around it."""
        return tuple(self.loaded(text)["input_ids"])

    def _found(self, texts: Sequence[str]) -> list[Tokens]:
        return [tuple(self.loaded(text, add_special_tokens=False)["input_ids"]) for text in texts]


class AskedTokens(ServerTokens):
    """The server's /tokenize and /detokenize, as vLLM has them; what it puts before a text, it gets before a prompt."""

    def __init__(self, client: ServerClient, model: str) -> None:
        super().__init__()
        self.client, self.model = client, model
        plain, whole = self._asked(PROBES[0], False), self._asked(PROBES[0], True)
        place = next((k for k in range(len(whole)) if whole[k : k + len(plain)] == plain), 0)
        self.beginning = (whole[:place],) if place else ()
        self.words = f"{client.address.root}/tokenize"

    def reader(self) -> TextReader:
        return TextReader(self.tokenize, self._text, self.words, self.control, far=True)

    def text_of(self, token: int) -> str:
        return self._text([token])

    def _text(self, tokens: Sequence[int]) -> str:
        body = {"model": self.model, "tokens": list(tokens)}
        return str(self.client.post(f"{self.client.address.root}/detokenize", body).get("prompt"))

    def _asked(self, text: str, special: bool) -> Tokens:
        body = {"model": self.model, "prompt": text, "add_special_tokens": special}
        found = self.client.post(f"{self.client.address.root}/tokenize", body).get("tokens")
        if not isinstance(found, list) or not all(isinstance(token, int) for token in found):
            raise ModelNotUsable(
                f"{self.client.address.root}/tokenize gives no token ids: name the model's tokenizer, as "
                f"{self.client.address.base}#tokenizer=DIRECTORY"
            )
        return tuple(found)

    def _found(self, texts: Sequence[str]) -> Iterable[Tokens]:
        return self.client.each(lambda text: self._asked(text, False), texts)


def tokens_for(client: ServerClient, served: Json, others: Sequence[Json]) -> ServerTokens:
    """Return the tokenizer of a served model, compared with the server's own where it has one. Raises ModelNotUsable.

    The one the address names; else that of the model's directory, or of the base model of an adapter, if it is on
    this machine; else the server's. `served` and `others` are what /models says.
    """
    asked = _asked_tokens(client, str(served["id"]))
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


def _asked_tokens(client: ServerClient, model: str) -> AskedTokens | None:
    try:
        return AskedTokens(client, model)
    except ModelNotUsable:
        return None  # it has no such thing, which is no fault: others do


def _directory(served: Json, others: Sequence[Json]) -> str | None:
    """The model's own directory on this machine, or that of the model that it is an adapter of."""
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
