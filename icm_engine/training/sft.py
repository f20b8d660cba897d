"""Fine-tuning on labels: LoRA on a frozen model, trained with trl's SFTTrainer to predict each row's label.

A job keeps its adapter as a model; a search with folds tunes one model per fold and keeps its predictions alone.

The prompt is the task's template without demonstrations, as in the paper; the loss is that of the label alone; tokens
are those that the scorer reads.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from icm_engine.core.errors import LabelNotTokenizable, SettingError
from icm_engine.core.folds import Fit
from icm_engine.core.labeling import Label, Labeling
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt, label_text, query_prompt, render
from icm_engine.core.scoring import Kernel, begin_calls, calls_of
from icm_engine.core.settings import ModelChoice, TuneSettings
from icm_engine.core.training_rows import Row, TrainingSet
from icm_engine.jobs import finetuning
from icm_engine.jobs.finetuning import labels_of, labels_sha256, training_rows
from icm_engine.jobs.job_process import Job
from icm_engine.models.loading import LoadedModel, base_of, free_memory, is_adapter, load, pick_device
from icm_engine.models.transformers_scorer import TransformersScorer
from icm_engine.runs import model_registry
from icm_engine.runs.control import LOADING
from icm_engine.store.events import Json
from icm_engine.training import trainers
from icm_engine.training.trainers import adapter_facts, in_float32, lora, require_choice, save_adapter, training_facts

IGNORED = -100  # marks tokens without loss for a trainer


def finetune(job: Job) -> Json:
    """Tune a model on the labels of runs; return the facts of the adapter. Raises IcmError, Cancelled."""
    trainers.require()
    body, choice = job.spec.body, require_choice(job)
    settings, name = finetuning.settings_of(body["settings"]), body["name"]
    if name in model_registry.names(job.store):  # left by a process killed between the last move and the job's result
        return model_registry.model_facts(job.store, name)
    made = training_rows(job.store, body["runs"])
    _require_labels(job, made)
    job.progress(0, None, LOADING)
    base = base_model(model_registry.located(job.store, choice).model)
    loaded = load(replace(choice, model=base))
    rows = token_rows(loaded, made.rows, labels_of(job.store, body["runs"]))
    job.ready({"model": base, "rows": len(rows)})
    folder = model_registry.workplace(job.store, name)
    trainer = make_trainer(loaded, rows, settings, folder)
    told = trainers.train(trainer, job, folder)
    facts = {
        **adapter_facts(job, loaded.name),
        **training_facts(loaded, trainer, told),
        "runs": [trainers.about_run(job.store, run) for run in body["runs"]],
        "supervised": any(job.store.spec(run).supervised for run in body["runs"]),
        "rows": len(made.rows),
        "left_out": dict(made.left_out),
        "labels_sha256": labels_sha256(made.rows),
    }
    model_registry.put(job.store, name, lambda place: save_adapter(trainer.model, place, facts), facts)
    return facts


def base_model(model: str) -> str:
    """Return the model itself or the one it was tuned from: every tuning starts at the base."""
    return base_of(model) if is_adapter(model) else model


def _require_labels(job: Job, made: TrainingSet) -> None:
    """Raise SettingError if there is no label, or if the labels differ from those that training began with."""
    trainers.require_same(job, made.rows)
    if not made.rows:
        raise SettingError(f"no label of {', '.join(job.spec.body['runs'])} is left to tune on: {dict(made.left_out)}")


def token_rows(loaded: LoadedModel, rows: tuple[Row, ...], labels: tuple[Label, ...]) -> list[Row]:
    """Return token rows as the scorer reads them, with the loss at the label alone. Raises ModelError."""
    scorer = TransformersScorer(loaded, "full-prompts")
    scorer.label_tokens(labels)  # raises for labels that this tokenizer cannot tell apart
    prompts = [Prompt(((row["prompt"],),), labels) for row in rows]
    scorer.check_fits(prompts)
    return [_token_row(scorer, prompt, row["completion"]) for prompt, row in zip(prompts, rows, strict=True)]


def _token_row(scorer: TransformersScorer, prompt: Prompt, completion: str) -> Row:
    before = [token for segment in scorer.segments(prompt) for token in segment]
    label = list(scorer.piece(completion))
    if not before:
        raise LabelNotTokenizable(f"prompt {prompt.text!r} becomes no token with this tokenizer: use another template")
    return {"input_ids": before + label, "labels": [IGNORED] * len(before) + label}


def make_trainer(loaded: LoadedModel, rows: list[Row], settings: TuneSettings, folder: Path, keep: bool = True) -> Any:
    """Return the trainer with its adapter in float32; with `keep` it saves checkpoints in the folder."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    at_once = min(settings.rows_at_once, settings.batch_size)
    steps = settings.epochs * math.ceil(len(rows) / settings.batch_size)
    config = SFTConfig(
        **trainers.arguments(loaded, folder, steps, settings) | ({} if keep else {"save_strategy": "no"}),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=settings.batch_size // at_once,
        max_length=None,
        completion_only_loss=False,
        dataset_kwargs={"skip_prepare_dataset": True},  # rows are already token ids
    )
    trainer = SFTTrainer(
        model=loaded.model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=loaded.tokenizer,
        peft_config=lora(settings.rank),
    )
    return in_float32(trainer)


class FoldTuner:
    """Tunes a fresh copy of a model on the labels of all folds but one, and asks it about that one."""

    def __init__(
        self, choice: ModelChoice, objective: Objective, settings: TuneSettings, interrupted: Callable[[], bool]
    ) -> None:
        trainers.require()
        self._choice, self._objective, self._settings, self._interrupted = choice, objective, settings, interrupted

    def fit(self, labels: Labeling, asked: Sequence[int]) -> Fit | None:
        """Return the tuned model's predictions without demonstrations; None if interrupted. Raises IcmError.

        The model is loaded anew for each fit: tuning also changes the precision of some of its weights.
        """
        task, examples = self._objective.task, self._objective.examples
        free_memory(pick_device(self._choice.device))  # of the last fit: a trainer refers to itself
        loaded = load(self._choice)
        made = [{"prompt": render(task, examples[i]), "completion": label_text(y)} for i, y in labels.items()]
        rows = token_rows(loaded, tuple(made), task.labels)
        with TemporaryDirectory() as folder:
            trainer = make_trainer(loaded, rows, self._settings, Path(folder), keep=False)
            if not trainers.train_at_once(trainer, self._interrupted):
                return None
        told = trainers.training_facts(loaded, trainer, {"resumed_from": None})
        model = trainer.model.get_base_model().eval()
        scorer = TransformersScorer(replace(loaded, model=model), self._choice.encoding, version=self._choice.version)
        own = self._objective.scorer  # called as the run's log says, also on another machine or after memory ran out
        facts = own.describe()
        begin_calls(scorer, calls_of(own).tokens, Kernel(str(facts["attention"]), int(str(facts["tokens_per_call"]))))
        scores = scorer.score([query_prompt(task, examples, Labeling(), i) for i in asked])
        return Fit(
            dict(zip(asked, scores, strict=True)),
            scorer.usage,
            len(rows),
            told["steps"],
            self._settings.epochs * sum(len(row["input_ids"]) for row in rows),
            told["first_loss"],
            told["last_loss"],
        )
