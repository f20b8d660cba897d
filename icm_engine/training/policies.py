"""Policies: sampling responses, preference tuning (DPO), and training against a reward model (RLOO)."""

import math
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from transformers import TrainerCallback

from icm_engine.baselines.generation import Generated, GenerationRequest
from icm_engine.core.errors import SettingError
from icm_engine.core.rng import random_of, seed_of
from icm_engine.core.settings import ModelChoice
from icm_engine.core.training_rows import Form, Row
from icm_engine.jobs import policies
from icm_engine.jobs.finetuning import labels_sha256
from icm_engine.jobs.job_process import Job
from icm_engine.jobs.policies import CheckedPrompts, PreferenceSettings, ReinforceSettings, Sampling, settings_from
from icm_engine.models.generator import Continuer, first_line, line_ends
from icm_engine.models.loading import LoadedModel, load
from icm_engine.runs import model_registry
from icm_engine.store.events import Json
from icm_engine.store.store import Store
from icm_engine.training import trainers
from icm_engine.training.reward_model import RewardReader, load_rewards, rewards
from icm_engine.training.trainers import adapter_facts, in_float32, lora, require_choice, save_adapter, training_facts


def respond(job: Job) -> Json:
    """Sample responses to every prompt, and have reward models score them. Raises IcmError, Cancelled."""
    trainers.require()
    body, choice = job.spec.body, job.spec.model
    if choice is None:
        raise SettingError("responses need a model: name one (--model)")
    form, asked = policies.prompts_of(job.store, body["parts"], body["most"], body.get("skip", 0))
    loaded = load_choice(job.store, choice)
    job.ready({"model": choice.model, "prompts": len(asked)})
    how = Sampling(**body["sampling"])
    thoughts = think(loaded, form, asked, how) if how.thought else None
    answers = sample(loaded, form, asked, how, thoughts)
    texts = [[answer.text for answer in some] for some in answers]
    judged: Json = {}
    for judge in body["judges"]:
        job.progress(len(judged), len(body["judges"]), f"judging by {judge}")
        judged[judge] = judge_responses(job.store, judge, form, asked, texts)
    return {
        "model": choice.model,
        "asked": asked,
        "responses": texts,
        "rewards": judged,
        "cut": sum(not answer.ended for some in answers for answer in some),
        "sampling": body["sampling"],
        **({"thoughts": thoughts} if thoughts else {}),
    }


def load_choice(store: Store, choice: ModelChoice) -> LoadedModel:
    """Load the model of a job; `trained:NAME` is looked up beside the database."""
    return load(model_registry.located(store, choice))


Thoughts = Sequence[Sequence[str]]  # by prompt: one for each of its responses


def sample(
    loaded: LoadedModel, form: Form, asked: Sequence[str], how: Sampling, thoughts: Thoughts | None = None
) -> list[list[Generated]]:
    """Return that many responses to each prompt, after its thoughts if any; independent of what else is requested."""
    if thoughts is None:
        prompts = [[form.prompt(one)] * how.samples for one in asked]
    else:
        opened = form.thinking()
        prompts = [
            [opened.prompt(one) + opened.lead + form.thought_through(thought) for thought in some]
            for one, some in zip(asked, thoughts, strict=True)
        ]
    generator = Continuer(loaded)
    rounds = [
        generator.generate(
            [GenerationRequest(some[k]) for some in prompts], how.max_tokens, how.temperature, seed_of(how.seed, k)
        )
        for k in range(how.samples)
    ]
    return [[one[k] for one in rounds] for k in range(len(asked))]


def think(loaded: LoadedModel, form: Form, asked: Sequence[str], how: Sampling) -> list[list[str]]:
    """Return a line of thought for each response to each prompt; one that reached its limit is cut there."""
    lines = sample(loaded, form.thinking(), asked, replace(how, max_tokens=how.thought))
    return [[line.text for line in some] for some in lines]


def judge_responses(
    store: Store, judge: str, form: Form, asked: Sequence[str], texts: Sequence[Sequence[str]]
) -> list[list[float]]:
    """Return a reward model's reward of each response, computed on the base it was trained from."""
    facts = model_registry.model_facts(store, judge)
    loaded = load(policies.model_of(facts))
    reader, model = RewardReader(loaded, form), load_rewards(loaded, Path(model_registry.folder(store, judge)))
    rows = [reader.whole(one, text) for one, some in zip(asked, texts, strict=True) for text in some]
    found = iter(rewards(model, rows))
    return [[next(found) for _ in some] for some in texts]


def prefer(job: Job) -> Json:
    """Tune a policy on a run's preferences; return the facts of its adapter. Raises IcmError, Cancelled."""
    trainers.require()
    body, choice = job.spec.body, require_choice(job)
    if body["name"] in model_registry.names(job.store):
        return model_registry.model_facts(job.store, body["name"])
    form, made = policies.preferences(job.store, body["run"])
    if "thoughts" in body:
        made = policies.with_thoughts(job.store, body["thoughts"], form, made)
        form = form.thinking()
    trainers.require_same(job, made.rows)
    settings, folder = (
        settings_from(PreferenceSettings, body["settings"]),
        model_registry.workplace(job.store, body["name"]),
    )
    before = policies.trained_before(job.store, choice)
    loaded = load_choice(job.store, replace(choice, model=before["base"]) if before else choice)
    job.ready({"run": body["run"], "rows": len(made.rows)})
    further = model_registry.folder(job.store, before["name"]) if before else None
    trainer = make_dpo_trainer(loaded, RewardReader(loaded, form), made.rows, settings, folder, further)
    told = trainers.train(trainer, job, folder)
    facts = {
        **adapter_facts(job, before["base"] if before else choice.model),
        **training_facts(loaded, trainer, told),
        "runs": [*(before["runs"] if before else ()), trainers.about_run(job.store, body["run"])],
        "supervised": job.store.spec(body["run"]).supervised or bool(before and before["supervised"]),
        **({"continues": before["name"]} if before else {}),
        **({"thought": policies.thought_tokens(job.store, body["thoughts"])} if "thoughts" in body else {}),
        "rows": len(made.rows),
        "left_out": dict(made.left_out),
        "labels_sha256": labels_sha256(made.rows),
    }
    model_registry.put(job.store, body["name"], lambda place: save_adapter(trainer.model, place, facts), facts)
    return facts


def make_dpo_trainer(
    loaded: LoadedModel,
    reader: RewardReader,
    rows: Sequence[Row],
    settings: PreferenceSettings,
    folder: Path,
    further: Path | None = None,
) -> Any:
    """Return the trainer; the reference is the model without its adapter, or the adapter `further` as it was."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    steps = settings.steps_for(len(rows))
    config = DPOConfig(
        **trainers.arguments(loaded, folder, steps, settings),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        max_length=None,
        beta=settings.beta,
        **(
            {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, settings.likelihood]} if settings.likelihood else {}
        ),
    )
    tokens = [
        {
            "prompt_ids": reader.prompt(row.get("prompt", "")),
            **{f"{side}_ids": reader.response(row[side]) for side in ("chosen", "rejected")},
        }
        for row in rows
    ]

    class TokenTrainer(DPOTrainer):  # type: ignore[misc]
        """Takes rows of tokens; trl's own trainer would tokenise texts again, across their joints, and add an end."""

        def _prepare_dataset(self, dataset: Any, *unused: Any) -> Any:
            return dataset

    trainer = TokenTrainer(
        model=loaded.model if further is None else _with_adapter(loaded, further),
        args=config,
        train_dataset=Dataset.from_list(tokens),
        processing_class=loaded.tokenizer,
        peft_config=lora(settings.rank) if further is None else None,  # trl keeps a copy of a given adapter
    )
    return in_float32(trainer)


def _with_adapter(loaded: LoadedModel, adapter: Path) -> Any:
    """The model with an adapter that is to be trained further."""
    from peft import PeftModel

    joined = PeftModel.from_pretrained(loaded.model, adapter, is_trainable=True, torch_device=loaded.device)
    joined.peft_config["default"].base_model_name_or_path = loaded.model.name_or_path  # a checkpoint asks no hub
    return joined


# -- reinforcement

Reward = Callable[..., list[float | None]]
START = "checkpoint-0"  # the policy before its first step; it cannot be resumed from, since it has no state


def reinforce(job: Job) -> Json:
    """Train a policy on rewards and keep it as it was when the judge's reward was highest; return its facts.

    Raises IcmError, Cancelled.
    """
    trainers.require()
    body, choice = job.spec.body, require_choice(job)
    if body["name"] in model_registry.names(job.store):
        return model_registry.model_facts(job.store, body["name"])
    settings, folder = (
        settings_from(ReinforceSettings, body["settings"]),
        model_registry.workplace(job.store, body["name"]),
    )
    prompts = policies.checked_prompts(job.store, body, settings.held_out)
    judge = str(body.get("judge", body["reward"]))
    loaded = load_choice(job.store, choice)
    by = [reward_named(job.store, name, prompts.form) for name in dict.fromkeys([body["reward"], judge])]
    job.ready({"reward": body["reward"], "prompts": len(prompts.asked)})
    trainer = make_rloo_trainer(loaded, prompts, by, settings, folder)
    told = trainers.train(trainer, job, folder)
    facts = {
        **adapter_facts(job, choice.model),
        **training_facts(loaded, trainer, told),
        **_rewarded(job.store, body["reward"], judge),
        **_went(trainer),
        "prompts": len(prompts.asked),
        "held_out": {
            "prompts": len(prompts.checked),
            "responses": trainer.num_generations_eval,
            "trained_on": prompts.shared,
        },
    }
    model_registry.put(job.store, body["name"], lambda place: _save_both(trainer, place, facts), facts)
    return facts


WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
LAST = "last"  # folder of the policy after its last step, below the one that is kept


def _save_both(trainer: Any, place: Path, facts: Json) -> None:
    """Write the policy as it was at the step that is kept, and below it that of the last step if it is another."""
    save_adapter(trainer.model, place, facts)
    if facts["kept_step"] == facts["steps"]:
        return
    last = trainers.last_checkpoint(Path(trainer.args.output_dir))
    assert last is not None  # a training ends with one
    (place / LAST).mkdir()
    shutil.copyfile(last / WEIGHTS, place / LAST / WEIGHTS)
    shutil.copyfile(place / CONFIG, place / LAST / CONFIG)


def _rewarded(store: Store, reward: str, judge: str) -> Json:
    """Whose labels a policy learned from; the judge decided which step was kept, so its supervision is inherited."""
    facts = model_registry.model_facts(store, reward)
    return {
        **{name: facts[name] for name in ("runs", "rows", "left_out", "labels_sha256")},
        "supervised": facts["supervised"] or model_registry.model_facts(store, judge)["supervised"],
        "reward": reward,
        "judge": judge,
    }


def _went(trainer: Any) -> Json:
    """How rewards went in training, what the checks found, which step was kept, and why the training ended."""
    state, checks = trainer.state, trainers.checks_of(trainer.state.log_history)
    logs = [log for log in state.log_history if "reward" in log]
    return {
        "first_reward": logs[0]["reward"],
        "last_reward": logs[-1]["reward"],
        "last_kl": logs[-1]["kl"],
        "checks": checks,
        "kept_step": state.best_global_step,
        "ended": policies.why_ended(checks, done=state.global_step >= state.max_steps),
    }


def reward_named(store: Store, name: str, form: Form) -> Reward:
    """Return a reward model as a reward function for trl, on the base it was trained from."""
    own = load(policies.model_of(model_registry.model_facts(store, name)))
    return reward_of(load_rewards(own, model_registry.folder(store, name)), RewardReader(own, form))


def reward_of(model: Any, reader: RewardReader) -> Reward:
    """Return the reward function for trl: the prompts' questions and sampled responses, row by row."""

    def reward(completions: Sequence[str], asked: Sequence[str], **unused: Any) -> list[float | None]:
        rows = [reader.whole(one, first_line(text)) for one, text in zip(asked, completions, strict=True)]
        return list(rewards(model, rows))

    return reward


def _own(reward: Reward) -> Reward:
    """The reward that is trained on, which logs how many responses to a prompt are distinct."""

    def own(completions: Sequence[str], asked: Sequence[str], log_metric: Any, **more: Any) -> list[float | None]:
        texts = defaultdict[str, list[str]](list)
        for one, text in zip(asked, completions, strict=True):
            texts[one].append(first_line(text))
        log_metric(trainers.DISTINCT, fmean(len(set(some)) / len(some) for some in texts.values()))
        return reward(completions=completions, asked=asked)

    return own


def _judged(reward: Reward) -> Reward:
    """The judge's reward, which trains nothing: of responses in training it is not computed."""

    def judged(
        completions: Sequence[str], asked: Sequence[str], checked: Sequence[bool], **more: Any
    ) -> list[float | None]:
        return reward(completions=completions, asked=asked) if all(checked) else [None] * len(completions)

    return judged


def make_rloo_trainer(
    loaded: LoadedModel,
    prompts: CheckedPrompts,
    by: Sequence[Reward],
    settings: ReinforceSettings,
    folder: Path,
) -> Any:
    """Return the trainer, with the reward to train on and, if there is another one, the judge's.

    A response ends with its line, as in sampling; a prompt always has the same tokens.
    """
    from datasets import Dataset
    from transformers import EarlyStoppingCallback
    from trl import RLOOTrainer

    if settings.responses < 2:
        raise SettingError(f"responses is {settings.responses}: rewards are compared within a prompt, use 2 or more")
    loaded.model.generation_config.eos_token_id = line_ends(loaded)
    beginning = _beginning(loaded)

    def rows(some: Sequence[str], checked: bool) -> list[Json]:
        return [{"prompt": beginning + prompts.form.prompt(one), "asked": one, "checked": checked} for one in some]

    trainer = RLOOTrainer(
        model=loaded.model,
        reward_funcs=[_own(by[0]), *map(_judged, by[1:])],
        args=_rloo_config(loaded, len(prompts.checked), len(by), settings, folder),
        train_dataset=Dataset.from_list(rows(in_order(prompts.asked, settings), False)),
        eval_dataset=Dataset.from_list(rows(prompts.checked, True)),
        processing_class=loaded.tokenizer,
        peft_config=lora(settings.rank),
        callbacks=[EarlyStoppingCallback(settings.patience), CheckCallback()],
    )
    return in_float32(trainer)


def _rloo_config(loaded: LoadedModel, checked: int, rewards: int, settings: ReinforceSettings, folder: Path) -> Any:
    """The arguments of the trainer. A check has about as many responses as a step, in one batch."""
    from trl import RLOOConfig

    every = max(1, settings.steps // settings.checks)
    samples = max(2, settings.prompts * settings.responses // checked)
    how = {
        **trainers.arguments(loaded, folder, settings.steps, settings),
        "save_steps": every,
        "eval_strategy": "steps",
        "eval_steps": every,
        "eval_on_start": trainers.last_checkpoint(folder) is None,  # a resumed training has its first check already
        "load_best_model_at_end": True,
        "metric_for_best_model": f"rewards/{trainers.JUDGED if rewards > 1 else trainers.OWN}/mean",
        "greater_is_better": True,
        "restore_callback_states_from_checkpoint": True,  # how long there was no higher reward
    }
    return RLOOConfig(
        **how,
        max_steps=settings.steps,
        per_device_train_batch_size=settings.prompts * settings.responses,
        per_device_eval_batch_size=checked * samples,
        num_generations=settings.responses,
        num_generations_eval=samples,
        max_completion_length=settings.max_tokens,
        temperature=1.0,
        beta=settings.beta,
        reward_weights=[1.0, 0.0][:rewards],
        shuffle_dataset=False,  # trl's shuffle begins anew when a training is resumed
    )


def in_order(asked: Sequence[str], settings: ReinforceSettings) -> list[str]:
    """Return the prompts of all steps, one after the other: every prompt once in a new order, and again."""
    order, passes = random_of(settings.seed, 0), math.ceil(settings.steps * settings.prompts / len(asked))
    return [one for _ in range(passes) for one in order.sample(asked, len(asked))]


class CheckCallback(TrainerCallback):  # type: ignore[misc]
    """Lets the start be the best step so far, and ends a training whose policy has collapsed.

    The trainer itself keeps the best of the later steps, and early stopping counts those that are no better.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        if state.best_global_step is not None:  # a resumed training, whose folder may have been moved with its database
            state.best_model_checkpoint = str(Path(args.output_dir) / f"checkpoint-{state.best_global_step}")

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Json, model: Any, **unused: Any) -> None:
        now = metrics[f"eval_{args.metric_for_best_model}"]
        if state.global_step == 0:
            place = Path(args.output_dir) / START
            model.save_pretrained(place, safe_serialization=True, save_embedding_layers=False)
            state.best_metric, state.best_global_step, state.best_model_checkpoint = now, 0, str(place)
        elif policies.has_collapsed(trainers.checks_of(state.log_history)):
            control.should_training_stop = True


def _beginning(loaded: LoadedModel) -> str:
    """The beginning-of-sequence token as text, for tokenizers that have one and do not add it themselves."""
    tokenizer = loaded.tokenizer
    own = tokenizer.bos_token_id
    adds = own is not None and tokenizer("a")["input_ids"][:1] == [own]
    return "" if own is None or adds else str(tokenizer.bos_token)
