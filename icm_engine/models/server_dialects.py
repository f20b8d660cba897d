"""How each kind of server is asked for the log-probabilities of a label's tokens, and where its answer has them.

    vLLM        POST /v1/completions, logprob_token_ids    the tokens asked for, at any rank
    SGLang      POST /generate, token_ids_logprob          the tokens asked for, at any rank
    llama.cpp   POST /completion, n_probs                  the likeliest tokens, as many as it takes to have those
    others      POST /v1/completions, logprobs             the 20 or 5 likeliest tokens

Nothing here sends anything: a `ServerDialect` makes the body of a request and reads an answer, and an `Engine` says
which dialects a server may speak and where it tells its version, its context and its tokens. What a server claims to be
only decides what is tried first; whether it works is found by asking (`server_scorer.probe_server`).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from icm_engine.core.errors import ModelNotUsable

Json = dict[str, Any]
Ids = Sequence[int] | str  # a prompt: token ids; a text only where both are compared
EXACT = "so labels are exact at any rank"
NEUTRAL = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}  # else a model's own defaults apply
SERVING = "vLLM, SGLang or llama.cpp's llama-server"  # what would serve instead


def named(token: int) -> str:
    """Return a token's name in a table of log-probabilities, as vLLM writes it."""
    return f"token_id:{token}"


class ServerDialect:
    """One way of asking for log-probabilities of the next token; `words` is recorded with a run as `labels`.

    A table maps tokens, by id (`named`) or by their text, to what the server gives as their log-probability.
    """

    size = 0  # of the first request for a prompt, where the size of the answer has to be chosen

    @property
    def words(self) -> str:
        """How labels are asked for."""
        raise NotImplementedError

    @property
    def gives(self) -> str:
        """What the server gives, to follow "gives log-probabilities of"."""
        raise NotImplementedError

    def url(self, base: str, root: str) -> str:
        """Return where requests go, given the address with and without /v1."""
        return f"{base}/completions"

    def request(self, model: str, prompt: Ids, wanted: Sequence[int], size: int) -> Json:
        """Return the body of a request: `wanted` are token ids; without any, the likeliest tokens are asked for."""
        raise NotImplementedError

    def table(self, answer: Json) -> Json:
        """Return the table in an answer, empty if there is none."""
        raise NotImplementedError

    def larger(self, table: Json, wanted: Collection[int], size: int) -> int | None:
        """Return the size of another request for the same prompt, None if this table will do."""
        return None

    def identity(self, answer: Json) -> str:
        """Return what tells this server from another one at the same address, as far as the answer says."""
        now = answer.get("system_fingerprint")
        return now if isinstance(now, str) and now.startswith("vllm-") else ""


@dataclass(frozen=True)
class Likeliest(ServerDialect):
    """The likeliest tokens of an OpenAI-compatible API, at most 20 or 5; `more`: with vLLM's own fields."""

    top: int
    more: bool = True

    @property
    def words(self) -> str:
        return f"among the {self.top} likeliest tokens"

    @property
    def gives(self) -> str:
        return f"its {self.top} likeliest tokens only, so a label that is not among them stops the run"

    def request(self, model: str, prompt: Ids, wanted: Sequence[int], size: int) -> Json:
        body: Json = {
            "model": model, "prompt": prompt if isinstance(prompt, str) else list(prompt), "max_tokens": 1,
            "temperature": 0.0, "logprobs": self.top,
        }  # fmt: skip
        return body | {**NEUTRAL, "return_tokens_as_token_ids": True} if self.more else body

    def table(self, answer: Json) -> Json:
        return _object(answer, "choices", 0, "logprobs", "top_logprobs", 0)


@dataclass(frozen=True)
class ByTokenId(Likeliest):
    """vLLM's `logprob_token_ids`. Requests for different numbers of tokens share a table, padded with -9999."""

    top: int = 0

    @property
    def words(self) -> str:
        return "by token id (logprob_token_ids)"

    @property
    def gives(self) -> str:
        return f"given token ids (logprob_token_ids), {EXACT}"

    def request(self, model: str, prompt: Ids, wanted: Sequence[int], size: int) -> Json:
        return super().request(model, prompt, wanted, size) | {
            "logprobs": len(wanted),
            "logprob_token_ids": list(wanted),
        }


class GenerateIds(ServerDialect):
    """SGLang's native endpoint, whose greedy answers have log-probabilities before any sampling setting."""

    words = "by token id (token_ids_logprob)"
    gives = f"given token ids (token_ids_logprob), {EXACT}"

    def url(self, base: str, root: str) -> str:
        return f"{root}/generate"

    def request(self, model: str, prompt: Ids, wanted: Sequence[int], size: int) -> Json:
        asked: Json = {"token_ids_logprob": list(wanted)} if wanted else {"top_logprobs_num": 20}
        return {
            **({"text": prompt} if isinstance(prompt, str) else {"input_ids": list(prompt)}),
            "sampling_params": {"max_new_tokens": 1, "temperature": 0.0},
            "return_logprob": True,
            **asked,
        }

    def table(self, answer: Json) -> Json:
        """Each entry is a log-probability, a token id and perhaps a text."""
        found = answer.get("meta_info")
        found = found if isinstance(found, dict) else {}
        entries = found.get("output_token_ids_logprobs") or found.get("output_top_logprobs")
        first = entries[0] if isinstance(entries, list) and entries else None
        rows = [row for row in first or () if isinstance(row, list) and len(row) > 1]
        return {named(row[1]): row[0] for row in rows}


@dataclass
class AsManyAsNeeded(ServerDialect):
    """llama.cpp's native endpoint: `n_probs` likeliest tokens before any sampler, more until the wanted are there.

    Asking again is cheap where the prompt is still in its cache. The next prompt begins with the size that the last one
    needed; threads may overwrite each other's, which costs a request at most. An answer has no numbers if the token
    that it generates is a part of a character, so a whole one is forced (`plain`), which changes no number before
    samplers; the probe checks that.
    """

    plain: int
    size: int = 64
    least: int = field(default=64, repr=False)
    words = "among as many likeliest tokens as needed (n_probs)"
    gives = f"as many of its likeliest tokens as needed (n_probs), {EXACT}"

    def url(self, base: str, root: str) -> str:
        return f"{root}/completion"

    def request(self, model: str, prompt: Ids, wanted: Sequence[int], size: int) -> Json:
        return {
            "model": model,
            "prompt": prompt if isinstance(prompt, str) else list(prompt),
            "n_predict": 1,
            "temperature": 0.0,
            "logit_bias": [[self.plain, 1000.0]],
            "n_probs": size,
            "post_sampling_probs": False,
            "cache_prompt": True,
            "response_fields": ["completion_probabilities", "model", "truncated"],
        }

    def table(self, answer: Json) -> Json:
        if answer.get("truncated"):
            raise ModelNotUsable("the server has cut a prompt short: start it with a longer context (--ctx-size)")
        first = _object(answer, "completion_probabilities", 0)
        rows = first.get("top_logprobs")
        return {named(row["id"]): row.get("logprob") for row in rows or () if isinstance(row, dict) and "id" in row}

    def larger(self, table: Json, wanted: Collection[int], size: int) -> int | None:
        if len(table) >= size and any(named(token) not in table for token in wanted):
            return size * 8
        ranks = {name: rank for rank, name in enumerate(table, 1)}
        needed, enough = max((ranks.get(named(token), size) for token in wanted), default=0), self.least
        while enough < needed:
            enough *= 8
        self.size = enough
        return None

    def identity(self, answer: Json) -> str:
        return str(answer.get("model") or "")


def _object(found: Any, *path: str | int) -> Json:
    """The object at a path of keys and places; empty if there is none."""
    try:
        for step in path:
            found = found[step]
    except (KeyError, IndexError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class TokenApi:
    """Where a server reads texts and tokens: paths, the names of the fields, and fields that are always sent."""

    tokenize: str = "{root}/tokenize"
    detokenize: str = "{root}/detokenize"
    text: str = "prompt"
    special: str = "add_special_tokens"
    read: str = "prompt"  # the field of the text that tokens stand for
    always: tuple[tuple[str, Any], ...] = ()  # in a request for that text


def context_of_card(card: Json, facts: Json) -> int | None:
    """Return the context that an entry of /models has, as vLLM and SGLang write it."""
    found = card.get("max_model_len")
    return found if isinstance(found, int) else None


def context_of_slot(card: Json, facts: Json) -> int | None:
    """Return the context of one of llama.cpp's slots, which share the server's between them."""
    found = _object(facts, "default_generation_settings").get("n_ctx")
    return found if isinstance(found, int) else None


@dataclass(frozen=True)
class Engine:
    """A kind of server: its name for people, what is tried first, and where it tells what.

    A native dialect is made with the id of a token that is plain text. `facts` are paths of which the first that
    answers with an object is read; `version` is a field in it. `context` finds the tokens that the server takes in an
    entry of /models and these facts. `ids` says that it is known to take token ids; of other servers this is tried
    before anything else.
    """

    title: str
    native: tuple[Callable[[int], ServerDialect], ...] = ()
    tokens: TokenApi = TokenApi()
    facts: tuple[str, ...] = ("/version",)
    version: str = "version"
    context: Callable[[Json, Json], int | None] = context_of_card
    ids: bool = False


SGLANG_TOKENS = TokenApi("{base}/tokenize", "{base}/detokenize", read="text", always=(("skip_special_tokens", False),))
LLAMA_TOKENS = TokenApi(text="content", special="add_special", read="content")
ENGINES = {  # by the owner that the server names for its models
    "vllm": Engine("vLLM", ids=True),
    "sglang": Engine(
        "SGLang", (lambda plain: GenerateIds(),), SGLANG_TOKENS, ("/server_info", "/get_server_info"), ids=True
    ),
    "llamacpp": Engine(
        "llama.cpp", (AsManyAsNeeded,), LLAMA_TOKENS, ("/props",), "build_info", context_of_slot, ids=True
    ),
    "library": Engine("Ollama", facts=("/api/version",)),
    "organization_owner": Engine("LM Studio", facts=()),
    "me": Engine("llama-cpp-python", facts=()),
}


def engine_of(owner: object) -> Engine:
    """Return the kind of server that calls itself the owner of its models."""
    name = str(owner or "a server of unknown kind")[:40]
    return ENGINES.get(name, Engine(name))
