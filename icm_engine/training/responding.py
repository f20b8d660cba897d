"""Responses sampled from a policy, and what reward models give them."""

from collections.abc import Sequence
from pathlib import Path

from icm_engine.core.draws import below, random_of
from icm_engine.core.errors import SettingError
from icm_engine.core.generating import Generated, Request
from icm_engine.core.responses import Form
from icm_engine.models.continuing import Continuer
from icm_engine.models.loading import LoadedModel, load
from icm_engine.runs import policies, trained
from icm_engine.runs.events import Json
from icm_engine.runs.job_process import Job
from icm_engine.runs.jobs import ModelChoice
from icm_engine.runs.policies import Sampling
from icm_engine.runs.store import Store
from icm_engine.training import packages
from icm_engine.training.reward_heads import Reader, load_rewards, rewards


def respond(job: Job) -> Json:
    """Sample responses to every prompt, and have the judges reward them. Raises IcmError, Cancelled."""
    packages.require()
    body, choice = job.spec.body, job.spec.model
    if choice is None:
        raise SettingError("responses need a model: name one (--model)")
    form, asked = policies.prompts_of(job.store, body["parts"], body["most"])
    loaded = load_choice(job.store, choice)
    job.ready({"model": choice.model, "prompts": len(asked)})
    answers = sample(loaded, form, asked, Sampling(**body["sampling"]))
    texts = [[answer.text for answer in some] for some in answers]
    judged: Json = {}
    for judge in body["judges"]:
        job.progress(len(judged), len(body["judges"]), f"judging by {judge}")
        judged[judge] = judge_responses(job.store, judge, form, asked, texts)
    return {
        "model": choice.model, "asked": asked, "responses": texts, "rewards": judged,
        "cut": sum(not answer.ended for some in answers for answer in some), "sampling": body["sampling"],
    }  # fmt: skip


def load_choice(store: Store, choice: ModelChoice) -> LoadedModel:
    """Load the model that a job names; `trained:NAME` is looked up beside the database."""
    there = trained.located(store, choice)
    return load(there.model, there.quantization, there.dtype, there.device)


def sample(loaded: LoadedModel, form: Form, asked: Sequence[str], how: Sampling) -> list[list[Generated]]:
    """Return so many responses to each prompt; the same ones whatever else is asked."""
    generator = Continuer(loaded)
    requests = [Request(form.prompt(one)) for one in asked]
    rounds = [
        generator.generate(requests, how.max_tokens, how.temperature, below(random_of(how.seed, k), 2**31))
        for k in range(how.samples)
    ]
    return [[one[k] for one in rounds] for k in range(len(asked))]


def judge_responses(
    store: Store, judge: str, form: Form, asked: Sequence[str], texts: Sequence[Sequence[str]]
) -> list[list[float]]:
    """Return the reward of each response by a reward model, on the base it was trained from."""
    facts = trained.facts(store, judge)
    loaded = load(facts["base"], facts["quantization"], facts["dtype"], facts["device"])
    reader, model = Reader(loaded, form), load_rewards(loaded, Path(trained.folder(store, judge)))
    rows = [reader.whole(one, text) for one, some in zip(asked, texts, strict=True) for text in some]
    found = iter(rewards(model, rows))
    return [[next(found) for _ in some] for some in texts]
