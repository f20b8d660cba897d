"""A run's labels as training files: the rows of `core.training_rows`, which the fine-tuning of the worker uses too."""

from collections.abc import Callable, Mapping

from icm_engine.core.errors import SettingError
from icm_engine.core.training_rows import (
    Preferences,
    TrainingSet,
    preference_rows,
    preferences_of,
    sft_rows,
)
from icm_engine.data.labelled import LabelledRun


def sft(run: LabelledRun) -> TrainingSet:
    """Return prompts, each the rendered template, with completions, each the label after one space."""
    return sft_rows(run.task, run.examples())


def preference(run: LabelledRun) -> TrainingSet:
    """Return chosen and rejected texts: of pairs of responses, or of claims about one question. Raises SettingError."""
    pairs = _preferences_of(run)
    if pairs is None:
        raise SettingError(
            f"run {run.name!r} labels task {run.task.name!r} with {', '.join(run.task.labels)}: preferences need two "
            "labels, and pairs of responses or questions with claims (format sft takes any task)"
        )
    return preference_rows(run.task, run.examples(), pairs)


TRAINING: Mapping[str, Callable[[LabelledRun], TrainingSet]] = {"sft": sft, "preference": preference}


def training_sets(run: LabelledRun) -> dict[str, TrainingSet]:
    """Return the training sets that the run's task can give, by format, without those that have no row."""
    made = {name: make(run) for name, make in TRAINING.items() if name != "preference" or _preferences_of(run)}
    return {name: training for name, training in made.items() if training.rows}


def _preferences_of(run: LabelledRun) -> Preferences | None:
    return preferences_of(run.task, run.task.fields or run.opened.dataset.examples[0].fields)
