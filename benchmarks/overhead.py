"""Steps per second with the fake scorer, by size of the data set, 64 examples labelled: what is not the model.

    python -m benchmarks.overhead --n 1000 10000 100000 1000000

Every size starts from the same 64 labelled examples; the time in the scorer is taken off.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import Row, reported, show
from icm_engine.core.custom_rules import make_rule
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import LabelLogProbs, TableScorer, agreeable_belief
from icm_engine.core.search import State, step
from icm_engine.core.settings import SearchConfig

TASK = Task("overhead", "Claim: {text}\nI think this claim is", rule="exactly-one")


class TimedScorer(TableScorer):
    """The fake, with the time it takes."""

    seconds = 0.0

    def score(self, prompts: Sequence[Prompt]) -> list[LabelLogProbs]:
        began = time.perf_counter()
        scores = super().score(prompts)
        self.seconds += time.perf_counter() - began
        return scores


def measure(n: int, steps: int) -> Row:
    """Median milliseconds of one step outside the scorer; each starts from the same 64 labels."""
    examples = [Example(str(i), {"text": f"claim {i}"}, str(i // 2)) for i in range(n)]
    rule = make_rule(TASK.rule, examples, TASK.labels, TASK.true_label)
    scorer = TimedScorer(agreeable_belief)
    objective, config = Objective(examples, TASK, rule, scorer), SearchConfig()
    labeling = Labeling({i * (n // 64): TASK.labels[i % 2] for i in range(64)})
    state, times = State(labeling, objective.evaluate(labeling)), []
    for number in range(steps):
        began, scored = time.perf_counter(), scorer.seconds
        step(State(labeling, state.evaluation, number), objective, config)
        times.append(time.perf_counter() - began - (scorer.seconds - scored))
    return {"examples": n, "ms a step, median": 1000 * statistics.median(times), "steps": steps}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output", type=Path)
    with reported(parser) as given:
        rows = [measure(n, given.steps) for n in given.n]
        first = rows[0]["ms a step, median"]
        show([{**row, "ratio to the smallest": row["ms a step, median"] / first} for row in rows], given.output)  # type: ignore[operator]


if __name__ == "__main__":
    main()
