"""The data sets for real models are what their program makes, and their parts share no frame."""

from __future__ import annotations

import csv
import random
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.real_data import Asked, Known, bag_of_words
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import TableScorer
from icm_engine.data.tasks import SAMPLE_DATASETS, TASKS
from sample_data.make import real
from sample_data.make.make_data import SEED

FOLDER = Path(real.__file__).parents[1]
PARTS = [f"{name}{ending}" for name in real.RECIPES for ending in real.ENDINGS.values()]


def rows(part: str) -> list[dict[str, str]]:
    with (FOLDER / f"{part}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_program_makes_the_same_bytes(tmp_path: Path) -> None:
    real.make(tmp_path)
    assert sorted(file.stem for file in tmp_path.iterdir()) == sorted(PARTS)
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (FOLDER / file.name).read_bytes()
        assert file.stat().st_size < 100_000


def test_another_seed_makes_other_data(tmp_path: Path) -> None:
    real.make(tmp_path, seed=7)
    assert all(file.read_bytes() != (FOLDER / file.name).read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize("part", PARTS)
def test_256_different_texts_with_gold_and_a_quarter_of_the_crowd_wrong(part: str) -> None:
    found, name = rows(part), part.removesuffix("_test")
    assert len(found) == len({row["id"] for row in found}) == len({row["text"] for row in found}) == 256
    assert {row["gold"] for row in found} == {row["crowd"] for row in found} == set(TASKS[name].labels)
    assert sum(row["gold"] != row["crowd"] for row in found) == 64
    assert name in SAMPLE_DATASETS


@pytest.mark.parametrize("part", PARTS)
def test_labels_have_their_shares_from_the_beginning(part: str) -> None:
    counts = real.RECIPES[part.removesuffix("_test")].counts
    for n in (32, 64, 256):
        found = Counter(row["gold"] for row in rows(part)[:n])
        for label, count in counts.items():
            assert abs(found[label] / n - count / sum(counts.values())) <= real.TOLERANCE


def tags_of(name: str, part: str, texts: set[str]) -> set[str]:
    """The frames that the program made these texts of: the files do not name them, since a frame tells the label."""
    made = real.groups_of(real.RECIPES[name], part, random.Random(f"{name} {part} {SEED}"))
    assert {text.text for group in made for text in group} == texts
    return {tag for group in made for text in group for tag in text.tags.split()}


@pytest.mark.parametrize("name", real.RECIPES)
def test_no_text_and_no_frame_is_in_both_parts(name: str) -> None:
    train, test = rows(name), rows(f"{name}_test")
    assert not {row["text"] for row in train} & {row["text"] for row in test}
    tags = [tags_of(name, part, {row["text"] for row in some}) for part, some in (("train", train), ("test", test))]
    assert min(map(len, tags)) >= 32
    assert not tags[0] & tags[1]


@pytest.mark.parametrize("part", [part for part in PARTS if "group" in rows(part)[0]])
def test_exactly_one_of_a_pair_has_each_label(part: str) -> None:
    pairs: dict[str, list[str]] = {}
    for row in rows(part):
        pairs.setdefault(row["group"], []).append(row["gold"])
    labels = sorted(TASKS[part.removesuffix("_test")].labels)
    assert len(pairs) == 128
    assert all(sorted(golds) == labels for golds in pairs.values())


def own_words(frame: str) -> list[tuple[str, ...]]:
    """Every run of four words of a frame that has no gap in it."""
    runs = [re.findall(r"[\w']+", piece.casefold()) for piece in re.split(r"\{\w+\}|[.!?:]", frame)]
    return [tuple(run[i : i + 4]) for run in runs for i in range(len(run) - 3)]


@pytest.mark.parametrize("name", sorted({recipe.frames for recipe in real.RECIPES.values()}))
def test_frames_of_the_parts_have_no_four_words_in_a_row_in_common(name: str) -> None:
    words = {
        part: {run for frame in frames(real.read_frames(name), part) for run in own_words(frame)}
        for part in real.ENDINGS
    }
    assert not words["train"] & words["test"]


def frames(file: object, part: str, inside: bool = False) -> list[str]:
    """All texts below the keys of a part."""
    if isinstance(file, str):
        return [file] if inside else []
    if isinstance(file, dict):
        return [text for key, some in file.items() for text in frames(some, part, inside or key == part)]
    return [text for some in file for text in frames(some, part, inside)] if isinstance(file, list) else []


def test_no_frame_comes_again_before_all_others_came() -> None:
    deck = real.Deck("a", ("x", "y", "z"), random.Random(0))
    tags = [deck.draw().tag for _ in range(9)]
    assert all(sorted(tags[i : i + 3]) == ["a-1", "a-2", "a-3"] for i in (0, 3, 6))
    assert sum(a == b for a, b in pairwise(tags)) <= 2


def test_a_gap_is_filled_in_the_same_way_throughout() -> None:
    frames = [real.Frame("a", "{what} came with a {what}."), real.Frame("b", "the {what} is new.")]
    assert real.filled(frames, {"what": ["iron"]}, random.Random(0)) == "Iron came with an iron. The iron is new."


def test_what_is_right_raw_and_centred_by_hand() -> None:
    """Label 0 is likelier everywhere; less the means (-1, -3) the first query says 0 and the second says 1."""
    found = Known.of([(-0.5, -4.0), (-1.5, -2.0)], [0, 1])
    assert found == Known(raw=0.5, centred=1.0, most_said=1.0)


def test_a_scorer_that_copies_its_demonstrations_is_right_after_golden_ones_alone() -> None:
    """It says of every query what the first demonstration of the same first word was labelled."""

    def belief(prompt: Prompt) -> tuple[float, ...]:
        *shown, (query,) = prompt.segments
        votes = [label.strip() for text, label, _ in shown if text.split()[1] == query.split()[1]]
        return (-0.1, -3.0) if votes[:1] == [prompt.labels[0]] else (-3.0, -0.1)

    asked = Asked(TableScorer(belief), "reviews", FOLDER, 0)
    asked.train = [{"id": str(i), "text": word, "gold": y} for i, (word, y) in enumerate(WORDS)]
    asked.test = asked.train[::-1]
    found = asked.draw(shots=4, queries=4)
    assert found["golden"].raw == 1.0
    assert found["zero-shot"].raw == found["zero-shot"].most_said / 2 == 0.5


WORDS = (("good", "positive"), ("bad", "negative"), ("fine", "positive"), ("poor", "negative"))


def test_a_bag_of_words_learns_words_that_both_parts_have_and_no_others() -> None:
    train = [{"text": word, "gold": y} for word, y in WORDS * 8]
    assert bag_of_words(train, train, ("text",), 24, 0) == 1.0
    unseen = [{"text": f"un{row['text']}", "gold": row["gold"]} for row in train]
    assert bag_of_words(train, unseen, ("text",), 24, 0) == 0.5
