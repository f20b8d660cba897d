"""From a suite to runs: subsets and labels made with gold, and the RunSpec of every cell.

Subsets and labels made with gold are made here. A run that gets either is marked `supervised`. A subset is a data set
of its own, named after how it was chosen; the search sees its examples, but never the reason they were chosen.

Equal specs are equal runs, so an existing run is not run again. This is how a suite resumes.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from icm_engine.analysis.evaluation import unlabelled_parts
from icm_engine.core.batching import NEWEST
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Label, Task
from icm_engine.core.prompting import render
from icm_engine.core.search import initial_examples
from icm_engine.core.settings import PRESETS, ModelChoice, with_settings
from icm_engine.data.gold import add_gold, gold_of, load_gold, load_human
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.experiments.suites import Arm, Suite
from icm_engine.jobs.downstream_eval import test_part
from icm_engine.runs.model_registry import is_supervised
from icm_engine.runs.new_run import with_steps
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import GIVEN, SEARCH, RunSpec
from icm_engine.store.store import Store

Labels = dict[str, Label]
FOLDS = 5
ERRORS = 0.1  # share of wrong labels in "errors"


def require_gold(examples: Sequence[Example], gold: Mapping[str, Label], what: str) -> Labels:
    """Return the gold of these examples. Raises SettingError if one has none."""
    if missing := next((example.id for example in examples if example.id not in gold), None):
        raise SettingError(f"{what} labels need gold, and example {missing!r} has none: leave this arm out")
    return {example.id: gold[example.id] for example in examples}


def majority(gold: Labels, task: Task) -> Labels:
    """Return the most frequent gold label for every example; of a tie, the task's first."""
    counts = Counter(gold.values())
    most = max(task.labels, key=lambda label: counts[label])
    return dict.fromkeys(gold, most)


def with_errors(gold: Labels, task: Task, wrong: int, seed: int) -> Labels:
    """Return gold with that many wrong labels, drawn by the seed; with several other labels, a random one."""
    rng = random.Random(f"errors {seed}")
    chosen = set(rng.sample(sorted(gold), wrong))
    others = {label: [other for other in task.labels if other != label] for label in task.labels}
    return {i: rng.choice(others[label]) if i in chosen else label for i, label in gold.items()}


def wrong_at_length(task: Task, examples: Sequence[Example], gold: Labels, wrong: int) -> Labels:
    """Return gold with about that many wrong labels, those of whole groups with the longest texts.

    So a labeler errs who knows the short questions only; where it errs, it errs on the whole group. The group that
    passes the number is the last one. With several other labels, the task's next one is taken.
    """
    by_group: dict[str, list[Example]] = {}
    for example in examples:
        by_group.setdefault(example.group, []).append(example)
    longest = sorted(by_group, key=lambda group: (-max(len(render(task, e)) for e in by_group[group]), group))
    found, left = dict(gold), wrong
    for group in longest:
        if left <= 0:
            break
        for example in by_group[group]:
            label = gold[example.id]
            found[example.id] = task.labels[(task.labels.index(label) + 1) % len(task.labels)]
        left -= len(by_group[group])
    return found


def mirror(gold: Labels, task: Task) -> Labels:
    """Return the opposite of gold. Raises SettingError for a task without two labels."""
    if len(task.labels) != 2:
        raise SettingError(f"mirror labels need two labels, task {task.name!r} has {len(task.labels)}")
    return {i: task.labels[1 - task.labels.index(label)] for i, label in gold.items()}


def text_only(task: Task, examples: Sequence[Example], gold: Labels) -> Labels:
    """Return the labels of a bag-of-words classifier that asks no model, as a check for artefacts of the text.

    Logistic regression on words and word pairs, trained on gold; each example is predicted by a fold that has seen no
    example of its group. Raises SettingError if a fold has only one label.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    groups = [example.group for example in examples]
    texts, labels = [render(task, example) for example in examples], [gold[example.id] for example in examples]
    folds = GroupKFold(max(2, min(FOLDS, len(set(groups)))))
    if len(set(groups)) < 2 or any(
        len({labels[k] for k in train}) < 2 for train, _ in folds.split(texts, None, groups)
    ):
        raise SettingError(
            f"{len(examples)} examples in {len(set(groups))} groups leave a text classifier a fold with one label "
            "only: use more examples"
        )
    words = CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=r"\S+")
    model = make_pipeline(words, LogisticRegression(max_iter=1000))
    found = cross_val_predict(model, texts, labels, groups=groups, cv=folds)
    return {example.id: str(label) for example, label in zip(examples, found, strict=True)}


_NUMBER = re.compile(r"\d+")
Part = Callable[[Example], bool]


def ensure_selected(store: Store, dataset: str, how: str, share: float, examples: int) -> str:
    """Return the name of the subset, which is made on first use. Raises SettingError if there are too few examples."""
    name = f"{dataset}-{how}-{round(100 * share)}-of-{examples}"
    if store.has_dataset(name):
        return name
    whole = store.dataset(dataset)
    gold = load_gold(store, dataset).labels
    true = whole.task.true_label
    parts: dict[str, Part] = {
        "imbalance": lambda example: gold[example.id] == true,
        "spurious": lambda example: (gold[example.id] == true) == surface(render(whole.task, example)),
    }
    if how not in parts:
        raise SettingError(f"selection {how!r} does not exist: use one of {', '.join(parts)}")
    known = [example for example in whole.examples if example.id in gold]
    chosen = _chosen(known, parts[how], share, examples, dataset)
    _add_part(store, name, dataset, chosen, f"Chosen with gold from {dataset}: {how} {share:.0%}.")
    return name


def surface(text: str) -> bool:
    """Say whether the last number in a text is even, or else the length of the text."""
    numbers = _NUMBER.findall(text)
    return int(numbers[-1] if numbers else len(text)) % 2 == 0


def _chosen(known: Sequence[Example], part: Part, share: float, examples: int, dataset: str) -> list[Example]:
    """This many examples, this share of them from the part, drawn by a fixed seed, in data set order."""
    rng = random.Random(f"{dataset} {share}")
    inside, outside = [e for e in known if part(e)], [e for e in known if not part(e)]
    wanted = round(share * examples)
    if wanted > len(inside) or examples - wanted > len(outside):
        raise SettingError(
            f"{dataset!r} has {len(inside)} and {len(outside)} examples of the two kinds, and {wanted} and "
            f"{examples - wanted} are wanted: use fewer examples"
        )
    names = {e.id for e in (*rng.sample(inside, wanted), *rng.sample(outside, examples - wanted))}
    return [example for example in known if example.id in names]


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a suite: an arm on a data set with a seed."""

    arm: Arm
    dataset: str
    seed: int

    @property
    def words(self) -> str:
        return f"{self.arm.name}, {self.dataset}, seed {self.seed}"


@dataclass
class Driven:
    """A cell and its outcome: its run and the job that used its labels, or the reason why there is none.

    `tuned` is the job that tuned a model on its labels, `tuned_use` the one that used it; `untuned` says why not.
    `tested` is the data set of the test examples that its run labels, if it labels these.
    """

    cell: Cell
    run: str | None = None
    use: str | None = None
    reason: str | None = None
    tuned: str | None = None
    tuned_use: str | None = None
    untuned: str | None = None
    tested: str | None = None


def cells(suite: Suite) -> list[Cell]:
    """Return every cell of a suite: each arm with every seed, or with the first one only if seeds do not matter."""
    return [
        Cell(arm, dataset, seed)
        for dataset in suite.datasets
        for arm in suite.arms
        for seed in (suite.seeds[:1] if arm.once else suite.seeds)
    ]


def spec_of(store: Store, suite: Suite, cell: Cell, model: ModelChoice, key: str, accuracy: float | None) -> RunSpec:
    """Return the RunSpec of a cell; `accuracy` is that of the cell that perturbed labels imitate. Raises SettingError.

    Labels made with gold are made here, before the worker is asked, and the run is marked as supervised.
    """
    arm, size = cell.arm, cell.arm.examples or suite.examples
    if cell.dataset in SAMPLE_DATASETS:
        ensure_sample_dataset(store, cell.dataset)
    dataset = ensure_selected(store, cell.dataset, arm.select, arm.share, size) if arm.select else cell.dataset
    search = with_settings(PRESETS[arm.preset], {"seed": cell.seed, **arm.settings})
    asked = replace(model, model=arm.model or model.model, version=NEWEST)  # also where the suite was asked for before
    spec = RunSpec.of(
        dataset,
        asked,
        limit=size,
        rule=arm.rule,
        preset=arm.preset,
        source=arm.source,
        source_options=dict(arm.options),
        experiment=key,
        search=search,
        supervised=is_supervised(store, asked.model),
    )
    part = store.dataset(dataset, spec.cut)
    if not part.examples:
        raise SettingError(f"{size} examples leave no whole group of data set {dataset!r}: use more")
    if spec.source == SEARCH and search.max_steps == 0:
        spec = replace(spec, search=replace(search, max_steps=4 * len(part.examples)))
    spec = with_steps(spec, len(part.examples))
    if arm.source == GIVEN or arm.labels:
        labels, where = _labels(store, part.task, part.examples, dataset, cell, arm.labels, accuracy)
        return replace(spec, given=labels, given_from=where, supervised=True)
    if arm.start:
        labels, where = _start(store, part.task, part.examples, dataset, cell, spec)
        return replace(spec, given=labels, supervised=True, given_from=f"{where} initial labels")
    return spec


def on_test_part(store: Store, suite: Suite, cell: Cell, test: str | None) -> tuple[Cell, str]:
    """Return a cell about the examples on which labels are used, and the data set that these are from.

    They become a data set of their own, which is made on first use. Raises SettingError if there are none, or if they
    are from two data sets.
    """
    assert suite.use is not None
    size, most = cell.arm.examples or suite.examples, suite.use.test
    if cell.dataset in SAMPLE_DATASETS:
        ensure_sample_dataset(store, cell.dataset)
    spec = RunSpec(cell.dataset, "fake", limit=size, rule=cell.arm.rule)
    chosen = test_part(store, unlabelled_parts(store, cell.dataset, spec, test), most)
    origins = sorted({dataset for dataset, _ in chosen})
    if len(origins) != 1:
        raise SettingError(
            f"{cell.words} needs test examples of one data set, and they are from {' and '.join(origins) or 'none'}: "
            "name a larger test data set"
        )
    (origin,) = origins
    name = f"{origin}-test-{len(chosen)}" + (f"-beyond-{size}" if origin == cell.dataset else "")
    if not store.has_dataset(name):
        _add_part(store, name, origin, [example for _, example in chosen], f"The test part of {cell.dataset}.")
    return replace(cell, dataset=name, arm=replace(cell.arm, examples=len(chosen))), origin


def _add_part(store: Store, name: str, origin: str, chosen: Sequence[Example], note: str) -> None:
    """Store examples of a data set as one of their own, with their gold."""
    whole = store.dataset(origin)
    places = {example.id: place for place, example in enumerate(whole.examples)}
    inputs = tuple(whole.inputs[places[example.id]] for example in chosen)
    notes = (*whole.notes, note)
    with store.transaction():
        store.add_dataset(Dataset(name, whole.task, tuple(chosen), inputs, whole.columns, whole.source, notes))
        if gold := gold_of(store, origin, [example.id for example in chosen]):
            add_gold(store, name, gold)


def _labels(
    store: Store, task: Task, examples: Sequence[Example], dataset: str, cell: Cell, kind: str, accuracy: float | None
) -> tuple[Labels, str]:
    """The labels of this kind that are given to an arm, and their origin in words."""
    if kind.startswith("all "):
        return {example.id: kind.removeprefix("all ") for example in examples}, kind
    if kind.startswith("human"):
        return _human(store, dataset, examples, kind.removeprefix("human").lstrip(":")), kind
    gold = require_gold(examples, gold_of(store, dataset, [e.id for e in examples]), kind)
    if kind == "perturbed":
        if accuracy is None:
            raise SettingError(f"perturbed labels of {cell.words} need the run of {cell.arm.of!r} to be finished")
        wrong = round((1 - accuracy) * len(gold))
        return with_errors(gold, task, wrong, cell.seed), f"golden with {wrong} random errors"
    wrong = round((cell.arm.share or ERRORS) * len(gold))
    made: Mapping[str, Any] = {
        "golden": lambda: gold,
        "mirror": lambda: mirror(gold, task),
        "majority": lambda: majority(gold, task),
        "errors": lambda: with_errors(gold, task, wrong, cell.seed),
        "errors-long": lambda: wrong_at_length(task, examples, gold, wrong),
        "text-only": lambda: text_only(task, examples, gold),
    }
    if kind not in made:
        raise SettingError(
            f"labels {kind!r} do not exist: use human, perturbed, all LABEL, or one of {', '.join(made)}"
        )
    share = f", {cell.arm.share:.0%}" if cell.arm.share and kind.startswith("errors") else ""
    return made[kind](), kind + share


def _human(store: Store, dataset: str, examples: Sequence[Example], source: str) -> Labels:
    sources = load_human(store, dataset)
    if not sources or (source and source not in sources):
        raise SettingError(
            f"data set {dataset!r} has no human labels{f' of {source}' if source else ''}: not applicable"
        )
    labels = sources[source or min(sources)].labels
    return {example.id: labels[example.id] for example in examples if example.id in labels}


def _start(
    store: Store, task: Task, examples: Sequence[Example], dataset: str, cell: Cell, spec: RunSpec
) -> tuple[Labels, str]:
    """Labels for the initial examples alone, and their origin: golden, all wrong, or of some kind of labels."""
    first, kind = [examples[i] for i in initial_examples(spec.search, len(examples))], cell.arm.start
    if kind not in ("golden", "wrong"):
        labels, where = _labels(store, task, examples, dataset, cell, kind, None)
        if missing := next((e.id for e in first if e.id not in labels), None):
            raise SettingError(f"{kind} initial labels lack one for example {missing!r}: leave this arm out")
        return {e.id: labels[e.id] for e in first}, where
    gold = require_gold(first, gold_of(store, dataset, [e.id for e in first]), kind)
    return (gold if kind == "golden" else with_errors(gold, task, len(gold), spec.search.seed)), kind
