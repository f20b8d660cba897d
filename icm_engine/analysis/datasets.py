"""Read models of data sets: the list, one page of examples, and what a rule yields.

Only `rule_findings` reads a whole data set.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from icm_engine.analysis.formatting import MANY, decimal, escaped, percent
from icm_engine.core.consistency import Asymmetry
from icm_engine.core.custom_rules import is_reference, rule_title
from icm_engine.core.labeling import Example, Label
from icm_engine.core.prompting import render
from icm_engine.data.gold import agreement, gold_of, load_human, majority
from icm_engine.data.rule_check import RuleCheck, check_rule
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.store.datasets import DatasetInfo  # re-exported for pages
from icm_engine.store.store import Store

PAGE = 10  # examples on one page
QUICK = 6_000  # up to this many examples, a rule is checked without a request
CONSTANTS = "Without a rule, only the model prevents label collapse: watch the label balance."


@dataclass(frozen=True, slots=True)
class DatasetLine:
    """One line in the list of data sets."""

    name: str
    about: str
    examples: int
    groups: int
    gold: int
    human: int
    runs: int

    @property
    def label(self) -> str:
        """The name as a link text, escaped for Streamlit's Markdown."""
        return escaped(self.name)


def lines(store: Store) -> list[DatasetLine]:
    """Return all data sets, most recently imported first."""
    used = dict(store.db.execute("select json_extract(spec, '$.dataset'), count(*) from runs group by 1").fetchall())
    return [_line(store, name, used.get(name, 0)) for name in store.dataset_names()[::-1]]


def samples(store: Store) -> dict[str, str]:
    """Return the sample data sets not imported yet, each with a description."""
    stored = set(store.dataset_names())
    return {name: about for name, about in SAMPLE_DATASETS.items() if name not in stored}


def _line(store: Store, name: str, runs: int) -> DatasetLine:
    info = store.dataset_info(name)
    about = f"{info.task.name} · rule {rule_title(info.task.rule)} · from {info.source}"
    return DatasetLine(name, about, info.examples, info.groups, info.gold, info.human, runs)


@dataclass(frozen=True, slots=True)
class ExampleLine:
    """One example on a page of examples."""

    position: int
    example: Example
    gold: Label | None


def example_pages(examples: int) -> int:
    """Return the number of pages for this many examples, at least one.

    >>> example_pages(0), example_pages(10), example_pages(11)
    (1, 1, 2)
    """
    return max(1, -(-examples // PAGE))


def example_page(store: Store, dataset: str, page: int) -> list[ExampleLine]:
    """Return the examples of one page, counted from 1, reading nothing else. Raises NotFound."""
    examples = store.dataset_info(dataset).examples
    first = (page - 1) * PAGE
    found = store.examples_at(dataset, range(first, min(first + PAGE, examples)))
    gold = gold_of(store, dataset, [example.id for example in found])
    return [ExampleLine(first + k, example, gold.get(example.id)) for k, example in enumerate(found)]


def zero_shot(store: Store, dataset: str, example: Example) -> str:
    """Return the example as a zero-shot prompt, up to its label."""
    return render(store.dataset_info(dataset).task, example)


def rule_findings(store: Store, dataset: str) -> RuleCheck:
    """Return what the data set's own rule yields; reads every example once."""
    return check_rule(store, dataset)


def runs_code(info: DatasetInfo) -> bool:
    """Say whether the rule is a custom file, which pages never run."""
    return is_reference(info.task.rule)


def facts(info: DatasetInfo) -> str:
    """Describe a data set in one line; many labels are counted."""
    task = info.task
    labels = f"{len(task.labels)} labels" if len(task.labels) > MANY else f"labels {', '.join(task.labels)}"
    parts = (task.name, f"rule {rule_title(task.rule)}", labels, f"from {info.source}")
    return " · ".join(parts)


def human_sentences(store: Store, dataset: str) -> list[str]:
    """Describe the human labels and their agreement; reads every human label once."""
    human = load_human(store, dataset)
    said = ", ".join(f"{len(labels.labels):,} by {source}" for source, labels in human.items())
    if len(human) < 2:
        return [f"Human labels: {said}."]
    clear, agreed = majority(human), agreement(human)
    lines = [
        f"Human labels: {said}. The majority is clear for {_examples(len(clear.labels))}, and tied for "
        f"{_examples(len(clear.ties))}."
    ]
    if agreed.share is not None:
        alpha = "" if agreed.alpha is None else f", Krippendorff's alpha is {decimal(agreed.alpha, 2)}"
        lines.append(f"Two labels of one example agree in {percent(agreed.share)} of {agreed.pairs:,} pairs{alpha}.")
    return lines


def rule_sentences(check: RuleCheck) -> list[str]:
    """Describe what a rule yields, one sentence per fact."""
    if check.rule == "none":
        return ["No rule constrains the labels: nothing can be inconsistent.", CONSTANTS]
    lines = [f"The rule {check.rule} ties {check.pairs:,} pairs together, in {check.groups:,} groups."]
    if not check.pairs:
        lines = [f"The rule {check.rule} constrains no pair, so it has no effect.", CONSTANTS]
    if not check.twins:
        lines.append(Asymmetry.WITHOUT_TWINS)
    if check.without_answer_count:
        lines.append(
            f"No final answer was found in {_examples(check.without_answer_count)}, about which the rule says nothing "
            f"({_several(check.without_answer)})."
        )
    return [*lines, *_gold_sentences(check)]


def _gold_sentences(check: RuleCheck) -> list[str]:
    lines = []
    if check.gold_violated:
        lines.append(
            f"Gold itself violates the rule in {check.gold_violated:,} of {check.gold_pairs:,} pairs "
            f"({check.gold_violated / check.gold_pairs:.1%}), in {check.gold_groups_violated:,} of "
            f"{check.gold_groups:,} groups, where the rule works against the truth."
        )
    elif check.gold_pairs:
        lines.append(f"Gold never violates the rule, in {check.gold_pairs:,} pairs that have gold.")
    if check.gold_groups_unchecked:
        lines.append(f"{check.gold_groups_unchecked:,} groups are too large to check gold against every pair.")
    return lines


def _examples(count: int) -> str:
    return f"{count:,} example{'' if count == 1 else 's'}"


def _several(ids: Sequence[str], shown: int = 5) -> str:
    return ", ".join(ids[:shown]) + (", …" if len(ids) > shown else "")
