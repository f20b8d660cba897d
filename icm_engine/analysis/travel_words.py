"""Where in a run one is, in words, and the example that is followed through it."""

from datetime import datetime

from icm_engine.analysis.reading import Reading
from icm_engine.analysis.shown import Shown, known
from icm_engine.analysis.travel import Moment

KINDS = {"initial": "initial labels", "forked": "a fork", "hand": "a person's hand", "retuned": "other settings",
         "labelled": "a label source"}  # fmt: skip


def followed(reading: Reading, moment: Moment, asked: str | None) -> Shown | None:
    """Return the example that is asked for; else the one that the event drew or first touched, None if it has none."""
    body = moment.body
    touched = [body["example"]] if "example" in body else [flip["example"] for flip in body.get("flips", ())]
    for name in (asked, *touched[:1]):
        if name is not None and (found := known(reading, name)) is not None:
            return found
    return None


def where(reading: Reading, moment: Moment) -> str:
    """Say where in the run a moment is, and when it was."""
    steps, time = reading.trajectory.points[-1].step, datetime.fromtimestamp(moment.event.time)
    kind = "" if moment.event.kind == "step" else f"{KINDS[moment.event.kind]}, after "
    return f"{kind}step {moment.state.step:,} of {steps:,} · event {moment.event.number:,} · {time:%Y-%m-%d %H:%M:%S}"
