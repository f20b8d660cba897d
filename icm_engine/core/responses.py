"""A response by itself, in the words of a task's template: what a policy writes and a reward model reads.

Of the template, what stands before the first response (or the claim) is the prompt, and what follows it, up to the
next field, ends it:

    Query: {query}\nResponse A: {response_a}\nResponse B: {response_b} ...
    prompt "Query: {query}\nResponse A:"    response " {response_a}"    after "\nResponse B: "

So a response is the same tokens here as in the prompts of a search, and a model that continues texts knows where it
ends: at the line break with which the template goes on.
"""

from dataclasses import dataclass

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Task
from icm_engine.core.prompting import FIELD, without_lines

PAIR = ("response_a", "response_b")
CLAIM = ("claim",)
_ASKING = {PAIR[0]: "query", CLAIM[0]: "question"}


@dataclass(frozen=True, slots=True)
class Form:
    """How a task's responses are put: the template before them, what separates, what follows, and the fields."""

    before: str
    lead: str
    after: str
    answered: tuple[str, ...]  # (response_a, response_b), or (claim,)
    asking: str  # the field that a prompt is filled with; empty if the template names none

    def prompt(self, asked: str) -> str:
        """Return the prompt for a query or a question; an empty one takes its lines along.

        >>> Form("Query: {query}\\nResponse A:", " ", "", ("response_a", "response_b"), "query").prompt("")
        'Response A:'
        """
        field, before = f"{{{self.asking}}}", self.before
        if not asked and field not in before.rpartition("\n")[2]:
            before = without_lines(before, [field])
        return FIELD.sub(lambda _: asked, before)

    def asked(self, example: Example) -> str:
        """Return the query or question of an example, empty if the template has none."""
        return example.fields[self.asking] if self.asking else ""

    def responses(self, example: Example) -> tuple[str, ...]:
        """Return the responses of an example: two of a pair, or the claim."""
        return tuple(example.fields[name] for name in self.answered)

    @property
    def ends_with_a_line(self) -> bool:
        """Whether a response ends with its line, so that a policy can end one."""
        return self.after.startswith("\n")


def form_of(task: Task) -> Form:
    """Return how the responses of a task stand by themselves. Raises SettingError.

    >>> form = form_of(Task("facts", "Question: {question}\\nClaim: {claim}\\nI think this claim is"))
    >>> form.prompt("What is 1 + 1?"), form.lead, form.after
    ('Question: What is 1 + 1?\\nClaim:', ' ', '\\nI think this claim is')
    """
    known = set(task.fields or FIELD.findall(task.template))
    answered = PAIR if known >= set(PAIR) else CLAIM if known >= {"question", *CLAIM} else None
    if answered is None or len(task.labels) != 2:
        raise SettingError(
            f"task {task.name!r} has fields {', '.join(sorted(known))} and {len(task.labels)} labels: rewards and "
            "policies need two labels, and pairs of responses or questions with claims"
        )
    before, found, rest = task.template.partition(f"{{{answered[0]}}}")
    asking = _ASKING[answered[0]] if _ASKING[answered[0]] in known else ""
    if not found or set(FIELD.findall(before)) - {asking}:
        raise SettingError(
            f"template of task {task.name!r} shows more than {asking or 'fixed words'} before "
            f"{{{answered[0]}}}: a response by itself needs a template with nothing else there"
        )
    shown = before.rstrip(" ")
    return Form(shown, before[len(shown) :], FIELD.split(rest, maxsplit=1)[0], answered,
                asking if FIELD.search(before) else "")  # fmt: skip
