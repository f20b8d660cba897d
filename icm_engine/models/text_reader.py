"""Texts as token ids, piece by piece, such that the ids of a prompt decode to the text that people are shown.

A tokenizer in the style of SentencePiece puts a blank before whatever it is given, as if a text began there (Llama 2,
Mistral, TinyLlama, Phi-3). So a piece that follows other text is read behind an *anchor*, a short text whose tokens are
taken off again. Which anchor works, and whether one is needed, is found by reading and decoding a trial prompt.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from icm_engine.core.errors import ModelNotUsable
from icm_engine.models.prefix_tree import Tokens

Encode = Callable[[str], Tokens]
Decode = Callable[[Sequence[int]], str]
ANCHORS = ("\n", "☺", ".", "a")  # the first is what stands before a piece most often
AFTER = "A"  # what a piece of blanks and line ends is read before
TRIAL = (
    "Question: What is 17 + 25?\nClaim: It is 42.\nI think this claim is", " True", "\n\n",
    "Question: Is it cold?\nClaim: (a) yes, it is.\nI think this claim is", " False", "\n\n",
    "Review: good, cheap\nSentiment:", " positive",
)  # fmt: skip
_BARS = r"<[|｜][^<>|｜\s]+[|｜]>"  # DeepSeek writes them wide
CONTROL = re.compile(_BARS)  # an added token of this form is for control, marked as special or not
_NAMES = "s|bos|eos|eod|eot|pad|unk|mask|sep|cls|think|[a-z]+(?:_[a-z0-9]+)+"
ANY_CONTROL = re.compile(rf"{_BARS}|</?(?:{_NAMES})>|\[/?[A-Z_]{{2,20}}\]")  # where nobody says which there are


class TextReader:
    """Reads the pieces of prompts with a tokenizer that is given as two functions.

    `encode` returns the ids of a text with nothing put around it, `decode` the text of ids, control tokens in it. What
    `cut` matches, `encode` would take for control tokens: it is read as plain text, in two pieces. `name` is the
    tokenizer's, for messages; `far` says that each call of the two costs a request. Raises ModelNotUsable where no way
    to read pieces gives back the text of the trial.
    """

    def __init__(
        self, encode: Encode, decode: Decode, name: str, cut: re.Pattern[str] | None = None, far: bool = False
    ) -> None:
        self._encode, self._decode, self._name, self._cut, self.far = encode, decode, name, cut, far
        self.anchors: tuple[str, ...] = ()
        self._natural = True  # whether a text is read at the beginning of a prompt as the tokenizer does by itself
        self._choose()

    def begin(self, text: str) -> Tokens:
        """Return the ids of a text that stands at the beginning of a prompt."""
        first, *others = plain_pieces(text, self._cut)
        return (*self._begun(first), *chain.from_iterable(map(self._behind, others)))

    def _begun(self, text: str) -> Tokens:
        """The ids of a piece at the beginning. A blank there may count as the one that a tokenizer puts before texts.

        Metaspace puts none before a text that begins with one, and the first blank is taken off in decoding all the
        same: such a text gets one more.
        """
        ids = self._encode(text) if self._natural else self._behind(text)
        if not text.startswith(" ") or self._decode(ids) == text:
            return ids
        more = self._behind(" " + text)
        return more if self._decode(more) == text else ids

    def go_on(self, text: str) -> Tokens:
        """Return the ids of a text that follows another one. Raises ModelNotUsable where it has none of its own."""
        return self._between(text) or tuple(chain.from_iterable(map(self._behind, plain_pieces(text, self._cut))))

    def _between(self, text: str) -> Tokens:
        """The ids of blanks and line ends before a text, which GPT-2's pattern reads otherwise than at an end.

        None for other texts, and where they cannot be told apart from the text's.
        """
        if not text.isspace():
            return ()
        both, after = self._behind(text + AFTER), self._behind(AFTER)
        return both[: len(both) - len(after)] if both[-len(after) :] == after else ()

    def _behind(self, text: str) -> Tokens:
        """The ids of a piece behind an anchor, without the anchor's."""
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
        """Return what the ids of a text that follows another one stand for: the text itself, as a rule."""
        return self.text_of(self.go_on(text))

    def text_of(self, ids: Sequence[int]) -> str:
        """Return what ids stand for that follow others: what decodes by itself may lose its first blank."""
        before = self.begin(TRIAL[0])
        return self._decode([*before, *ids])[len(self._decode(before)) :]

    def wanted(self, texts: Iterable[str]) -> list[str]:
        """Return what is asked of `encode` to read these texts, so that it can be had together."""
        pieces = dict.fromkeys(piece for text in texts for piece in plain_pieces(text, self._cut))
        if not self.anchors:
            return list(pieces)
        anchor = self.anchors[0]
        return [anchor, *pieces, *(anchor + piece for piece in pieces)]

    def _choose(self) -> None:
        """Find how pieces are read so that they decode to the trial. Raises ModelNotUsable with both texts."""
        shown, said = "".join(TRIAL), ""
        for anchors in ((), *(ANCHORS[k:] + ANCHORS[:k] for k in range(len(ANCHORS)))):
            for self._natural in (True, False):
                self.anchors = anchors
                found = self._trial()
                if found == shown:
                    return
                said = said or found
        raise ModelNotUsable(
            f"tokenizer {self._name} does not give back what it reads, in whatever pieces: {shown!r} becomes {said!r}; "
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
    """Return a text in pieces that have no control token: each token is cut behind its first character.

    >>> plain_pieces("a <|end|> b", CONTROL)
    ['a <', '|end|> b']
    """
    cuts = [match.start() + 1 for match in control.finditer(text)] if control else []
    return [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def reader_of(tokenizer: Any, name: str) -> TextReader:
    """Return the reader of a tokenizer of transformers. Raises ModelNotUsable."""

    def encode(text: str) -> Tokens:
        return tuple(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    # one that is not marked as special is kept, and the lattice of a Unigram model has the others as words
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in control_tokens(tokenizer)}
    kept = [token for token in ids if not set(ids.values()).isdisjoint(encode(token))]
    return TextReader(encode, decode, name, pattern_of(kept))


def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """Return the control tokens of a tokenizer: those it marks as special, and added ones that are written like one."""
    added = tokenizer.added_tokens_decoder.values()
    marked = [token.content for token in added if token.special or CONTROL.fullmatch(token.content)]
    return tuple(dict.fromkeys([*tokenizer.all_special_tokens, *marked]))


def pattern_of(tokens: Iterable[str]) -> re.Pattern[str] | None:
    """Return what finds these tokens in a text, the longest first; None where there are none."""
    found = sorted(filter(None, tokens), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, found))) if found else None


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
