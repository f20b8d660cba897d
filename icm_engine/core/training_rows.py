"""Labels and rewards as training rows, and a single response in a template's format. Never gold.

    sft          {"prompt": the rendered template, "completion": " True"}
    preference   {"prompt": the query or question, "chosen": ..., "rejected": ...}

A pair and its swapped twin are one judgement and give one row: the original's, or the twin's if only that is labelled.
If the two contradict each other, neither is used. Everything left out is counted.

The part of the template before the first response (or the claim) is the prompt; the part after it, up to the next
field, ends the response:

    Query: {query}\\nResponse A: {response_a}\\nResponse B: {response_b} ...
    prompt "Query: {query}\\nResponse A:"    response " {response_a}"    after "\\nResponse B: "

So a response has the same tokens here as in the prompts of a search, and a base model knows where it ends: at the line
break that follows it in the template.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Label, Task
from icm_engine.core.prompting import FIELD, label_text, render, without_lines

Row = dict[str, Any]  # texts by field name
Labelled = Iterable[tuple[Example, Label | None]]  # every example in data set order, None where it has no label
Preferences = Callable[[Task, Labelled, Counter[str]], Iterator[Row]]

# why a judgement gives no row
UNLABELLED = "unlabelled"  # an example, or a pair with its twin, without a label
CONTRADICTING = "contradicting_twins"  # "A over B" and "B over A" have the same label
IDENTICAL = "identical_texts"  # chosen and rejected would be the same
ONE_SIDED = "one_sided_claims"  # every labelled claim of the question has the same label


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Training rows, and how many judgements gave none, by reason."""

    rows: tuple[Row, ...]
    left_out: Mapping[str, int]


def sft_rows(task: Task, labelled: Labelled) -> TrainingSet:
    """Return one row per label: the rendered template as prompt, the label after one space as completion."""
    left_out = Counter({UNLABELLED: 0, CONTRADICTING: 0})
    rows: list[Row] = [
        {"prompt": render(task, example), "completion": label_text(label)}
        for example, label in judgements(labelled, left_out)
    ]
    return TrainingSet(tuple(rows), left_out)


def preference_rows(task: Task, labelled: Labelled, pairs: Preferences) -> TrainingSet:
    """Return chosen and rejected texts of the result of `preferences_of`: pairs, or claims about a question.

    Among claims, one labelled True is chosen over one labelled False; each claim of a question that has both is used,
    in as many rows as its larger side has claims. Without a query there is no "prompt".
    """
    left_out = Counter({UNLABELLED: 0, CONTRADICTING: 0} if pairs is _of_pairs else {UNLABELLED: 0, ONE_SIDED: 0})
    found = list(pairs(task, labelled, left_out))
    rows = tuple(row for row in found if row["chosen"] != row["rejected"])
    left_out[IDENTICAL] = len(found) - len(rows)
    return TrainingSet(rows, left_out)


def preferences_of(task: Task, fields: Iterable[str]) -> Preferences | None:
    """Return how examples with these fields become preferences; None if they cannot."""
    known = set(fields)
    if len(task.labels) != 2:
        return None
    if {"response_a", "response_b"} <= known:
        return _of_pairs
    return _of_claims if {"question", "claim"} <= known else None


def judgements(labelled: Labelled, left_out: Counter[str]) -> Iterator[tuple[Example, Label]]:
    """Every labelled example, a pair and its twin as one; counts those that are unlabelled or contradict each other."""
    judged: dict[str, list[tuple[Example, Label]]] = {}
    for example, label in labelled:
        left_out[UNLABELLED] += example.twin_of is None  # every judgement, minus those below
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
        for k in range(max(len(true), len(false))):  # the shorter side repeats
            yield {"prompt": question, "chosen": true[k % len(true)], "rejected": false[k % len(false)]}


THOUGHT = "Thought:"
PAIR = ("response_a", "response_b")
CLAIM = ("claim",)
_ASKING = {PAIR[0]: "query", CLAIM[0]: "question"}


@dataclass(frozen=True, slots=True)
class Form:
    """How a task formats responses: the template before them, the separator, what follows, and the fields."""

    before: str
    lead: str
    after: str
    answered: tuple[str, ...]  # (response_a, response_b), or (claim,)
    asking: str  # the field that a prompt is filled with; empty if the template names none

    def prompt(self, asked: str) -> str:
        """Return the prompt for a query or question; an empty one removes its lines.

        >>> Form("Query: {query}\\nResponse A:", " ", "", ("response_a", "response_b"), "query").prompt("")
        'Response A:'
        """
        field, before = f"{{{self.asking}}}", self.before
        if not asked and field not in before.rpartition("\n")[2]:
            before = without_lines(before, [field])
        return FIELD.sub(lambda _: asked, before)

    def asked(self, example: Example) -> str:
        """Return the query or question of an example; empty if the template has none."""
        return example.fields[self.asking] if self.asking else ""

    def responses(self, example: Example) -> tuple[str, ...]:
        """Return the responses of an example: two of a pair, or the claim."""
        return tuple(example.fields[name] for name in self.answered)

    @property
    def ends_with_a_line(self) -> bool:
        """Whether a response ends at a line break, so that a policy can end one."""
        return self.after.startswith("\n")

    def thinking(self) -> "Form":
        """Return the form in which a response begins with a line of thought. Raises SettingError.

        >>> form = Form("Question: {question}\\nClaim:", " ", "\\n", CLAIM, "question").thinking()
        >>> form.prompt("What is 1 + 1?"), form.lead
        ('Question: What is 1 + 1?\\nThought:', ' ')
        """
        head, line, cue = self.before.rpartition("\n")
        if not line or FIELD.search(cue):
            raise SettingError(
                f"the template has no line of its own for the response ({self.before!r}): a thought needs one before it"
            )
        return replace(self, before=f"{head}\n{THOUGHT}", lead=" ")

    def thought_through(self, thought: str, response: str = "") -> str:
        """Return a thought and what follows it, as one text in the form `thinking`; without a response, up to it.

        >>> Form("Question: {question}\\nClaim:", " ", "\\n", CLAIM, "question").thought_through("Add.", "It is 2.")
        'Add.\\nClaim: It is 2.'
        """
        cue = self.before.rpartition("\n")[2]
        return f"{thought}\n{cue}{self.lead}{response}" if response else f"{thought}\n{cue}"


def form_of(task: Task) -> Form:
    """Return how a task formats a single response. Raises SettingError.

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
    return Form(
        shown, before[len(shown) :], FIELD.split(rest, maxsplit=1)[0], answered, asking if FIELD.search(before) else ""
    )


TIED = "tied_rewards"  # two responses that the reward model cannot tell apart
RewardedExamples = Iterable[tuple[Example, Sequence[float]]]  # examples with a reward for each of their responses


def judged_examples(examples: Iterable[Example]) -> list[Example]:
    """Return the examples that are judgements of their own; a twin adds nothing to its pair."""
    return [example for example in examples if example.twin_of is None]


def ranked_rows(form: Form, scored: RewardedExamples) -> TrainingSet:
    """Return preference rows in which the response with the higher reward is chosen.

    A pair of responses gives one row. Among a question's claims the highest reward is chosen over the lowest; a reward
    model trained on one pair per question has little to say about the others.
    """
    left_out, rows = Counter({TIED: 0, IDENTICAL: 0}), list[Row]()
    for asked, (best, high), (worst, low) in _extremes(form, scored):
        if best == worst:
            left_out[IDENTICAL] += 1
        elif high == low:
            left_out[TIED] += 1
        else:
            rows.append({**({"prompt": asked} if form.asking else {}), "chosen": best, "rejected": worst})
    return TrainingSet(tuple(rows), left_out)


def _extremes(form: Form, scored: RewardedExamples) -> Iterator[tuple[str, tuple[str, float], tuple[str, float]]]:
    """The best and the worst response of each pair or question; of equals the first and the last."""
    groups: dict[str, list[tuple[str, float]]] = {}
    asked: dict[str, str] = {}
    for example, rewards in scored:
        key = form.asked(example) if form.answered == CLAIM else example.id
        asked[key] = form.asked(example)
        groups.setdefault(key, []).extend(zip(form.responses(example), rewards, strict=True))
    for key, found in groups.items():
        if len(found) > 1:
            ordered = sorted(found, key=lambda one: -one[1])
            yield asked[key], ordered[0], ordered[-1]
