"""Several people's labels: majority, ties and agreement, with the arithmetic."""

import pytest

from icm_engine.data.gold import HumanLabels, agreement, load_human, majority
from icm_engine.store.store import Store
from tests.support.data_files import csv_import

T, F = "True", "False"
SAID = {
    "ann": HumanLabels("d", "ann", {"1": T, "2": T, "3": F, "4": T}),
    "bob": HumanLabels("d", "bob", {"1": T, "2": F, "3": F}),
    "cem": HumanLabels("d", "cem", {"1": F, "3": F}),
}


def test_majority_and_ties() -> None:
    """1: TTF, 2: TF, 3: FFF, 4: T alone."""
    found = majority(SAID)
    assert found.labels == {"1": T, "3": F, "4": T}
    assert found.ties == ("2",)


def test_agreement_by_hand() -> None:
    """Pairs: three of example 1 (one equal), one of example 2 (none), three of example 3 (all).

    Alpha: 8 values of examples 1 to 3, 3 True and 5 False. Observed: example 1 has 4 ordered differing pairs / (3 - 1),
    example 2 has 2 / (2 - 1): 4 in all. Expected: 2 * 3 * 5 = 30. alpha = 1 - (8 - 1) * 4 / 30 = 1/15.
    """
    found = agreement(SAID)
    assert (found.examples, found.pairs, found.equal) == (3, 7, 4)
    assert found.share == pytest.approx(4 / 7)
    assert found.alpha == pytest.approx(1 / 15)
    assert found.between == {("ann", "bob"): (2, 3), ("ann", "cem"): (1, 2), ("bob", "cem"): (1, 2)}


def test_nothing_to_compare() -> None:
    alone = agreement({"ann": SAID["ann"]})
    assert (alone.examples, alone.share, alone.alpha) == (0, None, None)
    assert majority({}).labels == {}
    always = agreement({name: HumanLabels("d", name, {"1": T, "2": T}) for name in "ab"})
    assert (always.share, always.alpha) == (1.0, None)  # chance would agree as well


def test_the_import_says_how_far_people_agree(store: Store) -> None:
    rows = "question,claim,human_1,human_2,human_3\nq,a,1,yes,0\nq,b,1,0,\nq,c,no,no,no\n"
    report = csv_import(store, rows)
    assert report.human_columns == ("human_1", "human_2", "human_3")
    assert "Human labels agree in 57% of their pairs, and 1 examples are tied." in report.notes
    assert store.dataset_info("data").human == 8
    ids = [example.id for example in store.dataset("data").examples]
    found = majority(load_human(store, "data"))
    assert found.labels == {ids[0]: T, ids[2]: F}
    assert found.ties == (ids[1],)
