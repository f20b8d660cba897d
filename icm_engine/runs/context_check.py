"""The context check: what a data set costs with a model, before a run.

Tokens of its demonstrations, how many fit the context, the batch that follows, and the tokens and seconds of one
evaluation of that whole batch. A model with no known context (the fake) takes everything.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from icm_engine.core.context import distribution, fitting, histogram, leave_one_out_segments
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.prompting import Prompt, demonstration, label_text, leave_one_out_prompts, render
from icm_engine.core.scoring import Scorer, Usage
from icm_engine.runs.events import Json
from icm_engine.runs.store import Store

SAMPLE = 10_000  # examples that are tokenised at most: the rest would change the picture little and the wait much
SEED = 0  # of the sample, and of the labels in the prompts that are measured
STRIDE = 500  # examples read and tokenised at once
LONGEST = 5  # longest examples that are named
EXACT = 1000  # examples up to which the prefix tree of the real prompts is built: their segments are n * n
FIRST_TRIAL = 2  # examples of the first evaluation that is timed
MEASURING = 12.0  # seconds that the timed evaluations may take together

Progress = Callable[[int, int | None, str], None]


@dataclass(frozen=True)
class _Check:
    """One data set, the places of its examples that count, and a scorer."""

    store: Store
    dataset: str
    task: Task
    places: Sequence[int]
    scorer: Scorer

    def sizes(self, examples: Sequence[Example]) -> list[int]:
        """Tokens of each example as a demonstration, with the longest label."""
        prompts = [Prompt((demonstration(render(self.task, e), self.label),), self.task.labels) for e in examples]
        return [size - self._empty for size in self.scorer.count_tokens(prompts)]

    def room(self, example: Example) -> int | None:
        """Tokens that all examples of a prompt share, each counted as a demonstration; None for an endless context.

        The query has no blank line after its label and the prompt may have a first token of its own, so a prompt
        is as long as its examples as demonstrations, and a constant.
        """
        if (context := self.scorer.describe().get("context")) is None:
            return None
        (query,) = self.scorer.count_tokens([Prompt(((render(self.task, example),),), self.task.labels)])
        return int(str(context)) - (query - self.sizes([example])[0])

    @property
    def label(self) -> str:
        """The label of most tokens."""
        labels = self.task.labels
        sizes = self.scorer.count_tokens([Prompt(((label_text(label),),), labels) for label in labels])
        return labels[sizes.index(max(sizes))]

    @property
    def _empty(self) -> int:
        return self.scorer.count_tokens([Prompt((), self.task.labels)])[0]


def check_context(store: Store, dataset: str, scorer: Scorer, limit: int | None, progress: Progress) -> Json:
    """Return the context check of a data set, or of what `limit` takes of it, as JSON. Raises IcmError."""
    places = store.places(dataset, limit)
    if not places:
        raise SettingError(f"limit {limit} leaves no whole group of data set {dataset!r}: use a larger --limit")
    check = _Check(store, dataset, store.dataset_info(dataset).task, places, scorer)
    sizes, longest = _tokens(check, progress)
    (first,) = store.examples_at(dataset, places[:1])
    room = check.room(first)
    batch = _batch(check, room, progress)
    facts = scorer.describe()
    return {
        "dataset": dataset, "limit": limit, "examples": len(places), "tokenised": len(sizes), "seed": SEED,
        "model": dict(facts), "context": facts.get("context"), "trained_context": facts.get("trained_context"),
        "tokens": asdict(distribution(sizes)), "histogram": [asdict(bar) for bar in histogram(sizes)],
        "longest": longest, "fits": _fits(sizes, room), "batch": batch,
        "evaluation": _evaluation(check, batch, distribution(sizes).mean, progress) if batch else None,
    }  # fmt: skip


def _tokens(check: _Check, progress: Progress) -> tuple[list[int], list[Json]]:
    """The sizes of all examples, or of a seeded sample of many; and the longest of them."""
    places = check.places
    if len(places) > SAMPLE:
        places = sorted(random.Random(SEED).sample(places, SAMPLE))
    sizes: list[int] = []
    longest: list[tuple[int, str]] = []
    for start in range(0, len(places), STRIDE):
        progress(start, len(places), "counting tokens")
        examples = check.store.examples_at(check.dataset, places[start : start + STRIDE])
        found = check.sizes(examples)
        sizes += found
        named = zip(found, (example.id for example in examples), strict=True)
        longest = sorted([*longest, *named], key=lambda row: -row[0])[:LONGEST]
    return sizes, [{"example": name, "tokens": tokens} for tokens, name in longest]


def _fits(sizes: Sequence[int], room: int | None) -> Json | None:
    """How many examples go into one prompt, the query among them: by the mean, and whichever they are."""
    if room is None:
        return None
    by_mean = int(max(0, room) / distribution(sizes).mean)
    return {"by_mean": by_mean, "whichever": fitting(sorted(sizes, reverse=True), room)}


def _batch(check: _Check, room: int | None, progress: Progress) -> int:
    """The most examples in whole groups that fit one prompt: what a run can take as its limit."""
    if room is None:
        return len(check.places)
    places = check.places
    while places:
        progress(len(places), None, "finding the batch that fits")
        count = _fitting(check, places, room)
        if count == len(places):
            break
        places = check.store.places(check.dataset, count) if count else []  # other examples, which may not fit either
    return len(places)


def _fitting(check: _Check, places: Sequence[int], room: int) -> int:
    """How many of the examples at these places fit together, from the first one on."""
    used = count = 0
    for start in range(0, len(places), STRIDE):
        sizes = check.sizes(check.store.examples_at(check.dataset, places[start : start + STRIDE]))
        taken = fitting(sizes, room - used)
        used, count = used + sum(sizes), count + taken
        if taken < len(sizes):
            break
    return count


# -- one evaluation of the whole batch


def _evaluation(check: _Check, batch: int, mean: float, progress: Progress) -> Json:
    """Tokens by the tree of the real prompts, or by the formula; seconds by timing smaller evaluations."""
    dataset = check.store.dataset(check.dataset, batch)
    exact = batch <= EXACT
    progress(0, None, "counting the tokens of one evaluation")
    cost = check.scorer.cost(_prompts(check.task, dataset.examples, batch)) if exact else _by_formula(batch, mean)
    if not exact and check.scorer.describe().get("encoding") != "prefix-tree":
        cost = replace(cost, tokens_encoded=cost.tokens_full)
    timed = _timed(check, dataset.examples, progress)
    return {
        "examples": batch, "segments": leave_one_out_segments(batch), "prompts": batch,
        "tokens_encoded": cost.tokens_encoded, "tokens_full": cost.tokens_full,
        "counted": "prefix tree of the real prompts" if exact else "formula: segments times mean tokens",
        "timed": timed, "seconds": _scaled(timed, batch, cost.tokens_encoded),
    }  # fmt: skip


def _by_formula(batch: int, mean: float) -> Usage:
    return Usage(batch, round(leave_one_out_segments(batch) * mean), round(batch * batch * mean))


def _prompts(task: Task, examples: Sequence[Example], count: int) -> list[Prompt]:
    """The leave-one-out prompts of the first examples, labelled at random."""
    rng = random.Random(SEED)
    labeling = Labeling({i: rng.choice(task.labels) for i in range(count)})
    return list(leave_one_out_prompts(task, examples, [labeling])[0].values())


def _timed(check: _Check, examples: Sequence[Example], progress: Progress) -> list[Json]:
    """Evaluations of 2, 4, 8 ... examples up to the whole batch, while the next one still fits the time.

    The first one also pays for what later ones find ready; it counts only where it is so slow that it stays alone.
    """
    count, spent, timed = min(FIRST_TRIAL, len(examples)), 0.0, list[Json]()
    while True:
        progress(count, len(examples), "timing evaluations")
        timed.append(_trial(check, _prompts(check.task, examples, count), count))
        spent += timed[-1]["seconds"]
        twice = 3 * timed[-1]["seconds"]  # twice the examples take over twice the time
        if count == len(examples) or spent + twice > MEASURING:
            return timed
        count = min(2 * count, len(examples))


def _trial(check: _Check, prompts: Sequence[Prompt], count: int) -> Json:
    before, began = check.scorer.usage, time.perf_counter()
    check.scorer.score(prompts)
    seconds = time.perf_counter() - began
    encoded = (check.scorer.usage - before).tokens_encoded
    return {"examples": count, "tokens_encoded": encoded, "seconds": seconds}


def _scaled(timed: Sequence[Json], batch: int, tokens: int) -> float:
    """Seconds of the whole batch: seconds a token grow with the examples in a prompt, as the last two trials say."""
    last = timed[-1]
    if last["examples"] == batch:
        return float(last["seconds"])
    rate = last["seconds"] / last["tokens_encoded"]
    growth = 0.0
    if len(timed) > 1:
        earlier = timed[-2]
        slope = rate - earlier["seconds"] / earlier["tokens_encoded"]
        growth = max(0.0, slope / (last["examples"] - earlier["examples"]))
    return float(tokens * (rate + growth * (batch - last["examples"])))
