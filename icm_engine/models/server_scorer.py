"""Label log-probabilities from an OpenAI-compatible completions server, vLLM first.

Prompts are sent as token ids, in the order of their prefix tree, so that a server with automatic prefix caching
encodes each shared prefix about once. Each request generates one token and asks for the log-probabilities of the
labels' tokens by name; a label of several tokens is asked for token by token, its beginning appended to the prompt.
What a prompt's own tokens would score is never asked for: servers skip the prefix cache for that.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from icm_engine.core.errors import SettingError
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import LabelLogProbs, Retries, Usage
from icm_engine.core.server_address import OWN, ServerAddress, server_address
from icm_engine.core.versions import FIRST, NEWEST
from icm_engine.models.prefix_tree import Question, Request, build, questions
from icm_engine.models.prompt_reader import PromptReader, full_tokens
from icm_engine.models.server_client import TRIES, ServerClient
from icm_engine.models.server_tokens import tokens_for
from icm_engine.models.server_trial import Asking, Served, served_model, try_out

ENCODINGS = ("prefix-tree", "full-prompts")
FIRST_TRIES = 3  # at the start: a server that is not there should be said soon


class ServerScorer(PromptReader):
    """Scores prompts through a server. `describe` says which, and how labels are asked for."""

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
        self.asking: Asking = try_out(self.client, self.served, self.tokens)
        self.client.tries = tries

    @property
    def context(self) -> int:
        """The number of tokens that the server takes, the answer's one among them."""
        return self.served.context

    @property
    def retries(self) -> Retries:
        """What was asked again so far, of this server."""
        return self.client.retries

    def score(self, prompts: Sequence[Prompt]) -> list[LabelLogProbs]:
        """Return the log-probability of each label of each prompt, in order.

        Raises PromptTooLong, LabelNotTokenizable, ScoreNotFinite, ServerUnavailable, ModelNotUsable; a label that the
        server says nothing of is an error, never a number.
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

    def requests(self, prompts: Sequence[Prompt]) -> list[Request]:
        """Return the prompts as token ids; texts that are new are asked about together."""
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

    def _answer(self, requests: Sequence[Request], question: Question) -> Mapping[int, float]:
        """The log-probabilities of the tokens that a question reads."""
        tokens = question.tokens(requests[question.prompt])
        wanted = sorted({read.token for read in question.reads})
        return self.asking.log_probs(tokens, wanted)
