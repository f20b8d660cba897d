"""What a new run becomes once its data set is known: the form of P that fits its labels, its steps, what to know."""

from dataclasses import replace

from icm_engine.core.consistency import Asymmetry
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Label
from icm_engine.core.predictability import OF_TWO_LABELS, form_for
from icm_engine.core.settings import PRESETS, SearchConfig, steps_per_example
from icm_engine.runs.events import SEARCH, RunSpec
from icm_engine.runs.store import Store


def fitted(store: Store, spec: RunSpec, named: bool = False) -> RunSpec:
    """Return the spec with a form of P for as many labels as its data set has. Raises NotFound, SettingError.

    A form that comes from the preset gives way to one that fits; one that a person has chosen (`named`, or another
    than the preset's) is refused.
    """
    task = store.dataset_info(spec.dataset).task
    form = spec.search.predictability
    if form not in OF_TWO_LABELS or len(task.labels) == 2:
        return spec
    fits = form_for(form, len(task.labels))
    if named or form != PRESETS.get(spec.preset, SearchConfig()).predictability:
        raise SettingError(
            f"predictability {form} is of two labels, task {task.name!r} has {len(task.labels)}: "
            f"use {fits} (--set predictability={fits})"
        )
    return replace(spec, search=replace(spec.search, predictability=fits))


def with_steps(spec: RunSpec, examples: int) -> RunSpec:
    """Return the spec with as many steps as its preset takes of so many examples, where it says none."""
    if spec.search.max_steps or spec.source != SEARCH:
        return spec
    return replace(spec, search=replace(spec.search, max_steps=steps_per_example(spec.preset) * examples))


def form_words(form: str, labels: tuple[Label, ...]) -> str:
    """Return which form of P takes the place of one that is of two labels; empty if it fits."""
    if form not in OF_TWO_LABELS or len(labels) == 2:
        return ""
    return f"P is {form_for(form, len(labels))} in place of {form}, which is of two labels: there are {len(labels)}."


def remarks(store: Store, spec: RunSpec) -> list[str]:
    """Return what to know of a new run before it starts, in sentences. Raises NotFound."""
    info = store.dataset_info(spec.dataset)
    said = [form_words(spec.search.predictability, info.task.labels)]
    if (spec.rule or info.task.rule) == Asymmetry.name and not store.has_twins(spec.dataset):
        said.append(Asymmetry.WITHOUT_TWINS)
    return [words for words in said if words]
