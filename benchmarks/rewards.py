"""Reward models from ICM's, the crowd's and golden labels: python -m benchmarks.rewards --work FOLDER.

As in the paper: a first reward model learns from the labels of a subset, labels the rest, and a final one learns from
both; beside them, reward models of the crowd's and golden labels of everything. Accuracy is on the test part. What is
done is found again in FOLDER, so a command that was cut off goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks import workshop
from benchmarks.report import reported, say
from icm_engine.analysis.evaluation import accuracy, agreement_with_gold, difference
from icm_engine.jobs import policies
from icm_engine.jobs.downstream_eval import DatasetPart
from icm_engine.jobs.policies import RewardSettings
from icm_engine.store.store import Store

SUBSET = 64  # examples: 32 pairs with their twins
ARMS = {  # name: (who labels, how many examples, whether the rest is labelled by the first model)
    "ICM": ("ICM", SUBSET, True),
    "crowd": ("crowd", SUBSET, True),
    "golden": ("golden", SUBSET, True),
    "crowd, all": ("crowd", None, False),
    "golden, all": ("golden", None, False),
}


def reward_job(store: Store, dataset: str, arm: str, seed: int, steps: int) -> tuple[str, str]:
    """The run and the reward job of one cell."""
    source, limit, staged = ARMS[arm]
    runs_seed = seed if source == "ICM" else 0  # given labels are the same with every seed
    run = workshop.labelled(store, f"rewards {dataset} {arm} {runs_seed}", dataset, source, runs_seed, limit)
    name = f"{dataset}-{arm.replace(', ', '-')}-{seed}"
    job = workshop.job_named(
        store, policies.KIND, name,
        lambda: policies.create(
            store, run, RewardSettings(seed=seed, steps=steps), name=name, model=workshop.MODEL,
            rest=None if staged else [], test=[DatasetPart(f"{dataset}_test")],
        ),
    )  # fmt: skip
    return run, job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the database and the models")
    parser.add_argument("--dataset", default="comparisons")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=RewardSettings().steps)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    with reported(parser) as given:
        given.work.mkdir(parents=True, exist_ok=True)
        with Store(given.work / "rewards.db") as store:
            workshop.ensure(store, given.dataset)
            cells = {
                (arm, seed): reward_job(store, given.dataset, arm, seed, given.steps)
                for arm in given.arms
                for seed in given.seeds
            }
            workshop.work(store, [name for cell in cells.values() for name in cell])
            say(report(store, given.arms, {key: workshop.found(store, job) for key, (_, job) in cells.items()}))


def report(store: Store, arms: list[str], facts: dict[tuple[str, int], dict[str, Any]]) -> str:
    """The table, and the differences from ICM's final reward models."""
    rows, finals = [], {}
    for arm in arms:
        models = [found for (name, _), found in facts.items() if name == arm]
        staged = "final" in models[0]["stages"]
        finals[arm] = [agreement_with_gold(store, model, "final" if staged else "first") for model in models]
        first = [str(models[0]["stages"]["first"]["rows"]), workshop.percent(accuracy(store, models, "first"))]
        final = [str(models[0]["rows"]), workshop.percent(accuracy(store, models, "final"))] if staged else ["", ""]
        rows.append([arm, *first, *final])
    lines = [workshop.table(["labels", "pairs", "first, % right", "with the rest", "final, % right"], rows), ""]
    if "ICM" in finals:
        lines += [
            f"ICM final less {arm}: {workshop.percent(difference(finals['ICM'], finals[arm]))} points"
            for arm in arms
            if arm != "ICM"
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
