"""What if an example had the other label: the exact change of U, with repair, and nothing changes."""

import time
from dataclasses import asdict

from icm_engine.core.draws import random_of
from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.labeling import Labeling
from icm_engine.core.repair import Repairer, Scored
from icm_engine.core.scoring import Scorer
from icm_engine.core.search import State, accept_probability, temperature
from icm_engine.runs.events import Codec, Json
from icm_engine.runs.replay import OpenRun, config_at, open_run, state_at
from icm_engine.runs.store import Store


def try_label(store: Store, run: str, event: int, example: str, label: str, scorer: Scorer) -> Json:
    """Return what U would be after `event` if `example` had `label`, before and after repair, as JSON.

    Scored as the run scores its own proposals; repairs leave the example and all pins as they are. The chance is that
    of the next step's temperature. Raises SettingError, NotFound.
    """
    opened = open_run(store, run).whole()
    state, i = _standing(store, opened, event), _place(opened, example)
    if i not in state.labeling or state.labeling[i] == label or label not in opened.dataset.task.labels:
        now = state.labeling.get(i, "no label")
        raise SettingError(f"{example!r} has {now}, and was tried with {label!r}: try another label of the task")
    config, began, used = config_at(store, opened, event), time.perf_counter(), scorer.usage
    objective = opened.objective(config, scorer)
    proposal = state.labeling.assign(i, label)
    score = Scored(objective, state.labeling, state.evaluation, config.paired)
    before, (after,) = score([proposal])
    pins = state.hand.pins | {i}
    repaired = Repairer(score, opened.rule, config, pins)(proposal, random_of(config.seed, state.step))
    heat = temperature(state.step + 1, state.accepted, config)
    delta = repaired.after.utility - repaired.before.utility
    return {
        "run": run, "event": event, "step": state.step, "example": example, "old": state.labeling[i], "label": label,
        "before": opened.codec.encode_evaluation(before), "after": opened.codec.encode_evaluation(after),
        "repaired": opened.codec.encode_evaluation(repaired.after), "repairs": len(repaired.repairs),
        "flips": _others(opened.codec, proposal, repaired.labeling), "delta_unrepaired": after.utility - before.utility,
        "delta": delta, "temperature": heat, "accept_probability": accept_probability(delta, heat),
        "set_evaluations": score.set_evaluations, "usage": asdict(scorer.usage - used),
        "seconds": time.perf_counter() - began,
    }  # fmt: skip


def _place(opened: OpenRun, example: str) -> int:
    try:
        return opened.codec.index(example)
    except KeyError:
        raise NotFound(f"example {example!r} is not in run {opened.name!r}: ask about one of its own") from None


def _standing(store: Store, opened: OpenRun, event: int) -> State:
    state = state_at(store, opened, event)
    if state is None:
        raise SettingError(f"run {opened.name!r} has no labels at event {event}: ask about a later one")
    return state


def _others(codec: Codec, proposal: Labeling, repaired: Labeling) -> list[Json]:
    """The labels that repair changed besides."""
    changed = [i for i in repaired if repaired[i] != proposal[i]]
    return [{"example": codec.ids[i], "old": proposal[i], "new": repaired[i]} for i in changed]
