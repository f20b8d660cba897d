"""A person's hand in the search: what is pinned stays, what was done can be taken back."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icm_engine.core.advance import Breakpoints, reached
from icm_engine.core.custom_rules import make_rule
from icm_engine.core.errors import SettingError
from icm_engine.core.interventions import Act, AppliedIntervention, Hand, apply_changes, resolve
from icm_engine.core.labeling import Labeling
from icm_engine.core.objective import Objective
from icm_engine.core.repair import CachedEvaluator, ConsistencyFix
from icm_engine.core.scoring import TableScorer, no_scorer
from icm_engine.core.search import State, draw_example, initialize, intervene, resolved, retune, step
from icm_engine.core.settings import SearchConfig
from icm_engine.store.datasets import Dataset
from tests.support.problems import probabilities, problem

START = Labeling({0: "True", 1: "False", 2: "True"})
Acts = st.lists(
    st.one_of(
        st.builds(
            lambda verb, i, label: Act(verb, (i,), (label,)),
            st.sampled_from(["pin", "override"]), st.integers(0, 5), st.sampled_from(["True", "False"]),
        ),
        st.builds(lambda i: Act("unpin", (i,)), st.integers(0, 5)),
        st.builds(lambda i, text: Act("note", (i,), (), text), st.integers(0, 5), st.text(max_size=3)),
    ),
    max_size=8,
)  # fmt: skip


def do(acts: list[Act], labeling: Labeling = START) -> tuple[Labeling, Hand, list[AppliedIntervention]]:
    hand, history = Hand(), list[AppliedIntervention]()
    for act in acts:
        history.append(resolve(labeling, hand, act, history))
        labeling, hand = apply_changes(labeling, hand, history[-1].changes)
    return labeling, hand, history


def test_pin_override_and_unpin() -> None:
    labeling, hand, _ = do([Act("pin", (0, 5), ("False", "True")), Act("override", (1,), ("True",))])
    assert dict(labeling) == {0: "False", 1: "True", 2: "True", 5: "True"}
    assert hand.pins == {0, 5}
    labeling, hand, _ = do([Act("pin", (0,), ("False",)), Act("unpin", (0,)), Act("note", (2,), (), "odd")])
    assert (dict(labeling)[0], hand.pins, hand.notes) == ("False", frozenset(), {2: "odd"})


def test_undo_gives_back_what_the_search_has_not_changed_since() -> None:
    labeling, hand, history = do([Act("override", (0, 1), ("False", "True"))])
    labeling = labeling.assign(0, "True")  # a step of the search
    done = resolve(labeling, hand, Act("undo"), history)
    assert [(change.example, change.after.label) for change in done.changes] == [(1, "False")]


def test_undo_takes_back_a_label_where_there_was_none_and_its_pin() -> None:
    labeling, hand, _ = do([Act("pin", (5,), ("True",)), Act("undo")])
    assert (labeling, hand) == (START, Hand())


@given(Acts)
def test_undoing_everything_leads_back_and_redoing_everything_forth(acts: list[Act]) -> None:
    labeling, hand, _ = do(acts)
    undone = do([*acts, *[Act("undo")] * len(acts)])
    assert (dict(undone[0]), undone[1]) == (dict(START), Hand())
    redone = do([*acts, *[Act("undo")] * len(acts), *[Act("redo")] * len(acts)])
    assert (dict(redone[0]), redone[1]) == (dict(labeling), hand)


def test_nothing_to_undo_or_redo_is_an_error() -> None:
    for acts in ([Act("undo")], [Act("pin", (0,), ("True",)), Act("redo")]):
        with pytest.raises(SettingError, match="nothing to"):
            do(acts)
    with pytest.raises(SettingError, match="nothing to redo"):  # a new act clears what was undone
        do([Act("pin", (0,), ("False",)), Act("undo"), Act("unpin", (1,)), Act("redo")])


def test_a_pin_is_never_drawn_and_everything_else_is(pairs: Dataset) -> None:
    objective, config = problem(pairs)
    pins = frozenset({0, 7, 39})
    drawn = Counter(draw_example(START, objective, config, random.Random(k), pins) for k in range(20_000))
    assert set(drawn) == set(range(40)) - pins
    everything = frozenset(range(40))
    with pytest.raises(SettingError, match="all 40 examples are pinned"):
        draw_example(Labeling(dict.fromkeys(range(40), "True")), objective, config, random.Random(0), everything)


def test_a_repair_leaves_pins_alone_and_says_what_it_withheld(pairs: Dataset) -> None:
    rule = make_rule("exclusive", pairs.examples, pairs.task.labels, "True")
    objective = Objective(pairs.examples, pairs.task, rule, TableScorer(lambda _: probabilities(0.9, 0.1)), alpha=0)
    both = Labeling({0: "True", 1: "True"})

    def repaired(*pins: int):  # type: ignore[no-untyped-def]
        score = CachedEvaluator(objective, both, objective.evaluate(both))
        return ConsistencyFix(score, rule, SearchConfig(alpha=0, max_repairs=1), frozenset(pins))(
            both, random.Random(0)
        )

    free, (first,) = repaired(), repaired(0).repairs
    tried = {option.labels for option in free.repairs[0].options}
    assert tried == {("True", "False"), ("False", "True"), ("False", "False")}
    assert free.repairs[0].withheld == ()
    assert [option.labels for option in first.options] == [("True", "False")]
    assert set(first.withheld) == {("False", "True"), ("False", "False")}
    assert dict(repaired(0).labeling) == {0: "True", 1: "False"}
    (stuck,) = repaired(0, 1).repairs
    assert (stuck.options, stuck.taken, len(stuck.withheld)) == ((), None, 3)
    assert repaired(0, 1).labeling == both


def test_the_search_keeps_what_is_pinned_from_the_next_step_on(pairs: Dataset) -> None:
    objective, config = problem(pairs)
    state, _ = initialize(objective, config)
    wrong = {i: "False" if y == "True" else "True" for i, y in list(state.labeling.items())[:4]}
    act = Act("pin", tuple(wrong), tuple(wrong.values()))
    state, info = intervene(state, resolved(state, [act], []), objective)
    assert info.after is not None
    assert state.evaluation == objective.evaluate(state.labeling)
    for _ in range(150):
        state, taken = step(state, objective, config)
        assert taken.example not in wrong
    assert {i: state.labeling[i] for i in wrong} == wrong


def test_acts_that_change_no_label_are_not_scored(pairs: Dataset) -> None:
    objective, config = problem(pairs)
    state, _ = initialize(objective, config)
    i = next(iter(state.labeling))
    acts = [Act("pin", (i,), (state.labeling[i],)), Act("note", (i,), (), "sure")]
    after, info = intervene(state, resolved(state, acts, []), objective)
    assert (info.after, info.set_evaluations, info.flips) == (None, 0, ())
    assert (after.hand.pins, after.evaluation) == ({i}, state.evaluation)


def test_retuning_puts_u_together_again_from_the_same_log_probabilities(pairs: Dataset) -> None:
    objective, config = problem(pairs)
    state, _ = initialize(objective, config)
    tuned = Objective(
        pairs.examples, pairs.task, objective.rule, no_scorer(), config.predictability, 7.0, config.pair_weight
    )
    after, _ = retune(state, {"alpha": 7.0}, tuned)
    evaluation = state.evaluation
    assert after.evaluation.utility == pytest.approx(7 * evaluation.mutual_predictability - evaluation.inconsistency)
    assert (after.labeling, after.step) == (state.labeling, state.step)


def test_breakpoints(pairs: Dataset) -> None:
    objective, config = problem(pairs)
    ids = [example.id for example in pairs.examples]
    state, _ = initialize(objective, config)
    waiting = Breakpoints(inconsistent_for=3)
    for _ in range(200):
        before = state
        state, info = step(state, objective, config)
        changed = [i for i in state.labeling if before.labeling.get(i) != state.labeling[i]]
        for i in range(40):
            assert bool(reached(Breakpoints(flips=(ids[i],)), before, info, state, ids)) == (i in changed)
        fall = before.evaluation.utility - state.evaluation.utility
        assert bool(reached(Breakpoints(utility_falls=0.5), before, info, state, ids)) == (fall >= 0.5)
        lasting = [since for since in state.since.values() if state.step - since == 3]
        assert bool(reached(waiting, before, info, state, ids)) == bool(lasting)


def test_since_counts_from_the_step_that_made_a_pair_inconsistent(pairs: Dataset) -> None:
    objective, _ = problem(pairs)
    one = Labeling({0: "True", 1: "True"})
    state = State(Labeling({0: "True"}), objective.evaluate(Labeling({0: "True"})))
    state = state.relabelled(one, objective.evaluate(one), 5)
    more = one.assign(2, "True").assign(3, "True")
    assert state.relabelled(more, objective.evaluate(more), 9).since == {(0, 1): 5, (2, 3): 9}


@pytest.mark.parametrize("bad", [{"utility_falls": 0.0}, {"inconsistent_for": 0}])
def test_breakpoints_that_cannot_be(bad: dict[str, float]) -> None:
    with pytest.raises(SettingError, match="use"):
        Breakpoints(**bad)  # type: ignore[arg-type]
