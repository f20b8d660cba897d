"""Small tokenizers of every family that causal language models come with, trained here on a few lines."""

from collections.abc import Callable

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "Question: What is 17 + 25?\nClaim: It is 42.\nI think this claim is True\n\n",
    "Review: The food was good and cheap.\nSentiment: positive\n\nReview: bad, cold negative False\n\n",
    "Ünïcode — “quotes”, 数字 🙂  two  spaces\tand a tab\n  indented\n",
] * 4
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def _sentencepiece(normalizer: object, pre_tokenizer: object, strips: bool) -> PreTrainedTokenizerFast:
    """BPE over characters with ▁ for blanks and bytes for what it does not know, as SentencePiece makes it."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>", "<s>", "</s>", *BYTES], show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strips else steps)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _byte_level(prefix: bool = False, added: tuple[AddedToken, ...] = ()) -> PreTrainedTokenizerFast:
    """BPE over bytes, as GPT-2, Llama 3, Qwen and SmolLM2 have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_tokens(list(added))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def _blanks(*before: object) -> object:
    return normalizers.Sequence([*before, normalizers.Replace(" ", "▁")])


def _metaspace(scheme: str) -> object:
    return pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)


CHAT = tuple(AddedToken(text, special=text != "<|tool|>", normalized=False) for text in ("<|im_end|>", "<|tool|>"))
FAMILIES: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "Prepend normaliser (Llama 2, TinyLlama, Mistral, Phi-3)": lambda: _sentencepiece(
        _blanks(normalizers.Prepend("▁")), None, strips=True
    ),
    "Metaspace first (Llama 2 converted anew, Mistral v3)": lambda: _sentencepiece(None, _metaspace("first"), True),
    "Metaspace always (T5-style, XGLM)": lambda: _sentencepiece(None, _metaspace("always"), True),
    "no dummy prefix (Gemma)": lambda: _sentencepiece(_blanks(), None, strips=False),
    "byte level (GPT-2, Llama 3, Qwen, SmolLM2)": _byte_level,
    "byte level with a prefix space (older GPT-2 and OPT setups)": lambda: _byte_level(prefix=True),
    "byte level with chat tokens (Qwen, SmolLM2-Instruct)": lambda: _byte_level(added=CHAT),
}
