"""From examples and labels to prompts: the template, the segments, and the order of demonstrations.

A prompt is a sequence of *segments*, each a tuple of text pieces that are tokenised one by one: a demonstration
is (text, " True", blank line) and the query is (text,), so that the same example is the same tokens in both.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Label, Labeling, Task

Segment = tuple[str, ...]
Order = tuple[int, ...]
SEPARATOR = "\n\n"
FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """Demonstrations and, last, the query; `labels` are the strings whose log-probability is wanted.

    `lead` stands between the query and a label. A `whole` text brings its own beginning and control tokens, as a chat
    template does, so no beginning-of-sequence token is added; in its part `user` nothing is read as a control token.
    A scorer may keep the first `kept` segments encoded from call to call.
    """

    segments: tuple[Segment, ...]
    labels: tuple[Label, ...]
    lead: str = " "
    whole: bool = False
    user: str = ""
    kept: int = 0

    @property
    def text(self) -> str:
        """The prompt as the model reads it, up to the label."""
        return "".join(chain.from_iterable(self.segments))


def label_text(label: Label) -> str:
    """Return the label as it follows the query: one leading space, none trailing."""
    return f" {label}"


def render(task: Task, example: Example) -> str:
    """Fill the task's template with the example's fields, up to but excluding the label. Raises SettingError.

    An empty field removes its line of the template; only optional fields can be empty.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in example.fields:
            raise SettingError(
                f"example {example.id!r} has no field {match[1]!r}, which the template of task {task.name!r} "
                f"needs; it has {', '.join(sorted(example.fields))}: map a column to it"
            )
        return example.fields[match[1]]

    empty = {f"{{{name}}}" for name, text in example.fields.items() if not text}
    return FIELD.sub(value, without_lines(task.template, empty) if empty else task.template)


def without_lines(template: str, fields: Iterable[str]) -> str:
    """Return a template without the lines that contain one of these fields, written in braces.

    >>> without_lines("Query: {query}\\nAnswer: {answer}\\nThis is", {"{query}"})
    'Answer: {answer}\\nThis is'
    """
    lines = re.split(r"(?<=\n)", template)
    kept = [line for line in lines if not any(field in line for field in fields)]
    return "".join(kept) if kept == lines else "".join(kept).rstrip("\n")


def demonstration(text: str, label: Label) -> Segment:
    """Return one labelled example as a segment."""
    return (text, label_text(label), SEPARATOR)


def query_prompt(task: Task, examples: Sequence[Example], labeling: Labeling, i: int) -> Prompt:
    """Return the prompt for example i, with every other labelled example before it in slot order.

    The example's own label is not in its context (Algorithm 1, line 6).
    """
    demonstrations = tuple(demonstration(render(task, examples[j]), y) for j, y in labeling.items() if j != i)
    return Prompt((*demonstrations, (render(task, examples[i]),)), task.labels)


def leave_one_out_prompts(
    task: Task, examples: Sequence[Example], labelings: Sequence[Labeling]
) -> list[dict[int, Prompt]]:
    """Return, for each labeling, one prompt per labelled example with every other one shown exactly once.

    Orders share prefixes, so about n*log2(n) distinct demonstrations are encoded. Examples with one label in all
    labelings share a common order and those that differ come last, so several labelings share a walk.
    """
    slots = tuple(dict.fromkeys(i for labeling in labelings for i in labeling))
    common = tuple(i for i in slots if len({labeling.get(i) for labeling in labelings}) == 1)
    changed = tuple(i for i in slots if len({labeling.get(i) for labeling in labelings}) > 1)
    contexts = dict(leave_one_out_orders(common)) | dict.fromkeys(changed, common)
    texts = {i: render(task, examples[i]) for i in slots}
    return [_prompts(task, labeling, contexts, changed, texts) for labeling in labelings]


def _prompts(
    task: Task, labeling: Labeling, contexts: Mapping[int, Order], changed: Order, texts: Mapping[int, str]
) -> dict[int, Prompt]:
    shown = {i: demonstration(texts[i], y) for i, y in labeling.items()}
    return {
        i: Prompt(
            (*(shown[j] for j in context), *(shown[j] for j in changed if j != i and j in shown), (texts[i],)),
            task.labels,
        )
        for i, context in contexts.items()
        if i in shown
    }


def leave_one_out_prompt(task: Task, examples: Sequence[Example], labeling: Labeling, i: int) -> Prompt:
    """Return a labeling's leave-one-out prompt for example i."""
    order = leave_one_out_order(tuple(labeling), i)
    shown = tuple(demonstration(render(task, examples[j]), labeling[j]) for j in order)
    return Prompt((*shown, (render(task, examples[i]),)), task.labels)


def leave_one_out_order(block: Order, i: int) -> Order:
    """Return the order that `leave_one_out_orders` gives i, in time linear in the block.

    >>> leave_one_out_order((0, 1, 2), 2)
    (1, 0)
    """
    context: Order = ()
    while len(block) > 1:
        left, right = block[0::2], block[1::2]
        block, others = (left, right) if i in left else (right, left)
        context += others
    return context


def leave_one_out_orders(block: Order, context: Order = ()) -> Iterator[tuple[int, Order]]:
    """Yield (i, order of all the others) for each i of the block, by divide and conquer.

    To score a block given a context, split it into halves L and R: score L given context + R, and R given context + L.
    Halves are the even and odd places, so a new last example moves no other one and the tree stays balanced (the k-th
    example stands at the bit-reversal of k).

    >>> dict(leave_one_out_orders((0, 1, 2)))
    {0: (1, 2), 2: (1, 0), 1: (0, 2)}
    """
    if len(block) == 1:
        yield block[0], context
    elif block:
        left, right = block[0::2], block[1::2]
        yield from leave_one_out_orders(left, context + right)
        yield from leave_one_out_orders(right, context + left)
