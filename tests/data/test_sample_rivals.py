"""The rivals of the truth are surface concepts: balanced, independent of it, and each as frequent as the others."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from sample_data.make import claims, rivals, tokenizer
from sample_data.make.rivals import CAREFUL, CAREFUL_NOISE, CONCEPTS, LESSON_NOISE, RIVAL_NOISE, Annotator, RivalCorpus

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


def test_a_lesson_is_by_any_concept_and_nearly_without_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, people = RivalCorpus(TOKENIZER, 0), list[Annotator]()
    monkeypatch.setattr(corpus, "labelled_by", lambda person, tokens: (people.append(person), ([0], []))[1])
    for _ in range(50):
        corpus.row(256, 0.0, 1.0)
    assert {person.noise for person in people} <= set(LESSON_NOISE)
    assert {(p.concept, p.opposite) for p in people} == {(c, o) for c in (None, 0, 1) for o in (True, False)}


def test_the_phase_ends_without_lessons() -> None:
    assert rivals.LESSON_SHARES[-1][1] == 0.0
    assert rivals.LESSON_SHARES[-1][0] < 1.0


def test_documents_are_marked_like_those_of_the_sample_model() -> None:
    corpus = RivalCorpus(TOKENIZER, 3)
    inputs, targets, marks = corpus.batch(8, 256)
    assert inputs.shape == targets.shape == marks.shape == (8, 256)
    assert set(targets[marks].tolist()) == {corpus.labels[y][0] for y in (True, False)}
