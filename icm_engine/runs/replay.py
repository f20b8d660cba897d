"""Open a stored run: its spec, its data set, and the state its events lead to."""

from collections.abc import Iterable
from dataclasses import dataclass

from icm_engine.core.consistency import Rule, make_rule
from icm_engine.core.search import State, start
from icm_engine.runs.events import Codec, RunSpec
from icm_engine.runs.store import Dataset, Event, Store


@dataclass(frozen=True)
class OpenRun:
    """A run with what is needed to read its events."""

    name: str
    spec: RunSpec
    dataset: Dataset
    rule: Rule
    codec: Codec


def open_run(store: Store, run: str) -> OpenRun:
    """Return a stored run, its data set cut to the run's limit. Raises NotFound, SettingError."""
    spec = store.spec(run)
    dataset = store.dataset(spec.dataset, spec.limit)
    task = dataset.task
    rule = make_rule(spec.rule or task.rule, dataset.examples, task.labels, task.true_label)
    return OpenRun(run, spec, dataset, rule, Codec([example.id for example in dataset.examples], task.labels))


def replay(opened: OpenRun, events: Iterable[Event], state: State | None = None) -> State | None:
    """Return the state after these events; None before the initial labels are drawn."""
    for event in events:
        if event.kind == "initial":
            state = start(opened.codec.decode_initial(event.body))
        elif event.kind == "step" and state is not None:
            state = opened.codec.replay_step(event.body, state)
    return state


def current_state(store: Store, opened: OpenRun) -> State | None:
    """Return where a stored run stands."""
    return replay(opened, store.read_after(opened.name, kinds=("initial", "step")))
