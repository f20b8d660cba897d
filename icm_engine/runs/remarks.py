"""Remarks about a run, in words: its settings, how its model reads the data, and reduced calls.

Scores depend slightly on the tokens per model call. So a step in which that number changed is taken again, after an
event that records it: every step of a log was computed with calls of the logged size.
"""

from dataclasses import replace

from icm_engine.core.consistency import Asymmetry
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Label
from icm_engine.core.objective import OF_TWO_LABELS, form_for
from icm_engine.core.scoring import Scorer, calls_of
from icm_engine.core.settings import PRESETS, SearchConfig, steps_per_example
from icm_engine.store.bodies import ShrunkBody
from icm_engine.store.events import SEARCH, Json, RunSpec
from icm_engine.store.store import Store


def fitted(store: Store, spec: RunSpec, named: bool = False) -> RunSpec:
    """Return the spec with a form of P that fits the number of labels. Raises NotFound, SettingError.

    A preset's form is replaced by one that fits; a form chosen by a person (`named`, or unlike the preset's) is
    refused.
    """
    task = store.dataset_info(spec.dataset).task
    form = spec.search.predictability
    if form not in OF_TWO_LABELS or len(task.labels) == 2:
        return spec
    fits = form_for(form, len(task.labels))
    if named or form != PRESETS.get(spec.preset, SearchConfig()).predictability:
        raise SettingError(
            f"predictability {form} is for two labels, but task {task.name!r} has {len(task.labels)}: "
            f"use {fits} (--set predictability={fits})"
        )
    return replace(spec, search=replace(spec.search, predictability=fits))


def with_steps(spec: RunSpec, examples: int) -> RunSpec:
    """Return the spec with its preset's number of steps for that many examples, if it has none."""
    if spec.search.max_steps or spec.source != SEARCH:
        return spec
    return replace(spec, search=replace(spec.search, max_steps=steps_per_example(spec.preset) * examples))


def form_words(form: str, labels: tuple[Label, ...]) -> str:
    """Return which form of P replaces a form for two labels; empty if the form fits."""
    if form not in OF_TWO_LABELS or len(labels) == 2:
        return ""
    return (
        f"P is {form_for(form, len(labels))} in place of {form}, which is for two labels: the task has {len(labels)}."
    )


def remarks(store: Store, spec: RunSpec) -> list[str]:
    """Return remarks on a new run before it starts, in sentences. Raises NotFound."""
    info = store.dataset_info(spec.dataset)
    said = [form_words(spec.search.predictability, info.task.labels)]
    if (spec.rule or info.task.rule) == Asymmetry.name and not store.has_twins(spec.dataset):
        said.append(Asymmetry.WITHOUT_TWINS)
    return [words for words in said if words]


READING = "reading"
SHOWN = 40  # characters of a text


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


SHRUNK = "shrunk"  # the kind of the event


def tokens_of_run(store: Store, run: str, until: int | None = None) -> int | None:
    """Return the tokens per call in force after event `until`; None for the scorer's own number.

    A fork begins with its parent's.
    """
    last = store.last_number(run) if until is None else until
    found = list(store.read_between(run, 0, last, (SHRUNK,)))
    if found:
        return found[-1].shrunk["tokens"]
    spec = store.spec(run)
    if spec.forked_from is None or not store.has_run(spec.forked_from):
        return None
    return tokens_of_run(store, spec.forked_from, spec.forked_at)


def shrunk(scorer: Scorer, before: int) -> ShrunkBody | None:
    """Return the body of the event that records smaller calls; None if they are not smaller."""
    now = calls_of(scorer)
    return {"tokens": now.tokens, "was": before, "why": now.why} if now.tokens < before else None
