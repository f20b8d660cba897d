"""The arithmetic of the Evaluate tab, by hand: gold, calibration, agreement of runs."""

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icm_engine.analysis import views
from icm_engine.analysis.compare_figures import confusion_chart, literal, reliability_chart, utilities
from icm_engine.analysis.figures import DARK, LIGHT
from icm_engine.analysis.gold_agreement import (
    Against,
    against_gold,
    area_under_curve,
    calibration,
    cell_caption,
    cell_rows,
    cells,
    counted_examples,
    gold_by_place,
    log_odds,
    pins_words,
    reliability,
)
from icm_engine.analysis.label_history import Accuracy, LabelCounts, counted, is_right, is_right_flipped
from icm_engine.analysis.seed_agreement import (
    agreement,
    difference,
    differing,
    labels_of,
    other_settings,
    pairs_of,
    siblings,
    verdict,
)
from icm_engine.core.interventions import Hand
from icm_engine.core.scoring import LabelLogProbs
from icm_engine.core.settings import SearchConfig
from icm_engine.store.store import Store
from tests.support.stores import add_run, small_dataset

LABELS = ("True", "False")
#            0: right    1: right    2: wrong    3: wrong     4: right     5: unlabelled
GOLD = {0: "True", 1: "True", 2: "True", 3: "False", 4: "False", 5: "False"}
GIVEN = {0: "True", 1: "True", 2: "False", 3: "True", 4: "False", 9: "True"}  # 9 has no gold
AGAINST = Against(LABELS, GOLD, GIVEN)


def scores(*true: float) -> dict[int, LabelLogProbs]:
    """Scores of examples 0, 1, ... whose first label has this probability, of a mass of one half."""
    return {i: LabelLogProbs((math.log(p / 2), math.log((1 - p) / 2))) for i, p in enumerate(true)}


# -- gold


def test_the_confusion_matrix_by_hand() -> None:
    assert AGAINST.confusion == ((2, 1, 0), (1, 1, 1))  # columns: True, False, unlabelled
    assert AGAINST.cell("False", "True") == (3,)
    assert AGAINST.cell("False", "unlabelled") == (5,)
    named = {name: len(AGAINST.cell(*cell)) for name, cell in cells(LABELS).items()}
    assert list(named.values()) == [2, 1, 0, 1, 1, 1]


def test_accuracy_raw_and_flipped_of_the_labelled_and_of_all() -> None:
    raw, flipped = AGAINST.accuracy(labelled_only=True), AGAINST.flipped(labelled_only=True)
    assert flipped is not None
    assert (raw.count, raw.total, flipped.count, flipped.total) == (3, 5, 2, 5)
    everything, flipped = AGAINST.accuracy(labelled_only=False), AGAINST.flipped(labelled_only=False)
    assert flipped is not None
    assert (everything.count, everything.total, flipped.count) == (3, 6, 2)  # unlabelled is wrong in both


def test_the_interval_is_wilsons() -> None:
    """3 of 5, z = 1.96: centre (0.6 + z²/10) / (1 + z²/5), half-width z / (1 + z²/5) * sqrt(0.24/5 + z²/100)."""
    z = 1.959964
    centre = (0.6 + z**2 / 10) / (1 + z**2 / 5)
    half = z / (1 + z**2 / 5) * math.sqrt(0.24 / 5 + z**2 / 100)
    assert AGAINST.accuracy(labelled_only=True).interval == pytest.approx((centre - half, centre + half), abs=1e-6)


def test_balanced_accuracy_and_classes() -> None:
    true, false = AGAINST.per_class
    assert (true.precision.value, true.recall.value) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (false.precision.value, false.recall.value) == (pytest.approx(1 / 2), pytest.approx(1 / 3))
    assert AGAINST.balanced == pytest.approx((2 / 3 + 1 / 3) / 2)


def test_with_three_labels_nothing_is_flipped() -> None:
    three = Against(("a", "b", "c"), {0: "a", 1: "b"}, {0: "c", 1: "b"})
    assert three.flipped(labelled_only=True) is None
    assert three.confusion == ((0, 0, 1, 0), (0, 1, 0, 0), (0, 0, 0, 0))
    assert three.balanced == 0.5  # of the two labels that gold has


def test_accuracy_is_the_same_from_counts_that_follow_a_run() -> None:
    """3 of 6 right, 2 wrong, 1 unlabelled: raw 3/6, flipped 2/6, balanced (2/3 + 1/3) / 2, of the labelled 3/5."""
    followed = LabelCounts(LABELS, Counter(GOLD.values()))
    for example, label in GIVEN.items():
        followed = followed.changed(None, "False", GOLD.get(example)).changed("False", label, GOLD.get(example))
    assert followed.accuracy == AGAINST.counts.accuracy == Accuracy(3 / 6, (2 / 3 + 1 / 3) / 2, 2 / 6)
    assert followed.accuracy is not None
    assert followed.accuracy.of_labelled == pytest.approx(3 / 5)
    assert AGAINST.counts.labelled == followed.labelled == 6
    assert counted(LABELS, {0: "True"}, {0: "True"}, of={"True": 4}).accuracy == Accuracy(1 / 4, 1 / 4, 0.0)


def test_a_flipped_label_is_right_only_if_there_is_one() -> None:
    assert [is_right(label, "True") for label in ("True", "False", None)] == [True, False, False]
    assert [is_right_flipped(label, "True") for label in ("True", "False", None)] == [False, True, False]


def test_nothing_labelled_and_nothing_known() -> None:
    assert Against(LABELS, GOLD, {}).accuracy(labelled_only=True).interval is None
    assert Against(LABELS, {}, GIVEN).confusion == ((0, 0, 0), (0, 0, 0))
    assert Against(LABELS, {}, GIVEN).balanced is None


def test_only_the_examples_that_count_are_counted(store: Store) -> None:
    reading = views.load(store, add_run(store, "finished"))
    everything = range(len(reading.run.dataset.examples))
    gold = gold_by_place(store, reading, everything)
    pinned = next(iter(reading.labeling))
    assert reading.state is not None
    held = replace(reading, state=replace(reading.state, hand=Hand(pins=frozenset({pinned}))))
    rest = counted_examples(held)
    assert (list(rest), counted_examples(reading)) == ([i for i in everything if i != pinned], everything)
    assert "1 example that a person pinned does not count" in pins_words(held)
    whole, part = against_gold(reading, gold, everything), against_gold(reading, gold, rest)
    assert len(gold) == 18
    assert len(gold_by_place(store, reading, rest)) == 17
    assert part.accuracy(labelled_only=False).total == whole.accuracy(labelled_only=False).total - 1
    assert len(part.labelled) == len(whole.labelled) - 1
    accuracy = reading.tally.accuracy  # the search page's own count says the same
    assert accuracy is not None
    assert whole.accuracy(labelled_only=False).value == accuracy.raw
    assert whole.balanced == pytest.approx(accuracy.balanced)


def test_examples_of_a_cell_are_the_surest_first(store: Store) -> None:
    reading = views.load(store, add_run(store, "finished"))
    everything = range(len(reading.run.dataset.examples))
    against = against_gold(reading, gold_by_place(store, reading, everything), everything)
    rows = cell_rows(reading, against, against.labelled)
    chances = [row.probability for row in rows if row.probability is not None]
    assert len(rows) == len(chances) == len(reading.labeling)
    assert chances == sorted(chances, reverse=True)


def test_a_cell_is_counted_in_words() -> None:
    assert cell_caption(1, 500) == "1 example."
    assert cell_caption(7, 500) == "7 examples, most confident first."
    assert cell_caption(1200, 500) == "1,200 examples, most confident first; the first 500 are shown."


# -- calibration


def test_calibration_by_hand() -> None:
    """p of the label given: 0.95, 0.85 (of False), 0.45; right, right, wrong; mass cancels."""
    given = {0: "True", 1: "False", 2: "True"}
    gold = {0: "True", 1: "False", 2: "False"}
    found = calibration(LABELS, scores(0.95, 0.15, 0.45), given, gold, range(3))
    assert [(one.low, one.count, one.right) for one in found.bins] == [(0.4, 1, 0.0), (0.8, 1, 1.0), (0.9, 1, 1.0)]
    assert found.error == pytest.approx((0.45 + 0.15 + 0.05) / 3)
    without = calibration(LABELS, scores(0.95, 0.15, 0.45), given, gold, [0])
    assert without.error == pytest.approx(0.05)


@given(st.lists(st.tuples(st.floats(0, 1, allow_subnormal=False), st.booleans()), min_size=1, max_size=60))
def test_every_label_is_in_one_bin(judged: list[tuple[float, bool]]) -> None:
    found = reliability(judged)
    assert found.count == len(judged)
    assert all(one.low - 1e-9 <= one.probability <= one.high + 1e-9 for one in found.bins)
    assert found.error is not None
    assert 0 <= found.error <= 1


def test_the_margin_is_the_log_odds() -> None:
    assert log_odds(LabelLogProbs((math.log(0.6), math.log(0.2))), 0) == pytest.approx(math.log(3))
    assert log_odds(LabelLogProbs((math.log(0.6), math.log(0.2), math.log(0.1))), 0) == pytest.approx(math.log(2))


def test_the_margin_is_against_the_best_other_label() -> None:
    """ln 0.6 - ln 0.2 = ln 3, however many worse ones there are; from the other side ln 0.2 - ln 0.6."""
    two = LabelLogProbs((math.log(0.6), math.log(0.2)))
    three = LabelLogProbs((math.log(0.6), math.log(0.2), math.log(0.1)))
    assert two.margin(0) == three.margin(0) == pytest.approx(math.log(3))
    assert three.margin(1) == pytest.approx(-math.log(3))


def test_the_area_under_the_curve_by_hand() -> None:
    """Pairs (true, false) in gold: 0.9 over 0.4 and 0.7; 0.6 over 0.4 but under 0.7: three of four."""
    gold = {0: "True", 1: "False", 2: "True", 3: "False"}
    found = scores(0.9, 0.7, 0.6, 0.4)
    assert area_under_curve(LABELS, "True", found, gold, range(4)) == 0.75
    assert area_under_curve(LABELS, "False", found, gold, range(4)) == 0.75  # the other way round is the same
    assert area_under_curve(LABELS, "True", found, gold, [0, 2]) is None  # gold has one side only


# -- runs beside runs


def test_cohens_kappa_by_hand() -> None:
    """Four in common, three agree: 0.75; by chance (3/4 * 2/4 + 1/4 * 2/4) = 0.5; kappa = (0.75 - 0.5) / 0.5."""
    one = {"a": "True", "b": "True", "c": "True", "d": "False", "e": "True"}
    other = {"a": "True", "b": "True", "c": "False", "d": "False", "f": "True"}
    found = agreement([one, other])
    assert (found.examples, found.raw, found.kind) == (4, 0.75, "Cohen's kappa")
    assert found.kappa == pytest.approx(0.5)


def test_fleiss_kappa_by_hand() -> None:
    """Rows TTT, FFF, TTF: pairs that agree 1, 1, 1/3; chance (5/9)² + (4/9)² = 41/81."""
    labelings = [dict(zip("abc", row, strict=True)) for row in ("TFT", "TFT", "TFF")]
    found = agreement(labelings)
    raw, chance = (1 + 1 + 1 / 3) / 3, 41 / 81
    assert found.raw == pytest.approx(raw)
    assert found.kappa == pytest.approx((raw - chance) / (1 - chance))
    assert found.kind == "Fleiss' kappa"


def test_where_kappa_says_nothing_there_is_none() -> None:
    same = {str(i): "True" for i in range(12)}
    assert (agreement([same, same]).raw, agreement([same, same]).kappa) == (1.0, None)
    assert "collapsed" in verdict(agreement([same, same]), pairs_of({"a": same, "b": same}))
    assert agreement([{"a": "True"}, {"b": "True"}]).raw is None


def test_the_mirror_of_a_labeling_is_pointed_out() -> None:
    one = {str(i): "True" if i % 3 else "False" for i in range(12)}
    mirror = {name: "False" if label == "True" else "True" for name, label in one.items()}
    assert verdict(agreement([one, mirror]), pairs_of({"a": one, "b": mirror})).startswith(
        "a and b are nearly opposite"
    )
    few = {name: one[name] for name in "012"}
    assert "too few to judge" in verdict(agreement([few, mirror]), pairs_of({"a": few, "b": mirror}))


def test_siblings_differ_in_their_seed_alone(store: Store) -> None:
    small_dataset(store)
    spec = store.spec(add_run(store, "created"))
    second = store.add_run(replace(spec, search=replace(spec.search, seed=9)))
    same_values = store.add_run(replace(spec, preset="mine", search=replace(spec.search, seed=10)))
    store.add_run(replace(spec, forked_from="sums-1", forked_at=3, search=replace(spec.search, seed=11)))
    for other in (replace(spec, limit=9), replace(spec, model="sample"), replace(spec, rule="none")):
        store.add_run(other)
    store.add_run(replace(spec, search=SearchConfig(alpha=20, max_steps=spec.search.max_steps, seed=4)))
    assert siblings(store, "sums-1") == [second, same_values]
    assert other_settings(spec, store.spec("sums-5")) == ("limit",)


def test_examples_on_which_runs_differ(store: Store) -> None:
    readings = [views.load(store, add_run(store, "finished", seed=seed)) for seed in (3, 6)]
    one, other = map(labels_of, readings)
    apart = {name for name in one if name in other and one[name] != other[name]}
    rows = differing(readings, {}, 100)
    assert {row.example for row in rows} == apart
    assert apart
    found = difference(readings)
    assert (found.common, found.apart) == (len(one.keys() & other.keys()), len(apart))
    assert found.partly == len(one.keys() ^ other.keys())


def test_tokens_on_the_curve_only_grow_to_what_was_spent(store: Store) -> None:
    reading = views.load(store, add_run(store, "finished"))
    tokens = [point.tokens for point in reading.trajectory.points]
    assert tokens == sorted(tokens)
    assert tokens[-1] == reading.spent.tokens_encoded
    chart = utilities([reading], "tokens")
    assert chart.figure.data[0].x[-1] == tokens[-1]


# -- figures


def test_the_confusion_chart_tells_a_click_its_cell() -> None:
    chart = confusion_chart(AGAINST, chosen="True,False")
    assert [list(row) for row in chart.figure.data[0].customdata] == [
        ["True,True", "True,False", "True,unlabelled"],
        ["False,True", "False,False", "False,unlabelled"],
    ]
    assert "gold False labelled True: 1" in chart.alt
    assert chart.figure.data[0].text[0][1] == "<b>1</b><br>33% · wrong"
    (frame,) = chart.figure.layout.shapes
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (0.52, 1.48, -0.48, 0.48)


def test_a_confusion_matrix_of_twenty_labels_is_one_trace() -> None:
    labels = tuple(f"label {k}" for k in range(20))
    gold = {i: labels[i % 20] for i in range(60)}
    chart = confusion_chart(Against(labels, gold, {i: labels[i % 20 % 19] for i in gold}), chosen="label 1,unlabelled")
    (cells,) = chart.figure.data
    assert not chart.figure.layout.annotations  # an annotation for each cell took half a minute
    assert len(chart.figure.layout.shapes) == 1
    assert (cells.text[0][0], cells.text[0][5], cells.text[19][0]) == ("<b>3</b>", "", "<b>3</b>")
    assert cells.hovertext[0][0] == "<b>3</b><br>100% · right"
    assert cells.hovertext[19][0] == "<b>3</b><br>100% · wrong"


def test_text_from_outside_stays_text_in_a_figure() -> None:
    hostile = "<b>x</b>"
    chart = confusion_chart(Against((hostile, "b"), {0: "b"}, {0: hostile}))
    assert next(iter(chart.figure.data[0].x)) == literal(hostile) == "&lt;b&gt;x&lt;/b&gt;"


def test_figures_follow_the_theme() -> None:
    found = calibration(LABELS, scores(0.9), {0: "True"}, {0: "True"}, [0])
    light, dark = reliability_chart(found), reliability_chart(found, dark=True)
    assert (light.figure.data[1].marker.color, dark.figure.data[1].marker.color) == (LIGHT.strong, DARK.strong)
    assert "0.9 to 1.0: 100% of 1" in light.alt
