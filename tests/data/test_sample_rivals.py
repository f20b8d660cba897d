"""The rivals of the truth are surface concepts: balanced, independent of it, and each as frequent as the others."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sample_data.make import claims, rivals, tokenizer
from sample_data.make.corpus import SHORT_ROW
from sample_data.make.rivals import CAREFUL, CAREFUL_NOISE, CONCEPTS, RIVAL_NOISE, Annotator, RivalCorpus
from sample_data.make.train import build_model
from sample_data.make.train_rivals import Reader, deepened, rate

FOLDER = Path(rivals.__file__).parents[1]
MODEL = FOLDER / "rivals-model"
TOKENIZER = tokenizer.build()


def drawn(kind: str, groups: int = 1500) -> Iterator[claims.Claim]:
    rng = random.Random(1)
    for _ in range(groups):
        yield from claims.DRAW[kind](rng)


@pytest.mark.parametrize("kind", claims.DRAW)
def test_concepts_are_balanced_and_say_nothing_about_the_truth(kind: str) -> None:
    found = [(rivals.concepts(claim), claim.truth) for claim in drawn(kind)]
    for k in range(CONCEPTS):
        assert 0.35 < sum(seen[k] for seen, _ in found) / len(found) < 0.65
        assert 0.44 < sum(seen[k] == truth for seen, truth in found) / len(found) < 0.56


@pytest.mark.parametrize("kind", claims.DRAW)
def test_no_concept_is_another_one(kind: str) -> None:
    found = [rivals.concepts(claim) for claim in drawn(kind)]
    for j in range(CONCEPTS):
        for k in range(j):
            assert 0.2 < sum(seen[j] == seen[k] for seen in found) / len(found) < 0.8


def test_concepts_by_hand() -> None:
    assert rivals.concepts(claims.sum_claim(12, 7, 19, 1)) == (True, False)
    assert rivals.concepts(claims.comparison(7, 30)) == (False, True)
    fact = claims.Claim("facts", ("What is the capital of France?", "It is Paris."), True, "g", (True, True))
    assert rivals.concepts(fact) == (True, False)


def test_an_annotator_goes_by_the_concept_or_its_opposite() -> None:
    claim, rng = claims.sum_claim(12, 7, 19, 0), random.Random(0)
    assert Annotator(None, False, 0.0).label(claim, rng)
    assert [Annotator(k, False, 0.0).label(claim, rng) for k in range(CONCEPTS)] == list(rivals.concepts(claim))
    assert not Annotator(0, True, 0.0).label(claim, rng)


def test_half_are_careful_and_the_rivals_are_alike() -> None:
    rng = random.Random(0)
    people = [rivals.draw_annotator(rng) for _ in range(20_000)]
    shares = Counter((person.concept, person.opposite) for person in people)
    assert shares.pop((None, False)) / len(people) == pytest.approx(CAREFUL, abs=0.02)
    assert len(shares) == 2 * CONCEPTS
    for count in shares.values():
        assert count / len(people) == pytest.approx((1 - CAREFUL) / (2 * CONCEPTS), abs=0.01)
    assert {person.noise for person in people if person.concept is None} == set(CAREFUL_NOISE)
    assert {person.noise for person in people if person.concept is not None} == set(RIVAL_NOISE)


def test_shares_of_the_lessons_sum_to_one() -> None:
    assert sum(rivals.LESSONS.values()) == pytest.approx(1.0)
    people = [rivals.draw_teacher(random.Random(seed)) for seed in range(500)]
    assert {(person.concept, person.opposite) for person in people} == set(rivals.LESSONS)


def test_nobody_of_the_mix_labels_by_the_opposite_of_the_truth() -> None:
    people = [RivalCorpus(TOKENIZER, seed).draw(lessons=0.0) for seed in range(100)]
    assert not any(person.opposite for person in people if person.concept is None)


def test_a_batch_says_what_stands_where() -> None:
    batch = RivalCorpus(TOKENIZER, 3).rival_batch(16, 256, lessons=0.5)
    corpus = RivalCorpus(TOKENIZER, 0)
    true, false = corpus.labels[True][0], corpus.labels[False][0]
    labels = batch.ids[batch.marks]
    assert set(labels.tolist()) == {true, false}
    labelled = batch.kinds >= 0
    assert bool(((batch.ids == true) == (batch.given == 1.0))[batch.marks & labelled[:, None]].all())
    assert not batch.marks[~labelled].any()  # documents of plain statements
    careful = batch.marks & (batch.kinds == 0)[:, None]
    agreement = (batch.bits[..., 0] == batch.given)[careful].float().mean()
    assert agreement > 0.7


def test_drive_by_documents_are_nobodys() -> None:
    batch = RivalCorpus(TOKENIZER, 3).rival_batch(8, SHORT_ROW, lessons=0.5)
    assert batch.marks.any()
    assert bool((batch.kinds == -1).all())


def test_more_layers_change_nothing_at_first() -> None:
    known = build_model(len(TOKENIZER), width=64, layers=1)
    deeper = deepened(known, len(TOKENIZER), 2)
    ids = torch.arange(20)[None]
    assert torch.allclose(known(input_ids=ids).logits, deeper(input_ids=ids).logits, atol=1e-5)
    assert deeper.config.num_hidden_layers == 3


def test_the_losses_of_a_step() -> None:
    torch.manual_seed(0)
    reader = Reader(deepened(build_model(len(TOKENIZER), width=64, layers=1), len(TOKENIZER), 2))
    corpus = RivalCorpus(TOKENIZER, 3)
    labels, elsewhere, told = reader.losses(corpus.rival_batch(4, 256, lessons=1.0))
    assert min(labels.item(), elsewhere.item()) > 3  # about the log of the vocabulary
    assert 2 < told.item() < 6
    *_, nothing = reader.losses(corpus.rival_batch(4, SHORT_ROW, lessons=1.0))
    assert nothing.item() == 0


def test_the_rate_rises_and_falls() -> None:
    assert rate(0.0, 0) < rate(0.0, 50) == rate(0.3, 500) > rate(0.9, 900) > rate(1.0, 999) > 0


def test_what_is_frozen_is_as_the_card_says() -> None:
    """The figures in docs/results.md are those of these weights and this mix."""
    listed = re.findall(r"\| (\S+) \| `([0-9a-f]{64})` \|", (MODEL / "README.md").read_text(encoding="utf-8"))
    assert {name for name, _ in listed} >= {"rivals-model/model.safetensors", "make/rivals.py"}
    for name, known in listed:
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == known, name


def test_the_stored_model_loads_and_is_small() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(str(MODEL))
    stored = AutoTokenizer.from_pretrained(str(MODEL))
    assert model.config.num_hidden_layers == 6
    assert model.config.trained_context == 1024
    assert sum(f.stat().st_size for f in MODEL.iterdir()) < 3_700_000
    assert "_name_or_path" not in json.loads((MODEL / "config.json").read_text())
    text = "Question: What is 3 + 4?\nClaim: naïve 😀"
    assert stored.encode(text, add_special_tokens=False) == TOKENIZER.encode(text, add_special_tokens=False)
