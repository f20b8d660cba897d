"""What all trainers share: arguments, checkpoints that a killed training goes on from, and what they tell a job."""

import json
import time
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback

from icm_engine.core.errors import OutOfMemory
from icm_engine.models.loading import LoadedModel, as_memory_error
from icm_engine.runs.job_process import Job

CHECKPOINTS = 10  # a training keeps about so many, the last two of them on disk
POINTS = 200  # logs of a training, at most: what a loss curve shows
LOGGED = "logged"  # the kind of event
STATE = "trainer_state.json"  # what a trainer writes last into a checkpoint


def arguments(loaded: LoadedModel, folder: Path, steps: int, seed: int) -> dict[str, Any]:
    """Return what every trainer's configuration has: where it runs, how often it saves and tells.

    `steps` is how many there will be. Precision is the model's own; adapters stay in float32.
    """
    on_gpu = loaded.device.startswith("cuda")
    return {
        "output_dir": str(folder), "seed": seed, "use_cpu": not on_gpu,
        "bf16": on_gpu and loaded.dtype == "bfloat16", "fp16": False,
        "gradient_checkpointing": on_gpu,  # memory is what a GPU runs out of, time what a CPU does
        "dataloader_pin_memory": on_gpu, "dataloader_num_workers": 0,
        "save_strategy": "steps", "save_steps": max(1, steps // CHECKPOINTS), "save_total_limit": 2,
        "logging_strategy": "steps", "logging_steps": max(1, steps // POINTS), "logging_first_step": True,
        "report_to": "none", "disable_tqdm": True, "push_to_hub": False,
    }  # fmt: skip


def train(trainer: Any, job: Job, folder: Path) -> dict[str, Any]:
    """Train to the end, from the last whole checkpoint in the folder if there is one; return what was logged last.

    Raises Cancelled, RunBusy (another process has taken the job over), OutOfMemory.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Telling(job))
    begun = last_checkpoint(folder)
    try:
        found = trainer.train(resume_from_checkpoint=str(begun) if begun else None)
    except (RuntimeError, MemoryError) as error:
        raise _as_memory_error(error) or error from error
    return {**found.metrics, "resumed_from": int(begun.name.rpartition("-")[2]) if begun else None}


def last_checkpoint(folder: Path) -> Path | None:
    """Return the last checkpoint that was written to its end, None if there is none."""
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


class Telling(TrainerCallback):  # type: ignore[misc]
    """Tells a job how far its trainer is, and every loss; there it learns that it was cancelled."""

    def __init__(self, job: Job) -> None:
        self._job, self._began = job, time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self._job.progress(state.global_step, state.max_steps, "training, step")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **unused: Any) -> None:
        if logs and "loss" in logs:
            seconds = round(time.monotonic() - self._began, 3)
            self._job.append(LOGGED, {"step": state.global_step, "steps": state.max_steps, "seconds": seconds, **logs})
