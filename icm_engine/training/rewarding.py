"""Reward models from a run's preference labels, by trl's RewardTrainer: the first labels the rest, then a final one."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example
from icm_engine.core.ranking import ranked_rows
from icm_engine.core.responses import Form
from icm_engine.core.training_rows import Row
from icm_engine.models.loading import LoadedModel, load
from icm_engine.runs import rewarding, trained
from icm_engine.runs.events import Json
from icm_engine.runs.finetuning import labels_sha256
from icm_engine.runs.job_process import Job
from icm_engine.runs.loop_settings import RewardSettings, settings_from
from icm_engine.training import cards, packages, trainers
from icm_engine.training.reward_heads import HEAD, Reader, load_rewards, rewards, with_head

SCALE = 2  # LoRA's alpha by its rank
FIRST, FINAL = "first", "final"


@dataclass
class _Stages:
    """What the two stages of one job share."""

    job: Job
    form: Form
    settings: RewardSettings

    @property
    def place(self) -> Path:
        return trained.workplace(self.job.store, self.job.spec.body["name"])

    def load(self) -> LoadedModel:
        choice = self.job.spec.model
        if choice is None:
            raise SettingError("a reward model needs a model to begin from: name one (--model)")
        return load(choice.model, choice.quantization, choice.dtype, choice.device)

    def train(self, stage: str, rows: Sequence[Row]) -> Json:
        """Train a stage, unless that is done, and return what is told of it."""
        done = self.place / f"{stage}-done"
        if (done / trained.FACTS).is_file():
            return trained.read_facts(done)
        loaded = self.load()
        reader, folder = Reader(loaded, self.form), self.place / stage
        trainer = make_trainer(with_head(loaded, self.settings.seed), loaded, reader, rows, self.settings, folder)
        told = trainers.train(trainer, self.job, folder)
        losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
        facts = {
            "rows": len(rows), "labels_sha256": labels_sha256(rows), "steps": trainer.state.global_step,
            "first_loss": losses[0], "last_loss": losses[-1], "resumed_from": told["resumed_from"],
            "parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
            "dtype": loaded.dtype, "device": loaded.device, "quantization": loaded.quantization,
        }  # fmt: skip
        part = self.place / f"{stage}-part"
        shutil.rmtree(part, ignore_errors=True)
        trainer.model.save_pretrained(part, safe_serialization=True, save_embedding_layers=False)
        (part / trained.FACTS).write_text(json.dumps(facts), encoding="utf-8")
        part.rename(done)  # whole, or not there
        return facts

    def score(self, stage: str, examples: Sequence[tuple[str, Example]]) -> list[list[float]]:
        """Return the rewards of each example's responses by the model of a stage."""
        loaded = self.load()
        reader, model = Reader(loaded, self.form), load_rewards(loaded, self.place / f"{stage}-done")
        return example_rewards(model, reader, [example for _, example in examples])


def reward(job: Job) -> Json:
    """Train the reward models that a job asks for, and return the facts of the last one. Raises IcmError, Cancelled."""
    packages.require()
    body = job.spec.body
    if body["name"] in trained.names(job.store):
        return trained.facts(job.store, body["name"])
    form, made = rewarding.preferences(job.store, body["run"])
    rewarding.require_same(job, labels_sha256(made.rows))
    stages = _Stages(job, form, settings_from(RewardSettings, body["settings"]))
    job.ready({"run": body["run"], "rows": len(made.rows)})
    told = {FIRST: stages.train(FIRST, made.rows)}
    rest, test = (rewarding.examples_of(job.store, body[part]) for part in ("rest", "test"))
    labelled: Json = {"examples": len(rest), "rows": 0}
    if rest:
        job.progress(0, None, "labelling the rest")
        scored = stages.score(FIRST, rest)
        more = ranked_rows(form, zip((example for _, example in rest), scored, strict=True))
        labelled |= {"rows": len(more.rows), **more.left_out, "rewards": _by_example(rest, scored)}
        told[FINAL] = stages.train(FINAL, [*made.rows, *more.rows])
    job.progress(0, None, "scoring the test part")
    tested = {stage: _by_example(test, stages.score(stage, test)) for stage in told} if test else {}
    facts = _facts(job, made.left_out, told, labelled, tested)
    trained.put(job.store, body["name"], lambda place: _save(stages.place, list(told), place, facts), facts)
    return facts


def make_trainer(
    model: Any, loaded: LoadedModel, reader: Reader, rows: Sequence[Row], settings: RewardSettings, folder: Path
) -> Any:
    """Return the trainer of a reward model: the loss is -log sigmoid(reward of chosen - reward of rejected)."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import RewardConfig, RewardTrainer

    config = RewardConfig(
        **trainers.arguments(loaded, folder, settings.steps, settings.seed),
        max_steps=settings.steps, learning_rate=settings.learning_rate, lr_scheduler_type="linear",
        per_device_train_batch_size=settings.batch_size, weight_decay=0.0, max_length=None,
    )  # fmt: skip
    lora = LoraConfig(
        r=settings.rank, lora_alpha=SCALE * settings.rank, target_modules="all-linear", task_type="SEQ_CLS",
        modules_to_save=[HEAD],
    )  # fmt: skip
    tokens = [
        {f"{side}_ids": reader.whole(row.get("prompt", ""), row[side]) for side in ("chosen", "rejected")}
        for row in rows
    ]
    return RewardTrainer(
        model=model, args=config, train_dataset=Dataset.from_list(tokens), processing_class=loaded.tokenizer,
        peft_config=lora,
    )  # fmt: skip


def example_rewards(model: Any, reader: Reader, examples: Sequence[Example]) -> list[list[float]]:
    """Return the rewards of the responses of each example."""
    form = reader.form
    rows = [reader.whole(form.asked(one), response) for one in examples for response in form.responses(one)]
    found = iter(rewards(model, rows))
    return [[next(found) for _ in form.answered] for _ in examples]


def _by_example(examples: Sequence[tuple[str, Example]], scored: Sequence[Sequence[float]]) -> list[Json]:
    return [
        {"dataset": dataset, "example": example.id, "rewards": list(values)}
        for (dataset, example), values in zip(examples, scored, strict=True)
    ]


def _facts(job: Job, left_out: Any, told: Json, labelled: Json, tested: Json) -> Json:
    """What the card says and the job's result is."""
    choice, body = job.spec.model, job.spec.body
    assert choice is not None
    last = told[FINAL if FINAL in told else FIRST]
    return {
        "name": body["name"], "kind": rewarding.KIND, "job": job.name, "base": choice.model, **last, "scale": SCALE,
        "settings": body["settings"], "runs": [cards.about_run(job.store, body["run"])],
        "supervised": job.store.spec(body["run"]).supervised, "left_out": dict(left_out), "stages": told,
        "rest": labelled, "test": tested, "versions": packages.versions(),
    }  # fmt: skip


def _save(work: Path, stages: Sequence[str], place: Path, facts: Json) -> None:
    """Move the last stage's adapter to its place, the first one's below it, and write the card."""
    shutil.copytree(work / f"{stages[-1]}-done", place, dirs_exist_ok=True)
    if len(stages) > 1:
        shutil.copytree(work / f"{FIRST}-done", place / FIRST)
    (place / "README.md").write_text(cards.card(facts), encoding="utf-8")
