"""Make the data sets for real models: `python -m sample_data.make.real [--folder F] [--seed S]`.

A text is made of frames, which are sentences with gaps (`frames/*.toml`), and of fillers for the gaps. The training
part and the test part share no frame, so the wording of a frame cannot be learned in one and used in the other.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Protocol

from sample_data.make.make_data import CROWD_WRONG, SEED, Row, parsed, write

FRAMES = Path(__file__).parent / "frames"
ENDINGS = {"train": "", "test": "_test"}  # of the file's name, by part
EXAMPLES = 256  # of each part
TOLERANCE = 0.06  # by which a label's share of the first 32 and 64 rows may differ from that of all
GAP = re.compile(r"\{(\w+)\}")
Fillers = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Frame:
    """A sentence with gaps; the tag tells it from all others of its data set."""

    tag: str
    text: str


class Deck:
    """Frames in random order: none comes again before all have come."""

    def __init__(self, prefix: str, texts: Sequence[str], rng: random.Random) -> None:
        self.frames = tuple(Frame(f"{prefix}-{i}", text) for i, text in enumerate(texts, 1))
        self.rng, self.left = rng, list[Frame]()

    def draw(self) -> Frame:
        """The next frame."""
        if not self.left:
            self.left = self.rng.sample(self.frames, len(self.frames))
        return self.left.pop()


def read_frames(name: str) -> dict[str, Any]:
    """The frames and fillers of a data set, as they stand in its file."""
    with (FRAMES / f"{name}.toml").open("rb") as file:
        return tomllib.load(file)


def filled(frames: Sequence[Frame], fillers: Fillers, rng: random.Random) -> str:
    """The text of frames: a gap is filled in the same way throughout; `a` before a vowel becomes `an`."""
    chosen = {name: rng.choice(some) for name, some in fillers.items()}
    sentences = [GAP.sub(lambda match: chosen[match[1]], frame.text) for frame in frames]
    whole = " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
    return re.sub(r"\b([Aa]) (?=[aeiouAEIOU])", r"\1n ", whole)


# -- texts by label


class Reviews:
    """Reviews of several domains: an opinion, two of one kind, or an opening and an opinion."""

    def __init__(self, file: Mapping[str, Any], part: str, rng: random.Random) -> None:
        self.rng = rng
        self.domains = {kind: cycle(file["domain"]) for kind in ("positive", "negative")}
        self.decks = {
            (domain["name"], kind): Deck(f"{part}-{domain['name']}-{kind}", texts, rng)
            for domain in file["domain"]
            for kind, texts in domain[part].items()
        }

    def draw(self, label: str) -> tuple[str, list[Frame]]:
        """A review of this label, and its frames."""
        domain = next(self.domains[label])
        opinion, before = self.decks[domain["name"], label], self.rng.choice(("", "opening", "opening", label))
        frames = [self.decks[domain["name"], before].draw()] if before else []
        frames.append(opinion.draw())
        if len(set(frames)) < len(frames):  # a new deck began with the same frame
            frames.pop()
        return filled(frames, domain["fillers"], self.rng), frames


# -- recipes


class Texts(Protocol):
    """Draws texts of a label, each with the frames that it is made of."""

    def draw(self, label: str) -> tuple[str, list[Frame]]:
        """Return a text of this label, and its frames."""


@dataclass(frozen=True)
class Recipe:
    """How a data set is made: from which file, by what, with how many of each label."""

    frames: str
    texts: Callable[[Mapping[str, Any], str, random.Random], Texts]
    counts: Mapping[str, int]
    columns: tuple[str, ...] = ("id", "text", "gold", "crowd", "frames")


RECIPES: dict[str, Recipe] = {
    "reviews": Recipe("reviews", Reviews, {"positive": 128, "negative": 128}),
    "reviews-imbalanced": Recipe("reviews", Reviews, {"positive": 205, "negative": 51}),
}


def label_order(counts: Mapping[str, int], rng: random.Random) -> list[str]:
    """The gold labels in random order, with about the shares of all in the first 32 and the first 64."""
    labels = [label for label, count in counts.items() for _ in range(count)]
    while True:
        rng.shuffle(labels)
        near = (
            abs(labels[:n].count(label) / n - count / len(labels)) <= TOLERANCE
            for n in (32, 64)
            for label, count in counts.items()
        )
        if all(near):
            return labels


def rows_of(recipe: Recipe, part: str, rng: random.Random) -> list[Row]:
    """The rows of one part, no text twice."""
    texts, rows = recipe.texts(read_frames(recipe.frames), part, rng), dict[str, Row]()
    for label in label_order(recipe.counts, rng):
        text, frames = texts.draw(label)
        while text in rows:
            text, frames = texts.draw(label)
        tags = " ".join(frame.tag for frame in frames)
        rows[text] = {"id": f"{part}-{len(rows) + 1:03}", "text": text, "gold": label, "frames": tags}
    return list(rows.values())


def with_crowd(rows: Sequence[Row], rng: random.Random) -> list[Row]:
    """The rows with simulated crowd labels, of which exactly a quarter (rounded) are wrong."""
    labels = sorted({row["gold"] for row in rows})
    wrong = set(rng.sample(range(len(rows)), round(CROWD_WRONG * len(rows))))
    others = [[label for label in labels if label != row["gold"]] for row in rows]
    crowd = [rng.choice(others[i]) if i in wrong else row["gold"] for i, row in enumerate(rows)]
    return [row | {"crowd": label} for row, label in zip(rows, crowd, strict=True)]


def make(folder: Path, seed: int = SEED) -> None:
    """Write the two files of every data set."""
    for name, recipe in RECIPES.items():
        for part, ending in ENDINGS.items():
            rng = random.Random(f"{name} {part} {seed}")
            write(folder / f"{name}{ending}.csv", with_crowd(rows_of(recipe, part, rng), rng), recipe.columns)


if __name__ == "__main__":
    given = parsed()
    make(given.folder, given.seed)
