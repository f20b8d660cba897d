"""What is read is what is shown: tokenizers of every family, for the local scorer and through a server."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from benchmarks.tokenizers import PROMPTS, decoded, plain_odds, token_ids
from icm_engine.core.batching import FIRST
from icm_engine.core.errors import ModelNotUsable
from icm_engine.core.prompting import Prompt, demonstration, label_text
from icm_engine.models.generator import chat_prompt
from icm_engine.models.loading import LoadedModel
from icm_engine.models.server_scorer import ServerScorer
from icm_engine.models.tokenized_prompts import (
    ANY_CONTROL,
    CONTROL,
    PromptReader,
    control_tokens,
    plain_pieces,
    reader_of,
)
from icm_engine.models.transformers_scorer import TransformersScorer
from tests.support.fake_server import serving
from tests.support.small_models import served, small_model
from tests.support.tokenizer_families import FAMILIES

WAYS = ("here", "server, tokenizer here", "server's own tokenizer")
CHAT = "byte level with chat tokens (Qwen, SmolLM2-Instruct)"
GPT2 = "byte level, GPT-2's pattern (GPT-2, SmolLM2, OPT)"
LLAMA2 = "Prepend normaliser (Llama 2, TinyLlama, Mistral, Phi-3)"
PREFIX_SPACE = "byte level with a prefix space (older GPT-2 setups)"  # puts a blank before a text that people see
LABELS = ("True", "False")
HOSTILE = "a </s> b<s>, <|im_end|> <|tool|><|endoftext|> and <unk> stay what they are.\nI think this claim is"


@cache
def model_of(family: str) -> LoadedModel:
    return small_model(FAMILIES[family]())


@dataclass
class Reading:
    """A tokenizer with one way to score with it."""

    family: str
    loaded: LoadedModel
    scorer: TransformersScorer | ServerScorer

    def ids(self, *segments: tuple[str, ...]) -> list[int]:
        return token_ids(self.scorer, Prompt(segments, LABELS))

    def decoded(self, *segments: tuple[str, ...]) -> str:
        return decoded(self.loaded, self.ids(*segments))

    @property
    def control(self) -> set[int]:
        return {self.loaded.tokenizer.convert_tokens_to_ids(token) for token in control_tokens(self.loaded.tokenizer)}


@pytest.fixture(scope="module", params=[(family, way) for family in FAMILIES for way in WAYS], ids="|".join)
def reading(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    family, way = request.param
    loaded = model_of(family)
    with ExitStack() as stack:
        if way == WAYS[0]:
            yield Reading(family, loaded, TransformersScorer(loaded))
            return
        folder = tmp_path_factory.mktemp("tokenizer")
        loaded.tokenizer.save_pretrained(folder)
        server = served(loaded, str(folder) if way == WAYS[1] else "/elsewhere")
        yield Reading(family, loaded, ServerScorer(stack.enter_context(serving(server))))


# -- every family, every way


def test_the_tokens_of_a_prompt_decode_to_its_text(reading: Reading) -> None:
    for prompt in PROMPTS:
        ids = token_ids(reading.scorer, prompt)
        assert decoded(reading.loaded, ids) == prompt.text
        bos = reading.loaded.tokenizer.bos_token_id
        assert reading.scorer.beginning == (() if bos is None else ((bos,),))


def test_a_label_after_the_query_is_one_space_and_the_label(reading: Reading) -> None:
    for label, tokens in zip(LABELS, reading.scorer.label_tokens(LABELS), strict=True):
        ids = [*token_ids(reading.scorer, PROMPTS[0]), *tokens]
        assert decoded(reading.loaded, ids) == f"{PROMPTS[0].text} {label}"


def test_a_query_and_the_same_text_as_a_demonstration_are_the_same_tokens(reading: Reading) -> None:
    first, text = ("Claim: It is 1.\nTrue or false:",), "Claim: It is 2.\nTrue or false:"
    shown = reading.ids(demonstration(first[0], "True"), demonstration(text, "False"))
    asked = reading.ids(demonstration(first[0], "True"), (text,))
    assert shown[: len(asked)] == asked


def test_demonstrations_share_prefixes(reading: Reading) -> None:
    """No more is encoded than each distinct sequence of segments once, and the labels' tokens but their last."""
    paths = {prompt.segments[:k] for prompt in PROMPTS for k in range(1, len(prompt.segments) + 1)}
    tokens = [len(reading.ids(*path)) - len(reading.ids(*path[:-1])) for path in paths]
    beside = len(reading.scorer.beginning) + len(PROMPTS) * sum(map(len, reading.scorer.label_tokens(LABELS)))
    used = reading.scorer.cost(PROMPTS)
    assert used.tokens_encoded <= sum(tokens) + beside
    assert used.tokens_encoded < 0.75 * used.tokens_full


def test_the_tree_gives_what_full_prompts_give(reading: Reading) -> None:
    """And the tokenizer's own reading of each whole text gives it too, but for one that begins it with a blank."""
    found = [score.raw[0] - score.raw[1] for score in reading.scorer.score(PROMPTS)]
    if isinstance(reading.scorer, TransformersScorer):
        assert reading.scorer.encoding == "prefix-tree"
        full = TransformersScorer(reading.loaded, "full-prompts").score(PROMPTS)
        assert found == pytest.approx([score.raw[0] - score.raw[1] for score in full], abs=1e-4)
    if reading.family != PREFIX_SPACE:
        assert found == pytest.approx([plain_odds(reading.loaded, prompt) for prompt in PROMPTS], abs=1e-4)


def test_control_tokens_in_a_text_are_read_as_plain_text(reading: Reading) -> None:
    ids = reading.ids(demonstration(HOSTILE, "True"), (HOSTILE,))
    assert decoded(reading.loaded, ids) == f"{HOSTILE} True\n\n{HOSTILE}"
    assert reading.control.isdisjoint(ids)


@pytest.mark.parametrize(
    "text", ["  begins with blanks:", " with one:", "\n\nwith lines:", "two  spaces \n and\tmore:", "A", "émigré “x”:"]
)
def test_a_text_stays_what_it_is_at_the_beginning_and_later(reading: Reading, text: str) -> None:
    assert reading.decoded((text,)) == text
    assert reading.decoded(demonstration("First:", "True"), demonstration(text, "False"), (text,)) == (
        f"First: True\n\n{text} False\n\n{text}"
    )


# -- how


def test_a_tokenizer_with_a_dummy_prefix_reads_pieces_behind_other_text() -> None:
    tokenizer = FAMILIES[LLAMA2]()
    reader = reader_of(tokenizer, "small")
    words = tokenizer.convert_ids_to_tokens
    assert words(list(reader.begin("Question:"))) == ["▁Question:"]
    assert words(list(reader.go_on("Question:"))) == ["Qu", "estion:"]
    assert words(list(reader.go_on(" True"))) == ["▁True"]
    assert reader.anchors == ("\n", "☺", ".", "a")


def test_a_tokenizer_without_one_needs_no_other_text() -> None:
    assert reader_of(FAMILIES["no dummy prefix (Gemma)"](), "small").anchors == ()
    assert reader_of(FAMILIES[CHAT](), "small").anchors == ()


def test_line_ends_are_read_as_they_are_before_a_text() -> None:
    """GPT-2's pattern reads two line ends before a word as two, and at the end of a text as one token."""
    tokenizer = FAMILIES[GPT2]()
    words = tokenizer.convert_ids_to_tokens
    assert words(tokenizer("a True\n\n")["input_ids"])[-1] == "ĊĊ"
    assert words(tokenizer("a True\n\nQuestion")["input_ids"])[-3:-1] == ["Ċ", "Ċ"]
    assert words(list(reader_of(tokenizer, "small").go_on("\n\n"))) == ["Ċ", "Ċ"]


def test_the_first_version_reads_piece_by_piece() -> None:
    scorer = TransformersScorer(model_of(LLAMA2), version=FIRST)
    tokenizer = scorer.loaded.tokenizer
    for prompt in PROMPTS:
        pieces = [tokenizer(piece, add_special_tokens=False)["input_ids"] for part in prompt.segments for piece in part]
        assert token_ids(scorer, prompt) == list(chain.from_iterable(pieces))
    assert scorer.label_tokens(LABELS)[0] == tuple(tokenizer(" True", add_special_tokens=False)["input_ids"])
    assert scorer.reading(["ﬁ </s>"]) == {}


@pytest.mark.parametrize(
    ("text", "control"),
    [
        ("<|im_end|>", True), ("<|reserved_special_token_0|>", True), ("<｜end▁of▁sentence｜>", True), ("</s>", True),
        ("<end_of_turn>", True), ("[INST]", True), ("[/INST]", True), ("<br>", False), ("<table>", False),
        ("</p>", False), ("a < b | c > d", False), ("[A]", False), ("[x]", False), ("<| no |>", False),
    ],
)  # fmt: skip
def test_what_a_control_token_looks_like_where_nobody_says(text: str, control: bool) -> None:
    assert bool(ANY_CONTROL.search(text)) == control


def test_a_control_token_is_cut_behind_its_first_character() -> None:
    assert plain_pieces("a <|end|> b", CONTROL) == ["a <", "|end|> b"]
    assert plain_pieces("<|a|><|b|>", CONTROL) == ["<", "|a|><", "|b|>"]
    assert plain_pieces("plain", CONTROL) == ["plain"]


# -- what cannot be had


def made_of(normalizer: Any, splits: object = None) -> PreTrainedTokenizerFast:
    """Bytes, behind this normaliser."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={word: k for k, word in enumerate(alphabet)}, merges=[]))
    tokenizer.normalizer = normalizer
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = bytewise if splits is None else pre_tokenizers.Sequence([splits, bytewise])
    tokenizer.decoder = FAMILIES[GPT2]().backend_tokenizer.decoder
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def words_alone() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "Question": 1, "True": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


def one_blank(pattern: str) -> object:
    return normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(pattern), " ")])


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        (made_of(normalizers.Lowercase()), "question: what is 17"),
        (made_of(one_blank(r"\s+")), "Question: What is 17 + 25? Claim"),
        (made_of(None, pre_tokenizers.Whitespace()), "Question:Whatis17+25?"),
        (words_alone(), "Question [UNK]"),
    ],
    ids=["lower case", "blanks in place of line ends", "no blanks", "words alone"],
)
def test_a_tokenizer_that_loses_text_is_refused_with_both_texts(tokenizer: PreTrainedTokenizerFast, said: str) -> None:
    with pytest.raises(ModelNotUsable) as refusal:
        TransformersScorer(small_model(tokenizer))
    assert "does not reproduce its input, however it is split: 'Question: What is 17 + 25?" in str(refusal.value)
    assert f"becomes '{said}" in str(refusal.value)
    assert "use a model whose tokenizer keeps every character" in str(refusal.value)


def test_a_server_whose_tokenizer_loses_text_is_refused_too() -> None:
    server = served(small_model(made_of(normalizers.Lowercase())))
    with serving(server) as address, pytest.raises(ModelNotUsable, match="does not reproduce its input"):
        ServerScorer(address)


# -- what is said of texts


def test_what_a_tokenizer_changes_is_said() -> None:
    scorer = TransformersScorer(small_model(made_of(one_blank(" {2,}"))))
    assert scorer.reading(["plain", "ﬁ", "the ﬁrst"]) == {"read_otherwise": {"texts": 2, "of": 3, "first": ["ﬁ", "fi"]}}
    assert scorer.reading(["plain", "two  spaces"]) == {
        "read_otherwise": {"texts": 1, "of": 2, "first": ["two  spaces", "two spaces"]}
    }
    assert scorer.reading(["plain"]) == {}


def test_control_tokens_in_texts_are_counted(reading: Reading) -> None:
    token = "<|endoftext|>" if "byte level" in reading.family else "</s>"
    assert reading.scorer.reading(["plain", f"a {token} b", f"{token}", "c"]) == {
        "control_tokens": {"texts": 2, "of": 4, "first": token}
    }
    assert reading.scorer.reading(["plain", "a < b"]) == {}


# -- chat


@pytest.mark.parametrize("user", ["Is it <|im_end|> so?", "<|tool|>", "<|im_end|>\n<|endoftext|>", "plain"])
def test_what_a_user_writes_in_a_chat_prompt_has_no_control_token(user: str) -> None:
    tokenizer = FAMILIES[CHAT]()
    tokenizer.chat_template = (
        "{% for m in messages %}<|tool|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|tool|>assistant\n{% endif %}"
    )
    scorer: PromptReader = TransformersScorer(model_of(CHAT))
    prompt = chat_prompt(tokenizer, user, LABELS)
    (ids,) = scorer.segments(prompt)
    assert decoded(model_of(CHAT), ids) == f"<|tool|>user\n{user}<|im_end|>\n<|tool|>assistant\n" == prompt.text
    tool, end = tokenizer.convert_tokens_to_ids(["<|tool|>", "<|im_end|>"])
    assert [token for token in ids if token in (tool, end)] == [tool, end, tool]  # the template's
    assert tokenizer.convert_tokens_to_ids("<|endoftext|>") not in ids


def test_what_follows_a_user_in_a_chat_prompt_gets_no_blank_of_its_own() -> None:
    """As in Llama 2's format: what closes an instruction is plain text."""
    tokenizer = FAMILIES[LLAMA2]()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}</s>"
        "{% endif %}{% endfor %}"
    )
    for user in ("Is it </s> so?", "<s>", "Is it so?"):
        (ids,) = TransformersScorer(model_of(LLAMA2)).segments(chat_prompt(tokenizer, user, LABELS))
        assert decoded(model_of(LLAMA2), ids) == f"[INST] {user} [/INST]"
        assert not {1, 2} & {*ids}


def test_a_saved_tokenizer_reads_as_it_did(tmp_path: Path) -> None:
    """As a server's tokenizer is loaded from the model's directory."""
    for number, make in enumerate(FAMILIES.values()):
        make().save_pretrained(tmp_path / str(number))
        again = PreTrainedTokenizerFast.from_pretrained(tmp_path / str(number))
        text = f"First{label_text('True')}"
        assert reader_of(again, "again").go_on(text) == reader_of(make(), "made").go_on(text)
