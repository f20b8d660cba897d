"""How a worker obeys: every pending command becomes an event with a receipt, in the order they were sent.

Steering verbs become `control` events. What a person put in between two steps becomes one `hand` event, scored once;
other settings become `retuned`; breakpoints `breakpoints`. What cannot be done becomes `refused`, with the reason.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from icm_engine.core.breakpoints import Breakpoints
from icm_engine.core.errors import IcmError, NotFound, RunBusy, SettingError, StoreError
from icm_engine.core.hand import Act, Done
from icm_engine.core.scoring import Scorer, no_scorer
from icm_engine.core.search import HandInfo, State, intervene, resolved, retune
from icm_engine.core.settings import SearchConfig
from icm_engine.runs.asked import read_breakpoints, require_act, require_known, retuning, verb_of
from icm_engine.runs.events import Cost, Json
from icm_engine.runs.interventions import breakpoints_of, decode_act, decode_done, encode_hand, encode_tune, tuned
from icm_engine.runs.replay import OpenRun, config_at
from icm_engine.runs.store import Command, Store


class NeedsModel(Exception):
    """A command that cannot be obeyed before there is a scorer."""


@dataclass
class Intervening:
    """A worker's ear: the settings and breakpoints in force, and the acts so far."""

    store: Store
    opened: OpenRun
    lease: str
    config: SearchConfig = field(init=False)
    breakpoints: Breakpoints = field(init=False)
    history: list[Done] = field(init=False)

    def __post_init__(self) -> None:
        run, codec = self.opened.name, self.opened.codec
        self.config = config_at(self.store, self.opened, self.store.last_number(run))
        last = self.store.last_event(run, ("breakpoints",))
        self.breakpoints = breakpoints_of(last.body) if last else Breakpoints()
        acts = [body for event in self.store.read_after(run, kinds=("hand",)) for body in event.body["acts"]]
        self.history = [decode_done(codec, body) for body in acts]

    def obey(self, state: State | None, scorer: Scorer | None) -> State | None:
        """Answer the pending commands, without a scorer only up to the first that needs one; return the state then."""
        for group in _together(self.store.pending(self.opened.name)):
            try:
                state = self._answer(group, state, scorer)
            except NeedsModel:
                return state
        return state

    def _answer(self, group: Sequence[Command], state: State | None, scorer: Scorer | None) -> State | None:
        try:
            return self._do(group, state, scorer)
        except (RunBusy, StoreError):
            raise
        except IcmError as error:
            if len(group) == 1:
                self._receipt(group, "refused", {"verb": verb_of(group[0]), "message": str(error)})
                return state
        for command in group:  # one of them cannot be done: the others can
            state = self._answer([command], state, scorer)
        return state

    def _do(self, group: Sequence[Command], state: State | None, scorer: Scorer | None) -> State | None:
        command = group[0]
        require_known(command)
        if command.verb == "hand":
            return self._take_in(group, _labelled(state), scorer)
        if command.verb == "retune":
            return self._retune(command, _labelled(state))
        if command.verb == "breakpoints":
            self.breakpoints = read_breakpoints(command.body)
            self._receipt(group, "breakpoints", asdict(self.breakpoints))
            return state
        body = {"verb": command.verb, "steps": command.steps} if command.steps else {"verb": command.verb}
        self._receipt(group, "control", body)
        return state

    def _take_in(self, group: Sequence[Command], state: State, scorer: Scorer | None) -> State:
        began, codec = time.perf_counter(), self.opened.codec
        info = resolved(state, [self._act(command) for command in group], self.history)
        after, info, cost = self._scored(state, info, scorer)
        body = encode_hand(codec, info, state, cost)
        self._receipt(group, "hand", body, time.perf_counter() - began)
        self.history += info.done
        return after

    def _scored(self, state: State, info: HandInfo, scorer: Scorer | None) -> tuple[State, HandInfo, Cost]:
        if scorer is None and info.flips:
            raise NeedsModel
        asked = scorer or no_scorer()
        used = asked.usage
        after, info = intervene(state, info, self.opened.objective(self.config, asked))
        return after, info, Cost(asked.usage - used)

    def _act(self, command: Command) -> Act:
        require_act(command.body, self.opened.dataset.task.labels)
        try:
            return decode_act(self.opened.codec, command.body)
        except (KeyError, ValueError) as error:
            raise NotFound(f"example {error} is not in this run: nothing was changed") from None

    def _retune(self, command: Command, state: State) -> State:
        settings = retuning(self.config, command.body)
        config = tuned(self.config, settings)
        after, info = retune(state, settings, self.opened.objective(config, no_scorer()))
        self._receipt([command], "retuned", encode_tune(self.opened.codec, info, state))
        self.config = config
        return after

    def _receipt(self, group: Sequence[Command], kind: str, body: Json, seconds: float = 0.0) -> None:
        self.store.answer(self.opened.name, group, kind, body, self.lease, seconds)


def _together(commands: Iterable[Command]) -> list[list[Command]]:
    """Acts of a person that follow each other in one group, so that they are scored once; all others alone."""
    groups = list[list[Command]]()
    for command in commands:
        if groups and command.verb == groups[-1][-1].verb == "hand":
            groups[-1].append(command)
        else:
            groups.append([command])
    return groups


def _labelled(state: State | None) -> State:
    if state is None:
        raise SettingError("the run has no labels yet: take a step first, then put yours in")
    return state
