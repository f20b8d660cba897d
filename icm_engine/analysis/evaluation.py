"""Labels in use and rewards against gold, with bootstrap intervals.

Examples of one group depend on each other, and there are few seeds. So each resample draws seeds with replacement, then
groups, the same groups for every seed (all seeds label the same examples). With one seed the interval covers only the
variation of examples and says nothing about other seeds; with one group it is the widest possible.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from icm_engine import jobs
from icm_engine.analysis.label_history import is_right
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Label, Task
from icm_engine.core.settings import ModelChoice
from icm_engine.core.training_rows import CLAIM, form_of
from icm_engine.data.answers import reader_for
from icm_engine.data.gold import gold_of
from icm_engine.data.importing import SAMPLE_DIRECTORY, import_file
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.jobs import JobSpec, downstream_eval
from icm_engine.jobs.downstream_eval import rest_of
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.store import Store

RESAMPLES = 2000
AT_ONCE = 1_000_000  # numbers of resampled tables in memory at a time
LEVEL = 0.95

Right = Mapping[str, tuple[float, int]]  # by consistency group: number correct (or a sum), out of how many


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval; `values` has one mean per seed."""

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def estimate(cells: Sequence[Right]) -> Estimate:
    """Return the mean over seeds of the correct share, given one mapping per seed. Raises ValueError for none."""
    sums, counts = _table(cells)
    return _resampled(sums, counts, (0.0, 1.0))


def difference(one: Sequence[Right], other: Sequence[Right]) -> Estimate:
    """Return the difference of the two means, resampled together: seeds in pairs, the same groups.

    A side with a single run is paired with every run of the other. Raises ValueError if their examples differ.
    """
    many = max(len(one), len(other))
    first, second = _repeated(one, many), _repeated(other, many)
    sums, counts = _table(first)
    other_sums, other_counts = _table(second)
    if counts.shape != other_counts.shape or (counts != other_counts).any():
        raise ValueError("the two have different examples")
    return _resampled(sums - other_sums, counts, (-1.0, 1.0))


@dataclass(frozen=True, slots=True)
class Recovered:
    """The performance gap recovered (PGR): (strong − weak) / (ceiling − weak), a share.

    `gap` is ceiling − weak. Without a gap above 0, `value` is None. `low` and `high` are the 95 % interval, both None
    where more than a fortieth of the resamples has no gap, so that the interval has no bounds.
    """

    gap: Estimate
    value: float | None
    low: float | None = None
    high: float | None = None

    def to_json(self) -> Json:
        return asdict(self)


def recovered(weak: Sequence[Right], strong: Sequence[Right], ceiling: Sequence[Right]) -> Recovered:
    """Return the share of the gap between weak labels and a ceiling that a source recovers, on the same examples.

    The three are resampled together, as `difference` does. A resample without a gap counts as minus infinity for the
    lower end and as infinity for the upper one. Raises ValueError if their examples differ.
    """
    gap, gain = difference(ceiling, weak), difference(strong, weak)
    if gap.mean <= 0:
        return Recovered(gap, None)
    many = max(len(weak), len(strong), len(ceiling))
    low, middle, high = (_table(_repeated(cells, many)) for cells in (weak, strong, ceiling))
    if low[0].shape[1] < 2:  # one group says nothing of others
        return Recovered(gap, gain.mean / gap.mean)
    gains, gaps = (np.array(_means(sums - low[0], low[1])) for sums in (middle[0], high[0]))
    shares = np.divide(gains, gaps, out=np.full_like(gains, np.inf), where=gaps > 0)
    ends = (
        float(np.quantile(np.where(gaps > 0, shares, -np.inf), (1 - LEVEL) / 2, method="lower")),
        float(np.quantile(shares, (1 + LEVEL) / 2, method="higher")),
    )
    if not np.isfinite(ends).all():
        return Recovered(gap, gain.mean / gap.mean)
    return Recovered(gap, gain.mean / gap.mean, *ends)


def _repeated(cells: Sequence[Right], many: int) -> Sequence[Right]:
    return list(cells) * many if len(cells) == 1 else cells[:many]


def _table(cells: Sequence[Right]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sums and counts, shape (seeds, groups); every seed has the same groups."""
    if not cells or not cells[0]:
        raise ValueError("there is nothing to take the mean of")
    groups = sorted(cells[0])
    if any(sorted(cell) != groups for cell in cells):
        raise ValueError("the seeds have different examples")
    sums = np.array([[cell[group][0] for group in groups] for cell in cells], dtype=float)
    counts = np.array([[cell[group][1] for group in groups] for cell in cells], dtype=float)
    return sums, counts


def _resampled(sums: npt.NDArray[np.float64], counts: npt.NDArray[np.float64], widest: tuple[float, float]) -> Estimate:
    values = sums.sum(axis=1) / counts.sum(axis=1)
    if sums.shape[1] < 2:
        return Estimate(float(values.mean()), *widest, tuple(map(float, values)))
    low, high = np.quantile(_means(sums, counts), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(values.mean()), float(low), float(high), tuple(map(float, values)))


def _means(sums: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]) -> list[float]:
    """The mean of each resample; tables of the same shape are resampled alike."""
    rng = np.random.default_rng(0)
    seeds, groups = sums.shape
    means, at_once = list[float](), max(1, AT_ONCE // sums.size)
    below = np.repeat([seeds, groups], [seeds, groups])  # a resample draws its seeds, then its groups
    while len(means) < RESAMPLES:
        count = min(at_once, RESAMPLES - len(means))
        draws = rng.integers(below, size=(count, seeds + groups))
        chosen = draws[:, :seeds, None], draws[:, None, seeds:]
        means += (sums[chosen].sum(axis=2) / counts[chosen].sum(axis=2)).mean(axis=1).tolist()
    return means


@dataclass(frozen=True)
class Used:
    """Labels in use: the number of demonstrations, and the correct answers on the test part over all shuffles."""

    shots: int
    right: Right
    predicted_true: float  # share of the predictions that are the task's "True" label
    tokens: int


def asked(
    store: Store,
    run: str,
    model: ModelChoice,
    shots: Sequence[int | str],
    most: int,
    test: Sequence[Json],
    seed: int,
    shuffles: int = 1,
) -> str:
    """Return the job that uses a run's labels with a model: an existing one, or a new one not yet started."""
    body = {"run": run, "test": list(test), "most": most, "shots": list(shots), "shuffles": shuffles, "seed": seed}
    wanted = JobSpec(downstream_eval.KIND, body, model)
    for job in jobs.names(store, downstream_eval.KIND, run=run):
        if jobs.spec(store, job) == wanted:
            return job
    return jobs.create(store, wanted)


def unlabelled_parts(store: Store, dataset: str, spec: RunSpec, test: str | None = None) -> list[Json]:
    """The examples that no run of this spec labels: the test data set if any, then the rest of its own data set.

    `dataset` is the one the run was meant for. A selection from it that was made with gold has no rest.
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
    """Return the correct answers of a finished use for each number of demonstrations, over all shuffles."""
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
    """Return the number correct and the total, by consistency group."""
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
                right = is_right(predicted, gold[dataset, example])
                rows.append((f"{dataset} {groups[dataset, example]}", right))
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


Judged = tuple[Example, Label, Sequence[float]]  # an example, its gold label, the rewards of its responses


def agreement_with_gold(store: Store, facts: Json, stage: str, only: str | None = None) -> Right:
    """Return how many test pairs a stage's reward model orders as gold does, by data set and group.

    With `only`, those of that data set. Raises SettingError if the model was not evaluated, or only on examples without
    gold.
    """
    rows = facts["test"].get(stage)
    if not rows:
        raise SettingError(f"reward model {facts['name']!r} has no test part of stage {stage!r}: name one (--test)")
    by_dataset: dict[str, dict[str, Sequence[float]]] = defaultdict(dict)
    for row in rows:
        if only in (None, row["dataset"]):
            by_dataset[row["dataset"]][row["example"]] = row["rewards"]
    found: dict[str, tuple[float, int]] = {}
    for dataset, rewards in by_dataset.items():
        gold = gold_of(store, dataset, sorted(rewards))
        judged = [(e, gold[e.id], rewards[e.id]) for e in store.examples(dataset) if e.id in rewards and e.id in gold]
        task = store.dataset_info(dataset).task
        found |= {f"{dataset} {group}": right for group, right in right_pairs(task, judged).items()}
    if not found:
        what = f"data set {only!r}, a test of {facts['name']!r}," if only else f"the test part of {facts['name']!r}"
        raise SettingError(f"{what} has no gold: its accuracy is not known")
    return found


def right_pairs(task: Task, judged: Sequence[Judged]) -> Right:
    """Return, by group, the number of pairs with the higher reward where gold is True; equal rewards count half.

    A pair of responses is one pair. Among the claims about a question, each True one is compared with each False one.
    """
    if form_of(task).answered == CLAIM:
        return _right_claims(task, judged)
    groups: dict[str, list[float]] = defaultdict(list)
    for example, gold, (a, b) in judged:
        groups[example.group].append(above(a, b) if gold == task.true_label else above(b, a))
    return {group: (sum(right), len(right)) for group, right in groups.items()}


def _right_claims(task: Task, judged: Sequence[Judged]) -> Right:
    sides: dict[str, tuple[list[float], list[float]]] = {}
    for example, gold, (reward,) in judged:
        sides.setdefault(example.group, ([], []))[gold != task.true_label].append(reward)
    return {
        group: (sum(above(t, f) for t in true for f in false), len(true) * len(false))
        for group, (true, false) in sides.items()
        if true and false
    }


def above(one: float, other: float) -> float:
    """Return 1 if the first is higher, 0 if lower, a half if they are equal."""
    return 1.0 if one > other else 0.5 if one == other else 0.0


def accuracy(store: Store, models: Sequence[Json], stage: str, only: str | None = None) -> Estimate:
    """Return the accuracy of reward models that differ in their seeds, with its interval over seeds and groups.

    It is over all of their test data, or `only` one data set of it. Raises SettingError if it is not known.
    """
    return estimate([agreement_with_gold(store, facts, stage, only) for facts in models])


Scores = Mapping[str, Sequence[float]]  # by prompt: a score for each response, higher is better


def wins(one: Scores, other: Scores) -> Right:
    """Return, by prompt, how often a response of one beats a response of the other, over all pairs.

    Ties count half, so a policy against itself scores one half. Raises ValueError if the prompts differ.
    """
    if set(one) != set(other):
        raise ValueError("the two have different prompts")
    return {prompt: (_mean_wins(scores, other[prompt]), 1) for prompt, scores in one.items()}


def _mean_wins(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(above(a, b) for a in one for b in other) / (len(one) * len(other))


def share(scores: Scores) -> Right:
    """Return, by prompt, the mean score of its responses."""
    return {prompt: (sum(values) / len(values), 1) for prompt, values in scores.items()}


def rewards_of(found: Json, judge: str) -> Scores:
    """Return a reward model's scores of sampled responses, by prompt."""
    return dict(zip(found["asked"], found["rewards"][judge], strict=True))


def truth_of(store: Store, dataset: str, found: Json) -> Scores:
    """Return 1 for each sampled response that is a claim with gold True, else 0. Raises SettingError.

    A response is right if it is a True claim, or if it has the final answer of one where the data has final answers.
    Anything else counts as wrong. Raises SettingError for pairs of responses, and for a prompt that has no claim with
    gold True.
    """
    task = store.dataset_info(dataset).task
    form = form_of(task)
    if form.answered != CLAIM:
        raise SettingError(f"gold of data set {dataset!r} compares responses: whether one is right is not known")
    examples = list(store.examples(dataset))
    gold = gold_of(store, dataset, [example.id for example in examples])
    right = [e for e in examples if gold.get(e.id) == task.true_label]
    true = {(form.asked(e), text) for e in right for text in form.responses(e)}
    answers, read = {(form.asked(e), e.answer) for e in right if e.answer is not None}, reader_for(examples)
    if missing := next((asked for asked in found["asked"] if asked not in {question for question, _ in true}), None):
        raise SettingError(f"data set {dataset!r} has no True claim about {missing!r}: the truth is not known")

    def is_true(asked: str, text: str) -> bool:
        return (asked, text) in true or (bool(answers) and (asked, read(text)) in answers)

    return {
        asked: [float(is_true(asked, text)) for text in some]
        for asked, some in zip(found["asked"], found["responses"], strict=True)
    }
