"""Label sources that put the question to a model in words: in a chat model's own format, or to a judge that reasons.

They need more of a model than label log-probabilities, so they are apart from `label_sources`; what a model cannot
serve raises NotApplicable with the reason, and never becomes a label.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from icm_engine.core.errors import NotApplicable
from icm_engine.core.generating import GenerationUsage, Generator, TableGenerator, stand_in_reply
from icm_engine.core.judging import STYLES, Judge, Verdict
from icm_engine.core.label_sources import SOURCES, Labelled, Options, likeliest, parsed_options
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt

CHAT, JUDGE = "zero-shot-chat", "judge"
PROBED = 4  # examples that a judge is tried on; a model that says nothing about them will say nothing about the rest


class Chat(Protocol):
    """What a loaded model offers beside scores."""

    def prompts(self, task: Task, examples: Sequence[Example]) -> list[Prompt]:
        """Return the question about each example in the model's chat format. Raises NotApplicable."""

    def generator(self) -> Generator:
        """Return what answers in words."""


class TableChat:
    """The stand-in's: it answers in words, and has no chat format."""

    def prompts(self, task: Task, examples: Sequence[Example]) -> list[Prompt]:
        raise NotApplicable("the stand-in for a model has no chat template: use a chat model")

    def generator(self) -> Generator:
        return TableGenerator(stand_in_reply)


@dataclass(frozen=True)
class NoChat:
    """What a model offers that is asked for label log-probabilities alone; `why` says so, with the remedy."""

    why: str

    def prompts(self, task: Task, examples: Sequence[Example]) -> list[Prompt]:
        raise NotApplicable(self.why)

    def generator(self) -> Generator:
        raise NotApplicable(self.why)


@dataclass(frozen=True)
class Judged:
    """What a judge came to: labels where it gave a verdict, every verdict with its texts, and what they cost."""

    labelled: Labelled
    verdicts: tuple[Verdict, ...] = ()
    usage: GenerationUsage = field(default_factory=GenerationUsage)


def label_by_chat(name: str, objective: Objective, seed: int, options: Options, chat: Chat) -> Judged:
    """Return the labels of a chat source. Raises NotApplicable, SettingError."""
    options = {**CHAT_SOURCES[name], **source_options(name, options)}
    if name == CHAT:
        scores = objective.scorer.score(chat.prompts(objective.task, objective.examples))
        return Judged(Labelled(likeliest(objective, dict(enumerate(scores))), set_evaluations=1))
    judge = Judge(objective.task, chat.generator(), options["style"], options["samples"], seed)
    verdicts = judge.verdicts(objective.examples[:PROBED])
    if all(verdict.label is None for verdict in verdicts):
        raise NotApplicable(
            f"this model gave no verdict on any of the first {len(verdicts)} examples ({verdicts[0].why}): "
            "a judge needs a model that can answer in words"
        )
    verdicts += judge.verdicts(objective.examples[PROBED:])
    labels = {i: verdict.label for i, verdict in enumerate(verdicts) if verdict.label is not None}
    return Judged(
        Labelled(Labeling(labels), set_evaluations=options["samples"]), tuple(verdicts), judge.generator.usage
    )


CHAT_SOURCES: dict[str, Options] = {CHAT: {}, JUDGE: {"style": "steps", "samples": 1}}  # with their options
EXPLANATIONS = {name: source.explanation for name, source in SOURCES.items()} | {
    CHAT: "the likeliest label as the answer of a chat model, by its chat template",
    JUDGE: f"a verdict in words ({', '.join(STYLES)}), once or as the majority of several samples",
}


def source_options(name: str, options: Options) -> dict[str, Any]:
    """Return the options of any label source, given as themselves or as text, as what they are. Raises SettingError."""
    known = CHAT_SOURCES[name] if name in CHAT_SOURCES else SOURCES[name].options if name in SOURCES else {}
    return parsed_options(name, options, known)
