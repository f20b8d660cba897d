"""Text generation as a judge needs it: one verb, `generate`, with a deterministic fake."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from icm_engine.core.rng import digest_of


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A text to be answered. `last_line` is how the last line of an answer begins, where known.

    A base model does not stop once it has answered; with `last_line` its generator ends the answer there.
    """

    text: str
    last_line: str = ""


@dataclass(frozen=True, slots=True)
class Generated:
    """An answer, its number of generated tokens, and whether it ended by itself or was cut off at `max_tokens`."""

    text: str
    tokens: int
    ended: bool


@dataclass(frozen=True, slots=True)
class GenerationUsage:
    """Cost of generation so far: requests, tokens read by the model, tokens generated."""

    requests: int = 0
    tokens_read: int = 0
    tokens_generated: int = 0

    def __add__(self, other: "GenerationUsage") -> "GenerationUsage":
        return GenerationUsage(
            self.requests + other.requests,
            self.tokens_read + other.tokens_read,
            self.tokens_generated + other.tokens_generated,
        )

    def __sub__(self, other: "GenerationUsage") -> "GenerationUsage":
        return GenerationUsage(
            self.requests - other.requests,
            self.tokens_read - other.tokens_read,
            self.tokens_generated - other.tokens_generated,
        )


class Generator(Protocol):
    """Anything that answers texts; every error is raised, none becomes an answer."""

    @property
    def usage(self) -> GenerationUsage:
        """The cost of all calls of `generate` so far."""

    def generate(
        self, requests: Sequence[GenerationRequest], max_tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> list[Generated]:
        """Return an answer to each request, in order.

        Temperature 0 always takes the most likely token. Otherwise the sample is a function of the seed and the request
        alone, so a request gets the same answer wherever it stands.
        """

    def describe(self) -> Mapping[str, object]:
        """Return facts for the record: model, dtype, device, prompt format."""


Reply = Callable[[GenerationRequest, int | None], str]


class TableGenerator:
    """The deterministic fake: answers depend on request and seed (None at temperature 0); words are tokens."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.usage = GenerationUsage()

    def generate(
        self, requests: Sequence[GenerationRequest], max_tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> list[Generated]:
        texts = [self._reply(request, seed if temperature else None) for request in requests]
        answers = [_cut(text, max_tokens) for text in texts]
        read = sum(len(request.text.split()) for request in requests)
        self.usage += GenerationUsage(len(requests), read, sum(answer.tokens for answer in answers))
        return answers

    def describe(self) -> Mapping[str, object]:
        return {"model": "fake", "form": "table"}


def _cut(text: str, max_tokens: int) -> Generated:
    words = text.split()
    if len(words) <= max_tokens:
        return Generated(text, len(words), True)
    return Generated(" ".join(words[:max_tokens]), max_tokens, False)


def stand_in_reply(request: GenerationRequest, seed: int | None) -> str:
    """Answer with one of the last lines that the request offers, chosen by a hash; with a list if it offers none."""
    offered = [line for line in request.text.splitlines() if request.last_line and line.startswith(request.last_line)]
    if not offered:
        return "- It says what is so.\n- It answers what was asked."
    digest = digest_of(seed, request.text)
    return f"This was thought about for a while.\n{offered[digest[0] % len(offered)]}"
