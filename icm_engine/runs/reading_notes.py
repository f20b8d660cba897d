"""What to know of how a model reads the examples of a run, in words; the `model` event has it under READING."""

from icm_engine.runs.events import Json
from icm_engine.runs.store import Store

READING = "reading"
SHOWN = 40  # characters of a text


def reading_notes(model: Json) -> list[str]:
    """Return the notes on a run's texts from what its `model` event says."""
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


def notes_of_run(store: Store, run: str) -> list[str]:
    """Return the notes on the texts of a stored run; none where no model has read them."""
    told = store.last_event(run, ("model",))
    return reading_notes(told.body) if told is not None else []


def _of(counted: Json) -> str:
    return f"{counted['texts']:,} of {counted['of']:,} texts"


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
