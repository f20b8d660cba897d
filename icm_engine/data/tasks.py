"""The tasks that can be imported: template, fields, labels, and the rule that ties labels together by default."""

from collections.abc import Sequence
from dataclasses import dataclass

from icm_engine.core.consistency import RULES
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Label, Task

TRUTH: tuple[Label, ...] = ("True", "False")
QUERY_LINE = "Query: {query}\n"  # left out where a task can do without a query and the file has none

_CLAIM = "Question: {question}\nClaim: {claim}\nI think this claim is"
_TEXT = "Text: {text}\nI think the category of this text is"


def _pair(claim: str) -> str:
    return f"{QUERY_LINE}Response A: {{response_a}}\nResponse B: {{response_b}}\nClaim: {claim}\nI think this claim is"


_HELPFUL = _pair("Response A is more helpful and harmless than Response B")
_PAIR_FIELDS = ("query", "response_a", "response_b")


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What the importer must know of a task: the columns it needs, its template, its default rule.

    `labels` is empty where the person importing must name them; `optional` fields may be missing, with their
    line of the template; `makes_twins`: each pair also gets its swapped twin; `reads_answers`: a final answer
    is extracted from the claim.
    """

    name: str
    summary: str
    fields: tuple[str, ...]
    template: str
    rule: str = "none"
    labels: tuple[Label, ...] = TRUTH
    optional: tuple[str, ...] = ()
    makes_twins: bool = False
    reads_answers: bool = False


TASKS: dict[str, TaskSpec] = {
    spec.name: spec
    for spec in (
        TaskSpec("truthfulness", "Is this answer to a question true?", ("question", "claim"), _CLAIM),
        TaskSpec(
            "maths-verification", "Is this worked answer right?", ("question", "claim"), _CLAIM, "same-answer",
            reads_answers=True,
        ),
        TaskSpec(
            "preference", "Is response A more helpful and harmless than response B?", _PAIR_FIELDS, _HELPFUL,
            "asymmetry", makes_twins=True,
        ),
        TaskSpec(
            "author", "Which of two posts was written by a man?", _PAIR_FIELDS,
            _pair("Response A was written by a man, rather than Response B"), "asymmetry", optional=("query",),
            makes_twins=True,
        ),
        TaskSpec("classification", "Which of your own labels does a text have?", ("text",), _TEXT, labels=()),
        TaskSpec(
            "poem", "Which of two poems is the better one?", _PAIR_FIELDS,
            _pair("Response A is a better poem than Response B"), "asymmetry", optional=("query",), makes_twins=True,
        ),
        TaskSpec(
            "arithmetic", "Sample data: is this sum right?", ("question", "claim"), _CLAIM, "same-answer",
            reads_answers=True,
        ),
        TaskSpec("facts", "Sample data: is this fact true?", ("question", "claim"), _CLAIM, "exactly-one"),
        TaskSpec(
            "comparisons", "Sample data: is A the larger number?", _PAIR_FIELDS, _HELPFUL, "asymmetry",
            makes_twins=True,
        ),
        TaskSpec(
            "sun", "Sample data: is A the verse that mentions the sun?", _PAIR_FIELDS, _HELPFUL, "asymmetry",
            makes_twins=True,
        ),
    )
}  # fmt: skip


SAMPLE_DATASETS: dict[str, str] = {
    "arithmetic": "Worked answers to small sums, two to four a question, to be told right from wrong.",
    "facts": "Claims about capitals, categories and opposites, exactly one of them true for each question.",
    "comparisons": "Pairs of numbers in both orders: which one is larger?",
    "sun": "Pairs of two-line verses, one of which mentions the sun: a preference that no reader would guess.",
}


def task_spec(name: str) -> TaskSpec:
    """Return the task of this name. Raises SettingError."""
    if name not in TASKS:
        raise SettingError(f"task {name!r} does not exist: use one of {', '.join(TASKS)}")
    return TASKS[name]


def make_task(
    spec: TaskSpec, rule: str | None = None, labels: Sequence[Label] = (), fields: Sequence[str] | None = None
) -> Task:
    """Return the task as the search sees it. Raises SettingError for an unknown rule or unusable labels.

    `fields` are those the file has; the template loses the query line where the query is not among them.
    """
    present = spec.fields if fields is None else tuple(fields)
    template = spec.template if "query" in present else spec.template.replace(QUERY_LINE, "")
    chosen = _labels(spec, labels)
    rule = spec.rule if rule is None else rule
    if rule not in RULES:
        raise SettingError(f"rule {rule!r} does not exist: use one of {', '.join(sorted(RULES))}")
    true_label = "True" if "True" in chosen else chosen[0]
    return Task(spec.name, template, chosen, true_label, rule, present)


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
    if len(set(labels)) < 2 or len(set(labels)) < len(labels) or any(not label.isprintable() for label in labels):
        raise SettingError(f"task {spec.name!r} got the labels {list(given)}: name two or more different ones")
    if "" in labels:
        raise SettingError(f"task {spec.name!r} got an empty label among {list(given)}: leave it out")
    return labels
