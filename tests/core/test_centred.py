"""Centred log-odds: worth nothing for a constant, blind to a lean of the model, for any number of labels."""

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import acceptance
from icm_engine.core.custom_rules import make_rule
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.objective import PREDICTABILITY, Objective, centred_log_odds, leaning, preferred
from icm_engine.core.prompting import Prompt, leave_one_out_order
from icm_engine.core.scoring import LabelLogProbs, TableScorer, agreeable_belief
from icm_engine.core.search import initialize, step
from icm_engine.core.settings import PRESETS, SearchConfig, with_settings
from icm_engine.runs import control, worker
from icm_engine.runs.verify import verify
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import current_state, open_run
from icm_engine.store.store import Store


def odds(*values: float) -> list[LabelLogProbs]:
    """Scores of two labels with these log-odds."""
    return [LabelLogProbs((-math.log1p(math.exp(-v)), -math.log1p(math.exp(v)))) for v in values]


@st.composite
def labelled(draw: st.DrawFn) -> tuple[list[int], list[LabelLogProbs]]:
    """2 to 20 labels, up to 30 labelled examples with any scores."""
    width, count = draw(st.integers(2, 20)), draw(st.integers(1, 30))
    value = st.floats(-20, -0.01, allow_subnormal=False)
    rows = draw(st.lists(st.lists(value, min_size=width, max_size=width), min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, width - 1), min_size=count, max_size=count))
    return labels, [LabelLogProbs(tuple(row)) for row in rows]


# -- the value


def test_by_hand() -> None:
    """Log-odds 3, 1, -2 and labels first, first, second: 3 + 1 + 2 = 6; the lean is (2 - 1) / 3 of their sum 2."""
    scores, labels = odds(3, 1, -2), [0, 0, 1]
    assert centred_log_odds(labels, scores, 0.0) == pytest.approx(6)
    assert centred_log_odds(labels, scores, 1.0) == pytest.approx(6 - 2 / 3)
    assert centred_log_odds(labels, scores, 0.5) == pytest.approx(6 - 1 / 3)


def test_three_labels_by_hand() -> None:
    """d is z less the mean of z: (2, -1, -1), (0, 1, -1); K/(K-1) = 3/2; own 2 + 1, by chance (2 + 0) / 2."""
    scores = [LabelLogProbs((-1.0, -4.0, -4.0)), LabelLogProbs((-2.0, -1.0, -3.0))]
    assert centred_log_odds([0, 1], scores, 0.0) == pytest.approx(1.5 * 3)
    assert centred_log_odds([0, 1], scores, 1.0) == pytest.approx(1.5 * (3 - (2 + 0) / 2))


@given(labelled())
def test_a_constant_labeling_is_worth_exactly_nothing(made: tuple[list[int], list[LabelLogProbs]]) -> None:
    labels, scores = made
    assert centred_log_odds([labels[0]] * len(labels), scores, 1.0) == 0.0


@given(labelled(), st.data())
def test_a_lean_to_one_label_changes_nothing(made: tuple[list[int], list[LabelLogProbs]], data: st.DataObject) -> None:
    labels, scores = made
    bias = data.draw(
        st.lists(st.floats(-5, 5, allow_subnormal=False), min_size=len(scores[0].raw), max_size=len(scores[0].raw))
    )
    leaning_scores = [LabelLogProbs(tuple(v + b for v, b in zip(s.raw, bias, strict=True))) for s in scores]
    found = centred_log_odds(labels, leaning_scores, 1.0)
    assert found == pytest.approx(centred_log_odds(labels, scores, 1.0), abs=1e-9)


@given(labelled(), st.randoms(use_true_random=False), st.floats(0, 1, allow_subnormal=False))
def test_the_order_of_labels_and_of_examples_changes_nothing(
    made: tuple[list[int], list[LabelLogProbs]], rng: random.Random, centring: float
) -> None:
    labels, scores = made
    width = len(scores[0].raw)
    places, order = rng.sample(range(width), width), rng.sample(range(len(labels)), len(labels))
    renamed = [LabelLogProbs(tuple(scores[i].raw[places[k]] for k in range(width))) for i in order]
    found = centred_log_odds([places.index(labels[i]) for i in order], renamed, centring)
    assert found == pytest.approx(centred_log_odds(labels, scores, centring), abs=1e-9)


@given(st.lists(st.tuples(st.floats(-9, 9, allow_subnormal=False), st.booleans()), min_size=1, max_size=30))
def test_of_two_labels_it_is_n_times_the_covariance(made: list[tuple[float, bool]]) -> None:
    signs, values, n = [1 if first else -1 for _, first in made], [value for value, _ in made], len(made)
    covariance = math.fsum(s * v for s, v in zip(signs, values, strict=True)) / n
    covariance -= math.fsum(signs) / n * math.fsum(values) / n
    labels = [0 if first else 1 for _, first in made]
    assert centred_log_odds(labels, odds(*values), 1.0) == pytest.approx(n * covariance, abs=1e-6)
    mirrored = centred_log_odds([1 - k for k in labels], odds(*values), 1.0)
    assert mirrored == pytest.approx(-n * covariance, abs=1e-6)
    assert centred_log_odds(labels, odds(*values), 0.0) == pytest.approx(
        math.fsum(s * v for s, v in zip(signs, values, strict=True)), abs=1e-6
    )


def test_nothing_labelled_is_worth_nothing() -> None:
    assert centred_log_odds([], [], 1.0) == 0.0


# -- the proposal


def test_the_label_that_stands_out_is_proposed() -> None:
    """A model that leans to the first label by 2: log-odds 1.5 are an argument for the second one."""
    lean = leaning(odds(1.0, 3.0))
    assert lean == pytest.approx((1.0, -1.0))
    (scores,) = odds(1.5)
    assert scores.argmax == 0
    assert preferred(scores, lean, 1.0) == 1
    assert preferred(scores, lean, 0.0) == 0
    assert preferred(scores, leaning(odds(3.0)), 1.0) == 0  # one other example is no mean
    assert [name for name, form in PREDICTABILITY.items() if form.centred] == ["centred_log_odds"]


def twenty(count: int, labels: int = 20) -> Dataset:
    task = Task("t", "Text: {text}\nLabel:", tuple(f"label {k}" for k in range(labels)), "label 0", fields=("text",))
    examples = tuple(Example(f"e{k}", {"text": f"text {k}"}, f"g{k}") for k in range(count))
    return Dataset("twenty", task, examples, tuple({} for _ in examples))


def leaning_belief(prompt: Prompt) -> tuple[float, ...]:
    """The fake that ships, with a lean of three nats to the first label."""
    first, *others = agreeable_belief(prompt)
    total = math.log(math.exp(first + 3) + sum(map(math.exp, others)))
    return (first + 3 - total, *(value - total for value in others))


def searching(labels: int, **settings: object) -> tuple[Objective, SearchConfig]:
    data = twenty(40, labels)
    config = with_settings(PRESETS["centred"], {"seed": 1, **settings})
    rule = make_rule("none", data.examples, data.task.labels, data.task.true_label)
    return Objective(
        data.examples, data.task, rule, TableScorer(leaning_belief), config.predictability, config.alpha,
        config.pair_weight, config.centring,
    ), config  # fmt: skip


@pytest.mark.parametrize("labels", [2, 4, 20])
def test_a_search_with_a_leaning_model_does_not_collapse(labels: int) -> None:
    """The fake knows a hidden labeling; its lean is what makes a plain argmax name one label for everything."""
    objective, config = searching(labels)
    state, _ = initialize(objective, config)
    for _ in range(160):
        state, _ = step(state, objective, config)
    assert len(state.labeling) >= 38  # of 40, some may never be drawn in 160 steps
    assert len(set(state.labeling.values())) > labels / 2
    constant = objective.evaluate(Labeling(dict.fromkeys(state.labeling, "label 0")))
    assert constant.mutual_predictability == 0.0
    assert state.evaluation.utility > 0


def test_the_drawn_example_is_asked_in_the_order_of_an_evaluation() -> None:
    """Elsewhere it stands behind all others in slot order: position would shift it against the mean of the others."""
    objective, _ = searching(2)
    labeling = Labeling({i: "label 0" for i in (4, 2, 9)})
    shown = [segment[0] for segment in objective.asked(labeling, 7).segments]
    order = leave_one_out_order((4, 2, 9, 7), 7)
    assert shown == [f"Text: text {j}\nLabel:" for j in (*order, 7)]
    plain = replace(objective, predictability="mean_log_prob")
    assert [segment[0] for segment in plain.asked(labeling, 7).segments] == [
        f"Text: text {j}\nLabel:" for j in (4, 2, 9, 7)
    ]


def test_strength_is_between_nothing_and_all() -> None:
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(SettingError, match="centring is"):
            SearchConfig(centring=wrong)


def test_what_a_label_is_worth_does_not_shrink_with_the_set() -> None:
    """One nat is worth the same at every size; the mean's gain falls as 1 / n."""
    found = {(row["form"], row["n"]): row for row in acceptance.rows([32, 128])}
    for what in ("right", "wrong", "mended"):
        few, many = (found["centred_log_odds (default)", n][f"delta_{what}"] for n in (32, 128))
        assert many == pytest.approx(few, rel=0.25)
        few, many = (found["mean_log_odds (mean-log-odds)", n][f"delta_{what}"] for n in (32, 128))
        assert many == pytest.approx(few / 4, rel=0.4)  # type: ignore[operator]


# -- as a run


@pytest.fixture
def store(tmp_path: Path, pairs: Dataset) -> Iterator[Store]:
    with Store(tmp_path / "icm.db") as made:
        made.add_dataset(pairs)
        yield made


@pytest.mark.parametrize("paired", [False, True])
def test_a_run_is_replayed_and_verified(store: Store, paired: bool) -> None:
    search = replace(PRESETS["centred"], max_steps=60, paired=paired, seed=3)
    run = control.create_run(store, RunSpec("pairs", "fake", preset="centred", limit=20, search=search))
    store.send(run, "start", "go")
    assert worker.main(["--db", str(store.path), run]) == 0
    opened = open_run(store, run)
    assert verify(store, opened) == (60, [])
    state = current_state(store, opened)
    assert state is not None
    again = opened.objective(search, TableScorer(agreeable_belief)).evaluation(state.labeling, state.evaluation.scores)
    assert again == state.evaluation
    changed = replace(opened, spec=replace(opened.spec, search=replace(search, centring=0.5)))
    assert verify(store, changed)[1]
