"""Sampled responses as a data set of their own, for a judge to label: claims of a question, or pairs with their twins.

Judging is then a run like any other: by the search, by a baseline, or by the model itself.
"""

from collections.abc import Sequence
from dataclasses import replace

from icm_engine.core.consistency import rule_class
from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.labeling import Example
from icm_engine.core.responses import CLAIM, Form, form_of
from icm_engine.runs import jobs
from icm_engine.runs.policies import RESPOND
from icm_engine.runs.store import Dataset, Store


def keep_responses(store: Store, job: str, name: str, rule: str = "none") -> Dataset:
    """Store the distinct responses of a finished job as a data set under a rule. Raises NotFound, SettingError.

    Of pairs the rule is always asymmetry. A prompt whose responses are all alike gives nothing to judge.
    """
    found, spec = jobs.result(store, job), jobs.spec(store, job)
    if spec.kind != RESPOND or found is None:
        raise NotFound(f"job {job!r} has no responses: use a finished job of kind {RESPOND}")
    task = store.dataset_info(spec.body["dataset"]).task
    form = form_of(task)
    rule = rule if form.answered == CLAIM else "asymmetry"
    rule_class(rule)
    examples = tuple(
        example
        for number, (asked, some) in enumerate(zip(found["asked"], found["responses"], strict=True))
        for example in _examples(form, f"{name}-{number}", asked, list(dict.fromkeys(filter(None, some))))
    )
    if not examples:
        raise SettingError(f"job {job!r} has no prompt with two different responses: sample more of them")
    columns = (*([form.asking] if form.asking else []), *form.answered)
    made = Dataset(
        name, replace(task, rule=rule), examples, tuple(dict(example.fields) for example in examples), columns,
        f"responses of {found['model']} ({job})",
    )  # fmt: skip
    store.add_dataset(made)
    return made


def _examples(form: Form, stem: str, asked: str, texts: Sequence[str]) -> list[Example]:
    """Each claim, or each two neighbours as a pair and its twin; nothing of a single text."""
    if len(texts) < 2:
        return []
    shown = {form.asking: asked} if form.asking else {}
    if form.answered == CLAIM:
        return [Example(f"{stem}-{k}", {**shown, "claim": text}, stem) for k, text in enumerate(texts)]
    made = list[Example]()
    for k in range(0, len(texts) - 1, 2):
        name, (a, b) = f"{stem}-{k // 2}", texts[k : k + 2]
        made.append(Example(name, {**shown, "response_a": a, "response_b": b}, name))
        made.append(Example(f"{name}-swapped", {**shown, "response_a": b, "response_b": a}, name, twin_of=name))
    return made
