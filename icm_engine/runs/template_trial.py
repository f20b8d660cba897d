"""The template trial: how well templates and label words fit a model, seen on a few unlabelled examples before a run.

A wrong template is a real base model's first failure: its probability falls elsewhere, or its scores hardly move. Each
template is asked with no demonstrations, and with a few at random labels, as a search begins. Gold is not here.
"""

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

from icm_engine.core.context import leave_one_out_segments
from icm_engine.core.errors import IcmError, SettingError
from icm_engine.core.labeling import Example, Label, Labeling, Task
from icm_engine.core.predictability import against_mean, leaning, mean
from icm_engine.core.prompting import FIELD, Prompt, demonstration, query_prompt, render
from icm_engine.core.scoring import LabelLogProbs, Scorer
from icm_engine.runs.events import Json
from icm_engine.runs.store import Store

KIND = "template-trial"
EXAMPLES = 16  # that are asked about
SHOWN = 8  # of the others, at random labels, as a search begins
SEED = 0
EVALUATIONS = 2  # of the whole set for each example of a run, on which its minutes are reckoned

Progress = Callable[[int, int | None, str], None]
OF_TRUTH = (("True", "False"), ("true", "false"), ("Yes", "No"), ("yes", "no"), ("correct", "incorrect"))


def suggested_templates(task: Task) -> list[str]:
    """Return the task's own template, and plainer ones of the same fields."""
    fields = list(dict.fromkeys(FIELD.findall(task.template)))
    lines = "\n".join(f"{name.replace('_', ' ').capitalize()}: {{{name}}}" for name in fields)
    plain = "\n".join(f"{{{name}}}" for name in fields)
    return list(dict.fromkeys([task.template, f"{lines}\nLabel:", f"{lines}\nAnswer:", f"{plain}\nThis is"]))


def suggested_labels(task: Task) -> list[tuple[Label, ...]]:
    """Return the task's own labels, and other words for the same ones in their order."""
    own = task.labels
    others = [tuple(label.lower() for label in own), tuple(label.capitalize() for label in own)]
    if set(own) == {"True", "False"}:
        others = [pair if own[0] == "True" else pair[::-1] for pair in OF_TRUTH]
    return [labels for labels in dict.fromkeys([own, *others]) if len(set(labels)) == len(own)]


def try_templates(
    store: Store, body: Json, scorer: Scorer, progress: Progress, kept: list[Json], keep: Callable[[Json], None]
) -> Json:
    """Return a row for each template with each set of label words, best first. Raises SettingError, NotFound.

    `body` names the data set, the limit of the run that is meant, the templates and the label words (None: suggested
    ones). Rows already `kept` are not asked again; new ones go to `keep`.
    """
    task, places = store.dataset_info(body["dataset"]).task, store.places(body["dataset"], body.get("limit"))
    drawn = random.Random(SEED).sample(list(places), min(len(places), EXAMPLES + SHOWN))
    examples = store.examples_at(body["dataset"], drawn)
    if len(examples) < 2:
        raise SettingError(f"data set {body['dataset']!r} has {len(examples)} examples to try: two or more are needed")
    tried = [replace(task, template=t, labels=tuple(words)) for t, words in _wanted(task, body)]
    rows = {(row["template"], tuple(row["labels"])): row for row in kept}
    for number, one in enumerate(tried):
        progress(number, len(tried), "trying templates")
        if (one.template, one.labels) not in rows:
            row = _row(one, examples, scorer, len(places))
            rows[one.template, one.labels] = row
            keep(row)
    found = [rows[one.template, one.labels] | {"own": one == task} for one in tried]
    return {
        "dataset": body["dataset"], "limit": body.get("limit"), "examples": len(places), "asked": _asked(examples),
        "shown": len(examples) - _asked(examples), "rows": sorted(found, key=_rank), "model": dict(scorer.describe()),
    }  # fmt: skip


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
    """How many examples are asked about: the others are shown."""
    return max(2, len(examples) - SHOWN) if len(examples) > SHOWN else len(examples)


def _row(task: Task, examples: Sequence[Example], scorer: Scorer, size: int) -> Json:
    """What one template with its label words comes to; a problem in words where it cannot be asked."""
    row: Json = {"template": task.template, "labels": list(task.labels), "problem": ""}
    try:
        return row | _measured(task, examples, scorer, size)
    except IcmError as error:
        return row | {"problem": str(error)}


def _measured(task: Task, examples: Sequence[Example], scorer: Scorer, size: int) -> Json:
    count, rng = _asked(examples), random.Random(SEED)
    shown = Labeling({i: rng.choice(task.labels) for i in range(count, len(examples))})
    alone = scorer.score([query_prompt(task, examples, Labeling(), i) for i in range(count)])
    before, began = scorer.usage, time.perf_counter()
    beside = scorer.score([query_prompt(task, examples, shown, i) for i in range(count)])
    seconds, tokens = time.perf_counter() - began, (scorer.usage - before).tokens_encoded
    whole = round(leave_one_out_segments(size) * _tokens_of_one(task, examples, scorer))
    return {
        "mass_alone": mean([score.mass for score in alone]), "mass_shown": mean([score.mass for score in beside]),
        "spread": _spread(beside), "lean": max(Counter(score.argmax for score in beside).values()) / count,
        "tokens_per_evaluation": whole, "minutes": EVALUATIONS * size * whole * seconds / max(1, tokens) / 60,
    }  # fmt: skip


def _spread(scores: Sequence[LabelLogProbs]) -> float:
    """The root mean square of the centred scores, in nats: how far what is asked about moves them."""
    lean = leaning(scores)
    moved = [own - usual for score in scores for own, usual in zip(against_mean(score), lean, strict=True)]
    return math.sqrt(mean([value * value for value in moved]))


def _tokens_of_one(task: Task, examples: Sequence[Example], scorer: Scorer) -> float:
    """The mean tokens of a demonstration."""
    longest = max(task.labels, key=len)
    texts = ["".join(demonstration(render(task, example), longest)) for example in examples]
    return scorer.count_tokens([Prompt((("".join(texts),),), task.labels)])[0] / len(texts)


def _rank(row: Json) -> tuple[bool, float]:
    """Usable templates first, the one that moves the scores most on the labels it puts its probability on."""
    return bool(row["problem"]), -(row.get("spread", 0.0) * min(1.0, row.get("mass_shown", 0.0)))


def body_of(
    dataset: str, limit: int | None, templates: Sequence[str] = (), labels: Sequence[Sequence[Label]] = ()
) -> Json:
    """Return what a trial is asked with; nothing named means what is suggested."""
    words = [list(some) for some in labels]
    return {"dataset": dataset, "limit": limit, "templates": list(templates), "labels": words}
