"""Prompts as a model reads them: token ids segment by segment, what must fit its context, what encoding them costs.

What scorers that work on tokens have in common; where the tokens come from and who encodes them is theirs.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import chain, permutations

from icm_engine.core.errors import LabelNotTokenizable, PromptTooLong
from icm_engine.core.labeling import Label
from icm_engine.core.prompting import Prompt, Segment
from icm_engine.core.scoring import Usage
from icm_engine.models.prefix_tree import Request, Tokens, build
from icm_engine.models.text_reader import TextReader

READ_AGAIN = 2000  # texts of a run that are compared with what the tokenizer makes of them
BESIDE = 10  # characters shown on both sides of a difference that is a blank, or nothing


class PromptReader:
    """Turns prompts into requests; `beginning` is the segment before every prompt that is not whole, if any.

    `tokenize` takes a text as it stands, control tokens in it too; `reader` reads texts so that they decode to
    themselves, and is None for runs of version 1, whose pieces were tokenised one by one.
    """

    encoding: str
    tokenize: Callable[[str], Tokens]
    reader: TextReader | None = None
    control: re.Pattern[str] | None = None  # finds the tokenizer's control tokens in a text
    beginning: tuple[Tokens, ...] = ()
    remedy = "use fewer examples (--limit, or --batch-size), or shorter demonstrations"  # if one does not fit

    @property
    def context(self) -> int:
        """The number of tokens that the model takes."""
        raise NotImplementedError

    def cost(self, prompts: Sequence[Prompt]) -> Usage:
        """Return what `score` would add to the usage for these prompts, without running the model."""
        requests = self.requests(prompts)
        return Usage(len(prompts), sum(build(together).size for together in self.together(requests)),
                     full_tokens(requests))  # fmt: skip

    def count_tokens(self, prompts: Iterable[Prompt]) -> list[int]:
        """Return the tokens of each prompt with its longest label: what the context must hold."""
        return [longest(request) for request in self.requests(list(prompts))]

    def check_fits(self, prompts: Iterable[Prompt]) -> None:
        """Raise PromptTooLong if a prompt with its longest label does not fit the context."""
        some = list(prompts)
        self.require_context(some, self.requests(some))

    def require_context(self, prompts: Sequence[Prompt], requests: Sequence[Request]) -> None:
        """Raise PromptTooLong with the numbers for the first request that does not fit."""
        for prompt, request in zip(prompts, requests, strict=True):
            if (tokens := longest(request)) > self.context:
                raise PromptTooLong(
                    f"prompt has {tokens:,} tokens ({len(prompt.segments) - 1} demonstrations), the model takes "
                    f"{self.context:,}: {self.remedy}"
                )

    def requests(self, prompts: Sequence[Prompt]) -> list[Request]:
        """Return the prompts as token ids, by number, with the tokens of their labels."""
        return [
            Request(number, self.segments(prompt), dict(enumerate(self.label_tokens(prompt.labels, prompt.lead))))
            for number, prompt in enumerate(prompts)
        ]

    def together(self, requests: Sequence[Request]) -> list[list[Request]]:
        """Return which requests share what they have in common: all of them, or with full prompts none."""
        if self.encoding == "prefix-tree":
            return [list(requests)]
        return [[single] for request in requests for single in request.alone()]

    @lru_cache(maxsize=64)  # noqa: B019 - a scorer lives as long as its worker
    def label_tokens(self, labels: tuple[Label, ...], lead: str = " ") -> tuple[Tokens, ...]:
        """Return the tokens of each label. Raises LabelNotTokenizable if they do not tell the labels apart."""
        tokens = tuple(self.piece(lead + label) for label in labels)
        if empty := [label for label, ids in zip(labels, tokens, strict=True) if not ids]:
            raise LabelNotTokenizable(f"label {empty[0]!r} becomes no token with this tokenizer: use another label")
        for (a, short), (b, long) in permutations(zip(labels, tokens, strict=True), 2):
            if long[: len(short)] == short:
                raise LabelNotTokenizable(
                    f"the tokens of label {b!r} begin with those of {a!r}: their probabilities cannot be told "
                    "apart; use other labels"
                )
        return tokens

    def segments(self, prompt: Prompt) -> list[Tokens]:
        """Return the prompt as the model reads it: one tuple of token ids a segment."""
        if prompt.whole:
            return [self._whole(prompt.text, prompt.user)]
        first, others = prompt.segments[:1], prompt.segments[1:]
        return [*self.beginning, *map(self.opening, first), *map(self.segment, others)]

    @cached_property
    def segment(self) -> Callable[[Segment], Tokens]:
        """Token ids of a segment, piece by piece: a query and the same text as a demonstration are the same tokens."""
        return lru_cache(maxsize=200_000)(lambda segment: self._pieces(segment, self.piece))

    @cached_property
    def opening(self) -> Callable[[Segment], Tokens]:
        """Token ids of a segment at the beginning of a prompt, where some tokenizers mark that a text begins."""
        if self.reader is None:
            return self.segment
        begin = self.reader.begin
        return lru_cache(maxsize=20_000)(lambda segment: self._pieces(segment, begin))

    def _pieces(self, segment: Segment, first: Callable[[str], Tokens]) -> Tokens:
        tokens = [first(piece) if place == 0 else self.piece(piece) for place, piece in enumerate(segment)]
        return tuple(chain.from_iterable(tokens))

    @cached_property
    def piece(self) -> Callable[[str], Tokens]:
        """Token ids of a text that follows another one."""
        return self.tokenize if self.reader is None else lru_cache(maxsize=200_000)(self.reader.go_on)

    def _whole(self, text: str, user: str) -> Tokens:
        """Token ids of a text with control tokens, and of what a user wrote in it, which is to have none."""
        before, found, after = text.partition(user) if user else ("", "", "")
        if self.reader is None or not found or self.control is None or not self.control.search(user):
            return self.tokenize(text)
        match = self.control.search(after)  # what stands before it follows the user's text, and begins none
        plain, rest = (after[: match.start()], after[match.start() :]) if match else (after, "")
        return (*self.tokenize(before), *self.reader.go_on(user), *self.reader.go_on(plain), *self.tokenize(rest))

    def reading(self, texts: Iterable[str]) -> dict[str, object]:
        """Return what to know of how texts are read: how many have control tokens, and how many others are changed.

        Whether a text is changed is found for the first ones only, and not where each costs a request.
        """
        if self.reader is None:
            return {}
        some, told = list(texts), dict[str, object]()
        matches = [match[0] for text in some if self.control and (match := self.control.search(text))]
        tried = [] if self.reader.far else some[:READ_AGAIN]
        changed = [(text, found) for text in tried if (found := self.reader.read_as(text)) != text]
        if matches:
            told["control_tokens"] = {"texts": len(matches), "of": len(some), "first": matches[0]}
        if changed:
            told["read_otherwise"] = {"texts": len(changed), "of": len(tried), "first": list(difference(*changed[0]))}
        return told


def longest(request: Request) -> int:
    """Tokens of the prompt with its longest continuation."""
    return sum(map(len, request.segments)) + max(map(len, request.continuations.values()), default=0)


def full_tokens(requests: Iterable[Request]) -> int:
    """The tokens of every prompt as if each were read by itself."""
    return sum(len(part) for request in requests for part in request.segments)


def difference(text: str, read: str) -> tuple[str, str]:
    """Return where a text differs from what is read, from the first difference to the last.

    >>> difference("A ﬁne day", "A fine day")
    ('ﬁ', 'fi')
    >>> difference("two  spaces", "two spaces")
    ('two  spaces', 'two spaces')
    """
    most = min(len(text), len(read))
    before = next((k for k in range(most) if text[k] != read[k]), most)
    after = next((k for k in range(most - before) if text[-1 - k] != read[-1 - k]), most - before)
    parts = text[before : len(text) - after], read[before : len(read) - after]
    if all(map(str.strip, parts)):
        return parts
    before, after = max(0, before - BESIDE), max(0, after - BESIDE)
    return text[before : len(text) - after], read[before : len(read) - after]
