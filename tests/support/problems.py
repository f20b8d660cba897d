"""Small problems, with a table of probabilities for a model."""

import math

from icm_engine.core.custom_rules import make_rule
from icm_engine.core.objective import Objective
from icm_engine.core.scoring import TableScorer, agreeable_belief
from icm_engine.core.settings import SearchConfig
from icm_engine.store.datasets import Dataset


def probabilities(*values: float) -> tuple[float, ...]:
    """Label probabilities as a scorer gives them: natural logs."""
    return tuple(math.log(value) for value in values)


def problem(pairs: Dataset, **settings: object) -> tuple[Objective, SearchConfig]:
    rule = make_rule(pairs.task.rule, pairs.examples, pairs.task.labels, pairs.task.true_label)
    config = SearchConfig(**{"seed": 5, **settings})  # type: ignore[arg-type]
    scorer = TableScorer(agreeable_belief)
    objective = Objective(
        pairs.examples, pairs.task, rule, scorer, config.predictability, config.alpha, config.pair_weight
    )
    return objective, config
