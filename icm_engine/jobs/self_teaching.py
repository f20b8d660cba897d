"""Self-taught judges: what is asked of one, examples whose label is known without labels, and which judgements teach.

The self-taught evaluator (Wang et al. 2024, arXiv 2408.02666) in its small form. A model responds to the prompts of a
data set. Its own response to a prompt is taken to be better than its response to *another* prompt, shown as if it
answered this one. So pairs have a known better side, and claims a known label: True for the own, False for the foreign
response. The model judges them with reasoning, several times each. It is tuned on judgements that came to the known
side, and judges again.

No label of the data is read, and no gold: `analysis` compares the judges with it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from icm_engine import jobs
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Label, Task
from icm_engine.core.rng import random_of, sample
from icm_engine.core.settings import ModelChoice, TuneSettings
from icm_engine.core.training_rows import CLAIM, IDENTICAL, Row, TrainingSet, form_of
from icm_engine.jobs import JobSpec, policies
from icm_engine.jobs.downstream_eval import DatasetPart
from icm_engine.jobs.finetuning import free_name, free_stem, require_new
from icm_engine.jobs.policies import LoraSettings, settings_from
from icm_engine.runs import model_registry
from icm_engine.store.events import Json
from icm_engine.store.store import Store

KIND = "self-teaching"
ROUNDS_DONE, NO_BETTER, NOTHING_TO_LEARN = "all rounds done", "no better", "nothing to learn from"
UNUSABLE = "empty_or_cut_responses"  # a prompt whose own or foreign response is empty, or was cut off
NO_JUDGEMENT = "no_judgement_of_the_known_side"
UNBALANCED = "more_of_one_label"  # left out, so that a judge does not learn to say one label always


@dataclass(frozen=True, slots=True)
class TeachSettings(LoraSettings):
    """Settings of a self-taught judge.

    Each training prompt gives two examples, each judged `judgements` times with `max_tokens` at most. A response has
    `response_tokens` at most. `test_prompts` are held out: the round that finds both known sides of most of them is
    kept. `examples` of the data set about those prompts are judged too, for gold to be compared with. `patience` is the
    number of rounds without a higher share after which it ends.
    """

    rounds: int = 2
    prompts: int = 16
    test_prompts: int = 16
    examples: int = 32
    judgements: int = 8
    max_tokens: int = 256
    response_tokens: int = 32
    epochs: int = 3
    batch_size: int = 8
    rows_at_once: int = 8
    patience: int = 2

    @property
    def tuning(self) -> TuneSettings:
        """How a judge is tuned. Raises SettingError."""
        return TuneSettings(self.epochs, self.learning_rate, self.rank, self.batch_size, self.rows_at_once, self.seed)


EXPLANATIONS = {
    "learning_rate": "peak learning rate of AdamW; it decays linearly to zero",
    "rank": "rank of the LoRA matrices of each linear layer",
    "seed": "seed of the foreign responses, of samples, of the order of rows and of the initial adapter",
    "rounds": "rounds at most",
    "prompts": "training prompts",
    "test_prompts": "held-out prompts, whose known sides decide which round is kept",
    "examples": "examples of the data set that each round judges, to be compared with gold",
    "judgements": "judgements sampled of each example",
    "max_tokens": "maximum tokens of a judgement",
    "response_tokens": "maximum tokens of a response",
    "epochs": "how often every judgement is trained on",
    "batch_size": "judgements a step",
    "rows_at_once": "judgements in memory at a time; fewer use less memory and give the same step",
    "patience": "rounds without a higher share of known sides after which it ends",
}


@dataclass(frozen=True, slots=True)
class Teaching:
    """A self-taught judge as requested. `test` is the data set of the held-out prompts; None for the next ones."""

    name: str
    dataset: str
    test: str | None
    settings: TeachSettings
    model: ModelChoice

    @staticmethod
    def of(spec: JobSpec) -> "Teaching":
        """Return what a job was asked for. Raises SettingError if it names no model."""
        if spec.model is None:
            raise SettingError("a judge is taught from a model: name one (--model)")
        body = spec.body
        return Teaching(
            body["name"], body["dataset"], body["test"], settings_from(TeachSettings, body["settings"]), spec.model
        )

    def to_json(self) -> Json:
        """Return the body of the job."""
        told = {"name": self.name, "dataset": self.dataset, "test": self.test}
        return {**told, "settings": asdict(self.settings)}

    def prompts(self, store: Store, held_out: bool) -> list[str]:
        """Return the prompts to train on, or those held out. Raises SettingError if there is none."""
        how = self.settings
        dataset = self.test if held_out and self.test else self.dataset
        skip = how.prompts if held_out and not self.test else 0
        most = how.test_prompts if held_out else how.prompts
        return policies.prompts_of(store, [DatasetPart(dataset).to_json()], most, skip)[1]

    def own_examples(self, store: Store) -> list[Example]:
        """Return the first examples of the data about held-out prompts; a pair and its twin count as one."""
        dataset = self.test or self.dataset
        form, wanted = form_of(store.dataset_info(dataset).task), set(self.prompts(store, held_out=True))
        every = [e for e in store.examples(dataset) if e.twin_of is None and form.asked(e) in wanted]
        return every[: self.settings.examples]

    def named(self, number: int) -> str:
        """Return the name of a round's judge."""
        return f"{self.name}-{number}"

    def judge(self, number: int) -> str:
        """Return the model that judges after a round; round 0 is the start."""
        return f"{model_registry.PREFIX}{self.named(number)}" if number else self.model.model


def ask(store: Store, teaching: Teaching) -> str:
    """Create the job, without starting it, and return its name. Raises NotFound, SettingError, NotInstalled."""
    model_registry.require_installed()
    model = policies.local(teaching.model, "trained").model
    if model.startswith(model_registry.PREFIX):
        raise SettingError(f"{model} was tuned here already: teach its base ({_base(store, model)})")
    _ = teaching.settings.tuning  # settings that do not go together are refused at once
    policies.responding_form(store, [DatasetPart(one) for one in (teaching.dataset, teaching.test) if one])
    for held_out in (False, True):
        if len(found := teaching.prompts(store, held_out)) < 2:
            which = "held-out prompts" if held_out else "training prompts"
            raise SettingError(
                f"there are {len(found)} {which}: a response to another prompt needs two, use more, or other data"
            )
    require_new(store, KIND, teaching.name)
    for number in range(1, teaching.settings.rounds + 1):
        free_name(store, "", teaching.named(number))
    return jobs.create(store, JobSpec(KIND, teaching.to_json(), teaching.model))


def _base(store: Store, model: str) -> str:
    return str(model_registry.model_facts(store, model.removeprefix(model_registry.PREFIX))["base"])


def free_teaching_name(store: Store, dataset: str) -> str:
    """Return the first name for a judge taught on a data set that no such job has yet."""
    return free_stem(store, KIND, f"{dataset}-judge")


# -- examples with a known label, and what is learned from judgements of them

Known = tuple[Example, Label]  # an example, and the label that its known better side gives it


def known_examples(
    task: Task, asked: Sequence[str], responses: Sequence[str | None], seed: int, stem: str
) -> tuple[list[Known], Mapping[str, int]]:
    """Return two examples for each prompt, with the known label of each, and how many prompts gave none, by reason.

    A claim is the own response, then the foreign one; a pair has the own response first, then second. The foreign
    response is that to the prompt before, in an order drawn by the seed. None is a response that was cut off.
    """
    order = sample(random_of(seed, 0), len(asked), len(asked))
    before = {k: order[place - 1] for place, k in enumerate(order)}
    found, left_out = list[Known](), Counter({UNUSABLE: 0, IDENTICAL: 0})
    for k, (prompt, own) in enumerate(zip(asked, responses, strict=True)):
        foreign = responses[before[k]]
        if own and foreign and own != foreign:
            found += _two(task, f"{stem}-{k}", prompt, own, foreign)
        else:
            left_out[IDENTICAL if own and foreign else UNUSABLE] += 1
    return found, left_out


def _two(task: Task, name: str, prompt: str, own: str, foreign: str) -> list[Known]:
    form = form_of(task)
    shown = {form.asking: prompt} if form.asking else {}
    other = next(label for label in task.labels if label != task.true_label)
    sides = [(own,), (foreign,)] if form.answered == CLAIM else [(own, foreign), (foreign, own)]
    examples = [
        Example(f"{name}-{n}", {**shown, **dict(zip(form.answered, texts, strict=True))}, name)
        for n, texts in enumerate(sides)
    ]
    return list(zip(examples, (task.true_label, other), strict=True))


def lessons(known: Sequence[Known], verdicts: Sequence[Mapping[str, Any]]) -> TrainingSet:
    """Return what a judge learns: for each example the first judgement that came to its known label.

    There are as many of each label: of the more frequent one, those that come first. A row has the question and the
    whole answer.
    """
    left_out = Counter({NO_JUDGEMENT: 0, UNBALANCED: 0})
    by_label: dict[Label, list[tuple[int, Row]]] = {label: [] for _, label in known}
    for place, ((_, label), verdict) in enumerate(zip(known, verdicts, strict=True)):
        right = [answer for (answer,) in verdict["samples"] if answer["label"] == label]
        if right:
            by_label[label].append((place, {"prompt": right[0]["asked"], "completion": right[0]["answered"]}))
        else:
            left_out[NO_JUDGEMENT] += 1
    most = min(map(len, by_label.values()), default=0)
    left_out[UNBALANCED] = sum(len(rows) - most for rows in by_label.values())
    kept = sorted((row for rows in by_label.values() for row in rows[:most]), key=lambda one: one[0])
    return TrainingSet(tuple(row for _, row in kept), left_out)


def both_right(agreed: Mapping[str, Sequence[int]]) -> float:
    """Return the share of prompts on which every verdict agrees: 0 for a judge that says one label always.

    >>> both_right({"a": [2, 2], "b": [1, 2], "c": [1, 2], "d": [0, 2]})
    0.25
    """
    return sum(right == of for right, of in agreed.values()) / len(agreed)


def agreement(known: Sequence[Known], verdicts: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Return by prompt how many verdicts agree with the known label, and of how many; an abstention does not."""
    found: dict[str, list[int]] = {}
    for (example, label), verdict in zip(known, verdicts, strict=True):
        right, of = found.get(example.group, [0, 0])
        found[example.group] = [right + (verdict["label"] == label), of + 1]
    return found
