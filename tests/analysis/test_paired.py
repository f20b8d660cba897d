"""Two label sources on the same examples: McNemar and the interval by hand, what is left out, what is refused."""

from math import comb

import pytest

from icm_engine.analysis import audit
from icm_engine.analysis.compare_figures import apart_frame, paired_frame, rights_frame, two_ways_frame
from icm_engine.analysis.paired import (
    AUDIT,
    GOLD,
    Paired,
    audit_answers,
    compare,
    mcnemar,
    paired,
    paired_facts,
    paired_words,
    references_of,
    sources_of,
    zero_shot_labels,
)
from icm_engine.analysis.views import load
from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.labeling import Example
from icm_engine.data.gold import add_human
from icm_engine.store.store import Store
from tests.support.stores import add_run, small_dataset

BOTH = ("True", "False")
#            one, other, truth: the first alone is right twice, the second once, both once, neither once
ROWS = (("T", "F", "T"), ("F", "T", "F"), ("T", "F", "F"), ("T", "T", "T"), ("F", "F", "T"))
WORD = {"T": "True", "F": "False"}


def of_rows(groups: str = "aabbc", against: bool = True) -> Paired:
    examples = [Example(str(k), {"claim": f"claim {k}"}, groups[k]) for k in range(len(ROWS))]
    sides = [{str(k): WORD[row[side]] for k, row in enumerate(ROWS)} for side in range(3)]
    reference = ("gold", sides[2]) if against else None
    return paired(examples, BOTH, ("first", "second"), (sides[0], sides[1]), reference)


def test_mcnemar_is_the_doubled_tail_of_a_fair_coin() -> None:
    for b in range(6):
        for c in range(6):
            tail = sum(comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
            assert mcnemar(b, c) == pytest.approx(min(1.0, 2 * tail))


def test_a_comparison_by_hand() -> None:
    """Equal labels: 2 of 5. By chance: first 3 T of 5, second 2 T of 5, 6/25 + 6/25; kappa (0.4 - 0.48) / 0.52."""
    found = of_rows()
    against = found.against
    assert against is not None
    assert found.agreement.raw == 0.4
    assert found.agreement.kappa == pytest.approx((0.4 - 0.48) / 0.52)
    assert found.confusion == ((1, 2), (1, 1))
    assert (against.both_right, against.only_one, against.only_other, against.neither) == (1, 2, 1, 1)
    assert (against.one.mean, against.other.mean) == (pytest.approx(0.6), pytest.approx(0.4))
    assert against.difference.mean == pytest.approx(0.2)
    assert against.p == 1.0  # 2 against 1: twice (1 + 3) / 8
    assert paired_words(found) == [
        "first and second agree on 40% of 5 examples. Cohen's kappa: −0.15.",
        "Against gold, first is right in 60% and second in 40%: "
        f"{100 * 0.2:+.1f} points [{100 * against.difference.low:+.1f}, {100 * against.difference.high:+.1f}].",
        "first alone is right in 2, second alone in 1. Exact McNemar: p = 1. It takes examples as independent; the "
        "interval resamples whole groups.",
    ]


def test_the_interval_resamples_whole_groups() -> None:
    """Differences by group: a +1 +1 of 2, b -1 0 of 2, c 0 of 1. The ends: b alone, a alone, three times."""
    against = of_rows().against
    assert against is not None
    assert against.difference.low == pytest.approx(-0.5)
    assert against.difference.high == pytest.approx(1.0)
    one_group = of_rows("aaaaa").against
    assert one_group is not None
    assert (one_group.difference.low, one_group.difference.high) == (-1.0, 1.0)


def test_without_a_reference_there_is_agreement_alone() -> None:
    found = of_rows(against=False)
    assert found.against is None
    assert len(paired_words(found)) == 1
    assert rights_frame(found).empty
    assert paired_facts("sums", found)["against_reference"] is None
    assert list(paired_frame([found])) == ["and", "examples", "same labels", "kappa"]


def test_a_pair_and_its_twin_are_one_judgement() -> None:
    examples = [Example("a", {}, "a"), Example("a~", {}, "a", twin_of="a"), Example("b~", {}, "b", twin_of="b")]
    same = {"a": "True", "a~": "False", "b~": "True"}
    found = paired(examples, BOTH, ("x", "y"), (same, same))
    assert [row.example for row in found.rows] == ["a", "b~"]  # a twin without its original counts
    assert "1 swapped twins are left out: a pair is one judgement." in paired_words(found)


def test_the_tables_have_every_example_once() -> None:
    found = of_rows()
    assert two_ways_frame(found).to_numpy().tolist() == [["True", 1, 2, 3], ["False", 1, 1, 2], ["all", 2, 3, 5]]
    assert rights_frame(found).to_numpy().tolist() == [["right", 1, 2], ["wrong", 1, 1]]
    apart = apart_frame(found, lambda name: f"text {name}", 2)
    assert list(apart["example"]) == ["0", "1"]
    assert list(apart) == ["first", "second", "gold", "text", "example"]


# -- sources by their names


def test_two_sets_of_human_labels_need_the_data_set_and_no_run(store: Store) -> None:
    small_dataset(store)
    names = [example.id for example in store.examples("sums")]
    add_human(store, "sums", "ann", dict.fromkeys(names[:9], "True"))
    add_human(store, "sums", "ben", {name: "True" if k % 3 else "False" for k, name in enumerate(names)})
    with pytest.raises(SettingError, match="name the data set too"):
        compare(store, "ann", "ben")
    dataset, found = compare(store, "ann", "ben", GOLD, "sums")
    against = found.against
    assert against is not None
    assert (dataset, len(found.rows), found.agreement.raw) == ("sums", 9, pytest.approx(6 / 9))
    assert (against.one.mean, against.other.mean) == (pytest.approx(6 / 9), pytest.approx(3 / 9))
    with pytest.raises(NotFound, match="'cleo' has no labels in data set 'sums'"):
        compare(store, "ann", "cleo", dataset="sums")


def test_a_run_is_compared_with_people_and_with_zero_shot_labels(store: Store) -> None:
    run = add_run(store, "finished")
    labeling = load(store, run).labeling
    ids = [example.id for example in store.examples("sums")]
    add_human(store, "sums", "ann", {ids[i]: label for i, label in labeling.items()})
    _, found = compare(store, run, "ann")
    assert (len(found.rows), found.agreement.raw) == (len(labeling), 1.0)
    assert sources_of(store, load(store, run), [run]) == [run, "ann", GOLD]
    assert zero_shot_labels(store, "sums", load(store, run)) == {}
    with pytest.raises(NotFound, match="'nobody' has no labels here: name a run, gold, zero-shot, ann"):
        compare(store, run, "nobody")


def test_the_answers_of_audits_are_a_reference(store: Store) -> None:
    first, second = (add_run(store, "finished", seed=seed) for seed in (3, 6))
    for run, answers in ((first, 4), (second, 3)):
        for _ in range(answers):
            reading = load(store, run)
            now = audit.audit_of(store, reading, seed=5)
            audit.record(store, reading, now, now.next, "True" if now.next > 1 else None)
    assert references_of(store, load(store, first)) == [GOLD, AUDIT]
    _, found = compare(store, first, second, AUDIT)
    assert found.against is not None
    assert {row.truth for row in found.rows} == {"True"}
    asked = audit_answers(load(store, first)) | audit_answers(load(store, second))
    assert {row.example for row in found.rows} <= set(asked)


def test_gold_of_a_run_that_is_annotated_blind_is_refused(store: Store) -> None:
    first, second = (add_run(store, "paused", seed=seed) for seed in (3, 6))
    body = {
        "acts": [{"verb": "blind", "examples": [], "labels": [], "text": "", "changes": []}],
        "flips": [],
        "after": None,
    }
    store.append(second, "hand", body)
    assert load(store, second).blind
    with pytest.raises(SettingError, match="is annotated blind: its gold is hidden"):
        compare(store, first, second, GOLD)
    assert GOLD not in sources_of(store, load(store, second), [])


def test_runs_on_other_data_cannot_be_paired(store: Store) -> None:
    first, other = add_run(store, "finished"), add_run(store, "finished", dataset="more")
    with pytest.raises(SettingError, match="labels data set 'more': name a run on 'sums'"):
        compare(store, first, other)
