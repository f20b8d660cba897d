"""The model edge: one verb, `score`, with a deterministic fake."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol, runtime_checkable

from icm_engine.core.errors import ScoreNotFinite
from icm_engine.core.labeling import Label
from icm_engine.core.prompting import Prompt


@dataclass(frozen=True)
class LabelLogProbs:
    """Natural log-probabilities of the label strings after one prompt, unnormalised.

    `raw[k]` belongs to the k-th label of the task; a label of several tokens has the sum over its tokens.
    """

    raw: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in self.raw):
            raise ScoreNotFinite(
                f"the model gave label log-probabilities {self.raw}: a run cannot continue with these; "
                "try quantization none, or another dtype"
            )

    @cached_property
    def log_mass(self) -> float:
        """Log of the probability on the labels before renormalising; if small, the template does not fit."""
        top = max(self.raw)
        return top + math.log(sum(math.exp(value - top) for value in self.raw))

    @property
    def mass(self) -> float:
        """Probability on the labels before renormalising, in (0, 1]."""
        return math.exp(self.log_mass)

    @cached_property
    def normalized(self) -> tuple[float, ...]:
        """Log-probabilities renormalised over the labels."""
        return tuple(value - self.log_mass for value in self.raw)

    @property
    def argmax(self) -> int:
        """Index of the most likely label; the first of a tie."""
        return self.raw.index(max(self.raw))

    def margin(self, k: int) -> float:
        """Return the log-probability of label k minus that of the best other label; negative if another is likelier."""
        return self.raw[k] - max(value for other, value in enumerate(self.raw) if other != k)


@dataclass(frozen=True, slots=True)
class Usage:
    """Cost of scoring so far: prompts, tokens encoded, and the tokens of separate full prompts."""

    prompts: int = 0
    tokens_encoded: int = 0
    tokens_full: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompts + other.prompts,
            self.tokens_encoded + other.tokens_encoded,
            self.tokens_full + other.tokens_full,
        )

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompts - other.prompts,
            self.tokens_encoded - other.tokens_encoded,
            self.tokens_full - other.tokens_full,
        )


@dataclass(frozen=True, slots=True)
class Retries:
    """How often requests were retried, and the latest reason; no score depends on it."""

    count: int = 0
    why: str = ""


@runtime_checkable
class HasRetries(Protocol):
    """A scorer that retries requests."""

    @property
    def retries(self) -> Retries:
        """The retries so far."""


def retries_of(scorer: object) -> Retries:
    """Return a scorer's retries; none for a scorer that never retries."""
    return scorer.retries if isinstance(scorer, HasRetries) else Retries()


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """The most tokens a model reads per call, and why it is less than at first (empty: it is not).

    Scores depend on it slightly: a sum taken in other parts is rounded differently.
    """

    tokens: int
    why: str = ""


class Kernel(NamedTuple):
    """How a model on this machine is called: the name of its attention, and the tokens per call to begin with.

    Another one rounds differently, so a run keeps the one that it began with.
    """

    attention: str
    tokens: int


@runtime_checkable
class HasTokenBudget(Protocol):
    """A scorer that reduces tokens per call when memory runs out, and can be told where to begin."""

    @property
    def calls(self) -> TokenBudget:
        """The current token budget per call."""

    def begin_calls(self, tokens: int | None, kernel: Kernel | None = None) -> None:
        """Use this kernel from now on, with that many tokens per call; None for what the scorer chose, and for the
        kernel's number. A kernel that this model or machine does not have leaves the scorer's own.
        """


def calls_of(scorer: object) -> TokenBudget:
    """Return a scorer's current token budget; zero tokens for a scorer without one."""
    return scorer.calls if isinstance(scorer, HasTokenBudget) else TokenBudget(0)


def begin_calls(scorer: object, tokens: int | None, kernel: Kernel | None = None) -> None:
    """Tell a scorer how many tokens per call to begin with, and with which kernel, if it has such a budget."""
    if isinstance(scorer, HasTokenBudget):
        scorer.begin_calls(tokens, kernel)


@runtime_checkable
class KeepsPrefix(Protocol):
    """A scorer that keeps the first `kept` segments of prompts encoded from call to call.

    A scorer that has lost them encodes them again, to the same digits; only `keep` counts their tokens, so the cost on
    record does not depend on interruptions.
    """

    def keep(self, prompt: Prompt, before: Prompt | None) -> None:
        """Add to the usage what encoding the prompt's kept segments costs after those of `before`, if any."""


@runtime_checkable
class HasReading(Protocol):
    """A scorer that can report how its model reads texts."""

    def reading(self, texts: Iterable[str]) -> Mapping[str, object]:
        """Return how many of the texts contain control tokens, and how many are read as another text; {} if none."""


def reading_of(scorer: object, texts: Iterable[str]) -> Mapping[str, object]:
    """Return how a scorer's model reads these texts; nothing if there is nothing to report."""
    return scorer.reading(texts) if isinstance(scorer, HasReading) else {}


class Scorer(Protocol):
    """Anything that gives label log-probabilities for prompts; every error is raised, none becomes a number."""

    @property
    def usage(self) -> Usage:
        """The cost of all calls of `score` so far."""

    def score(self, prompts: Sequence[Prompt]) -> list[LabelLogProbs]:
        """Return, for each prompt in order, the log-probability of each of its labels."""

    def check_fits(self, prompts: Iterable[Prompt]) -> None:
        """Raise PromptTooLong if one of the prompts does not fit the model's context."""

    def count_tokens(self, prompts: Iterable[Prompt]) -> list[int]:
        """Return the tokens of each prompt with its longest label, which the context must hold."""

    def cost(self, prompts: Sequence[Prompt]) -> Usage:
        """Return what `score` would cost, without running the model."""

    def describe(self) -> Mapping[str, object]:
        """Return facts for the run's record: model, dtype, device, how prompts are encoded and why."""


Belief = Callable[[Prompt], tuple[float, ...]]


class TableScorer:
    """The deterministic fake: label log-probabilities are a function of the prompt; words count as tokens."""

    def __init__(self, belief: Belief) -> None:
        self._belief = belief
        self.usage = Usage()

    def score(self, prompts: Sequence[Prompt]) -> list[LabelLogProbs]:
        self.usage += self.cost(prompts)
        return [LabelLogProbs(self._belief(prompt)) for prompt in prompts]

    def check_fits(self, prompts: Iterable[Prompt]) -> None:
        """Do nothing: a table has no context limit."""

    def count_tokens(self, prompts: Iterable[Prompt]) -> list[int]:
        return [len(prompt.text.split()) + max(len(label.split()) for label in prompt.labels) for prompt in prompts]

    def cost(self, prompts: Sequence[Prompt]) -> Usage:
        words = sum(len(prompt.text.split()) for prompt in prompts)
        return Usage(len(prompts), words, words)

    def describe(self) -> Mapping[str, object]:
        return {"model": "fake", "encoding": "table"}


def no_scorer() -> "TableScorer":
    """Return a scorer for work without scoring, such as a replay; it raises if called."""

    def refuse(prompt: Prompt) -> tuple[float, ...]:
        raise AssertionError(f"scoring is not possible here, but a score was requested: {prompt.text[-60:]!r}")

    return TableScorer(refuse)


def agreeable_belief(prompt: Prompt) -> tuple[float, ...]:
    """A stand-in belief: labels that agree with a hash of the text, more strongly with more demonstrations.

    It knows one hidden labeling of all texts (the hash) and becomes surer of it as demonstrations agree with it.
    """
    labels = prompt.labels
    agreeing = sum(_hidden(demo[0], labels) == demo[1].strip() for demo in prompt.segments[:-1])
    weight = 1.0 + 4.0 * agreeing / len(prompt.segments)
    hidden = _hidden(prompt.segments[-1][0], labels)
    logits = [weight if label == hidden else 0.0 for label in labels]
    total = math.log(sum(math.exp(logit) for logit in logits)) + 0.01  # leaves 1 % of the mass elsewhere
    return tuple(logit - total for logit in logits)


@lru_cache(maxsize=4096)  # a text occurs in every prompt but its own
def _hidden(text: str, labels: tuple[Label, ...]) -> Label:
    return labels[hashlib.sha256(text.encode()).digest()[0] % len(labels)]
