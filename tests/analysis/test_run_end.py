"""How a run ended against the best it has been, signs of collapse, and what the landscape says is higher."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from icm_engine.analysis import alerts, landscape
from icm_engine.analysis.landscape import Landscape, Place
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import load, run_end, run_summary
from icm_engine.cli.main import main
from icm_engine.data.label_export import read_labels
from icm_engine.store.store import Store
from tests.support.stores import add_run


def curve(store: Store, *points: tuple[float, int], verdicts: dict[int, str] | None = None) -> Reading:
    """A reading whose curve has these U and numbers of labelled examples, event by event."""
    reading = load(store, add_run(store))
    last = reading.trajectory.points[-1]
    made = tuple(
        last._replace(utility=u, balance=(n, 0), event=k, step=k, verdict=(verdicts or {}).get(k, "accepted"))
        for k, (u, n) in enumerate(points, 1)
    )
    return replace(reading, trajectory=replace(reading.trajectory, points=made))


def with_form(reading: Reading, form: str) -> Reading:
    return replace(reading, config=replace(reading.config, predictability=form))


def test_the_best_state_labels_as_many_examples(store: Store) -> None:
    reading = curve(store, (99.0, 3), (5.0, 8), (7.0, 9), (6.0, 8))
    end = run_end(reading)
    assert end is not None
    assert (end.best.event, end.last.event, end.differs) == (3, 4, True)  # not event 1, which labels 3
    assert end.words == "U is 6.00 now and was 7.00 after step 3, with 9 examples labelled."


def test_a_sum_of_log_p_is_compared_per_example_and_a_centred_sum_is_not(store: Store) -> None:
    reading = curve(store, (-9.0, 10), (-8.0, 8), (-7.9, 8))
    end = run_end(with_form(reading, "sum_log_prob"))
    assert end is not None
    assert end.best.event == 1  # -0.9 an example, against -0.99
    end = run_end(with_form(reading, "centred_log_odds"))
    assert end is not None
    assert (end.best.event, end.words) == (3, "")


def test_a_state_under_other_settings_is_not_compared(store: Store) -> None:
    end = run_end(curve(store, (50.0, 8), (4.0, 8), (3.0, 8), verdicts={2: "retuned"}))
    assert end is not None
    assert end.best.event == 2


def test_the_labels_of_the_best_state_are_exported(store: Store, tmp_path: Path) -> None:
    run = add_run(store)
    said = run_summary(store, run)
    end = run_end(load(store, run))
    assert end is not None
    assert (said["best_utility"], said["best_step"], said["best_event"]) == (
        end.best.utility,
        end.best.step,
        end.best.event,
    )
    file = tmp_path / "best.csv"
    assert main(["export", run, "--db", str(store.path), "--output", str(file), "--at", "best"]) == 0
    with file.open(newline="", encoding="utf-8") as text:
        written = {row["icm_id"]: row["icm_label"] for row in csv.DictReader(text) if row["icm_label"]}
    labels = read_labels(store, run, end.best.event)
    assert written == {example.id: label for example, label in labels.examples() if label}


@pytest.mark.parametrize(
    ("counts", "collapsed"),
    [
        ({"True": 13, "False": 1}, True),
        ({"True": 9, "False": 1}, True),
        ({"True": 9}, False),  # eight coins of one label are no rarity
        ({"True": 12, "False": 2}, False),
        ({"True": 61, "False": 3}, True),
        ({"True": 60, "False": 4}, False),
        ({"a": 0, "b": 14, "c": 0}, True),
    ],
)
def test_a_collapse_is_noticed_in_a_small_set_too(counts: dict[str, int], collapsed: bool) -> None:
    assert (alerts.collapsed(counts) is not None) == collapsed


def test_a_tiny_share_is_shown_with_its_exponent(store: Store) -> None:
    reading = load(store, add_run(store))
    tiny = replace(reading, steps=tuple(replace(row, label_mass=2e-7) for row in reading.steps))
    (alert,) = [alert for alert in alerts.alerts(tiny) if alert.kind == "tiny label mass"]
    assert "On average 2.0e-07 of the probability" in alert.text


def place(name: str, utility: float) -> Place:
    values: dict[str, Any] = {"predictability": utility, "inconsistency": 0.0, "pairs": 0, "label_mass": 1.0}
    return Place(name, utility, **values, balance={}, same=0.0)


def test_the_landscape_says_what_is_higher() -> None:
    places = tuple(place(*row) for row in (("gold", 9.0), ("found", 7.5), ("all True", 7.5), ("random 1", 8.0)))
    assert landscape.higher(Landscape("r", 1, 4, places)) == (
        "Higher U than the found labels (7.50): gold (9.00). Not higher: all True."
    )
    assert landscape.higher(Landscape("r", 1, 4, places[1:])) == (
        "Higher U than the found labels (7.50): none of the references asked about. Not higher: all True."
    )
