"""What the importer must know of a task, and the task that the search sees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from icm_engine.core.consistency import RULES
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Label, Task
from icm_engine.core.own_rules import is_reference
from icm_engine.core.prompting import without_lines
from icm_engine.data.answers import AnswerReader

RESERVED = ("group", "answer", "id", "gold", "human")  # fields of every task, none of which is in a template
TRUTH: tuple[Label, ...] = ("True", "False")


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """The columns a task needs, its template, its labels, its default rule.

    `labels` is empty where the person importing must name them; `optional` fields may be missing, with their
    lines of the template; `makes_twins`: each pair also gets its swapped twin; `answer` says how final answers are
    read; `columns` are further names of columns by field.
    """

    name: str
    summary: str
    template: str
    fields: tuple[str, ...]
    labels: tuple[Label, ...] = TRUTH
    true_label: Label | None = None
    rule: str = "none"
    optional: tuple[str, ...] = ()
    makes_twins: bool = False
    answer: AnswerReader | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def make_task(
    spec: TaskSpec, rule: str | None = None, labels: Sequence[Label] = (), fields: Sequence[str] | None = None
) -> Task:
    """Return the task as the search sees it. Raises SettingError for an unknown rule or unusable labels.

    `fields` are those the file has; the template loses the lines of those it does not have.
    """
    present = spec.fields if fields is None else tuple(fields)
    chosen = _labels(spec, labels)
    rule = spec.rule if rule is None else rule
    if rule not in RULES and not is_reference(rule):
        raise SettingError(f"rule {rule!r} does not exist: use one of {', '.join(sorted(RULES))}")
    return Task(spec.name, _without(spec, present), chosen, true_label(spec, chosen), rule, present)


def true_label(spec: TaskSpec, labels: Sequence[Label]) -> Label:
    """Return the label that the rules mean by "True": the task's, else True, else the first."""
    if spec.true_label is not None:
        return spec.true_label
    return "True" if "True" in labels else labels[0]


def check_labels(labels: Sequence[Label], whose: str) -> None:
    """Raise SettingError unless these are two or more different labels that can be seen."""
    if "" in labels:
        raise SettingError(f"{whose} got an empty label among {list(labels)}: leave it out")
    odd = any(label != label.strip() or not label.isprintable() for label in labels)
    if len(set(labels)) < 2 or len(set(labels)) < len(labels) or odd:
        raise SettingError(f"{whose} got the labels {list(labels)}: name two or more different ones")
    if len({"".join(label.split()).casefold() for label in labels}) < len(labels):
        raise SettingError(
            f"{whose} got the labels {list(labels)}, of which two differ in case or blanks alone: rename one"
        )


def _without(spec: TaskSpec, present: Sequence[str]) -> str:
    """The template without the lines of missing fields."""
    return without_lines(spec.template, [f"{{{name}}}" for name in spec.fields if name not in present])


def _labels(spec: TaskSpec, given: Sequence[Label]) -> tuple[Label, ...]:
    """The labels of the task, or those given for a task that has none of its own."""
    if spec.labels:
        if given and tuple(given) != spec.labels:
            raise SettingError(
                f"task {spec.name!r} has the labels {', '.join(spec.labels)}, not {', '.join(given)}: "
                "use task classification for labels of your own"
            )
        return spec.labels
    labels = tuple(label.strip() for label in given)
    check_labels(labels, f"task {spec.name!r}")
    return labels
