"""The model edge as the search sees it: one verb, `score`, and a deterministic fake that ships with it."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol, runtime_checkable

from icm_engine.core.errors import ScoreNotFinite
from icm_engine.core.labeling import Label
from icm_engine.core.prompting import Prompt


@dataclass(frozen=True)
class LabelLogProbs:
    """Natural-log probabilities of the label strings after one prompt, as the model gave them.

    `raw[k]` belongs to the k-th label of the task; a label of several tokens has the sum of theirs.
    """

    raw: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in self.raw):
            raise ScoreNotFinite(
                f"the model gave label log-probabilities {self.raw}: a run cannot go on with these; "
                "try quantization none, or another dtype"
            )

    @cached_property
    def log_mass(self) -> float:
        """Log of the probability that fell on the labels before renormalising; small: the template does not fit."""
        top = max(self.raw)
        return top + math.log(sum(math.exp(value - top) for value in self.raw))

    @property
    def mass(self) -> float:
        """Probability that fell on the labels before renormalising, in (0, 1]."""
        return math.exp(self.log_mass)

    @cached_property
    def normalized(self) -> tuple[float, ...]:
        """Log-probabilities renormalised over the labels."""
        return tuple(value - self.log_mass for value in self.raw)

    @property
    def argmax(self) -> int:
        """Index of the likeliest label; the first one of a tie."""
        return self.raw.index(max(self.raw))

    def margin(self, k: int) -> float:
        """Return the log-probability of label k minus that of the best other label; below 0 another one is likelier."""
        return self.raw[k] - max(value for other, value in enumerate(self.raw) if other != k)


@dataclass(frozen=True, slots=True)
class Usage:
    """What scoring has cost so far: prompts asked for, tokens the model saw, tokens full prompts would have been."""

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
    """How often something was asked again, and why the last time: circumstances, which no score depends on."""

    count: int = 0
    why: str = ""


@runtime_checkable
class HasRetries(Protocol):
    """A scorer that asks again what can be asked again."""

    @property
    def retries(self) -> Retries:
        """What was asked again so far."""


def retries_of(scorer: object) -> Retries:
    """Return what a scorer has asked again so far; nothing for one that never does."""
    return scorer.retries if isinstance(scorer, HasRetries) else Retries()


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """How many tokens a model reads at once at most, and why these are fewer than it began with (empty: they are not).

    The digits of a score depend on it, if little: a sum taken in other parts is rounded otherwise.
    """

    tokens: int
    why: str = ""


@runtime_checkable
class HasTokenBudget(Protocol):
    """A scorer that reads fewer tokens at once when memory runs out, and can be told with how many to begin."""

    @property
    def calls(self) -> TokenBudget:
        """The calls it makes now."""

    def begin_calls(self, tokens: int | None) -> None:
        """Read so many tokens at once from now on; None for as many as it is made for."""


def calls_of(scorer: object) -> TokenBudget:
    """Return the calls a scorer makes now; for one whose calls have one size, of no tokens."""
    return scorer.calls if isinstance(scorer, HasTokenBudget) else TokenBudget(0)


def begin_calls(scorer: object, tokens: int | None) -> None:
    """Tell a scorer with how many tokens at once to begin, where that is a question."""
    if isinstance(scorer, HasTokenBudget):
        scorer.begin_calls(tokens)


@runtime_checkable
class HasReading(Protocol):
    """A scorer that can say how a model reads texts."""

    def reading(self, texts: Iterable[str]) -> Mapping[str, object]:
        """Return how many of the texts have control tokens, and how many are read as another text; {} for none."""


def reading_of(scorer: object, texts: Iterable[str]) -> Mapping[str, object]:
    """Return what to know of how a scorer's model reads texts; nothing where there is nothing to know."""
    return scorer.reading(texts) if isinstance(scorer, HasReading) else {}


class Scorer(Protocol):
    """Anything that gives label log-probabilities for prompts; every error is raised, none becomes a number."""

    @property
    def usage(self) -> Usage:
        """What all calls of `score` so far have cost."""

    def score(self, prompts: Sequence[Prompt]) -> list[LabelLogProbs]:
        """Return, for each prompt in order, the log-probability of each of its labels."""

    def check_fits(self, prompts: Iterable[Prompt]) -> None:
        """Raise PromptTooLong if one of the prompts does not fit the model's context."""

    def count_tokens(self, prompts: Iterable[Prompt]) -> list[int]:
        """Return the tokens of each prompt with its longest label: what the context must hold."""

    def cost(self, prompts: Sequence[Prompt]) -> Usage:
        """Return what `score` would cost, without running the model."""

    def describe(self) -> Mapping[str, object]:
        """Return facts for the run's record: model, dtype, device, how prompts are encoded and why."""


Belief = Callable[[Prompt], tuple[float, ...]]


class TableScorer:
    """The deterministic fake: label log-probabilities from a function of the prompt, words counted as tokens."""

    def __init__(self, belief: Belief) -> None:
        self._belief = belief
        self.usage = Usage()

    def score(self, prompts: Sequence[Prompt]) -> list[LabelLogProbs]:
        self.usage += self.cost(prompts)
        return [LabelLogProbs(self._belief(prompt)) for prompt in prompts]

    def check_fits(self, prompts: Iterable[Prompt]) -> None:
        """A table has no context to exceed."""

    def count_tokens(self, prompts: Iterable[Prompt]) -> list[int]:
        return [len(prompt.text.split()) + max(len(label.split()) for label in prompt.labels) for prompt in prompts]

    def cost(self, prompts: Sequence[Prompt]) -> Usage:
        words = sum(len(prompt.text.split()) for prompt in prompts)
        return Usage(len(prompts), words, words)

    def describe(self) -> Mapping[str, object]:
        return {"model": "fake", "encoding": "table"}


def no_scorer() -> "TableScorer":
    """Return a scorer for work that asks for no score, such as a replay; if it is asked, it raises."""

    def refuse(prompt: Prompt) -> tuple[float, ...]:
        raise AssertionError(f"nothing was to be scored here, and a score was asked for: {prompt.text[-60:]!r}")

    return TableScorer(refuse)


def agreeable_belief(prompt: Prompt) -> tuple[float, ...]:
    """Believe labels that agree with a hash of the text, the more demonstrations do: a stand-in for a model.

    It knows one hidden labeling of all texts (the hash) and becomes surer of it as demonstrations agree with it.
    """
    labels = prompt.labels
    agreeing = sum(_hidden(demo[0], labels) == demo[1].strip() for demo in prompt.segments[:-1])
    weight = 1.0 + 4.0 * agreeing / len(prompt.segments)
    hidden = _hidden(prompt.segments[-1][0], labels)
    logits = [weight if label == hidden else 0.0 for label in labels]
    total = math.log(sum(math.exp(logit) for logit in logits)) + 0.01  # leaves 1 % of the mass elsewhere
    return tuple(logit - total for logit in logits)


@lru_cache(maxsize=4096)  # a text stands in every prompt but its own
def _hidden(text: str, labels: tuple[Label, ...]) -> Label:
    return labels[hashlib.sha256(text.encode()).digest()[0] % len(labels)]
