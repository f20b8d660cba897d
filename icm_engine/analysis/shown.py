"""An example as cards and lists show it."""

from dataclasses import dataclass

from icm_engine.analysis.reading import Reading
from icm_engine.analysis.views import example_text
from icm_engine.core.labeling import Label


@dataclass(frozen=True, slots=True)
class Shown:
    """An example as a card shows it: texts from outside, never markup."""

    place: int
    id: str
    text: str
    group: str
    answer: str | None
    gold: Label | None  # None also where gold is not to be seen


def shown(reading: Reading, example: str) -> Shown:
    """Return an example of this id as a card shows it. Raises KeyError."""
    i = reading.run.codec.index(example)
    found = reading.run.dataset.examples[i]
    return Shown(i, example, example_text(reading, i), found.group, found.answer, reading.gold.get(example))


def known(reading: Reading, example: str) -> Shown | None:
    """Return the example of this id, None if the run has none: an address may name anything."""
    try:
        return shown(reading, example)
    except KeyError:
        return None
