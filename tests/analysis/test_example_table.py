"""The table of examples: its filters, orders and words, worked by hand on the log of four examples."""

import math

import pytest

from icm_engine.analysis.datasets import FILTERS, SORTS, example_rows, examples_frame, human_labels
from icm_engine.analysis.run_cache import RunCache
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import load
from icm_engine.data.gold import add_human
from icm_engine.runs import control
from icm_engine.store.store import Store
from tests.support.four_examples import add_four, write_four
from tests.support.stores import add_run

FIRST, ALL = "Data set order", "All examples"


@pytest.fixture
def four(store: Store) -> Reading:
    """The run after all four steps: a and c True, b False (flipped once, at step 4), d unlabelled, no conflict."""
    add_four(store)
    write_four(store)
    return load(store, "four-1")


def found(reading: Reading, wanted: str = ALL, words: str = "", order: str = FIRST) -> str:
    return "".join(row.example for row in example_rows(reading, wanted, words, order))


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ("All examples", "abcd"),
        ("Labelled", "abc"),
        ("Unlabelled", "d"),
        ("In conflict", ""),
        ("Flipped", "b"),
        ("Pinned", ""),
        ("Model prefers another label", "b"),  # p(True) is 0.9, its label is False
        ("Differs from gold", ""),
        ("Label True", "ac"),
        ("Label False", "b"),
    ],
)
def test_a_filter_keeps(four: Reading, wanted: str, kept: str) -> None:
    assert found(four, wanted) == kept


def test_the_filters_are_all_tried_above() -> None:
    marks = test_a_filter_keeps.pytestmark  # type: ignore[attr-defined]
    assert set(FILTERS) <= {wanted for wanted, _ in marks[0].args[1]}


def test_before_the_repair_two_examples_are_in_conflict_and_one_differs_from_gold(store: Store) -> None:
    add_four(store)
    write_four(store, 3)
    reading = load(store, "four-1")
    assert found(reading, "In conflict") == "ab"
    assert found(reading, "Differs from gold") == "b"  # True, and gold says False
    assert [row.conflicts for row in example_rows(reading, ALL, "", FIRST)] == [1, 1, 0, 0]


def test_a_row_has_the_numbers_of_its_example(four: Reading) -> None:
    a, b, c, d = example_rows(four, ALL, "", FIRST)
    assert (a.probability, b.probability) == (pytest.approx(0.9), pytest.approx(0.1))
    assert (a.margin, b.margin) == (pytest.approx(math.log(9)), pytest.approx(-math.log(9)))  # log 0.72 - log 0.08
    assert (b.flips, b.last_change, c.last_change) == (1, 4, 1)
    assert (d.label, d.probability, d.margin, d.last_change, d.gold) == (None, None, None, None, "False")


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("Data set order", "abcd"),
        ("Lowest margin", "bacd"),  # d has no margin
        ("Most flips", "bacd"),
        ("Most conflicts", "abcd"),  # none has any: as they come
        ("Latest change", "bcad"),  # at steps 4, 1 and 0; d never
    ],
)
def test_an_order_puts_what_is_missing_last(four: Reading, order: str, expected: str) -> None:
    assert order in SORTS
    assert found(four, order=order) == expected


@pytest.mark.parametrize(("words", "kept"), [("q A", "a"), ("  c b ", "b"), ("d", "d"), ("C", "abcd"), ("x", "")])
def test_words_are_found_in_texts_and_ids_whatever_their_case(four: Reading, words: str, kept: str) -> None:
    assert found(four, words=words) == kept


def test_words_and_a_filter_hold_together(four: Reading) -> None:
    assert found(four, "Label True", "c") == "ac"
    assert found(four, "Label True", "c c") == "c"


def test_the_frame_starts_with_the_text_and_leaves_out_empty_columns(four: Reading) -> None:
    frame = examples_frame(four, example_rows(four, ALL, "", FIRST), {})
    assert list(frame) == [
        "text", "label", "gold", "probability", "margin", "flips", "conflicts", "last change", "example",
    ]  # fmt: skip
    assert frame["text"][0] == "Q a C a"
    assert len(examples_frame(four, [], {})) == 0


def test_human_labels_are_shown_by_source(store: Store, four: Reading) -> None:
    add_human(store, "four", "ann", {"a": "False", "d": "True"})
    rows = example_rows(four, ALL, "", FIRST)
    human = human_labels(store, four, rows)
    assert human == {"ann": {"a": "False", "d": "True"}}
    shown = examples_frame(four, rows, human)["human: ann"]
    assert (shown[0], shown[3], shown.isna().tolist()) == ("False", "True", [False, True, True, False])
    assert human_labels(store, four, rows[1:3]) == {}  # those of the rows alone
    assert human_labels(store, four, []) == {}


def test_human_labels_are_hidden_while_a_person_annotates_blind(store: Store) -> None:
    run = add_run(store)
    reading = load(store, run)
    rows = example_rows(reading, ALL, "", FIRST)
    add_human(store, "sums", "ann", {rows[0].example: "True"})
    assert human_labels(store, reading, rows)
    assert any(row.gold for row in rows)
    control.submit_intervention(store, run, "blind")
    blind = RunCache().reading(store, run)  # what pages read
    assert human_labels(store, blind, rows) == {}
    assert not any(row.gold for row in example_rows(blind, ALL, "", FIRST))
