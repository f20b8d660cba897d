"""The landscape: U of a run's labels beside reference labelings of the same examples, all scored in the same way.

The references come with the request, by name; this knows nothing of where they are from. Zero-shot labels alone are
made here, since they need the model. Every labeling has the run's own slots, so all stand in the same orders.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Label, Labeling
from icm_engine.core.objective import Evaluation, Objective
from icm_engine.core.prompting import query_prompt
from icm_engine.core.scoring import Scorer, Usage
from icm_engine.core.search import State
from icm_engine.runs.events import Json
from icm_engine.runs.replay import OpenRun, config_at, open_run, state_at
from icm_engine.runs.store import Store

FOUND = "found"  # the run's own labels
ZERO_SHOT = "zero-shot"

Progress = Callable[[int, int | None, str], None]
References = Mapping[str, Mapping[str, Label]]


def score_landscape(
    store: Store, body: Json, scorer: Scorer, progress: Progress, kept: list[Json], keep: Callable[[Json], None]
) -> Json:
    """Return U and its terms of every labeling. Raises IcmError, NotFound.

    `body` names the run, the number of the event after which its labels are meant, the reference labelings (each
    with a label for every example the run had labelled then), and whether zero-shot labels are wanted. Rows already
    `kept` are not scored again; each new one is given to `keep`.
    """
    opened = open_run(store, body["run"]).whole()
    state = _state(store, opened, body["event"])
    objective = opened.objective(config_at(store, opened, body["event"]), scorer)
    labelings = {FOUND: state.labeling} | {
        name: _reference(name, opened, state.labeling, labels) for name, labels in body["labelings"].items()
    }
    names = [*labelings, *([ZERO_SHOT] if body["zero_shot"] else [])]
    parts = {part["name"]: part for part in kept}
    for name in names:
        if name not in parts:
            progress(len(parts), len(names), "scoring labelings")
            before = scorer.usage
            labeling = _zero_shot(objective, state.labeling) if name == ZERO_SHOT else labelings[name]
            row = _scored(name, labeling, objective)
            parts[name] = row | {"usage": asdict(scorer.usage - before)}
            keep(parts[name])
    used = sum((Usage(**part.get("usage", {})) for part in parts.values()), Usage())  # in killed processes too
    return {
        "run": body["run"], "event": body["event"], "step": state.step, "examples": len(state.labeling),
        "rows": [{key: value for key, value in part.items() if key != "usage"} for part in parts.values()],
        "model": dict(scorer.describe()), "usage": asdict(used),
    }  # fmt: skip


def _state(store: Store, opened: OpenRun, event: int) -> State:
    state = state_at(store, opened, event)
    if state is None or not state.labeling:
        raise SettingError(f"run {opened.name!r} has no labels at event {event}: take a step first")
    return state


def _reference(name: str, opened: OpenRun, found: Labeling, labels: Mapping[str, Label]) -> Labeling:
    """A labeling by id, in the slots of the run's own."""
    ids, known = opened.codec.ids, opened.dataset.task.labels
    if missing := next((ids[i] for i in found if labels.get(ids[i]) not in known), None):
        raise SettingError(f"labeling {name!r} has no label of the task for example {missing!r}: give one for each")
    return Labeling({i: labels[ids[i]] for i in found})


def _zero_shot(objective: Objective, found: Labeling) -> Labeling:
    """The likeliest label of each example with no demonstrations at all."""
    nothing = Labeling()
    scores = objective.scorer.score([query_prompt(objective.task, objective.examples, nothing, i) for i in found])
    return Labeling({i: objective.task.labels[score.argmax] for i, score in zip(found, scores, strict=True)})


def _scored(name: str, labeling: Labeling, objective: Objective) -> Json:
    """One row: U with its terms, the label mass, and what the labels are, to compare them."""
    before = objective.scorer.usage
    found: Evaluation = objective.evaluate(labeling)
    cost: Usage = objective.scorer.usage - before
    return {
        "name": name, "utility": found.utility, "weighted_predictability": found.weighted_predictability,
        "mutual_predictability": found.mutual_predictability, "inconsistency": found.inconsistency,
        "pairs": len(found.pairs), "label_mass": found.label_mass, "balance": dict(Counter(labeling.values())),
        "labels": list(labeling.values()), "tokens_encoded": cost.tokens_encoded,
    }  # fmt: skip
