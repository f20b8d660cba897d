"""Label log-probabilities from an OpenAI-compatible completions server, probed before use.

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
from icm_engine.models.server_client import PROBES, TRIES, Json, OwnTokens, ServerClient, ServerTokens, tokens_for
from icm_engine.models.tokenized_prompts import PromptReader, full_tokens

FLOOR = -9998.0  # vLLM writes -9999 for missing numbers
WAYS = ((20, True), (20, False), (5, False))  # likeliest tokens asked for, and vLLM's fields; 5 is OpenAI's limit
TOLERANCE = 0.5  # allowed difference of log-probabilities between forms of request: bfloat16's rounding
NEUTRAL = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}  # else a model's own defaults apply


@dataclass(frozen=True)
class Served:
    """One model of a server; `card` and `others` are entries of /models, `context` is in tokens."""

    name: str
    card: Json
    others: tuple[Json, ...]
    context: int
    version: str | None

    @property
    def engine(self) -> str:
        """The engine and version, as far as the server says."""
        return " ".join(filter(None, (str(self.card.get("owned_by") or "unknown"), self.version)))


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
    return Served(str(card["id"]), card, tuple(cards), _context(client, card, cards), _version(client))


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _context(client: ServerClient, card: Json, cards: Sequence[Json]) -> int:
    """The context in tokens: the server's own, limited by the address. Raises ModelNotUsable."""
    parent = next((other for other in cards if other["id"] == card.get("parent")), {})
    says: int | None = next(
        (c["max_model_len"] for c in (card, parent) if isinstance(c.get("max_model_len"), int)), None
    )
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


def _version(client: ServerClient) -> str | None:
    try:
        version = client.object_of(client.get(f"{client.address.root}/version")).get("version")
    except ModelNotUsable:
        return None  # only some servers have this
    return str(version)[:40] if version is not None else None


@dataclass
class LogProbQuery:
    """How a server is asked for log-probabilities of given tokens: by id, or among the `top` likeliest."""

    client: ServerClient
    served: Served
    tokens: ServerTokens
    top: int = 0  # 0: by id
    more: bool = True  # whether it accepts vLLM's own fields
    fingerprint: str = ""  # hash of the server's model and settings, if it gives one
    _texts: dict[int, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """How labels are asked for, as recorded in the run."""
        return f"among the {self.top} likeliest tokens" if self.top else "by token id (logprob_token_ids)"

    def log_probs(self, prompt: Sequence[int] | str, wanted: Sequence[int]) -> dict[int, float]:
        """Return log p of each wanted token after a prompt. Raises ModelNotUsable if the server omits one."""
        found = self.told(prompt, wanted)
        names = {token: self._name(token, found) for token in wanted}
        if missing := [token for token, name in names.items() if name not in found]:
            raise ModelNotUsable(self._missing(missing[0]))
        numbers = {token: _number(name, found[name]) for token, name in names.items()}
        _require_log_probs(numbers.values(), self.client.address.base)
        return numbers

    def likeliest(self, prompt: Sequence[int] | str) -> dict[str, float]:
        """Return the log-probabilities of the likeliest tokens, at least one. Raises ModelNotUsable."""
        found = {k: v for k, v in self.told(prompt).items() if not (isinstance(v, float) and v < FLOOR)}
        return {name: _number(name, value) for name, value in (found or {"any token": None}).items()}

    def told(self, prompt: Sequence[int] | str, wanted: Sequence[int] = ()) -> Json:
        """Return the server's log-probabilities for the next token, by its name for each token.

        vLLM puts requests for different numbers of tokens into one table and pads it with token 0 at -9999, so tokens
        that were not requested are ignored.
        """
        body: Json = {
            "model": self.served.name,
            "prompt": prompt if isinstance(prompt, str) else list(prompt),
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": self.top or len(wanted),
        }
        if self.more:
            body |= {**NEUTRAL, "return_tokens_as_token_ids": True}
        if not self.top:
            body["logprob_token_ids"] = list(wanted)
        answer = self.client.post(f"{self.client.address.base}/completions", body)
        self._require_same(answer)
        return _table(answer, self.client.address.base)

    def _name(self, token: int, found: Mapping[str, float]) -> str:
        """The server's name for a token: its id, or its text if that is unique."""
        name = f"token_id:{token}"
        if name in found or any(key.startswith("token_id:") for key in found):
            return name
        if token not in self._texts:
            text = self.tokens.text_of(token)
            if self.tokens.tokenize(text) != (token,):
                raise ModelNotUsable(
                    f"server {self.client.address.base} names tokens by their text, and {text!r} is not the text of "
                    f"token {token} alone: use other labels, or a server that tells token ids (vLLM)"
                )
            self._texts[token] = text
        return self._texts[token]

    def _missing(self, token: int) -> str:
        how = f"of the {self.top} likeliest tokens, token {token} is none" if self.top else "it leaves some out"
        return (
            f"server {self.client.address.base} does not tell the log-probabilities of given tokens ({how}), and none "
            "is made up: use a server that takes logprob_token_ids (vLLM 0.20 or newer), or load the model here"
        )

    def _require_same(self, answer: Json) -> None:
        """Check that the server is still the one that was probed: another may have been started in its place."""
        now = answer.get("system_fingerprint")
        if not isinstance(now, str) or not now.startswith("vllm-"):
            return
        if self.fingerprint and now != self.fingerprint:
            raise ServerUnavailable(
                f"server {self.client.address.base} is no longer the one that the run used ({self.fingerprint}), but "
                f"{now}: start that one again, or resume to continue with this one"
            )
        self.fingerprint = now


def probe_server(client: ServerClient, served: Served, tokens: ServerTokens) -> LogProbQuery:
    """Return how this server can be asked for labels, found by trying. Raises ModelNotUsable."""
    asking = LogProbQuery(client, served, tokens)
    prompt = [*(t for part in tokens.beginning for t in part), *tokens.tokenize(PROBES[0])]
    likeliest = _likeliest(asking, prompt)
    _require_log_probs(likeliest.values(), client.address.base)
    if isinstance(tokens, OwnTokens) and not tokens.compared:
        _require_same_reading(asking, tokens)
    by_id = replace(asking, top=0)
    return by_id if asking.more and _works(by_id, prompt, likeliest) else asking


def _likeliest(asking: LogProbQuery, prompt: Sequence[int]) -> dict[str, float]:
    """The likeliest tokens that the server reports; the successful form of request is kept. Raises ModelNotUsable."""
    refusal: ModelNotUsable | None = None
    for asking.top, asking.more in WAYS:
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
    return bool(ids) and all(abs(found[k] - likeliest[f"token_id:{k}"]) < TOLERANCE for k in ids)


def _require_same_reading(asking: LogProbQuery, tokens: OwnTokens) -> None:
    """Check that the server reads a text and our token ids of it as the same prompt."""
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


def _table(answer: Json, base: str) -> Json:
    """The next-token log-probabilities in a response. Raises ModelNotUsable if absent."""
    try:
        table = answer["choices"][0]["logprobs"]["top_logprobs"][0]
    except (KeyError, IndexError, TypeError):
        table = None
    if not isinstance(table, dict) or not table:
        raise ModelNotUsable(
            f"server {base} gives no log-probabilities of the next token: labels cannot be scored through it; use one "
            "whose completions API has `logprobs` (vLLM has)"
        )
    return table


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
        self.tokens = tokens_for(self.client, self.served.card, self.served.others)
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
            "labels": self.asking.words,
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
