"""What can be changed while a run is on its way, as a person says it: a temperature now, breakpoints by id."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from icm_engine.analysis.reading import Reading
from icm_engine.core.breakpoints import Breakpoints
from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.search import temperature
from icm_engine.core.settings import EXPLANATIONS


@dataclass(frozen=True, slots=True)
class Tunable:
    """A setting that can change now: its value, and what it means."""

    value: float
    explanation: str


def tunable(reading: Reading) -> dict[str, Tunable]:
    """Return what can be retuned, with the values in force; the temperature is that of the next step."""
    return {
        "alpha": Tunable(float(reading.config.alpha), EXPLANATIONS["alpha"]),
        "temperature": Tunable(
            round(_next_temperature(reading), 4),
            "T of the next step, on the scale of U. It cools on from there: the initial temperature is changed.",
        ),
        "neighbour_weight": Tunable(reading.config.neighbour_weight, EXPLANATIONS["neighbour_weight"]),
    }


def changed(reading: Reading, wanted: Mapping[str, float]) -> dict[str, float]:
    """Return the settings that make what is wanted true from the next step on; nothing for what is so already.

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
    """The initial temperature from which the schedule has cooled down to this one; T = T0 / (1 + beta ln n)."""
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
    """Return the breakpoints that were typed in; `flips` are ids with commas between. Raises NotFound, SettingError."""
    names = [name.strip() for name in flips.split(",") if name.strip()]
    for name in names:
        try:
            reading.run.codec.index(name)
        except KeyError:
            raise NotFound(f"example {name!r} is not in this run: use an id from the table of labels") from None
    return Breakpoints(tuple(names), falls or None, lasts)


def breakpoint_words(points: Breakpoints) -> str:
    """Return the breakpoints in force as a sentence."""
    parts = []
    if points.flips:
        parts.append(f"{', '.join(points.flips)} changes its label")
    if points.utility_falls is not None:
        parts.append(f"a step lowers U by {points.utility_falls:g} or more")
    if points.inconsistent_for is not None:
        parts.append(f"a pair has been inconsistent for {points.inconsistent_for:,} steps")
    return f"In force: pause when {' or '.join(parts)}." if parts else "No breakpoints are set."
