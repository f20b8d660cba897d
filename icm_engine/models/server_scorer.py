"""Label log-probabilities from a model server, probed before use.

One probe finds what the server can do, with the dialects of `server_dialects`, and says it in one sentence (`ability`).
A server that cannot serve is refused at the start, with the remedy.

Prompts are sent as token ids, in the order of their prefix tree, so a server with automatic prefix caching encodes each
shared prefix about once. Each request generates one token and asks for the log-probabilities of the labels' tokens; a
label of several tokens is asked token by token, its beginning appended to the prompt. Log-probabilities of prompt
tokens are never requested: servers skip the prefix cache for that.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from icm_engine.core.batching import FIRST, NEWEST
from icm_engine.core.errors import ModelNotUsable, ScoreNotFinite, ServerUnavailable, SettingError
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import LabelLogProbs, Retries, Usage
from icm_engine.core.server_address import OWN, ServerAddress, server_address
from icm_engine.models.prefix_tree import PrefixRequest, Question, build, questions
from icm_engine.models.server_client import PROBES, TRIES, OwnTokens, ServerClient, ServerTokens, tokens_for
from icm_engine.models.server_dialects import (
    SERVING,
    ByTokenId,
    Engine,
    Ids,
    Json,
    Likeliest,
    ServerDialect,
    engine_of,
    named,
)
from icm_engine.models.tokenized_prompts import PromptReader, full_tokens

FLOOR = -9998.0  # vLLM writes -9999 for missing numbers
WAYS = (Likeliest(20), Likeliest(20, False), Likeliest(5, False))  # with vLLM's fields or without; 5 is OpenAI's limit
TOLERANCE = 0.5  # allowed difference of log-probabilities between forms of request: bfloat16's rounding
ANY = (1, 2, 3)  # token ids that every vocabulary has


@dataclass(frozen=True)
class Served:
    """One model of a server; `card` and `others` are entries of /models, `context` is in tokens."""

    name: str
    card: Json
    others: tuple[Json, ...]
    context: int
    version: str | None
    kind: Engine

    @property
    def engine(self) -> str:
        """The engine and version, as far as the server says."""
        return " ".join(filter(None, (str(self.card.get("owned_by") or "unknown"), self.version)))

    @property
    def title(self) -> str:
        """The engine by the name that people know, and its version."""
        return " ".join(filter(None, (self.kind.title, self.version)))


def served_model(client: ServerClient) -> Served:
    """Return the model that the address means. Raises ModelNotUsable listing those available, ServerUnavailable."""
    base, wanted = client.address.base, client.address.model
    found = client.object_of(client.get(f"{base}/models")).get("data")
    cards = [card for card in found if isinstance(card, dict) and "id" in card] if isinstance(found, list) else []
    names = [str(card["id"]) for card in cards]
    if not names:
        raise ModelNotUsable(f"server {base} lists no models ({base}/models): is this an OpenAI-compatible API?")
    if wanted is None and len(names) > 1:
        raise ModelNotUsable(f"server {base} has several models: name one, as {base}#{names[0]} (of {_list(names)})")
    if wanted is not None and wanted not in names:
        raise ModelNotUsable(f"server {base} has no model {wanted!r}: it has {_list(names)}")
    card = cards[names.index(wanted) if wanted is not None else 0]
    kind = engine_of(card.get("owned_by"))
    facts = _facts(client, kind)
    version = str(facts[kind.version])[:40] if facts.get(kind.version) is not None else None
    served = Served(str(card["id"]), card, tuple(cards), 0, version, kind)
    if not kind.ids:
        _require_token_ids(client, served)
    return replace(served, context=_context(client, served, facts))


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _facts(client: ServerClient, kind: Engine) -> Json:
    """What a server of this kind tells about itself; only some do."""
    for path in kind.facts:
        try:
            return client.object_of(client.get(f"{client.address.root}{path}"))
        except ModelNotUsable:
            continue
    return {}


def _require_token_ids(client: ServerClient, served: Served) -> None:
    """Check that a server takes a prompt as token ids: of a text, nobody here knows which tokens it becomes there."""
    base = client.address.base
    body = {"model": served.name, "prompt": list(ANY), "max_tokens": 1, "temperature": 0.0, "logprobs": 1}
    if why := client.refusal(f"{base}/completions", body):
        raise ModelNotUsable(
            f"server {base} ({served.title}) takes no token ids as a prompt ({why}), and of a text it is not known "
            f"which tokens the model reads: serve the model with {SERVING}, or load it here (--model DIRECTORY or "
            "FILE.gguf)"
        )


def _context(client: ServerClient, served: Served, facts: Json) -> int:
    """The context in tokens: the server's own, limited by the address. Raises ModelNotUsable."""
    parent = next((other for other in served.others if other["id"] == served.card.get("parent")), {})
    tells = served.kind.context
    says = next((found for card in (served.card, parent) if (found := tells(card, facts)) is not None), None)
    asked, base = client.address.context, client.address.base
    if says is None and asked is None:
        raise ModelNotUsable(
            f"server {base} does not say how many tokens it takes: add {base}#context=N to the address"
        )
    if says is not None and asked is not None and asked > says:
        raise ModelNotUsable(
            f"server {base} takes {says:,} tokens, and the address says {asked:,}: start it with a longer context "
            "(vLLM: --max-model-len), or lower the address's"
        )
    return asked or says or 0  # one of them is there


@dataclass
class LogProbQuery:
    """A server asked for log-probabilities of given tokens in one dialect, and its answers checked."""

    client: ServerClient
    served: Served
    tokens: ServerTokens
    dialect: ServerDialect
    fingerprint: str = ""  # hash of the server's model and settings, or its model's name, if it gives one
    _texts: dict[int, str] = field(default_factory=dict)

    @property
    def ability(self) -> str:
        """What the server can do, in one sentence for people."""
        return f"{self.served.title} gives log-probabilities of {self.dialect.gives}."

    def log_probs(self, prompt: Ids, wanted: Sequence[int]) -> dict[int, float]:
        """Return log p of each wanted token after a prompt. Raises ModelNotUsable if the server omits one."""
        found = self.told(prompt, wanted)
        names = {token: self._name(token, found) for token in wanted}
        if missing := [token for token, name in names.items() if name not in found]:
            raise ModelNotUsable(self._missing(missing[0]))
        numbers = {token: _number(name, found[name]) for token, name in names.items()}
        _require_log_probs(numbers.values(), self.client.address.base)
        return numbers

    def likeliest(self, prompt: Ids) -> dict[str, float]:
        """Return the log-probabilities of the likeliest tokens, at least one. Raises ModelNotUsable."""
        found = {k: v for k, v in self.told(prompt).items() if not (isinstance(v, float) and v < FLOOR)}
        return {name: _number(name, value) for name, value in (found or {"any token": None}).items()}

    def told(self, prompt: Ids, wanted: Sequence[int] = ()) -> Json:
        """Return the server's log-probabilities for the next token, by its name for each token.

        There may be others than those requested, and numbers that stand for none; both are ignored.
        """
        size: int | None = self.dialect.size
        table: Json = {}
        while size is not None:
            table = self._asked(prompt, wanted, size)
            size = self.dialect.larger(table, wanted, size)
        return table

    def _asked(self, prompt: Ids, wanted: Sequence[int], size: int) -> Json:
        address = self.client.address
        body = self.dialect.request(self.served.name, prompt, wanted, size)
        answer = self.client.post(self.dialect.url(address.base, address.root), body)
        self._require_same(self.dialect.identity(answer))
        if not (table := self.dialect.table(answer)):
            raise ModelNotUsable(
                f"server {address.base} ({self.served.title}) gives no log-probabilities of the next token: labels "
                f"cannot be scored through it; serve the model with {SERVING}, or load it here"
            )
        return table

    def _name(self, token: int, found: Mapping[str, float]) -> str:
        """The server's name for a token: its id, or its text if that is unique."""
        name = named(token)
        if name in found or any(key.startswith("token_id:") for key in found):
            return name
        if token not in self._texts:
            text = self.tokens.text_of(token)
            if self.tokens.tokenize(text) != (token,):
                raise ModelNotUsable(
                    f"server {self.client.address.base} names tokens by their text, and {text!r} is not the text of "
                    f"token {token} alone: use other labels, or a server that tells token ids ({SERVING})"
                )
            self._texts[token] = text
        return self._texts[token]

    def _missing(self, token: int) -> str:
        top = getattr(self.dialect, "top", 0)
        how = f"of the {top} likeliest tokens, token {token} is none" if top else "it leaves some out"
        return (
            f"server {self.client.address.base} ({self.served.title}) does not tell the log-probabilities of given "
            f"tokens ({how}), and none is made up: use vLLM 0.26 or newer (logprob_token_ids), SGLang or llama.cpp's "
            "llama-server, or load the model here"
        )

    def _require_same(self, now: str) -> None:
        """Check that the server is still the one that was probed: another may have been started in its place."""
        if not now:
            return
        if self.fingerprint and now != self.fingerprint:
            raise ServerUnavailable(
                f"server {self.client.address.base} is no longer the one that the run used ({self.fingerprint}), but "
                f"{now}: start that one again, or resume to continue with this one"
            )
        self.fingerprint = now


def probe_server(client: ServerClient, served: Served, tokens: ServerTokens) -> LogProbQuery:
    """Return how this server can be asked for labels, found by trying. Raises ModelNotUsable."""
    prompt = [*(t for part in tokens.beginning for t in part), *tokens.tokenize(PROBES[0])]
    one, other = (tokens.tokenize(text)[-1] for text in PROBES[:2])
    for make in served.kind.native:
        native = LogProbQuery(client, served, tokens, make(one))
        if _serves(native, make(other), prompt):
            return replace(native, dialect=make(one))  # which has not got used to the unlikely token of the trial
    asking = LogProbQuery(client, served, tokens, WAYS[0])
    likeliest = _likeliest(asking, prompt)
    _require_log_probs(likeliest.values(), client.address.base)
    _require_same_reading(asking)
    by_id = replace(asking, dialect=ByTokenId())
    return by_id if asking.dialect == WAYS[0] and _works(by_id, prompt, likeliest) else asking


def _serves(native: LogProbQuery, second: ServerDialect, prompt: Sequence[int]) -> bool:
    """Whether an engine's own endpoint does what it should, asked in two ways; an older one, or a proxy, may not."""
    try:
        likeliest = native.likeliest(prompt)
        _require_log_probs(likeliest.values(), native.client.address.base)
    except ModelNotUsable:
        return False
    if not _works(replace(native, dialect=second), prompt, likeliest):
        return False
    _require_same_reading(native)
    return True


def _likeliest(asking: LogProbQuery, prompt: Sequence[int]) -> dict[str, float]:
    """The likeliest tokens that the server reports; the successful form of request is kept. Raises ModelNotUsable."""
    refusal: ModelNotUsable | None = None
    for asking.dialect in WAYS:
        try:
            return asking.likeliest(prompt)
        except ModelNotUsable as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def _works(asking: LogProbQuery, prompt: Sequence[int], likeliest: Mapping[str, float]) -> bool:
    """Whether tokens can be requested by id, tried with two likely tokens and one unlikely one."""
    ids = [int(name.removeprefix("token_id:")) for name in likeliest if name.startswith("token_id:")][:2]
    other = next(token for token in range(1, len(ids) + 2) if token not in ids)
    try:
        found = asking.log_probs(prompt, [*ids, other])
    except ModelNotUsable:
        return False  # an older vLLM, which ignores or refuses the field
    return bool(ids) and all(abs(found[k] - likeliest[named(k)]) < TOLERANCE for k in ids)


def _require_same_reading(asking: LogProbQuery) -> None:
    """Check that the server reads a text and our token ids of it as the same prompt, where it was not asked before."""
    tokens = asking.tokens
    if not isinstance(tokens, OwnTokens) or tokens.compared:
        return
    text, base = PROBES[0], asking.client.address.base
    by_text, by_ids = asking.likeliest(text), asking.likeliest(tokens.whole(text))
    both = by_text.keys() & by_ids.keys()
    if len(both) < len(by_text) / 2 or any(abs(by_text[k] - by_ids[k]) > TOLERANCE for k in both):
        raise ModelNotUsable(
            f"server {base} answers a text differently from its token ids by tokenizer {tokens.words}: it is "
            f"another model's; name the one of the model that is served ({base}#tokenizer=DIRECTORY)"
        )


def _require_log_probs(values: Collection[float], base: str) -> None:
    """Check that values are log-probabilities: those of different tokens sum to at most one. Raises ModelNotUsable."""
    if (mass := sum(math.exp(min(value, 50.0)) for value in values)) > 1.01:
        raise ModelNotUsable(
            f"server {base} returns numbers that are not log-probabilities (their exponentials add up to {mass:,.2f}): "
            "start it without logits (vLLM: --logprobs-mode raw_logprobs)"
        )


def _number(name: str, value: object) -> float:
    """A log-probability as a float. Raises ScoreNotFinite."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < FLOOR:
        raise ScoreNotFinite(
            f"the server gave {value!r} as the log-probability of {name!r}: a run cannot continue with this; start it "
            "with another dtype (vLLM: --dtype)"
        )
    return float(value)


ENCODINGS = ("prefix-tree", "full-prompts")
FIRST_TRIES = 3  # at the start, an absent server should be reported soon


class ServerScorer(PromptReader):
    """Scores prompts through a server. `describe` names it and how labels are asked for."""

    remedy = (
        "use fewer examples (--limit, or --batch-size), shorter demonstrations, or a server with a longer context "
        "(--max-model-len)"
    )

    def __init__(self, model: str, encoding: str = "prefix-tree", tries: int = TRIES, version: int = NEWEST) -> None:
        if encoding not in ENCODINGS:
            raise SettingError(f"encoding is {encoding!r}: use one of {', '.join(ENCODINGS)}")
        self.address: ServerAddress = server_address(model)
        self.encoding, self.usage = encoding, Usage()
        self.client = ServerClient(self.address, FIRST_TRIES)
        self.served: Served = served_model(self.client)
        self.tokens = tokens_for(self.client, self.served.card, self.served.others, self.served.kind.tokens)
        self.tokenize, self.beginning = self.tokens.tokenize, self.tokens.beginning
        if version > FIRST:
            self.reader, self.control = self.tokens.reader(), self.tokens.control
        self.asking: LogProbQuery = probe_server(self.client, self.served, self.tokens)
        self.client.tries = tries

    @property
    def context(self) -> int:
        """The server's context in tokens, one of them for the answer."""
        return self.served.context

    @property
    def retries(self) -> Retries:
        """The retries of requests to this server so far."""
        return self.client.retries

    def score(self, prompts: Sequence[Prompt]) -> list[LabelLogProbs]:
        """Return the log-probability of each label of each prompt, in order.

        Raises PromptTooLong, LabelNotTokenizable, ScoreNotFinite, ServerUnavailable, ModelNotUsable. A label that the
        server omits is an error, never a number.
        """
        requests = self.requests(prompts)
        self.require_context(prompts, requests)
        trees = [build(together) for together in self.together(requests)]
        asked = [question for tree in trees for question in questions(tree)]
        scores = [[0.0] * len(prompt.labels) for prompt in prompts]
        for question, found in zip(asked, self.client.each(partial(self._answer, requests), asked), strict=True):
            for read in question.reads:
                scores[read.prompt][read.continuation] += found[read.token]
        self.usage += Usage(len(prompts), sum(tree.size for tree in trees), full_tokens(requests))
        return [LabelLogProbs(tuple(row)) for row in scores]

    def requests(self, prompts: Sequence[Prompt]) -> list[PrefixRequest]:
        """Return the prompts as token ids; new texts are tokenised together."""
        texts = [piece for prompt in prompts for segment in prompt.segments for piece in segment]
        texts += [prompt.lead + label for prompt in prompts for label in prompt.labels]
        distinct = list(dict.fromkeys(texts))
        self.tokens.learn(distinct if self.reader is None else self.reader.wanted(distinct))
        return super().requests(prompts)

    def describe(self) -> Mapping[str, object]:
        return {
            "model": self.served.name,
            "server": self.address.base,
            "engine": self.served.engine,
            "fingerprint": self.asking.fingerprint or None,
            "quantization": OWN,
            "dtype": OWN,
            "device": OWN,
            "context": self.context,
            "trained_context": None,
            "tokenizer": self.tokens.words,
            "encoding": self.encoding,
            "reason": "in the tree's order, for the server's prefix cache" if self._tree else "as asked",
            "labels": self.asking.dialect.words,
            "ability": self.asking.ability,
            "concurrency": self.address.concurrency,
        }

    @property
    def _tree(self) -> bool:
        return self.encoding == "prefix-tree"

    def _answer(self, requests: Sequence[PrefixRequest], question: Question) -> Mapping[int, float]:
        """The log-probabilities of the tokens that a question reads."""
        tokens = question.tokens(requests[question.prompt])
        wanted = sorted({read.token for read in question.reads})
        return self.asking.log_probs(tokens, wanted)
