"""The run form: what a person can choose before and during a run."""

import math
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit
from urllib.request import getproxies

from icm_engine import jobs
from icm_engine.analysis.run_history import Reading
from icm_engine.core.consistency import RULES
from icm_engine.core.errors import NotFound, ServerUnavailable, SettingError
from icm_engine.core.objective import PREDICTABILITY
from icm_engine.core.search import Breakpoints, temperature
from icm_engine.core.server_address import is_server, server_address
from icm_engine.core.settings import EXPLANATIONS, PRESETS, ModelChoice, SearchConfig, steps_per_example, with_settings
from icm_engine.core.text import home_expanded
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.data.rule_check import rule_check_spec
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.runs import control, fetched_models
from icm_engine.runs import remarks as run_remarks
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store

SECONDS = 3.0


def require_server(model: str) -> None:
    """Raise ServerUnavailable if a model's server does not answer, SettingError for a bad address.

    Behind a proxy nothing can be said beforehand; the worker will report it.
    """
    if not is_server(model):
        return
    base = server_address(model).base
    url = urlsplit(base)
    port = url.port or (443 if url.scheme == "https" else 80)
    if url.scheme in getproxies():
        return
    try:
        socket.create_connection((url.hostname or "", port), SECONDS).close()
    except OSError as error:
        raise ServerUnavailable(
            f"server {base} does not answer ({error.strerror or error}): start it, or correct its address"
        ) from None


QUANTIZATIONS = {
    "nf4": "4 bits a weight, by bitsandbytes: the smallest",
    "int8": "8 bits a weight, by bitsandbytes",
    "none": "unquantized weights, in bfloat16, or float32 where the processor has no bfloat16",
}
FIRST_RUN = RunSpec("arithmetic", "sample", limit=64, search=PRESETS["default"])  # behind the button on Runs
APART = ("seed", "max_steps")  # settings with their own place on the page

ABOUT = {
    "dataset": "The data set to label. Sample data sets come with gold labels, used for comparison only.",
    "model": "sample is the small model in this repository. Also: a fetched model, a GGUF file, a directory, a hub "
    "id, trained:NAME of the Train tab, or the address of a server (http://HOST:PORT/v1), whose key "
    "goes into the environment variable ICM_SERVER_KEY.",
    "quantization": "How the model's weights are stored: "
    + "; ".join(f"{k}: {v}" for k, v in QUANTIZATIONS.items())
    + ". A server has its own.",
    "limit": "Label at most so many examples: whole consistency groups in the order of the file, wherever their "
    "examples stand. Empty means all of them.",
    "batch_size": "For data larger than the context: splits what the limit leaves into batches of at most so many "
    "examples, drawn by the seed, no consistency group cut, each a search of its own. Empty means one run.",
    "max_steps": "Steps of Algorithm 1. Empty means one an example with the preset paper, as in the paper, and four "
    "with the others.",
    "chains": "Number of searches, each a run with the next seed, two at a time. Of several, the best by U is "
    "proposed, shown with the agreement of all. Gold plays no part in the choice.",
    "preset": "A named set of values for every setting below; paper takes N steps of N examples, the others 4N.",
    "rule": "Which pairs of examples constrain each other. The data set brings its own.",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the search: its value in a preset, the possible values (none: any number), its explanation."""

    name: str
    value: Any
    choices: tuple[str, ...]
    explanation: str

    @property
    def words(self) -> str:
        """The setting's name, in words."""
        return self.name.replace("_", " ")


def settings(preset: str) -> tuple[Setting, ...]:
    """Return every setting with its value in the preset, in the order of SearchConfig."""
    return settings_of(PRESETS[preset])


def settings_of(config: SearchConfig) -> tuple[Setting, ...]:
    """Return every setting with its value in this configuration."""
    kinds = get_type_hints(SearchConfig)
    named = {"predictability": tuple(PREDICTABILITY)}
    return tuple(
        Setting(
            field.name,
            getattr(config, field.name),
            named.get(field.name, tuple(map(str, get_args(kinds[field.name])))),
            EXPLANATIONS[field.name],
        )
        for field in fields(SearchConfig)
    )


def steps_words(preset: str) -> str:
    """Say how many steps a preset takes by default."""
    times = steps_per_example(preset)
    return "as many as examples" if times == 1 else f"{times} × examples"


def remarks(store: Store, dataset: str, preset: str) -> list[str]:
    """Return remarks about a new run on a stored data set; none for a data set not stored yet."""
    if not store.has_dataset(dataset):
        return []
    return run_remarks.remarks(store, RunSpec(dataset, "fake", preset=preset, search=PRESETS[preset]))


def presets() -> tuple[str, ...]:
    return tuple(PRESETS)


def model_names(store: Store) -> list[str]:
    """Return the models that a page offers: those shipped and those fetched."""
    return ["sample", "fake", *(str(row["name"]) for row in fetched_models.listed(store))]


def rules() -> tuple[str, ...]:
    return tuple(RULES)


def dataset_names(store: Store) -> tuple[str, ...]:
    """Return the data sets a run can use: samples first, then imported ones."""
    return (*SAMPLE_DATASETS, *(name for name in store.dataset_names() if name not in SAMPLE_DATASETS))


def make_spec(dataset: str, model: ModelChoice, limit: int | None, preset: str, values: Mapping[str, Any]) -> RunSpec:
    """Return the RunSpec of these choices; limit None means all examples. Raises SettingError for invalid values."""
    search = with_settings(PRESETS[preset], dict(values))
    return RunSpec.of(dataset, model, limit=limit, preset=preset, search=search)


def begin(store: Store, spec: RunSpec) -> str:
    """Create a run, importing its sample data set if needed, and start it; return the run's name."""
    put_sample(store, spec.dataset)
    run = control.create_run(store, spec)
    control.start(store, run)
    return run


def put_sample(store: Store, name: str) -> None:
    """Import a data set if it is a sample and not stored yet."""
    if name in SAMPLE_DATASETS:
        ensure_sample_dataset(store, name)


def load_sample(store: Store, name: str) -> None:
    """Import a sample data set if it is not stored yet. Raises SettingError for other names."""
    ensure_sample_dataset(store, name)


def ask_context(store: Store, dataset: str, model: ModelChoice, limit: int | None) -> str:
    """Start a context check and return its job. Raises NotFound for an unknown data set."""
    store.dataset_info(dataset)
    body = {"dataset": dataset, "limit": limit}
    return jobs.request(store, jobs.JobSpec("context-check", body, model))


def model_choice(model: str, quantization: str) -> ModelChoice:
    """Return the model that a form names."""
    return ModelChoice(home_expanded(model.strip()), quantization)


def ask_rule_check(store: Store, dataset: str) -> str:
    """Start the check of a large data set's rule and return its job. Raises NotFound for an unknown data set."""
    store.dataset_info(dataset)
    return jobs.request(store, rule_check_spec(dataset))


@dataclass(frozen=True, slots=True)
class Tunable:
    """A setting that can change during a run: its value and its explanation."""

    value: float
    explanation: str


def tunable(reading: Reading) -> dict[str, Tunable]:
    """Return the settings that can be retuned, with the values in force; the temperature is that of the next step."""
    return {
        "alpha": Tunable(float(reading.config.alpha), EXPLANATIONS["alpha"]),
        "temperature": Tunable(
            round(_next_temperature(reading), 4),
            "T of the next step, on the scale of U. It cools on from there: the initial temperature is changed.",
        ),
        "neighbour_weight": Tunable(reading.config.neighbour_weight, EXPLANATIONS["neighbour_weight"]),
    }


def changed_settings(reading: Reading, wanted: Mapping[str, float]) -> dict[str, float]:
    """Return the settings that produce the wanted values from the next step on; empty if nothing changes.

    Raises SettingError for a temperature that is not above 0.
    """
    now, settings = tunable(reading), dict[str, float]()
    for name in ("alpha", "neighbour_weight"):
        if wanted[name] != now[name].value:
            settings[name] = wanted[name]
    if (heat := wanted["temperature"]) != now["temperature"].value:
        settings |= _settings_for(reading, heat)
    return settings


def _settings_for(reading: Reading, heat: float) -> dict[str, float]:
    """The initial temperature from which the schedule reaches this one now; T = T0 / (1 + beta ln n)."""
    if heat <= 0:
        raise SettingError(f"temperature is {heat:g}: use a value above 0, such as 0.01")
    assert reading.state is not None
    config = reading.config
    count = reading.state.step + 1 if config.cooling == "per-step" else 1 + reading.state.accepted
    settings = {"initial_temperature": heat * (1 + config.cooling_rate * math.log(count))}
    return settings if heat >= config.final_temperature else {**settings, "final_temperature": heat}


def _next_temperature(reading: Reading) -> float:
    assert reading.state is not None
    return temperature(reading.state.step + 1, reading.state.accepted, reading.config)


def breakpoints(reading: Reading, flips: str, falls: float | None, lasts: int | None) -> Breakpoints:
    """Return breakpoints from typed values; `flips` are comma-separated ids. Raises NotFound, SettingError."""
    names = [name.strip() for name in flips.split(",") if name.strip()]
    for name in names:
        try:
            reading.run.codec.index(name)
        except KeyError:
            raise NotFound(f"example {name!r} is not in this run: use an id from the table of labels") from None
    return Breakpoints(tuple(names), falls or None, lasts)


def breakpoint_words(points: Breakpoints) -> str:
    """Describe the breakpoints in force in a sentence."""
    parts = []
    if points.flips:
        parts.append(f"{', '.join(points.flips)} changes its label")
    if points.utility_falls is not None:
        parts.append(f"a step lowers U by {points.utility_falls:g} or more")
    if points.inconsistent_for is not None:
        parts.append(f"a pair has been inconsistent for {points.inconsistent_for:,} steps")
    return f"In force: pause when {' or '.join(parts)}." if parts else "No breakpoints are set."
