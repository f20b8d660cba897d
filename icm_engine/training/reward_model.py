"""Reward models: the head that scores a response, and training from preference labels with trl's RewardTrainer.

The model reads a prompt and a response up to the token that ends the response, which is the last of the row. There a
base model has seen the whole response.
"""

import copy
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from icm_engine.core.errors import ModelNotUsable, PromptTooLong, ScoreNotFinite
from icm_engine.core.labeling import Example
from icm_engine.core.prompting import Prompt
from icm_engine.core.training_rows import Form, Row, form_of, ranked_rows
from icm_engine.jobs import policies
from icm_engine.jobs.finetuning import labels_sha256
from icm_engine.jobs.job_process import Job
from icm_engine.jobs.policies import RewardSettings, settings_from
from icm_engine.models.loading import LoadedModel, load
from icm_engine.models.transformers_scorer import TransformersScorer
from icm_engine.runs import model_registry
from icm_engine.store.events import Json
from icm_engine.training import trainers
from icm_engine.training.trainers import adapter_facts, in_float32, lora, require_choice, training_facts

Tokens = list[int]
AT_ONCE = 64  # responses in one call
HEAD = "score"


class RewardReader:
    """Prompts and responses as token ids, the same as in the prompts of a search."""

    def __init__(self, loaded: LoadedModel, form: Form) -> None:
        self.form, self._loaded = form, loaded
        self._scorer = TransformersScorer(loaded, "full-prompts")

    def prompt(self, asked: str) -> Tokens:
        """Return the tokens of a prompt, with a beginning-of-sequence token if the model has one."""
        text = Prompt(((self.form.prompt(asked),),), ())
        return [token for segment in self._scorer.segments(text) for token in segment]

    def response(self, text: str) -> Tokens:
        """Return the tokens of a response, up to the first one that ends its line."""
        said = self.form.lead + text
        tokens = list(self._scorer.piece(said + self.form.after))
        for count in range(1, len(tokens) + 1):
            if len(shown := self._decode(tokens[:count])) > len(said) and "\n" in shown[len(said) :]:
                return tokens[:count]
        return tokens

    def whole(self, asked: str, response: str) -> Tokens:
        """Return prompt and response together. Raises PromptTooLong."""
        tokens = self.prompt(asked) + self.response(response)
        if len(tokens) > self._loaded.context:
            raise PromptTooLong(
                f"prompt and response have {len(tokens):,} tokens, the model takes {self._loaded.context:,}: use "
                f"shorter ones; the response begins with {response[:60]!r}"
            )
        return tokens

    def _decode(self, tokens: Sequence[int]) -> str:
        assert self._scorer.reader is not None
        return self._scorer.reader.text_of(tokens)


def with_head(loaded: LoadedModel, seed: int) -> Any:
    """Return the loaded model with a head of one number in place of its next-token head. Raises ModelNotUsable.

    The head's weights are drawn by the seed; all others are shared with the loaded model, not copied.
    """
    config = copy.deepcopy(loaded.model.config)
    config.num_labels, config.architectures = 1, None
    if config.get_text_config().pad_token_id is None:
        config.get_text_config().pad_token_id = loaded.tokenizer.eos_token_id
    try:
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(config)
        width = getattr(model, HEAD).in_features
    except (ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ModelNotUsable(f"model {loaded.name!r} cannot become a reward model ({reason}): use another") from None
    setattr(model, model.base_model_prefix, loaded.model.base_model)
    torch.manual_seed(seed)
    head = torch.nn.Linear(width, 1, bias=False, device="cpu", dtype=torch.float32)
    torch.nn.init.normal_(head.weight, std=config.get_text_config().initializer_range)
    setattr(model, HEAD, head.to(loaded.device))
    return model


def load_rewards(loaded: LoadedModel, folder: Path) -> Any:
    """Return the reward model in a folder, on the base it was trained from. Raises ModelNotUsable."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(with_head(loaded, 0), str(folder), torch_device=loaded.device).eval()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:240]
        raise ModelNotUsable(
            f"reward model {str(folder)!r} does not match {loaded.name!r} ({reason}): use the base it came from"
        ) from error


@torch.inference_mode()
def rewards(model: Any, rows: Sequence[Tokens]) -> list[float]:
    """Return the reward of each row of tokens, in order. Raises ScoreNotFinite."""
    found, device = list[float](), next(model.parameters()).device
    pad = model.config.get_text_config().pad_token_id
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        width = max(map(len, some))
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in some], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in some], device=device)
        found += model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()
    if any(value != value or abs(value) == float("inf") for value in found):
        raise ScoreNotFinite("a reward is NaN or infinite: use dtype float32, or a smaller learning_rate")
    return found


FIRST, FINAL = "first", "final"


@dataclass
class _Stages:
    """What the two stages of one job share."""

    job: Job
    form: Form
    settings: RewardSettings

    @property
    def place(self) -> Path:
        return model_registry.workplace(self.job.store, self.job.spec.body["name"])

    def load(self) -> LoadedModel:
        return load(require_choice(self.job))

    def train(self, stage: str, rows: Sequence[Row]) -> Json:
        """Train a stage unless it is done, and return its report."""
        done = self.place / f"{stage}-done"
        if (done / model_registry.FACTS).is_file():
            return model_registry.read_facts(done)
        loaded = self.load()
        reader, folder = RewardReader(loaded, self.form), self.place / stage
        trainer = make_trainer(with_head(loaded, self.settings.seed), loaded, reader, rows, self.settings, folder)
        told = trainers.train(trainer, self.job, folder)
        facts = {
            "rows": len(rows),
            "labels_sha256": labels_sha256(rows),
            **training_facts(loaded, trainer, told),
        }
        part = self.place / f"{stage}-part"
        shutil.rmtree(part, ignore_errors=True)
        trainer.model.save_pretrained(part, safe_serialization=True, save_embedding_layers=False)
        (part / model_registry.FACTS).write_text(json.dumps(facts), encoding="utf-8")
        part.rename(done)  # whole or absent
        return facts

    def score(self, stage: str, examples: Sequence[tuple[str, Example]]) -> list[list[float]]:
        """Return the rewards of each example's responses by a stage's model; each data set in its own template."""
        loaded = self.load()
        model, found = load_rewards(loaded, self.place / f"{stage}-done"), list[list[float]]()
        for dataset, some in groupby(examples, itemgetter(0)):
            form = form_of(self.job.store.dataset_info(dataset).task)
            found += example_rewards(model, RewardReader(loaded, form), [example for _, example in some])
        return found


def reward(job: Job) -> Json:
    """Train the reward models of a job; return the facts of the last one. Raises IcmError, Cancelled."""
    trainers.require()
    body = job.spec.body
    if body["name"] in model_registry.names(job.store):
        return model_registry.model_facts(job.store, body["name"])
    form, made = policies.preferences(job.store, body["run"])
    trainers.require_same(job, made.rows)
    stages = _Stages(job, form, settings_from(RewardSettings, body["settings"]))
    job.ready({"run": body["run"], "rows": len(made.rows)})
    told = {FIRST: stages.train(FIRST, made.rows)}
    rest, test = (policies.examples_of(job.store, body[part]) for part in ("rest", "test"))
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
    model_registry.put(job.store, body["name"], lambda place: _save(stages.place, list(told), place, facts), facts)
    return facts


def make_trainer(
    model: Any, loaded: LoadedModel, reader: RewardReader, rows: Sequence[Row], settings: RewardSettings, folder: Path
) -> Any:
    """Return the trainer of a reward model: the loss is -log sigmoid(reward of chosen - reward of rejected)."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    config = RewardConfig(
        **trainers.arguments(loaded, folder, settings.steps, settings),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        max_length=None,
    )
    tokens = [
        {f"{side}_ids": reader.whole(row.get("prompt", ""), row[side]) for side in ("chosen", "rejected")}
        for row in rows
    ]
    trainer = RewardTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(tokens),
        processing_class=loaded.tokenizer,
        peft_config=lora(settings.rank, "SEQ_CLS", [HEAD]),
    )
    return in_float32(trainer)


def example_rewards(model: Any, reader: RewardReader, examples: Sequence[Example]) -> list[list[float]]:
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
    """The facts for the card and the job's result."""
    body = job.spec.body
    return {
        **adapter_facts(job, require_choice(job).model),
        **told[FINAL if FINAL in told else FIRST],
        "runs": [trainers.about_run(job.store, body["run"])],
        "supervised": job.store.spec(body["run"]).supervised,
        "left_out": dict(left_out),
        "stages": told,
        "rest": labelled,
        "test": tested,
        "off_distribution": policies.off_distribution(job.store, body["run"], [one["dataset"] for one in body["test"]]),
    }


def _save(work: Path, stages: Sequence[str], place: Path, facts: Json) -> None:
    """Move the last stage's adapter into place, the first one's below it, and write the card."""
    shutil.copytree(work / f"{stages[-1]}-done", place, dirs_exist_ok=True)
    if len(stages) > 1:
        shutil.copytree(work / f"{FIRST}-done", place / FIRST)
    (place / "README.md").write_text(trainers.card(facts), encoding="utf-8")
