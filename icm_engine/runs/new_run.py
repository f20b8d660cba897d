"""A new run before it is stored: its spec completed and checked, and what a person should know before it starts."""

from dataclasses import replace

from icm_engine.baselines.label_sources import FROM_GIVEN
from icm_engine.baselines.llm_judge import EXPLANATIONS
from icm_engine.core.consistency import Asymmetry, Unconstrained
from icm_engine.core.custom_rules import rule_class
from icm_engine.core.errors import SettingError
from icm_engine.core.folds import FOLDS, ROUNDS, fold_settings, folds_of
from icm_engine.core.labeling import Label
from icm_engine.core.objective import OF_TWO_LABELS, form_for
from icm_engine.core.server_address import is_server
from icm_engine.core.settings import PRESETS, SearchConfig, steps_per_example
from icm_engine.core.text import home_expanded
from icm_engine.runs import fetched_models, model_registry
from icm_engine.runs.model_registry import is_supervised
from icm_engine.store.events import GIVEN, SEARCH, RunSpec
from icm_engine.store.store import Store


def resolved(store: Store, spec: RunSpec) -> RunSpec:
    """Return the spec as stored: steps and form of P resolved, marked supervised if its model is.

    Raises NotFound, SettingError, ModelNotUsable.
    """
    spec = replace(spec, model=home_expanded(spec.model))
    examples = store.dataset_size(spec.dataset, spec.cut, spec.part)
    rule_class(spec.rule or store.dataset_info(spec.dataset).task.rule)  # an unknown one is refused at once
    if spec.source not in (SEARCH, GIVEN, *FROM_GIVEN, *EXPLANATIONS):
        known = ", ".join((SEARCH, *EXPLANATIONS))
        raise SettingError(f"label source {spec.source!r} does not exist: use one of {known}")
    if spec.source == FOLDS:
        require_folds(store, spec)
    if not examples:
        raise SettingError(
            f"limit {spec.limit} leaves no whole group of data set {spec.dataset!r}: use a larger --limit"
        )
    fetched_models.place(store, spec.model)  # an unfetched model is refused at once
    if is_supervised(store, spec.model):  # a model that learned gold must not pass for one that never saw any
        spec = replace(spec, supervised=True)
    return with_steps(fitted(store, spec), examples)


def require_folds(store: Store, spec: RunSpec) -> None:
    """Raise SettingError or NotInstalled unless the model can be tuned fold by fold, and the data fill the folds."""
    settings = fold_settings(spec.source_options, spec.search.seed)
    if is_server(spec.model) or spec.model.startswith(model_registry.PREFIX):
        what = "a model behind a server" if is_server(spec.model) else "a model tuned here"
        raise SettingError(f"{what} cannot be tuned fold by fold: name a whole model on this machine (--model)")
    if spec.model != "fake":
        model_registry.require_installed()
    folds_of(tuple(store.open_dataset(spec.dataset, spec.cut, spec.part).examples), settings.folds, spec.search.seed)


def fitted(store: Store, spec: RunSpec, named: bool = False) -> RunSpec:
    """Return the spec with a form of P that fits the number of labels. Raises NotFound, SettingError.

    A preset's form is replaced by one that fits; a form chosen by a person (`named`, or unlike the preset's) is
    refused.
    """
    task = store.dataset_info(spec.dataset).task
    form = spec.search.predictability
    if form not in OF_TWO_LABELS or len(task.labels) == 2:
        return spec
    fits = form_for(form, len(task.labels))
    if named or form != PRESETS.get(spec.preset, SearchConfig()).predictability:
        raise SettingError(
            f"predictability {form} is for two labels, but task {task.name!r} has {len(task.labels)}: "
            f"use {fits} (--set predictability={fits})"
        )
    return replace(spec, search=replace(spec.search, predictability=fits))


def with_steps(spec: RunSpec, examples: int) -> RunSpec:
    """Return the spec with its preset's number of steps for that many examples, if it has none."""
    if spec.search.max_steps or spec.source not in (SEARCH, FOLDS):
        return spec
    if spec.source == FOLDS:
        return replace(spec, search=replace(spec.search, max_steps=ROUNDS))
    return replace(spec, search=replace(spec.search, max_steps=steps_per_example(spec.preset) * examples))


def form_words(form: str, labels: tuple[Label, ...]) -> str:
    """Return which form of P replaces a form for two labels; empty if the form fits."""
    if form not in OF_TWO_LABELS or len(labels) == 2:
        return ""
    return (
        f"P is {form_for(form, len(labels))} in place of {form}, which is for two labels: the task has {len(labels)}."
    )


def remarks(store: Store, spec: RunSpec) -> list[str]:
    """Return remarks on a new run before it starts, in sentences. Raises NotFound."""
    info = store.dataset_info(spec.dataset)
    said = [form_words(spec.search.predictability, info.task.labels)]
    if (spec.rule or info.task.rule) == Asymmetry.name and not store.has_twins(spec.dataset):
        said.append(Asymmetry.WITHOUT_TWINS)
    return [words for words in said if words]


def taken_words(store: Store, spec: RunSpec) -> str:
    """Describe what the limit takes of the data set; empty if it takes everything. Raises NotFound.

    Groups are counted if a rule constrains them.
    """
    places, info = store.places(spec.dataset, spec.cut), store.dataset_info(spec.dataset)
    if len(places) == info.examples:
        return ""
    words = f"{len(places):,} of {info.examples:,} examples"
    if (spec.rule or info.task.rule) == Unconstrained.name:
        return words
    return f"{words}, {store.groups_among(info.name, places):,} of {info.groups:,} groups"
