"""What a command must be before a worker obeys it: rows of the table `commands` may be anybody's, of any program.

Each of these raises SettingError, which becomes the command's receipt: `refused`, with the reason.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from icm_engine.core.breakpoints import Breakpoints
from icm_engine.core.errors import SettingError
from icm_engine.core.hand import Verb
from icm_engine.core.labeling import Label
from icm_engine.core.settings import SearchConfig, with_settings
from icm_engine.runs.events import Json
from icm_engine.runs.interventions import RETUNABLE
from icm_engine.runs.store import Command

STEERING = ("start", "pause", "resume", "step", "stop")
VERBS = (*STEERING, "hand", "retune", "breakpoints")
LABELLING = ("pin", "override")  # what a person does with a label to each example


def verb_of(command: Command) -> str:
    """Return what a receipt calls a command: its verb, or what a person did."""
    return str(command.body.get("verb") or command.verb)[:80]


def require_known(command: Command) -> None:
    """See that a command is one, with a number of steps that it can have."""
    if command.verb not in VERBS:
        raise SettingError(f"command {command.verb[:80]!r} does not exist: use one of {', '.join(VERBS)}")
    steps = command.steps
    if type(steps) is not int or steps < (command.verb == "step"):
        raise SettingError(f"command {command.verb} has {str(steps)[:80]!r} steps: use a whole number of 1 or more")


def require_act(body: Json, labels: Sequence[Label]) -> None:
    """See that the body of a `hand` command is something a person can do with these labels."""
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
    """Return the settings that a `retune` command changes, each of its own kind."""
    settings = body.get("settings")
    if not isinstance(settings, Mapping) or not settings:
        raise SettingError("command retune names no settings: send it again")
    if fixed := [name for name in settings if name not in RETUNABLE]:
        raise SettingError(
            f"{fixed[0][:80]} cannot change while a run is on its way: change one of {', '.join(RETUNABLE)}"
        )
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
