"""Fine-tuning: LoRA on a frozen model, trained with trl's SFTTrainer on labels, or on a judge's own judgements.

A job keeps its adapter as a model; a search with folds tunes one model per fold and keeps its predictions alone.

For labels, the prompt is the task's template without demonstrations, as in the paper; the loss is that of the label
alone; tokens are those that the scorer reads. For judgements, the prompt is the question to the judge, and the loss is
that of its whole answer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from icm_engine.baselines.generation import GenerationRequest
from icm_engine.baselines.llm_judge import VERDICT, Judge
from icm_engine.core.errors import LabelNotTokenizable, SettingError
from icm_engine.core.folds import Fit
from icm_engine.core.labeling import Example, Label, Labeling
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt, label_text, query_prompt, render
from icm_engine.core.rng import seed_of
from icm_engine.core.scoring import Kernel, begin_calls, calls_of
from icm_engine.core.settings import ModelChoice, TuneSettings
from icm_engine.core.training_rows import Row, TrainingSet, form_of
from icm_engine.jobs import finetuning, self_teaching
from icm_engine.jobs.finetuning import labels_of, labels_sha256, training_rows
from icm_engine.jobs.job_process import Job
from icm_engine.jobs.self_teaching import Known, Teaching
from icm_engine.models.generator import Continuer, TransformersGenerator
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


# -- a judge that is taught by its own judgements

AT_ONCE = 8  # examples judged between two parts kept


def self_teach(job: Job) -> Json:
    """Teach a judge round by round and return the rounds, with the number of the best. Raises IcmError, Cancelled."""
    trainers.require()
    taught = _Taught(job, Teaching.of(job.spec))
    how = taught.teaching.settings
    job.ready({"model": taught.teaching.model.model})
    rounds, best, ended = [taught.test(0, TrainingSet((), {}))], 0, self_teaching.ROUNDS_DONE
    for number in range(1, how.rounds + 1):
        made = taught.lessons(number)
        if not made.rows:
            ended = f"{self_teaching.NOTHING_TO_LEARN} ({dict(made.left_out)})"
            break
        taught.tune(number, made)
        rounds.append(taught.test(number, made))
        agreements = [one["agreement"] for one in rounds]
        best = agreements.index(max(agreements))
        if number - best >= how.patience and number < how.rounds:
            ended = self_teaching.NO_BETTER
            break
    return {
        **taught.teaching.to_json(),
        "model": taught.teaching.model.model,
        "rounds": rounds,
        "best": best,
        "judge": taught.teaching.judge(best) if best else None,
        "ended": ended,
    }


class _Taught:
    """The rounds in the process of their job: responses, verdicts and rounds are made once, and kept as parts."""

    def __init__(self, job: Job, teaching: Teaching) -> None:
        self.job, self.teaching = job, teaching
        self._loaded: tuple[int, LoadedModel] | None = None

    @cached_property
    def known(self) -> dict[bool, list[Known]]:
        """The examples with a known label: to train on (False), and held out (True). Raises SettingError for none."""
        found, task = dict[bool, list[Known]](), self.job.store.dataset_info(self.teaching.dataset).task
        for held_out in (False, True):
            asked, texts = self._responses(held_out)
            stem, seed = "held-out" if held_out else "training", seed_of(self.teaching.settings.seed, held_out)
            found[held_out], left_out = self_teaching.known_examples(task, asked, texts, seed, stem)
            if not found[held_out]:
                raise SettingError(f"no {stem} prompt has two usable responses ({dict(left_out)}): use more prompts")
        return found

    def _responses(self, held_out: bool) -> tuple[list[str], list[str | None]]:
        """The start's response to each prompt, None where it was cut off: as kept, or given now."""
        store, how = self.job.store, self.teaching.settings
        for part in self.job.kept():
            if part.get("responses") == held_out:
                return part["asked"], part["texts"]
        self.job.progress(0, None, "responding")
        form, asked = form_of(store.dataset_info(self.teaching.dataset).task), self.teaching.prompts(store, held_out)
        requests = [GenerationRequest(form.prompt(one)) for one in asked]
        answers = Continuer(self._model(0)).generate(requests, how.response_tokens)
        texts = [answer.text if answer.ended else None for answer in answers]
        self.job.keep({"responses": held_out, "asked": asked, "texts": texts})
        return asked, texts

    def lessons(self, number: int) -> TrainingSet:
        """Return what the judge of the round before learns from its own judgements."""
        known = self.known[False]
        examples = [example for example, _ in known]
        verdicts = self._judged("training", number - 1, examples, self.teaching.settings.judgements)
        return self_teaching.lessons(known, verdicts)

    def test(self, number: int, made: TrainingSet) -> Json:
        """Return a round, with its judge's agreement with known sides that are held out: as kept, or worked out now."""
        for part in self.job.kept():
            if "round" in part and part["round"]["number"] == number:
                return dict(part["round"])
        known = self.known[True]
        verdicts = self._judged("held-out", number, [example for example, _ in known], 1)
        own = self.teaching.own_examples(self.job.store)
        labels = [verdict["label"] for verdict in self._judged("examples", number, own, 1)]
        agreed = self_teaching.agreement(known, verdicts)
        done = {
            "number": number,
            "judge": self.teaching.judge(number),
            "lessons": len(made.rows),
            "left_out": dict(made.left_out),
            "agreement": self_teaching.both_right(agreed),
            "agreed": agreed,
            "abstained": sum(verdict["label"] is None for verdict in verdicts) / len(known),
            "labels": {example.id: label for example, label in zip(own, labels, strict=True)},
        }
        self.job.keep({"round": done})
        return done

    def _judged(self, what: str, number: int, examples: Sequence[Example], samples: int) -> list[Json]:
        """The verdicts of a round's judge, some at a time: as kept, or given now."""
        how, task = self.teaching.settings, self.job.store.dataset_info(self.teaching.dataset).task
        heading = [what, number]
        found = [one for part in self.job.kept() if part.get("judged") == heading for one in part["verdicts"]]
        while len(found) < len(examples):
            self.job.progress(len(found), len(examples), f"round {number}: {what} judged")
            generator = TransformersGenerator(self._model(number))
            judge = Judge(task, generator, "steps", samples, seed_of(how.seed, 2 + number), how.max_tokens)
            some = [asdict(one) for one in judge.verdicts(examples[len(found) : len(found) + AT_ONCE])]
            self.job.keep({"judged": heading, "verdicts": some})
            found += some
        return found

    def tune(self, number: int, made: TrainingSet) -> None:
        """Tune the start on judgements, and store the judge of this round; one that is stored is left as it is."""
        store, name = self.job.store, self.teaching.named(number)
        if name in model_registry.names(store):
            return
        loaded = self._model(0, anew=True)  # tuning changes it
        rows = judgement_rows(TransformersGenerator(loaded), made.rows)
        folder = model_registry.workplace(store, name)
        trainer = make_trainer(loaded, rows, self.teaching.settings.tuning, folder)
        told = trainers.train(trainer, self.job, folder)
        self._loaded = None
        facts = {
            **adapter_facts(self.job, loaded.name),
            **training_facts(loaded, trainer, told),
            "name": name,
            "dataset": self.teaching.dataset,
            "round": number,
            "runs": [],
            "supervised": False,
            "rows": len(made.rows),
            "left_out": dict(made.left_out),
            "labels_sha256": labels_sha256(made.rows),
        }
        model_registry.put(store, name, lambda place: save_adapter(trainer.model, place, facts), facts)

    def _model(self, number: int, anew: bool = False) -> LoadedModel:
        """The judge of a round; one at a time is in memory."""
        if self._loaded is None or self._loaded[0] != number or anew:
            self._loaded = None
            free_memory(pick_device(self.teaching.model.device))
            choice = replace(self.teaching.model, model=self.teaching.judge(number))
            self._loaded = number, load(model_registry.located(self.job.store, choice))
        return self._loaded[1]


def judgement_rows(generator: TransformersGenerator, rows: Sequence[Row]) -> list[Row]:
    """Return token rows of questions to a judge and its answers, with the loss at the answers alone."""
    found = list[Row]()
    for row in rows:
        request = GenerationRequest(row["prompt"], VERDICT)
        asked, answer = generator.tokens(request), generator.answer_tokens(request, row["completion"])
        found.append({"input_ids": asked + answer, "labels": [IGNORED] * len(asked) + answer})
    return found
