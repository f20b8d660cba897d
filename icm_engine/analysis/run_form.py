"""The run form: the settings that a person can choose before and during a run."""

import math
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit
from urllib.request import getproxies

from icm_engine import jobs
from icm_engine.analysis.formatting import counted
from icm_engine.analysis.run_history import Reading
from icm_engine.core.advance import Breakpoints
from icm_engine.core.batching import Cut
from icm_engine.core.consistency import RULES, ExactlyOne, Exclusive, SameAnswer, Unconstrained
from icm_engine.core.errors import NotFound, NotInstalled, ServerUnavailable, SettingError
from icm_engine.core.folds import FOLDS, OPTIONS, ROUNDS, fold_settings
from icm_engine.core.folds import NOT_OF_FOLDS as NOT_OF_FOLDS
from icm_engine.core.objective import OF_TWO_LABELS, PREDICTABILITY, form_for
from icm_engine.core.search import temperature
from icm_engine.core.server_address import is_server, server_address
from icm_engine.core.settings import EXPLANATIONS, PRESETS, ModelChoice, SearchConfig, steps_per_example, with_settings
from icm_engine.core.text import home_expanded
from icm_engine.data.gold import labels_in_gold
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.data.rule_check import rule_check_spec
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.jobs import finetuning
from icm_engine.runs import control, fetched_models, model_registry, new_run
from icm_engine.store.datasets import DatasetInfo
from icm_engine.store.events import SEARCH, RunSpec
from icm_engine.store.store import Store

SECONDS = 3.0


def require_server(model: str) -> None:
    """Raise ServerUnavailable if a model's server does not answer, SettingError for a bad address.

    Behind a proxy this cannot be checked beforehand; the worker reports it.
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
    "nf4": "4 bits per weight, by bitsandbytes: the smallest",
    "int8": "8 bits per weight, by bitsandbytes",
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
    "limit": "The largest number of examples to label. Takes whole consistency groups in the order of the file, "
    "wherever their examples stand. Empty means all examples.",
    "batch_size": "For data larger than the context: the largest number of examples in a batch. The seed decides which "
    "consistency groups form a batch, groups stay whole, and each batch is a search of its own. Empty means one run.",
    "max_steps": "Steps of Algorithm 1. Empty means one per example with the preset paper, as in the paper, and four "
    "with the others.",
    "chains": "Number of searches, each a run with the next seed, two at a time. Of several, the best by U is "
    "proposed, shown with the agreement of all. Gold plays no part in the choice.",
    "preset": "A named set of values for every setting below; paper takes N steps of N examples, the others 4N.",
    "rule": "Which pairs of examples constrain each other. The data set brings its own.",
    "method": "Prompting: each prompt shows the model the other labels, and a step changes one label with its repairs. "
    "Fine-tuned folds: for each fold, a copy of the model is tuned on the labels of the others, and a round changes "
    "many labels. No prompt holds more than one example; each round takes as many fits as there are folds.",
    "rounds": "Rounds at most. A run ends earlier when nothing would change.",
    "folds": "Parts of the data, each predicted by a model tuned on the others. Consistency groups stay whole.",
    "start": "Where the labels to start from come from: zero-shot are those that stand out in the predictions of the "
    "untuned model, random are coin flips.",
}
METHODS = {SEARCH: "Prompting", FOLDS: "Fine-tuned folds"}
OF_FOLDS = "folds_"  # the beginning of the names of their fields
FOLD_FIELDS = {  # each option of the folds as a phrase
    "folds": "Folds",
    "start": "Labels to start from",
    "epochs": "Epochs of a fit",
    "learning_rate": "Peak learning rate",
    "rank": "Rank of the LoRA matrices",
    "batch_size": "Labels in a step of training",
    "rows_at_once": "Labels in memory at a time",
}

# each setting as a phrase, with its symbol in the paper and the docs
PHRASES: dict[str, tuple[str, str]] = {
    "predictability": ("Form of mutual predictability", "P(D)"),
    "alpha": ("Weight of mutual predictability against conflicts", "alpha"),
    "centring": ("Share of the model's bias towards a label that is removed", "centring"),
    "pair_weight": ("Cost of one inconsistent pair", "weight in I(D)"),
    "initial_temperature": ("Temperature at the first step", "T0"),
    "final_temperature": ("Lowest temperature", "Tmin"),
    "cooling_rate": ("Rate of cooling", "beta"),
    "cooling": ("What the cooling counts", "n"),
    "initial_labels": ("Examples labelled at random before the first step", "K"),
    "initial_draw": ("How the initial labels are drawn", ""),
    "max_repairs": ("Rounds of repair for one proposal", "Algorithm 2"),
    "offer_neither": ("Offer repairs that make neither claim True", ""),
    "keep_worse_repair": ("Keep the best repair even if U falls", ""),
    "repair_unchanged": ("Repair conflicts even when the label stays", ""),
    "paired": ("Score labelings before and after a step together", "paired"),
    "terms": ("Terms of U that a step scores, 0 for all", "sampled terms"),
    "redraw_every": ("Steps with one sample of terms", "sampled terms"),
    "exact_every": ("Steps between exact evaluations of U", "sampled terms"),
    "neighbour_weight": ("Weight of unlabelled neighbours in the draw", "neighbour weight"),
    "max_steps": ("Steps of the search", "Algorithm 1"),
    "seed": ("Seed of all randomness", "seed"),
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

    @property
    def phrase(self) -> str:
        """The setting as a phrase, with its symbol and its value in the preset."""
        named, symbol = PHRASES[self.name]
        return labelled(named, self.value, symbol)


def labelled(named: str, default: Any, symbol: str = "") -> str:
    """Return the label of a field: a phrase, its symbol if it has one, and its default.

    >>> labelled("Rate of cooling", 0.99, "beta"), labelled("Seed", 0), labelled("Offer neither", True)
    ('Rate of cooling (beta, default 0.99)', 'Seed (default 0)', 'Offer neither (default on)')
    """
    shown = (
        ("on" if default else "off") if isinstance(default, bool) else f"{default:g}" if _number(default) else default
    )
    return f"{named} ({f'{symbol}, ' if symbol else ''}default {shown})"


def _number(value: Any) -> bool:
    return isinstance(value, int | float)


def settings(preset: str) -> tuple[Setting, ...]:
    """Return every setting with its value in the preset, in the order of SearchConfig."""
    return settings_of(PRESETS[preset])


def settings_of(config: SearchConfig) -> tuple[Setting, ...]:
    """Return every setting with its value in this configuration."""
    kinds = get_type_hints(SearchConfig)
    named = {"predictability": tuple(PREDICTABILITY)}
    return tuple(
        Setting(
            one.name,
            getattr(config, one.name),
            named.get(one.name, tuple(map(str, get_args(kinds[one.name])))),
            EXPLANATIONS[one.name],
        )
        for one in fields(SearchConfig)
    )


@dataclass(frozen=True, slots=True)
class FoldField:
    """One option of the folds: its key in the form, its label, its default, the choices (none: any number)."""

    key: str
    label: str
    value: Any
    choices: tuple[str, ...]
    explanation: str


def fold_fields() -> tuple[FoldField, ...]:
    """Return the fields of a run with folds, its rounds first."""
    rounds = FoldField(f"{OF_FOLDS}rounds", labelled("Rounds at most", ROUNDS, "rounds"), ROUNDS, (), ABOUT["rounds"])
    return (rounds, *(_fold_field(name, usual) for name, usual in OPTIONS.items()))


def _fold_field(name: str, usual: Any) -> FoldField:
    of_tuning = finetuning.EXPLANATIONS.get(name, "")
    about = f"{of_tuning[:1].upper()}{of_tuning[1:]}." if of_tuning else ABOUT[name]
    choices = ("zero-shot", "random") if name == "start" else ()
    return FoldField(
        f"{OF_FOLDS}{name}", labelled(FOLD_FIELDS[name], usual, name.replace("_", " ")), usual, choices, about
    )


def steps_words(preset: str) -> str:
    """Say how many steps a preset takes by default."""
    times = steps_per_example(preset)
    return "as many as examples" if times == 1 else f"{times} × examples"


def remarks(store: Store, dataset: str, preset: str, rule: str | None = None) -> list[str]:
    """Return remarks about a new run on a stored data set; none for a data set not stored yet."""
    if not store.has_dataset(dataset):
        return []
    return new_run.remarks(store, RunSpec(dataset, "fake", preset=preset, rule=rule, search=PRESETS[preset]))


@dataclass(frozen=True, slots=True)
class NewRun:
    """The choices for a new run on which its size and its problems depend; rule None means the data set's own."""

    dataset: str
    limit: int | None
    preset: str
    predictability: str
    initial_labels: int
    max_steps: int | None = None
    batch_size: int | None = None
    chains: int = 1
    rule: str | None = None
    model: ModelChoice | None = None
    method: str = SEARCH
    rounds: int = ROUNDS
    options: Mapping[str, Any] = field(default_factory=dict)  # of the folds, those unlike the usual ones

    @property
    def by_folds(self) -> bool:
        return self.method == FOLDS

    def steps(self, examples: int) -> int:
        """The number of steps of a search with this many examples."""
        return self.max_steps or steps_per_example(self.preset) * examples


def taken(store: Store, wish: NewRun) -> int | None:
    """Return how many examples the run takes; None for a data set not stored yet."""
    if not store.has_dataset(wish.dataset):
        return None
    return store.dataset_size(wish.dataset, Cut(wish.limit, wish.rule))


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change of the form that fixes a problem: the text of its button, the field and its new value."""

    words: str
    field: str
    value: Any


@dataclass(frozen=True, slots=True)
class Problem:
    """A choice that cannot work with the data, or hardly can; `remedies` change the form to fix it, if anything can."""

    text: str
    remedies: tuple[Remedy, ...] = ()


def problems(store: Store, wish: NewRun) -> list[Problem]:
    """Return the problems of a new run on a stored data set, before it is created; none for one not stored yet."""
    if (examples := taken(store, wish)) is None:
        return []
    info = store.dataset_info(wish.dataset)
    found = (
        _by_folds(store, wish) if wish.by_folds else None,
        _too_few(info, wish, examples),
        _form(info, wish),
        _no_rule(store, info, wish),
        _one_label(store, info),
    )
    return [problem for problem in found if problem is not None]


def _too_few(info: DatasetInfo, wish: NewRun, examples: int) -> Problem | None:
    everything = (Remedy(f"Label all {info.examples:,} examples", "limit", None),) if info.examples > 1 else ()
    if not examples:
        return Problem(f"The limit of {wish.limit:,} leaves no whole group of this data set.", everything)
    if examples == 1:
        return Problem("There is one example only: labels cannot predict each other.", everything)
    if examples <= wish.initial_labels and not wish.by_folds:
        fewer = Remedy(f"Begin with {examples // 2:,}", "initial_labels", examples // 2)
        more = everything if info.examples > wish.initial_labels else ()
        return Problem(
            f"The run has {examples:,} examples and begins with {wish.initial_labels:,} labels at random: none is left "
            "to be labelled from the others.",
            (fewer, *more),
        )
    return None


PROMPTING = Remedy("Use prompting", "method", SEARCH)


def _by_folds(store: Store, wish: NewRun) -> Problem | None:
    """What keeps the model from being tuned fold by fold, or the data from filling the folds."""
    try:
        folds = fold_settings(wish.options, 0).folds
    except SettingError as error:
        return Problem(str(error))
    if wish.model is not None and (why := _not_tunable(wish.model.model)):
        return Problem(why, (PROMPTING,))
    groups = store.groups_among(wish.dataset, store.places(wish.dataset, Cut(wish.limit, wish.rule)))
    if groups >= folds:
        return None
    fewer = (Remedy(f"Use {groups} folds", f"{OF_FOLDS}folds", groups),) if groups > 1 else ()
    return Problem(f"{counted(groups, 'group')} of examples cannot fill {folds} folds.", (*fewer, PROMPTING))


def _not_tunable(model: str) -> str:
    """Say why a model cannot be tuned fold by fold; empty if it can."""
    if is_server(model):
        return "A model behind a server cannot be tuned: fine-tuned folds need a whole model on this machine."
    if model.startswith(model_registry.PREFIX):
        return "A model tuned here cannot be tuned again fold by fold: name the model that it was tuned from."
    try:
        if model != "fake":
            model_registry.require_installed()
    except NotInstalled as error:
        return f"Fine-tuned folds cannot run here: {error}."
    return ""


def _form(info: DatasetInfo, wish: NewRun) -> Problem | None:
    """A form of P for two labels that a person chose; a preset's form is replaced instead, and a remark says so."""
    count, form = len(info.task.labels), wish.predictability
    if count == 2 or form not in OF_TWO_LABELS or form == PRESETS[wish.preset].predictability:
        return None
    fits = form_for(form, count)
    remedy = Remedy(f"Use {fits}", "predictability", fits)
    return Problem(f"The form {form} is for two labels, but this data set has {count}.", (remedy,))


def _no_rule(store: Store, info: DatasetInfo, wish: NewRun) -> Problem | None:
    if (wish.rule or info.task.rule) != Unconstrained.name or info.groups >= info.examples or wish.rule is not None:
        return None
    able = [*([SameAnswer.name] if store.has_answers(info.name) else []), Exclusive.name, ExactlyOne.name]
    return Problem(
        f"The {info.examples:,} examples are in {info.groups:,} groups, and no rule says how the labels of a group "
        "depend on each other. If they do, choose how.",
        (
            *(Remedy(RULE_WORDS[name].format(info.task.true_label), "rule", name) for name in able),
            Remedy("They do not", "rule", Unconstrained.name),
        ),
    )


RULE_WORDS = {
    SameAnswer.name: "Equal answers have equal labels",
    Exclusive.name: "At most one is {}",
    ExactlyOne.name: "Exactly one is {}",
}


def _one_label(store: Store, info: DatasetInfo) -> Problem | None:
    used = labels_in_gold(store, info.name)
    if len(used) != 1:
        return None
    return Problem(
        f"All {info.gold:,} gold labels are {used[0]}: a constant labeling would be entirely right, so the comparison "
        "with gold says little. The search does not read gold. Look at the data set before you start.",
    )


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


def make_spec(
    dataset: str,
    model: ModelChoice,
    limit: int | None,
    preset: str,
    values: Mapping[str, Any],
    rule: str | None = None,
    folds: Mapping[str, Any] | None = None,
) -> RunSpec:
    """Return the RunSpec of these choices; limit None means all examples, rule None the data set's own.

    With the options of `folds`, labels are found by them. Raises SettingError for invalid values.
    """
    search = with_settings(PRESETS[preset], dict(values))
    by = {} if folds is None else {"source": FOLDS, "source_options": dict(folds)}
    return RunSpec.of(dataset, model, limit=limit, rule=rule, preset=preset, search=search, **by)


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


def named_model(model: str, quantization: str) -> ModelChoice | None:
    """Return the model that a form names; None for an invalid address."""
    try:
        return model_choice(model, quantization)
    except SettingError:
        return None


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
    """Return the settings that can be retuned, with current values; the temperature is that of the next step."""
    return {
        "alpha": Tunable(float(reading.config.alpha), EXPLANATIONS["alpha"]),
        "temperature": Tunable(
            round(_next_temperature(reading), 4),
            "T of the next step, on the scale of U. It cools from there: the initial temperature changes.",
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
