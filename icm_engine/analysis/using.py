"""Labels in use: as demonstrations, or in a model tuned on them, on examples that no source labelled; beside gold."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from icm_engine.analysis.experiments.intervals import Right
from icm_engine.core.labeling import Label
from icm_engine.data.gold import gold_of
from icm_engine.data.importing import SAMPLE_DATASETS, SAMPLE_DIRECTORY, import_file
from icm_engine.runs import jobs, use
from icm_engine.runs.data_parts import rest_of
from icm_engine.runs.events import Json, RunSpec
from icm_engine.runs.jobs import JobSpec, ModelChoice
from icm_engine.runs.store import Store


@dataclass(frozen=True)
class Used:
    """Labels in use: how many were shown, and what is right on the test part, over all shuffles."""

    shots: int
    right: Right
    predicted_true: float  # share of the predictions that are the task's "True" label
    tokens: int


def asked(
    store: Store, run: str, model: ModelChoice, shots: Sequence[int | str], most: int, test: Sequence[Json],
    seed: int, shuffles: int = 1,
) -> str:  # fmt: skip
    """Return the job that uses a run's labels with a model: the one there is, or a new one that nobody started yet."""
    body = {"run": run, "test": list(test), "most": most, "shots": list(shots), "shuffles": shuffles, "seed": seed}
    wanted = JobSpec(use.KIND, body, model)
    for job in jobs.names(store, use.KIND, run=run):
        if jobs.spec(store, job) == wanted:
            return job
    return jobs.create(store, wanted)


def unlabelled_parts(store: Store, dataset: str, spec: RunSpec, test: str | None = None) -> list[Json]:
    """The examples that no run of this spec labels: a test data set if there is one, then the rest of its own.

    `dataset` is the one the run was meant for: of a selection from it, which gold made, there is no rest.
    """
    parts: list[Json] = []
    if test is None and dataset in SAMPLE_DATASETS:
        test = f"{dataset}_test"
        if not store.has_dataset(test):
            import_file(store, SAMPLE_DIRECTORY / f"{test}.csv", dataset, test)
    if test is not None:
        parts.append({"dataset": test, "start": 0})
    return parts + ([part.to_json() for part in rest_of(store, spec)] if spec.dataset == dataset else [])


def used(store: Store, job: str) -> tuple[Used, ...]:
    """Return what is right with every number of shots of a finished use, its shuffles together."""
    found = jobs.result(store, job)
    if found is None:
        return ()
    truth = store.dataset_info(store.spec(found["run"]).dataset).task.true_label
    gold, groups = _test_gold(store, found["examples"])
    parts: dict[int, list[Json]] = defaultdict(list)
    for part in found["parts"]:
        parts[part["shots"]].append(part)
    return tuple(_used_with(shots, some, found, gold, groups, truth) for shots, some in sorted(parts.items()))


def by_group(rows: Sequence[tuple[str, bool]]) -> Right:
    """Return how many are right, of how many, by consistency group."""
    found: dict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for group, right in rows:
        count, total = found[group]
        found[group] = (count + right, total + 1)
    return dict(found)


def _used_with(
    shots: int, parts: Sequence[Json], found: Json, gold: Mapping[Any, Label], groups: Mapping[Any, str], truth: Label
) -> Used:
    labels, rows, said = found["labels"], list[tuple[str, bool]](), list[Label]()
    for part in parts:
        for (dataset, example), scores in zip(found["examples"], part["log_probs"], strict=True):
            predicted = labels[scores.index(max(scores))]
            said.append(predicted)
            if (dataset, example) in gold:
                rows.append((f"{dataset} {groups[dataset, example]}", predicted == gold[dataset, example]))
    tokens = sum(part["usage"]["tokens_encoded"] for part in parts)
    return Used(shots, by_group(rows), fmean(label == truth for label in said), tokens)


def _test_gold(store: Store, examples: Sequence[Sequence[str]]) -> tuple[dict[Any, Label], dict[Any, str]]:
    """Gold and consistency group of test examples, by data set and id."""
    gold, groups = dict[Any, Label](), dict[Any, str]()
    wanted: dict[str, set[str]] = defaultdict(set)
    for dataset, example in examples:
        wanted[dataset].add(example)
    for dataset, names in wanted.items():
        gold |= {(dataset, i): label for i, label in gold_of(store, dataset, sorted(names)).items()}
        groups |= {(dataset, e.id): e.group for e in store.examples(dataset) if e.id in names}
    return gold, groups
