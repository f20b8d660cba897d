"""Policies: sampling responses, preference tuning (DPO), and training against a reward model (RLOO)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from icm_engine.baselines.generation import Generated, GenerationRequest
from icm_engine.core.errors import SettingError
from icm_engine.core.rng import seed_of
from icm_engine.core.settings import ModelChoice
from icm_engine.core.training_rows import Form, Row
from icm_engine.jobs import policies
from icm_engine.jobs.finetuning import labels_sha256
from icm_engine.jobs.job_process import Job
from icm_engine.jobs.policies import PreferenceSettings, ReinforceSettings, Sampling, settings_from
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
    answers = sample(loaded, form, asked, Sampling(**body["sampling"]))
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
    }


def load_choice(store: Store, choice: ModelChoice) -> LoadedModel:
    """Load the model of a job; `trained:NAME` is looked up beside the database."""
    return load(model_registry.located(store, choice))


def sample(loaded: LoadedModel, form: Form, asked: Sequence[str], how: Sampling) -> list[list[Generated]]:
    """Return that many responses to each prompt, independent of what else is requested."""
    generator = Continuer(loaded)
    requests = [GenerationRequest(form.prompt(one)) for one in asked]
    rounds = [
        generator.generate(requests, how.max_tokens, how.temperature, seed_of(how.seed, k)) for k in range(how.samples)
    ]
    return [[one[k] for one in rounds] for k in range(len(asked))]


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


Reward = Callable[..., list[float]]


def reinforce(job: Job) -> Json:
    """Train a policy on rewards; return the facts of its adapter. Raises IcmError, Cancelled."""
    trainers.require()
    body, choice = job.spec.body, require_choice(job)
    if body["name"] in model_registry.names(job.store):
        return model_registry.model_facts(job.store, body["name"])
    settings, folder = (
        settings_from(ReinforceSettings, body["settings"]),
        model_registry.workplace(job.store, body["name"]),
    )
    form, asked = policies.prompts_of(job.store, body["parts"], body["most"])
    judge = model_registry.model_facts(job.store, body["reward"])
    loaded = load_choice(job.store, choice)
    own = load(policies.model_of(judge))
    model = load_rewards(own, model_registry.folder(job.store, body["reward"]))
    job.ready({"reward": body["reward"], "prompts": len(asked)})
    trainer = make_rloo_trainer(loaded, form, asked, reward_of(model, RewardReader(own, form)), settings, folder)
    told = trainers.train(trainer, job, folder)
    logs = [log for log in trainer.state.log_history if "reward" in log]
    facts = {
        **adapter_facts(job, choice.model),
        **training_facts(loaded, trainer, told),
        "runs": judge["runs"],
        "supervised": judge["supervised"],
        "reward": body["reward"],
        "prompts": len(asked),
        "rows": judge["rows"],
        "left_out": judge["left_out"],
        "labels_sha256": judge["labels_sha256"],
        "first_reward": logs[0]["reward"],
        "last_reward": logs[-1]["reward"],
        "last_kl": logs[-1]["kl"],
    }
    model_registry.put(job.store, body["name"], lambda place: save_adapter(trainer.model, place, facts), facts)
    return facts


def reward_of(model: Any, reader: RewardReader) -> Reward:
    """Return the reward function for trl: the prompts' questions and sampled responses, row by row."""

    def reward(completions: Sequence[str], asked: Sequence[str], **unused: Any) -> list[float]:
        rows = [reader.whole(one, first_line(text)) for one, text in zip(asked, completions, strict=True)]
        return rewards(model, rows)

    return reward


def make_rloo_trainer(
    loaded: LoadedModel, form: Form, asked: Sequence[str], reward: Reward, settings: ReinforceSettings, folder: Path
) -> Any:
    """Return the trainer. A response ends with its line, as in sampling; a prompt always has the same tokens."""
    from datasets import Dataset
    from trl import RLOOConfig, RLOOTrainer

    if settings.responses < 2:
        raise SettingError(f"responses is {settings.responses}: rewards are compared within a prompt, use 2 or more")
    loaded.model.generation_config.eos_token_id = line_ends(loaded)
    config = RLOOConfig(
        **trainers.arguments(loaded, folder, settings.steps, settings),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.prompts * settings.responses,
        num_generations=settings.responses,
        max_completion_length=settings.max_tokens,
        temperature=1.0,
        beta=settings.beta,
    )
    beginning = _beginning(loaded)
    again = math.ceil(settings.prompts / len(asked))  # a step takes whole batches of prompts
    rows = [{"prompt": beginning + form.prompt(one), "asked": one} for one in asked] * again
    trainer = RLOOTrainer(
        model=loaded.model,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=loaded.tokenizer,
        peft_config=lora(settings.rank),
    )
    return in_float32(trainer)


def _beginning(loaded: LoadedModel) -> str:
    """The beginning-of-sequence token as text, for tokenizers that have one and do not add it themselves."""
    tokenizer = loaded.tokenizer
    own = tokenizer.bos_token_id
    adds = own is not None and tokenizer("a")["input_ids"][:1] == [own]
    return "" if own is None or adds else str(tokenizer.bos_token)
