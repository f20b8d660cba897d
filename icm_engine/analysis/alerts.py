"""Alerts: signs that a search or its objective is going wrong.

Each alert is a sentence with its numbers; the thresholds are the constants here. Alerts that use gold say so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from icm_engine.analysis.formatting import decimal, percent
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.traces import Point
from icm_engine.core.labeling import Label
from icm_engine.store.bodies import READING
from icm_engine.store.events import Json
from icm_engine.store.store import Store

FEW = 16  # labelled examples; with fewer, shares mean little
COLLAPSED = 0.95  # share of one label
ALL_BUT_ONE = 10  # labelled examples; from here on, one label for all but one is a sign (2 in 100 by coin flips)
RETURNS = 4  # changes of one label after its first, if the last change is recent
RECENT = 100  # steps
PROPOSALS = 30  # proposals in the window; with fewer, their acceptance rate means little
HOT = 0.1  # share of the initial temperature
TINY_MASS = 0.1
LEAST_PERCENT = 0.001  # smaller shares are shown with an exponent rather than as 0.0 %
PACE = 50  # points from which the trends of U and accuracy are computed
FALL = 0.05  # of accuracy, while U rises
INVERTED = 0.35


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: its name and what was observed."""

    kind: str
    text: str


def alerts(reading: Reading) -> tuple[Alert, ...]:
    """Return the current alerts of a run; none for a run without labels."""
    if reading.trajectory.last is None:
        return ()
    found = (sign(reading) for sign in SIGNS)
    return tuple(alert for alert in found if alert)


def _collapse(reading: Reading) -> Alert | None:
    text = collapsed(reading.tally.counts)
    return Alert("label collapse", text) if text else None


def collapsed(counts: Mapping[Label, int]) -> str | None:
    """Say that nearly all labels are the same; None if they are not, or if there are too few to tell."""
    labelled = sum(counts.values())
    if labelled < ALL_BUT_ONE:
        return None
    label, count = max(counts.items(), key=lambda item: item[1])
    if labelled - count > max(1, (1 - COLLAPSED) * labelled):
        return None
    return f"{count:,} of {labelled:,} labels are {label}: the labels may have collapsed to a constant."


def _oscillation(reading: Reading) -> Alert | None:
    assert reading.state is not None
    now, ids = reading.state.step, reading.run.codec.ids
    restless = [i for i, change in reading.changes.items() if change.flips >= RETURNS and now - change.last <= RECENT]
    if not restless:
        return None
    names = ", ".join(ids[i] for i in restless[:3]) + (", …" if len(restless) > 3 else "")
    many = f"{len(restless):,} example{'s keep' if len(restless) > 1 else ' keeps'}"
    return Alert(
        "oscillation", f"{many} changing labels ({names}): changed {RETURNS} times or more, most recently just now."
    )


def _stuck(reading: Reading) -> Alert | None:
    last = reading.trajectory.last
    assert last is not None
    hot = last.temperature is not None and last.temperature > HOT * reading.config.initial_temperature
    if not hot or len(reading.window) < PROPOSALS or any(reading.window):
        return None
    text = (
        f"None of the last {len(reading.window)} proposals was accepted, at a temperature of "
        f"{decimal(last.temperature, 2)}: alpha may be too large for this temperature."
    )
    return Alert("nothing accepted while hot", text)


def _mass(reading: Reading) -> Alert | None:
    assert reading.state is not None
    recent = [row.label_mass for row in reading.steps[-20:]] or [reading.state.evaluation.label_mass]
    if (mean := sum(recent) / len(recent)) >= TINY_MASS:
        return None
    text = f"On average {_share(mean)} of the probability falls on the labels: the template may not fit this model."
    return Alert("tiny label mass", text)


def _share(mean: float) -> str:
    if mean >= LEAST_PERCENT:
        return f"{mean:.1%}"
    return f"{mean:.1e}" if mean else "less than 1e-300"  # below any float


def _parting(reading: Reading) -> Alert | None:
    points = reading.trajectory.points
    then, now = points[max(0, len(points) - 1 - PACE)], points[-1]
    if reading.by_folds and not then.step:
        then = points[min(1, len(points) - 1)]  # U of round 0 is of another scale
    right_then, right_now = _right(then), _right(now)
    if then.labelled < FEW or right_then is None or right_now is None:
        return None
    if now.utility <= then.utility or right_then - right_now < FALL:
        return None
    text = (
        f"Since {reading.unit} {then.step:,} U rose from {decimal(then.utility)} to {decimal(now.utility)} while the "
        f"correct labels fell from {percent(right_then)} to {percent(right_now)} (gold)."
    )
    return Alert("U rises, accuracy falls", text)


def _inverted(reading: Reading) -> Alert | None:
    last = reading.trajectory.last
    assert last is not None
    right = _right(last)
    if last.labelled < FEW or right is None or right > INVERTED:
        return None
    text = f"Only {percent(right)} of the labels agree with gold: they may be coherent but mirrored."
    return Alert("coherent but inverted", text)


def _right(point: Point) -> float | None:
    """The share of labelled examples with gold that are correct; None with more than two labels, or without gold."""
    return point.accuracy.of_labelled if point.accuracy else None


def _retried(reading: Reading) -> Alert | None:
    again = reading.retries
    if not again.count:
        return None
    text = (
        f"Requests to the server were retried {again.count:,} time{'s' if again.count > 1 else ''} so far, most "
        f"recently because of: {again.why}. No score depends on it."
    )
    return Alert("requests repeated", text)


def _shrunk(reading: Reading) -> Alert | None:
    if reading.shrunk is None:
        return None
    now = reading.shrunk
    text = (
        f"The model reads at most {now['tokens']:,} tokens per call now instead of {now['was']:,}: {now['why']}. "
        "The run continues more slowly; scores change only by rounding."
    )
    return Alert("smaller calls", text)


def _tied(reading: Reading) -> Alert | None:
    if not reading.ties:
        return None
    were = "was an exact tie" if reading.ties == 1 else "were exact ties"
    text = f"{reading.ties:,} of {reading.drawn:,} proposals {were}, decided by the order of the labels."
    return Alert("exact ties", text)


SHOWN = 40  # characters of a text that the model reads otherwise


def reading_notes(model: Json) -> list[str]:
    """Return the notes on how the model reads the texts, from a `model` event."""
    found = model.get(READING) or {}
    notes = []
    if tokens := found.get("control_tokens"):
        notes.append(
            f"{_of(tokens)} {'contains' if tokens['texts'] == 1 else 'contain'} a control token of the model, such as "
            f"{tokens['first']}: it is read as plain text."
        )
    if changed := found.get("read_otherwise"):
        shown, read = map(_short, changed["first"])
        what = "is not what the tokenizer keeps" if changed["texts"] == 1 else "are not what the tokenizer keeps"
        notes.append(f"{_of(changed)} {what}: {shown!r} is read as {read!r}.")
    return notes


def notes_of_run(store: Store, run: str, server: bool = True) -> list[str]:
    """Return the notes on the texts of a stored run, and what its `server` can do; none if no model has read them."""
    told = store.last_event(run, ("model",))
    if told is None:
        return []
    return [*(server_words(told.body) if server else ()), *reading_notes(told.body)]


def server_words(model: Json) -> list[str]:
    """Return what a model's server can do, in one sentence, from a `model` event; none for a model loaded here."""
    said = model.get("ability")
    return [said] if isinstance(said, str) else []


def _of(counted: Json) -> str:
    return f"{counted['texts']:,} of {counted['of']:,} texts"


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _read(reading: Reading) -> Alert | None:
    notes = reading_notes(reading.model)
    return Alert("texts read otherwise", " ".join(notes)) if notes else None


SIGNS: tuple[Callable[[Reading], Alert | None], ...] = (
    _collapse,
    _oscillation,
    _stuck,
    _mass,
    _parting,
    _inverted,
    _retried,
    _shrunk,
    _tied,
    _read,
)
