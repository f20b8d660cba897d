"""Check a run's whole log against the method: every draw, temperature, delta and verdict, recomputed."""

import struct
import zlib
from collections.abc import Iterator
from math import isclose

from icm_engine.core.draws import random_of
from icm_engine.core.objective import Objective
from icm_engine.core.scoring import no_scorer
from icm_engine.core.search import State, StepInfo, accept_probability, draw_example, temperature
from icm_engine.core.settings import SearchConfig
from icm_engine.runs.interventions import tuned
from icm_engine.runs.replay import STATE_KINDS, OpenRun, after_event
from icm_engine.runs.store import Store

TOLERANCE = 1e-9  # relative: sums of floats, taken in another order


def verify(store: Store, opened: OpenRun) -> tuple[int, list[str]]:
    """Return the number of steps checked and what is wrong with them, in words; nothing is scored again."""
    opened = opened.whole()
    config, steps, wrong = opened.spec.search, 0, list[str]()
    state: State | None = None
    for event in store.read_after(opened.name, kinds=STATE_KINDS):
        where = f"event {event.number}"
        if state is None and event.kind not in ("initial", "forked", "labelled"):
            return steps, [f"{where} is a {event.kind} before the initial labels"]
        try:
            if event.kind == "retuned":
                config = tuned(config, event.body["settings"])
            objective = opened.objective(config, no_scorer())
            if event.kind == "step" and state is not None:
                info = opened.codec.decode_step(event.body, state)
                wrong += [f"{where}: {problem}" for problem in _step_problems(info, state, objective, config, opened)]
                steps += 1
            state = after_event(opened.codec, event, state)
            if state is not None:
                wrong += [f"{where}: {problem}" for problem in _utility_problems(state, objective)]
        except (ValueError, KeyError, TypeError, IndexError, zlib.error, struct.error) as error:
            return steps, [*wrong, f"{where} cannot be read ({error}), nor anything after it"]
    return steps, wrong


def _step_problems(
    info: StepInfo, state: State, objective: Objective, config: SearchConfig, opened: OpenRun
) -> Iterator[str]:
    if info.number != state.step + 1:
        yield f"follows step {state.step}"
    if info.temperature != temperature(state.step + 1, state.accepted, config):
        yield f"temperature {info.temperature} is not the schedule's"
    pins = state.hand.pins
    drawn = draw_example(state.labeling, objective, config, random_of(config.seed, state.step + 1), pins)
    if info.example != drawn:
        yield f"drew {opened.codec.ids[info.example]!r}, the seed draws {opened.codec.ids[drawn]!r}"
    if info.reused and info.scores != state.evaluation.scores[info.example]:
        yield "took log-probabilities for the drawn example that the labels before it do not have"
    if info.proposed != objective.task.labels[info.scores.argmax]:
        yield f"proposed {info.proposed!r}, which is not the likeliest label"
    if info.before.utility != state.evaluation.utility and not config.paired:
        yield f"U before is {info.before.utility}, the accepted labeling has {state.evaluation.utility}"
    if touched := [opened.codec.ids[flip.example] for flip in info.flips if flip.example in pins]:
        yield f"changes the label of {touched[0]!r}, which a person pinned"
    if info.after is None:
        return
    if not isclose(info.delta, info.after.utility - info.before.utility, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        yield f"delta {info.delta} is not U after minus U before"
    if info.verdict != "unchanged":
        allowed = info.delta > 0 or info.draw < accept_probability(info.delta, info.temperature)
        if allowed != (info.verdict == "accepted"):
            yield f"{info.verdict} against its delta, temperature and draw"


def _utility_problems(state: State, objective: Objective) -> Iterator[str]:
    """U of the accepted labeling, put together again from its per-example log-probabilities."""
    again = objective.evaluation(state.labeling, state.evaluation.scores)
    if not isclose(again.utility, state.evaluation.utility, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        yield f"U is {state.evaluation.utility}, its log-probabilities give {again.utility}"
