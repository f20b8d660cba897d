"""Forks: a new run that begins where another one stood, under other settings; and the influence of one pin."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from icm_engine.core.errors import SettingError
from icm_engine.core.scoring import no_scorer
from icm_engine.core.search import State
from icm_engine.core.settings import with_settings
from icm_engine.runs import control
from icm_engine.store.bodies import ActBody, HandBody
from icm_engine.store.events import RunSpec, encode_state
from icm_engine.store.replay import OpenRun, config_at, open_run, state_at
from icm_engine.store.store import Store

TURNING = ("undo", "redo")  # acts that depend on those before them


def fork(store: Store, run: str, event: int, settings: Mapping[str, Any] | None = None, rule: str | None = None) -> str:
    """Store a new run that begins where `run` stood after this event, and return its name; it is not started.

    With the same seed it draws what its parent drew, step by step, as long as both have the same labels. Labels, pins
    and log-probabilities are inherited; U is recomputed under the new settings and rule, without a model. Raises
    SettingError if there are no labels yet, NotFound.
    """
    parent = open_run(store, run).whole()
    state = state_at(store, parent, event)
    if state is None:
        raise SettingError(f"run {run!r} has no labels at event {event}: fork it after its initial labels")
    search = with_settings(config_at(store, parent, event), dict(settings or {}))
    spec = replace(parent.spec, search=search, rule=rule or parent.spec.rule, forked_from=run, forked_at=event)
    child = OpenRun("", spec, parent.dataset, parent.codec)
    evaluation = child.objective(search, no_scorer()).evaluation(state.labeling, state.evaluation.scores)
    begun: State = replace(
        state.relabelled(state.labeling, evaluation, state.step),
        unrepairable=frozenset(),
        most=most_after(store, parent, spec, state),
    )
    if state.read_at:  # scores read at different steps: the fork begins with an exact evaluation
        begun = replace(begun, block=None, exact_at=None, exact_utility=None)
    with store.transaction():
        name = store.add_run(spec)
        body = {"run": run, "event": event, **encode_state(child.codec, begun), "data_sha256": child.data_sha256}
        store.append(name, "forked", body)
    return name


def most_after(store: Store, parent: OpenRun, spec: RunSpec, state: State) -> int | None:
    """Return how many groups the next round with folds may change in a fork that begins with this state of its parent.

    That goes on only where U is the same: under other settings, nothing is known about larger changes.
    """
    before = config_at(store, parent, spec.forked_at or 0)
    same = replace(spec.search, max_steps=before.max_steps, seed=before.seed) == before
    return state.most if same and spec.rule == parent.spec.rule else None


def influence_of_pin(store: Store, run: str, example: str, steps: int) -> tuple[str, str]:
    """Create two forks that differ in one pin, start both for so many steps, and return (with it, without it).

    Both begin at the act that set the pin and draw the same examples, so any difference is due to the pin. Raises
    SettingError for an example that is not pinned, or whose pin came from undo or redo.
    """
    number, body = _pinning(store, run, example)
    last = body["step"] + steps
    settings = {"max_steps": max(last, store.spec(run).search.max_steps)}
    kept, without = fork(store, run, number, settings), fork(store, run, number - 1, settings)
    for act in body["acts"]:  # other acts of the same event stay
        rest = [(name, label) for name, label in _labelled(act) if name != example]
        if rest or not act["examples"]:
            labels = [label for _, label in rest if label is not None]
            control.submit_intervention(store, without, act["verb"], [name for name, _ in rest], labels, act["text"])
    for name in (kept, without):
        control.step(store, name, steps)
    return kept, without


def _pinning(store: Store, run: str, example: str) -> tuple[int, HandBody]:
    """The number and body of the event that set an example's current pin."""
    for event in reversed(store.read_after(run, kinds=("hand",))):
        for act in event.hand["acts"]:
            for change in act["changes"]:
                if change["example"] == example and change["after"]["pinned"] and not change["before"]["pinned"]:
                    if any(other["verb"] in TURNING for other in event.hand["acts"]):
                        raise SettingError(f"the pin of {example!r} came back by {act['verb']}: unpin and pin it again")
                    return event.number, event.hand
    raise SettingError(f"example {example!r} was not pinned in this run: pin it first")


def _labelled(act: ActBody) -> list[tuple[str, str | None]]:
    labels: Sequence[str | None] = act["labels"] or [None] * len(act["examples"])
    return list(zip(act["examples"], labels, strict=True))


def children(store: Store, run: str) -> list[str]:
    """Return the forks of a run, oldest first."""
    query = "select name from runs where json_extract(spec, '$.forked_from') = ? order by created, rowid"
    return [row[0] for row in store.db.execute(query, [run])]
