"""Settings of a search and of fine-tuning, the named presets, and the choice of a model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

from icm_engine.core.batching import NEWEST
from icm_engine.core.errors import SettingError
from icm_engine.core.server_address import settle_server

Cooling = Literal["per-step", "per-acceptance"]
InitialDraw = Literal["coin-flips", "balanced"]

DTYPES = ("auto", "bfloat16", "float32")  # auto: bfloat16 where the device has instructions for it, else float32
MODEL_OPTIONS = ("quantization", "dtype", "device", "encoding")  # what a person may choose of a model beside its name


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model a run or a job asks for, and how. Raises SettingError for a server's address with a secret in it.

    `model` is `sample`, a local directory, a GGUF file, a fetched model's name, a hub id, the address of a server,
    `trained:NAME` or `fake`. Quantization, dtype and device of a model behind a server are its own, and say `server`.
    """

    model: str
    quantization: str = "nf4"
    dtype: str = DTYPES[0]
    device: str = "auto"
    encoding: str = "prefix-tree"  # or full-prompts
    version: int = NEWEST  # of the method's details: `core.batching`

    def __post_init__(self) -> None:
        settle_server(self, self.model)


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """Settings of fine-tuning. `batch_size` rows make one step, of which `rows_at_once` are in memory at a time.

    The defaults suit a few dozen labels. They were chosen on golden labels of `arithmetic`, by accuracy on examples of
    its training file that are used neither for tuning nor for testing (docs/results.md).
    """

    epochs: int = 20
    learning_rate: float = 1e-3
    rank: int = 8
    batch_size: int = 16
    rows_at_once: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "rank", "batch_size", "rows_at_once"):
            if not getattr(self, name) > 0:
                raise SettingError(f"{name} is {getattr(self, name)}: use a value above 0")
        if self.batch_size % min(self.rows_at_once, self.batch_size):
            raise SettingError(
                f"batch_size {self.batch_size} is not a multiple of rows_at_once {self.rows_at_once}: make it one"
            )


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """Every setting of Algorithms 1 and 2. Temperature is on the scale of U."""

    predictability: str = "mean_log_odds"
    alpha: float = 50.0
    centring: float = 1.0  # of centred_log_odds: 0 is the plain sum of log-odds, 1 gives constants nothing
    pair_weight: float = 1.0
    initial_temperature: float = 10.0
    final_temperature: float = 0.01
    cooling_rate: float = 0.99
    cooling: Cooling = "per-step"
    initial_labels: int = 8
    initial_draw: InitialDraw = "coin-flips"
    max_repairs: int = 10
    offer_neither: bool = True  # FF beside TF and FT, where two claims merely exclude each other
    keep_worse_repair: bool = False  # a proposal's repair keeps the best option even if U falls
    repair_unchanged: bool = True  # an unchanged label still repairs what is inconsistent
    paired: bool = False  # score a proposal, its repairs and the pre-step labeling in one walk
    terms: int = 0  # 0: all terms of U in every step; else this many sampled ones (`sampled_terms`)
    redraw_every: int = 8  # steps with one sample
    exact_every: int = 64  # steps between two exact evaluations of a sampled search
    neighbour_weight: int = 100
    max_steps: int = 0  # 0: the preset's steps an example, one for `paper` and four for the others
    seed: int = 0

    def __post_init__(self) -> None:
        for name in _FINITE:
            if not math.isfinite(getattr(self, name)):
                raise SettingError(f"{name} is {getattr(self, name)}: use a finite number")
        for name, low in _AT_LEAST.items():
            if getattr(self, name) < low:
                raise SettingError(f"{name} is {getattr(self, name)}: use {low} or more")
        for name in _WEIGHTS:
            if getattr(self, name) > _LARGEST:
                raise SettingError(f"{name} is {getattr(self, name)}, so that U has no finite value: use less")
        if self.centring > 1:
            raise SettingError(f"centring is {self.centring}: use a number between 0 and 1")
        if self.terms and self.paired:
            raise SettingError(f"terms is {self.terms} with paired, which scores all terms: turn one of them off")
        if self.final_temperature <= 0:
            raise SettingError(f"final_temperature is {self.final_temperature}: use a value above 0, such as 0.01")
        for name, choices in (("cooling", get_args(Cooling)), ("initial_draw", get_args(InitialDraw))):
            if getattr(self, name) not in choices:
                raise SettingError(f"{name} is {getattr(self, name)!r}: use one of {', '.join(choices)}")


_FINITE = ("alpha", "centring", "pair_weight", "initial_temperature", "final_temperature", "cooling_rate")
_AT_LEAST = {
    "alpha": 0, "centring": 0, "pair_weight": 0, "initial_temperature": 0, "cooling_rate": 0, "initial_labels": 0,
    "max_repairs": 0, "neighbour_weight": 1, "max_steps": 0, "terms": 0, "redraw_every": 1, "exact_every": 1,
}  # fmt: skip

_WEIGHTS = ("alpha", "pair_weight")
_LARGEST = 1e290  # a float stays finite even times a sum over ten thousand million labels

# a sum: one nat of log-odds is worth 1.5 and a conflict costs two nats, at any number of examples
CENTRED = SearchConfig(predictability="centred_log_odds", alpha=1.5, pair_weight=3.0)
PRESETS: dict[str, SearchConfig] = {
    "default": CENTRED,
    "centred": CENTRED,  # its name before it became the default
    "mean-log-odds": SearchConfig(),  # the default before
    "paper": SearchConfig(predictability="sum_log_prob", pair_weight=2.0),
    "authors-code": SearchConfig(
        alpha=30.0,
        cooling_rate=2.0,
        cooling="per-acceptance",
        initial_draw="balanced",
        offer_neither=False,
        keep_worse_repair=True,
        repair_unchanged=False,
    ),
}

STEPS = {"paper": 1}  # steps an example by preset: the paper takes N steps
OTHER_STEPS = 4


def steps_per_example(preset: str) -> int:
    """Return the default number of steps per example of a preset."""
    return STEPS.get(preset, OTHER_STEPS)


EXPLANATIONS: dict[str, str] = {
    "predictability": "The form of P(D): sum_log_prob is the paper's formula, mean_log_odds the authors' code (two "
    "labels only: with more, a preset takes mean_log_prob), mean_log_prob and centred_log_odds "
    "ours; the last is a sum in which constant labels are worth 0. They are different algorithms, "
    "each with its own alpha.",
    "centring": "How much of the model's bias towards a label centred_log_odds removes: 0 none, 1 all.",
    "alpha": "Weight of mutual predictability against inconsistency in U(D) = alpha * P(D) - I(D).",
    "pair_weight": "What one inconsistent pair costs: 2 in the paper's double sum, 1 in the authors' code.",
    "initial_temperature": "Temperature at the first step, on the scale of U: higher accepts more losses.",
    "final_temperature": "The temperature never falls below this.",
    "cooling_rate": "beta in T = max(final, initial / (1 + beta * ln n)): higher cools faster.",
    "cooling": "Whether n counts steps (the paper) or accepted proposals (the authors' code).",
    "initial_labels": "How many random examples are labelled at random before the first step (K).",
    "initial_draw": "Initial labels by independent coin flips (the paper) or the labels in equal parts (the code).",
    "max_repairs": "Rounds of Algorithm 2 for one proposal.",
    "offer_neither": "Offer a repair that makes neither claim True, where both may be False.",
    "keep_worse_repair": "Keep the best repair of a proposal even if U falls (the authors' code).",
    "repair_unchanged": "Repair inconsistent pairs even when the drawn example keeps its label.",
    "paired": "Score a proposal, its repairs and the pre-step labeling in the same orders of demonstrations, in one "
    "walk: cheaper, and deltas are free of order noise, but the changed examples come last before every "
    "query.",
    "terms": "Terms of U that a step scores: 0 or all scores every labelled example; a number, such as 16, estimates "
    "the change of U from a random sample of that size, which grows where its error asks for it.",
    "redraw_every": "With sampled terms: steps until another sample is drawn.",
    "exact_every": "With sampled terms: steps until U is evaluated exactly.",
    "neighbour_weight": "Draw weight of an unlabelled example that shares a constrained pair with a labelled one.",
    "max_steps": "Steps of Algorithm 1; 0 means one per example with the preset paper, as in the paper, and four with "
    "the others.",
    "seed": "All randomness is a pure function of the seed and the step number.",
}


def with_settings(config: SearchConfig, values: dict[str, Any]) -> SearchConfig:
    """Return the config with these values, given as values or as text. Raises SettingError naming the value."""
    kinds = get_type_hints(SearchConfig)
    unknown = sorted(set(values) - {f.name for f in fields(SearchConfig)})
    if unknown:
        raise SettingError(f"setting {unknown[0]!r} does not exist: use one of {', '.join(kinds)}")
    return replace(config, **{name: parsed(name, value, kinds[name]) for name, value in values.items()})


def parsed(name: str, value: Any, kind: Any) -> Any:
    """Return a value, given as such or as text, converted to this type. Raises SettingError naming both."""
    try:
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[str(value).lower()]
        if name == "terms" and value == "all":
            return 0
        return kind(value) if kind in (int, float) else str(value)
    except (KeyError, ValueError, TypeError, OverflowError):
        wanted = "true or false" if kind is bool else "a whole number" if kind is int else "a number"
        raise SettingError(f"{name} is {value!r}: use {wanted}") from None


def parsed_options(name: str, options: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a label source, given as values or as text, with their types. Raises SettingError."""
    if unknown := sorted(set(options) - set(known)):
        raise SettingError(
            f"label source {name!r} has no option {unknown[0]!r}: its options are {', '.join(known) or 'none'}"
        )
    return {option: parsed(option, value, type(known[option])) for option, value in options.items()}
