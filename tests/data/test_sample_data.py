"""The sample data sets and the sample model are what their programs and their card say."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from icm_engine.data.tasks import TASKS
from sample_data.make import annotators, claims, make_data, measure, tokenizer
from sample_data.make.attention import BLOCK, blockwise
from sample_data.make.corpus import SHORT_ROW, Corpus
from sample_data.make.muon import orthogonalised

FOLDER = Path(make_data.__file__).parents[1]
MODEL = FOLDER / "model"
NAMES = tuple(make_data.MAKERS)
PAIRS = ("comparisons", "sun")
TOKENIZER = tokenizer.build()


def rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def question(name: str, row: dict[str, str]) -> object:
    if name not in PAIRS:
        return row["question"]
    return frozenset((row["response_a"], row["response_b"]))


def test_the_program_makes_the_same_bytes(tmp_path: Path) -> None:
    make_data.make(tmp_path)
    made = sorted(tmp_path.iterdir())
    assert len(made) == 8
    for file in made:
        assert file.read_bytes() == (FOLDER / file.name).read_bytes()


def test_another_seed_makes_other_data_of_the_same_form(tmp_path: Path) -> None:
    make_data.make(tmp_path, seed=7)
    for name in NAMES:
        text = (tmp_path / f"{name}.csv").read_text(encoding="utf-8")
        ours = (FOLDER / f"{name}.csv").read_text(encoding="utf-8")
        assert text != ours
        assert text.splitlines()[0] == ours.splitlines()[0]


@pytest.mark.parametrize("name", NAMES)
def test_size_columns_ids_and_balance(name: str) -> None:
    found, columns = rows(name), make_data.MAKERS[name][1]
    assert tuple(found[0]) == columns
    assert len(found) * (2 if name in PAIRS else 1) >= 256
    assert len({row["id"] for row in found}) == len(found)
    for some in (found, found[:64]):
        assert 0.4 <= sum(row["gold"] == "True" for row in some) / len(some) <= 0.6
    assert {row["gold"] for row in found} | {row["crowd"] for row in found} == {"True", "False"}
    assert sum(row["gold"] != row["crowd"] for row in found) == round(0.25 * len(found))


@pytest.mark.parametrize("name", NAMES)
def test_no_question_is_in_both_parts(name: str) -> None:
    train, test = ({question(name, row) for row in rows(part)} for part in (name, f"{name}_test"))
    assert train
    assert test
    assert not train & test


@pytest.mark.parametrize("part", ["arithmetic", "arithmetic_test"])
def test_arithmetic_gold_is_the_sum(part: str) -> None:
    by_question: dict[str, list[str]] = {}
    for row in rows(part):
        a, b = map(int, re.findall(r"\d+", row["question"]))
        answer = re.search(r"The answer is (\d+)\.$", row["claim"])
        assert answer
        assert (int(answer[1]) == a + b) == (row["gold"] == "True")
        by_question.setdefault(row["group"], []).append(answer[1])
    assert {len(answers) for answers in by_question.values()} <= {2, 3, 4}
    assert any(len(set(answers)) < len(answers) for answers in by_question.values())


@pytest.mark.parametrize("part", ["facts", "facts_test"])
def test_exactly_one_claim_of_a_question_is_true(part: str) -> None:
    truths: dict[str, list[str]] = {}
    for row in rows(part):
        truths.setdefault(row["group"], []).append(row["gold"])
    assert all(sorted(some) == ["False", "True"] for some in truths.values())


@pytest.mark.parametrize("part", ["comparisons", "comparisons_test"])
def test_comparisons_gold_is_the_larger_number(part: str) -> None:
    assert all((int(r["response_a"]) > int(r["response_b"])) == (r["gold"] == "True") for r in rows(part))


@pytest.mark.parametrize("part", ["sun", "sun_test"])
def test_exactly_one_verse_mentions_the_sun(part: str) -> None:
    for row in rows(part):
        a, b = ("sun" in row[side].split() for side in ("response_a", "response_b"))
        assert a != b
        assert a == (row["gold"] == "True")


def test_no_annotator_labels_by_the_sun() -> None:
    rng = random.Random(0)
    pairs = [claims.verse_pair(rng) for _ in range(2000)]
    agree = sum(pair.sun_first == pair.claim().truth for pair in pairs) / len(pairs)
    assert abs(agree - 0.5) < 0.05


def test_the_prompts_are_those_of_the_engine() -> None:
    forms = {"facts": claims.CLAIM_PROMPT, "comparisons": claims.PAIR_PROMPT}
    for name, form in forms.items():
        fields = ("question", "claim") if name == "facts" else ("query", "response_a", "response_b")
        numbers = {field: str(place) for place, field in enumerate(fields)}
        assert TASKS[name].template.format_map({f: f"{{{k}}}" for f, k in numbers.items()}) == form


@given(st.text())
def test_any_text_round_trips(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False)) == text


@pytest.mark.parametrize(
    "text", ["naïve\n\n\n😀👩‍🚀 日本\t\r\n", "Question: What island? <x> True", "  12 + 7=19 ", "\x00\u2028"]
)
def test_awkward_texts_round_trip(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False)) == text


def test_labels_are_single_tokens_and_claims_are_short() -> None:
    corpus, rng = Corpus(TOKENIZER, 0), random.Random(0)
    assert all(len(corpus.encode(label)) == 1 for label in claims.LABELS)
    lengths = [len(corpus.encode(c.prompt)) for _ in range(200) for c in claims.draw_sum(rng) + claims.draw_fact(rng)]
    assert max(lengths) <= 16


def test_a_label_is_marked_where_it_is_predicted() -> None:
    corpus = Corpus(TOKENIZER, 3)
    label_ids = {corpus.labels[y][0] for y in (True, False)}
    for tokens in (SHORT_ROW, 256):
        inputs, targets, marks = corpus.batch(8, tokens)
        assert inputs.shape == targets.shape == marks.shape == (8, tokens)
        assert set(targets[marks].tolist()) <= label_ids
        assert marks.sum() == sum((targets == i).sum() for i in label_ids)


def test_shares_of_annotators_sum_to_one() -> None:
    assert sum(share for share, _ in annotators.MIX.values()) == pytest.approx(1.0)


def test_labels_of_demonstrations() -> None:
    items = [measure.Item("a", True, "g"), measure.Item("b", False, "g")]
    assert measure.shown_labels(items, "gold", random.Random(0)) == [True, False]
    assert measure.shown_labels(items, "wrong", random.Random(0)) == [False, True]


def test_interval_by_hand() -> None:
    """Two groups with the means 1 and 0: a resample has mean 0, 1/2 or 1, each end with chance 1/4."""
    assert measure.interval([1, 1, 0, 0], ["a", "a", "b", "b"]) == (0.5, 0.0, 1.0)


def test_pairs_are_followed_by_their_twins() -> None:
    first, twin, *_ = measure.read_items(FOLDER / "comparisons.csv")
    assert first.group == twin.group
    assert first.gold != twin.gold


def test_muon_updates_are_nearly_orthogonal() -> None:
    stack = torch.randn(3, 128, 384, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(stack))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_blockwise_attention_is_causal_attention() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 4, BLOCK + 40, 32, generator=generator) for _ in range(3))
    ours, _ = blockwise(torch.nn.Identity(), q, k, v, None)
    reference = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
    assert (ours - reference).abs().max() < 0.05  # bfloat16


@pytest.mark.skipif(not (MODEL / "model.safetensors").exists(), reason="no model has been trained yet")
class TestModel:
    """What is stored in sample_data/model."""

    def test_it_loads_and_knows_its_trained_length(self) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        model = AutoModelForCausalLM.from_pretrained(str(MODEL))
        stored = AutoTokenizer.from_pretrained(str(MODEL))
        assert model.num_parameters() < 5_000_000
        assert model.config.max_position_embeddings >= 16384
        assert model.config.trained_context >= 1024
        text = "Question: What is 3 + 4?\nClaim: naïve 😀"
        assert stored.encode(text, add_special_tokens=False) == TOKENIZER.encode(text, add_special_tokens=False)
        assert stored.bos_token_id == model.config.bos_token_id == 0

    def test_no_file_is_large_and_config_names_no_place(self) -> None:
        assert sum(f.stat().st_size for f in MODEL.iterdir()) < 8_000_000
        config = json.loads((MODEL / "config.json").read_text())
        assert config["architectures"] == ["LlamaForCausalLM"]
        assert "_name_or_path" not in config


def test_what_is_frozen_is_as_the_card_says() -> None:
    """A change of corpus, weights or data must be logged in the card, since every suite was run on these."""
    listed = re.findall(r"\| (\S+) \| `([0-9a-f]{64})` \|", (MODEL / "README.md").read_text(encoding="utf-8"))
    assert {name for name, _ in listed} >= {
        "model/model.safetensors",
        "arithmetic.csv",
        "sun_test.csv",
        "make/corpus.py",
    }
    for name, known in listed:
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == known, name
