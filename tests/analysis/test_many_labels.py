"""Pictures and tables of twenty labels: a few colours, one grey, and names that stay apart."""

import pytest

from icm_engine.analysis import figures, step_figures, views
from icm_engine.analysis.compare_figures import balances_frame
from icm_engine.analysis.conflict_figures import OPTIONS, groups_chart, options_chart
from icm_engine.analysis.conflicts import graph, groups_in_conflict
from icm_engine.analysis.figures import LIGHT, coloured
from icm_engine.analysis.repairs import repair_card
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.step_card import LabelScore
from icm_engine.store.store import Store
from tests.support.many_labels import LABELS, banking_run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("many") / "icm.db")
    banking_run(store, steps=25)
    return store


@pytest.fixture(scope="module")
def reading(store: Store) -> Reading:
    return views.load(store, "banking-1")


def test_of_many_labels_the_first_wanted_and_the_most_frequent_have_a_colour() -> None:
    labels = ("a", "b", "c", "d", "e", "f")
    counts = (1, 5, 0, 4, 3, 2)
    assert coloured(labels, counts) == ("b", "d", "e", "f")
    assert coloured(labels, counts, first=("c", "a")) == ("a", "b", "c", "d")
    assert coloured(labels[:4], (0, 0, 0, 0)) == ("a", "b", "c", "d")


def test_the_curves_of_labels_are_four_and_their_rest(reading: Reading) -> None:
    figure = figures.labels(reading.trajectory).figure
    last = reading.trajectory.points[-1]
    labelled, *shown, rest = figure.data
    assert len(shown) == 4
    assert rest.name == "16 other labels"
    assert rest.line.color == LIGHT.other
    assert sum(line.y[-1] for line in shown) + rest.y[-1] == labelled.y[-1] == last.labelled
    assert sorted(line.y[-1] for line in shown) == sorted(last.balance)[-4:]


def test_a_grid_has_a_band_for_no_label_each_colour_and_the_rest(reading: Reading) -> None:
    grid = step_figures.label_grid(reading)
    first = ("why verify identity",)
    chart = step_figures.grid_chart(reading, grid, first=first)
    heatmap, *legend = chart.figure.data
    assert [trace.name for trace in legend][-1] == "16 other labels"
    assert "why verify identity" in [trace.name for trace in legend]
    shown = coloured(reading.tally.labels, reading.tally.balance, first)
    for codes, bands in zip(grid.codes, heatmap.z, strict=True):
        for code, band in zip(codes, bands, strict=True):
            label = LABELS[code - 1]
            assert band == (0 if code == 0 else 1 + shown.index(label) if label in shown else 5)


def test_no_two_options_of_a_repair_share_a_bar(store: Store, reading: Reading) -> None:
    """Two pairs of labels whose names are cut to the same would otherwise be drawn on one line."""
    card = repair_card(store, reading, next(mark for mark in reading.repairs if mark.taken))
    assert len(card.options) == len(LABELS)
    chart = options_chart(card)
    (bars,) = chart.figure.data
    assert list(bars.y) == list(range(OPTIONS))
    best = sorted((option.change for option in card.options if option.change is not None), reverse=True)
    assert sorted(bars.x, reverse=True) == pytest.approx(best[:OPTIONS])
    assert f"The best {OPTIONS} of {len(LABELS)} options" in chart.caption


def test_a_picture_of_groups_names_four_labels_in_its_legend(store: Store, reading: Reading) -> None:
    graphs = [graph(store, reading, group) for group in groups_in_conflict(reading, ever=True)]
    figure = groups_chart(graphs, reading.trajectory.labels).figure
    nodes = [trace for trace in figure.data if trace.mode == "markers+text"]
    assert len(nodes) <= 6
    assert sum(len(trace.x) for trace in nodes) == sum(len(one.nodes) for one in graphs)


def test_a_balance_of_many_labels_has_a_row_for_each(reading: Reading) -> None:
    frame = balances_frame([reading])
    assert list(frame["label"]) == list(LABELS)
    assert frame["share banking-1"].sum() == pytest.approx(1)


def test_of_many_scores_the_old_and_the_proposed_label_come_first() -> None:
    scores = [LabelScore(f"label {k}", -float(k), 0.1, "old" if k == 7 else "") for k in range(12)]
    assert list(step_figures.scores_frame(scores)["label"])[:3] == ["label 7", "label 0", "label 1"]
    assert list(step_figures.scores_frame(scores[:3])["label"]) == ["label 0", "label 1", "label 2"]
