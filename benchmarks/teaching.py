"""Self-taught judges over seeds: what their rounds learned, and what they find.

    python -m benchmarks.teaching --work FOLDER --model smollm2-135m-instruct

Each seed is a job of its own, as `self-teach` makes it. Round 0 is the judge before any tuning. A judge finds both
known sides of a prompt if it says True to its own response and False to the response to another prompt; a coin finds
a quarter. Intervals are over seeds and prompts. A fetched model is expected in FOLDER/models.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

from benchmarks import workshop
from benchmarks.report import reported, say
from icm_engine.analysis.evaluation import Right, difference, estimate
from icm_engine.analysis.tuned_models import TaughtRound, taught_rounds
from icm_engine.core.settings import ModelChoice
from icm_engine.jobs import self_teaching
from icm_engine.jobs.self_teaching import EXPLANATIONS, Teaching, TeachSettings
from icm_engine.store.store import Store

Share = Callable[[TaughtRound], Right | None]
SHARES: dict[str, Share] = {
    "both known sides found, %": lambda one: one.both_sides,
    "known labels found, %": lambda one: one.verdicts,
    "right by gold, %": lambda one: one.by_gold,
}


def taught(store: Store, dataset: str, model: ModelChoice, settings: TeachSettings, seeds: Sequence[int]) -> str:
    """Teach a judge with each seed; return the tables."""
    workshop.ensure(store, dataset)
    made = [_taught(store, dataset, model, replace(settings, seed=seed)) for seed in seeds]
    told = [taught_rounds(store, job) for job in made]
    rows = [_row([one[number] for one in told if len(one) > number]) for number in range(max(map(len, told)))]
    head = ["round", "seeds", "judgements learned", *SHARES, "by seed, both sides", "abstained, %"]
    best = [workshop.found(store, job)["best"] for job in made]
    ends = ", ".join(workshop.found(store, job)["ended"] for job in made)
    lines = [f"kept rounds {best}; ended: {ends}"]
    chosen = {"kept": [one[k] for one, k in zip(told, best, strict=True)], "last": [one[-1] for one in told]}
    for name, share in SHARES.items():
        words = (f"{what} less start {_gain(some, [one[0] for one in told], share)}" for what, some in chosen.items())
        lines.append(f"{name.removesuffix(', %')}: {', '.join(words)} points")
    return "\n".join([workshop.table(head, rows), "", *lines])


def _taught(store: Store, dataset: str, model: ModelChoice, settings: TeachSettings) -> str:
    """The job of the judge of a seed, done."""
    teaching = Teaching(f"{dataset}-judge-{settings.seed}", dataset, None, settings, model)
    return workshop.finished(store, self_teaching.KIND, teaching.name, lambda: self_teaching.ask(store, teaching))


def _row(some: Sequence[TaughtRound]) -> list[str]:
    """A round: the estimates over the seeds that reached it."""
    shares = [[right for one in some if (right := share(one)) is not None] for share in SHARES.values()]
    return [
        str(some[0].number), str(len(some)), " ".join(str(one.lessons) for one in some if one.number),
        *(workshop.percent(estimate(right)) if right else "" for right in shares),
        " ".join(f"{100 * one.agreement.mean:.1f}" for one in some),
        f"{100 * sum(one.abstained for one in some) / len(some):.1f}",
    ]  # fmt: skip


def _gain(some: Sequence[TaughtRound], starts: Sequence[TaughtRound], share: Share) -> str:
    """What chosen rounds are above the starts, in points."""
    pairs = [(share(one), share(start)) for one, start in zip(some, starts, strict=True)]
    known = [(one, start) for one, start in pairs if one is not None and start is not None]
    return (
        workshop.percent(difference([one for one, _ in known], [start for _, start in known])) if known else "unknown"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the database and the models")
    parser.add_argument("--dataset", choices=("facts", "arithmetic"), default="facts")
    parser.add_argument("--model", default=workshop.MODEL.model, help="in float32 on the CPU")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    own = TeachSettings(prompts=12, judgements=4, max_tokens=48)
    settings = [field.name for field in fields(TeachSettings) if field.name not in ("seed", "learning_rate")]
    for name in settings:
        words = EXPLANATIONS[name]
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(own, name), help=words)
    with reported(parser) as given:
        given.work.mkdir(parents=True, exist_ok=True)
        asked = replace(own, **{name: getattr(given, name) for name in settings})
        with Store(given.work / "teaching.db") as store:
            say(taught(store, given.dataset, replace(workshop.MODEL, model=given.model), asked, given.seeds))


if __name__ == "__main__":
    main()
