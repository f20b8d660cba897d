"""A policy tuned on the preferences in a run's labels: direct preference optimisation by trl's DPOTrainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icm_engine.core.training_rows import Row
from icm_engine.models.loading import LoadedModel
from icm_engine.runs import policies, rewarding, trained
from icm_engine.runs.events import Json
from icm_engine.runs.finetuning import labels_sha256
from icm_engine.runs.job_process import Job
from icm_engine.runs.loop_settings import PreferenceSettings, settings_from
from icm_engine.training import cards, packages, trainers
from icm_engine.training.policy_files import in_float32, lora, policy_facts, require_choice, save_policy
from icm_engine.training.responding import load_choice
from icm_engine.training.reward_heads import Reader


def prefer(job: Job) -> Json:
    """Tune a policy on the preferences of a run, and return the facts of its adapter. Raises IcmError, Cancelled."""
    packages.require()
    body, choice = job.spec.body, require_choice(job)
    if body["name"] in trained.names(job.store):
        return trained.facts(job.store, body["name"])
    form, made = rewarding.preferences(job.store, body["run"])
    rewarding.require_same(job, labels_sha256(made.rows))
    settings, folder = settings_from(PreferenceSettings, body["settings"]), trained.workplace(job.store, body["name"])
    loaded = load_choice(job.store, choice)
    job.ready({"run": body["run"], "rows": len(made.rows)})
    trainer = make_trainer(loaded, Reader(loaded, form), made.rows, settings, folder)
    told = trainers.train(trainer, job, folder)
    facts = policy_facts(job, loaded, trainer, told, policies.PREFER) | {
        "runs": [cards.about_run(job.store, body["run"])], "supervised": job.store.spec(body["run"]).supervised,
        "rows": len(made.rows), "left_out": dict(made.left_out), "labels_sha256": labels_sha256(made.rows),
    }  # fmt: skip
    trained.put(job.store, body["name"], lambda place: save_policy(trainer.model, place, facts), facts)
    return facts


def make_trainer(
    loaded: LoadedModel, reader: Reader, rows: Sequence[Row], settings: PreferenceSettings, folder: Path
) -> Any:
    """Return the trainer; the reference is the model itself without its adapter."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    config = DPOConfig(
        **trainers.arguments(loaded, folder, settings.steps, settings.seed),
        max_steps=settings.steps, learning_rate=settings.learning_rate, lr_scheduler_type="linear",
        per_device_train_batch_size=settings.batch_size, weight_decay=0.0, max_length=None, beta=settings.beta,
    )  # fmt: skip
    tokens = [
        {
            "prompt_ids": reader.prompt(row.get("prompt", "")),
            **{f"{side}_ids": reader.response(row[side]) for side in ("chosen", "rejected")},
        }
        for row in rows
    ]

    class TokenTrainer(DPOTrainer):  # type: ignore[misc]
        """Takes rows of tokens: trl's own would tokenise texts again, across what joins them, and add an end."""

        def _prepare_dataset(self, dataset: Any, *unused: Any) -> Any:
            return dataset

    trainer = TokenTrainer(
        model=loaded.model, args=config, train_dataset=Dataset.from_list(tokens), processing_class=loaded.tokenizer,
        peft_config=lora(settings.rank),
    )  # fmt: skip
    return in_float32(trainer)
