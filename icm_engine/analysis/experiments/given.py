"""Labels that come from outside the model: gold, people, a text classifier, or another run's with errors put in.

Gold and labels meet here. A run that gets any of these is marked `supervised`.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Label, Task
from icm_engine.core.prompting import render

Labels = dict[str, Label]
FOLDS = 5
ERRORS = 0.1  # share of wrong labels in "errors"


def require_gold(examples: Sequence[Example], gold: Mapping[str, Label], what: str) -> Labels:
    """Return the gold of these examples. Raises SettingError where one has none."""
    if missing := next((example.id for example in examples if example.id not in gold), None):
        raise SettingError(f"{what} labels need gold, and example {missing!r} has none: leave this arm out")
    return {example.id: gold[example.id] for example in examples}


def majority(gold: Labels, task: Task) -> Labels:
    """Return for every example the label that gold has most often; of a tie, the task's first."""
    counts = Counter(gold.values())
    most = max(task.labels, key=lambda label: counts[label])
    return dict.fromkeys(gold, most)


def with_errors(gold: Labels, task: Task, wrong: int, seed: int) -> Labels:
    """Return gold with so many labels wrong, drawn by the seed: the other label, or a random one of the others."""
    rng = random.Random(f"errors {seed}")
    chosen = set(rng.sample(sorted(gold), wrong))
    others = {label: [other for other in task.labels if other != label] for label in task.labels}
    return {i: rng.choice(others[label]) if i in chosen else label for i, label in gold.items()}


def mirror(gold: Labels, task: Task) -> Labels:
    """Return the opposite of gold. Raises SettingError for a task without two labels."""
    if len(task.labels) != 2:
        raise SettingError(f"mirror labels need two labels, task {task.name!r} has {len(task.labels)}")
    return {i: task.labels[1 - task.labels.index(label)] for i, label in gold.items()}


def text_only(task: Task, examples: Sequence[Example], gold: Labels) -> Labels:
    """Return what a bag-of-words classifier says that never asks the model: how far artefacts of the text go.

    Logistic regression on words and word pairs, trained on gold, each example predicted by a fold that has seen no
    example of its group. Raises SettingError where a fold would have nothing to tell apart.
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
