"""What policies share: the adapter they are, its facts and its folder."""

from pathlib import Path
from typing import Any

from icm_engine.core.errors import SettingError
from icm_engine.models.loading import LoadedModel
from icm_engine.runs.events import Json
from icm_engine.runs.job_process import Job
from icm_engine.runs.jobs import ModelChoice
from icm_engine.training import cards, packages

SCALE = 2  # LoRA's alpha by its rank


def require_choice(job: Job) -> ModelChoice:
    """Return the model that a job names. Raises SettingError."""
    if job.spec.model is None:
        raise SettingError(f"{job.spec.kind} needs a model to begin from: name one (--model)")
    return job.spec.model


def lora(rank: int) -> Any:
    """Return a LoRA of this rank beside every linear layer."""
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules="all-linear", task_type="CAUSAL_LM")


def in_float32(trainer: Any) -> Any:
    """Return the trainer with its adapter in float32: trl makes it bfloat16 beside quantized weights."""
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:  # steps that are small beside a weight are lost in bfloat16
            parameter.data = parameter.data.float()
    return trainer


def policy_facts(job: Job, loaded: LoadedModel, trainer: Any, told: Json, kind: str) -> Json:
    """Return what a card says of any policy."""
    choice, body = require_choice(job), job.spec.body
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    return {
        "name": body["name"], "kind": kind, "job": job.name, "base": choice.model, "scale": SCALE,
        "quantization": loaded.quantization, "dtype": loaded.dtype, "device": loaded.device,
        "settings": body["settings"], "steps": trainer.state.global_step, "resumed_from": told["resumed_from"],
        "first_loss": losses[0], "last_loss": losses[-1], "versions": packages.versions(),
        "parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
    }  # fmt: skip


def save_policy(model: Any, place: Path, facts: Json) -> None:
    """Write a policy's adapter, naming its base as the job did, and its card."""
    base = Path(facts["base"])
    model.peft_config["default"].base_model_name_or_path = str(base.resolve()) if base.exists() else facts["base"]
    model.save_pretrained(place, safe_serialization=True, save_embedding_layers=False)
    (place / "README.md").write_text(cards.card(facts), encoding="utf-8")
