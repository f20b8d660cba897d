"""The loops around a search, on the sample model: python -m benchmarks.loops --work FOLDER [--part dpo|rl|rounds].

dpo: one iteration of sampling, judging and preference tuning, with ICM as the judge, with the model as its own judge
     (self-ranked) and with gold as the judge (the ceiling). Held out: the questions of facts_test; the measure is the
     share of sampled claims that gold has as True.
rl:  a policy reinforced against the reward model from ICM's labels, and one against that from the crowd's; win rate of
     the first by a third judge (a reward model from golden labels of other examples) and by the truth itself. The third
     judge also decides which step is kept: each policy at its start, at that peak and at its end, by both.
rounds: the self-rewarding loop with each judge, without an early end; win rate by the judge and share of responses that
     are true by gold, both on held-out prompts, over rounds, and which round is kept. It can begin with another model
     (--model; a fetched one is expected in FOLDER/models) and on plain sums (--dataset sums), which a small base model
     can answer.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from benchmarks import workshop
from benchmarks.report import reported, say
from benchmarks.rewards import reward_job
from icm_engine.analysis.evaluation import (
    Estimate,
    Right,
    Scores,
    difference,
    estimate,
    rewards_of,
    share,
    truth_of,
    wins,
)
from icm_engine.analysis.tuned_models import LoopRound, loop_rounds
from icm_engine.core.settings import ModelChoice
from icm_engine.data.gold import add_gold
from icm_engine.experiments import self_rewarding
from icm_engine.experiments.self_rewarding import Loop, LoopSettings
from icm_engine.jobs import policies
from icm_engine.jobs.downstream_eval import DatasetPart
from icm_engine.jobs.policies import PreferenceSettings, ReinforceSettings, RewardSettings, Sampling, keep_responses
from icm_engine.runs import model_registry
from icm_engine.store.store import Store

Some = TypeVar("Some")
JUDGES = {"ICM": "ICM", "the model itself": "self-ranked", "gold": "golden"}
LARGEST = 40  # of the numbers in `comparisons`


def trained_model(name: str) -> ModelChoice:
    return ModelChoice(f"trained:{name}", "none", "float32", "cpu")


def responses(store: Store, model: ModelChoice, part: DatasetPart, how: Sampling, **more: Any) -> str:
    """The job that samples a model, found again if there is one."""
    return workshop.job_like(store, policies.RESPOND, lambda: policies.ask_responses(store, model, [part], how, **more))


# -- judge, preference pairs, DPO


def dpo(store: Store, seeds: Sequence[int], questions: int, steps: int) -> str:
    """One iteration with each judge and seed; returns the table."""
    workshop.ensure(store, "facts")
    drawn = {
        seed: responses(store, workshop.MODEL, DatasetPart("facts"), Sampling(6, seed=seed), most=questions)
        for seed in seeds
    }
    workshop.work(store, list(drawn.values()))
    runs = {}
    for seed, job in drawn.items():
        name = f"candidates-{seed}"
        if not store.has_dataset(name):
            keep_responses(store, job, name, "exclusive")
        if not store.dataset_info(name).gold:
            _give_gold(store, name, workshop.found(store, job))
        for judge, source in JUDGES.items():
            runs[judge, seed] = workshop.labelled(store, f"{name} {judge}", name, source, seed)
    tuned = {key: _tuning(store, run, key, steps) for key, run in runs.items()}
    workshop.work(store, [*runs.values(), *tuned.values()])
    sampled = {
        (judge, seed): responses(
            store, workshop.MODEL if judge == "none" else trained_model(_policy(judge, seed)),
            DatasetPart("facts_test"), Sampling(16, seed=seed),
        )
        for judge in ("none", *JUDGES)
        for seed in seeds
    }  # fmt: skip
    workshop.work(store, list(sampled.values()))
    truth = {key: truth_of(store, "facts_test", workshop.found(store, job)) for key, job in sampled.items()}
    return _dpo_table(store, seeds, truth, tuned, runs)


def _policy(judge: str, seed: int) -> str:
    return f"dpo-{JUDGES[judge]}-{seed}"


def _tuning(store: Store, run: str, key: tuple[str, int], steps: int) -> str:
    name, settings = _policy(*key), PreferenceSettings(seed=key[1], steps=steps)
    return workshop.job_named(
        store, policies.PREFER, name,
        lambda: policies.ask_preference_tuning(store, run, settings, name=name, model=workshop.MODEL),
    )  # fmt: skip


def _give_gold(store: Store, name: str, found: dict[str, Any]) -> None:
    """Gold of sampled claims: what gold of `facts` says is the right claim of the question."""
    right = truth_of(store, "facts", found)
    said = {
        (asked, text): score
        for asked, texts in zip(found["asked"], found["responses"], strict=True)
        for text, score in zip(texts, right[asked], strict=True)
    }
    labels = {e.id: "True" if said[e.fields["question"], e.fields["claim"]] else "False" for e in store.examples(name)}
    add_gold(store, name, labels)


def _dpo_table(
    store: Store, seeds: Sequence[int], truth: dict[Any, Scores], tuned: dict[Any, str], runs: dict[Any, str]
) -> str:
    rows = []
    before: list[Right] = [share(truth["none", seed]) for seed in seeds]
    for judge in ("none", *JUDGES):
        after = [share(truth[judge, seed]) for seed in seeds]
        cells = ["", "", ""]
        if judge != "none":
            facts = [workshop.found(store, tuned[judge, seed]) for seed in seeds]
            right = [_labels_right(store, runs[judge, seed]) for seed in seeds]
            versus = [wins(truth[judge, seed], truth["none", seed]) for seed in seeds]
            cells = [
                " ".join(f"{100 * r:.0f}" for r in right), " ".join(str(f["rows"]) for f in facts),
                f"{workshop.percent(difference(after, before))} | {workshop.percent(estimate(versus))}",
            ]  # fmt: skip
        rows.append([judge, cells[0], cells[1], workshop.percent(estimate(after)), cells[2] or " | "])
    head = ["judge", "labels right, % by seed", "pairs by seed", "true claims, %", "less before, points",
            "win rate against before, %"]  # fmt: skip
    return workshop.table(head, rows)


def _labels_right(store: Store, run: str) -> float:
    from icm_engine.analysis.views import run_summary

    return float(str(run_summary(store, run)["accuracy"]))


# -- reinforcement against each reward model


def rl(store: Store, dataset: str, seeds: Sequence[int], reward_steps: int, steps: int) -> str:
    """A policy against each reward model and seed; returns the tables."""
    workshop.ensure(store, dataset)
    cells = {(arm, seed): reward_job(store, dataset, arm, seed, reward_steps) for arm in ARMS for seed in seeds}
    third = _third_judge(store, dataset, reward_steps)
    workshop.work(store, [name for cell in (*cells.values(), third) for name in cell])
    names = {key: workshop.found(store, job)["name"] for key, (_, job) in cells.items()}
    judge = workshop.found(store, third[1])["name"]
    prompts = DatasetPart(dataset, 64 if dataset == "facts" else 0)  # beyond the labelled ones, where prompts differ
    trained = {
        key: workshop.job_named(
            store, policies.REINFORCE, f"{name}-policy",
            lambda name=name, seed=key[1]: policies.ask_reinforcement(  # type: ignore[misc]
                store, name, [prompts],
                ReinforceSettings(seed=seed, steps=steps, max_tokens=8, patience=ReinforceSettings().checks),
                name=f"{name}-policy", model=workshop.MODEL, judge=judge,
            ),
        )
        for key, name in names.items()
    }  # fmt: skip
    workshop.work(store, list(trained.values()))
    told = {key: workshop.found(store, job) for key, job in trained.items()}
    models = {
        **{("before", seed): workshop.MODEL for seed in seeds},
        **{key: trained_model(f"{name}-policy") for key, name in names.items()},
        **{(f"{arm}, end", seed): _at_end(store, told[arm, seed]) for arm, seed in names},
    }
    sampled = {
        key: responses(
            store, model, DatasetPart(f"{dataset}_test"), Sampling(16, max_tokens=8, seed=key[1]), judges=[judge]
        )
        for key, model in models.items()
    }
    workshop.work(store, list(sampled.values()))
    found = {key: workshop.found(store, job) for key, job in sampled.items()}
    true: Callable[[dict[str, Any]], Scores] = numbers if dataset == "comparisons" else (
        lambda one: truth_of(store, f"{dataset}_test", one)
    )  # fmt: skip
    return "\n".join([_rl_tables(seeds, found, told, true, judge), "", *_peak_tables(seeds, found, told, true, judge)])


def _at_end(store: Store, told: dict[str, Any]) -> ModelChoice:
    """The policy after its last step, which is below the one that is kept unless it is the same."""
    last = model_registry.folder(store, told["name"]) / "last"
    kept = trained_model(told["name"])
    return replace(kept, model=str(last)) if last.is_dir() else kept


ARMS = ("ICM", "crowd")


def _third_judge(store: Store, dataset: str, steps: int) -> tuple[str, str]:
    """The reward model from golden labels of the test part, which no other one has seen a label of."""
    run = workshop.labelled(store, f"third {dataset}", f"{dataset}_test", "golden")
    name, settings = f"{dataset}-third", RewardSettings(steps=steps)
    return run, workshop.job_named(
        store, policies.KIND, name,
        lambda: policies.create(
            store, run, settings, name=name, model=workshop.MODEL, rest=[], test=[DatasetPart(dataset)],
        ),
    )  # fmt: skip


def numbers(found: dict[str, Any]) -> Scores:
    """The truth about `comparisons`: a larger number is better, and what is no number of this world is worst."""
    return {
        asked: [float(text) if text.isdecimal() and int(text) <= LARGEST else -1.0 for text in texts]
        for asked, texts in zip(found["asked"], found["responses"], strict=True)
    }


def _rl_tables(
    seeds: Sequence[int], found: dict[Any, Any], told: dict[Any, Any], true: Callable[[Any], Scores], judge: str
) -> str:
    rows = []
    for arm in ("before", *ARMS):
        trained = [told[arm, s] for s in seeds] if arm != "before" else []
        rows.append([
            arm, _means([true(found[arm, s]) for s in seeds]),
            _means([rewards_of(found[arm, s], judge) for s in seeds]),
            " ".join(f"{one['first_reward']:.1f} to {one['last_reward']:.1f}" for one in trained),
            " ".join(f"{one['last_kl']:.2f}" for one in trained),
        ])  # fmt: skip
    lines = [
        workshop.table(["policy", "mean true score by seed", "mean reward of the third by seed",
                        "own reward in training", "last KL"], rows), "",
    ]  # fmt: skip
    for one, other in (("ICM", "crowd"), ("ICM", "before"), ("crowd", "before")):
        by_third = [wins(rewards_of(found[one, s], judge), rewards_of(found[other, s], judge)) for s in seeds]
        by_truth = [wins(true(found[one, s]), true(found[other, s])) for s in seeds]
        lines.append(
            f"win rate of {one} against {other}: by the third {_rate(by_third)}, by the truth {_rate(by_truth)}"
        )
    return "\n".join(lines)


def _peak_tables(
    seeds: Sequence[int], found: dict[Any, Any], told: dict[Any, Any], true: Callable[[Any], Scores], judge: str
) -> list[str]:
    """Each policy at its start, its peak by the third judge and its end, and the checks of its training."""
    rows, checks, lines = [], [], list[str]()
    for arm in ARMS:
        some = {"start": "before", "peak": arm, "end": f"{arm}, end"}
        by = {
            name: [[share(one(found[key, seed])) for seed in seeds] for key in some.values()]
            for name, one in (("truth", true), ("third", lambda one: rewards_of(one, judge)))
        }
        kept = " ".join(f"{told[arm, s]['kept_step']}/{told[arm, s]['steps']}" for s in seeds)
        for k, place in enumerate(some):
            steps = {"start": "0", "peak": kept, "end": ""}[place]
            rows.append(
                [arm, place, steps, *(_scored(by[name][k]) for name in by), *(_less(by[name], k) for name in by)]
            )
        less = (f"{name} {_three(bounded(cells[2], cells[1]))}" for name, cells in by.items())
        lines.append(f"{arm}, end less peak: {', '.join(less)}")
        checks += [_check_row(arm, seed, told[arm, seed]) for seed in seeds]
    head = ["policy against", "at", "kept step", "true score", "reward by the third", "true, less start",
            "third, less start"]  # fmt: skip
    return [
        workshop.table(head, rows), "", *lines, "",
        workshop.table(["policy against", "seed", "step: own reward, judged, distinct, KL"], checks),
    ]  # fmt: skip


def _scored(cells: Sequence[Right]) -> str:
    return _three(bounded(cells))


def _less(places: Sequence[Sequence[Right]], k: int) -> str:
    return _three(bounded(places[k], places[0])) if k else ""


def bounded(cells: Sequence[Right], other: Sequence[Right] | None = None) -> Estimate:
    """The mean over seeds and prompts, or the difference of two; of one prompt alone there is no interval."""
    found = estimate(cells) if other is None else difference(cells, other)
    return found if len(cells[0]) > 1 else replace(found, low=found.mean, high=found.mean)


def _three(value: Estimate) -> str:
    seeds = " ".join(f"{one:.2f}" for one in value.values)
    interval = f" [{value.low:.2f}, {value.high:.2f}]" if value.low < value.high else ""
    return f"{value.mean:.2f}{interval} ({seeds})"


def _check_row(arm: str, seed: int, told: dict[str, Any]) -> list[str]:
    checks = (
        f"{one['step']}: {one['own']:.2f} {one['judged']:.2f} {one['distinct']:.2f} {one['kl']:.2f}"
        for one in told["checks"]
    )
    return [arm, str(seed), "; ".join(checks)]


def _means(scores: Sequence[Scores]) -> str:
    return " ".join(f"{fmean(value for row in one.values() for value in row):.2f}" for one in scores)


def _rate(values: Sequence[Right]) -> str:
    """A win rate with its interval, and by seed; of one prompt alone there is no interval over prompts."""
    found = estimate(values)
    seeds = ", ".join(f"{100 * value:.1f}" for value in found.values)
    return f"{workshop.percent(found) if len(values[0]) > 1 else f'{100 * found.mean:.1f}'} (by seed {seeds})"


# -- rounds of responses, labels and DPO

HELD_OUT = {"facts": "facts_test", "arithmetic": "arithmetic_test", workshop.PLAIN_SUMS: None}  # None: the next ones
META: dict[str, dict[str, Any]] = {  # judges that are judged: what they differ in from ICM
    "icm-3": {"judge": "icm", "judgements": 3},
    "icm-3-tuned": {"judge": "icm", "judgements": 3, "tune_judge": True},
}


def rounds(
    store: Store,
    dataset: str,
    judges: Sequence[str],
    seeds: Sequence[int],
    how: LoopSettings,
    training: PreferenceSettings,
    model: ModelChoice = workshop.MODEL,
) -> str:
    """A loop with each judge and seed; returns the tables."""
    workshop.ensure(store, dataset)
    loops = {
        (judge, seed): Loop(
            f"{dataset}-{judge}-{seed}", dataset, HELD_OUT[dataset],
            replace(how, **META.get(judge, {"judge": judge})), replace(training, seed=seed), model,
        )
        for judge in judges
        for seed in seeds
    }  # fmt: skip
    made = {
        key: workshop.finished(store, self_rewarding.KIND, loop.name, partial(self_rewarding.ask, store, loop))
        for key, loop in loops.items()
    }
    told = {key: loop_rounds(store, job) for key, job in made.items()}
    lines = []
    for judge in judges:
        mine = [told[judge, seed] for seed in seeds]
        lines += _round_rows(judge, mine)
    head = ["judge", "round", "loops", "pairs", "labels right, %", "win rate by the judge, %", "true by gold, %",
            "distinct, %"]  # fmt: skip
    kept, meta = _kept_lines(store, made, told, judges, seeds), _meta_lines(told, judges, seeds)
    return "\n".join([workshop.table(head, lines), "", *kept, *meta])


def _round_rows(judge: str, loops: Sequence[Sequence[LoopRound]]) -> list[list[str]]:
    """A row for each round that any of the loops reached: the means over those that did."""
    rows = []
    for number in range(max(map(len, loops))):
        some = [loop[number] for loop in loops if len(loop) > number]
        right = [one.labels_right for one in some if one.labels_right is not None]
        true = [one.true.mean for one in some if one.true is not None]
        rows.append([
            judge, str(number), str(len(some)), f"{fmean(one.pairs for one in some):.0f}" if number else "",
            f"{100 * fmean(right):.1f}" if right else "", f"{100 * fmean(one.win_rate.mean for one in some):.1f}",
            " ".join(f"{100 * share:.1f}" for share in true), f"{100 * fmean(one.distinct for one in some):.0f}",
        ])  # fmt: skip
    return rows


def _kept_lines(
    store: Store, made: dict[Any, str], told: dict[Any, list[LoopRound]], judges: Sequence[str], seeds: Sequence[int]
) -> list[str]:
    """What the kept rounds are worth by gold, beside the start and the last rounds."""
    lines = []
    for judge in judges:
        best = [workshop.found(store, made[judge, seed])["best"] for seed in seeds]
        ended = [workshop.found(store, made[judge, seed])["ended"] for seed in seeds]
        parts = {
            "kept less start": [(told[judge, s][b], told[judge, s][0]) for s, b in zip(seeds, best, strict=True)],
            "last less kept": [(told[judge, s][-1], told[judge, s][b]) for s, b in zip(seeds, best, strict=True)],
        }
        words = [f"{name} {workshop.percent(difference(*_true(pairs)))}" for name, pairs in parts.items()]
        lines.append(f"{judge}: kept rounds {best}; {', '.join(words)} points true; ended: {', '.join(ended)}")
    return lines


def _meta_lines(told: dict[Any, list[LoopRound]], judges: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """Whether the judgement with the highest U is the best by gold, where several judgements were compared."""
    lines = []
    for judge in judges:
        compared = [one for s in seeds for one in told[judge, s] if one.judgements]
        if compared:
            shares = [[_known(made.labels_right) for made in one.judgements] for one in compared]
            chosen = [_known(one.labels_right) for one in compared]
            best = sum(one == max(some) for one, some in zip(chosen, shares, strict=True))
            differed = sum(max(some) > min(some) for some in shares)  # in how many are right, if not in which
            lines.append(
                f"{judge}: {len(compared)} rounds; the highest U had the most labels right in {best} (the judgements "
                f"differed in {differed}); labels right, %: {100 * fmean(chosen):.1f} of the highest, "
                f"{100 * fmean(fmean(some) for some in shares):.1f} of all judgements"
            )
    return lines


def _known(right: Some | None) -> Some:
    """What is right by gold, which these data sets have."""
    assert right is not None
    return right


def _true(pairs: Sequence[tuple[LoopRound, LoopRound]]) -> tuple[list[Right], list[Right]]:
    return [_known(one.right) for one, _ in pairs], [_known(other.right) for _, other in pairs]


DATABASES = {"dpo": "dpo", "rl": "rewards", "rounds": "rounds"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the database and the models")
    parser.add_argument("--part", choices=("dpo", "rl", "rounds"), required=True)
    parser.add_argument("--dataset", choices=("comparisons", *HELD_OUT), default="comparisons", help="of rl and rounds")
    parser.add_argument("--model", default=workshop.MODEL.model, help="of rounds: the start, in float32 on the CPU")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--questions", type=int, default=16, help="of dpo and rounds: questions that claims are sampled for"
    )
    parser.add_argument("--steps", type=int, default=60, help="of DPO, or of reinforcement")
    parser.add_argument("--reward-steps", type=int, default=RewardSettings().steps)
    parser.add_argument(
        "--judges", nargs="+", default=["icm", "self-ranked", "golden"],
        help=f"of rounds; {' and '.join(META)}: the best of three searches by U, and the judge tuned on it each round",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=4, help="of rounds")
    parser.add_argument("--samples", type=int, default=LoopSettings().samples, help="of rounds: of a training question")
    parser.add_argument("--test-samples", type=int, default=4, help="of rounds: responses to a held-out question")
    parser.add_argument("--temperature", type=float, default=LoopSettings().temperature, help="of rounds")
    parser.add_argument(
        "--batch-size", type=int, default=PreferenceSettings().batch_size, help="of rounds: pairs a step"
    )
    parser.add_argument("--likelihood", type=float, default=0.0, help="of rounds: weight of -log p in the loss")
    parser.add_argument(
        "--thought", type=int, default=0, help="of rounds: tokens of a hidden thought before a response"
    )
    parser.add_argument("--passes", type=int, default=0, help="of rounds: how often a pair is trained on at most")
    with reported(parser) as given:
        if given.part == "rounds" and given.dataset not in HELD_OUT:
            parser.error(f"--part rounds is of claims: use --dataset {' or '.join(HELD_OUT)}")
        given.work.mkdir(parents=True, exist_ok=True)
        with Store(given.work / f"{DATABASES[given.part]}.db") as store:
            if given.part == "dpo":
                say(dpo(store, given.seeds, given.questions, given.steps))
            elif given.part == "rounds":
                how = LoopSettings(
                    given.rounds, prompts=given.questions, test_prompts=given.questions, samples=given.samples,
                    test_samples=given.test_samples, temperature=given.temperature, patience=given.rounds,
                    thought=given.thought,
                )  # fmt: skip
                training = PreferenceSettings(
                    steps=given.steps, batch_size=given.batch_size, likelihood=given.likelihood, passes=given.passes
                )
                model = replace(workshop.MODEL, model=given.model)
                say(rounds(store, given.dataset, given.judges, given.seeds, how, training, model))
            else:
                say(rl(store, given.dataset, given.seeds, given.reward_steps, given.steps))


if __name__ == "__main__":
    main()
