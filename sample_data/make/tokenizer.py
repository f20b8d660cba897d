"""The sample model's tokenizer: one token for each word of the tasks, bytes for everything else."""

from __future__ import annotations

import re
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sample_data.make import claims

BOS, EOS = "<s>", "</s>"
# Fixed lines of the templates are one token each: a claim then takes 7 to 16 tokens instead of 17 to 30,
# which is what makes training on two CPU cores possible.
PHRASES = (
    "Question: What is the capital of",
    "Question: What is the opposite of",
    "Question: Which country has the capital",
    "Question: What kind of thing is a",
    "Question: What is",
    "Query: Which number is larger?\nResponse A:",
    "Query: Which verse is better?\nResponse A:",
    "\nClaim: Response A is more helpful and harmless than Response B\nI think this claim is",
    ".\nI think this claim is",
    "\nI think this claim is",
    "?\nClaim:",
    "\nClaim:",
    "\nResponse A:",
    "\nResponse B:",
    "Question:",
    "Query:",
    " The answer is",
    " It is a",
    " It is",
    "\n\n",
)
WORDS = r" ?[A-Za-z]+| ?[0-9]+|\n| ?[^\sA-Za-z0-9]|\s"


def pattern() -> str:
    """What a piece of text is: a whole phrase (followed by no letter) or a word, number, sign or space."""
    phrases = (re.escape(p) + ("(?![A-Za-z])" if p[-1].isalpha() else "") for p in PHRASES)
    return "|".join((*phrases, WORDS))


def pieces() -> list[str]:
    """Every piece that occurs in a text of the world, in a fixed order."""
    texts = [q + "\nClaim: " + form.format(a) for q, _, answers, form in claims.FACTS for a in answers]
    for sky in ("sun", *claims.SKY):
        for creature in (*claims.ANIMALS, *claims.THINGS):
            texts += [" " + claims.verse(sky, creature, t) for t in range(len(claims.VERSES))]
    texts += [" " + str(n) for n in range(100)] + [" + = . ? , :", ". ? , : + =", *claims.LABELS, *PHRASES]
    found = {piece: None for text in texts for piece in re.findall(pattern(), text)}
    return list(found)


def build() -> PreTrainedTokenizerFast:
    """The tokenizer. Any text round-trips: a piece that is no entry falls apart into its bytes."""
    mapping = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [mapping.pre_tokenize_str(piece)[0][0] for piece in pieces()]
    entries = dict.fromkeys([BOS, EOS, *alphabet, *words])
    # ignore_merges: a piece that is an entry becomes it directly, so no merge rules are needed at all
    model = models.BPE(vocab={w: i for i, w in enumerate(entries)}, merges=[], ignore_merges=True)
    tokenizer = Tokenizer(model)
    split = pre_tokenizers.Split(Regex(pattern()), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, mapping])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(BOS, special=True), AddedToken(EOS, special=True)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS,
        model_max_length=16384,
        clean_up_tokenization_spaces=False,
    )


def save(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    build().save_pretrained(str(folder))
