"""A policy trained by reinforcement against a reward model, by trl's RLOOTrainer (leave-one-out baselines)."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from icm_engine.core.errors import SettingError
from icm_engine.core.responses import Form
from icm_engine.models.continuing import first_line, line_ends
from icm_engine.models.loading import LoadedModel, load
from icm_engine.runs import policies, trained
from icm_engine.runs.events import Json
from icm_engine.runs.job_process import Job
from icm_engine.runs.loop_settings import ReinforceSettings, settings_from
from icm_engine.training import packages, trainers
from icm_engine.training.policy_files import in_float32, lora, policy_facts, require_choice, save_policy
from icm_engine.training.responding import load_choice
from icm_engine.training.reward_heads import Reader, load_rewards, rewards

Reward = Callable[..., list[float]]


def reinforce(job: Job) -> Json:
    """Train a policy on rewards, and return the facts of its adapter. Raises IcmError, Cancelled."""
    packages.require()
    body, choice = job.spec.body, require_choice(job)
    if body["name"] in trained.names(job.store):
        return trained.facts(job.store, body["name"])
    settings, folder = settings_from(ReinforceSettings, body["settings"]), trained.workplace(job.store, body["name"])
    form, asked = policies.prompts_of(job.store, body["parts"], body["most"])
    judge = trained.facts(job.store, body["reward"])
    loaded = load_choice(job.store, choice)
    own = load(judge["base"], judge["quantization"], judge["dtype"], judge["device"])
    model = load_rewards(own, trained.folder(job.store, body["reward"]))
    job.ready({"reward": body["reward"], "prompts": len(asked)})
    trainer = make_trainer(loaded, form, asked, reward_of(model, Reader(own, form)), settings, folder)
    told = trainers.train(trainer, job, folder)
    logs = [log for log in trainer.state.log_history if "reward" in log]
    facts = policy_facts(job, loaded, trainer, told, policies.REINFORCE) | {
        "runs": judge["runs"], "supervised": judge["supervised"], "reward": body["reward"], "prompts": len(asked),
        "rows": judge["rows"], "left_out": judge["left_out"], "labels_sha256": judge["labels_sha256"],
        "first_reward": logs[0]["reward"], "last_reward": logs[-1]["reward"], "last_kl": logs[-1]["kl"],
    }  # fmt: skip
    trained.put(job.store, body["name"], lambda place: save_policy(trainer.model, place, facts), facts)
    return facts


def reward_of(model: Any, reader: Reader) -> Reward:
    """Return the function that trl asks for rewards: the prompts' own questions and what was sampled, line by line."""

    def reward(completions: Sequence[str], asked: Sequence[str], **unused: Any) -> list[float]:
        rows = [reader.whole(one, first_line(text)) for one, text in zip(asked, completions, strict=True)]
        return rewards(model, rows)

    return reward


def make_trainer(
    loaded: LoadedModel, form: Form, asked: Sequence[str], reward: Reward, settings: ReinforceSettings, folder: Path
) -> Any:
    """Return the trainer. A response ends with its line, as in sampling; a prompt is the tokens it always is."""
    from datasets import Dataset
    from trl import RLOOConfig, RLOOTrainer

    if settings.responses < 2:
        raise SettingError(f"responses is {settings.responses}: rewards are compared within a prompt, use 2 or more")
    loaded.model.generation_config.eos_token_id = line_ends(loaded)
    config = RLOOConfig(
        **trainers.arguments(loaded, folder, settings.steps, settings.seed),
        max_steps=settings.steps, learning_rate=settings.learning_rate, lr_scheduler_type="linear",
        per_device_train_batch_size=settings.prompts * settings.responses, num_generations=settings.responses,
        max_completion_length=settings.max_tokens, temperature=1.0, beta=settings.beta, weight_decay=0.0,
    )  # fmt: skip
    beginning = _beginning(loaded)
    again = math.ceil(settings.prompts / len(asked))  # a step takes whole batches of prompts, or none
    rows = [{"prompt": beginning + form.prompt(one), "asked": one} for one in asked] * again
    trainer = RLOOTrainer(
        model=loaded.model, reward_funcs=reward, args=config, train_dataset=Dataset.from_list(rows),
        processing_class=loaded.tokenizer, peft_config=lora(settings.rank),
    )  # fmt: skip
    return in_float32(trainer)


def _beginning(loaded: LoadedModel) -> str:
    """The beginning of a sequence as text, for tokenizers that have one and do not put it there by themselves."""
    tokenizer = loaded.tokenizer
    own = tokenizer.bos_token_id
    adds = own is not None and tokenizer("a")["input_ids"][:1] == [own]
    return "" if own is None or adds else str(tokenizer.bos_token)
