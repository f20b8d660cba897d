"""Settings of what is trained around a search: reward models, preference tuning, reinforcement."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from icm_engine.core.errors import SettingError
from icm_engine.core.settings import parsed


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """What all of them have: a LoRA adapter of this rank, this largest step of AdamW, this seed."""

    learning_rate: float = 1e-3
    rank: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "seed" and not value > 0:
                raise SettingError(f"{field.name} is {value}: use a value above 0")


@dataclass(frozen=True, slots=True)
class RewardSettings(LoraSettings):
    """How a reward model is trained: each of its stages takes `steps` steps of `batch_size` pairs."""

    steps: int = 100
    batch_size: int = 8


@dataclass(frozen=True, slots=True)
class PreferenceSettings(LoraSettings):
    """How a policy is tuned on preferences (DPO); `beta` holds it to where it began."""

    steps: int = 100
    batch_size: int = 8
    beta: float = 0.1


@dataclass(frozen=True, slots=True)
class ReinforceSettings(LoraSettings):
    """How a policy is trained on rewards (RLOO): steps of `prompts` prompts with `responses` samples of each.

    `beta` weighs the divergence from where it began against the reward.
    """

    steps: int = 100
    prompts: int = 8
    responses: int = 8
    beta: float = 0.05
    max_tokens: int = 16


EXPLANATIONS = {
    "learning_rate": "the largest step of AdamW; it falls to zero in a line",
    "rank": "rank of the two matrices that LoRA puts beside each linear layer",
    "seed": "order of the rows, where the adapter begins, and what is sampled",
    "batch_size": "pairs a step",
    "beta": "how strongly a policy is held to where it began",
    "steps": "steps of training; of a reward model, in each of its stages",
    "prompts": "prompts a step",
    "responses": "samples of each prompt; their rewards are compared with each other",
    "max_tokens": "tokens that a response may take",
}

Some = TypeVar("Some", bound=LoraSettings)


def settings_from(kind: type[Some], values: Mapping[str, Any]) -> Some:
    """Return settings from values or texts by name; what is not named has its default. Raises SettingError."""
    known = {field.name: type(field.default) for field in fields(kind)}
    if unknown := sorted(set(values) - set(known)):
        raise SettingError(f"there is no setting {unknown[0]!r} here: use {', '.join(known)}")
    return kind(**{name: parsed(name, value, known[name]) for name, value in values.items()})
