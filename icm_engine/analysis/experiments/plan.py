"""From a suite to runs: one cell for each arm, data set and seed, and the RunSpec that each cell is.

Equal specs are equal runs, so a cell whose run is there already is not run again: that is how a suite resumes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from icm_engine.analysis.experiments import given
from icm_engine.analysis.experiments.selection import ensure_selected
from icm_engine.analysis.experiments.suites import Arm, Suite
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Label, Task
from icm_engine.core.search import initial_examples
from icm_engine.core.settings import PRESETS, with_settings
from icm_engine.data.gold import gold_of, load_human
from icm_engine.data.importing import SAMPLE_DATASETS, ensure_sample_dataset
from icm_engine.runs.events import GIVEN, SEARCH, RunSpec
from icm_engine.runs.jobs import ModelChoice
from icm_engine.runs.store import Store
from icm_engine.runs.trained import is_supervised

Labels = dict[str, Label]


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a suite: an arm on a data set with a seed."""

    arm: Arm
    dataset: str
    seed: int

    @property
    def words(self) -> str:
        return f"{self.arm.name}, {self.dataset}, seed {self.seed}"


def cells(suite: Suite) -> list[Cell]:
    """Return every cell of a suite: each arm with every seed, or with the first alone if no seed changes it."""
    return [
        Cell(arm, dataset, seed)
        for dataset in suite.datasets
        for arm in suite.arms
        for seed in (suite.seeds[:1] if arm.once else suite.seeds)
    ]


def spec_of(store: Store, suite: Suite, cell: Cell, model: ModelChoice, key: str, accuracy: float | None) -> RunSpec:
    """Return the RunSpec of a cell; `accuracy` is that of the cell which perturbed labels go by. Raises SettingError.

    Labels that gold makes are made here, before the worker is asked, and the run is marked as supervised.
    """
    arm = cell.arm
    if cell.dataset in SAMPLE_DATASETS:
        ensure_sample_dataset(store, cell.dataset)
    size = arm.examples or suite.examples
    dataset = ensure_selected(store, cell.dataset, arm.select, arm.share, size) if arm.select else cell.dataset
    search = with_settings(PRESETS[arm.preset], {"seed": cell.seed, **arm.settings})
    asked = {name: getattr(model, name) for name in ("model", "quantization", "dtype", "device", "encoding")}
    if arm.model:
        asked["model"] = arm.model
    spec = RunSpec(
        dataset, limit=size, rule=arm.rule, preset=arm.preset, source=arm.source,
        source_options=dict(arm.options), experiment=key, search=search,
        supervised=is_supervised(store, asked["model"]), **asked,
    )  # fmt: skip
    part = store.dataset(dataset, spec.cut)
    if not part.examples:
        raise SettingError(f"{size} examples leave no whole group of data set {dataset!r}: use more")
    if spec.source == SEARCH and search.max_steps == 0:
        spec = replace(spec, search=replace(search, max_steps=4 * len(part.examples)))
    if arm.source == GIVEN:
        labels, where = _labels(store, part.task, part.examples, dataset, cell, accuracy)
        return replace(spec, given=labels, given_from=where, supervised=True)
    if arm.start:
        return replace(spec, given=_start(store, part.task, part.examples, dataset, spec, arm.start), supervised=True,
                       given_from=f"{arm.start} initial labels")  # fmt: skip
    return spec


def _labels(
    store: Store, task: Task, examples: Sequence[Example], dataset: str, cell: Cell, accuracy: float | None
) -> tuple[Labels, str]:
    """The labels of a `given` arm, and in words where they are from."""
    kind = cell.arm.labels
    if kind.startswith("all "):
        return {example.id: kind.removeprefix("all ") for example in examples}, kind
    if kind.startswith("human"):
        return _human(store, dataset, examples, kind.removeprefix("human").lstrip(":")), kind
    gold = given.require_gold(examples, gold_of(store, dataset, [e.id for e in examples]), kind)
    if kind == "perturbed":
        if accuracy is None:
            raise SettingError(f"perturbed labels of {cell.words} need the run of {cell.arm.of!r} to be finished")
        wrong = round((1 - accuracy) * len(gold))
        return given.with_errors(gold, task, wrong, cell.seed), f"golden with {wrong} random errors"
    made: Mapping[str, Any] = {
        "golden": lambda: gold,
        "mirror": lambda: given.mirror(gold, task),
        "majority": lambda: given.majority(gold, task),
        "errors": lambda: given.with_errors(gold, task, round(given.ERRORS * len(gold)), cell.seed),
        "text-only": lambda: given.text_only(task, examples, gold),
    }
    if kind not in made:
        raise SettingError(
            f"labels {kind!r} do not exist: use human, perturbed, all LABEL, or one of {', '.join(made)}"
        )
    return made[kind](), kind


def _human(store: Store, dataset: str, examples: Sequence[Example], source: str) -> Labels:
    sources = load_human(store, dataset)
    if not sources or (source and source not in sources):
        raise SettingError(
            f"data set {dataset!r} has no human labels{f' of {source}' if source else ''}: not applicable"
        )
    labels = sources[source or min(sources)].labels
    return {example.id: labels[example.id] for example in examples if example.id in labels}


def _start(store: Store, task: Task, examples: Sequence[Example], dataset: str, spec: RunSpec, kind: str) -> Labels:
    """Golden or all wrong labels for the examples that the search begins with, and for no others."""
    first = [examples[i] for i in initial_examples(spec.search, len(examples))]
    gold = given.require_gold(first, gold_of(store, dataset, [e.id for e in first]), kind)
    if kind not in ("golden", "wrong"):
        raise SettingError(f"start {kind!r} does not exist: use golden or wrong")
    return gold if kind == "golden" else given.with_errors(gold, task, len(gold), spec.search.seed)
