"""What all trainers share: packages, checkpoints, progress, facts, and the model card."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback, TrainerState

from icm_engine.core.errors import OutOfMemory, SettingError
from icm_engine.core.settings import ModelChoice, TuneSettings
from icm_engine.core.training_rows import Row
from icm_engine.jobs.finetuning import labels_sha256
from icm_engine.jobs.job_process import Job
from icm_engine.jobs.policies import LoraSettings, check_notes
from icm_engine.models.loading import LoadedModel, as_memory_error
from icm_engine.runs import fetched_models
from icm_engine.runs.model_registry import require_installed
from icm_engine.store.events import SEARCH, Json
from icm_engine.store.store import Store

TOLD = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


def require() -> None:
    """Require the training packages, with their telemetry off. Raises NotInstalled."""
    require_installed()
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # trl reports every trainer unless told not to


def versions() -> dict[str, str]:
    """Return the package versions for a card."""
    return {name: version(name) for name in TOLD}


CHECKPOINTS = 10  # checkpoints saved per training, of which the last two are kept
POINTS = 200  # log entries per training at most, as many as a loss curve shows
LOGGED, CHECKED = "logged", "checked"  # the kinds of events
STATE = "trainer_state.json"  # the last file a trainer writes into a checkpoint


def arguments(loaded: LoadedModel, folder: Path, steps: int, settings: LoraSettings | TuneSettings) -> dict[str, Any]:
    """Return the common arguments of every trainer: optimizer, device, and how often it saves and reports.

    `steps` is the total number. Precision is the model's own; adapters stay in float32.
    """
    on_gpu = loaded.device.startswith("cuda")
    return {
        "output_dir": str(folder),
        "seed": settings.seed,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "linear",
        "weight_decay": 0.0,
        "use_cpu": not on_gpu,
        "bf16": on_gpu and loaded.dtype == "bfloat16",
        "fp16": False,
        "gradient_checkpointing": on_gpu,  # a GPU runs out of memory first, a CPU out of time
        "dataloader_pin_memory": on_gpu,
        "dataloader_num_workers": 0,
        "save_strategy": "steps",
        "save_steps": max(1, steps // CHECKPOINTS),
        "save_total_limit": 2,
        "logging_strategy": "steps",
        "logging_steps": max(1, steps // POINTS),
        "logging_first_step": True,
        "report_to": "none",
        "disable_tqdm": True,
        "push_to_hub": False,
    }


def train(trainer: Any, job: Job, folder: Path) -> dict[str, Any]:
    """Train to the end, from the last complete checkpoint in the folder if any; return the last log entry.

    Raises Cancelled, RunBusy (another process has taken the job over), OutOfMemory.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(JobCallback(job))
    begun = last_checkpoint(folder)
    step = int(begun.name.rpartition("-")[2]) if begun else None
    if begun and (done := _state_at_end(begun)) is not None:  # resumed, the trainer would take a step too many
        trainer.state = done
        best = step if done.best_global_step is None else done.best_global_step
        trainer.model.load_adapter(str(begun.with_name(f"checkpoint-{best}")), "default", is_trainable=True)
        return {"resumed_from": step}
    try:
        found = trainer.train(resume_from_checkpoint=str(begun) if begun else None)
    except (RuntimeError, MemoryError) as error:
        raise _as_memory_error(error) or error from error
    return {**found.metrics, "resumed_from": step}


def _state_at_end(checkpoint: Path) -> Any:
    """The state of a training whose last checkpoint this is; None where steps are left."""
    state = TrainerState.load_from_json(str(checkpoint / STATE))
    control = state.stateful_callbacks.get("TrainerControl", {})
    return state if control.get("args", {}).get("should_training_stop") else None


def train_at_once(trainer: Any, interrupted: Callable[[], bool]) -> bool:
    """Train to the end without checkpoints; return whether it was not interrupted. Raises OutOfMemory."""
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(stopping := StopCallback(interrupted))
    try:
        trainer.train()
    except (RuntimeError, MemoryError) as error:
        raise _as_memory_error(error) or error from error
    return not stopping.stopped


def last_checkpoint(folder: Path) -> Path | None:
    """Return the last complete checkpoint; None if there is none."""
    numbered = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((path for path in numbered if _whole(path)), None)


def _whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _as_memory_error(error: BaseException) -> OutOfMemory | None:
    if (found := as_memory_error(error, "training")) is None:
        return None
    return OutOfMemory(f"{str(found).partition(': use')[0]}: use fewer rows at once, nf4, or a smaller model")


class JobCallback(TrainerCallback):  # type: ignore[misc]
    """Reports a trainer's progress and losses to its job, and learns there of a cancellation."""

    def __init__(self, job: Job) -> None:
        self._job, self._began = job, time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self._job.progress(state.global_step, state.max_steps, "training, step")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **unused: Any) -> None:
        for check in checks_of([{"step": state.global_step, **(logs or {})}]):
            self._job.append(CHECKED, check)
        if logs and "loss" in logs:
            seconds = round(time.monotonic() - self._began, 3)
            self._job.append(LOGGED, {"step": state.global_step, "steps": state.max_steps, "seconds": seconds, **logs})


OWN, JUDGED, DISTINCT = "own", "judged", "distinct"  # what a check measures, by its name in a trainer's logs


def checks_of(logs: Sequence[Json]) -> list[Json]:
    """Return the checks in a trainer's logs: step, mean own and judged reward, distinct responses, KL a token."""
    return [
        {
            "step": log["step"],
            OWN: log[f"eval_rewards/{OWN}/mean"],
            JUDGED: log.get(f"eval_rewards/{JUDGED}/mean", log[f"eval_rewards/{OWN}/mean"]),
            DISTINCT: log[f"eval_{DISTINCT}"],
            "kl": log["eval_kl"],
        }
        for log in logs
        if f"eval_{DISTINCT}" in log
    ]


class StopCallback(TrainerCallback):  # type: ignore[misc]
    """Ends a training when a person asks for it, looking after each step."""

    def __init__(self, interrupted: Callable[[], bool]) -> None:
        self._interrupted, self.stopped = interrupted, False

    def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        if state.global_step < state.max_steps and self._interrupted():
            self.stopped = control.should_training_stop = True


def about_run(store: Store, run: str) -> Json:
    """Return a card's description of a run whose labels were trained on."""
    spec = store.spec(run)
    return {
        "run": run,
        "dataset": spec.dataset,
        "limit": spec.limit,
        "source": spec.source,
        "given_from": spec.given_from,
        "model": spec.model,
        "seed": spec.search.seed,
        "supervised": spec.supervised,
    }


def card(facts: Json) -> str:
    """Return README.md: what the model is, whose labels it learned, with which settings, and how to use it."""
    sections = [
        f"---\nbase_model: {_yaml(_public(facts['base']))}\nlibrary_name: peft\ntags: [icm, lora]\n---",
        f"# {facts['name']}",
        _opening(facts),
        _USES.get(facts["kind"], _AS_MODEL).format(name=facts["name"]),
        *(_table(f"Labels of run {run['run']}", run) for run in facts["runs"]),
        _table("Rows", {"rows": facts["rows"], **facts["left_out"], "sha256": facts["labels_sha256"]}),
        _table("Settings", {**facts["settings"], "alpha / rank": facts["scale"]}),
        _table("Training", {name: facts[name] for name in _TRAINING if name in facts}),
        *_checks(facts),
        *_tests(facts),
        _table("Versions", facts["versions"]),
    ]
    return "\n\n".join(sections) + "\n"


_TRAINING = (
    *("base", "quantization", "dtype", "device", "steps", "kept_step", "ended"),
    *("first_loss", "last_loss", "parameters"),
)


def _checks(facts: Json) -> list[str]:
    """The checks of a policy that was trained on rewards, and what limits them; nothing for other models."""
    if not facts.get("checks"):
        return []
    words = f"The adapter is that of step {facts['kept_step']}, where the judge's reward was highest."
    head = "| step | own reward | judged reward | distinct responses | KL a token |\n|---|---|---|---|---|"
    rows = [
        f"| {one['step']} | {one[OWN]:.3f} | {one[JUDGED]:.3f} | {one[DISTINCT]:.3f} | {one['kl']:.3f} |"
        for one in facts["checks"]
    ]
    return ["## Checks", " ".join([words, *check_notes(facts)]), "\n".join([head, *rows])]


def _tests(facts: Json) -> list[str]:
    """What a reward model gave rewards of; whether they agree with gold is not known in training, which reads none."""
    counts = Counter(row["dataset"] for row in next(iter((facts.get("test") or {}).values()), ()))
    off = facts.get("off_distribution", ())
    cells = {name: f"{count} examples{', off distribution' * (name in off)}" for name, count in counts.items()}
    return [_table("Tested on", cells)] if cells else []


_AS_MODEL = "Use it in place of a model: `--model trained:{name}`, or `--model` with the path of this folder."
_AS_POLICY = "Sample it with `respond DATASET --model trained:{name}`."
_USES = {
    "self-teaching": "Use it as a judge: `run --source judge --option style=steps --model trained:{name}`.",
    "reward": "It gives rewards and no labels: `reinforce {name} --dataset NAME`, `respond DATASET --judge {name}`.",
    "preference-tuning": _AS_POLICY,
    "reinforce": _AS_POLICY,
}
_MADE = {
    "finetune": "A LoRA adapter for `{base}`, tuned on {rows:,} labels ({sources}).",
    "self-teaching": "A judge: a LoRA adapter for `{base}`, tuned in round {round} on {rows:,} of its own judgements, "
    "those that came to the better side of pairs whose better side is known without labels.",
    "reward": "A reward model on `{base}`, from {rows:,} preferences ({sources}), {ranked:,} of them labelled by a "
    "first reward model.",
    "preference-tuning": "A policy: a LoRA adapter for `{base}`, tuned on {rows:,} preferences ({sources}) by DPO.",
    "reinforce": "A policy: a LoRA adapter for `{base}`, reinforced (RLOO) against the reward model `{reward}`, which "
    "learned from {rows:,} preferences ({sources}).",
}


def _opening(facts: Json) -> str:
    whose = "The labels were supervised: gold or people made them."
    if facts.get("judge", facts.get("reward")) != facts.get("reward"):
        whose = (
            "It is supervised: gold or people made the labels of its reward model, or of the judge that chose its step."
        )
    how = whose if facts["supervised"] else "No gold and no human label was used."
    sources = ", ".join(dict.fromkeys(_source(run) for run in facts["runs"]))
    ranked = facts.get("rest", {}).get("rows", 0)
    told = {**facts, "base": _public(facts["base"]), "sources": sources, "ranked": ranked}
    further = f" It continues the policy `{facts['continues']}`." if "continues" in facts else ""
    further += f" It writes a thought first: `respond --thought {facts['thought']}`." if "thought" in facts else ""
    return f"{_MADE[facts['kind']].format(**told)}{further} {how}"


def _source(run: Json) -> str:
    if run["source"] == SEARCH:
        return "Internal Coherence Maximization"
    return str(run["given_from"] or run["source"])


def _public(value: Any) -> Any:
    """The name of a local file or folder without its private path."""
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _yaml(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _table(title: str, cells: Mapping[str, object]) -> str:
    rows = [f"| {name} | {_cell(value)} |" for name, value in cells.items()]
    return "\n".join([f"## {title}", "", "| | |", "|---|---|", *rows])


def _cell(value: object) -> str:
    text = "" if value is None else " ".join(str(_public(value)).split())
    return f"`{text.replace('|', chr(92) + '|').replace('`', chr(39))}`" if text else ""


SCALE = 2  # LoRA's alpha in units of its rank: W + 2 B A


def require_choice(job: Job) -> ModelChoice:
    """Return the model of a job, a fetched one by its file. Raises SettingError if the job names none."""
    if job.spec.model is None:
        raise SettingError(f"{job.spec.kind} needs a model to begin from: name one (--model)")
    return replace(job.spec.model, model=fetched_models.place(job.store, job.spec.model.model))


def require_same(job: Job, rows: Sequence[Row]) -> None:
    """Raise SettingError if the rows differ from those that the training began with."""
    now = labels_sha256(rows)
    begun = next((part["labels_sha256"] for part in job.kept()), None)
    if begun is None:
        job.keep({"labels_sha256": now})
    elif begun != now:
        raise SettingError(f"the labels of {job.name!r} have changed since it began: request it again")


def lora(rank: int, task: str = "CAUSAL_LM", whole: Sequence[str] = ()) -> Any:
    """Return a LoRA configuration of this rank for every linear layer; the layers in `whole` are trained themselves."""
    from peft import LoraConfig

    return LoraConfig(
        r=rank,
        lora_alpha=SCALE * rank,
        target_modules="all-linear",
        task_type=task,
        modules_to_save=list(whole) or None,
    )


def in_float32(trainer: Any) -> Any:
    """Return the trainer with its adapter in float32; trl uses bfloat16 with quantized weights."""
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:  # bfloat16 loses steps that are small relative to a weight
            parameter.data = parameter.data.float()
    return trainer


def training_facts(loaded: LoadedModel, trainer: Any, told: Json) -> Json:
    """Return how a training went, and in which precision."""
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    return {
        "quantization": loaded.quantization,
        "dtype": loaded.dtype,
        "device": loaded.device,
        "steps": trainer.state.global_step,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "resumed_from": told["resumed_from"],
        "parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
    }


def adapter_facts(job: Job, base: str) -> Json:
    """Return what an adapter is: its name, job, base and settings."""
    return {
        "name": job.spec.body["name"],
        "kind": job.spec.kind,
        "job": job.name,
        "base": base,
        "scale": SCALE,
        "settings": job.spec.body["settings"],
        "versions": versions(),
    }


def save_adapter(model: Any, place: Path, facts: Json) -> None:
    """Write an adapter, with its base named as the job did, and its card."""
    base = Path(facts["base"])
    local = facts["base"] != "sample" and base.exists()
    model.peft_config["default"].base_model_name_or_path = str(base.resolve()) if local else facts["base"]
    model.save_pretrained(place, safe_serialization=True, save_embedding_layers=False, selected_adapters=["default"])
    (place / "README.md").write_text(card(facts), encoding="utf-8")
