"""Gold and human labels: stored apart, read apart, and only for examples that exist."""

import pytest

from icm_engine.core.errors import NotFound
from icm_engine.data.gold import GoldLabels, HumanLabels, add_gold, add_human, load_gold, load_human
from icm_engine.store.datasets import Dataset
from icm_engine.store.store import Store


@pytest.fixture
def stored(store: Store, pairs: Dataset) -> Store:
    store.add_dataset(pairs)
    return store


def test_gold_comes_back_in_data_set_order(stored: Store) -> None:
    add_gold(stored, "pairs", {"e10": "False", "e2": "True"})
    gold = load_gold(stored, "pairs")
    assert gold == GoldLabels("pairs", {"e2": "True", "e10": "False"})
    assert list(gold.labels) == ["e2", "e10"]


def test_no_gold_is_false_and_empty(stored: Store) -> None:
    assert not load_gold(stored, "pairs")
    assert load_gold(stored, "pairs").labels == {}
    assert load_human(stored, "pairs") == {}


def test_new_gold_takes_the_place_of_the_old(stored: Store) -> None:
    add_gold(stored, "pairs", {"e0": "True", "e1": "False"})
    add_gold(stored, "pairs", {"e0": "False"})
    assert load_gold(stored, "pairs").labels == {"e0": "False"}


def test_human_labels_by_source(stored: Store) -> None:
    add_human(stored, "pairs", "crowd", {"e0": "True"})
    add_human(stored, "pairs", "ann", {"e0": "False", "e3": "True"})
    add_human(stored, "pairs", "crowd", {"e1": "True"})
    human = load_human(stored, "pairs")
    assert list(human) == ["ann", "crowd"]
    assert human["crowd"] == HumanLabels("pairs", "crowd", {"e1": "True"})


def test_labels_of_nothing_are_refused(stored: Store) -> None:
    with pytest.raises(NotFound, match="no example 'e99'"):
        add_gold(stored, "pairs", {"e0": "True", "e99": "True"})
    with pytest.raises(NotFound, match="no example 'e99'"):
        add_human(stored, "pairs", "crowd", {"e99": "True"})
    with pytest.raises(NotFound, match="data set 'moon' does not exist"):
        load_gold(stored, "moon")
    assert not load_gold(stored, "pairs")


def test_a_loaded_data_set_has_no_gold_in_it(stored: Store, pairs: Dataset) -> None:
    add_gold(stored, "pairs", {e.id: "True" for e in pairs.examples})
    assert stored.dataset("pairs") == pairs
