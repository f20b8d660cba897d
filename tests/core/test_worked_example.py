"""One step of the algorithm with every number worked out by hand: three examples and a table for a model.

a and b exclude each other, c stands alone; alpha = 2, P is the sum of log-probabilities, a pair costs 2. The
search starts from D = {a: True}. The model's beliefs, p(True | demonstrations):

    a given nothing   .5      a given b True  .8      a given b False  .7
    b given a True    .6      b given a False .3
"""

import math
import random

import pytest

from icm_engine.core.custom_rules import make_rule
from icm_engine.core.labeling import Example, Flip, Labeling, Task
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt
from icm_engine.core.repair import Option, Repair
from icm_engine.core.scoring import TableScorer
from icm_engine.core.search import State, step
from icm_engine.core.settings import SearchConfig
from tests.support.problems import probabilities

TASK = Task("abc", "{text} is", rule="exclusive")
EXAMPLES = (Example("a", {"text": "a"}, "g"), Example("b", {"text": "b"}, "g"), Example("c", {"text": "c"}, "h"))
P_TRUE = {
    ("a", ()): 0.5,
    ("a", (("b", "True"),)): 0.8,
    ("a", (("b", "False"),)): 0.7,
    ("b", (("a", "True"),)): 0.6,
    ("b", (("a", "False"),)): 0.3,
}
CONFIG = SearchConfig(predictability="sum_log_prob", alpha=2.0, pair_weight=2.0, max_steps=10, seed=0)


def table(prompt: Prompt) -> tuple[float, ...]:
    shown = tuple((demo[0].removesuffix(" is"), demo[1].strip()) for demo in prompt.segments[:-1])
    true = P_TRUE[prompt.segments[-1][0].removesuffix(" is"), shown]
    return probabilities(true, 1 - true)


@pytest.fixture
def objective() -> Objective:
    rule = make_rule("exclusive", EXAMPLES, TASK.labels, "True")
    return Objective(EXAMPLES, TASK, rule, TableScorer(table), "sum_log_prob", 2.0, 2.0)


@pytest.fixture
def state(objective: Objective) -> State:
    labeling = Labeling({0: "True"})
    return State(labeling, objective.evaluate(labeling))


def test_utility_of_the_start(state: State) -> None:
    assert state.evaluation.utility == pytest.approx(2 * math.log(0.5))  # -1.3863: no pair, P = ln .5


def test_one_step(objective: Objective, state: State) -> None:
    draws = random.Random("0:1")
    assert [round(draws.random(), 6) for _ in range(3)] == [0.189412, 0.213682, 0.736653]

    after, info = step(state, objective, CONFIG)

    # line 4: T = 10 / (1 + .99 ln 1)
    assert info.temperature == 10.0
    # line 5: the urn holds a, b, c and 99 more of b, tied to the labelled a: 102 tickets, and .189 * 102 = 19.3
    assert info.example == 1
    # line 6: p(b True | a True) = .6
    assert (info.old, info.proposed) == (None, "True")
    # line 8: both True is inconsistent: U = 2 (ln .8 + ln .6) - 2 = -3.4679; TF is best of the consistent options
    both_true = 2 * (math.log(0.8) + math.log(0.6)) - 2
    options = {
        ("True", "False"): 2 * (math.log(0.7) + math.log(0.4)),  # -2.5459
        ("False", "True"): 2 * (math.log(0.2) + math.log(0.3)),  # -5.6268
        ("False", "False"): 2 * (math.log(0.3) + math.log(0.7)),  # -3.1213
    }
    (repair,) = info.repairs
    assert (repair.pair, repair.labels, repair.taken) == ((0, 1), ("True", "True"), ("True", "False"))
    assert repair.utility == pytest.approx(both_true)
    assert {option.labels: option.utility for option in repair.options} == pytest.approx(options)
    # line 9: delta = -2.5459 + 1.3863
    assert info.delta == pytest.approx(2 * (math.log(0.7) + math.log(0.4)) - 2 * math.log(0.5))
    assert info.delta == pytest.approx(-1.1596, abs=5e-5)
    # lines 10-16: exp(-1.1596 / 10) = .8905, and .7367 is below it
    assert info.accept_probability == pytest.approx(0.8905, abs=5e-5)
    assert round(info.draw, 6) == 0.736653
    assert info.verdict == "accepted"
    assert info.flips == (Flip(1, None, "True", "proposal"), Flip(1, "True", "False", "repair"))
    assert after.labeling == Labeling({0: "True", 1: "False"})
    assert (after.step, after.accepted) == (1, 1)
    assert after.evaluation.utility == pytest.approx(-2.5459, abs=5e-5)
    assert info.set_evaluations == 4  # the proposal and three options


def test_a_proposal_that_its_repair_undoes_is_unchanged(objective: Objective, state: State) -> None:
    after_one, _ = step(state, objective, CONFIG)
    after_two, info = step(after_one, objective, CONFIG)
    assert info.temperature == pytest.approx(10 / (1 + 0.99 * math.log(2)))
    assert info.example == 1  # .475235 * 3 = 1.4: nobody is left who is tied to a labelled example
    assert (info.old, info.proposed) == ("False", "True")
    assert info.repairs[0].taken == ("True", "False")
    assert info.verdict == "unchanged"
    assert after_two.labeling == after_one.labeling
    assert after_two.accepted == 1


def test_the_authors_preset_does_not_offer_neither_and_keeps_a_worse_repair(objective: Objective, state: State) -> None:
    config = SearchConfig(
        predictability="sum_log_prob", alpha=2.0, pair_weight=0.0, seed=0, offer_neither=False, keep_worse_repair=True
    )
    free = Objective(EXAMPLES, TASK, objective.rule, objective.scorer, "sum_log_prob", 2.0, pair_weight=0.0)
    _, info = step(state, free, config)
    # without a price for the pair, both True has U = -1.4679, better than every repair; TF is kept all the same
    assert [option.labels for option in info.repairs[0].options] == [("True", "False"), ("False", "True")]
    assert isinstance(info.repairs[0].options[0], Option)
    assert isinstance(info.repairs[0], Repair)
    assert info.repairs[0].utility == pytest.approx(2 * (math.log(0.8) + math.log(0.6)))
    assert info.repairs[0].taken == ("True", "False")
