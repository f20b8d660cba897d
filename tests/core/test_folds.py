"""Search with folds on tables for a model: how examples are split, what a round tries and keeps, when it ends."""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icm_engine.core.custom_rules import make_rule
from icm_engine.core.errors import SettingError
from icm_engine.core.folds import (
    OPTIONS,
    Fit,
    FixedPredictions,
    RoundInfo,
    ShownFitter,
    at_end,
    begin,
    decide,
    fold_settings,
    folds_of,
    tried,
    untuned,
)
from icm_engine.core.interventions import Hand
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import LabelLogProbs, TableScorer, no_scorer
from icm_engine.core.search import State
from icm_engine.core.settings import SearchConfig
from tests.support.problems import probabilities

Scores = Mapping[int, LabelLogProbs]
Predict = Callable[[Labeling, int], LabelLogProbs]  # of an example, by a model that learned these labels
LABELS = ("True", "False")
CONFIG = SearchConfig(seed=4, predictability="centred_log_odds", alpha=1.0, pair_weight=1.0, max_steps=40)
MANY, SOME = settings(max_examples=20), settings(max_examples=5)
seeds = st.integers(0, 10**6)


def objective(
    groups: str = "abcd", rule: str = "none", form: str = "centred_log_odds", labels: tuple[str, ...] = LABELS
) -> Objective:
    """An example for each letter, which names its group."""
    examples = tuple(Example(f"e{i}", {"text": f"text {i}"}, group) for i, group in enumerate(groups))
    task = Task("letters", "{text} is", labels, rule=rule, true_label=labels[0], fields=("text",))
    return Objective(examples, task, make_rule(rule, examples, labels, labels[0]), no_scorer(), form, 1.0, 1.0)


def drawn(seed: int, count: int) -> dict[int, LabelLogProbs]:
    """Any predictions."""
    rng = random.Random(seed)
    return {i: LabelLogProbs((rng.gauss(-2, 1), rng.gauss(-1.5, 1))) for i in range(count)}


def moods(seed: int) -> Predict:
    """A model whose predictions depend on every label that it learned."""

    def predict(labels: Labeling, i: int) -> LabelLogProbs:
        rng = random.Random(f"{seed} {i} {list(labels.items())}")
        return LabelLogProbs((rng.gauss(-2, 1), rng.gauss(-1.5, 1)))

    return predict


def searched(
    asked: Objective, config: SearchConfig, predict: Predict, folds: int = 2, start: bool = True
) -> list[tuple[State, RoundInfo]]:
    """Every round of a search, as a worker takes them."""
    count = len(asked.examples)
    parts = folds_of(asked.examples, folds, config.seed)
    taken = [begin(asked, config, {i: predict(Labeling(), i) for i in range(count)} if start else None)]
    while True:
        state, proposal = taken[-1][0], tried(taken[-1][0], asked, config)
        if at_end(state, proposal, config):
            return taken
        found = dict[int, LabelLogProbs]()
        for part in parts:
            learned = Labeling({i: y for i, y in proposal.labeling.items() if i not in part})
            found |= {i: predict(learned, i) for i in part}
        taken.append(decide(state, proposal, found, asked, config))


def standing(asked: Objective, seed: int, **others: object) -> State:
    """The state after some round, with any labels and predictions."""
    rng, count = random.Random(seed), len(asked.examples)
    labeling = Labeling({i: rng.choice(asked.task.labels) for i in range(count)})
    evaluation = asked.evaluation(labeling, drawn(seed, count))
    return replace(State(Labeling(), evaluation).relabelled(labeling, evaluation, 3), **others)  # type: ignore[arg-type]


# -- folds and settings


@given(seeds, st.integers(2, 5), st.lists(st.integers(1, 4), min_size=5, max_size=9))
@MANY
def test_folds_are_whole_groups_of_about_equal_size(seed: int, count: int, sizes: list[int]) -> None:
    groups = [chr(97 + k) for k, size in enumerate(sizes) for _ in range(size)]
    random.Random(seed).shuffle(groups)
    examples = objective("".join(groups)).examples
    folds = folds_of(examples, count, seed)
    assert sorted(i for fold in folds for i in fold) == list(range(len(examples)))  # each example once
    assert all(fold == tuple(sorted(fold)) for fold in folds)
    homes = [{examples[i].group for i in fold} for fold in folds]
    assert sum(map(len, homes)) == len(set(groups))  # no group in two folds
    assert max(map(len, folds)) - min(map(len, folds)) <= max(sizes)
    assert folds_of(examples, count, seed) == folds
    renamed = [replace(example, id=f"x{example.id}", group=f"x{example.group}") for example in examples]
    assert folds_of(renamed, count, seed) == folds


def test_another_seed_makes_other_folds() -> None:
    examples = objective("abcdefgh").examples
    assert len({folds_of(examples, 2, seed) for seed in range(8)}) > 4


def test_what_cannot_be_is_refused_with_a_remedy() -> None:
    with pytest.raises(SettingError, match=r"2 groups of examples cannot fill 3 folds: use fewer folds .*or more"):
        folds_of(objective("aabb").examples, 3, 0)
    for options, said in (
        ({"folds": 1}, "folds is 1: use 2 or more"),
        ({"folds": "three"}, "folds is 'three': use a whole number"),
        ({"start": "gold"}, "start is 'gold': use zero-shot or random"),
        ({"fold": 3}, "no option 'fold': its options are folds, start, epochs"),
        ({"epochs": 0}, "epochs is 0: use a value above 0"),
        ({"batch_size": 6, "rows_at_once": 4}, "batch_size 6 is not a multiple of rows_at_once 4"),
    ):
        with pytest.raises(SettingError, match=said):
            fold_settings(options, 0)
    known = fold_settings({"folds": "3", "learning_rate": "1e-4"}, 7)
    assert (known.folds, known.start, known.tuning.learning_rate, known.tuning.seed) == (3, "zero-shot", 1e-4, 7)
    assert known.tuning.epochs == OPTIONS["epochs"]


# -- worked examples


def odds(*values: float) -> dict[int, LabelLogProbs]:
    """Predictions with these log-odds of True, in units of log 4: 0.8 to 0.2 is one of them."""
    return {i: LabelLogProbs((value * math.log(4) / 2, -value * math.log(4) / 2)) for i, value in enumerate(values)}


def test_a_search_by_hand() -> None:
    """Log-odds in units of L = log 4. U is the sum of label (+1 or -1) times log-odds, minus n times both means.

    Untuned, a to d have 1, 1, -1, -1: labels TTFF, U = 4 L. Tuned on these, c is predicted to be True: U of TTFF is
    1 + 1 - 2 + 1 - 0 = 1 L. Were the predictions to stay, TTTF would have 1 + 1 + 2 + 1 - 4 * 1/2 * 3/4 = 3.5 L.
    Tuned on TTTF they are 2, 1, 0, -2, so U is 2 + 1 + 0 + 2 - 4 * 1/2 * 1/4 = 4.5 L, and c is now at their mean or
    below: c stands at 0, the mean of the others is 1/3, so it is tried as False: 2 + 1 - 0 + 2 - 0 = 5 L. Tuned on
    TTFF again U is 1 L, which is less; half of one group is none, and the search ends with TTTF.
    """
    told = {"": odds(1, 1, -1, -1), "TTFF": odds(1, 1, 2, -1), "TTTF": odds(2, 1, 0, -2)}
    asked, units = objective(), math.log(4)
    state, info = begin(asked, CONFIG, told[""])
    rounds = []
    while True:
        rounds.append((letters(state.labeling), info.accepted, info.proposal.groups, info.most, info.left,
                       round(info.after.utility / units, 9)))  # fmt: skip
        proposal = tried(state, asked, CONFIG)
        if at_end(state, proposal, CONFIG):
            break
        state, info = decide(state, proposal, told[letters(proposal.labeling)], asked, CONFIG)
    assert rounds == [
        ("TTFF", True, 0, None, 1, 4.0),
        ("TTFF", True, 0, None, 1, 1.0),
        ("TTTF", True, 1, None, 1, 4.5),
        ("TTTF", False, 1, 0, 0, 1.0),
    ]
    assert state.evaluation.utility == pytest.approx(4.5 * units)
    assert (state.step, state.accepted) == (3, 2)


def letters(labeling: Mapping[int, str]) -> str:
    return "".join(labeling[i][0] for i in sorted(labeling))


def test_a_pair_is_repaired_in_what_a_round_tries() -> None:
    """Both of a pair look True, one more so. With one conflict worth 9 the other becomes False, or stays where 0."""
    asked = objective("aabb", rule="exactly-one", form="sum_log_prob")
    sure = {i: LabelLogProbs(probabilities(p, 1 - p)) for i, p in enumerate((0.9, 0.7, 0.2, 0.8))}
    state, info = begin(replace(asked, pair_weight=9.0), CONFIG, sure)
    assert letters(state.labeling) == "TFFT"
    assert {repair.pair for repair in info.proposal.repairs} == {(0, 1)}
    assert info.after.utility == pytest.approx(math.log(0.9 * 0.3 * 0.8 * 0.8))
    assert letters(begin(replace(asked, pair_weight=0.0), CONFIG, sure)[0].labeling) == "TTFT"


def test_labels_at_random_come_from_the_seed_and_are_consistent() -> None:
    asked = replace(objective("aabbccdd", rule="exactly-one"), pair_weight=3.0)
    starts = [begin(asked, replace(CONFIG, seed=seed), None) for seed in range(12)]
    assert len({letters(state.labeling) for state, _ in starts}) > 3
    assert all(info.after.utility == 0 for _, info in starts)  # nothing is predicted yet, and no pair is inconsistent
    assert starts[3][0].labeling == begin(asked, replace(CONFIG, seed=3), None)[0].labeling


# -- what a round tries, whatever was predicted


@given(seeds, st.sampled_from(["none", "exactly-one"]), st.sampled_from(["centred_log_odds", "sum_log_prob"]))
@MANY
def test_no_proposal_lowers_u_if_the_predictions_stay(seed: int, rule: str, form: str) -> None:
    asked = objective("aabbccddee", rule, form)
    for most in (None, 1, 2):
        state = standing(asked, seed, most=most)
        fixed = FixedPredictions(asked, state.labeling, state.evaluation.scores)
        proposal = tried(state, asked, CONFIG)
        now, then = fixed.of(proposal.labeling).utility, fixed.of(state.labeling).utility
        assert now > then or (proposal.groups == 0 and proposal.labeling == state.labeling)
        changed = {i for i in proposal.labeling if proposal.labeling[i] != state.labeling[i]}
        assert {flip.example for flip in proposal.flips} == changed
        assert proposal.groups == len({asked.examples[i].group for i in changed})
        assert most is None or proposal.groups <= most


@given(seeds, st.sets(st.integers(0, 9), min_size=1))
@MANY
def test_no_proposal_changes_a_pinned_label(seed: int, pins: set[int]) -> None:
    asked = objective("aabbccddee", "exactly-one")
    free = standing(asked, seed)
    state = replace(free, hand=Hand(frozenset(pins)))
    proposal = tried(state, asked, CONFIG)
    assert all(proposal.labeling[i] == state.labeling[i] for i in pins)
    everything = replace(free, hand=Hand(frozenset(range(10))))
    assert at_end(everything, tried(everything, asked, CONFIG), CONFIG)  # nothing is left to change


def test_pins_matter() -> None:
    asked = objective("aabbccddee")
    moved = [i for seed in range(20) for i in range(10) if tried(standing(asked, seed), asked, CONFIG).labeling[i]
             != standing(asked, seed).labeling[i]]  # fmt: skip
    assert set(moved) == set(range(10))  # so a pin that keeps a label keeps something


# -- whole searches


@given(seeds, st.booleans())
@SOME
def test_a_search_ends_and_keeps_only_what_is_better(seed: int, start: bool) -> None:
    asked, config = objective("aabbccdd", "exactly-one"), replace(CONFIG, seed=seed, max_steps=10_000)
    taken = searched(asked, config, moods(seed), start=start)
    state, last = taken[-1]
    assert last.left == 0
    assert state.step == len(taken) - 1 < config.max_steps
    for (before, _), (after, info) in pairwise(taken[1:]):
        assert info.accepted == (info.after.utility > before.evaluation.utility)
        assert info.delta == info.after.utility - before.evaluation.utility
        assert after.labeling == (info.proposal.labeling if info.accepted else before.labeling)
        assert before.most is None or info.proposal.groups <= before.most
        assert info.most == after.most == (None if info.accepted else info.proposal.groups // 2)
    assert state.evaluation.utility == max(info.after.utility for _, info in taken[1:] if info.accepted)
    assert taken[1][1].proposal.labeling == taken[0][0].labeling  # the first round tries the labels of round 0
    assert (taken[1][1].before, taken[1][1].accepted) == (None, True)


def test_no_more_rounds_than_asked_for() -> None:
    asked = objective("aabbccdd")
    whole = searched(asked, replace(CONFIG, seed=2), moods(2))
    assert len(whole) > 4
    cut = searched(asked, replace(CONFIG, seed=2, max_steps=3), moods(2))
    assert [state for state, _ in cut] == [state for state, _ in whole[:4]]


@given(seeds, st.integers(-30, 30).map(lambda tenths: tenths / 10))
@SOME
def test_a_constant_labeling_is_worth_nothing(seed: int, lean: float) -> None:
    """However a model leans to one label, what it predicts from constant labels is worth 0 with the centred form."""

    def leaning(labels: Labeling, i: int) -> LabelLogProbs:
        count = sum(y == "True" for y in labels.values())
        noise = random.Random(f"{seed} {i}").gauss(0, 0.3)
        return LabelLogProbs((lean + count + noise, len(labels) - count - noise))

    for state, info in searched(objective("abcdefgh"), replace(CONFIG, seed=seed), leaning):
        for labeling, evaluation in ((info.proposal.labeling, info.after), (state.labeling, state.evaluation)):
            if len(set(labeling.values())) == 1:
                assert evaluation.utility == pytest.approx(0, abs=1e-9)


@given(seeds)
@SOME
def test_names_decide_nothing(seed: int) -> None:
    """Other ids and groups, and other names of labels, give the same search in those names."""
    plain, config = objective("aabbccdd", "exactly-one"), replace(CONFIG, seed=seed)
    names = {"True": "yes", "False": "no"}
    others = replace(objective("aabbccdd", "exactly-one", labels=("yes", "no")), examples=tuple(
        replace(example, id=f"x{example.id}", group=f"x{example.group}") for example in plain.examples))  # fmt: skip
    others = replace(others, rule=make_rule("exactly-one", others.examples, ("yes", "no"), "yes"))

    def in_other_names(labels: Labeling, i: int) -> LabelLogProbs:
        back = {new: old for old, new in names.items()}
        return moods(seed)(Labeling({j: back[y] for j, y in labels.items()}), i)

    for (one, info), (other, told) in zip(
        searched(plain, config, moods(seed)), searched(others, config, in_other_names), strict=True
    ):
        assert {i: names[y] for i, y in one.labeling.items()} == dict(other.labeling)
        assert (info.after.utility, info.accepted, info.left) == (told.after.utility, told.accepted, told.left)


@given(seeds)
@SOME
def test_the_order_of_the_labels_decides_nothing(seed: int) -> None:
    """Labels listed the other way round, their columns with them, give the same labels; no two predictions tie."""
    config = replace(CONFIG, seed=seed)
    one = searched(objective("aabbccdd"), config, moods(seed))
    turned = searched(
        objective("aabbccdd", labels=LABELS[::-1]),
        config,
        lambda labels, i: LabelLogProbs(moods(seed)(labels, i).raw[::-1]),
    )
    assert [state.labeling for state, _ in one] == [state.labeling for state, _ in turned]
    assert [info.after.utility for _, info in one] == pytest.approx([info.after.utility for _, info in turned])


# -- what is asked of a model


def test_a_fold_is_predicted_from_the_labels_of_the_others_alone() -> None:
    read: list[Prompt] = []

    def belief(prompt: Prompt) -> tuple[float, ...]:
        read.append(prompt)
        return probabilities(0.5, 0.5)

    asked = replace(objective(), scorer=TableScorer(belief))
    fit: Fit = ShownFitter(asked).fit(Labeling({0: "True", 2: "False"}), [1, 3])
    assert [prompt.text for prompt in read] == [f"text 0 is True\n\ntext 2 is False\n\ntext {i} is" for i in (1, 3)]
    assert (set(fit.scores), fit.rows, fit.steps, fit.usage.prompts) == ({1, 3}, 2, 0, 2)
    read.clear()
    alone = untuned(asked)
    assert [prompt.text for prompt in read] == [f"text {i} is" for i in range(4)]
    assert (list(alone.scores), alone.rows) == ([0, 1, 2, 3], 0)
