"""Trials of a model before a run: the cost of a data set (context check), and which template fits.

The context check reports the tokens per demonstration, how many demonstrations fit the context, the resulting batch
size, and the tokens and seconds of one evaluation of such a batch. Without a known context (the fake), everything fits.

The most common failure of a base model is a wrong template: probability falls outside the labels, or the scores hardly
change. So each template is tried without demonstrations, and with a few at random labels, as a search begins. No gold
is read.
"""

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product

from icm_engine.core.batching import fitting, leave_one_out_segments, token_distribution, token_histogram
from icm_engine.core.errors import IcmError, SettingError
from icm_engine.core.labeling import Example, Label, Labeling, Task
from icm_engine.core.objective import against_mean, leaning, mean
from icm_engine.core.prompting import (
    FIELD,
    Prompt,
    demonstration,
    label_text,
    leave_one_out_prompts,
    query_prompt,
    render,
)
from icm_engine.core.scoring import LabelLogProbs, Scorer, Usage
from icm_engine.jobs.job_process import Job
from icm_engine.store.events import Json
from icm_engine.store.store import Store

SAMPLE = 10_000  # maximum number of tokenised examples; more would change little and take long
CONTEXT_SEED = 0  # seed of the sample, and of labels in the measured prompts
STRIDE = 500  # examples read and tokenised at once
LONGEST = 5  # longest examples listed
EXACT = 1000  # examples up to which the real prefix tree is built: it has n * n segments
FIRST_TRIAL = 2  # examples of the first evaluation that is timed
MEASURING = 12.0  # time budget of all timed evaluations, in seconds

Progress = Callable[[int, int | None, str], None]


@dataclass(frozen=True)
class _Check:
    """One data set, the positions of its relevant examples, and a scorer."""

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
        """Tokens available to all examples of a prompt, each counted as a demonstration; None for an unlimited context.

        The query has no blank line after its label, and the prompt may have its own first token. So the length of a
        prompt is that of its examples as demonstrations plus a constant.
        """
        if (context := self.scorer.describe().get("context")) is None:
            return None
        (query,) = self.scorer.count_tokens([Prompt(((render(self.task, example),),), self.task.labels)])
        return int(str(context)) - (query - self.sizes([example])[0])

    @property
    def label(self) -> str:
        """The label with most tokens."""
        labels = self.task.labels
        sizes = self.scorer.count_tokens([Prompt(((label_text(label),),), labels) for label in labels])
        return labels[sizes.index(max(sizes))]

    @property
    def _empty(self) -> int:
        return self.scorer.count_tokens([Prompt((), self.task.labels)])[0]


def check_context(job: Job, scorer: Scorer) -> Json:
    """Return the cost of a data set (or of the part that `limit` takes) with a model: tokens, what fits, seconds.

    Raises IcmError.
    """
    store, dataset, limit, progress = job.store, job.spec.body["dataset"], job.spec.body.get("limit"), job.progress
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
        "dataset": dataset,
        "limit": limit,
        "examples": len(places),
        "tokenised": len(sizes),
        "seed": CONTEXT_SEED,
        "model": dict(facts),
        "context": facts.get("context"),
        "trained_context": facts.get("trained_context"),
        "tokens": asdict(token_distribution(sizes)),
        "histogram": [asdict(bar) for bar in token_histogram(sizes)],
        "longest": longest,
        "fits": _fits(sizes, room),
        "batch": batch,
        "evaluation": _evaluation(check, batch, token_distribution(sizes).mean, progress) if batch else None,
    }


def _tokens(check: _Check, progress: Progress) -> tuple[list[int], list[Json]]:
    """The sizes of all examples, or of a seeded sample if there are many; and the longest of them."""
    places = check.places
    if len(places) > SAMPLE:
        places = sorted(random.Random(CONTEXT_SEED).sample(places, SAMPLE))
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
    """How many examples fit one prompt, query included: at their mean size, and for any choice of them."""
    if room is None:
        return None
    by_mean = int(max(0, room) / token_distribution(sizes).mean)
    return {"by_mean": by_mean, "whichever": fitting(sorted(sizes, reverse=True), room)}


def _batch(check: _Check, room: int | None, progress: Progress) -> int:
    """The largest number of examples in whole groups that fit one prompt, which a run can take as its limit."""
    if room is None:
        return len(check.places)
    places = check.places
    while places:
        progress(len(places), None, "finding the batch that fits")
        count = _fitting(check, places, room)
        if count == len(places):
            break
        places = check.store.places(check.dataset, count) if count else []  # further examples may not fit either
    return len(places)


def _fitting(check: _Check, places: Sequence[int], room: int) -> int:
    """How many of the examples at these positions fit together, from the first on."""
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
    """Tokens from the tree of the real prompts or from the formula; seconds from timing smaller evaluations."""
    dataset = check.store.dataset(check.dataset, batch)
    exact = batch <= EXACT
    progress(0, None, "counting the tokens of one evaluation")
    cost = check.scorer.cost(_prompts(check.task, dataset.examples, batch)) if exact else _by_formula(batch, mean)
    if not exact and check.scorer.describe().get("encoding") != "prefix-tree":
        cost = replace(cost, tokens_encoded=cost.tokens_full)
    timed = _timed(check, dataset.examples, progress)
    return {
        "examples": batch,
        "segments": leave_one_out_segments(batch),
        "prompts": batch,
        "tokens_encoded": cost.tokens_encoded,
        "tokens_full": cost.tokens_full,
        "counted": "prefix tree of the real prompts" if exact else "formula: segments times mean tokens",
        "timed": timed,
        "seconds": _scaled(timed, batch, cost.tokens_encoded),
    }


def _by_formula(batch: int, mean: float) -> Usage:
    return Usage(batch, round(leave_one_out_segments(batch) * mean), round(batch * batch * mean))


def _prompts(task: Task, examples: Sequence[Example], count: int) -> list[Prompt]:
    """The leave-one-out prompts of the first examples, randomly labelled."""
    rng = random.Random(CONTEXT_SEED)
    labeling = Labeling({i: rng.choice(task.labels) for i in range(count)})
    return list(leave_one_out_prompts(task, examples, [labeling])[0].values())


def _timed(check: _Check, examples: Sequence[Example], progress: Progress) -> list[Json]:
    """Time evaluations of 2, 4, 8 ... examples up to the whole batch, as long as the next one fits the time budget.

    The first includes one-time costs; it counts only if it is so slow that no other follows.
    """
    count, spent, timed = min(FIRST_TRIAL, len(examples)), 0.0, list[Json]()
    while True:
        progress(count, len(examples), "timing evaluations")
        timed.append(_trial(check, _prompts(check.task, examples, count), count))
        spent += timed[-1]["seconds"]
        twice = 3 * timed[-1]["seconds"]  # twice the examples take more than twice the time
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
    """Seconds for the whole batch, extrapolated: seconds per token grow with the examples in a prompt."""
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


KIND = "template-trial"
EXAMPLES = 16  # examples queried
SHOWN = 8  # demonstrations, with random labels, as a search begins
TEMPLATE_SEED = 0
EVALUATIONS = 2  # evaluations of the set per example of a run, for its estimated minutes
OF_TRUTH = (("True", "False"), ("true", "false"), ("Yes", "No"), ("yes", "no"), ("correct", "incorrect"))


def suggested_templates(task: Task) -> list[str]:
    """Return the task's own template, and plainer ones with the same fields."""
    fields = list(dict.fromkeys(FIELD.findall(task.template)))
    lines = "\n".join(f"{name.replace('_', ' ').capitalize()}: {{{name}}}" for name in fields)
    plain = "\n".join(f"{{{name}}}" for name in fields)
    return list(dict.fromkeys([task.template, f"{lines}\nLabel:", f"{lines}\nAnswer:", f"{plain}\nThis is"]))


def suggested_labels(task: Task) -> list[tuple[Label, ...]]:
    """Return the task's own labels, and other words for them in the same order."""
    own = task.labels
    others = [tuple(label.lower() for label in own), tuple(label.capitalize() for label in own)]
    if set(own) == {"True", "False"}:
        others = [pair if own[0] == "True" else pair[::-1] for pair in OF_TRUTH]
    return [labels for labels in dict.fromkeys([own, *others]) if len(set(labels)) == len(own)]


def try_templates(job: Job, scorer: Scorer) -> Json:
    """Return a row for each template with each set of label words, best first. Raises SettingError, NotFound.

    The body names the data set, the limit of the planned run, the templates and the label words (None: suggested ones).
    Rows that are already stored are not asked again; each new one is stored.
    """
    store, body = job.store, job.spec.body
    task, places = store.dataset_info(body["dataset"]).task, store.places(body["dataset"], body.get("limit"))
    drawn = random.Random(TEMPLATE_SEED).sample(list(places), min(len(places), EXAMPLES + SHOWN))
    examples = store.examples_at(body["dataset"], drawn)
    if len(examples) < 2:
        raise SettingError(f"data set {body['dataset']!r} has {len(examples)} examples to try: two or more are needed")
    tried = [replace(task, template=t, labels=tuple(words)) for t, words in _wanted(task, body)]
    rows = {(row["template"], tuple(row["labels"])): row for row in job.kept()}
    for number, one in enumerate(tried):
        job.progress(number, len(tried), "trying templates")
        if (one.template, one.labels) not in rows:
            row = _row(one, examples, scorer, len(places))
            rows[one.template, one.labels] = row
            job.keep(row)
    found = [rows[one.template, one.labels] | {"own": one == task} for one in tried]
    return {
        "dataset": body["dataset"],
        "limit": body.get("limit"),
        "examples": len(places),
        "asked": _asked(examples),
        "shown": len(examples) - _asked(examples),
        "rows": sorted(found, key=_rank),
        "model": dict(scorer.describe()),
    }


def _wanted(task: Task, body: Json) -> list[tuple[str, tuple[Label, ...]]]:
    templates = body.get("templates") or suggested_templates(task)
    words = [tuple(labels) for labels in body.get("labels") or suggested_labels(task)]
    if wrong := next((labels for labels in words if len(set(labels)) != len(task.labels)), None):
        raise SettingError(
            f"labels {', '.join(wrong)} are {len(set(wrong))}, the task has {len(task.labels)} "
            f"({', '.join(task.labels)}): give as many, in that order"
        )
    return list(product(dict.fromkeys(templates), dict.fromkeys(words)))


def _asked(examples: Sequence[Example]) -> int:
    """How many examples are queried; the others are demonstrations."""
    return max(2, len(examples) - SHOWN) if len(examples) > SHOWN else len(examples)


def _row(task: Task, examples: Sequence[Example], scorer: Scorer, size: int) -> Json:
    """The result of one template with its label words, or a problem in words."""
    row: Json = {"template": task.template, "labels": list(task.labels), "problem": ""}
    try:
        return row | _measured(task, examples, scorer, size)
    except IcmError as error:
        return row | {"problem": str(error)}


def _measured(task: Task, examples: Sequence[Example], scorer: Scorer, size: int) -> Json:
    count, rng = _asked(examples), random.Random(TEMPLATE_SEED)
    shown = Labeling({i: rng.choice(task.labels) for i in range(count, len(examples))})
    alone = scorer.score([query_prompt(task, examples, Labeling(), i) for i in range(count)])
    before, began = scorer.usage, time.perf_counter()
    beside = scorer.score([query_prompt(task, examples, shown, i) for i in range(count)])
    seconds, tokens = time.perf_counter() - began, (scorer.usage - before).tokens_encoded
    whole = round(leave_one_out_segments(size) * _tokens_of_one(task, examples, scorer))
    return {
        "mass_alone": mean([score.mass for score in alone]),
        "mass_shown": mean([score.mass for score in beside]),
        "spread": _spread(beside),
        "lean": max(Counter(score.argmax for score in beside).values()) / count,
        "tokens_per_evaluation": whole,
        "minutes": EVALUATIONS * size * whole * seconds / max(1, tokens) / 60,
    }


def _spread(scores: Sequence[LabelLogProbs]) -> float:
    """The root mean square of the centred scores, in nats: how much they depend on the queried text."""
    lean = leaning(scores)
    moved = [own - usual for score in scores for own, usual in zip(against_mean(score), lean, strict=True)]
    return math.sqrt(mean([value * value for value in moved]))


def _tokens_of_one(task: Task, examples: Sequence[Example], scorer: Scorer) -> float:
    """The mean tokens of a demonstration."""
    longest = max(task.labels, key=len)
    texts = ["".join(demonstration(render(task, example), longest)) for example in examples]
    return scorer.count_tokens([Prompt((("".join(texts),),), task.labels)])[0] / len(texts)


def _rank(row: Json) -> tuple[bool, float]:
    """Usable templates first, then by the spread of the scores, weighted by the probability on the labels."""
    return bool(row["problem"]), -(row.get("spread", 0.0) * min(1.0, row.get("mass_shown", 0.0)))


def body_of(
    dataset: str, limit: int | None, templates: Sequence[str] = (), labels: Sequence[Sequence[Label]] = ()
) -> Json:
    """Return the body of a trial job; templates and label words that are not named are suggested."""
    words = [list(some) for some in labels]
    return {"dataset": dataset, "limit": limit, "templates": list(templates), "labels": words}
