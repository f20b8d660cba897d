"""Small tokenizers of every family that causal language models come with, trained here on a few lines."""

import json
import string
from collections.abc import Callable
from functools import cache
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaTokenizer
from transformers import PreTrainedTokenizerFast as Made

TEXTS = [
    "Question: What is 17 + 25?\nClaim: It is 42.\nI think this claim is True\n\n",
    "Review: The food was good and cheap.\nSentiment: positive\n\nReview: bad, cold negative False\n\n",
    "Ünïcode — “quotes”, 数字 🙂  two  spaces\tand a tab\n  indented\n",
] * 4
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
LINES = pre_tokenizers.Split(Regex(r"\n+"), "isolated")


def _sentencepiece(normalizer: Any, pre_tokenizer: Any, strips: bool) -> Made:
    """BPE over characters with ▁ for blanks and bytes for what it does not know, as SentencePiece makes it.

    No merge crosses a blank or a line's end, as in its models.
    """
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([LINES, pre_tokenizers.Metaspace()])
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>", "<s>", "</s>", *BYTES], show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer = without_bytes_among_the_added(tokenizer)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strips else steps)
    return Made(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def without_bytes_among_the_added(tokenizer: Tokenizer) -> Tokenizer:
    """The trainer takes the bytes for control tokens; in a model they are words like all others."""
    told = json.loads(tokenizer.to_str())
    told["added_tokens"] = [token for token in told["added_tokens"] if token["content"] not in BYTES]
    return Tokenizer.from_str(json.dumps(told))


def _legacy() -> Made:
    """The class of Llama itself, told to behave as it first did."""
    told = json.loads(_sentencepiece(None, None, True).backend_tokenizer.to_str())["model"]
    return LlamaTokenizer(told["vocab"], [tuple(pair) for pair in told["merges"]], legacy=True)


def _byte_level(pattern: str | None = None, prefix: bool = False, added: tuple[AddedToken, ...] = ()) -> Made:
    """BPE over bytes, split by this pattern or else by GPT-2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    if pattern is not None:
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytewise])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_tokens(list(added))
    return Made(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def _unigram() -> Made:
    """The likeliest pieces, chosen over the whole text, as in the T5 family and XGLM; line ends are kept here."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([LINES, pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False,
        initial_alphabet=sorted({*string.printable, *"".join(TEXTS), "é"}),
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.pre_tokenizer = _metaspace("always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return Made(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _blanks(*before: object) -> object:
    return normalizers.Sequence([*before, normalizers.Replace(" ", "▁")])


def _metaspace(scheme: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)


CHAT = tuple(AddedToken(text, special=text != "<|tool|>", normalized=False) for text in ("<|im_end|>", "<|tool|>"))
_MAKERS: dict[str, Callable[[], Made]] = {
    "Prepend normaliser (Llama 2, TinyLlama, Mistral, Phi-3)": lambda: _sentencepiece(
        _blanks(normalizers.Prepend("▁")), None, strips=True
    ),
    "Metaspace first (Llama 2 converted anew, Mistral v3)": lambda: _sentencepiece(None, _metaspace("first"), True),
    "Metaspace always (older conversions)": lambda: _sentencepiece(None, _metaspace("always"), True),
    "legacy class (LlamaTokenizer)": _legacy,
    "Unigram (XGLM)": _unigram,
    "no dummy prefix (Gemma)": lambda: _sentencepiece(_blanks(), None, strips=False),
    "byte level, GPT-2's pattern (GPT-2, SmolLM2, OPT)": _byte_level,
    "byte level, Llama 3's pattern (Llama 3, Qwen)": lambda: _byte_level(LLAMA3),
    "byte level with a prefix space (older GPT-2 setups)": lambda: _byte_level(prefix=True),
    "byte level with chat tokens (Qwen, SmolLM2-Instruct)": lambda: _byte_level(LLAMA3, added=CHAT),
}
FAMILIES: dict[str, Callable[[], Made]] = {name: cache(maker) for name, maker in _MAKERS.items()}
