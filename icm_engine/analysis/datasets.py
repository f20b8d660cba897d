"""Read models of data sets: the list, one page of examples, what a rule yields, the examples of a run as one table.

The table has labels, margins, flips, conflicts, human labels and gold, with filters and orders. Of the others, only
`rule_findings` reads a whole data set.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from icm_engine.analysis.formatting import MANY, decimal, escaped, one_line, percent
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import example_text
from icm_engine.core.consistency import Asymmetry
from icm_engine.core.custom_rules import is_reference, rule_title
from icm_engine.core.labeling import Example, Label
from icm_engine.core.prompting import render
from icm_engine.data.gold import agreement, gold_of, human_of, load_human, majority
from icm_engine.data.rule_check import RuleCheck, check_rule
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.store.datasets import DatasetInfo  # re-exported for pages
from icm_engine.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

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


# -- the examples of a run as one table

TEXT = 160  # characters of a text in the table


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """One example; `margin` and `probability` are its label's, given all others, None if unlabelled."""

    place: int
    example: str  # id
    label: Label | None
    probability: float | None
    margin: float | None
    flips: int
    last_change: int | None  # step
    conflicts: int  # inconsistent pairs now
    pinned: bool
    gold: Label | None
    read_at: int | None = None  # step at which the scores were read; only with sampled terms


Keep = Callable[[ExampleRow], bool]
FILTERS: dict[str, Keep] = {
    "All examples": lambda row: True,
    "Labelled": lambda row: row.label is not None,
    "Unlabelled": lambda row: row.label is None,
    "In conflict": lambda row: row.conflicts > 0,
    "Flipped": lambda row: row.flips > 0,
    "Pinned": lambda row: row.pinned,
    "Model prefers another label": lambda row: row.margin is not None and row.margin < 0,
    "Differs from gold": lambda row: row.gold is not None and row.label is not None and row.label != row.gold,
}
SORTS: dict[str, Callable[[ExampleRow], tuple[bool, float]]] = {  # missing values come last
    "Data set order": lambda row: (False, row.place),
    "Lowest margin": lambda row: (row.margin is None, row.margin or 0.0),
    "Most flips": lambda row: (False, -row.flips),
    "Most conflicts": lambda row: (False, -row.conflicts),
    "Latest change": lambda row: (row.last_change is None, -(row.last_change or 0)),
}


MOST = 20_000  # maximum number of listed examples; a larger run shows the labelled ones and the first of the others


def example_rows(reading: Reading, wanted: str, words: str, order: str) -> list[ExampleRow]:
    """Return the rows of a filter (or `Label NAME`) with `words` in their text or id, in this order."""
    keep = FILTERS.get(wanted) or (lambda row: row.label == wanted.removeprefix("Label "))
    sought = words.strip().casefold()
    found = [row for row in _rows(reading) if keep(row) and (not sought or _contains(reading, row, sought))]
    return sorted(found, key=SORTS[order])


def _contains(reading: Reading, row: ExampleRow, sought: str) -> bool:
    return sought in row.example.casefold() or sought in example_text(reading, row.place).casefold()


def _rows(reading: Reading) -> Iterator[ExampleRow]:
    state, labels = reading.state, reading.tally.labels
    scores = state.evaluation.scores if state else {}
    conflicts = Counter(i for pair in (state.evaluation.pairs if state else ()) for i in pair)
    ids = reading.run.codec.ids
    for i in sorted({*range(min(len(ids), MOST)), *reading.labeling}):
        label, change = reading.labeling.get(i), reading.changes.get(i)
        yield ExampleRow(
            i,
            ids[i],
            label,
            reading.probability(i),
            scores[i].margin(labels.index(label)) if label is not None and i in scores else None,
            change.flips if change else 0,
            change.last if change else None,
            conflicts[i],
            i in reading.pins,
            reading.gold.get(ids[i]),
            state.read_at.get(i) if state else None,
        )


def human_labels(store: Store, reading: Reading, rows: Sequence[ExampleRow]) -> dict[str, dict[str, Label]]:
    """Return the human labels of these examples, by source and id; none while the run is annotated blind."""
    if reading.blind or reading.withheld or not rows:
        return {}
    return human_of(store, reading.run.dataset.name, [row.example for row in rows])


def examples_frame(
    reading: Reading, rows: Sequence[ExampleRow], human: Mapping[str, Mapping[str, Label]]
) -> "pd.DataFrame":
    """Return the rows as a table, text and labels first; columns without any value are left out."""
    import pandas as pd  # imported late: commands use the rest of this file

    columns = [
        {
            "text": one_line(example_text(reading, row.place), TEXT),
            "label": row.label,
            "gold": row.gold,
            **{f"human: {source}": labels.get(row.example) for source, labels in human.items()},
            "probability": row.probability,
            "margin": row.margin,
            "scored at step": row.read_at,
            "flips": row.flips,
            "conflicts": row.conflicts,
            "last change": row.last_change,
            "pinned": "pinned" if row.pinned else None,
            "example": row.example,
        }
        for row in rows
    ]
    frame = pd.DataFrame(columns)
    return frame.dropna(axis=1, how="all") if len(frame) else frame
