"""A log of four examples, written by hand."""

import math

from icm_engine.core.labeling import Example, Flip, Labeling, Task
from icm_engine.core.objective import Evaluation
from icm_engine.core.repair import Option, Repair
from icm_engine.core.scoring import LabelLogProbs, Usage
from icm_engine.core.search import InitialInfo, StepInfo
from icm_engine.core.settings import SearchConfig
from icm_engine.data.gold import add_gold
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import Codec, Cost, RunSpec
from icm_engine.store.store import Store

IDS = ("a", "b", "c", "d")
GOLD = {"a": "True", "b": "False", "c": "True", "d": "False"}
CODEC = Codec(IDS, ("True", "False"))
SURE = LabelLogProbs((math.log(0.72), math.log(0.08)))  # 0.9 and 0.1 of a mass of 0.8
COST = Cost(Usage(prompts=2, tokens_encoded=100, tokens_full=300))


def evaluation(
    weighted: float, inconsistency: float, labelled: int, pairs: tuple[tuple[int, int], ...] = ()
) -> Evaluation:
    return Evaluation(weighted, weighted / 50, inconsistency, pairs, dict.fromkeys(range(labelled), SURE))


START = evaluation(10.0, 1.0, 2, ((0, 1),))  # U = 10 - 1 = 9
GROWN = evaluation(15.0, 1.0, 3, ((0, 1),))  # U = 14
WORSE = evaluation(12.0, 0.0, 3)  # U = 12
MENDED = evaluation(20.0, 0.0, 3)  # U = 20


def initial_info() -> InitialInfo:
    drawn = ((0, "True"), (1, "True"))
    return InitialInfo(drawn, (), tuple(Flip(i, None, y, "initial") for i, y in drawn), START, 1)


def steps() -> list[tuple[StepInfo, Labeling]]:
    """Accepted (c becomes True), rejected, unchanged, accepted with a repair (b becomes False)."""
    two, three = Labeling({0: "True", 1: "True"}), Labeling({0: "True", 1: "True", 2: "True"})
    repair = Repair((0, 1), ("True", "True"), 14.0, (Option(("True", "False"), 20.0),), ("True", "False"))
    mended = (Flip(1, "True", "False", "repair"),)
    return [
        (StepInfo(1, 10.0, 2, None, "True", SURE, START, GROWN, (), (Flip(2, None, "True", "proposal"),), 5.0, 1.0, 0.3,
                  "accepted", 2), two),
        (StepInfo(2, 6.0, 1, "True", "False", SURE, GROWN, WORSE, (), (Flip(1, "True", "False", "proposal"),), -2.0,
                  math.exp(-2 / 6), 0.9, "rejected", 1), three),
        (StepInfo(3, 5.0, 0, "True", "True", SURE, GROWN, None), three),
        (StepInfo(4, 4.0, 0, "True", "True", SURE, GROWN, MENDED, (repair,), mended, 6.0, 1.0, 0.2,
                  "accepted", 3), three),
    ]  # fmt: skip


def add_four(store: Store) -> None:
    """Store the data set with its gold, and the run `four-1`, which has not begun."""
    examples = tuple(Example(i, {"question": f"Q {i}", "claim": f"C {i}"}, "g", answer="1") for i in IDS)
    task = Task("truthfulness", "{question} {claim}", rule="same-answer", fields=("question", "claim"))
    store.add_dataset(Dataset("four", task, examples, tuple(dict(e.fields) for e in examples), task.fields, "four.csv"))
    add_gold(store, "four", GOLD)
    store.add_run(RunSpec("four", "sample", search=SearchConfig(max_steps=16)))


def write_four(store: Store, upto: int = 4) -> None:
    """Append the events of the run up to this step."""
    store.append("four-1", "control", {"verb": "start"})
    store.append("four-1", "model", {"model": "sample", "trained_context": 120})
    store.append("four-1", "initial", CODEC.encode_initial(initial_info(), COST), 1.0)
    for info, before in steps()[:upto]:
        store.append("four-1", "step", CODEC.encode_step(info, COST, before), 2.0)
