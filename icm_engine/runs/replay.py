"""Open a stored run: its spec, its data set, and the state its events lead to."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from icm_engine.core.consistency import Rule, make_rule
from icm_engine.core.own_rules import rule_title
from icm_engine.core.search import State, start
from icm_engine.runs.events import Codec, RunSpec
from icm_engine.runs.store import Dataset, Event, Store
from icm_engine.runs.stored_rows import StoredIds


@dataclass(frozen=True)
class OpenRun:
    """A run with what is needed to read its events."""

    name: str
    spec: RunSpec
    dataset: Dataset
    codec: Codec

    @property
    def rule_name(self) -> str:
        """What the run's consistency rule is called; of a rule file, its name, and the file is not read."""
        return rule_title(self.spec.rule or self.dataset.task.rule)

    @cached_property
    def rule(self) -> Rule:
        """The consistency rule over all examples of the run. Raises SettingError for a rule file that has changed."""
        task = self.dataset.task
        return make_rule(self.spec.rule or task.rule, self.dataset.examples, task.labels, task.true_label)

    def whole(self) -> "OpenRun":
        """Return the run with all its examples in memory, which a search looks at again and again."""
        return replace(self, dataset=replace(self.dataset, examples=tuple(self.dataset.examples)))


def open_run(store: Store, run: str) -> OpenRun:
    """Return a stored run, its data set cut to the run's limit and read where it is looked at. Raises NotFound."""
    spec = store.spec(run)
    dataset = store.open_dataset(spec.dataset, spec.limit)
    ids = StoredIds(dataset.examples)
    return OpenRun(run, spec, dataset, Codec(ids, dataset.task.labels, ids.place))


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
