"""Milliseconds that the script of each page takes about one long run, and what the Overview receives at a tick.

    python -m benchmarks.run_pages --steps 100000 --examples 10000 --labelled 256

The log is written here, in the form that a worker writes, from invented log-probabilities: a real search of that length
takes days. Pages are drawn by Streamlit's own tester, which runs the whole script. Times are medians after a first
drawing, which is given apart: it imports modules, and reads the log once.
"""

import argparse
import os
import random
import tempfile
import time
from pathlib import Path

from benchmarks.page_bytes import received
from benchmarks.page_time import drawn
from benchmarks.report import Row, reported, show
from icm_engine.core.labeling import Example, Flip, Labeling, Task
from icm_engine.core.objective import Evaluation
from icm_engine.core.repair import Option, Repair
from icm_engine.core.scoring import LabelLogProbs, Usage
from icm_engine.core.search import InitialInfo, State, StepInfo, apply, start
from icm_engine.core.settings import SearchConfig
from icm_engine.data.gold import add_gold
from icm_engine.runs.lease import claim
from icm_engine.runs.worker import SNAPSHOT_EVERY
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import Cost, RunSpec, encode_state
from icm_engine.store.replay import OpenRun, open_run
from icm_engine.store.store import Store

DATASET, RUN = "long", "long-1"
BATCH = 2000  # events written at once
PAGES = {
    "home": (None, {}),
    "search": ("search", {}),
    "steps, the last": ("steps", {}),
    "steps, in the middle": ("steps", {"step": "MIDDLE"}),
    "steps, labels then": ("steps", {"step": "MIDDLE", "view": "Labels"}),
    "flips": ("flips", {}),
    "flips, one example": ("flips", {"example": "e7"}),
    "consistency, pairs": ("consistency", {"view": "Pairs"}),
    "consistency, groups": ("consistency", {"view": "Groups"}),
    "consistency, repairs": ("consistency", {"view": "Repairs"}),
    "compare, gold": ("compare", {"view": "Gold"}),
    "compare, runs": ("compare", {"view": "Runs"}),
    "annotate": ("annotate", {}),
    "forks": ("forks", {}),
    "tour": ("tour", {}),
}


class Inventor:
    """Steps of a search that never was: labels flip at random, and every number has the shape of a real one."""

    def __init__(self, opened: OpenRun, labelled: int) -> None:
        self.opened, self.labelled, self.rng = opened, labelled, random.Random(1)
        first = self.rng.sample(range(labelled), 8)
        flips = tuple(Flip(i, None, self.rng.choice(("True", "False")), "initial") for i in first)
        labeling = Labeling({flip.example: str(flip.new) for flip in flips})
        drawn = tuple(labeling.items())
        self.initial = InitialInfo(drawn, (), flips, self.evaluation(labeling), 1)
        self.state: State = start(self.initial)

    def evaluation(self, labeling: Labeling) -> Evaluation:
        scores = {i: LabelLogProbs((-3 * self.rng.random(), -3 * self.rng.random())) for i in labeling}
        pairs = tuple(self.opened.rule.conflicts(labeling)) if len(labeling) % 8 == 0 else ()
        weighted = 50 * self.rng.random()
        return Evaluation(weighted, weighted / 50, float(len(pairs)), pairs, scores)

    def step(self, number: int) -> tuple[StepInfo, Labeling]:
        """Return the next step and the labeling before it; a third of all is accepted, and until all are labelled."""
        before = self.state.labeling
        example = len(before) if len(before) < self.labelled else self.rng.randrange(self.labelled)
        example = next(i for i in (example, *range(self.labelled)) if len(before) == self.labelled or i not in before)
        old = before.get(example)
        new = "False" if old == "True" else "True"
        accepted = old is None or self.rng.random() < 0.33
        proposal = before.assign(example, new)
        after = self.evaluation(proposal)
        repair = Repair((0, 1), ("True", "True"), 1.0, (Option(("True", "False"), 0.5),), None)
        heat, scores = 10 / (1 + number / 100), LabelLogProbs((-0.3, -1.5))
        info = StepInfo(
            number, heat, example, old, new, scores, self.state.evaluation, after,
            (repair,) if number % 10 == 0 else (), (Flip(example, old, new, "proposal"),),
            after.utility - self.state.evaluation.utility, 0.3, 0.5, "accepted" if accepted else "rejected", 1,
        )  # fmt: skip
        self.state = apply(self.state, info)
        return info, before


def written(database: Path, steps: int, examples: int, labelled: int) -> Inventor:
    """Write the data set and the whole log; return who can go on with it."""
    with Store(database) as store:
        task = Task("truthfulness", "Claim: {claim}\nI think this claim is", rule="exclusive", fields=("claim",))
        rows = tuple(Example(f"e{i}", {"claim": f"claim {i}, {'word ' * 20}"}, f"g{i // 4}") for i in range(examples))
        store.add_dataset(Dataset(DATASET, task, rows, tuple(dict(e.fields) for e in rows), ("claim",), "invented"))
        add_gold(store, DATASET, {e.id: random.Random(e.id).choice(("True", "False")) for e in rows})
        run = store.add_run(RunSpec(DATASET, "fake", search=SearchConfig(max_steps=steps)))
        opened = open_run(store, run).whole()
        store.append(run, "control", {"verb": "start"})
        inventor, cost = Inventor(opened, labelled), Cost(Usage(labelled, 30_000, 600_000))
        store.append(run, "initial", opened.codec.encode_initial(inventor.initial, cost), 1.0)
        for first in range(1, steps + 1, BATCH):
            with store.transaction():
                for number in range(first, min(first + BATCH, steps + 1)):
                    info, before = inventor.step(number)
                    event = store.append(run, "step", opened.codec.encode_step(info, cost, before), 0.5)
                    if event % SNAPSHOT_EVERY == 0:
                        store.keep_snapshot(run, event, encode_state(opened.codec, inventor.state))
            print(f"\r{first + BATCH - 1:,} steps written", end="", flush=True)
        store.append(run, "control", {"verb": "pause"})
    print()
    return inventor


def tick(database: Path, inventor: Inventor) -> Row:
    """Hold the run as its worker would, go on with it, and return what an open page receives."""
    with Store(database) as store:
        store.append(RUN, "control", {"verb": "resume"})
        token = claim(store, RUN)
        store.update_lease(RUN, token, ready=1)
        codec, cost = open_run(store, RUN).codec, Cost(Usage(inventor.labelled, 30_000, 600_000))

        def step() -> None:
            info, before = inventor.step(inventor.state.step + 1)
            store.append(RUN, "step", codec.encode_step(info, cost, before), 0.5)
            store.update_lease(RUN, token, heartbeat=time.time())

        return received(database, RUN, step)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--labelled", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--output", type=Path)
    with reported(parser) as given, tempfile.TemporaryDirectory(prefix="icm-pages-") as folder:
        database = Path(folder) / "icm.db"
        os.environ["ICM_DB"] = str(database)
        inventor = written(database, given.steps, given.examples, given.labelled)
        found = list[Row]()
        for name, (link, query) in PAGES.items():
            asked = {key: value.replace("MIDDLE", str(given.steps // 2)) for key, value in query.items()}
            found.append(drawn(name, link, {"run": RUN, **asked} if link else {}, given.repeat))
        show(found, given.output)
        size = sum(file.stat().st_size for file in Path(folder).glob("icm.db*"))
        show([{"steps": given.steps, "examples": given.examples, "labelled": given.labelled, "MB": size / 1e6}], None)
        show([tick(database, inventor)], None)


if __name__ == "__main__":
    main()
