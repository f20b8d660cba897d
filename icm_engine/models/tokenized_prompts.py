"""Prompts as token ids that decode to the text shown; what fits the context; what encoding costs.

SentencePiece-style tokenizers (Llama 2, Mistral, TinyLlama, Phi-3) put a blank before any text, as if it began there.
So a piece that follows other text is tokenised after an *anchor*, a short text whose tokens are removed again. Which
anchor works, and whether one is needed, is found by tokenising and decoding a trial prompt.

Shared by all scorers that work on tokens; each brings its own source of tokens and its own encoder.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import chain, permutations
from typing import Any

from icm_engine.core.errors import LabelNotTokenizable, ModelNotUsable, PromptTooLong
from icm_engine.core.labeling import Label
from icm_engine.core.prompting import Prompt, Segment
from icm_engine.core.scoring import Usage
from icm_engine.models.prefix_tree import PrefixRequest, Tokens, build

Encode = Callable[[str], Tokens]
Decode = Callable[[Sequence[int]], str]
ANCHORS = ("\n", "☺", ".", "a")  # the first one most often precedes a piece
AFTER = "A"  # read after a piece of blanks and line ends
TRIAL = (
    "Question: What is 17 + 25?\nClaim: It is 42.\nI think this claim is", " True", "\n\n",
    "Question: Is it cold?\nClaim: (a) yes, it is.\nI think this claim is", " False", "\n\n",
    "Review: good, cheap\nSentiment:", " positive",
)  # fmt: skip
_BARS = r"<[|｜][^<>|｜\s]+[|｜]>"  # DeepSeek uses full-width bars
CONTROL = re.compile(_BARS)  # added tokens of this form are control tokens, marked as special or not
_NAMES = "s|bos|eos|eod|eot|pad|unk|mask|sep|cls|think|[a-z]+(?:_[a-z0-9]+)+"
ANY_CONTROL = re.compile(rf"{_BARS}|</?(?:{_NAMES})>|\[/?[A-Z_]{{2,20}}\]")  # where the control tokens are unknown


class TextReader:
    """Tokenises the pieces of prompts with a tokenizer given as two functions.

    `encode` returns the ids of a text alone, `decode` the text of ids, control tokens included. Text that `cut` matches
    would be encoded as control tokens, so it is read in two pieces as plain text. `name` is the tokenizer's, for
    messages; `far` says that each call costs a request. Raises ModelNotUsable if no way of reading pieces restores the
    trial text.
    """

    def __init__(
        self, encode: Encode, decode: Decode, name: str, cut: re.Pattern[str] | None = None, far: bool = False
    ) -> None:
        self._encode, self._decode, self._name, self._cut, self.far = encode, decode, name, cut, far
        self.anchors: tuple[str, ...] = ()
        self._natural = True  # whether texts at the beginning of a prompt are read as the tokenizer reads them alone
        self._choose()

    def begin(self, text: str) -> Tokens:
        """Return the ids of a text at the beginning of a prompt."""
        first, *others = plain_pieces(text, self._cut)
        return (*self._begun(first), *chain.from_iterable(map(self._behind, others)))

    def _begun(self, text: str) -> Tokens:
        """The ids of a piece at the beginning, where a blank may be taken for the one a tokenizer adds before texts.

        Metaspace adds none before a text that begins with a blank, yet decoding removes the first blank all the same;
        such a text gets one more.
        """
        ids = self._encode(text) if self._natural else self._behind(text)
        if not text.startswith(" ") or self._decode(ids) == text:
            return ids
        more = self._behind(" " + text)
        return more if self._decode(more) == text else ids

    def go_on(self, text: str) -> Tokens:
        """Return the ids of a text that follows another one. Raises ModelNotUsable if it has no ids of its own."""
        return self._between(text) or tuple(chain.from_iterable(map(self._behind, plain_pieces(text, self._cut))))

    def _between(self, text: str) -> Tokens:
        """The ids of blanks and line ends before a text; GPT-2's pattern splits them differently at an end.

        None for other texts, and where these ids cannot be told apart from the text's.
        """
        if not text.isspace():
            return ()
        both, after = self._behind(text + AFTER), self._behind(AFTER)
        return both[: len(both) - len(after)] if both[-len(after) :] == after else ()

    def _behind(self, text: str) -> Tokens:
        """The ids of a piece after an anchor, without the anchor's."""
        if not self.anchors:
            return self._encode(text)
        for anchor in self.anchors:
            before, both = self._encode(anchor), self._encode(anchor + text)
            if both[: len(before)] == before:
                return both[len(before) :]
        raise ModelNotUsable(
            f"tokenizer {self._name} reads {_short(text)} together with whatever stands before it, so that its tokens "
            "cannot be told apart: use another model"
        )

    def read_as(self, text: str) -> str:
        """Return what the ids of a following text stand for, normally the text itself."""
        return self.text_of(self.go_on(text))

    def text_of(self, ids: Sequence[int]) -> str:
        """Return the text of ids that follow others; decoded alone they may lose a first blank."""
        before = self.begin(TRIAL[0])
        return self._decode([*before, *ids])[len(self._decode(before)) :]

    def wanted(self, texts: Iterable[str]) -> list[str]:
        """Return the texts that `encode` will be asked for, so that they can be fetched together."""
        pieces = dict.fromkeys(piece for text in texts for piece in plain_pieces(text, self._cut))
        if not self.anchors:
            return list(pieces)
        anchor = self.anchors[0]
        return [anchor, *pieces, *(anchor + piece for piece in pieces)]

    def _choose(self) -> None:
        """Find a way to read pieces that restores the trial. Raises ModelNotUsable with both texts."""
        shown, said = "".join(TRIAL), ""
        for anchors in ((), *(ANCHORS[k:] + ANCHORS[:k] for k in range(len(ANCHORS)))):
            for self._natural in (True, False):
                self.anchors = anchors
                found = self._trial()
                if found == shown:
                    return
                said = said or found
        raise ModelNotUsable(
            f"tokenizer {self._name} does not reproduce its input, however it is split: {shown!r} becomes {said!r}; "
            "use a model whose tokenizer keeps every character"
        )

    def _trial(self) -> str:
        first, *others = TRIAL
        try:
            ids = [*self.begin(first), *chain.from_iterable(map(self.go_on, others))]
        except ModelNotUsable:
            return ""
        return self._decode(ids)


def plain_pieces(text: str, control: re.Pattern[str] | None) -> list[str]:
    """Return a text in pieces free of control tokens: each such token is cut after its first character.

    >>> plain_pieces("a <|end|> b", CONTROL)
    ['a <', '|end|> b']
    """
    cuts = [match.start() + 1 for match in control.finditer(text)] if control else []
    return [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def reader_of(tokenizer: Any, name: str) -> TextReader:
    """Return the reader of a transformers tokenizer. Raises ModelNotUsable."""

    def encode(text: str) -> Tokens:
        return tuple(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    # unmarked ones are kept; a Unigram model has the others as words
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in control_tokens(tokenizer)}
    kept = [token for token in ids if not set(ids.values()).isdisjoint(encode(token))]
    return TextReader(encode, decode, name, pattern_of(kept))


def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """Return the control tokens of a tokenizer: those marked as special, and added ones written like one."""
    added = tokenizer.added_tokens_decoder.values()
    marked = [token.content for token in added if token.special or CONTROL.fullmatch(token.content)]
    return tuple(dict.fromkeys([*tokenizer.all_special_tokens, *marked]))


def pattern_of(tokens: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern that finds these tokens, longest first; None if there are none."""
    found = sorted(filter(None, tokens), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, found))) if found else None


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")


READ_AGAIN = 2000  # texts of a run checked against the tokenizer
BESIDE = 10  # characters shown around a difference that is blank or empty


class PromptReader:
    """Turns prompts into requests; `beginning` is the segment before every prompt that is not whole, if any.

    `tokenize` reads a text with its control tokens; `reader` reads texts so that they decode to themselves, and is None
    for runs of version 1, which tokenised pieces one by one.
    """

    encoding: str
    tokenize: Callable[[str], Tokens]
    reader: TextReader | None = None
    control: re.Pattern[str] | None = None  # finds the tokenizer's control tokens in a text
    beginning: tuple[Tokens, ...] = ()
    remedy = "use fewer examples (--limit, or --batch-size), or shorter demonstrations"  # raises if one does not fit

    @property
    def context(self) -> int:
        """The number of tokens the model takes."""
        raise NotImplementedError

    def cost(self, prompts: Sequence[Prompt]) -> Usage:
        """Return what `score` would add to the usage, without running the model."""
        requests = self.requests(prompts)
        return Usage(
            len(prompts), sum(build(together).size for together in self.together(requests)), full_tokens(requests)
        )

    def count_tokens(self, prompts: Iterable[Prompt]) -> list[int]:
        """Return the tokens of each prompt with its longest label, which the context must hold."""
        return [longest(request) for request in self.requests(list(prompts))]

    def check_fits(self, prompts: Iterable[Prompt]) -> None:
        """Raise PromptTooLong if a prompt with its longest label does not fit the context."""
        some = list(prompts)
        self.require_context(some, self.requests(some))

    def require_context(self, prompts: Sequence[Prompt], requests: Sequence[PrefixRequest]) -> None:
        """Raise PromptTooLong with the numbers for the first request that does not fit."""
        for prompt, request in zip(prompts, requests, strict=True):
            if (tokens := longest(request)) > self.context:
                raise PromptTooLong(
                    f"prompt has {tokens:,} tokens ({len(prompt.segments) - 1} demonstrations), the model takes "
                    f"{self.context:,}: {self.remedy}"
                )

    def requests(self, prompts: Sequence[Prompt]) -> list[PrefixRequest]:
        """Return the prompts as token ids, by number, with their labels' tokens."""
        return [
            PrefixRequest(number, self.segments(prompt), dict(enumerate(self.label_tokens(prompt.labels, prompt.lead))))
            for number, prompt in enumerate(prompts)
        ]

    def together(self, requests: Sequence[PrefixRequest]) -> list[list[PrefixRequest]]:
        """Return requests grouped by shared encoding: all in one group, or with full prompts each alone."""
        if self.encoding == "prefix-tree":
            return [list(requests)]
        return [[single] for request in requests for single in request.alone()]

    def label_tokens(self, labels: tuple[Label, ...], lead: str = " ") -> tuple[Tokens, ...]:
        """Return the tokens of each label. Raises LabelNotTokenizable if they do not distinguish the labels."""
        return self._label_tokens(labels, lead)

    @cached_property
    def _label_tokens(self) -> Callable[[tuple[Label, ...], str], tuple[Tokens, ...]]:
        # of the reader, not of its class: that would hold every model that was ever loaded
        return lru_cache(maxsize=64)(self._told_apart)

    def _told_apart(self, labels: tuple[Label, ...], lead: str) -> tuple[Tokens, ...]:
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
        """Return the prompt as the model reads it: one tuple of token ids per segment."""
        if prompt.whole:
            return [self._whole(prompt.text, prompt.user)]
        first, others = prompt.segments[:1], prompt.segments[1:]
        return [*self.beginning, *map(self.opening, first), *map(self.segment, others)]

    @cached_property
    def segment(self) -> Callable[[Segment], Tokens]:
        """Token ids of a segment, piece by piece: a text has the same tokens as query and as demonstration."""
        return lru_cache(maxsize=200_000)(lambda segment: self._pieces(segment, self.piece))

    @cached_property
    def opening(self) -> Callable[[Segment], Tokens]:
        """Token ids of a segment at the beginning of a prompt, which some tokenizers mark."""
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
        """Token ids of a text with control tokens, and of user text within it, which must have none."""
        before, found, after = text.partition(user) if user else ("", "", "")
        if self.reader is None or not found or self.control is None or not self.control.search(user):
            return self.tokenize(text)
        match = self.control.search(after)  # what precedes it follows the user's text
        plain, rest = (after[: match.start()], after[match.start() :]) if match else (after, "")
        return (*self.tokenize(before), *self.reader.go_on(user), *self.reader.go_on(plain), *self.tokenize(rest))

    def reading(self, texts: Iterable[str]) -> dict[str, object]:
        """Return how texts are read: how many contain control tokens, and how many others change.

        Changes are checked for the first texts only, and not where each check costs a request.
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


def longest(request: PrefixRequest) -> int:
    """Tokens of a prompt with its longest continuation."""
    return sum(map(len, request.segments)) + max(map(len, request.continuations.values()), default=0)


def full_tokens(requests: Iterable[PrefixRequest]) -> int:
    """Tokens of all prompts if each were encoded separately."""
    return sum(len(part) for request in requests for part in request.segments)


def difference(text: str, read: str) -> tuple[str, str]:
    """Return the part of a text that is read differently, and what is read instead.

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
