"""What the version of a run decides, so that a run keeps its meaning for its whole life.

A run keeps the version that it was made with when it is resumed, forked, replayed and verified. New runs get the
newest.

Version 1:
- a limit takes the largest prefix of whole groups;
- texts are tokenised one by one, as if each began a text;
- log-probabilities come from logits in the model's own precision;
- which inconsistent pairs no repair helps is forgotten when a step is accepted.

Version 2:
- a limit takes whole groups wherever they stand in the file (`Cut`);
- texts are tokenised so that the token ids of a prompt decode to its text;
- the last projection and the softmax are computed in float32;
- pairs that no repair helped since the labels last changed are remembered after an accepted step too;
- a step names the labels of an exact tie.
"""

from collections.abc import Iterable
from dataclasses import dataclass

FIRST, NEWEST = 1, 2


@dataclass(frozen=True, slots=True)
class Cut:
    """Which examples of a data set a run takes: at most `limit` of them (None: all), in whole groups.

    `rule` is the run's own consistency rule (None: the data set's); with one that ties nothing, a row is a group.
    """

    limit: int | None = None
    rule: str | None = None
    version: int = NEWEST


def fitting_groups(sizes: Iterable[tuple[str, int]], limit: int) -> set[str]:
    """Return the groups that a limit takes: each one, in the order given, that still fits.

    >>> sorted(fitting_groups([("a", 2), ("b", 3), ("c", 2), ("d", 1)], 5))
    ['a', 'b']
    >>> sorted(fitting_groups([("a", 2), ("b", 3), ("c", 2), ("d", 1)], 4))
    ['a', 'c']
    """
    taken, left = set[str](), limit
    for group, size in sizes:
        if size <= left:
            taken.add(group)
            left -= size
        if not left:
            break
    return taken
