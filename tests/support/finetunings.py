"""Fine-tunings of the sample model in the test's own process: a few steps on a few labels."""

from typing import Any

from icm_engine import jobs
from icm_engine.analysis import tuned_models
from icm_engine.core.labeling import Flip
from icm_engine.core.objective import Evaluation
from icm_engine.core.scoring import LabelLogProbs, Usage
from icm_engine.core.search import InitialInfo
from icm_engine.core.settings import TuneSettings
from icm_engine.jobs import finetuning, job_worker, policies
from icm_engine.jobs.downstream_eval import DatasetPart
from icm_engine.jobs.job_process import run_in_process
from icm_engine.jobs.policies import ReinforceSettings
from icm_engine.runs import model_registry
from icm_engine.store.events import Cost, Json, RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.support.stores import small_dataset

SMALL = {"epochs": 2, "batch_size": 4, "rows_at_once": 2, "rank": 2}


def labelled_run(store: Store, examples: int = 6) -> str:
    """A run of the sample model with labels that were given, True and False in turn."""
    if not store.has_dataset("sums"):
        small_dataset(store)
    spec = RunSpec("sums", "sample", "none", "float32", limit=examples, given_from="in turn", supervised=True)
    run = store.add_run(spec)
    flips = tuple(Flip(i, None, ("True", "False")[i % 2], "initial") for i in range(examples))
    scores = {flip.example: LabelLogProbs((-0.5, -0.5)) for flip in flips}
    drawn = tuple((flip.example, str(flip.new)) for flip in flips)
    info = InitialInfo(drawn, (), flips, Evaluation(0.0, 0.0, 0.0, (), scores))
    store.append(run, "initial", open_run(store, run).codec.encode_initial(info, Cost(Usage())))
    return run


def done(store: Store, job: str) -> Json:
    """Do a job here, and return what it found."""
    store.append(job, "start", {})
    assert run_in_process(store, job, job_worker.perform) == 0, jobs.status(store, job).message
    found = jobs.result(store, job)
    assert found is not None
    return found


def tuned(store: Store, runs: list[str], name: str | None = None, **changed: Any) -> Json:
    """Tune on the labels of runs here, and return the facts."""
    return done(store, finetuning.create(store, runs, finetuning.settings_of({**SMALL, **changed}), name))


def logged(store: Store, job: str, step: int, loss: float) -> None:
    body = {"step": step, "steps": 4, "seconds": 1.5 * step, "loss": loss, "epoch": step / 2, "learning_rate": 1e-3}
    store.append(job, tuned_models.LOGGED, {**body, "grad_norm": 0.1})


def facts(name: str, run: str) -> dict[str, object]:
    return {
        "name": name, "kind": "finetune", "base": "sample", "quantization": "none", "runs": [{"run": run}], "rows": 6,
        "supervised": True,
        "steps": 4, "first_loss": 0.75, "last_loss": 0.25, "parameters": 20_480, "settings": {"epochs": 2},
    }  # fmt: skip


def finished(store: Store, run: str, name: str | None = None) -> str:
    """A fine-tuning that is done, as its process would have left it."""
    job = finetuning.create(store, [run], TuneSettings(), name)
    store.append(job, "start", {})
    for step, loss in enumerate((0.75, 0.5, 0.5, 0.25), start=1):
        logged(store, job, step, loss)
    told = facts(jobs.spec(store, job).body["name"], run)
    model_registry.put(store, str(told["name"]), lambda folder: None, told)
    store.append(job, "result", told)
    return job


def reward_model(store: Store, name: str, *runs: str) -> None:
    """A reward model that learned from the labels of these runs, without its weights."""
    told = {**facts(name, ""), "kind": "reward", "runs": [{"run": run} for run in runs], "dtype": "float32"}
    model_registry.put(store, name, lambda folder: None, {**told, "device": "cpu"})


def reinforced(store: Store, run: str, judge: str | None = "other") -> str:
    """A finished reinforcement against the reward model `own`, whose judge liked step 2 best."""
    job = policies.ask_reinforcement(
        store, "own", [DatasetPart("capitals")], ReinforceSettings(), name="p", judge=judge
    )  # fmt: skip
    store.append(job, "start", {})
    checks = [
        {"step": step, "own": own, "judged": judged, "distinct": 0.5, "kl": 0.1}
        for step, own, judged in ((0, -1.0, -0.5), (2, 0.0, 0.5), (4, 1.0, 0.25))
    ]
    for check in checks:
        store.append(job, tuned_models.CHECKED, check)
    told = {
        **facts("p", run), "kind": "reinforce", "reward": "own", "judge": judge or "own", "checks": checks,
        "kept_step": 2, "ended": policies.NO_BETTER, "held_out": {"prompts": 3, "responses": 21, "trained_on": 0},
        "dtype": "float32", "device": "cpu",
    }  # fmt: skip
    model_registry.put(store, "p", lambda folder: None, told)
    store.append(job, "result", told)
    return job


def responded(store: Store, run: str) -> str:
    """A finished sampling of a run's model on `capitals`, scored by the reward model `own`."""
    parts, choice = [DatasetPart("capitals")], model_registry.base_choice(store, run)
    job = policies.ask_responses(store, choice, parts, policies.Sampling(2), ["own"])
    asked = list(dict.fromkeys(example.fields["question"] for example in store.examples("capitals")))
    found = {"model": "sample", "asked": asked, "responses": [["It is here.", "It is there."]] * len(asked), "cut": 0}
    store.append(job, "result", {**found, "rewards": {"own": [[0.5, -0.5]] * len(asked)}})
    return job
