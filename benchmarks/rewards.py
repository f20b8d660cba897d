"""Reward models from ICM's, the crowd's and golden labels: python -m benchmarks.rewards --work FOLDER.

As in the paper: a first reward model learns from the labels of a subset, labels the rest, and a final one learns from
both; beside them, reward models of the crowd's and golden labels of everything. Accuracy is on the test part. What is
done is found again in FOLDER, so a command that was cut off goes on.

--off NAME ...: the final models off their distribution too: on these data sets, and on claims sampled from the model
and from a policy that was trained against each of them, where a true claim is to have a higher reward than a false one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import workshop
from benchmarks.report import reported, say
from icm_engine.analysis.evaluation import (
    Right,
    Scores,
    above,
    accuracy,
    agreement_with_gold,
    difference,
    estimate,
    rewards_of,
    truth_of,
)
from icm_engine.jobs import policies
from icm_engine.jobs.downstream_eval import DatasetPart
from icm_engine.jobs.policies import ReinforceSettings, RewardSettings, Sampling
from icm_engine.store.store import Store

SUBSET = 64  # examples: 32 pairs with their twins
ARMS = {  # name: (who labels, how many examples, whether the rest is labelled by the first model)
    "ICM": ("ICM", SUBSET, True),
    "crowd": ("crowd", SUBSET, True),
    "golden": ("golden", SUBSET, True),
    "crowd, all": ("crowd", None, False),
    "golden, all": ("golden", None, False),
}


def reward_job(store: Store, dataset: str, arm: str, seed: int, steps: int, off: Sequence[str] = ()) -> tuple[str, str]:
    """The run and the reward job of one cell, tested on the test part and on the data sets `off` its distribution."""
    source, limit, staged = ARMS[arm]
    runs_seed = seed if source == "ICM" else 0  # given labels are the same with every seed
    run = workshop.labelled(store, f"rewards {dataset} {arm} {runs_seed}", dataset, source, runs_seed, limit)
    name = f"{dataset}-{arm.replace(', ', '-')}-{seed}{'-off' if off else ''}"
    tests = [DatasetPart(test) for test in (f"{dataset}_test", *off)]
    job = workshop.job_named(
        store, policies.KIND, name,
        lambda: policies.create(
            store, run, RewardSettings(seed=seed, steps=steps), name=name, model=workshop.MODEL,
            rest=None if staged else [], test=tests,
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
    parser.add_argument("--off", nargs="+", default=[], metavar="NAME", help="test data sets of other tasks")
    parser.add_argument("--policy-steps", type=int, default=60, help="of the policies of --off")
    with reported(parser) as given:
        given.work.mkdir(parents=True, exist_ok=True)
        with Store(given.work / "rewards.db") as store:
            for name in (given.dataset, *given.off):
                workshop.ensure(store, name.removesuffix("_test"))
            cells = {
                (arm, seed): reward_job(store, given.dataset, arm, seed, given.steps, given.off)
                for arm in given.arms
                for seed in given.seeds
            }
            workshop.work(store, [name for cell in cells.values() for name in cell])
            facts = {key: workshop.found(store, job) for key, (_, job) in cells.items()}
            say(report(store, given.arms, facts, f"{given.dataset}_test"))
            if given.off:
                say(f"\n{off_report(store, given.dataset, given.arms, facts, given.off, given.policy_steps)}")


def report(store: Store, arms: list[str], facts: dict[tuple[str, int], dict[str, Any]], test: str) -> str:
    """The table, and the differences from ICM's final reward models."""
    rows, finals = [], {}
    for arm in arms:
        models = [found for (name, _), found in facts.items() if name == arm]
        staged = "final" in models[0]["stages"]
        finals[arm] = [agreement_with_gold(store, model, last(model), test) for model in models]
        first = [str(models[0]["stages"]["first"]["rows"]), workshop.percent(accuracy(store, models, "first", test))]
        final = (
            [str(models[0]["rows"]), workshop.percent(accuracy(store, models, "final", test))] if staged else ["", ""]
        )
        rows.append([arm, *first, *final])
    lines = [workshop.table(["labels", "pairs", "first, % right", "with the rest", "final, % right"], rows), ""]
    if "ICM" in finals:
        lines += [
            f"ICM final less {arm}: {workshop.percent(difference(finals['ICM'], finals[arm]))} points"
            for arm in arms
            if arm != "ICM"
        ]
    return "\n".join(lines)


def last(facts: dict[str, Any]) -> str:
    """The stage of a reward model that is used."""
    return "final" if "final" in facts["stages"] else "first"


# -- off the distribution that a reward model was trained on

BEFORE, AFTER = "claims of the model before", "claims of a policy trained against it"


def off_report(
    store: Store,
    dataset: str,
    arms: list[str],
    facts: dict[tuple[str, int], dict[str, Any]],
    off: list[str],
    steps: int,
) -> str:
    """The accuracy of each arm's models on each data set and on sampled claims, and what the first two differ by."""
    right: dict[tuple[str, tuple[str, int]], Right] = {
        (test, key): agreement_with_gold(store, one, last(one), test)
        for test in (f"{dataset}_test", *off)
        for key, one in facts.items()
    }
    true = {key: [0.0, 0.0] for key in facts}
    for place, sampled in _sampled(store, dataset, facts, steps).items():
        for key, job in sampled.items():
            found = workshop.found(store, job)
            truth = truth_of(store, f"{dataset}_test", found)
            right[place, key] = sampled_pairs(found["responses"], truth, rewards_of(found, facts[key]["name"]))
            true[key][place == AFTER] = fmean(value for row in truth.values() for value in row)
    rows, seeds = [], sorted({seed for _, seed in facts})
    for test in dict.fromkeys(name for name, _ in right):
        cells = [[right[test, (arm, seed)] for seed in seeds] for arm in arms]
        pairs = [" ".join(str(sum(count for _, count in one.values())) for one in some) for some in cells]
        less = ""
        if test == AFTER:  # each policy samples claims of its own, and about most questions only true ones
            cells = [[pooled(some)] for some in cells]
        elif len(arms) > 1:
            less = workshop.percent(difference(cells[0], cells[1]))
        rows.append(
            [test, *(workshop.percent(estimate(some)) for some in cells), less, "; ".join(dict.fromkeys(pairs))]
        )
    said = [
        f"{arm}, seed {seed}: true {100 * a:.0f} % before, {100 * b:.0f} % after"
        for (arm, seed), (a, b) in true.items()
    ]
    head = ["tested on", *(f"{arm}, % right" for arm in arms), f"{' less '.join(arms[:2])}, points", "pairs by seed"]
    return "\n".join([workshop.table(head, rows), "", *said])


def pooled(cells: Sequence[Right]) -> Right:
    """All seeds as one, a group for each of their questions with something to compare."""
    return {f"{seed} {name}": one for seed, cell in enumerate(cells) for name, one in cell.items() if one[1]}


def _sampled(
    store: Store, dataset: str, facts: dict[tuple[str, int], dict[str, Any]], steps: int
) -> dict[str, dict[tuple[str, int], str]]:
    """The jobs of claims about the test questions, sampled before and after a training against each reward model."""
    how = ReinforceSettings(steps=steps, patience=ReinforceSettings().checks)  # to the end: the shift is wanted
    trained = {
        key: workshop.job_named(
            store, policies.REINFORCE, f"{one['name']}-policy",
            lambda one=one, seed=key[1]: policies.ask_reinforcement(  # type: ignore[misc]
                store, one["name"], [DatasetPart(dataset, SUBSET)], replace(how, seed=seed),
                name=f"{one['name']}-policy", model=workshop.MODEL,
            ),
        )
        for key, one in facts.items()
    }  # fmt: skip
    workshop.work(store, list(trained.values()))
    found = {
        place: {
            key: workshop.job_like(
                store, policies.RESPOND,
                lambda one=one, seed=key[1], after=after: policies.ask_responses(  # type: ignore[misc]
                    store, replace(workshop.MODEL, model=f"trained:{one['name']}-policy") if after else workshop.MODEL,
                    [DatasetPart(f"{dataset}_test")], Sampling(16, seed=seed), [one["name"]],
                ),
            )
            for key, one in facts.items()
        }
        for place, after in ((BEFORE, False), (AFTER, True))
    }  # fmt: skip
    workshop.work(store, [job for jobs_of in found.values() for job in jobs_of.values()])
    return found


def sampled_pairs(responses: Sequence[Sequence[str]], truth: Scores, rewards: Scores) -> Right:
    """By prompt, how many true responses have a higher reward than a false one, over distinct ones; ties are half."""
    found = dict[str, tuple[float, int]]()
    for texts, (asked, right) in zip(responses, truth.items(), strict=True):
        sides: dict[float, dict[str, float]] = {0.0: {}, 1.0: {}}
        for text, value, reward in zip(texts, right, rewards[asked], strict=True):
            sides[value][text] = reward
        pairs = [above(good, bad) for good in sides[1.0].values() for bad in sides[0.0].values()]
        found[asked] = (sum(pairs), len(pairs))
    return found


if __name__ == "__main__":
    main()
