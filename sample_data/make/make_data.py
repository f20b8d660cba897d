"""Make the sample data sets: `python -m sample_data.make.make_data [--folder F] [--seed S]`; same seed, same bytes."""

from __future__ import annotations

import argparse
import csv
import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from sample_data.make.claims import (
    FACTS,
    MAX_ADDEND,
    MAX_COMPARED,
    Claim,
    VersePair,
    comparison,
    fact_group,
    sum_group,
    verse_pair,
)

SEED = 20250610
CROWD_WRONG = 0.25  # share of simulated crowd labels that are wrong
CLAIM_COLUMNS = ("id", "question", "claim", "group", "gold", "crowd")
PAIR_COLUMNS = ("id", "query", "response_a", "response_b", "gold", "crowd")
Row = dict[str, str]
Group = list[Row]
Maker = Callable[[random.Random], tuple[list[Group], list[Group]]]


def claim_group(name: str, claims: list[Claim]) -> Group:
    """The claims about one question; an id names the question and the place in its group."""
    cells = [dict(zip(("question", "claim"), claim.fields, strict=True)) for claim in claims]
    return [
        {"id": f"{name}.{i}", **cell, "group": name, "gold": str(claim.truth)}
        for i, (cell, claim) in enumerate(zip(cells, claims, strict=True))
    ]


def pair_row(identity: str, fields: tuple[str, ...], gold: bool) -> Row:
    """One pair of responses, in one direction."""
    return dict(zip(PAIR_COLUMNS, (identity, *fields, str(gold)), strict=False))


def arithmetic(rng: random.Random) -> tuple[list[Group], list[Group]]:
    """Sums with two to four worked answers each: 110 for training, 50 for the test."""
    sums = [(a, b) for a in range(MAX_ADDEND + 1) for b in range(MAX_ADDEND + 1)]
    groups = []
    for a, b in rng.sample(sums, 160):
        groups.append(claim_group(f"sum-{a}-{b}", sum_group(a, b, rng.choice((2, 3, 3, 4)), rng)))
    return groups[:110], groups[110:]


def facts(rng: random.Random) -> tuple[list[Group], list[Group]]:
    """A right and a wrong claim about every question of the facts: 132 for training, the rest for the test."""
    groups = []
    for q in rng.sample(range(len(FACTS)), len(FACTS)):
        groups.append(claim_group(f"fact-{q}", fact_group(q, rng)))
    return groups[:132], groups[132:]


def comparisons(rng: random.Random) -> tuple[list[Group], list[Group]]:
    """Pairs of numbers, no pair twice: 144 for training, 72 for the test."""
    pairs = [(a, b) for a in range(MAX_COMPARED + 1) for b in range(a)]
    groups = []
    for pair in rng.sample(pairs, 216):
        a, b = rng.sample(pair, 2)
        groups.append([pair_row(f"numbers-{a}-{b}", comparison(a, b).fields, a > b)])
    return groups[:144], groups[144:]


def sun(rng: random.Random) -> tuple[list[Group], list[Group]]:
    """Pairs of verses, no pair twice: 132 for training, 66 for the test. Gold prefers the verse with the sun."""
    found: dict[frozenset[str], VersePair] = {}
    while len(found) < 198:
        pair = verse_pair(rng)
        found.setdefault(frozenset((pair.first, pair.second)), pair)
    groups = [[pair_row(f"verses-{i}", p.claim().fields, p.sun_first)] for i, p in enumerate(found.values())]
    return groups[:132], groups[132:]


MAKERS: dict[str, tuple[Maker, tuple[str, ...]]] = {
    "arithmetic": (arithmetic, CLAIM_COLUMNS),
    "facts": (facts, CLAIM_COLUMNS),
    "comparisons": (comparisons, PAIR_COLUMNS),
    "sun": (sun, PAIR_COLUMNS),
}


def more_sums(rng: random.Random, known: set[str]) -> Iterator[Group]:
    """Groups of claims about sums, in random order."""
    sums = [(a, b) for a in range(MAX_ADDEND + 1) for b in range(MAX_ADDEND + 1) if f"sum-{a}-{b}" not in known]
    for a, b in rng.sample(sums, len(sums)):
        yield claim_group(f"sum-{a}-{b}", sum_group(a, b, rng.choice((2, 3, 3, 4)), rng))


def more_comparisons(rng: random.Random, known: set[str]) -> Iterator[Group]:
    """Pairs of numbers that are known in neither order."""
    pairs = [(a, b) for a in range(MAX_COMPARED + 1) for b in range(a)]
    for pair in rng.sample(pairs, len(pairs)):
        a, b = rng.sample(pair, 2)
        if known.isdisjoint((f"numbers-{a}-{b}", f"numbers-{b}-{a}")):
            yield [pair_row(f"numbers-{a}-{b}", comparison(a, b).fields, a > b)]


def more_verses(rng: random.Random, known: set[str]) -> Iterator[Group]:
    """Pairs of verses of which at least one is not known."""
    for i in itertools.count():
        pair = verse_pair(rng)
        if not known.issuperset((pair.first, pair.second)):
            known |= {pair.first, pair.second}
            yield [pair_row(f"more-verses-{i}", pair.claim().fields, pair.sun_first)]


# test examples beyond those of MAKERS: added later, so that what was there stayed as it was. All facts are used up
MORE: dict[str, tuple[Callable[[random.Random, set[str]], Iterator[Group]], int]] = {
    "arithmetic": (more_sums, 125),
    "comparisons": (more_comparisons, 184),
    "sun": (more_verses, 190),
}


def more_of(name: str, groups: list[Group], rng: random.Random) -> list[Group]:
    """More groups of a data set for its test part: none of those there are."""
    if name not in MORE:
        return []
    make, count = MORE[name]
    known = {cell for group in groups for row in group for cell in row.values()}
    return list(itertools.islice(make(rng, known), count))


def shares_true(groups: list[Group]) -> tuple[float, float]:
    """Share of gold labels that are True in all rows and in the first 64."""
    golds = [row["gold"] == "True" for group in groups for row in group]
    return sum(golds) / len(golds), sum(golds[:64]) / len(golds[:64])


def balanced(maker: Maker, rng: random.Random) -> tuple[list[Group], list[Group]]:
    """The first draw in which all rows and the first 64 of both parts are 40 to 60 percent True."""
    while True:
        parts = maker(rng)
        if all(0.4 <= share <= 0.6 for part in parts for share in shares_true(part)):
            return parts


def with_crowd(groups: list[Group], rng: random.Random) -> list[Row]:
    """The rows with simulated crowd labels, of which exactly a quarter (rounded) are wrong."""
    rows = [row for group in groups for row in group]
    wrong = set(rng.sample(range(len(rows)), round(CROWD_WRONG * len(rows))))
    return [row | {"crowd": str((row["gold"] == "True") != (i in wrong))} for i, row in enumerate(rows)]


def write(path: Path, rows: list[Row], columns: tuple[str, ...]) -> None:
    """Write a file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def make(folder: Path, seed: int = SEED) -> None:
    """Write the eight files."""
    for name, (maker, columns) in MAKERS.items():
        rng = random.Random(f"{name} {seed}")
        train, test = balanced(maker, rng)
        write(folder / f"{name}.csv", with_crowd(train, rng), columns)
        first, later = with_crowd(test, rng), random.Random(f"{name} {seed} more")
        write(folder / f"{name}_test.csv", first + with_crowd(more_of(name, train + test, later), later), columns)


def parsed() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--seed", type=int, default=SEED)
    return parser.parse_args()


if __name__ == "__main__":
    given = parsed()
    make(given.folder, given.seed)
