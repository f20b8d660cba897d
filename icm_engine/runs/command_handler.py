"""Commands to a running search: validation, and the event and receipt that each becomes.

Validation raises SettingError, which becomes the command's receipt: `refused`, with the reason. Steering verbs become
`control` events. Interventions between two steps become one `hand` event, scored once; changed settings become
`retuned`; breakpoints become `breakpoints`.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from icm_engine.core.advance import Breakpoints
from icm_engine.core.errors import IcmError, NotFound, RunBusy, SettingError, StoreError
from icm_engine.core.folds import FOLDS
from icm_engine.core.interventions import Act, AppliedIntervention, Verb
from icm_engine.core.labeling import Label
from icm_engine.core.scoring import Scorer, no_scorer
from icm_engine.core.search import HandInfo, State, intervene, resolved, retune
from icm_engine.core.settings import SearchConfig, with_settings
from icm_engine.store.events import (
    RETUNABLE,
    Cost,
    Json,
    breakpoints_of,
    decode_act,
    decode_done,
    encode_hand,
    encode_tune,
    tuned,
)
from icm_engine.store.replay import OpenRun, config_at
from icm_engine.store.store import Command, Store

STEERING = ("start", "pause", "resume", "step", "stop")
VERBS = (*STEERING, "hand", "retune", "breakpoints")
LABELLING = ("pin", "override")  # acts with one label per example


def verb_of(command: Command) -> str:
    """Return the name of a command in a receipt: its verb, or the person's act."""
    return str(command.body.get("verb") or command.verb)[:80]


def require_known(command: Command) -> None:
    """Raise SettingError for an unknown command or an impossible number of steps."""
    if command.verb not in VERBS:
        raise SettingError(f"command {command.verb[:80]!r} does not exist: use one of {', '.join(VERBS)}")
    steps = command.steps
    if type(steps) is not int or steps < (command.verb == "step"):
        raise SettingError(f"command {command.verb} has {str(steps)[:80]!r} steps: use a whole number of 1 or more")


def require_act(body: Json, labels: Sequence[Label]) -> None:
    """Raise SettingError if the body of a `hand` command is not an act possible with these labels."""
    verb, examples, given = body.get("verb"), body.get("examples", []), body.get("labels", [])
    if verb not in get_args(Verb):
        raise SettingError(f"act {str(verb)[:80]!r} does not exist: use one of {', '.join(get_args(Verb))}")
    if not (_are_texts(examples) and _are_texts(given) and isinstance(body.get("text", ""), str)):
        raise SettingError(f"act {verb} has examples, labels or a text of another kind: send it again")
    if len(set(examples)) < len(examples):
        raise SettingError(f"act {verb} has an example twice: name each once")
    if len(given) != (len(examples) if verb in LABELLING else 0):
        raise SettingError(f"act {verb} has {len(examples)} examples and {len(given)} labels: give one label for each")
    if unknown := [label for label in given if label not in labels]:
        raise SettingError(f"label {unknown[0][:80]!r} does not exist: use one of {', '.join(labels)}")


def retuning(config: SearchConfig, body: Json) -> dict[str, Any]:
    """Return the settings that a `retune` command changes, with their types."""
    settings = body.get("settings")
    if not isinstance(settings, Mapping) or not settings:
        raise SettingError("command retune names no settings: send it again")
    if fixed := [name for name in settings if name not in RETUNABLE]:
        raise SettingError(f"{fixed[0][:80]} cannot change during a run: change one of {', '.join(RETUNABLE)}")
    found = with_settings(config, dict(settings))
    return {name: getattr(found, name) for name in settings}


def read_breakpoints(body: Json) -> Breakpoints:
    """Return the breakpoints of a command."""
    flips, falls, lasts = body.get("flips", []), body.get("utility_falls"), body.get("inconsistent_for")
    is_number = falls is None or (type(falls) in (int, float) and math.isfinite(falls))
    if not _are_texts(flips) or not is_number or not (lasts is None or type(lasts) is int):
        raise SettingError("command breakpoints has parts of another kind: send it again")
    return Breakpoints(tuple(flips), falls, lasts)


def _are_texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


class NeedsModel(Exception):
    """A command that cannot be applied before there is a scorer."""


@dataclass
class CommandHandler:
    """Applies a run's pending commands; holds its settings, breakpoints and interventions."""

    store: Store
    opened: OpenRun
    lease: str
    config: SearchConfig = field(init=False)
    breakpoints: Breakpoints = field(init=False)
    history: list[AppliedIntervention] = field(init=False)

    def __post_init__(self) -> None:
        run, codec = self.opened.name, self.opened.codec
        self.config = config_at(self.store, self.opened, self.store.last_number(run))
        last = self.store.last_event(run, ("breakpoints",))
        self.breakpoints = breakpoints_of(last.breakpoints) if last else Breakpoints()
        acts = [body for event in self.store.read_after(run, kinds=("hand",)) for body in event.hand["acts"]]
        self.history = [decode_done(codec, body) for body in acts]

    def obey(self, state: State | None, scorer: Scorer | None) -> State | None:
        """Apply the pending commands, without a scorer only up to the first that needs one; return the new state."""
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
        for command in group:  # one act is impossible; the others are applied
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
        if self.opened.spec.source == FOLDS:
            require_no_flips(info, codec.ids)
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

    def _receipt(self, group: Sequence[Command], kind: str, body: Mapping[str, Any], seconds: float = 0.0) -> None:
        self.store.answer(self.opened.name, group, kind, body, self.lease, seconds)


def require_no_flips(info: HandInfo, ids: Sequence[str]) -> None:
    """Raise SettingError if an act changes a label, in a run whose labels are scored by models tuned on folds."""
    if info.flips:
        flip, name = info.flips[0], ids[info.flips[0].example]
        raise SettingError(
            f"{name!r} cannot become {flip.new} by hand: this run takes U from models tuned on folds, and a label set "
            f"between two rounds would be scored by prompts: pin it as it is ({name}={flip.old}), or export the labels "
            "and change it there"
        )


def _together(commands: Iterable[Command]) -> list[list[Command]]:
    """Group consecutive interventions, so that each group is scored once; other commands stay alone."""
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
