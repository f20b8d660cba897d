"""Labels as rows to train on, with the field names that trl and its like read. They never hold gold.

    sft          {"prompt": the rendered template, "completion": " True"}
    preference   {"prompt": the query or question, "chosen": ..., "rejected": ...}

A pair and its swapped twin are one judgement and give one row: the original's, or the twin's where only that is
labelled. Where the two contradict each other, neither is used. Everything left out is counted.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from icm_engine.core.labeling import Example, Label, Task
from icm_engine.core.prompting import label_text, render

Row = dict[str, Any]  # texts by field name
Labelled = Iterable[tuple[Example, Label | None]]  # every example in data set order, None where it has no label
Preferences = Callable[[Task, Labelled, Counter[str]], Iterator[Row]]

# why a judgement gives no row
UNLABELLED = "unlabelled"  # an example, or a pair of twins, that the run has not labelled
CONTRADICTING = "contradicting_twins"  # "A over B" and "B over A" have the same label
IDENTICAL = "identical_texts"  # chosen and rejected would be the same
ONE_SIDED = "one_sided_claims"  # every labelled claim of the question has the same label


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Rows to train on, and how many judgements gave none, by reason."""

    rows: tuple[Row, ...]
    left_out: Mapping[str, int]


def sft_rows(task: Task, labelled: Labelled) -> TrainingSet:
    """Return prompts, each the rendered template, with completions, each the label after one space."""
    left_out = Counter({UNLABELLED: 0, CONTRADICTING: 0})
    rows: list[Row] = [
        {"prompt": render(task, example), "completion": label_text(label)}
        for example, label in judgements(labelled, left_out)
    ]
    return TrainingSet(tuple(rows), left_out)


def preference_rows(task: Task, labelled: Labelled, pairs: Preferences) -> TrainingSet:
    """Return chosen and rejected texts of what `preferences_of` gave: pairs of responses, or claims of a question.

    Of claims, one labelled True is chosen over one labelled False; each claim of a question that has both is in a
    row, and there are as many rows as its larger side has claims. Without a query there is no "prompt".
    """
    left_out = Counter({UNLABELLED: 0, CONTRADICTING: 0} if pairs is _of_pairs else {UNLABELLED: 0, ONE_SIDED: 0})
    found = list(pairs(task, labelled, left_out))
    rows = tuple(row for row in found if row["chosen"] != row["rejected"])
    left_out[IDENTICAL] = len(found) - len(rows)
    return TrainingSet(rows, left_out)


def preferences_of(task: Task, fields: Iterable[str]) -> Preferences | None:
    """Return how examples with these fields become preferences; None if they do not."""
    known = set(fields)
    if len(task.labels) != 2:
        return None
    if {"response_a", "response_b"} <= known:
        return _of_pairs
    return _of_claims if {"question", "claim"} <= known else None


def judgements(labelled: Labelled, left_out: Counter[str]) -> Iterator[tuple[Example, Label]]:
    """Every labelled example, a pair and its twin as one; counts those that say nothing or contradict each other."""
    judged: dict[str, list[tuple[Example, Label]]] = {}
    for example, label in labelled:
        left_out[UNLABELLED] += example.twin_of is None  # every judgement, less those below
        if label is not None:
            judged.setdefault(example.twin_of or example.id, []).append((example, label))
    left_out[UNLABELLED] -= len(judged)
    for said in judged.values():
        if len(said) == 2 and said[0][1] == said[1][1]:  # both orders cannot be True, nor both False
            left_out[CONTRADICTING] += 1
        else:
            yield said[0]


def _of_pairs(task: Task, labelled: Labelled, left_out: Counter[str]) -> Iterator[Row]:
    for example, label in judgements(labelled, left_out):
        a, b = example.fields["response_a"], example.fields["response_b"]
        chosen, rejected = (a, b) if label == task.true_label else (b, a)
        prompt = {"prompt": example.fields["query"]} if "query" in example.fields else {}
        yield {**prompt, "chosen": chosen, "rejected": rejected}


def _of_claims(task: Task, labelled: Labelled, left_out: Counter[str]) -> Iterator[Row]:
    questions: dict[str, tuple[list[str], list[str]]] = {}
    for example, label in judgements(labelled, left_out):
        true, false = questions.setdefault(example.fields["question"], ([], []))
        (true if label == task.true_label else false).append(example.fields["claim"])
    for question, (true, false) in questions.items():
        if not true or not false:
            left_out[ONE_SIDED] += len(true) + len(false)
            continue
        for k in range(max(len(true), len(false))):  # the shorter side goes round
            yield {"prompt": question, "chosen": true[k % len(true)], "rejected": false[k % len(false)]}
