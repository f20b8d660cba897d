"""Suites of experiments: cells, labels that gold makes, uses, intervals, and what a report says of them."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from icm_engine import jobs
from icm_engine.analysis.evaluation import difference, estimate, recovered
from icm_engine.analysis.figures import DARK, LIGHT
from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.labeling import Task
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import TableScorer
from icm_engine.core.settings import ModelChoice
from icm_engine.data.gold import add_gold, add_human, load_gold
from icm_engine.experiments import plan, runner
from icm_engine.experiments.plan import Cell, ensure_selected, surface
from icm_engine.experiments.report import figures, write_report
from icm_engine.experiments.report_tables import tables
from icm_engine.experiments.results import CellOutcome, _mcnemar, predictors
from icm_engine.experiments.runner import Chosen, all_predictors, drive
from icm_engine.experiments.suites import SHIPPED, Arm, Use, read_suite
from icm_engine.jobs.downstream_eval import use_labels
from icm_engine.runs import control
from icm_engine.runs.verify import verify
from icm_engine.store.events import Json
from icm_engine.store.replay import current_state, open_run
from icm_engine.store.store import Store
from tests.support.experiment_suites import SUITE, done_suite, here, suite_file, suite_results
from tests.support.held_jobs import HeldJob
from tests.support.paths import ROOT
from tests.support.stores import small_dataset

TASK = Task("t", "{text}")
FAKE = Chosen(ModelChoice("fake"))


WORDLESS = {"zero-shot, chat", "judge, direct", "judge, step by step", "judge, by criteria", "judge, majority of 5"}


def quiet(done: int, total: int | None, words: str) -> None:
    """Report no progress."""


# -- suites


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_suite_can_be_read(name: str, quick: bool) -> None:
    suite = read_suite(name, quick)
    assert suite.arms
    assert suite.seeds
    assert (suite.name, len({arm.name for arm in suite.arms})) == (name, len(suite.arms))


def test_a_suite_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="suite 'mian' does not exist: use one of main"):
        read_suite("mian")
    for text, said in (
        (SUITE.replace('of = "ICM"', 'of = "IMC"'), "no arm 'IMC'"),
        (SUITE.replace('name = "random"', 'name = "ICM"'), "the same name"),
        (SUITE.replace("once = true", "onec = true", 1), "onec"),
        (SUITE.replace("title", "titel", 1), "title"),
        ("[[", "cannot be read"),
    ):
        with pytest.raises(SettingError, match=said):
            read_suite(suite_file(tmp_path, text))


# -- labels that gold makes


def test_labels_with_errors_have_exactly_so_many() -> None:
    gold = {f"e{i}": "True" if i % 3 else "False" for i in range(20)}
    for wrong in (0, 3, 20):
        labels = plan.with_errors(gold, TASK, wrong, seed=1)
        assert sum(labels[i] != gold[i] for i in gold) == wrong
    assert plan.with_errors(gold, TASK, 3, 1) != plan.with_errors(gold, TASK, 3, 2)
    assert plan.mirror(gold, TASK) == plan.with_errors(gold, TASK, 20, 0)
    assert set(plan.majority(gold, TASK).values()) == {"True"}


def test_errors_at_length_are_those_of_the_longest_groups(store: Store) -> None:
    """Groups of three, of which g9 and on are longer (two digits): 4 wrong labels are those of two whole groups."""
    small_dataset(store, groups=12)
    task, examples = store.dataset("sums").task, store.dataset("sums").examples
    gold = dict(load_gold(store, "sums").labels)
    for wrong, groups in ((0, set()), (3, {"g10"}), (4, {"g10", "g11"}), (36, {f"g{k}" for k in range(12)})):
        labels = plan.wrong_at_length(task, examples, gold, wrong)
        assert {e.group for e in examples if labels[e.id] != gold[e.id]} == groups
        assert sum(labels[i] != gold[i] for i in gold) == 3 * len(groups)


def test_a_text_classifier_finds_a_word_that_gives_gold_away_and_nothing_else(store: Store) -> None:
    small_dataset(store, groups=20)
    examples = store.dataset("sums").examples
    gold = {e.id: str("(0)" in e.fields["claim"]) for e in examples}  # a word of the text
    found = plan.text_only(store.dataset("sums").task, examples, gold)
    assert found == gold
    by_group = {e.id: str(int(e.group[1:]) % 2 == 0) for e in examples}  # no fold sees another claim of its group
    found = plan.text_only(store.dataset("sums").task, examples, by_group)
    assert sum(found[i] == by_group[i] for i in by_group) < len(by_group)


def test_a_text_classifier_with_too_little_to_learn_from_is_refused(store: Store) -> None:
    """Neither one group nor gold of one kind becomes the majority's labels: the source is not applicable, and why."""
    small_dataset(store, groups=6)
    task, examples = store.dataset("sums").task, store.dataset("sums").examples
    gold = dict(load_gold(store, "sums").labels)
    for some, labels in ((examples[:3], gold), (examples, dict.fromkeys(gold, "True"))):
        with pytest.raises(SettingError, match="a fold with one label only: use more examples"):
            plan.text_only(task, some, {e.id: labels[e.id] for e in some})


def test_a_selection_has_its_share_and_keeps_gold(store: Store) -> None:
    small_dataset(store, groups=20)
    name = ensure_selected(store, "sums", "imbalance", 0.9, 20)
    gold = load_gold(store, name).labels
    assert Counter(gold.values()) == {"True": 18, "False": 2}
    assert gold.items() <= load_gold(store, "sums").labels.items()
    assert ensure_selected(store, "sums", "imbalance", 0.9, 20) == name
    name = ensure_selected(store, "sums", "spurious", 0.75, 20)
    gold, dataset = load_gold(store, name).labels, store.dataset(name)
    text = {e.id: dataset.task.template.format(**e.fields) for e in dataset.examples}
    assert sum((gold[i] == "True") == surface(text[i]) for i in gold) == 15
    with pytest.raises(SettingError, match="has 40 and 20 examples of the two kinds, and 30 and 30 are wanted"):
        ensure_selected(store, "sums", "imbalance", 0.5, 60)


def test_surface_reads_the_last_number() -> None:
    assert [surface(text) for text in ("2 + 3 is 4", "4 is 5", "four", "five!")] == [True, False, True, False]


# -- driving


def test_a_suite_makes_its_cells_once_and_marks_what_gold_made(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(monkeypatch)
    small_dataset(store, groups=6)
    suite = read_suite(suite_file(tmp_path))
    driven = drive(store, suite, "sides", FAKE, quiet)
    assert Counter(one.cell.arm.name for one in driven) == {
        "ICM": 2, "golden": 1, "perturbed": 2, "random": 2, "human": 1,
    }  # fmt: skip
    failed = [one for one in driven if one.reason]
    assert [one.cell.arm.name for one in failed] == ["human"]
    assert "has no human labels" in str(failed[0].reason)
    for one in driven:
        if one.run:
            assert store.spec(one.run).supervised == (one.cell.arm.source == "given")
            assert store.spec(one.run).experiment == "sides"
    runs, events = store.run_names(), {run: store.last_number(run) for run in store.run_names()}
    again = drive(store, suite, "sides", FAKE, quiet)
    assert [(one.run, one.use) for one in again] == [(one.run, one.use) for one in driven]
    assert (store.run_names(), {run: store.last_number(run) for run in runs}) == (runs, events)
    assert store.run_names(of_experiments=False) == []


def test_perturbed_labels_have_the_accuracy_of_the_arm_they_go_by(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(monkeypatch)
    small_dataset(store, groups=6)
    driven = drive(store, read_suite(suite_file(tmp_path)), "sides", FAKE, quiet)
    gold = load_gold(store, "sums").labels
    right = dict[tuple[str, int], int]()
    for one in driven:
        if one.run:
            opened = open_run(store, one.run)
            state = current_state(store, opened)
            assert state is not None
            hits = sum(gold[opened.codec.ids[i]] == y for i, y in state.labeling.items())
            right[one.cell.arm.name, one.cell.seed] = hits
    assert right["perturbed", 0] == right["ICM", 0]
    assert right["perturbed", 1] == right["ICM", 1]
    assert right["golden", 0] == 12


FOLDS_SUITE = """
title = "Folds"
question = "What do they cost?"
datasets = ["sums"]
examples = 18
seeds = [0, 1]

[[arms]]
name = "ICM"
settings = { max_steps = 12 }

[[arms]]
name = "folds"
source = "folds"
options = { folds = 3 }
"""


def test_a_suite_with_folds_finds_its_runs_again_and_says_what_they_cost(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_dataset(store)
    first = suite_results(store, monkeypatch, tmp_path, FOLDS_SUITE)
    runs = store.run_names()
    again = suite_results(store, monkeypatch, tmp_path, FOLDS_SUITE)
    assert store.run_names() == runs
    assert again["cells"] == first["cells"]
    rows = {row["arm"]: row for row in first["rows"]}
    search, folds = rows["ICM"], rows["folds"]
    assert search["cost"]["fits"] == search["cost"]["tokens_tuned"] == 0
    rounds = [cell["steps"] for cell in first["cells"] if cell["arm"] == "folds"]
    assert folds["cost"]["fits"] == sum(3 * steps for steps in rounds) / 2
    assert folds["ends"]["runs"] == 2
    table = next(table for table in tables(first) if table.title == "Label sources on sums")
    assert "fits" in table.head
    assert {len(row) for row in table.rows} == {len(table.head)}
    scales = {json.dumps(cell["scale"]) for cell in first["cells"]}
    assert len(scales) == 2, "U by prompts and U by tuned models are ranked apart"


def test_what_is_not_supervised_is_the_same_whatever_gold_says(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(monkeypatch)
    small_dataset(store, groups=6)
    suite = read_suite(suite_file(tmp_path))
    suite = replace(suite, arms=tuple(arm for arm in suite.arms if arm.source != "given"))
    gold = dict(load_gold(store, "sums").labels)
    seen = []
    for key, labels in (("as it is", gold), ("turned", plan.mirror(gold, TASK)), ("none", {})):
        add_gold(store, "sums", labels)
        driven = drive(store, suite, key, FAKE, quiet)
        assert not any(one.reason for one in driven)
        bodies = [[event.body for event in store.read_after(one.run or "")] for one in driven]
        uses = [(jobs.result(store, one.use or "") or {})["parts"] for one in driven]
        seen.append((bodies, uses))
    assert seen[0] == seen[1] == seen[2]


WEAK = """
title = "Weak to strong"
question = "How much is recovered?"
datasets = ["sums"]
examples = 18
seeds = [0, 1]
recover = [{ weak = "weak", ceiling = "golden", arms = ["shown", "from column", "ICM"] },
           { weak = "golden", ceiling = "golden", arms = ["ICM"] }]

[[arms]]
name = "golden"
source = "given-shots"
labels = "golden"
once = true

[[arms]]
name = "weak"
source = "given"
labels = "errors"
share = 0.34

[[arms]]
name = "shown"
source = "given-shots"
labels = "errors"
share = 0.34

[[arms]]
name = "mixed"
source = "given-mixed"
labels = "errors"
share = 0.34

[[arms]]
name = "from all"
start = "errors"
share = 0.34
settings = { max_steps = 8, initial_labels = 99 }

[[arms]]
name = "column, shown"
source = "given-shots"
labels = "human"

[[arms]]
name = "from column"
start = "human:crowd"
settings = { max_steps = 8 }

[[arms]]
name = "ICM"
settings = { max_steps = 8 }
"""


def crowd(store: Store) -> None:
    """A column of weak labels: True for all."""
    add_human(store, "sums", "crowd", {e.id: "True" for e in store.dataset("sums").examples})


def test_all_arms_of_weak_labels_have_the_same_ones_and_are_supervised(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(monkeypatch)
    small_dataset(store, groups=6)
    crowd(store)
    driven = drive(store, read_suite(suite_file(tmp_path, WEAK)), "weak", FAKE, quiet)
    specs = {(one.cell.arm.name, one.cell.seed): store.spec(one.run or "") for one in driven}
    gold = dict(load_gold(store, "sums").labels)
    weak = [specs["weak", seed].given or {} for seed in (0, 1)]
    assert [sum(labels[i] != gold[i] for i in gold) for labels in weak] == [6, 6]
    assert weak[0] != weak[1]
    for seed, arm in ((seed, arm) for seed in (0, 1) for arm in ("shown", "mixed", "from all")):
        assert specs[arm, seed].given == weak[seed]
    column = specs["from column", 0]
    assert (len(column.given or {}), column.given_from) == (8, "human:crowd initial labels")
    assert specs["from all", 0].given_from == "errors, 34% initial labels"
    assert {arm for (arm, _), spec in specs.items() if not spec.supervised} == {"ICM"}


def test_weak_labels_of_a_column_bring_no_gold_into_a_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With gold, with gold turned around, without gold: the same events from the same column."""
    here(monkeypatch)
    small_dataset(store, groups=6)
    crowd(store)
    suite = read_suite(suite_file(tmp_path, WEAK))
    suite = replace(suite, arms=tuple(arm for arm in suite.arms if "human" in arm.labels + arm.start), recover=())
    gold, seen = dict(load_gold(store, "sums").labels), []
    for key, labels in (("as it is", gold), ("turned", plan.mirror(gold, TASK)), ("none", {})):
        add_gold(store, "sums", labels)
        driven = drive(store, suite, key, FAKE, quiet)
        assert [one.reason for one in driven] == [None] * 4
        seen.append([[event.body for event in store.read_after(one.run or "")] for one in driven])
    assert seen[0] == seen[1] == seen[2]


def test_a_start_from_a_column_with_gaps_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(monkeypatch)
    small_dataset(store, groups=6)
    add_human(store, "sums", "crowd", {"sums-0-0": "True"})
    suite = read_suite(suite_file(tmp_path, WEAK))
    suite = replace(suite, arms=tuple(arm for arm in suite.arms if arm.name == "from column"), recover=())
    driven = drive(store, suite, "weak", FAKE, quiet)
    reasons = [one.reason or "" for one in driven]
    assert ["human:crowd initial labels lack one for example 'sums-" in reason for reason in reasons] == [True, True]


def test_a_report_says_how_much_of_the_gap_was_recovered(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_dataset(store, groups=6)
    found = suite_results(store, monkeypatch, tmp_path, WEAK)
    assert [(one["arm"], one["weak"]) for one in found["recovered"]] == [
        ("shown", "weak"), ("ICM", "weak"), ("ICM", "golden"),
    ]  # fmt: skip
    rows = {row["arm"]: row["accuracy"]["mean"] for row in found["rows"] if "accuracy" in row}
    for one in found["recovered"][:-1]:
        weak, made, ceiling = (rows[arm] for arm in ("weak", one["arm"], "golden"))
        assert (one["from"], one["to"], one["of"]) == (weak, made, ceiling)
        share = pytest.approx((made - weak) / (ceiling - weak)) if ceiling > weak else None
        assert one["value"] == share
    table = next(table for table in tables(found) if table.title == "Performance gap recovered")
    assert table.rows[-1][-1] == "undefined: the ceiling is not above the weak labels (+0.0 [+0.0, +0.0] points)"


BASELINES = """
title = "The usual exercise"
question = "How do labels do in use beside zero-shot?"
datasets = ["sums"]
examples = 12
seeds = [0, 1]
compare = [["ICM", "zero-shot"]]

[use]
test = 5

[[arms]]
name = "zero-shot"
source = "zero-shot"
test = true
once = true

[[arms]]
name = "ICM"
settings = { max_steps = 8 }
"""


def test_an_arm_on_the_test_part_labels_the_examples_of_the_uses(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_dataset(store, groups=6)
    found = suite_results(store, monkeypatch, tmp_path, BASELINES)
    rows = {row["arm"]: row for row in found["rows"]}
    (run,) = rows["zero-shot"]["runs"]
    ids = list(open_run(store, run).codec.ids)
    assert ids == ["sums-4-0", "sums-4-1", "sums-4-2", "sums-5-0", "sums-5-1"]
    asked = [jobs.result(store, job) or {} for job in jobs.names(store, "use")]
    assert [[name for _, name in use["examples"]] for use in asked] == [ids, ids]
    assert not store.spec(run).supervised
    gold = load_gold(store, "sums").labels
    state = current_state(store, open_run(store, run))
    assert state is not None
    share = sum(state.labeling[i] == gold[name] for i, name in enumerate(ids)) / 5
    assert (rows["zero-shot"]["accuracy"], rows["zero-shot"]["used"][0]["shots"]) == (None, 0)
    assert rows["zero-shot"]["used"][0]["mean"] == pytest.approx(share)
    (compared,) = found["differences"]
    assert (compared["what"], compared["mean"]) == ("use", pytest.approx(rows["ICM"]["used"][0]["mean"] - share))
    bars = figures(found)[0].figure
    assert [(bar.name, list(bar.y)) for bar in bars.data] == [
        ("labels", ["ICM", "ICM, best of 2 by U"]), ("in use", ["zero-shot", "ICM", "ICM, best of 2 by U"]),
    ]  # fmt: skip
    assert "A source with 0 shots labelled those examples itself." in tables(found)[0].caption


def test_an_arm_on_the_test_part_takes_a_test_data_set_and_sees_no_gold(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(monkeypatch)
    small_dataset(store, groups=6)
    small_dataset(store, "others", groups=4)
    suite = replace(read_suite(suite_file(tmp_path, BASELINES)), use=Use(test=12))
    suite, seen = replace(suite, arms=suite.arms[:1]), []
    gold = dict(load_gold(store, "others").labels)
    for key, labels in (("as it is", gold), ("turned", plan.mirror(gold, TASK)), ("none", {})):
        add_gold(store, "others", labels)
        (one,) = drive(store, suite, key, replace(FAKE, test="others"), quiet)
        assert (one.tested, one.use, store.spec(one.run or "").dataset) == ("others", None, "others-test-12")
        seen.append([event.body for event in store.read_after(one.run or "")])
    assert seen[0] == seen[1] == seen[2]
    assert len(open_run(store, one.run or "").codec.ids) == 12
    (mixed,) = drive(store, replace(suite, use=Use(test=15)), "mixed", replace(FAKE, test="others"), quiet)
    assert "needs test examples of one data set, and they are from others and sums" in str(mixed.reason)
    (none,) = drive(store, replace(suite, examples=18), "none", FAKE, quiet)
    assert "they are from none" in str(none.reason)


# -- using labels


def test_use_shows_so_many_labels_and_asks_about_every_test_example(store: Store, tmp_path: Path) -> None:
    """Believes what most demonstrations say: of 12 golden labels 8 are True, and none makes it say the first label."""
    small_dataset(store, groups=6)
    asked: list[Prompt] = []

    def belief(prompt: Prompt) -> tuple[float, ...]:
        asked.append(prompt)
        shown = [segment[1].strip() for segment in prompt.segments[:-1]]
        true = shown.count("True") >= len(shown) / 2
        return (-0.1, -3.0) if true else (-3.0, -0.1)

    with pytest.MonkeyPatch.context() as patch:
        here(patch)
        driven = drive(store, read_suite(suite_file(tmp_path)), "sides", FAKE, quiet)
    (golden,) = (one for one in driven if one.cell.arm.name == "golden")
    body = {"run": golden.run, "test": [{"dataset": "sums", "start": 12}], "most": 5, "shots": [0, 4, "fit", 99],
            "shuffles": 2, "seed": 0}  # fmt: skip
    held = HeldJob(store, body)
    found = use_labels(held, TableScorer(belief))
    assert [(part["shots"], part["shuffle"]) for part in found["parts"]] == [(0, 0), (4, 0), (4, 1), (12, 0), (12, 1)]
    assert [name for _, name in found["examples"]] == [f"sums-{4 + k // 3}-{k % 3}" for k in range(5)]
    assert [len(prompt.segments) - 1 for prompt in asked[::5]] == [0, 4, 4, 12, 12]
    assert all(part["log_probs"] == [[-0.1, -3.0]] * 5 for part in found["parts"][3:])
    first, second = asked[15], asked[20]
    assert first.segments[:-1] != second.segments[:-1]  # another shuffle
    assert set(first.segments[:-1]) == set(second.segments[:-1])
    asked.clear()
    again = use_labels(held, TableScorer(belief))
    assert (again["parts"], asked) == (found["parts"], [])  # what was kept is not asked again


def test_use_needs_labels_and_test_examples(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch)
    small_dataset(store, groups=4)  # as many examples as the suite labels
    (one, *_) = drive(store, read_suite(suite_file(tmp_path)), "sides", FAKE, quiet)
    assert one.use is not None
    assert jobs.status(store, one.use).phase == "failed"
    assert "no test example besides those" in jobs.status(store, one.use).message


# -- intervals


def test_estimate_by_hand() -> None:
    """Seeds with 3 of 4 and 1 of 4 right: mean one half. All right, whatever is drawn: an interval of one point."""
    made = estimate([{"a": (2, 2), "b": (1, 2)}, {"a": (0, 2), "b": (1, 2)}])
    assert (made.mean, made.values) == (0.5, (0.75, 0.25))
    assert 0 <= made.low < 0.5 < made.high <= 1
    sure = estimate([{"a": (2, 2), "b": (2, 2)}])
    assert (sure.low, sure.mean, sure.high) == (1, 1, 1)


def test_an_interval_is_as_wide_as_its_groups_are_few() -> None:
    """All of a group is right or wrong together: 20 examples in 2 groups know less than 20 in 20."""
    few = estimate([{"a": (10, 10), "b": (0, 10)}])
    many = estimate([{str(i): (float(i % 2), 1) for i in range(20)}])
    assert few.high - few.low > many.high - many.low


def test_one_group_says_nothing_of_others() -> None:
    made = estimate([{"a": (4, 4)}])
    assert (made.low, made.mean, made.high) == (0, 1, 1)
    made = difference([{"a": (4, 4)}], [{"a": (1, 4)}])
    assert (made.low, made.mean, made.high) == (-1, 0.75, 1)


def test_difference_resamples_both_sides_together() -> None:
    """One is right exactly where the other is, and on one example more in every group: always half."""
    one = [{str(i): (float(i % 2) + 1, 2) for i in range(10)}]
    other = [{str(i): (float(i % 2), 2) for i in range(10)}] * 3
    made = difference(one, other)
    assert (made.low, made.mean, made.high) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="different examples"):
        difference(one, [{"x": (1, 1)}])


def test_recovered_by_hand() -> None:
    """Weak 1 of 4 in every group, ceiling 3, source 2: half of the gap, whatever is drawn. Equal to weak: nothing."""
    weak, strong, ceiling = ([{str(i): (right, 4) for i in range(8)}] for right in (1, 2, 3))
    made = recovered(weak, strong, ceiling * 3)
    assert (made.value, made.low, made.high, made.gap.mean) == (0.5, 0.5, 0.5, 0.5)
    assert recovered(weak, weak, ceiling).value == 0
    assert recovered(strong, weak, ceiling).value == -1  # worse than the weak labels
    with pytest.raises(ValueError, match="different examples"):
        recovered(weak, strong, [{"x": (1, 1)}])


def test_recovered_has_no_number_without_a_gap_and_no_interval_near_one() -> None:
    weak = [{str(i): (float(i < 4), 1) for i in range(8)}]  # right on four of eight
    assert recovered(weak, weak, weak).value is None
    below = recovered(weak, weak, [{str(i): (0.0, 1) for i in range(8)}])
    assert (below.value, below.gap.mean) == (None, -0.5)
    near = recovered(weak, weak, [{str(i): (float(i < 5), 1) for i in range(8)}])  # a third of resamples miss the fifth
    assert (near.value, near.low, near.high) == (0, None, None)
    one = recovered([{"a": (1, 4)}], [{"a": (2, 4)}], [{"a": (3, 4)}])  # one group says nothing of others
    assert (one.value, one.low) == (0.5, None)
    wide = recovered(weak, [{str(i): (float(i < 6), 1) for i in range(8)}], [{str(i): (1.0, 1) for i in range(8)}])
    assert wide.value == 0.5
    assert wide.low is not None
    assert wide.high is not None
    assert 0 <= wide.low < 0.5 < wide.high <= 1


def test_predictors_find_what_goes_with_accuracy() -> None:
    def cell(dataset: str, k: int) -> dict[str, object]:
        base = 0.1 if dataset == "hard" else 0.6  # a data set that is easier, with a lower U: no contradiction
        return {"dataset": dataset, "accuracy": base + k / 100, "utility": k - (100 if dataset == "easy" else 0),
                "scale": {}, "supervised": False, "reason": None, "label_mass": 1.0, "margin": (k * 7) % 10,
                "balance": {"True": 10 + k, "False": 10}, "agreement": None, "pairs": k}  # fmt: skip

    found = {one["number"]: one for one in predictors([cell(d, k) for d in ("hard", "easy") for k in range(10)])}
    assert found["U"]["correlation"] == pytest.approx(1)
    assert found["inconsistent pairs, fewer"]["correlation"] == pytest.approx(-1)
    assert found["balance"]["correlation"] == pytest.approx(-1)
    assert (found["label mass"]["correlation"], found["label mass"]["datasets"]) == (None, 0)  # always the same
    assert found["agreement across seeds"]["correlation"] is None
    assert (found["U"]["datasets"], found["U"]["runs"]) == (2, 20)
    assert found["margin"]["low"] < 0 < found["margin"]["high"]


def test_predictors_rank_u_within_one_scale() -> None:
    """Within each form U falls with accuracy; the better form has the larger U, which says nothing about a run."""

    def cell(form: str, k: int) -> dict[str, object]:
        better = form == "centred_log_odds"
        accuracy, utility = (0.5, 200) if better else (0.1, 50)
        return {"dataset": "sums", "accuracy": accuracy + k / 100, "utility": utility - k,
                "scale": {"predictability": form, "alpha": 1.5}, "supervised": False, "reason": None, "label_mass": 1.0,
                "margin": 1.0, "balance": {"True": 10, "False": 10}, "agreement": None, "pairs": k}  # fmt: skip

    cells = [cell(form, k) for form in ("mean_log_odds", "centred_log_odds") for k in range(10)]
    found = {one["number"]: one for one in predictors(cells)}
    assert found["U"]["correlation"] == pytest.approx(-1)
    assert (found["U"]["datasets"], found["U"]["runs"]) == (1, 20)


# -- the whole


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, str]]:
    """A database with a suite that is done, and its job: for tests that change neither."""
    folder = tmp_path_factory.mktemp("suite")
    with Store(folder / "icm.db") as store:
        small_dataset(store, groups=6)
        with pytest.MonkeyPatch.context() as patch:
            job = done_suite(store, patch, folder)
        yield store, job


@pytest.fixture
def results(done: tuple[Store, str]) -> Json:
    """The results of that suite."""
    store, job = done
    found = jobs.result(store, job)
    assert found is not None
    return found


def test_results_add_up(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_dataset(store, groups=6)
    add_human(store, "sums", "anna", {i: "True" for i in load_gold(store, "sums").labels})
    found = suite_results(store, monkeypatch, tmp_path)
    rows = {row["arm"]: row for row in found["rows"]}
    assert list(rows) == ["ICM", "ICM, best of 2 by U", "golden", "perturbed", "random", "human"]
    assert rows["golden"]["accuracy"]["mean"] == 1
    assert rows["human"]["accuracy"]["mean"] == pytest.approx(8 / 12)
    best = max(range(2), key=lambda k: rows["ICM"]["utility"][k])
    assert rows["ICM, best of 2 by U"]["utility"] == [rows["ICM"]["utility"][best]]
    assert rows["ICM, best of 2 by U"]["accuracy"]["values"] == [rows["ICM"]["accuracy"]["values"][best]]
    assert rows["random"]["cost"]["prompts"] == 0
    assert [used["shots"] for used in rows["golden"]["used"]] == [0, 4, 12]
    assert {(d["one"], d["other"], d["what"]) for d in found["differences"]} == {
        ("ICM", "golden", "labels"), ("ICM", "golden", "use"), ("ICM", "random", "labels"), ("ICM", "random", "use"),
    }  # fmt: skip
    labels = next(d for d in found["differences"] if (d["other"], d["what"]) == ("golden", "labels"))
    assert labels["mean"] == pytest.approx(rows["ICM"]["accuracy"]["mean"] - 1)
    assert len(labels["mcnemar"]) == 2  # one for each seed; gold is never wrong, so only the other can be right alone
    for test, accuracy in zip(labels["mcnemar"], rows["ICM"]["accuracy"]["values"], strict=True):
        assert (test["only_one"], test["only_other"]) == (0, round(12 * (1 - accuracy)))
        assert test["p"] == pytest.approx(min(1.0, 2 * 0.5 ** test["only_other"]))
    differences = next(table for table in tables(found) if table.title == "Differences")
    assert [row[-1] for row in differences.rows if row[2] == "in use"] == ["–", "–"]


def test_mcnemar_compares_runs_of_one_seed_also_where_others_failed() -> None:
    def arm(name: str, once: bool = False, **right: bool) -> list[CellOutcome]:
        """A run for each seed, which has its one example right or wrong."""
        cells = [(Cell(Arm(name, once=once), "sums", int(seed[1:])), mark) for seed, mark in right.items()]
        return [CellOutcome(cell, f"{name}-{cell.seed}", marks={"e": mark}) for cell, mark in cells]

    one, other = arm("one", s1=True, s2=False), arm("other", s0=True, s2=True)
    assert _mcnemar(one, other) == [{"runs": ["one-2", "other-2"], "only_one": 0, "only_other": 1, "p": 1.0}]
    assert [made["runs"][0] for made in _mcnemar(one, arm("gold", once=True, s0=True))] == ["one-1", "one-2"]


def test_equal_labels_are_used_once(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who is always right has the labels of gold: what these come to in use is not asked again."""
    small_dataset(store, groups=6)
    add_human(store, "sums", "anna", load_gold(store, "sums").labels)
    found = suite_results(store, monkeypatch, tmp_path)
    asked = {jobs.spec(store, job).body["run"] for job in jobs.names(store, "use")}
    assert [cell["arm"] for cell in found["cells"] if cell["run"] not in asked] == ["human"]
    rows = {row["arm"]: row for row in found["rows"]}
    assert rows["human"]["used"] == rows["golden"]["used"]


def test_the_balance_of_a_report_is_of_one_label_also_where_nobody_got_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Human labels are all False: 0 % of them are True, and not 100 %."""
    small_dataset(store, groups=6)
    add_human(store, "sums", "anna", dict.fromkeys(load_gold(store, "sums").labels, "False"))
    found = suite_results(store, monkeypatch, tmp_path)
    table = next(table for table in tables(found) if table.title == "Label sources on sums")
    shares = {row[0]: row[table.head.index("True")] for row in table.rows}
    assert (shares["human *"], shares["golden *"]) == ("0 %", "67 %")


def test_a_report_names_each_run_that_came_to_one_label(results: Json) -> None:
    """Seeds are averaged in the tables; a constant among them is said by itself, but not one that was given."""
    title = "Nearly constant labels"
    assert title not in [table.title for table in tables(results)]
    cells = {(cell["arm"], cell["seed"]): cell for cell in results["cells"]}
    for cell in (cells["ICM", 1], cells["golden", 0]):
        cell["balance"] = {"True": 23, "False": 1}
    cells["ICM", 1] |= {"utility": 77.04, "accuracy": 0.5}
    cells["ICM", 0]["balance"] = {"True": 22, "False": 2}
    table = next(table for table in tables(results) if table.title == title)
    words = "23 of 24 labels are True: the labels may have collapsed to a constant."
    assert table.rows == (("ICM", "sums", "1", words, "77.0", "50.0 %"),)


def test_predictors_look_at_all_suites_or_at_one_source(store: Store, done: tuple[Store, str]) -> None:
    with pytest.raises(NotFound, match="no suite has been run"):
        all_predictors(store)
    everything, searches = all_predictors(done[0]), all_predictors(done[0], "icm")
    assert (everything["suites"], everything["runs"], searches["runs"]) == (["sides"], 7, 2)
    assert all_predictors(done[0], "icm", 1.1)["runs"] == 0


def test_a_report_has_every_number_and_needs_no_network(results: Json, tmp_path: Path) -> None:
    markdown, page, *_ = write_report(results, tmp_path / "report")
    text, html = markdown.read_text(encoding="utf-8"), page.read_text(encoding="utf-8")
    for table in tables(results):
        for row in table.rows:
            assert "| " + " | ".join(row) + " |" in text
            assert f"<td>{row[0]}</td>" in html
    assert "| human | sums | data set 'sums' has no human labels: not applicable |" in text
    assert "python -m icm_engine evaluate sides.toml --model fake" in text
    assert "<script src=" not in html
    with pytest.raises(SettingError, match="cannot be written"):
        write_report(results, markdown / "below-a-file")


def test_the_figures_of_a_report_follow_the_theme(results: Json) -> None:
    for dark, colours in ((False, LIGHT), (True, DARK)):
        bars, shots, curves = figures(results, dark)
        labels, used = bars.figure.data
        assert (labels.marker.color, used.marker.color) == (colours.strong, colours.rejected)
        assert labels.error_x.color == colours.text
        assert shots.figure.data[1].line.color == colours.rejected
        assert {line.line.color for line in curves.figure.data} == {colours.strong}
        assert {chart.figure.layout.font.color for chart in (bars, shots, curves)} == {colours.text}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_line_runs_a_suite_and_goes_on_with_what_is_left(tmp_path: Path) -> None:
    """`evaluate main --quick` on the sample model: real processes, and nothing is run twice."""
    command = [sys.executable, "-m", "icm_engine", "evaluate", "main", "--quick", "--json"]
    command += ["--db", str(tmp_path / "icm.db"), "--processes", "2", "--output", str(tmp_path / "report")]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = json.loads(subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout)
    assert first["cells"] == 27
    assert (tmp_path / "report" / "report.html").stat().st_size > 1_000_000
    with Store(tmp_path / "icm.db") as store:
        runs = store.run_names()
        found = jobs.result(store, first["job"])
        assert found is not None
        assert {cell["arm"] for cell in found["cells"] if cell["reason"]} == WORDLESS
    second = json.loads(subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout)
    with Store(tmp_path / "icm.db") as store:
        assert store.run_names() == runs
        again = jobs.result(store, second["job"])
        assert again is not None
        assert again["rows"] == found["rows"]


LONG = """
title = "One search"
question = "Does it go on?"
datasets = ["sums"]
examples = 12
seeds = [0, 1]

[[arms]]
name = "ICM"
settings = { max_steps = 4000 }
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cancelled_suite_leaves_its_run_paused_and_asked_again_goes_on(tmp_path: Path) -> None:
    """Real processes: what is in progress ends after its step, and the log is that of one run."""
    with Store(tmp_path / "icm.db") as store:
        small_dataset(store)
        suite = suite_file(tmp_path, LONG)
        job = runner.submit(store, suite, ModelChoice("fake"))
        while not (store.run_names() and any(control.status(store, run).steps > 20 for run in store.run_names())):
            assert not jobs.status(store, job).settled
            control.wait()
        jobs.cancel(store, job)
        for one in [job, *jobs.names(store, "batch")]:
            assert jobs.wait_until_settled(store, one).phase == "cancelled"
        assert sorted(control.status(store, run).phase for run in store.run_names()) == ["created", "paused"]
        assert jobs.wait_until_settled(store, runner.submit(store, suite, ModelChoice("fake"))).phase == "done"
        for run in store.run_names():
            assert control.status(store, run).phase == "finished"
            assert verify(store, open_run(store, run)) == (4000, [])


def test_arguments_are_refused_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "icm_engine", "evaluate", "mian", "--db", str(tmp_path / "icm.db")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("icm: suite 'mian' does not exist")
    assert done.stderr.count("\n") == 1
