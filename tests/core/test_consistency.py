"""The rules: which pairs they constrain, what is inconsistent, and which labels repair it."""

import pytest

from icm_engine.core.consistency import RULES, Rule
from icm_engine.core.custom_rules import make_rule
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Labeling

T, F = "True", "False"


def rule(name: str, *examples: tuple[str, str | None]) -> Rule:
    made = [Example(str(k), {}, group, answer) for k, (group, answer) in enumerate(examples)]
    return make_rule(name, made, (T, F), T)


def test_same_answer() -> None:
    same = rule("same-answer", ("q", "4"), ("q", "4"), ("q", "5"), ("q", None), ("r", "4"))
    assert list(same.neighbours(0)) == [1, 2]
    assert list(same.neighbours(3)) == []  # no answer could be read: not guessed
    assert same.constraints() == 3
    assert same.groups() == 1
    assert same.conflicts(Labeling({0: T, 1: F})) == [(0, 1)]
    assert same.conflicts(Labeling({0: T, 2: T})) == [(0, 2)]
    assert same.conflicts(Labeling({0: F, 2: F, 4: T})) == []
    assert same.consistent_options(0, 1, Labeling({0: T, 1: F})) == [(T, T), (F, F)]
    assert same.consistent_options(0, 2, Labeling({0: T, 2: T})) == [(T, F), (F, T), (F, F)]


@pytest.mark.parametrize("name", ["asymmetry", "exactly-one"])
def test_exactly_one(name: str) -> None:
    one = rule(name, ("q", None), ("q", None))
    assert one.conflicts(Labeling({0: F})) == []
    assert one.conflicts(Labeling({0: F, 1: F})) == [(0, 1)]
    assert one.conflicts(Labeling({0: T, 1: T})) == [(0, 1)]
    assert one.consistent_options(0, 1, Labeling({0: T, 1: T})) == [(T, F), (F, T)]


def test_exactly_one_asks_for_a_true_only_when_the_group_is_complete() -> None:
    one = rule("exactly-one", ("q", None), ("q", None), ("q", None))
    assert one.conflicts(Labeling({0: F, 1: F})) == []
    assert one.conflicts(Labeling({0: F, 1: F, 2: F})) == [(0, 1), (0, 2), (1, 2)]
    assert one.consistent_options(0, 1, Labeling({0: T, 1: T})) == [(T, F), (F, T), (F, F)]
    assert one.consistent_options(0, 1, Labeling({0: T, 1: T, 2: F})) == [(T, F), (F, T)]


def test_exclusive() -> None:
    most = rule("exclusive", ("q", None), ("q", None))
    assert most.conflicts(Labeling({0: F, 1: F})) == []
    assert most.consistent_options(0, 1, Labeling({0: T, 1: T})) == [(T, F), (F, T), (F, F)]


def test_all_true_violates_every_rule_but_none_and_all_false_only_two() -> None:
    examples = (("q", "4"), ("q", "5"))
    violated = {
        label: {name for name in RULES if rule(name, *examples).conflicts(Labeling({0: label, 1: label}))}
        for label in (T, F)
    }
    assert violated[T] == set(RULES) - {"none"}
    assert violated[F] == {"asymmetry", "exactly-one"}


def test_what_counts_as_true_is_named() -> None:
    examples = [Example(str(k), {}, "q") for k in range(2)]
    yes = make_rule("exclusive", examples, ("no", "yes", "unsure"), "yes")
    assert yes.conflicts(Labeling({0: "yes", 1: "yes"})) == [(0, 1)]
    assert yes.conflicts(Labeling({0: "no", 1: "no"})) == []
    with pytest.raises(SettingError, match="name one of them"):
        make_rule("exclusive", examples, ("no", "yes"), "True")
    with pytest.raises(SettingError, match="does not exist"):
        make_rule("sometimes", examples, ("no", "yes"), "yes")
