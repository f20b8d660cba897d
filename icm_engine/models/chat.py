"""A chat model asked in its own format: what its tokenizer's chat template makes of a user's text.

A template writes the special tokens itself, with the beginning-of-sequence token where the model wants one. The text it
makes is therefore whole: it is tokenised as it stands and gets nothing put before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from icm_engine.core.errors import NotApplicable
from icm_engine.core.generating import Generator
from icm_engine.core.judging import label_question
from icm_engine.core.labeling import Example, Label, Task
from icm_engine.core.prompting import Prompt
from icm_engine.models.loading import LoadedModel

_ANSWER = "[answer]"  # put where an answer would stand, to see how the template begins one


@dataclass(frozen=True)
class TransformersChat:
    """What a loaded model offers beside scores: its chat format, and answers in words."""

    loaded: LoadedModel

    def prompts(self, task: Task, examples: Sequence[Example]) -> list[Prompt]:
        """Return the question about each example in the model's chat format. Raises NotApplicable."""
        return [chat_label_prompt(self.loaded.tokenizer, task, example) for example in examples]

    def generator(self) -> Generator:
        """Return the model's own `generate`, by its chat template if it has one."""
        from icm_engine.models.transformers_generator import TransformersGenerator  # which needs this file

        return TransformersGenerator(self.loaded)


def has_chat_template(tokenizer: Any) -> bool:
    """Say whether the tokenizer comes with a chat template."""
    return bool(getattr(tokenizer, "chat_template", None))


def chat_text(tokenizer: Any, text: str) -> str:
    """Return a user's text in the model's chat format, up to where the answer begins. Raises NotApplicable."""
    return _apply(tokenizer, [{"role": "user", "content": text}], add_generation_prompt=True)


def chat_prompt(tokenizer: Any, text: str, labels: Sequence[Label]) -> Prompt:
    """Return the prompt that scores each label as the answer to a user's text. Raises NotApplicable.

    What stands between the beginning of an answer and its first word (a blank, an empty thought, a channel's
    name) is the template's business, and is read from it; a blank before the label belongs to the label, as in plain
    prompts.
    """
    asked = chat_text(tokenizer, text)
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": _ANSWER}]
    answered = _apply(tokenizer, turns, add_generation_prompt=False)
    opening, found, _ = answered.removeprefix(asked).partition(_ANSWER)
    if not answered.startswith(asked) or not found:
        raise NotApplicable(
            f"the chat template of model {tokenizer.name_or_path!r} begins an answer with something other than what "
            f"is answered ({asked[-40:]!r}): it is made for models that reason first, so use a judge that does"
        )
    lead = " " if opening.endswith(" ") else ""
    return Prompt(((asked + opening.removesuffix(" "),),), tuple(labels), lead, whole=True, user=text)


def chat_label_prompt(tokenizer: Any, task: Task, example: Example) -> Prompt:
    """Return the zero-shot prompt of a chat model: the task's own text and labels, asked as a question."""
    return chat_prompt(tokenizer, label_question(task, example), task.labels)


def _apply(tokenizer: Any, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
    if not has_chat_template(tokenizer):
        raise NotApplicable(
            f"model {tokenizer.name_or_path!r} has no chat template: ask it by the plain template, or use a chat model"
        )
    try:
        made = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=add_generation_prompt)
    except Exception as error:  # whatever a template of somebody else's raises
        raise NotApplicable(
            f"the chat template of model {tokenizer.name_or_path!r} failed on a user's text ({error}): "
            "ask it by the plain template, or use another chat model"
        ) from error
    return str(made)
