"""The signs that a run goes wrong: each seen where it should be, and not where it should not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from icm_engine.analysis.alerts import alerts
from icm_engine.analysis.label_history import Accuracy
from icm_engine.analysis.run_history import LastChange, Reading
from icm_engine.analysis.traces import Point
from icm_engine.analysis.views import load
from icm_engine.core.settings import SearchConfig
from icm_engine.store.store import Store
from tests.support.stores import add_run


@pytest.fixture
def quiet(store: Store) -> Reading:
    """A run of which nothing has to be said."""
    reading = load(store, add_run(store))
    assert alerts(reading) == ()
    return reading


def kinds(reading: Reading) -> list[str]:
    return [alert.kind for alert in alerts(reading)]


def with_last(reading: Reading, **values: Any) -> Reading:
    *points, last = reading.trajectory.points
    return replace(reading, trajectory=replace(reading.trajectory, points=(*points, last._replace(**values))))


def collapsed(reading: Reading) -> Reading:
    return replace(reading, tally=replace(reading.tally, counts={"True": 19, "False": 1}))


def oscillating(reading: Reading) -> Reading:
    return replace(reading, changes={**reading.changes, 0: LastChange(29, 4)})


def stuck(reading: Reading) -> Reading:
    return with_last(replace(reading, window=(False,) * 30, config=SearchConfig()), temperature=1.5)


def massless(reading: Reading) -> Reading:
    return replace(reading, steps=tuple(replace(row, label_mass=0.05) for row in reading.steps))


def parting(reading: Reading) -> Reading:
    def point(utility: float, right: float) -> Point:
        last = reading.trajectory.points[-1]
        return last._replace(utility=utility, balance=(8, 8), accuracy=Accuracy(right, right, 1 - right))

    return replace(reading, trajectory=replace(reading.trajectory, points=(point(10.0, 0.8), point(12.0, 0.7))))


def inverted(reading: Reading) -> Reading:
    return with_last(reading, balance=(8, 8), accuracy=Accuracy(0.2, 0.2, 0.7))  # 2 of 9 are right


SIGNS: dict[str, Callable[[Reading], Reading]] = {
    "label collapse": collapsed, "oscillation": oscillating, "nothing accepted while hot": stuck,
    "tiny label mass": massless, "U rises, accuracy falls": parting, "coherent but inverted": inverted,
}  # fmt: skip


@pytest.mark.parametrize("kind", SIGNS)
def test_each_sign_is_seen_alone(quiet: Reading, kind: str) -> None:
    assert kinds(SIGNS[kind](quiet)) == [kind]


def test_the_numbers_are_in_the_words(quiet: Reading) -> None:
    words = {kind: alerts(make(quiet))[0].text for kind, make in SIGNS.items()}
    assert "19 of 20 labels are True" in words["label collapse"]
    assert "sums-0-0" in words["oscillation"]
    assert "5.0%" in words["tiny label mass"]
    assert "fell from 80% to 70%" in words["U rises, accuracy falls"]
    assert "Only 22%" in words["coherent but inverted"]


def test_near_misses_are_not_signs(quiet: Reading) -> None:
    assert kinds(replace(quiet, tally=replace(quiet.tally, counts={"True": 18, "False": 2}))) == []
    assert kinds(replace(quiet, changes={0: LastChange(29, 3)})) == []
    assert (
        kinds(with_last(replace(quiet, window=(False,) * 29 + (True,), config=SearchConfig()), temperature=1.5)) == []
    )
    assert kinds(with_last(replace(quiet, window=(False,) * 30, config=SearchConfig()), temperature=0.9)) == []
    assert kinds(with_last(quiet, balance=(8, 8), accuracy=Accuracy(0.4, 0.4, 0.6))) == []


def test_without_gold_nothing_is_said_of_it(quiet: Reading) -> None:
    assert kinds(with_last(inverted(quiet), accuracy=None)) == []
