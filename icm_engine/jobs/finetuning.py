"""Fine-tuning requests: which runs' labels, which settings, which name.

No model is loaded here: the job's process reads the labels and passes them to `icm_engine.training`.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from icm_engine import jobs
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Label, Labeling
from icm_engine.core.settings import ModelChoice, TuneSettings, parsed
from icm_engine.core.training_rows import Row, TrainingSet, sft_rows
from icm_engine.jobs import JobSpec
from icm_engine.runs import model_registry
from icm_engine.store.replay import OpenRun, current_state, open_run
from icm_engine.store.store import Store

KINDS = ("finetune", "reward", "preference-tuning", "reinforce")


def free_name(store: Store, stem: str, asked: str | None) -> str:
    """Return the requested name, or the first free one that begins with `stem`. Raises SettingError if it is taken."""
    waiting = [jobs.spec(store, job).body["name"] for kind in KINDS for job in jobs.names(store, kind)]
    taken = {*model_registry.names(store), *waiting}
    if asked is None:
        return next(name for name in [stem, *(f"{stem}-{k}" for k in range(2, len(taken) + 3))] if name not in taken)
    model_registry.folder(store, asked)
    if asked in taken:
        raise SettingError(f"the name {asked!r} is taken by another trained model: use another --name")
    return asked


def require_new(store: Store, kind: str, name: str) -> None:
    """Raise SettingError if a job of this kind, whose rounds are named after it, has this name already."""
    if twin := next((job for job in jobs.names(store, kind) if jobs.spec(store, job).body["name"] == name), None):
        now = jobs.status(store, twin)
        onward = "" if now.complete else f", or start it again (jobs {twin} --again)"
        raise SettingError(f"{twin} has the name {name!r} and is {now.phase}: use another name (--name){onward}")


def free_stem(store: Store, kind: str, stem: str) -> str:
    """Return the first of STEM-1, STEM-2, ... that no job of this kind has as its name."""
    taken = {jobs.spec(store, job).body["name"] for job in jobs.names(store, kind)}
    return next(name for k in range(1, len(taken) + 2) if (name := f"{stem}-{k}") not in taken)


KIND = "finetune"

EXPLANATIONS = {
    "epochs": "how often every label is trained on",
    "learning_rate": "peak learning rate of AdamW; it decays linearly to zero",
    "rank": "rank of the LoRA matrices of each linear layer",
    "batch_size": "labels a step",
    "rows_at_once": "labels in memory at a time; fewer use less memory and give the same step",
    "seed": "seed of the order of labels and of the initial adapter",
}


def settings_of(values: Mapping[str, Any]) -> TuneSettings:
    """Return settings from values or texts by name, with defaults for the others. Raises SettingError."""
    known = {field.name: type(field.default) for field in fields(TuneSettings)}
    if unknown := sorted(set(values) - set(known)):
        raise SettingError(f"fine-tuning has no setting {unknown[0]!r}: it has {', '.join(known)}")
    return TuneSettings(**{name: parsed(name, value, known[name]) for name, value in values.items()})


def request(
    store: Store, runs: Sequence[str], settings: TuneSettings, name: str | None = None, model: ModelChoice | None = None
) -> str:
    """Start fine-tuning on the labels of these runs and return the job. Raises NotFound, NotInstalled, SettingError."""
    job = create(store, runs, settings, name, model)
    jobs.start(store, job)
    return job


def create(
    store: Store, runs: Sequence[str], settings: TuneSettings, name: str | None = None, model: ModelChoice | None = None
) -> str:
    """Create, without starting it, the job that tunes on the labels of these runs. Raises NotFound, SettingError.

    The default model is the last run's, or the base of that model if it was tuned.
    """
    model_registry.require_installed()
    if not runs:
        raise SettingError("fine-tuning needs the labels of at least one run: name one")
    for run in runs:
        store.spec(run)
    model = model or model_registry.base_choice(store, runs[-1])
    if model.model == "fake":
        raise SettingError("the fake model cannot be tuned: name a real one (--model)")
    named = free_name(store, f"{runs[-1]}-tuned", name)
    body = {"run": runs[-1], "runs": list(runs), "name": named, "settings": asdict(settings)}
    return jobs.create(store, JobSpec(KIND, body, model))


def find(store: Store, runs: Sequence[str], settings: TuneSettings, model: ModelChoice) -> str | None:
    """Return the job with exactly this request, whatever its name; None if there is none."""
    for job in jobs.names(store, KIND, run=runs[-1]):
        spec = jobs.spec(store, job)
        if (spec.model, spec.body["runs"], spec.body["settings"]) == (model, list(runs), asdict(settings)):
            return job
    return None


def training_rows(store: Store, runs: Sequence[str]) -> TrainingSet:
    """Return the training rows of all these runs, in order. Raises SettingError if a run has none."""
    rows, left_out = list[Row](), Counter[str]()
    for run in runs:
        opened = open_run(store, run).whole()
        made = sft_rows(opened.dataset.task, _labelled(store, opened))
        rows += made.rows
        left_out.update(made.left_out)
    return TrainingSet(tuple(rows), left_out)


def labels_of(store: Store, runs: Sequence[str]) -> tuple[Label, ...]:
    """Return the labels of these runs' task. Raises SettingError if they differ."""
    found = [store.dataset_info(store.spec(run).dataset).task.labels for run in runs]
    if len(set(found)) > 1:
        raise SettingError(f"runs {', '.join(runs)} have different labels: tune on runs of one task")
    return found[0]


def _labelled(store: Store, opened: OpenRun) -> list[tuple[Any, Label | None]]:
    state = current_state(store, opened)
    labeling = state.labeling if state is not None else Labeling()
    if not labeling:
        raise SettingError(f"run {opened.name!r} has no labels to tune on: let it finish first")
    return [(example, labeling.get(i)) for i, example in enumerate(opened.dataset.examples)]


def labels_sha256(rows: Sequence[Row]) -> str:
    """Return the hash of rows as text, by which a card and a resumed training recognise the labels."""
    return hashlib.sha256(json.dumps(list(rows), ensure_ascii=False, sort_keys=True).encode()).hexdigest()
