"""Policies as they are asked for: sampled, tuned on a run's preferences, trained on a reward model's rewards.

A policy is a model that continues a task's prompt with a response. No gold is here: what is right about a response is
for `analysis` to say.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from icm_engine.core.errors import SettingError
from icm_engine.core.responses import Form, form_of
from icm_engine.runs import jobs, trained
from icm_engine.runs.data_parts import Part
from icm_engine.runs.events import Json
from icm_engine.runs.jobs import JobSpec, ModelChoice
from icm_engine.runs.loop_settings import PreferenceSettings, ReinforceSettings
from icm_engine.runs.rewarding import KIND as REWARD
from icm_engine.runs.store import Store
from icm_engine.runs.training_jobs import free_name

RESPOND, PREFER, REINFORCE = "respond", "preference-tuning", "reinforce"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How responses are sampled: so many of each prompt, at this temperature; a function of the seed."""

    samples: int = 8
    temperature: float = 1.0
    max_tokens: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("samples", "temperature", "max_tokens"):
            if not getattr(self, name) > 0:
                raise SettingError(f"{name} is {getattr(self, name)}: use a value above 0")


def ask_responses(
    store: Store, model: ModelChoice, parts: Sequence[Part], sampling: Sampling, judges: Sequence[str] = (),
    most: int | None = None,
) -> str:  # fmt: skip
    """Store the job that samples responses to the prompts of some data, at most so many; reward models judge them."""
    trained.require_installed()
    form = _form(store, parts)
    for judge in judges:
        _require_reward_model(store, judge)
    if not form.ends_with_a_line:
        raise SettingError(f"the template goes on in the line of the response ({form.after!r}): a policy cannot end it")
    body = {
        "parts": [part.to_json() for part in parts], "most": most, "sampling": asdict(sampling), "judges": list(judges),
        "dataset": parts[0].dataset,
    }  # fmt: skip
    return jobs.create(store, JobSpec(RESPOND, body, model))


def ask_preference_tuning(
    store: Store, run: str, settings: PreferenceSettings, *, name: str | None = None, model: ModelChoice | None = None
) -> str:
    """Store the job that tunes a policy on the preferences in a run's labels (DPO). Raises NotFound, SettingError."""
    trained.require_installed()
    spec = store.spec(run)
    model = _trainable(model or trained.base_choice(store, run))
    form_of(store.dataset_info(spec.dataset).task)
    body = {"run": run, "name": free_name(store, f"{run}-policy", name), "settings": asdict(settings)}
    return jobs.create(store, JobSpec(PREFER, body, model))


def ask_reinforcement(
    store: Store, reward: str, parts: Sequence[Part], settings: ReinforceSettings, *, name: str | None = None,
    model: ModelChoice | None = None, most: int | None = None,
) -> str:  # fmt: skip
    """Store the job that trains a policy against a reward model on the prompts of some data. Raises SettingError."""
    trained.require_installed()
    facts = _require_reward_model(store, reward)
    form = _form(store, parts)
    if not form.ends_with_a_line:
        raise SettingError(f"the template goes on in the line of the response ({form.after!r}): a policy cannot end it")
    body = {
        "reward": reward, "parts": [part.to_json() for part in parts], "most": most, "dataset": parts[0].dataset,
        "name": free_name(store, f"{reward}-policy", name), "settings": asdict(settings),
    }  # fmt: skip
    return jobs.create(store, JobSpec(REINFORCE, body, _trainable(model or model_of(facts))))


def model_of(facts: Json) -> ModelChoice:
    """Return the model that something was trained from, loaded as it was then."""
    return ModelChoice(facts["base"], facts["quantization"], facts["dtype"], facts["device"])


def prompts_of(store: Store, parts: Sequence[Json], most: int | None) -> tuple[Form, list[str]]:
    """Return the distinct queries or questions of some data, in order, at most so many. Raises SettingError."""
    form = _form(store, [Part.from_json(part) for part in parts])
    asked = dict[str, None]()
    for part in parts:
        rows = store.open_dataset(part["dataset"]).examples
        asked |= dict.fromkeys(form.asked(rows[i]) for i in Part.from_json(part).places(store))
    found = list(asked)[:most]
    if not found:
        raise SettingError("there is no prompt to respond to: name data with examples")
    return form, found


def _form(store: Store, parts: Sequence[Part]) -> Form:
    if not parts:
        raise SettingError("no data set is named: responses need prompts")
    forms = {form_of(store.dataset_info(part.dataset).task) for part in parts}
    if len(forms) > 1:
        raise SettingError(f"data sets {', '.join(p.dataset for p in parts)} have different templates: use one task's")
    return forms.pop()


def _require_reward_model(store: Store, name: str) -> Json:
    facts = trained.facts(store, name)
    if facts["kind"] != REWARD:
        raise SettingError(f"{name!r} is no reward model but comes from {facts['kind']}: train one (`reward RUN`)")
    return facts


def _trainable(model: ModelChoice) -> ModelChoice:
    if model.model == "fake":
        raise SettingError("the fake model cannot be trained: name a real one (--model)")
    return model
