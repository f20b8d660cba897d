"""Open a stored run: its spec, its data set, and its state now or after any event."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import cast

from icm_engine.core.consistency import Rule
from icm_engine.core.custom_rules import make_rule, rule_title
from icm_engine.core.labeling import Label, judgements
from icm_engine.core.objective import Objective
from icm_engine.core.rng import random_of, sample
from icm_engine.core.scoring import Kernel, Scorer
from icm_engine.core.search import State, apply, start
from icm_engine.core.settings import SearchConfig
from icm_engine.store.bodies import StateBody
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import Codec, RunSpec, decode_hand, decode_refresh, decode_state, decode_tune, tuned
from icm_engine.store.lazy_examples import StoredIds
from icm_engine.store.store import Event, Store

_JSON = json.JSONEncoder(sort_keys=True)
STATE_KINDS = (
    "initial",
    "forked",
    "labelled",
    "round",
    "step",
    "refreshed",
    "hand",
    "retuned",
)  # the events that a state follows from
WHOLE_STATES = ("forked", "labelled", "round")  # of these, the ones that hold the state itself


@dataclass(frozen=True)
class OpenRun:
    """A run with what is needed to read its events."""

    name: str
    spec: RunSpec
    dataset: Dataset
    codec: Codec

    @property
    def rule_name(self) -> str:
        """The name of the run's consistency rule; for a rule file its name, without reading the file."""
        return rule_title(self.spec.rule or self.dataset.task.rule)

    @cached_property
    def rule(self) -> Rule:
        """The consistency rule over all examples of the run. Raises SettingError for a changed rule file."""
        task = self.dataset.task
        return make_rule(self.spec.rule or task.rule, self.dataset.examples, task.labels, task.true_label)

    @cached_property
    def data_sha256(self) -> str:
        """The hash of what the run labels: the task, and the texts, groups and answers of its examples; never gold.

        Names do not enter the hash: groups and twins count by their positions.
        """
        said = hashlib.sha256(_JSON.encode(asdict(replace(self.dataset.task, name=""))).encode())
        groups, places = dict[str, int](), dict[str, int]()
        for place, e in enumerate(self.dataset.examples):
            group, twin = groups.setdefault(e.group, place), places.get(e.twin_of or "")
            places[e.id] = place
            said.update(_JSON.encode([dict(e.fields), group, e.answer, twin]).encode())
        return said.hexdigest()

    def objective(self, config: SearchConfig, scorer: Scorer) -> Objective:
        """Return the objective of the run under these settings."""
        return Objective(
            self.dataset.examples,
            self.dataset.task,
            self.rule,
            scorer,
            config.predictability,
            config.alpha,
            config.pair_weight,
            config.centring,
        )

    def whole(self) -> "OpenRun":
        """Return the run with all examples in memory, as a search needs them."""
        return replace(self, dataset=replace(self.dataset, examples=tuple(self.dataset.examples)))


def open_run(store: Store, run: str) -> OpenRun:
    """Return a stored run with the examples it labels, read on access. Raises NotFound."""
    spec = store.spec(run)
    dataset = store.open_dataset(spec.dataset, spec.cut, spec.part)
    ids = StoredIds(dataset.examples)
    return OpenRun(run, spec, dataset, Codec(ids, dataset.task.labels, ids.place, spec.version))


def replay(opened: OpenRun, events: Iterable[Event], state: State | None = None) -> State | None:
    """Return the state after these events; None before the initial labels are drawn."""
    for event in events:
        state = after_event(opened.codec, event, state)
    return state


def after_event(codec: Codec, event: Event, state: State | None) -> State | None:
    """Return the state after one event; kinds that change nothing return the state before it."""
    if event.kind == "initial":
        return start(codec.decode_initial(event.initial), codec.version)
    if event.kind in WHOLE_STATES:
        return decode_state(codec, cast(StateBody, event.body))
    if state is None:
        return None
    if event.kind == "step":
        return apply(state, codec.decode_step(event.step, state))
    if event.kind == "refreshed":
        return apply(state, decode_refresh(codec, event.refreshed, state))
    if event.kind == "hand":
        return apply(state, decode_hand(codec, event.hand, state))
    return apply(state, decode_tune(codec, event.retuned, state)) if event.kind == "retuned" else state


def current_state(store: Store, opened: OpenRun) -> State | None:
    """Return the current state of a stored run."""
    return state_at(store, opened, store.last_number(opened.name))


def state_at(store: Store, opened: OpenRun, number: int) -> State | None:
    """Return the state of a run after this event; None before its initial labels."""
    known, state = 0, None
    if (snapshot := store.snapshot(opened.name, number)) is not None:
        known, body = snapshot
        state = decode_state(opened.codec, cast(StateBody, body))
    return replay(opened, store.read_between(opened.name, known, number), state)


def config_at(store: Store, opened: OpenRun, number: int) -> SearchConfig:
    """Return the settings in force after this event: the run's spec, and what was retuned since."""
    config = opened.spec.search
    for event in store.read_between(opened.name, 0, number, ("retuned",)):
        config = tuned(config, event.retuned["settings"])
    return config


def tokens_of_run(store: Store, run: str, until: int | None = None) -> int | None:
    """Return the tokens per call in force after event `until`; None for the scorer's own number.

    A fork begins with its parent's.
    """
    last = store.last_number(run) if until is None else until
    found = list(store.read_between(run, 0, last, ("shrunk",)))
    if found:
        return found[-1].shrunk["tokens"]
    spec = store.spec(run)
    if spec.forked_from is None or not store.has_run(spec.forked_from):
        return None
    return tokens_of_run(store, spec.forked_from, spec.forked_at)


BEFORE_KERNELS = 640  # tokens per call of runs whose record does not name them


def kernel_of_run(store: Store, run: str) -> Kernel | None:
    """Return the kernel that a run began with; None before its model was loaded, or if it has none to choose.

    A fork begins with its parent's.
    """
    for event in store.read_between(run, 0, store.last_number(run), ("model",)):
        if "attention" in event.body:
            return Kernel(event.body["attention"], event.body.get("tokens_per_call", BEFORE_KERNELS))
    parent = store.spec(run).forked_from
    return kernel_of_run(store, parent) if parent is not None and store.has_run(parent) else None


def calls_of_run(store: Store, run: str) -> tuple[int | None, Kernel | None]:
    """Return how a run's model is called: the tokens per call and the kernel in force, as `begin_calls` takes them."""
    return tokens_of_run(store, run), kernel_of_run(store, run)


AUDIT = "audit"  # the kind of event
SIMPLE = "simple"  # the design: every example not yet asked about is equally likely
_BESIDE = -1  # in place of a step: no search draws with it


def audited_places(opened: OpenRun, labeling: Mapping[int, Label], pins: frozenset[int]) -> tuple[int, ...]:
    """Return the places that an audit of these labels draws from, ascending.

    Left out are labels that a person fixed, and swapped twins of other examples here: a pair is one judgement.
    """
    taken = {i: example for i, example in enumerate(opened.dataset.examples) if i in labeling and i not in pins}
    return tuple(judgements(taken))


def audit_draw(seed: int, size: int, number: int) -> int:
    """Return which of `size` examples question `number` is about: drawn without replacement, all equally likely.

    >>> sorted(audit_draw(7, 4, number) for number in (1, 2, 3, 4))
    [0, 1, 2, 3]
    """
    return sample(random_of(seed, _BESIDE), size, number)[-1]
