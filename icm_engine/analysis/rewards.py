"""Rewards beside gold: how often a reward model prefers what gold prefers. The rewards come from a finished job."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from icm_engine.analysis.experiments.intervals import Estimate, Right, estimate
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Label, Task
from icm_engine.core.responses import CLAIM, form_of
from icm_engine.data.gold import gold_of
from icm_engine.runs.events import Json
from icm_engine.runs.store import Store

Judged = tuple[Example, Label, Sequence[float]]  # an example, its gold label, the reward of each of its responses


def agreement_with_gold(store: Store, facts: Json, stage: str) -> Right:
    """Return how many test pairs a stage's reward model orders as gold does, by data set and group.

    Raises SettingError where the model was not tried on anything, or nothing of that has gold.
    """
    rows = facts["test"].get(stage)
    if not rows:
        raise SettingError(f"reward model {facts['name']!r} has no test part of stage {stage!r}: name one (--test)")
    by_dataset: dict[str, dict[str, Sequence[float]]] = defaultdict(dict)
    for row in rows:
        by_dataset[row["dataset"]][row["example"]] = row["rewards"]
    found: dict[str, tuple[float, int]] = {}
    for dataset, rewards in by_dataset.items():
        gold = gold_of(store, dataset, sorted(rewards))
        judged = [(e, gold[e.id], rewards[e.id]) for e in store.examples(dataset) if e.id in rewards and e.id in gold]
        task = store.dataset_info(dataset).task
        found |= {f"{dataset} {group}": right for group, right in right_pairs(task, judged).items()}
    if not found:
        raise SettingError(f"the test part of {facts['name']!r} has no gold: its accuracy is not known")
    return found


def right_pairs(task: Task, judged: Sequence[Judged]) -> Right:
    """Return, by group, how many pairs have the higher reward where gold is True; equal rewards count half.

    A pair of responses is one pair; of a question's claims, each True one stands against each False one.
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
    """Return 1 if one is above the other, 0 if it is below, and a half if they are equal."""
    return 1.0 if one > other else 0.5 if one == other else 0.0


def accuracy(store: Store, models: Sequence[Json], stage: str) -> Estimate:
    """Return the accuracy of reward models that differ in their seeds, with its interval over seeds and groups."""
    return estimate([agreement_with_gold(store, facts, stage) for facts in models])


Scores = Mapping[str, Sequence[float]]  # by prompt: a score for each response, higher is better


def wins(one: Scores, other: Scores) -> Right:
    """Return, by prompt, how often a response of one is above a response of the other, over all pairs of them.

    Equal scores count half, so that a policy against itself is at one half. Raises ValueError for other prompts.
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
    """Return what a reward model gave sampled responses, by prompt."""
    return dict(zip(found["asked"], found["rewards"][judge], strict=True))


def truth_of(store: Store, dataset: str, found: Json) -> Scores:
    """Return 1 for each sampled response that is a claim which gold has as True, else 0. Raises SettingError.

    A response that no example of the data set spells out counts as wrong. Raises SettingError for pairs of responses,
    and for a prompt without a claim that gold has as True.
    """
    task = store.dataset_info(dataset).task
    form = form_of(task)
    if form.answered != CLAIM:
        raise SettingError(f"gold of data set {dataset!r} compares responses: whether one is right is not known")
    examples = list(store.examples(dataset))
    gold = gold_of(store, dataset, [example.id for example in examples])
    true = {(form.asked(e), text) for e in examples if gold.get(e.id) == task.true_label for text in form.responses(e)}
    if missing := next((asked for asked in found["asked"] if asked not in {question for question, _ in true}), None):
        raise SettingError(f"data set {dataset!r} has no True claim about {missing!r}: the truth is not known")
    return {
        asked: [float((asked, text) in true) for text in some]
        for asked, some in zip(found["asked"], found["responses"], strict=True)
    }
