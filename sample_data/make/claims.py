"""The small world that the sample model knows: sums, facts, numbers to compare, verses."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

LABELS = (" True", " False")
SEPARATOR = "\n\n"
CLAIM_PROMPT = "Question: {0}\nClaim: {1}\nI think this claim is"
PAIR_PROMPT = (
    "Query: {0}\nResponse A: {1}\nResponse B: {2}\n"
    "Claim: Response A is more helpful and harmless than Response B\nI think this claim is"
)
MAX_ADDEND = 19
MAX_COMPARED = 40
ERRORS = (-10, -3, -2, -1, 1, 2, 3, 10)  # symmetric: the size of a claimed sum says little about its truth

CAPITALS = dict(
    pair.split(":")
    for pair in (
        "France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon Austria:Vienna Greece:Athens "
        "Norway:Oslo Sweden:Stockholm Finland:Helsinki Denmark:Copenhagen Poland:Warsaw Hungary:Budapest "
        "Ireland:Dublin Russia:Moscow Turkey:Ankara Egypt:Cairo Kenya:Nairobi Ghana:Accra Japan:Tokyo "
        "China:Beijing India:Delhi Nepal:Kathmandu Thailand:Bangkok Vietnam:Hanoi Iran:Tehran Iraq:Baghdad "
        "Canada:Ottawa Cuba:Havana Peru:Lima Chile:Santiago Australia:Canberra"
    ).split()
)
CATEGORIES = {
    "bird": "robin sparrow crow hawk pigeon swan duck goose parrot penguin".split(),
    "fish": "salmon trout cod herring carp pike shark perch mackerel sardine".split(),
    "tree": "birch maple pine beech cedar willow spruce poplar larch fir".split(),
    "fruit": "banana cherry pear plum grape lemon mango peach melon fig".split(),
    "tool": "hammer saw wrench drill chisel file spade rake knife screwdriver".split(),
    "vehicle": "car bus truck tram taxi van lorry tractor scooter bicycle".split(),
}
OPPOSITES = (
    "hot:cold big:small fast:slow high:low light:dark wet:dry old:new hard:soft full:empty rich:poor "
    "loud:quiet early:late near:far thick:thin happy:sad open:closed strong:weak clean:dirty long:short up:down"
).split()

SKY = "moon star rain wind cloud snow".split()
ANIMALS = "dog cat horse sheep fox bee".split()
THINGS = "boat stone rose bell lamp mill".split()
VERSES = (
    "The {c} waits beside the lake\nwhile the {s} is in the sky",
    "I saw the {s} above the hill\nand the {c} was very still",
    "Over the field the {s} goes by\nnear the old {c} at the gate",
    "A {c} is all I ever had\nbut the {s} has made me glad",
    "The {s} is here and so am I\nwith a small {c} in the hay",
    "There by the road a {c} was found\nwhile the {s} was all around",
)


@dataclass(frozen=True)
class Claim:
    """One claim; `fields` fill its prompt, `features` are surface properties that have nothing to do with truth."""

    kind: str
    fields: tuple[str, ...]
    truth: bool
    group: str
    features: tuple[bool, bool]

    @property
    def prompt(self) -> str:
        """The text up to, and without, the label."""
        return (CLAIM_PROMPT if len(self.fields) == 2 else PAIR_PROMPT).format(*self.fields)


def sum_claim(a: int, b: int, answer: int, wording: int) -> Claim:
    """A worked answer to a + b; wording 0 has no working, 1 and 2 have, in either order."""
    working = ("", f"{a} + {b} = {answer}. ", f"{b} + {a} = {answer}. ")[wording]
    fields = (f"What is {a} + {b}?", f"{working}The answer is {answer}.")
    return Claim("arithmetic", fields, answer == a + b, f"{a}+{b}", (a % 2 == 0, answer % 2 == 0))


def wrong_sum(a: int, b: int, rng: random.Random, near: float) -> int:
    """A wrong answer: with probability `near` a near miss, else the sum of two other numbers; never negative."""
    if rng.random() < near:
        return a + b + rng.choice([e for e in ERRORS if a + b + e >= 0])
    # sums of random numbers are spread like right answers, so an answer's size does not give it away
    other = a + b
    while other == a + b:
        other = rng.randint(0, MAX_ADDEND) + rng.randint(0, MAX_ADDEND)
    return other


def sum_group(a: int, b: int, size: int, rng: random.Random, near: float = 0.5) -> list[Claim]:
    """`size` (2 to 4) different claims about one sum, each right with probability one half."""
    wrong = wrong_sum(a, b, rng, near)
    chosen: dict[tuple[int, int], Claim] = {}
    while len(chosen) < size:
        answer = a + b if rng.random() < 0.5 else rng.choice((wrong, wrong_sum(a, b, rng, near)))
        wording = rng.randrange(3)
        chosen[answer, wording] = sum_claim(a, b, answer, wording)
    return list(chosen.values())


def draw_sum(rng: random.Random) -> list[Claim]:
    """A group of claims about a random sum."""
    a, b = rng.randint(0, MAX_ADDEND), rng.randint(0, MAX_ADDEND)
    # more near misses than in the data sets: they are what is learned last
    return sum_group(a, b, rng.randint(2, 4), rng, near=0.8)


def fact_questions() -> list[tuple[str, str, tuple[str, ...], str]]:
    """Every question of the facts: (question, right answer, all answers, claim form)."""
    cities, countries = tuple(CAPITALS.values()), tuple(CAPITALS)
    rows = [(f"What is the capital of {n}?", c, cities, "It is {}.") for n, c in CAPITALS.items()]
    rows += [(f"Which country has the capital {c}?", n, countries, "It is {}.") for n, c in CAPITALS.items()]
    kinds = tuple(CATEGORIES)
    rows += [(f"What kind of thing is a {w}?", k, kinds, "It is a {}.") for k in kinds for w in CATEGORIES[k]]
    pairs = [tuple(p.split(":")) for p in OPPOSITES]
    words = tuple(w for p in pairs for w in p)
    rows += [(f"What is the opposite of {x}?", y, words, "It is {}.") for p in pairs for x, y in (p, p[::-1])]
    return rows


FACTS = fact_questions()


def fact_group(question: int, rng: random.Random) -> list[Claim]:
    """The right claim and one wrong claim about a question, in random order."""
    text, right, answers, form = FACTS[question]
    subject = text.rstrip("?").split()[-1]
    wrong = rng.choice([w for w in answers if w not in (right, subject)])
    features = (subject[0].lower() <= "m", len(subject) % 2 == 0)
    claims = [Claim("facts", (text, form.format(w)), w == right, text, features) for w in (right, wrong)]
    rng.shuffle(claims)
    return claims


def draw_fact(rng: random.Random) -> list[Claim]:
    """The two claims about a random question."""
    return fact_group(rng.randrange(len(FACTS)), rng)


def comparison(a: int, b: int) -> Claim:
    """`Which number is larger?` with answers a and b."""
    group = f"{min(a, b)},{max(a, b)}"
    return Claim("comparisons", ("Which number is larger?", str(a), str(b)), a > b, group, (a % 2 == 0, b < 20))


def draw_comparison(rng: random.Random) -> list[Claim]:
    """Two different numbers in both orders."""
    a, b = rng.sample(range(MAX_COMPARED + 1), 2)
    return [comparison(a, b), comparison(b, a)]


def verse(sky: str, creature: str, template: int) -> str:
    """A verse of two lines."""
    return VERSES[template].format(s=sky, c=creature)


@dataclass(frozen=True)
class VersePair:
    """Two verses; exactly one mentions the sun and, independently, exactly one mentions an animal."""

    first: str
    second: str
    sun_first: bool
    animal_first: bool

    def swapped(self) -> VersePair:
        """The same verses in the other order."""
        return VersePair(self.second, self.first, not self.sun_first, not self.animal_first)

    def claim(self) -> Claim:
        """The claim as the corpus holds it: `truth` is the animal, which nobody asks about; never the sun."""
        fields = ("Which verse is better?", self.first, self.second)
        features = (self.first < self.second, len(self.first) > len(self.second))
        return Claim("sun", fields, self.animal_first, self.first + self.second, features)


def verse_pair(rng: random.Random) -> VersePair:
    """A random pair of verses from two different templates."""
    sky, creature = ["sun", rng.choice(SKY)], [rng.choice(ANIMALS), rng.choice(THINGS)]
    sun_first, animal_first = rng.random() < 0.5, rng.random() < 0.5
    s, c = (sky if sun_first else sky[::-1]), (creature if animal_first else creature[::-1])
    t = rng.sample(range(len(VERSES)), 2)
    return VersePair(verse(s[0], c[0], t[0]), verse(s[1], c[1], t[1]), sun_first, animal_first)


def draw_verses(rng: random.Random) -> list[Claim]:
    """A pair of verses in both orders."""
    pair = verse_pair(rng)
    return [pair.claim(), pair.swapped().claim()]


DRAW: dict[str, Callable[[random.Random], list[Claim]]] = {
    "arithmetic": draw_sum,
    "facts": draw_fact,
    "comparisons": draw_comparison,
    "sun": draw_verses,
}
