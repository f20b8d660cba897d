"""Randomness as a pure function of (seed, n): pause, crash, replay and fork all give the same chain.

Sampled text is a function of (seed, request) in the same way, so that it does not depend on what else is in a call.
"""

from __future__ import annotations

import hashlib
import random
from array import array


def random_of(seed: int, n: int) -> random.Random:
    """Return the random generator of step n; step 0 draws the initial labels."""
    return random.Random(f"{seed}:{n}")


def seed_of(seed: int, n: int) -> int:
    """Return the seed of the n-th round of samples, a number below 2**31."""
    return randbelow(random_of(seed, n), 2**31)


def digest_of(seed: int | None, text: str) -> bytes:
    """Return the 32 random bytes of one text, such as a request."""
    return hashlib.sha256(f"{seed}:{text}".encode()).digest()


def randbelow(rng: random.Random, bound: int) -> int:
    """Return a whole number below the bound, using `random()` alone, whose sequence Python guarantees."""
    return min(int(rng.random() * bound), bound - 1)


def sample(rng: random.Random, size: int, count: int) -> list[int]:
    """Return distinct numbers below size, in the order drawn, without building the whole range."""
    chosen: dict[int, None] = {}
    while len(chosen) < count:
        chosen[randbelow(rng, size)] = None
    return list(chosen)


def shuffled(rng: random.Random, size: int) -> array[int]:
    """Return the numbers below size in random order, eight bytes each."""
    order = array("L", range(size))
    for place in range(size - 1, 0, -1):
        other = randbelow(rng, place + 1)
        order[place], order[other] = order[other], order[place]
    return order
