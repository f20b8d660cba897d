"""A run with twenty labels, some of them long, for tests of pages: 64 examples in groups of three, with gold."""

import math
from typing import Any

from icm_engine.core.labeling import Example, Task
from icm_engine.core.prompting import Prompt
from icm_engine.data.gold import add_gold
from icm_engine.store.datasets import Dataset
from icm_engine.store.store import Store
from tests.support.stores import add_run, moody_belief

LABELS = (
    "activate my card", "age limit", "apple pay or google pay", "atm support", "automatic top-up",
    "balance not updated after bank transfer", "balance not updated after cheque or cash deposit",
    "beneficiary not allowed", "cancel transfer", "card about to expire", "card acceptance",
    "card arrival", "card delivery estimate", "card linking", "card not working",
    "card payment fee charged", "card payment not recognised",
    "credit card or prepaid card", "wrong exchange rate for cash withdrawal", "why verify identity",
)  # fmt: skip
NAME = "banking"


def banking_dataset(store: Store) -> None:
    """Store 64 questions of a bank's customers; those of a group have one answer, and so one label."""
    examples = tuple(
        Example(f"{NAME}-{k}", {"question": f"Question {k}: what do I do about {gold(k)}? I asked before."},
                f"g{k // 3}", str(k // 3))
        for k in range(64)
    )  # fmt: skip
    task = Task(NAME, "Question: {question}\nIntent:", LABELS, LABELS[0], "same-answer", ("question",))
    store.add_dataset(Dataset(NAME, task, examples, tuple(dict(e.fields) for e in examples), task.fields, NAME))
    add_gold(store, NAME, {example.id: gold(k) for k, example in enumerate(examples)})


def gold(k: int) -> str:
    """Return the gold label of the k-th example; every label occurs."""
    return LABELS[k // 3 % len(LABELS)]


# some proposals are rejected, some examples have no label, some pairs stay inconsistent
SETTINGS = {
    "predictability": "centred_log_odds", "alpha": 1.0, "pair_weight": 0.0, "max_repairs": 1, "repair_unchanged": False,
}  # fmt: skip


def banking_run(store: Store, steps: int = 250, **settings: Any) -> str:
    """Store a finished run on these questions, its events made by the real search; it disagrees with gold in part."""
    if not store.has_dataset(NAME):
        banking_dataset(store)
    return add_run(store, "finished", steps, NAME, belief=knowing_belief, **{**SETTINGS, **settings})


def knowing_belief(prompt: Prompt) -> tuple[float, ...]:
    """Believe as `moody_belief` does, but more in the label that the text names; the probabilities sum to 0.99."""
    text, believed = prompt.segments[-1][0], list(moody_belief(prompt))
    for k, label in enumerate(prompt.labels):
        if f"about {label}?" in text:
            believed[k] += 1.0
    total = math.log(sum(map(math.exp, believed))) + 0.01
    return tuple(value - total for value in believed)
