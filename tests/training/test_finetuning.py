"""Fine-tuning on labels: what is trained on, what comes of it, and that a killed training goes on as if nothing was."""

import gc
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from icm_engine import jobs
from icm_engine.analysis import tuned_models as looked_at
from icm_engine.cli.main import main
from icm_engine.core.errors import LabelNotTokenizable, NotFound, NotInstalled, PromptTooLong, SettingError
from icm_engine.core.folds import Fitter, untuned
from icm_engine.core.labeling import Labeling
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt
from icm_engine.core.settings import PRESETS, ModelChoice, TuneSettings, with_settings
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.experiments.report_tables import facts, tables
from icm_engine.jobs import JobSpec, finetuning, job_process, job_worker
from icm_engine.jobs.finetuning import settings_of
from icm_engine.jobs.job_process import run_in_process
from icm_engine.runs import control, model_registry, new_run
from icm_engine.runs.verify import verify
from icm_engine.runs.worker import make_scorer, make_tuner
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.support.experiment_suites import done_suite, suite_results
from tests.support.finetunings import SMALL, done, labelled_run, tuned
from tests.support.paths import ROOT
from tests.support.processes import spawn_by
from tests.support.stores import add_run, small_dataset

LOCAL = ("none", "float32", "cpu")


def weights(store: Store, name: str) -> bytes:
    return (model_registry.folder(store, name) / "adapter_model.safetensors").read_bytes()


# -- what can be asked


def test_a_setting_that_cannot_be_is_refused() -> None:
    assert settings_of({"epochs": "3", "learning_rate": "2e-4"}) == TuneSettings(epochs=3, learning_rate=2e-4)
    for values, said in (
        ({"epochs": 0}, "epochs is 0: use a value above 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"rank": "two"}, "rank is 'two': use a whole number"),
        ({"epoch": 3}, "no setting 'epoch': it has epochs"),
        ({"batch_size": 6, "rows_at_once": 4}, "batch_size 6 is not a multiple of rows_at_once 4"),
    ):
        with pytest.raises(SettingError, match=said):
            settings_of(values)
    assert TuneSettings(batch_size=2).rows_at_once == 16  # never more than a step has


def test_a_name_is_a_folder_and_belongs_to_one_training(store: Store) -> None:
    run = labelled_run(store)
    first, second = (finetuning.create(store, [run], TuneSettings()) for _ in range(2))
    assert jobs.spec(store, first).body["name"] == f"{run}-tuned"
    assert jobs.spec(store, second).body["name"] == f"{run}-tuned-2"
    with pytest.raises(SettingError, match="is taken by another trained model"):
        finetuning.create(store, [run], TuneSettings(), f"{run}-tuned")
    for name in ("../away", "", ".hidden", "a/b"):
        with pytest.raises(SettingError, match="cannot be a folder"):
            finetuning.create(store, [run], TuneSettings(), name)


def test_what_cannot_be_tuned_is_refused_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound):
        finetuning.create(store, ["nothing-1"], TuneSettings())
    with pytest.raises(SettingError, match="the fake model cannot be tuned"):
        finetuning.create(store, [add_run(store, "finished")], TuneSettings())
    with pytest.raises(SettingError, match="at least one run"):
        finetuning.create(store, [], TuneSettings())
    monkeypatch.setattr(model_registry, "find_spec", lambda name: None if name == "trl" else name)
    with pytest.raises(NotInstalled, match=r"training needs trl: pip install -r requirements-training\.txt"):
        finetuning.create(store, [labelled_run(store)], TuneSettings())


def test_the_same_request_is_found_again_whatever_its_name(store: Store) -> None:
    run, model = labelled_run(store), ModelChoice("sample", "none", "float32")
    job = finetuning.create(store, [run], TuneSettings(), "one", model)
    assert finetuning.find(store, [run], TuneSettings(), model) == job
    assert finetuning.find(store, [run], TuneSettings(seed=1), model) is None
    assert finetuning.find(store, [run], TuneSettings(), ModelChoice("sample")) is None


# -- what is trained on


def test_rows_are_those_of_the_training_files_of_several_runs_in_order(store: Store) -> None:
    runs = [labelled_run(store, 3), labelled_run(store, 6)]
    made = finetuning.training_rows(store, runs)
    assert [row["completion"] for row in made.rows] == [" True", " False", " True"] + [" True", " False"] * 3
    assert made.rows[0]["prompt"].endswith("(0) It is 2.\nI think this claim is")
    assert made.left_out == {"unlabelled": 0, "contradicting_twins": 0}
    assert finetuning.labels_sha256(made.rows) != finetuning.labels_sha256(made.rows[:3])
    unlabelled = add_run(store, "created")
    with pytest.raises(SettingError, match="has no labels to tune on: let it finish first"):
        finetuning.training_rows(store, [unlabelled])


@pytest.mark.model
def test_tokens_are_those_that_the_scorer_reads_and_the_loss_is_the_labels_alone() -> None:
    from icm_engine.models.loading import load
    from icm_engine.models.transformers_scorer import TransformersScorer
    from icm_engine.training.sft import IGNORED, token_rows

    loaded = load(ModelChoice("sample", *LOCAL))
    (row,) = token_rows(loaded, ({"prompt": "3 + 4 = 7 is", "completion": " False"},), ("True", "False"))
    scorer = TransformersScorer(loaded, "full-prompts")
    read = [token for segment in scorer.segments(Prompt((("3 + 4 = 7 is",),), ("True", "False"))) for token in segment]
    label = list(scorer.tokenize(" False"))
    assert row == {"input_ids": read + label, "labels": [IGNORED] * len(read) + label}
    assert read[0] == loaded.tokenizer.bos_token_id
    with pytest.raises(PromptTooLong, match="the model takes 16,384"):
        token_rows(loaded, ({"prompt": "1 " * 20_000, "completion": " True"},), ("True", "False"))
    with pytest.raises(LabelNotTokenizable):
        token_rows(loaded, (), ("True", "True"))


# -- what comes of it


@pytest.mark.model
def test_a_tuned_model_has_its_facts_its_card_and_is_used_by_name(store: Store) -> None:
    run = labelled_run(store, 6)
    told = tuned(store, [run], "first")
    assert (told["rows"], told["steps"], told["base"]) == (6, 2 * 2, "sample")  # 6 labels, 4 a step, twice
    assert told["supervised"] is True
    assert told["labels_sha256"] == finetuning.labels_sha256(finetuning.training_rows(store, [run]).rows)
    assert model_registry.names(store) == ["first"]
    assert model_registry.model_facts(store, "first") == told
    folder = model_registry.folder(store, "first")
    assert folder.parent == store.path.resolve().parent / "icm-models"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "trained.json",
    ]  # fmt: skip
    assert not model_registry.workplace(store, "first").exists()
    card = (folder / "README.md").read_text(encoding="utf-8")
    for said in (run, "in turn", told["labels_sha256"], "trained:first", "gold or people", told["versions"]["trl"]):
        assert said in card
    assert str(ROOT) not in card

    scorer, base = (
        make_scorer(model_registry.located(store, ModelChoice(m, *LOCAL))) for m in ("trained:first", "sample")
    )
    model = scorer.describe()
    assert (model["encoding"], model["base"], model["architecture"]) == ("prefix-tree", "sample", "LlamaForCausalLM")
    prompts = [Prompt((("1 + 1 is",),), ("True", "False"))]
    assert scorer.score(prompts) != base.score(prompts)

    body = {"run": run, "test": [{"dataset": "sums", "start": 6}], "most": 6, "shots": [0, 2], "shuffles": 1, "seed": 0}
    found = done(store, jobs.create(store, JobSpec("use", body, ModelChoice("trained:first", *LOCAL))))
    assert [part["shots"] for part in found["parts"]] == [0, 2]
    assert found["model"]["adapter_sha256"] == model["adapter_sha256"]


@pytest.mark.slow
@pytest.mark.model
def test_a_model_quantized_to_four_bits_is_tuned_in_float32_and_used(store: Store) -> None:
    from safetensors.torch import load as read

    job = finetuning.create(store, [labelled_run(store)], settings_of(SMALL), "four", ModelChoice("sample", "nf4",
                            "float32"))  # fmt: skip
    assert done(store, job)["quantization"] == "nf4"
    assert {str(value.dtype) for value in read(weights(store, "four")).values()} == {"torch.float32"}
    scorer = make_scorer(model_registry.located(store, ModelChoice("trained:four", "nf4", "float32")))
    assert scorer.describe()["encoding"] == "prefix-tree"


@pytest.mark.slow
@pytest.mark.model
def test_what_was_tuned_is_tuned_again_from_its_base(store: Store) -> None:
    tuned(store, [labelled_run(store)], "first")
    assert tuned(store, [_labelled_by_tuned(store)], "second")["base"] == "sample"


def _labelled_by_tuned(store: Store) -> str:
    """A run that a tuned model labelled: between batches, what was tuned on the first labels the next."""
    from icm_engine.runs import worker

    run = store.add_run(RunSpec("sums", "trained:first", "none", "float32", limit=6, source="zero-shot"))
    store.send(run, "start", "token")
    assert worker.run_in_process(store, run, idle=0.0) == 0
    event = store.last_event(run, ("model",))
    assert event is not None
    assert event.body["base"] == "sample"
    return run


TUNED_SUITE = """
title = "Tuned"
question = "Which one is best?"
datasets = ["sums"]
examples = 6
seeds = [0, 1]
compare = [["golden", "random"]]

[use]
shots = [0, "fit"]
test = 6

[tune]
epochs = 1
rank = 2

[[arms]]
name = "golden"
source = "given"
labels = "golden"

[[arms]]
name = "random"
source = "random"
tune = false
"""


@pytest.mark.slow
@pytest.mark.model
def test_a_suite_tunes_on_each_arms_labels_once_and_tells_them_beside_the_base(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_dataset(store)
    model = ModelChoice("sample", "none", "float32")
    found = suite_results(store, monkeypatch, tmp_path, TUNED_SUITE, model)
    golden, random = found["rows"]
    assert [len(row["tuned"]) for row in (golden, random)] == [1, 0]
    assert golden["tuned"][0]["shots"] == 0
    assert len(golden["tuned"][0]["values"]) == 2  # one fine-tuning a seed
    assert [(d["other"], d["what"]) for d in found["differences"] if d["one"] == "golden, tuned"] == [
        ("base model, zero-shot", "gain"), ("base model, many-shot", "gain"),
    ]  # fmt: skip
    table = next(table for table in tables(found) if table.title == "Fine-tuned on each source's labels")
    assert [row[:2] for row in table.rows] == [("golden *", "sums")]
    told = dict(facts(found))["fine-tuning"]
    assert "epochs=1, learning_rate=0.001, rank=2" in told
    assert "seed=the cell's" in told
    assert "trl" in found["versions"]
    trainings = jobs.names(store, finetuning.KIND)
    assert sorted(jobs.spec(store, job).body["settings"]["seed"] for job in trainings) == [0, 1]
    done_suite(store, monkeypatch, tmp_path, TUNED_SUITE, model)  # asked again, it finds everything there
    assert jobs.names(store, finetuning.KIND) == trainings


@pytest.mark.slow
@pytest.mark.model
def test_the_command_line_tunes_lists_and_uses(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spawn_by(monkeypatch, lambda store, module, name: run_in_process(store, name, job_worker.perform))
    run = labelled_run(store)
    words = ["finetune", run, "--name", "mine", "--epochs", "1", "--rank", "2", "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["rows"], told["steps"]) == ("trained:mine", 6, 1)
    assert Path(told["folder"]).is_dir()
    assert main(["trained", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["mine"]
    assert main(["use", run, "--model", "trained:mine", "--shots", "0", "2", "--most", "6", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    assert [(row["model"], row["shots"]) for row in rows] == [("trained:mine", 0), ("trained:mine", 2)]
    assert all(0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1 for row in rows)
    assert main(words) == 1
    assert "the name 'mine' is taken" in capsys.readouterr().err


def test_a_run_of_a_model_tuned_on_gold_labels_is_supervised(store: Store) -> None:
    small_dataset(store)
    for name, supervised in (("gold", True), ("icm", False)):
        model_registry.put(store, name, lambda folder: None, {"name": name, "base": "sample", "supervised": supervised})
        for model in (f"trained:{name}", str(model_registry.folder(store, name))):
            run = control.create_run(store, RunSpec("sums", model))
            assert store.spec(run).supervised is supervised
            assert new_run.resolved(store, store.spec(run)) == store.spec(run)
    model_registry.put(store, "silent", lambda folder: None, {"name": "silent", "base": "sample"})
    assert model_registry.is_supervised(store, "trained:silent")
    assert not model_registry.is_supervised(store, "sample")
    with pytest.raises(NotFound, match="trained models: gold, icm, silent"):
        control.create_run(store, RunSpec("sums", "trained:nothing"))


# -- a training that is cut off


KILLED = {"epochs": 12, "batch_size": 2, "rows_at_once": 2, "rank": 2}


@pytest.mark.slow
@pytest.mark.model
def test_a_killed_training_goes_on_to_the_same_weights(store: Store) -> None:
    """SIGKILL between two checkpoints; what goes on takes the steps after the last whole one again."""
    run = labelled_run(store, 6)
    assert tuned(store, [run], "whole", **KILLED)["steps"] == 12 * 3
    job = finetuning.create(store, [run], settings_of(KILLED), "killed")
    store.append(job, "start", {})
    worker = subprocess.Popen(
        [sys.executable, "-m", "icm_engine.jobs.job_worker", "--db", str(store.path), job], cwd=ROOT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while not (points := looked_at.points(store, job)) or points[-1].step < 8:  # a checkpoint is kept every 3 steps
        assert worker.poll() is None, "the training ended by itself"
        time.sleep(0.01)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert jobs.status(store, job).phase == "interrupted"
    assert model_registry.names(store) == ["whole"]
    told = done(store, job)
    assert told["resumed_from"] >= 6
    assert told["resumed_from"] % 3 == 0
    assert told["steps"] == 36
    assert weights(store, "killed") == weights(store, "whole")
    assert [point.step for point in looked_at.points(store, job)] == list(range(1, 37))


def test_a_checkpoint_that_was_not_written_to_its_end_is_passed_over(tmp_path: Path) -> None:
    from icm_engine.training.trainers import STATE, last_checkpoint

    assert last_checkpoint(tmp_path / "none") is None
    for number, state in ((9, "{}"), (18, "{}"), (100, '{"global_'), (101, None)):
        (tmp_path / f"checkpoint-{number}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{number}" / STATE).write_text(state, encoding="utf-8")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-18"


@pytest.mark.slow
@pytest.mark.model
def test_a_cancelled_training_ends_at_a_step_and_leaves_no_model(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_process, "PROGRESS_EVERY", 0.0)
    append = job_process.Job.append

    def cancelling(self: job_process.Job, kind: str, body: dict[str, object], seconds: float = 0.0) -> None:
        append(self, kind, body, seconds)
        if kind == "logged":
            jobs.cancel(store, self.name)

    monkeypatch.setattr(job_process.Job, "append", cancelling)
    job = finetuning.create(store, [labelled_run(store)], settings_of(SMALL), "never")
    store.append(job, "start", {})
    assert run_in_process(store, job, job_worker.perform) == 0
    assert jobs.status(store, job).phase == "cancelled"
    assert len(looked_at.points(store, job)) == 1
    assert model_registry.names(store) == []


@pytest.mark.model
def test_labels_that_changed_since_a_training_began_are_refused(store: Store) -> None:
    job = finetuning.create(store, [labelled_run(store)], settings_of(SMALL))
    store.append(job, "part", {"labels_sha256": "of other labels"})
    store.append(job, "start", {})
    assert run_in_process(store, job, job_worker.perform) == 1
    assert "have changed since it began: request it again" in jobs.status(store, job).message


def test_runs_of_different_labels_are_not_tuned_on_together(store: Store) -> None:
    from dataclasses import replace

    small_dataset(store)
    other = store.dataset("sums")
    task = replace(other.task, labels=("Yes", "No"), true_label="Yes")
    store.add_dataset(replace(other, name="said", task=task))
    runs = [add_run(store, "finished"), add_run(store, "finished", dataset="said", rule="none")]
    with pytest.raises(SettingError, match="have different labels: tune on runs of one task"):
        finetuning.labels_of(store, runs)


def test_the_facts_of_a_folder_that_cannot_be_read_are_an_error(store: Store) -> None:
    from icm_engine.core.errors import ModelNotUsable

    with pytest.raises(NotFound, match=r"no model named 'x' was trained with database .*; trained models: nothing yet"):
        model_registry.located(store, ModelChoice("trained:x"))
    place = model_registry.put(store, "x", lambda folder: None, {"name": "x"})
    assert json.loads((place / "trained.json").read_text()) == {"name": "x"}
    (place / "trained.json").write_text("{")
    with pytest.raises(ModelNotUsable, match="cannot be read"):
        model_registry.model_facts(store, "x")


# -- folds


def folded(store: Store, limit: int = 6, **options: object) -> RunSpec:
    ensure_sample_dataset(store, "arithmetic")
    search = with_settings(PRESETS["default"], {"seed": 3, "max_steps": 2})
    chosen = {"folds": 2, "epochs": 2, **options}
    return RunSpec("arithmetic", "sample", *LOCAL, limit=limit, source="folds", source_options=chosen, search=search)


def tuner(store: Store, interrupted: Callable[[], bool] = lambda: False) -> tuple[Fitter, Objective]:
    """What tunes the sample model, and an objective that asks the model itself."""
    spec = folded(store)
    opened = open_run(store, store.add_run(spec)).whole()
    choice = model_registry.located(store, spec.model_choice)
    objective = opened.objective(spec.search, make_scorer(choice))
    return make_tuner(choice, objective, TuneSettings(epochs=2, batch_size=2, rank=2), interrupted), objective


@pytest.mark.model
def test_a_fold_is_predicted_by_a_fresh_model_that_learned_the_others(store: Store) -> None:
    tuning, objective = tuner(store)
    labels, before = Labeling({0: "True", 1: "False", 2: "True"}), untuned(objective).scores
    fit = tuning.fit(labels, [3, 4, 5])
    assert fit is not None
    assert (fit.rows, fit.steps, fit.usage.prompts, set(fit.scores)) == (3, 4, 3, {3, 4, 5})  # 2 epochs of 2 + 1 rows
    assert fit.tokens > 0
    assert fit.tokens % 2 == 0
    assert fit.first_loss is not None
    assert fit.last_loss is not None
    assert min(fit.first_loss, fit.last_loss) > 0
    assert all(fit.scores[i].raw != before[i].raw for i in (3, 4, 5))
    again = tuner(store)[0].fit(labels, [3, 4, 5])
    assert again == fit  # to the last digit
    assert untuned(objective).scores == before  # the model itself has learned nothing
    other = tuning.fit(Labeling({0: "False", 1: "True", 2: "False"}), [3])
    assert other is not None
    assert other.scores[3] != fit.scores[3]


def living_models() -> int:
    gc.collect()
    return sum(type(one).__name__.endswith("ForCausalLM") for one in gc.get_objects())


@pytest.mark.model
def test_a_fit_leaves_no_model_in_memory(store: Store) -> None:
    """A search with folds makes dozens of fits, each with a copy of the model."""
    tuning, _ = tuner(store)
    before = living_models()
    for _ in range(2):
        assert tuning.fit(Labeling({0: "True", 1: "False"}), [3]) is not None
    assert living_models() == before


@pytest.mark.model
def test_a_tuning_is_left_after_the_step_in_which_a_person_asks(store: Store) -> None:
    looked = list[int]()

    def after_one() -> bool:
        looked.append(1)
        return True

    assert tuner(store, after_one)[0].fit(Labeling({0: "True", 1: "False", 2: "True"}), [3]) is None
    assert len(looked) == 1


@pytest.mark.slow
@pytest.mark.model
def test_a_run_with_folds_of_the_sample_model(store: Store) -> None:
    """A worker of its own: the log is right, and a second one has the same digits."""
    runs = [control.create_run(store, folded(store, 8)) for _ in range(2)]
    logs = []
    for run in runs:
        control.start(store, run)
        assert control.wait_until_settled(store, run).phase == "finished", control.log_tail(store, run)
        opened = open_run(store, run)
        steps, wrong = verify(store, opened)
        assert wrong == []
        assert steps >= 1
        folds = [event.fold for event in store.read_after(run, kinds=("fold",))]
        assert all(fold["steps"] == 2 and fold["tokens"] > 0 for fold in folds[1:])
        assert folds[0]["steps"] == 0
        logs.append([(event.kind, event.body) for event in store.read_after(run, kinds=("fold", "round", "finished"))])
    assert logs[0] == logs[1]
