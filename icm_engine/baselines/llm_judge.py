"""Labels from a judge: the model is asked in words, and a verdict is read from its last line.

Five styles, each a small plan of requests:

- `direct`: a verdict at once;
- `steps`: reasons first;
- `criteria` (branch, solve, merge): list criteria once for the task, judge every example by each, combine the verdicts;
- `verified` (chain-of-verification, Dhuliawala et al. 2023, arXiv 2309.11495): a draft, questions to verify it, each
  answered by itself, and the verdict in the light of the answers;
- `rewritten` (system-2 attention, Weston and Sukhbaatar 2023, arXiv 2311.11829): the text rewritten without what
  misleads, and a verdict on that alone.

Each can be sampled several times; the most frequent label counts. An answer without a verdict is an abstention, as is a
tie, and a plan that breaks off; none becomes a guess.

Judges need more of a model than label log-probabilities, so they are apart from `label_sources`. A model that cannot
serve them raises NotApplicable with the reason, and never yields a label.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Generator as Coroutine
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from icm_engine.baselines.generation import (
    Generated,
    GenerationRequest,
    GenerationUsage,
    Generator,
    TableGenerator,
    stand_in_reply,
)
from icm_engine.baselines.label_sources import SOURCES, Labelled, Options, likeliest
from icm_engine.core.errors import NotApplicable, SettingError
from icm_engine.core.folds import FOLDS, OPTIONS
from icm_engine.core.labeling import Example, Label, Labeling, Task
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import FIELD, Prompt, render
from icm_engine.core.rng import seed_of
from icm_engine.core.settings import parsed_options

VERDICT = "Verdict:"
CRITERIA = 3  # odd, so that two labels without abstentions cannot tie
CRITERIA_TOKENS = 256
QUESTIONS = 3  # to verify a draft with
ANSWER = "Answer:"
CUT = "cut off at the limit of tokens"
TEMPERATURE = 0.7  # temperature of samples; a single answer is greedy
_ITEM = re.compile(r"\s*(?:[-*•]|\d+[.)])\s+(\S.*)")


@dataclass(frozen=True, slots=True)
class Answer:
    """One question, its answer, the label read from it (None: an abstention), and its cost."""

    asked: str
    answered: str
    label: Label | None
    tokens: int
    ended: bool  # False: cut off at the limit of tokens, hence no verdict


@dataclass(frozen=True, slots=True)
class Working(Answer):
    """An answer on the way to a verdict, and which step it is; a label that it has does not count."""

    step: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's label of one example, or None and the reason, with everything that led to it.

    `samples` has one tuple of answers for each time the example was judged, in the order in which they were asked for.
    `votes` has the label of each time.
    """

    example: str
    label: Label | None
    why: str
    votes: tuple[Label | None, ...]
    samples: tuple[tuple[Answer, ...], ...]

    @property
    def tokens(self) -> int:
        """Tokens generated for this example; those that listed the criteria belong to the task."""
        return sum(answer.tokens for sample in self.samples for answer in sample)

    @property
    def abstentions(self) -> int:
        """The number of verdicts that were due and not given."""
        due = [[answer for answer in sample if not isinstance(answer, Working)] for sample in self.samples]
        return sum(sum(answer.label is None for answer in answers) if answers else 1 for answers in due)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request of a plan; `step` names what it is for, unless it asks for a verdict that counts."""

    request: GenerationRequest
    step: str = ""


Outcome = tuple[Label | None, str]  # a label, or None and why
Plan = Coroutine[list[Ask], list[Answer], Outcome]  # yields requests that can be made at once, is sent their answers


@dataclass(frozen=True, slots=True)
class Style:
    """A way to ask: a description for people, the maximum tokens of an answer, and the plan for an example."""

    name: str
    summary: str
    max_tokens: int
    plan: "Callable[[Judge, Example], Plan]"


def judge(
    task: Task, examples: Sequence[Example], generator: Generator, style: str = "steps", samples: int = 1, seed: int = 0
) -> list[Verdict]:
    """Return a verdict on each example, in order. Raises SettingError, and ModelError as the generator does."""
    return Judge(task, generator, style, samples, seed).verdicts(examples)


@dataclass
class Judge:
    """A judge for one task. Examples are judged independently, so they may come in any batches."""

    task: Task
    generator: Generator
    style: str = "steps"
    samples: int = 1
    seed: int = 0
    max_tokens: int | None = None  # of an answer; None: the style's own

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise SettingError(f"judge style is {self.style!r}: use one of {', '.join(STYLES)}")
        if self.samples < 1:
            raise SettingError(f"samples is {self.samples}: a judge is asked at least once, use 1 or more")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise SettingError(f"max_tokens is {self.max_tokens}: an answer takes at least one, use 1 or more")

    @cached_property
    def branch(self) -> Generated | None:
        """The answer to the question for criteria, asked once, greedily; None for styles without criteria."""
        if self.style != "criteria":
            return None
        (answer,) = self.generator.generate([GenerationRequest(criteria_question(self.task))], CRITERIA_TOKENS)
        return answer

    @cached_property
    def criteria(self) -> tuple[str, ...]:
        """The criteria read from that answer; empty if none could be read."""
        return read_criteria(self.branch) if self.branch else ()

    def verdicts(self, examples: Sequence[Example]) -> list[Verdict]:
        """Return a verdict on each example, in order."""
        if self.branch and not self.criteria:
            why = f"the model named no criteria when asked for them, but wrote {self.branch.text[:80]!r}"
            return [Verdict(example.id, None, why, (), ()) for example in examples]
        rounds = [self._round(examples, n) for n in range(self.samples)]
        return [_verdict(example, [one[k] for one in rounds]) for k, example in enumerate(examples)]

    def _round(self, examples: Sequence[Example], n: int) -> "list[_Judging]":
        """Judge every example once: the plans go side by side, with one call for each of their rounds."""
        style = STYLES[self.style]
        judgings = [_Judging(self.task, style.plan(self, example)) for example in examples]
        while open_ones := [one for one in judgings if one.asks]:
            answers = iter(
                self.generator.generate(
                    [ask.request for one in open_ones for ask in one.asks],
                    self.max_tokens or style.max_tokens,
                    TEMPERATURE if self.samples > 1 else 0.0,
                    seed_of(self.seed, n),
                )
            )
            for one in open_ones:
                one.go_on([next(answers) for _ in one.asks])
        return judgings


class _Judging:
    """One plan under way: what it asks next (nothing once it has ended), its answers so far, and its outcome."""

    def __init__(self, task: Task, plan: Plan) -> None:
        self._task, self._plan = task, plan
        self.asks, self.answers, self.outcome = next(plan), list[Answer](), (None, "")

    def go_on(self, got: Sequence[Generated]) -> None:
        """Read the answers to what was asked, and let the plan ask again."""
        answers = [self._answer(ask, one) for ask, one in zip(self.asks, got, strict=True)]
        self.answers += answers
        try:
            self.asks = self._plan.send(answers)
        except StopIteration as end:
            self.asks, self.outcome = [], end.value

    def _answer(self, ask: Ask, got: Generated) -> Answer:
        label = read_verdict(got.text, self._task.labels) if got.ended and ask.request.last_line == VERDICT else None
        read = (ask.request.text, got.text, label, got.tokens, got.ended)
        return Working(*read, ask.step) if ask.step else Answer(*read)


def _verdict(example: Example, times: "Sequence[_Judging]") -> Verdict:
    votes = tuple(one.outcome[0] for one in times)
    label, why = times[0].outcome if len(times) == 1 else vote(votes)
    return Verdict(example.id, label, why, votes, tuple(tuple(one.answers) for one in times))


def vote(labels: Sequence[Label | None]) -> tuple[Label | None, str]:
    """Return the most frequent label, or None and why: no label was given, or two were given equally often.

    >>> vote(["True", None, "False", "True"])
    ('True', '')
    >>> vote(["True", None, "False"])
    (None, 'a tie: 1 True, 1 False, 1 without a verdict')
    """
    counts = Counter(label for label in labels if label is not None).most_common()
    if not counts:
        return None, "no verdict" if len(labels) == 1 else f"none of {len(labels)} has a verdict"
    if len(counts) == 1 or counts[0][1] > counts[1][1]:
        return counts[0][0], ""
    without = [f"{labels.count(None)} without a verdict"] if None in labels else []
    return None, "a tie: " + ", ".join([f"{count} {label}" for label, count in counts] + without)


def _merge(answers: Sequence[Answer]) -> Outcome:
    """Combine the answers of one round; the reason for an abstention counts the answers that were cut off."""
    label, why = vote([answer.label for answer in answers])
    cut = sum(not answer.ended for answer in answers)
    return label, f"{why}, {cut} {CUT}" if label is None and cut else why


def read_verdict(text: str, labels: Sequence[Label]) -> Label | None:
    """Return the label named by the last line, as `Verdict: True` or `True` alone; None if it names none.

    Emphasis, quotes, a full stop and capitalisation around the label are ignored.

    >>> read_verdict("Two and two are four.\\n**Verdict: True**", ("True", "False"))
    'True'
    >>> read_verdict("Verdict: True or False", ("True", "False")) is None
    True
    """
    lines = [line for line in text.splitlines() if line.strip()]
    said = _bare(lines[-1]) if lines else ""
    said = _bare(said.removeprefix(VERDICT.casefold()))
    named = [label for label in labels if _bare(label) == said]
    return named[0] if said and len(named) == 1 else None


def _bare(text: str) -> str:
    return text.strip(" \t*_`\"'“”.").casefold()


def read_criteria(answer: Generated) -> tuple[str, ...]:
    """Return the first distinct items of a list. The last line of an answer that was cut off is not one."""
    return _items(answer.text, answer.ended)[:CRITERIA]


def _items(text: str, ended: bool) -> tuple[str, ...]:
    lines = text.splitlines()[: None if ended else -1]
    return tuple(dict.fromkeys(match[1].strip() for line in lines if (match := _ITEM.match(line))))


# -- styles


def _one_question(question: Callable[[Task, Example], str]) -> "Callable[[Judge, Example], Plan]":
    def plan(judge: Judge, example: Example) -> Plan:
        return _merge((yield [_for_verdict(question(judge.task, example))]))

    return plan


def _by_criteria(judge: Judge, example: Example) -> Plan:
    asked = [criterion_question(judge.task, example, criterion) for criterion in judge.criteria]
    return _merge((yield [_for_verdict(text) for text in asked]))


def _verified(judge: Judge, example: Example) -> Plan:
    """Draft, questions, answers, verdict. A draft without a verdict, no question, or an answer cut off end it."""
    task = judge.task
    (draft,) = yield [_for_verdict(draft_question(task, example), "draft")]
    if draft.label is None:
        return None, "no verdict in the draft" if draft.ended else f"the draft was {CUT}"
    (listed,) = yield [Ask(GenerationRequest(verification_question(task, example, draft.answered)), "questions")]
    questions = _items(listed.answered, listed.ended)[:QUESTIONS]
    if not questions:
        return None, f"the model listed no questions to verify its draft with, but wrote {listed.answered[:80]!r}"
    asked = [check_question(task, example, question) for question in questions]
    checks = yield [Ask(GenerationRequest(text, ANSWER), "answer") for text in asked]
    if cut := sum(not check.ended for check in checks):
        return None, f"of {len(checks)} answers to questions about the draft, {cut} {CUT}"
    pairs = [(question, _said(check.answered)) for question, check in zip(questions, checks, strict=True)]
    if empty := sum(not said for _, said in pairs):
        return None, f"of {len(checks)} answers to questions about the draft, {empty} without a word"
    return _merge((yield [_for_verdict(final_question(task, example, draft.answered, pairs))]))


def _rewritten(judge: Judge, example: Example) -> Plan:
    """Rewrite, then judge what was written. A rewriting that is empty or was cut off ends it."""
    (made,) = yield [Ask(GenerationRequest(rewriting_question(judge.task, example)), "rewriting")]
    text = made.answered.strip()
    if not made.ended or not text:
        return None, "the rewriting is empty" if made.ended else f"the rewriting was {CUT}"
    _, tail = _parted(judge.task, example)
    return _merge((yield [_for_verdict(_at_once(judge.task, text + tail))]))


def _for_verdict(text: str, step: str = "") -> Ask:
    return Ask(GenerationRequest(text, VERDICT), step)


def _said(answer: str) -> str:
    """An answer to a question about the draft, without the word that its line begins with."""
    before, _, last = answer.strip().rpartition("\n")
    return last.strip().removeprefix(ANSWER).strip() or before.strip()


# -- what is asked


def label_question(task: Task, example: Example) -> str:
    """Return the question whose whole answer is a label, as a chat model is asked without reasoning."""
    return f"{_shown(task, render(task, example))} Which one is right? Answer with the label alone."


def direct_question(task: Task, example: Example) -> str:
    """Return the question for an immediate verdict."""
    return _at_once(task, render(task, example))


def steps_question(task: Task, example: Example) -> str:
    """Return the question for reasons first and a verdict last."""
    return (
        f"{_shown(task, render(task, example))}\n\nWhich one is right? Think it through step by step, in writing. "
        f"Then finish with one line, {_choice(task)}"
    )


def criteria_question(task: Task) -> str:
    """Return the question for criteria (branch). It shows the form of the texts, and no example."""
    form = FIELD.sub(r"[\1]", task.template)
    return (
        f"{_shown(task, form)}\n\nMany texts of this form will be judged, with other "
        f"words in place of the square brackets. Name the {CRITERIA} criteria that matter most for finding the right "
        'label. Write each of them on a line of its own that begins with "- ", and write nothing else.'
    )


def criterion_question(task: Task, example: Example, criterion: str) -> str:
    """Return the question for a verdict by one criterion (solve)."""
    return (
        f"{_shown(task, render(task, example))}\n\nJudge by this criterion and no other: {criterion}\n\nWhich one is "
        f"right by it? Think it through step by step, in writing. Then finish with one line, {_choice(task)}"
    )


def draft_question(task: Task, example: Example) -> str:
    """Return the question for a draft (verified): a short reason, and a verdict."""
    return (
        f"{_shown(task, render(task, example))}\n\nWhich one is right? Give your reason in one or two sentences. "
        f"Then finish with one line, {_choice(task)}"
    )


def verification_question(task: Task, example: Example, draft: str) -> str:
    """Return the question for questions that would show whether a draft is right."""
    return (
        f"{_drafted(task, example, draft)}\n\nName {QUESTIONS} short questions whose answers would show whether this "
        "verdict is right. They will be answered by somebody who sees the text, and not the verdict. Write each of "
        'them on a line of its own that begins with "- ", and write nothing else.'
    )


def check_question(task: Task, example: Example, question: str) -> str:
    """Return one of these questions, to be answered with neither the draft nor other answers in sight."""
    text, _ = _parted(task, example)
    return f'{text}\n\n{question}\n\nAnswer this question with one line, which begins with "{ANSWER}".'


def final_question(task: Task, example: Example, draft: str, answers: Sequence[tuple[str, str]]) -> str:
    """Return the question for the verdict after a draft was checked."""
    shown = "\n\n".join(f"Question: {question}\n{ANSWER} {answer}" for question, answer in answers)
    return (
        f"{_drafted(task, example, draft)}\n\nQuestions that check it were answered without sight of it:\n\n{shown}"
        f"\n\nIn the light of these answers, which one is right? Answer with one line, {_choice(task)}"
    )


def rewriting_question(task: Task, example: Example) -> str:
    """Return the request to rewrite an example's text without what could mislead a judge."""
    text, _ = _parted(task, example)
    return (
        f"Somebody will label this text with one of: {', '.join(task.labels)}.\n\n{text}\n\nRewrite the text for them. "
        "Leave out whatever is irrelevant, misleading, or an opinion about which label is right. Keep everything that "
        "is needed to find the right label. Write the rewritten text and nothing else."
    )


def _drafted(task: Task, example: Example, draft: str) -> str:
    shown = _shown(task, render(task, example))
    return f"{shown}\n\nThis is a first verdict on it, which may be wrong:\n\n{draft.strip()}"


def _at_once(task: Task, text: str) -> str:
    return f"{_shown(task, text)}\n\nWhich one is right? Answer with one line, {_choice(task)}"


def _parted(task: Task, example: Example) -> tuple[str, str]:
    """An example's text in two: up to the end of its last field, and the template's own words before the label."""
    text, tail = render(task, example), FIELD.split(task.template)[-1]
    return (text.removesuffix(tail), tail) if text.endswith(tail) else (text, "")


def _shown(task: Task, text: str) -> str:
    return (
        f"This text breaks off where a label belongs:\n\n{text} ...\n\nThe label is one of: {', '.join(task.labels)}."
    )


def _choice(task: Task) -> str:
    return "which is one of these:\n" + "\n".join(f"{VERDICT} {label}" for label in task.labels)


STYLES = {
    style.name: style
    for style in (
        Style("direct", "asks for the verdict at once", 32, _one_question(direct_question)),
        Style("steps", "has the model reason step by step before its verdict", 512, _one_question(steps_question)),
        Style(
            "criteria", f"has it name {CRITERIA} criteria, judges by each, and takes the majority", 512, _by_criteria
        ),
        Style("verified", f"has it verify a draft by {QUESTIONS} questions, each answered by itself", 256, _verified),
        Style("rewritten", "has it rewrite the text without what misleads, and judges that alone", 256, _rewritten),
    )
}

CHAT, JUDGE = "zero-shot-chat", "judge"
PROBED = 4  # examples tried first; a model that answers none of them will not answer the rest


class Chat(Protocol):
    """What a loaded model offers beside label scores."""

    def prompts(self, task: Task, examples: Sequence[Example]) -> list[Prompt]:
        """Return the question about each example in the model's chat format. Raises NotApplicable."""

    def generator(self) -> Generator:
        """Return the generator that answers in words."""


class TableChat:
    """The chat of the fake model: it answers in words, and has no chat format."""

    def prompts(self, task: Task, examples: Sequence[Example]) -> list[Prompt]:
        raise NotApplicable("the fake model has no chat template: use a chat model")

    def generator(self) -> Generator:
        return TableGenerator(stand_in_reply)


@dataclass(frozen=True)
class NoChat:
    """The chat of a model that gives label log-probabilities alone; `why` says so, with the remedy."""

    why: str

    def prompts(self, task: Task, examples: Sequence[Example]) -> list[Prompt]:
        raise NotApplicable(self.why)

    def generator(self) -> Generator:
        raise NotApplicable(self.why)


@dataclass(frozen=True)
class JudgedLabels:
    """The result of a judge: labels where it gave a verdict, all verdicts with their texts, and the cost."""

    labelled: Labelled
    verdicts: tuple[Verdict, ...] = ()
    usage: GenerationUsage = field(default_factory=GenerationUsage)


def label_by_chat(name: str, objective: Objective, seed: int, options: Options, chat: Chat) -> JudgedLabels:
    """Return the labels of a chat source. Raises NotApplicable, SettingError."""
    options = {**CHAT_SOURCES[name], **source_options(name, options)}
    if name == CHAT:
        scores = objective.scorer.score(chat.prompts(objective.task, objective.examples))
        return JudgedLabels(Labelled(likeliest(objective, dict(enumerate(scores))), set_evaluations=1))
    judge = Judge(objective.task, chat.generator(), options["style"], options["samples"], seed)
    verdicts = judge.verdicts(objective.examples[:PROBED])
    if all(verdict.label is None for verdict in verdicts):
        raise NotApplicable(
            f"this model gave no verdict on any of the first {len(verdicts)} examples ({verdicts[0].why}): "
            "a judge needs a model that can answer in words"
        )
    verdicts += judge.verdicts(objective.examples[PROBED:])
    labels = {i: verdict.label for i, verdict in enumerate(verdicts) if verdict.label is not None}
    return JudgedLabels(
        Labelled(Labeling(labels), set_evaluations=options["samples"]), tuple(verdicts), judge.generator.usage
    )


CHAT_SOURCES: dict[str, Options] = {CHAT: {}, JUDGE: {"style": "steps", "samples": 1}}  # with their options
EXPLANATIONS = {name: source.explanation for name, source in SOURCES.items()} | {
    CHAT: "the likeliest label as the answer of a chat model, by its chat template",
    JUDGE: f"a verdict in words ({', '.join(STYLES)}), once or as the majority of several samples",
    FOLDS: "ICM with fine-tuned folds: the label that models tuned on the labels of the other folds predict",
}


def source_options(name: str, options: Options) -> dict[str, Any]:
    """Return the options of any label source, given as values or as text, with their types. Raises SettingError."""
    others = {FOLDS: OPTIONS, **CHAT_SOURCES}
    known = others[name] if name in others else SOURCES[name].options if name in SOURCES else {}
    return parsed_options(name, options, known)
