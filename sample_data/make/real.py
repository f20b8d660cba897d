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
    whole = GAP.sub(lambda match: chosen[match[1]], " ".join(frame.text for frame in frames))
    whole = re.sub(r"(?:^|[.!?] )[a-z]", lambda match: match[0].upper(), whole)
    return re.sub(r"\b([Aa]) (?=[aeiouAEIOU])", r"\1n ", whole)


# -- sources: each draw is a group of texts with their labels


@dataclass(frozen=True)
class Text:
    """A text with its label and the tags of its frames."""

    text: str
    label: str
    tags: str


class Source(Protocol):
    """What draws groups."""

    def draw(self, label: str) -> list[Text]:
        """Return a group whose first text has this label."""


def text_of(frames: Sequence[Frame], fillers: Fillers, label: str, rng: random.Random) -> Text:
    """The text of frames."""
    return Text(filled(frames, fillers, rng), label, " ".join(frame.tag for frame in frames))


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

    def draw(self, label: str) -> list[Text]:
        """A review of this label."""
        domain = next(self.domains[label])
        opinion, before = self.decks[domain["name"], label], self.rng.choice(("", "opening", "opening", label))
        frames = [self.decks[domain["name"], before].draw()] if before else []
        frames.append(opinion.draw())
        if len(set(frames)) < len(frames):  # a new deck began with the same frame
            frames.pop()
        return [text_of(frames, domain["fillers"], label, self.rng)]


class Labelled:
    """Texts of one frame of their label: headlines, requests."""

    def __init__(self, file: Mapping[str, Any], part: str, rng: random.Random) -> None:
        self.rng, self.fillers = rng, file["fillers"]
        self.decks = {label: Deck(f"{part}-{label}", texts, rng) for label, texts in file[part].items()}

    def draw(self, label: str) -> list[Text]:
        """A text of this label."""
        return [text_of([self.decks[label].draw()], self.fillers, label, self.rng)]


class Animals:
    """Two sentences of one frame: one mentions an animal, the other an object."""

    def __init__(self, file: Mapping[str, Any], part: str, rng: random.Random) -> None:
        self.rng = rng
        self.frames = Deck(part, file[part]["frame"], rng)
        self.things = {label: Deck(label, file[part][label], rng) for label in ("animal", "object")}

    def draw(self, label: str) -> list[Text]:
        """Both sentences."""
        frame, labels = self.frames.draw(), sorted(self.things, key=lambda other: other != label)
        return [text_of([frame], {"thing": [self.things[y].draw().text]}, y, self.rng) for y in labels]


class Helpdesk:
    """The two messages of an exchange: a problem and its answer, each after an opening that says nothing."""

    def __init__(self, file: Mapping[str, Any], part: str, rng: random.Random) -> None:
        self.rng, self.part, self.fillers, self.openings = rng, part, file["fillers"], file[part]["opening"]
        self.exchanges = {str(i): exchange for i, exchange in enumerate(file[part]["exchange"], 1)}
        self.deck = Deck(part, list(self.exchanges), rng)

    def draw(self, label: str) -> list[Text]:
        """Both messages; what fills a gap is the same in both."""
        drawn = self.deck.draw()
        one = {name: [self.rng.choice(some)] for name, some in self.fillers.items() if name != "name"}
        texts = [
            text_of([self.opened(Frame(f"{drawn.tag}-{y}", text))], one | {"name": self.fillers["name"]}, y, self.rng)
            for y, text in zip(("problem", "answer"), self.exchanges[drawn.text], strict=True)
        ]
        return sorted(texts, key=lambda text: text.label != label)

    def opened(self, frame: Frame) -> Frame:
        """The frame after an opening."""
        return Frame(frame.tag, self.rng.choice(self.openings) + frame.text)


# -- recipes


@dataclass(frozen=True)
class Recipe:
    """How a data set is made: the file of its frames, what draws from them, and how often with which label first."""

    frames: str
    source: Callable[[Mapping[str, Any], str, random.Random], Source]
    counts: Mapping[str, int]
    columns: tuple[str, ...] = ("id", "text", "gold", "crowd")


def evenly(draws: int, *labels: str) -> dict[str, int]:
    """Each label as often as the others."""
    return {label: draws // len(labels) for label in labels}


PAIRED = ("id", "text", "group", "gold", "crowd")
RECIPES: dict[str, Recipe] = {
    "reviews": Recipe("reviews", Reviews, evenly(EXAMPLES, "positive", "negative")),
    "reviews-imbalanced": Recipe("reviews", Reviews, {"positive": 205, "negative": 51}),
    "topics": Recipe("topics", Labelled, evenly(EXAMPLES, "sports", "business", "science", "politics")),
    "requests": Recipe("requests", Labelled, evenly(EXAMPLES, "polite", "rude")),
    "animals": Recipe("animals", Animals, evenly(EXAMPLES // 2, "animal", "object"), PAIRED),
    "helpdesk": Recipe("helpdesk", Helpdesk, evenly(EXAMPLES // 2, "problem", "answer"), PAIRED),
}


def label_order(counts: Mapping[str, int], rng: random.Random) -> list[str]:
    """The labels in random order, with about the shares of all in the first 32 and the first 64."""
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


def groups_of(recipe: Recipe, part: str, rng: random.Random) -> list[list[Text]]:
    """The groups of one part, no text twice."""
    source, found, seen = recipe.source(read_frames(recipe.frames), part, rng), list[list[Text]](), set[str]()
    for label in label_order(recipe.counts, rng):
        group = source.draw(label)
        while not seen.isdisjoint(text.text for text in group):
            group = source.draw(label)
        found.append(group)
        seen |= {text.text for text in group}
    return found


def rows_of(recipe: Recipe, part: str, rng: random.Random) -> list[Row]:
    """The rows of one part."""
    rows = list[Row]()
    for i, group in enumerate(groups_of(recipe, part, rng), 1):
        for text in group:
            row = {"text": text.text, "group": f"{part}-pair-{i:03}", "gold": text.label}  # its frames would tell gold
            row["id"] = f"{part}-{len(rows) + 1:03}"
            rows.append({column: row[column] for column in recipe.columns if column in row})
    return rows


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
