"""Algorithm 1 and 2: purity, presets, draws, replay."""

import hashlib
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icm_engine.core.custom_rules import make_rule
from icm_engine.core.errors import ScoreNotFinite, SettingError
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.objective import Evaluation, Objective
from icm_engine.core.prompting import Prompt, leave_one_out_prompt
from icm_engine.core.repair import Repair
from icm_engine.core.scoring import LabelLogProbs, TableScorer, agreeable_belief
from icm_engine.core.search import (
    State,
    StepInfo,
    accept_probability,
    apply,
    draw_example,
    initialize,
    step,
    temperature,  # fmt: skip
)
from icm_engine.core.settings import EXPLANATIONS, PRESETS, SearchConfig, with_settings
from icm_engine.store.datasets import Dataset
from tests.support.problems import probabilities, problem


def run(objective: Objective, config: SearchConfig, steps: int) -> list[State]:
    state, _ = initialize(objective, config)
    states = [state]
    for _ in range(steps):
        states.append(step(states[-1], objective, config)[0])
    return states


def test_the_same_seed_gives_the_same_chain_from_any_step_on(pairs: Dataset) -> None:
    objective, config = problem(pairs)
    states = run(objective, config, 60)
    again = states[30]
    for _ in range(30):
        again, _ = step(again, objective, config)
    assert again == states[60]
    assert run(*problem(pairs, seed=6), 60)[-1].labeling != states[60].labeling


def test_step_changes_neither_the_state_nor_the_accepted_labels_when_it_rejects(pairs: Dataset) -> None:
    def moody(prompt: Prompt) -> tuple[float, ...]:  # every prompt another belief: half of all changes lower U
        true = (hashlib.sha256(prompt.text.encode()).digest()[0] + 1) / 258
        return probabilities(true, 1 - true)

    objective, config = problem(pairs)
    objective = replace(objective, scorer=TableScorer(moody))
    state, _ = initialize(objective, config)
    verdicts = Counter[str]()
    for _ in range(80):
        labels = dict(state.labeling)
        after, info = step(state, objective, config)
        assert dict(state.labeling) == labels
        if info.verdict == "rejected":
            assert info.flips
            assert after.labeling == state.labeling
            assert after.evaluation == state.evaluation
        verdicts[info.verdict] += 1
        state = after
    assert verdicts["rejected"] > 5
    assert verdicts["accepted"] > 0


def test_initial_labels_are_balanced_in_the_authors_preset(pairs: Dataset) -> None:
    objective, config = problem(pairs, initial_draw="balanced", max_repairs=0)
    for seed in range(20):
        _, info = initialize(objective, replace(config, seed=seed))
        assert Counter(label for _, label in info.drawn) == {"True": 4, "False": 4}
        assert len({i for i, _ in info.drawn}) == 8


def test_initial_coin_flips_are_not_always_balanced(pairs: Dataset) -> None:
    objective, config = problem(pairs)
    counts = {sum(y == "True" for _, y in initialize(objective, replace(config, seed=s))[1].drawn) for s in range(40)}
    assert len(counts) >= 4


def test_neighbours_of_labelled_examples_are_drawn_a_hundred_times_as_often(pairs: Dataset) -> None:
    objective, config = problem(pairs)
    labeling = Labeling({0: "True", 1: "False", 2: "True"})  # 3 is tied to 2; everybody else has weight 1
    drawn = Counter(draw_example(labeling, objective, config, random.Random(f"{k}")) for k in range(20_000))
    expected = 20_000 * 100 / (39 + 100)
    assert abs(drawn[3] - expected) < 5 * math.sqrt(expected)
    assert set(range(40)) == set(drawn)  # labelled ones are drawn too


def test_drawing_does_not_scan_the_data_set() -> None:
    class Unscannable(tuple[Example, ...]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            raise AssertionError("the data set was scanned")

    plain = tuple(Example(str(i), {"text": str(i)}, f"g{i // 2}") for i in range(1000))
    task = Task("t", "{text} is", rule="exclusive")
    rule = make_rule("exclusive", plain, task.labels, "True")
    objective = Objective(Unscannable(plain), task, rule, TableScorer(agreeable_belief))
    rule.examples = Unscannable(plain)
    state, _ = initialize(objective, SearchConfig())
    for _ in range(20):
        state, _ = step(state, objective, SearchConfig())


def test_temperature_schedules() -> None:
    paper, authors = PRESETS["paper"], PRESETS["authors-code"]
    assert temperature(1, 0, paper) == 10
    assert temperature(2560, 99, paper) == pytest.approx(1.14, abs=0.005)
    assert temperature(99, 0, authors) == 10
    assert temperature(99, 7, authors) == pytest.approx(10 / (1 + 2 * math.log(8)))
    assert temperature(10**9, 10**9, replace(paper, cooling_rate=1000)) == 0.01


def test_acceptance_never_overflows() -> None:
    assert accept_probability(1e9, 0.01) == 1.0
    assert accept_probability(-1e9, 0.01) == 0.0
    assert accept_probability(0.0, 1.0) == 1.0
    assert accept_probability(-1.0, 2.0) == pytest.approx(math.exp(-0.5))


def test_unchanged_label_repairs_in_the_paper_and_skips_in_the_authors_code(pairs: Dataset) -> None:
    stubborn = TableScorer(lambda prompt: probabilities(0.9, 0.1))  # everything is True
    rule = make_rule("exactly-one", pairs.examples, pairs.task.labels, "True")
    objective = Objective(pairs.examples, pairs.task, rule, stubborn, alpha=0.0)
    inconsistent = Labeling(dict.fromkeys(range(40), "True"))
    state = State(inconsistent, objective.evaluate(inconsistent))
    assert len(state.evaluation.pairs) == 20
    _, repairs = step(state, objective, SearchConfig(alpha=0.0, max_repairs=1))
    _, skips = step(state, objective, SearchConfig(alpha=0.0, max_repairs=1, repair_unchanged=False))
    assert len(repairs.repairs) == 1
    assert repairs.verdict == "accepted"
    assert skips.repairs == ()
    assert skips.verdict == "unchanged"
    assert skips.set_evaluations == 0


def test_a_pair_that_cannot_be_repaired_is_scored_once(pairs: Dataset) -> None:
    stubborn = TableScorer(lambda prompt: probabilities(0.9, 0.1))  # everything is True, and every repair lowers U
    rule = make_rule("exactly-one", pairs.examples, pairs.task.labels, "True")
    objective = Objective(pairs.examples, pairs.task, rule, stubborn)
    labeling = Labeling({0: "True", 1: "True", 2: "True", 3: "True"})
    states = [State(labeling, objective.evaluate(labeling), step=k) for k in range(200)]
    unchanged = next(s for s in states if step(s, objective, SearchConfig())[1].example in labeling)
    first, info = step(unchanged, objective, SearchConfig())
    assert (info.verdict, info.set_evaluations) == ("unchanged", 4)  # TF and FT for each of two pairs
    assert first.unrepairable == {(0, 1), (2, 3)}
    again = replace(unchanged, unrepairable=first.unrepairable)
    assert step(again, objective, SearchConfig())[1].set_evaluations == 0


def test_an_accepted_change_gives_every_pair_another_chance(pairs: Dataset) -> None:
    objective, config = problem(pairs)
    state, _ = initialize(objective, config)
    verdicts, strange = set(), (98, 99)  # a pair that no step can try
    for _ in range(40):
        state, info = step(replace(state, unrepairable=frozenset({strange})), objective, config)
        assert (strange in state.unrepairable) == (info.verdict != "accepted")
        verdicts.add(info.verdict)
    assert "accepted" in verdicts


def unhelped(pairs: Dataset, version: int) -> list[tuple[Labeling, tuple[int, int]]]:
    """What each repair that helped nothing was tried on, in steps that drew a label which was already there."""
    stubborn = TableScorer(lambda prompt: probabilities(0.7, 0.3))
    rule = make_rule("exactly-one", pairs.examples, pairs.task.labels, "True")
    config = SearchConfig(initial_labels=30, seed=3)
    objective = Objective(pairs.examples, pairs.task, rule, stubborn, pair_weight=0.1)
    state, first = initialize(objective, config, version=version)
    tried = list(rounds(Labeling(dict(first.drawn)), first.repairs))
    for _ in range(150):
        before = state.labeling
        state, info = step(state, objective, config)
        tried += rounds(before.assign(info.example, info.proposed), info.repairs)
    return tried


def rounds(labeling: Labeling, repairs: tuple[Repair, ...]) -> Iterator[tuple[Labeling, tuple[int, int]]]:
    for repair in repairs:
        if repair.taken is None:
            yield labeling, repair.pair
        else:
            for i, label in zip(repair.pair, repair.taken, strict=True):
                labeling = labeling.assign(i, label)


def test_a_pair_that_nothing_helped_is_not_tried_again_on_the_same_labels(pairs: Dataset) -> None:
    """Also after the step that led to these labels was accepted; version 1 forgot it then."""
    new, old = unhelped(pairs, 2), unhelped(pairs, 1)
    assert new
    assert len(new) == len(set(new))
    assert len(old) > len(set(old))


def test_what_no_repair_helped_is_forgotten_where_labels_changed_after_it(pairs: Dataset) -> None:
    """Of repairs unhelped, taken, unhelped: the first is about the labels before, the last about those after."""
    evaluation = Evaluation(0.0, 0.0, 0.0, ())
    tried = tuple(
        Repair(pair, ("True", "True"), 0.0, (), taken)
        for pair, taken in (((0, 1), None), ((2, 3), ("True", "False")), ((4, 5), None))
    )
    state = State(Labeling({0: "True"}), evaluation)
    rejected = StepInfo(1, 1.0, 0, "True", "True", LabelLogProbs((0.0, -1.0)), evaluation, evaluation, tried,
                        verdict="rejected")  # fmt: skip
    accepted = replace(rejected, verdict="accepted")
    assert apply(state, rejected).unrepairable == {(0, 1)}
    assert apply(state, accepted).unrepairable == {(4, 5)}
    assert apply(state, replace(accepted, paired=True)).unrepairable == set()
    assert apply(state, replace(rejected, proposed="False")).unrepairable == set()
    assert apply(replace(state, version=1), rejected).unrepairable == {(0, 1), (4, 5)}
    assert apply(replace(state, version=1), accepted).unrepairable == set()


def test_labels_are_any_set_of_strings() -> None:
    task = Task("colours", "{text}:", labels=("red", "green", "blue"), true_label="red", rule="exclusive")
    examples = tuple(Example(str(i), {"text": f"thing {i}"}, str(i // 3)) for i in range(12))
    rule = make_rule("exclusive", examples, task.labels, "red")
    objective = Objective(examples, task, rule, TableScorer(agreeable_belief), "mean_log_prob")
    state = run(objective, SearchConfig(predictability="mean_log_prob"), 60)[-1]
    assert set(state.labeling.values()) <= {"red", "green", "blue"}
    assert len(state.labeling) == 12
    with pytest.raises(SettingError, match="two labels"):
        Objective(examples, task, rule, TableScorer(agreeable_belief), "mean_log_odds")


def test_the_three_forms_of_predictability(pairs: Dataset) -> None:
    scorer = TableScorer(lambda prompt: probabilities(0.72, 0.18))  # a tenth of the mass is elsewhere
    rule = make_rule("none", pairs.examples, pairs.task.labels, "True")
    labeling = Labeling({0: "True", 1: "False"})
    forms = {
        name: Objective(pairs.examples, pairs.task, rule, scorer, name).evaluate(labeling).mutual_predictability
        for name in ("sum_log_prob", "mean_log_prob", "mean_log_odds")
    }
    assert forms["sum_log_prob"] == pytest.approx(math.log(0.8) + math.log(0.2))
    assert forms["mean_log_prob"] == pytest.approx((math.log(0.8) + math.log(0.2)) / 2)
    assert forms["mean_log_odds"] == pytest.approx(0.0)
    evaluation = Objective(pairs.examples, pairs.task, rule, scorer).evaluate(labeling)
    assert evaluation.label_mass == pytest.approx(0.9)


def test_the_examples_own_label_is_not_in_its_context(pairs: Dataset) -> None:
    seen: list[Prompt] = []

    def spy(prompt: Prompt) -> tuple[float, ...]:
        seen.append(prompt)
        return agreeable_belief(prompt)

    rule = make_rule("none", pairs.examples, pairs.task.labels, "True")
    objective = Objective(pairs.examples, pairs.task, rule, TableScorer(spy))
    run(objective, SearchConfig(), 40)
    for prompt in seen:
        assert prompt.segments[-1][0] not in {demo[0] for demo in prompt.segments[:-1]}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_an_error(value: float) -> None:
    with pytest.raises(ScoreNotFinite):
        LabelLogProbs((value, -1.0))


def test_presets_differ_as_documented() -> None:
    paper, authors, ours = PRESETS["paper"], PRESETS["authors-code"], PRESETS["default"]
    before = PRESETS["mean-log-odds"]
    assert (paper.predictability, paper.alpha, paper.pair_weight) == ("sum_log_prob", 50, 2)
    assert (authors.predictability, authors.alpha, authors.pair_weight) == ("mean_log_odds", 30, 1)
    assert before == SearchConfig() == replace(paper, predictability="mean_log_odds", pair_weight=1)
    assert ours == PRESETS["centred"] == replace(before, predictability="centred_log_odds", alpha=1.5, pair_weight=3)
    assert set(EXPLANATIONS) == set(SearchConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("alpa", "3", "does not exist"),
        ("alpha", "much", "a number"),
        ("seed", "1.5", "a whole number"),
        ("offer_neither", "maybe", "true or false"),
        ("cooling", "fast", "per-step"),
        ("final_temperature", "0", "above 0"),
        ("initial_labels", "-1", "0 or more"),
    ],
)
def test_bad_settings_are_refused_with_the_remedy(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        with_settings(SearchConfig(), {name: value})


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["True", "False"]))))
def test_slots_never_move(changes: list[tuple[int, str]]) -> None:
    labeling, order = Labeling(), list[int]()
    for example, label in changes:
        labeling = labeling.assign(example, label)
        order += [example] if example not in order else []
        assert list(labeling) == order


def test_paired_scoring_takes_the_same_steps_where_order_does_not_matter(pairs: Dataset) -> None:
    """The fake's belief does not depend on the order of demonstrations: both ways are one chain."""
    objective, separate = problem(pairs)
    paired = replace(separate, paired=True)
    one, other = initialize(objective, separate)[0], initialize(objective, paired)[0]
    scored = 0
    for _ in range(60):
        one, info = step(one, objective, separate)
        other, twin = step(other, objective, paired)
        assert (twin.verdict, twin.flips, twin.delta) == (info.verdict, info.flips, pytest.approx(info.delta))
        assert twin.before.utility == pytest.approx(info.before.utility)
        scored += twin.set_evaluations - info.set_evaluations
    assert other.labeling == one.labeling
    assert scored > 0  # the labeling before is scored once more each time, in the proposal's own orders


def test_a_labelled_example_is_not_asked_about_again(pairs: Dataset) -> None:
    """Line 6 for a labelled example is one of the predictions that U was put together from."""
    objective, config = problem(pairs, repair_unchanged=False)
    state, _ = initialize(objective, config)
    free = 0
    for _ in range(150):
        before, used = state, objective.scorer.usage
        state, info = step(state, objective, config)
        assert info.reused == (info.example in before.labeling)
        if info.reused:
            prompt = leave_one_out_prompt(pairs.task, pairs.examples, before.labeling, info.example)
            assert TableScorer(agreeable_belief).score([prompt]) == [info.scores]
        if info.reused and info.after is None:
            assert objective.scorer.usage == used
            free += 1
    assert free > 20
    paired, settings = problem(pairs, paired=True)
    state, _ = initialize(paired, settings)
    assert not any(step(replace(state, step=n), paired, settings)[1].reused for n in range(20))
