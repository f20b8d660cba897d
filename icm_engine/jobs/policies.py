"""Requests for reward models and policies: settings, training rows, prompts, and responses to judge.

As in the paper, a first reward model learns from the run's labels and labels the rest of the data with its rewards, and
a final one learns from both. It is tested by its rewards of examples that the run did not label.

A policy is a model that continues a task's prompt with a response. The responses are then judged by a run like any
other: by the search, by a baseline, or by the model itself.

No gold is read here: `analysis` compares rewards and responses with it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from icm_engine import jobs
from icm_engine.core.custom_rules import rule_class
from icm_engine.core.errors import NotFound, NothingToPrefer, SettingError
from icm_engine.core.labeling import Example, Labeling
from icm_engine.core.server_address import is_server
from icm_engine.core.settings import ModelChoice, parsed
from icm_engine.core.training_rows import (
    CLAIM,
    Form,
    Row,
    TrainingSet,
    form_of,
    judged_examples,
    preference_rows,
    preferences_of,
)
from icm_engine.jobs import JobSpec
from icm_engine.jobs.downstream_eval import DatasetPart, rest_of
from icm_engine.jobs.finetuning import free_name
from icm_engine.runs import model_registry
from icm_engine.store.datasets import Dataset, DatasetInfo
from icm_engine.store.events import Json
from icm_engine.store.replay import OpenRun, current_state, open_run
from icm_engine.store.store import Store

FROM_ZERO = ("likelihood", "passes")  # settings that may be zero


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Settings that all kinds of training share: rank of the LoRA adapter, maximum step of AdamW, seed."""

    learning_rate: float = 1e-3
    rank: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in FROM_ZERO and not value >= 0:
                raise SettingError(f"{field.name} is {value}: use 0 or more")
            if field.name not in ("seed", *FROM_ZERO) and not value > 0:
                raise SettingError(f"{field.name} is {value}: use a value above 0")


@dataclass(frozen=True, slots=True)
class RewardSettings(LoraSettings):
    """Settings of a reward model: each of its stages takes `steps` steps of `batch_size` pairs."""

    steps: int = 100
    batch_size: int = 8


@dataclass(frozen=True, slots=True)
class PreferenceSettings(LoraSettings):
    """Settings of preference tuning (DPO); `beta` keeps the policy close to its start.

    `likelihood` weights the mean −log p per token of the chosen responses, which is added to the loss; as in iterative
    reasoning preference optimisation (Pang et al. 2024, arXiv 2404.19733). `passes` limits the steps by the number of
    pairs, so that a few pairs are not learned by heart; 0 is no limit.
    """

    steps: int = 100
    batch_size: int = 8
    beta: float = 0.1
    likelihood: float = 0.0
    passes: int = 0

    def steps_for(self, pairs: int) -> int:
        """Return the number of steps that are taken on this many pairs."""
        if not self.passes:
            return self.steps
        return min(self.steps, self.passes * math.ceil(pairs / self.batch_size))


@dataclass(frozen=True, slots=True)
class ReinforceSettings(LoraSettings):
    """Settings of policy training on rewards (RLOO): steps of `prompts` prompts with `responses` samples each.

    `beta` weights the divergence from the start against the reward. The policy is checked before the first step and
    `checks` times during training, on at most `held_out` prompts; `patience` checks without a higher reward by the
    judge end the training.
    """

    steps: int = 100
    prompts: int = 8
    responses: int = 8
    beta: float = 0.05
    max_tokens: int = 16
    checks: int = 10
    patience: int = 3
    held_out: int = 8


TRAINING_EXPLANATIONS = {
    "learning_rate": "peak learning rate of AdamW; it decays linearly to zero",
    "rank": "rank of the LoRA matrices of each linear layer",
    "seed": "seed of the order of rows, of the initial adapter, and of samples",
    "batch_size": "pairs a step",
    "beta": "how strongly a policy is tied to its start",
    "likelihood": "weight of the −log p of chosen responses, which is added to the loss of DPO",
    "passes": "how often a pair is trained on at most, whatever the steps; 0 for no limit",
    "steps": "training steps; for a reward model, per stage",
    "prompts": "prompts a step",
    "responses": "samples per prompt, whose rewards are compared",
    "max_tokens": "maximum tokens of a response",
    "checks": "how often the policy is checked, in equal parts of the steps",
    "patience": "checks without a higher reward by the judge after which training ends",
    "held_out": "prompts that the checks use, at most",
}

SAMPLING_EXPLANATIONS = {
    "samples": "responses to each prompt",
    "temperature": "temperature of sampling; lower ones give likelier responses",
    "max_tokens": "maximum tokens of a response",
    "seed": "seed of sampling",
    "thought": "maximum tokens of a line of thought before each response; 0 for none",
}

Some = TypeVar("Some")


def settings_from(kind: type[Some], values: Mapping[str, Any]) -> Some:
    """Return settings from values or texts by name, with defaults for the others. Raises SettingError."""
    known = {field.name: type(field.default) for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise SettingError(f"there is no setting {unknown[0]!r} here: use {', '.join(known)}")
    return kind(**{name: parsed(name, value, known[name]) for name, value in values.items()})


KIND = "reward"


def create(
    store: Store,
    run: str,
    settings: RewardSettings,
    *,
    name: str | None = None,
    model: ModelChoice | None = None,
    rest: Sequence[DatasetPart] | None = None,
    test: Sequence[DatasetPart] = (),
) -> str:
    """Store the job of a reward model, without starting it, and return its name. Raises NotFound, SettingError,
    NotInstalled.

    `rest` is the data that the first model labels: by default the examples that the run's limit left out; empty for a
    single stage. `test` can be of other tasks, each in its own template. Unless another is given, the model is the
    run's own, or the base of that model if it was tuned.
    """
    model_registry.require_installed()
    spec = store.spec(run)
    model = local(model or model_registry.base_choice(store, run), "trained")
    parts = rest_of(store, spec) if rest is None else list(rest)
    form = form_of(store.dataset_info(spec.dataset).task)
    for part in parts:
        if form_of(store.dataset_info(part.dataset).task) != form:
            raise SettingError(f"data set {part.dataset!r} has another template than run {run!r}: use one of its task")
    for part in test:
        form_of(store.dataset_info(part.dataset).task)  # any with responses can be read
    body = {
        "run": run,
        "name": free_name(store, f"{run}-reward", name),
        "settings": asdict(settings),
        "rest": [part.to_json() for part in parts],
        "test": [part.to_json() for part in test],
    }
    return jobs.create(store, JobSpec(KIND, body, model))


RESPONSES_OF = "responses of "  # how the source of a data set of sampled responses begins


def off_distribution(store: Store, run: str, datasets: Iterable[str]) -> list[str]:
    """Return the data sets that do not look like a run's own: of another task, or responses sampled from a model."""
    own = store.dataset_info(store.spec(run).dataset)

    def like(other: DatasetInfo) -> bool:
        same_task = (other.task.name, other.task.template) == (own.task.name, own.task.template)
        return same_task and other.source.startswith(RESPONSES_OF) == own.source.startswith(RESPONSES_OF)

    return [name for name in dict.fromkeys(datasets) if not like(store.dataset_info(name))]


def preferences(store: Store, run: str) -> tuple[Form, TrainingSet]:
    """Return how a run formats responses, and the preference rows of its labels. Raises SettingError."""
    opened = open_run(store, run).whole()
    task, labeling = opened.dataset.task, _labeling(store, opened)
    form = form_of(task)
    pairs = preferences_of(task, (*form.answered, form.asking))
    assert pairs is not None  # a task with a form has them
    labelled = [(example, labeling.get(i)) for i, example in enumerate(opened.dataset.examples)]
    made = preference_rows(task, labelled, pairs)
    if not made.rows:
        raise NothingToPrefer(f"no preference is left of the labels of run {run!r}: {dict(made.left_out)}")
    return form, made


def examples_of(store: Store, parts: Sequence[Json]) -> list[tuple[str, Example]]:
    """Return the examples of some parts with their data sets; a pair and its twin count as one."""
    found = list[tuple[str, Example]]()
    for part in parts:
        rows = store.open_dataset(part["dataset"]).examples
        places = DatasetPart.from_json(part).places(store)
        found += [(part["dataset"], one) for one in judged_examples(rows[i] for i in places)]
    return found


def _labeling(store: Store, opened: OpenRun) -> Labeling:
    state = current_state(store, opened)
    if state is None or not state.labeling:
        raise SettingError(f"run {opened.name!r} has no labels to train on: let it finish first")
    return state.labeling


RESPOND, PREFER, REINFORCE = "respond", "preference-tuning", "reinforce"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How responses are sampled: number per prompt and temperature; a function of the seed.

    With `thought`, a line of so many tokens at most comes before each response.
    """

    samples: int = 8
    temperature: float = 1.0
    max_tokens: int = 16
    seed: int = 0
    thought: int = 0

    def __post_init__(self) -> None:
        for name in ("samples", "temperature", "max_tokens"):
            if not getattr(self, name) > 0:
                raise SettingError(f"{name} is {getattr(self, name)}: use a value above 0")
        if self.thought < 0:
            raise SettingError(f"thought is {self.thought}: use 0 for none, or a number of tokens")

    def to_json(self) -> Json:
        """Return the settings as a job keeps them, without a thought as before there were any."""
        told = asdict(self)
        return told if self.thought else {name: value for name, value in told.items() if name != "thought"}


def ask_responses(
    store: Store,
    model: ModelChoice,
    parts: Sequence[DatasetPart],
    sampling: Sampling,
    judges: Sequence[str] = (),
    most: int | None = None,
    skip: int = 0,
) -> str:
    """Create the job that samples responses to prompts of some data; reward models score them.

    The first `skip` prompts are passed over, and `most` are taken.
    """
    model_registry.require_installed()
    responding_form(store, parts)
    if sampling.thought:
        _form(store, parts).thinking()
    for judge in judges:
        _require_reward_model(store, judge)
    body = {
        "parts": [part.to_json() for part in parts],
        "most": most,
        **({"skip": skip} if skip else {}),
        "sampling": sampling.to_json(),
        "judges": list(judges),
        "dataset": parts[0].dataset,
    }
    return jobs.create(store, JobSpec(RESPOND, body, local(model, "sampled")))


def ask_preference_tuning(
    store: Store,
    run: str,
    settings: PreferenceSettings,
    *,
    name: str | None = None,
    model: ModelChoice | None = None,
    thoughts: str | None = None,
) -> str:
    """Create the job that tunes a policy on the preferences in a run's labels (DPO). Raises NotFound, SettingError.

    A model that was trained here is trained further: its adapter continues, and is the reference as it was. With
    `thoughts`, the job that sampled the run's responses, each is trained together with the thought before it.
    """
    model_registry.require_installed()
    spec = store.spec(run)
    model = local(model or model_registry.base_choice(store, run), "trained")
    form_of(store.dataset_info(spec.dataset).task)
    if (before := trained_before(store, model)) is not None and before["settings"]["rank"] != settings.rank:
        raise SettingError(
            f"{model.model} has rank {before['settings']['rank']}, and is trained further with it: "
            f"use that in place of rank {settings.rank}"
        )
    body = {
        "run": run,
        "name": free_name(store, f"{run}-policy", name),
        "settings": asdict(settings),
        **({"thoughts": thoughts} if thoughts is not None else {}),
    }
    return jobs.create(store, JobSpec(PREFER, body, model))


def with_thoughts(store: Store, job: str, form: Form, made: TrainingSet) -> TrainingSet:
    """Return preference rows in the form `thinking`: each response after the first thought that led to it.

    Raises SettingError if a response is not one of the job's.
    """
    found, _ = _responses(store, job)
    thought = dict[tuple[str, str], str]()
    for asked, texts, lines in zip(found["asked"], found["responses"], found["thoughts"], strict=True):
        for text, line in zip(texts, lines, strict=True):
            thought.setdefault((asked, text), line)
    rows = list[Row]()
    for row in made.rows:
        asked = row.get("prompt", "")
        if unknown := [row[side] for side in SIDES if (asked, row[side]) not in thought]:
            raise SettingError(f"job {job!r} has no response {unknown[0][:60]!r}: name the one that sampled these")
        rows.append({**row, **{side: form.thought_through(thought[asked, row[side]], row[side]) for side in SIDES}})
    return TrainingSet(tuple(rows), made.left_out)


SIDES = ("chosen", "rejected")


def thought_tokens(store: Store, job: str) -> int:
    """Return how many tokens the thoughts of a job of responses have at most."""
    return int(_responses(store, job)[0]["sampling"]["thought"])


def ask_reinforcement(
    store: Store,
    reward: str,
    parts: Sequence[DatasetPart],
    settings: ReinforceSettings,
    *,
    name: str | None = None,
    model: ModelChoice | None = None,
    most: int | None = None,
    judge: str | None = None,
    test: Sequence[DatasetPart] = (),
) -> str:
    """Create the job that trains a policy against a reward model on prompts of some data. Raises SettingError.

    Another reward model can be the `judge` of the checks; by default it is `reward` itself. The prompts of `test` are
    those that the checks use; by default a part of the others is held out for them.
    """
    model_registry.require_installed()
    facts = _require_reward_model(store, reward)
    responding_form(store, parts)
    if judge is not None:
        _require_reward_model(store, judge)
    if test:
        _form(store, [*parts, *test])
    body = {
        "reward": reward,
        "parts": [part.to_json() for part in parts],
        "most": most,
        "dataset": parts[0].dataset,
        "name": free_name(store, f"{reward}-policy", name),
        "settings": asdict(settings),
        **({"judge": judge} if judge is not None else {}),
        **({"test": [part.to_json() for part in test]} if test else {}),
    }
    return jobs.create(store, JobSpec(REINFORCE, body, local(model or model_of(facts), "trained")))


def model_of(facts: Json) -> ModelChoice:
    """Return the base model of a trained one, loaded as it was in training."""
    return ModelChoice(facts["base"], facts["quantization"], facts["dtype"], facts["device"])


def prompts_of(store: Store, parts: Sequence[Json], most: int | None, skip: int = 0) -> tuple[Form, list[str]]:
    """Return the distinct queries or questions of some data, in order: `most` after the first `skip`.

    Raises SettingError if there is none.
    """
    form = _form(store, [DatasetPart.from_json(part) for part in parts])
    asked = dict[str, None]()
    for part in parts:
        rows = store.open_dataset(part["dataset"]).examples
        asked |= dict.fromkeys(form.asked(rows[i]) for i in DatasetPart.from_json(part).places(store))
    found = list(asked)[skip:][:most]
    if not found and skip:
        raise SettingError(
            f"the data has {len(asked):,} prompts, and the first {skip:,} are passed over: use fewer training "
            "prompts, or name another test data set (--test)"
        )
    if not found:
        raise SettingError("there is no prompt to respond to: name data with examples")
    return form, found


@dataclass(frozen=True, slots=True)
class CheckedPrompts:
    """The prompts of a reinforcement: those it trains on, and those whose responses are checked."""

    form: Form
    asked: list[str]
    checked: list[str]

    @property
    def shared(self) -> int:
        """The number of checked prompts that are trained on too."""
        return len(set(self.asked) & set(self.checked))


def checked_prompts(store: Store, body: Json, most: int) -> CheckedPrompts:
    """Return the prompts of a reinforcement, at most `most` of them to be checked.

    The checked ones come from its test data. Without any, one prompt in four is held out, at equal distances and at
    least one; a single prompt is used for both.
    """
    form, asked = prompts_of(store, body["parts"], body["most"])
    if "test" in body:
        _, others = prompts_of(store, body["test"], None)
        return CheckedPrompts(form, asked, _spread(others, min(most, len(others))))
    if len(asked) == 1:
        return CheckedPrompts(form, asked, asked)
    held_out = _spread(asked, min(most, max(1, len(asked) // 4)))
    return CheckedPrompts(form, [one for one in asked if one not in held_out], held_out)


def _spread(some: Sequence[str], count: int) -> list[str]:
    """That many, at equal distances."""
    return [some[k * len(some) // count] for k in range(count)]


COLLAPSED = 0.5  # half of the variety of the start is gone, and half of the highest gain: no noise of a check does both
ALL_STEPS, NO_BETTER, HAS_COLLAPSED = (
    "all steps taken",
    "no higher judged reward",
    "collapsed",
)  # why a reinforcement ended


def has_collapsed(checks: Sequence[Json]) -> bool:
    """Say whether a policy has lost its variety for nothing, by its checks so far, the start first.

    A policy that has found the one right answer to each prompt loses variety too. So a low share of distinct responses
    counts only where the judged reward has also lost its gain over the start.
    """
    start, last = checks[0], checks[-1]
    gain, highest = last["judged"] - start["judged"], max(one["judged"] - start["judged"] for one in checks)
    return bool(last["distinct"] < COLLAPSED * start["distinct"] and gain <= COLLAPSED * highest)


def why_ended(checks: Sequence[Json], done: bool) -> str:
    """Return why a reinforcement ended; `done` if it took all of its steps."""
    return ALL_STEPS if done else HAS_COLLAPSED if has_collapsed(checks) else NO_BETTER


def check_notes(facts: Json) -> list[str]:
    """Return how a policy was checked, and what limits that, in sentences; none for a model without checks."""
    if not facts.get("checks"):
        return []
    held_out = facts["held_out"]
    notes = [
        f"Checked on prompts: {held_out['prompts']}, with {held_out['responses']} responses each, scored by "
        f"{facts['judge']!r}."
    ]
    if facts["judge"] == facts["reward"]:
        notes.append("The checks used the reward model of the training: a policy judged by its own reward cannot show "
                     "over-optimisation.")  # fmt: skip
    if held_out["trained_on"]:
        notes.append(f"Trained on too: {held_out['trained_on']} of the {held_out['prompts']} checked prompts.")
    return notes


def responding_form(store: Store, parts: Sequence[DatasetPart]) -> Form:
    """Return how a policy responds to the prompts of some data. Raises SettingError if it cannot."""
    form = _form(store, parts)
    if not form.ends_with_a_line:
        raise SettingError(
            f"the template continues on the line of the response ({form.after!r}): a policy cannot end it"
        )
    return form


def _form(store: Store, parts: Sequence[DatasetPart]) -> Form:
    if not parts:
        raise SettingError("no data set is named: responses need prompts")
    forms = {form_of(store.dataset_info(part.dataset).task) for part in parts}
    if len(forms) > 1:
        raise SettingError(f"data sets {', '.join(p.dataset for p in parts)} have different templates: use one task's")
    return forms.pop()


def _require_reward_model(store: Store, name: str) -> Json:
    facts = model_registry.model_facts(store, name)
    if facts["kind"] != KIND:
        raise SettingError(f"{name!r} is not a reward model, but comes from {facts['kind']}: train one (`reward RUN`)")
    return facts


def trained_before(store: Store, model: ModelChoice) -> Json | None:
    """Return the facts of a model that was trained here; None for any other. Raises NotFound, SettingError."""
    if not model.model.startswith(model_registry.PREFIX):
        return None
    facts = model_registry.model_facts(store, model.model.removeprefix(model_registry.PREFIX))
    if facts["kind"] == KIND:
        raise SettingError(f"{model.model} is a reward model, which gives no responses: name a policy or a model")
    return facts


def local(model: ModelChoice, what: str) -> ModelChoice:
    """Return a model that can be trained or sampled by this process. Raises SettingError for any other."""
    if model.model == "fake":
        raise SettingError(f"the fake model cannot be {what}: name a real one (--model)")
    if is_server(model.model):
        raise SettingError(f"a model behind a server cannot be {what} here: name one on this machine (--model)")
    return model


def keep_responses(
    store: Store,
    job: str,
    name: str,
    rule: str = "none",
    beside: str | None = None,
    read_answer: Callable[[str], str | None] | None = None,
) -> Dataset:
    """Store the distinct responses of a finished job as a data set under a rule. Raises NotFound, SettingError.

    Those of a job `beside` it, to the same prompts, are stored with them: claims together; in a pair, response k of
    `job` is A and response k of `beside` is B. Pairs always get the rule asymmetry. Where the data of the prompts has
    final answers, `read_answer` reads those of claims. A prompt with only equal responses gives nothing to judge.
    """
    found, dataset = _responses(store, job)
    others = _responses(store, beside)[0]["responses"] if beside is not None else [None] * len(found["asked"])
    task = store.dataset_info(dataset).task
    form = form_of(task)
    rule = rule if form.answered == CLAIM else "asymmetry"
    rule_class(rule)
    read = read_answer if store.has_answers(dataset) else None
    examples = tuple(
        example
        for number, (asked, some, other) in enumerate(zip(found["asked"], found["responses"], others, strict=True))
        for example in _examples(form, f"{name}-{number}", asked, _to_judge(form, some, other), read)
    )
    if not examples:
        raise NothingToPrefer(f"job {job!r} has no prompt with two different responses: sample more of them")
    columns = (*([form.asking] if form.asking else []), *form.answered)
    made = Dataset(
        name,
        replace(task, rule=rule),
        examples,
        tuple(dict(example.fields) for example in examples),
        columns,
        f"{RESPONSES_OF}{found['model']} ({job})",
    )
    store.add_dataset(made)
    return made


RULES_OF_RESPONSES = {"exactly-one": "exclusive"}  # of sampled responses none need be right


def rule_of_responses(store: Store, dataset: str) -> str:
    """Return the rule for claims that were sampled from the prompts of a data set: its own, as far as it holds."""
    own = store.dataset_info(dataset).task.rule
    return RULES_OF_RESPONSES.get(own, own)


def _responses(store: Store, job: str) -> tuple[Json, str]:
    """The result of a finished job of responses, and the data set of its prompts. Raises NotFound."""
    found, spec = jobs.result(store, job), jobs.spec(store, job)
    if spec.kind != RESPOND or found is None:
        raise NotFound(f"job {job!r} has no responses: use a finished job of kind {RESPOND}")
    return found, spec.body["dataset"]


def _to_judge(form: Form, some: Sequence[str], others: Sequence[str] | None) -> list[str]:
    """The responses to a prompt that are judged: distinct ones, or pairs of two policies one after the other."""
    if others is not None and form.answered != CLAIM:
        pairs = [(a, b) for a, b in zip(some, others, strict=True) if a and b and a != b]
        return [text for pair in dict.fromkeys(pairs) for text in pair]
    return list(dict.fromkeys(filter(None, [*some, *(others or ())])))


def _examples(
    form: Form, stem: str, asked: str, texts: Sequence[str], read: Callable[[str], str | None] | None
) -> list[Example]:
    """Each claim, or each two neighbouring responses as a pair and its twin; nothing for a single text."""
    if len(texts) < 2:
        return []
    shown = {form.asking: asked} if form.asking else {}
    if form.answered == CLAIM:
        answers = [read(text) if read else None for text in texts]
        return [
            Example(f"{stem}-{k}", {**shown, "claim": text}, stem, answer)
            for k, (text, answer) in enumerate(zip(texts, answers, strict=True))
        ]
    made = list[Example]()
    for k in range(0, len(texts) - 1, 2):
        name, (a, b) = f"{stem}-{k // 2}", texts[k : k + 2]
        made.append(Example(name, {**shown, "response_a": a, "response_b": b}, name))
        made.append(Example(f"{name}-swapped", {**shown, "response_a": b, "response_b": a}, name, twin_of=name))
    return made
