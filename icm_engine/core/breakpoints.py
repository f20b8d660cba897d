"""When a search should stop and wait for a person: looked at after every step. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from icm_engine.core.errors import SettingError
from icm_engine.core.search import State, StepInfo


@dataclass(frozen=True, slots=True)
class Breakpoints:
    """What to stop at: a label change of one of these examples (ids), a step that lowers U by so much, a pair that
    has been inconsistent for so many steps."""

    flips: tuple[str, ...] = ()
    utility_falls: float | None = None
    inconsistent_for: int | None = None

    def __post_init__(self) -> None:
        if self.utility_falls is not None and self.utility_falls <= 0:
            raise SettingError(f"utility_falls is {self.utility_falls}: use a value above 0, or none")
        if self.inconsistent_for is not None and self.inconsistent_for < 1:
            raise SettingError(f"inconsistent_for is {self.inconsistent_for}: use 1 step or more, or none")


def reached(points: Breakpoints, before: State, info: StepInfo, after: State, ids: Sequence[str]) -> str | None:
    """Return why to stop after this step, in one sentence; None to go on."""
    if before.labeling != after.labeling:
        for flip in info.flips:
            old, new = before.labeling.get(flip.example), after.labeling.get(flip.example)
            if ids[flip.example] in points.flips and old != new:
                return f"{ids[flip.example]} went from {old or 'no label'} to {new} at step {info.number}"
        fall = before.evaluation.utility - after.evaluation.utility
        if points.utility_falls is not None and fall >= points.utility_falls:
            return f"U fell by {fall:.2f} at step {info.number}, a fall of {points.utility_falls:g} was waited for"
    for (i, j), since in after.since.items():
        if after.step - since == points.inconsistent_for:
            return f"{ids[i]} and {ids[j]} have been inconsistent for {after.step - since} steps, since step {since}"
    return None
