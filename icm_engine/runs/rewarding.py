"""Reward models as they are asked for: on which run's preference labels, what it labels next, what it is tried on.

As in the paper: a first reward model learns from the run's labels, labels the rest of the data with its rewards, and a
final one learns from both. What it is tried on are rewards of examples that no label of the run is about; `analysis`
sets them beside gold, which is not here.
"""

from collections.abc import Sequence
from dataclasses import asdict

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Labeling
from icm_engine.core.ranking import judged_examples
from icm_engine.core.responses import Form, form_of
from icm_engine.core.training_rows import TrainingSet, preference_rows, preferences_of
from icm_engine.runs import jobs, trained
from icm_engine.runs.data_parts import Part, rest_of
from icm_engine.runs.events import Json
from icm_engine.runs.job_process import Job
from icm_engine.runs.jobs import JobSpec, ModelChoice
from icm_engine.runs.loop_settings import RewardSettings
from icm_engine.runs.replay import OpenRun, current_state, open_run
from icm_engine.runs.store import Store
from icm_engine.runs.training_jobs import free_name

KIND = "reward"


def create(
    store: Store, run: str, settings: RewardSettings, *, name: str | None = None, model: ModelChoice | None = None,
    rest: Sequence[Part] | None = None, test: Sequence[Part] = (),
) -> str:  # fmt: skip
    """Store the job of a reward model, without starting it, and return its name. Raises NotFound, SettingError,
    NotInstalled.

    `rest` is what the first model labels: by default what the run's limit left of its data set; empty for a single
    stage. The model is the run's own, or what that was tuned from, unless another is given.
    """
    trained.require_installed()
    spec = store.spec(run)
    model = model or trained.base_choice(store, run)
    if model.model == "fake":
        raise SettingError("the fake model cannot be trained: name a real one (--model)")
    parts = rest_of(store, spec) if rest is None else list(rest)
    form = form_of(store.dataset_info(spec.dataset).task)
    for part in [*parts, *test]:
        if form_of(store.dataset_info(part.dataset).task) != form:
            raise SettingError(f"data set {part.dataset!r} has another template than run {run!r}: use one of its task")
    body = {
        "run": run, "name": free_name(store, f"{run}-reward", name), "settings": asdict(settings),
        "rest": [part.to_json() for part in parts], "test": [part.to_json() for part in test],
    }  # fmt: skip
    return jobs.create(store, JobSpec(KIND, body, model))


def preferences(store: Store, run: str) -> tuple[Form, TrainingSet]:
    """Return how a run's responses are put, and the preference rows of its labels. Raises SettingError."""
    opened = open_run(store, run).whole()
    task, labeling = opened.dataset.task, _labeling(store, opened)
    form = form_of(task)
    pairs = preferences_of(task, (*form.answered, form.asking))
    assert pairs is not None  # a task with a form has them
    labelled = [(example, labeling.get(i)) for i, example in enumerate(opened.dataset.examples)]
    made = preference_rows(task, labelled, pairs)
    if not made.rows:
        raise SettingError(f"no preference is left of the labels of run {run!r}: {dict(made.left_out)}")
    return form, made


def examples_of(store: Store, parts: Sequence[Json]) -> list[tuple[str, Example]]:
    """Return the examples of some parts with their data sets, a pair and its twin as one."""
    found = list[tuple[str, Example]]()
    for part in parts:
        rows = store.open_dataset(part["dataset"]).examples
        places = Part.from_json(part).places(store)
        found += [(part["dataset"], one) for one in judged_examples(rows[i] for i in places)]
    return found


def _labeling(store: Store, opened: OpenRun) -> Labeling:
    state = current_state(store, opened)
    if state is None or not state.labeling:
        raise SettingError(f"run {opened.name!r} has no labels to train on: let it finish first")
    return state.labeling


def require_same(job: Job, now: str) -> None:
    """Refuse to go on where the labels (a hash) are not those that training began with. Raises SettingError."""
    begun = next((part["labels_sha256"] for part in job.kept()), None)
    if begun is None:
        job.keep({"labels_sha256": now})
    elif begun != now:
        raise SettingError(f"the labels of {job.name!r} have changed since it began: ask for it anew")
