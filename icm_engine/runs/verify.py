"""Check a run's whole log against the method: every draw, temperature, delta and verdict, recomputed."""

import struct
import zlib
from collections.abc import Iterator
from math import isclose

from icm_engine.core.objective import Objective
from icm_engine.core.scoring import TableScorer
from icm_engine.core.search import (
    State,
    StepInfo,
    accept_probability,
    apply,
    draw_example,
    random_of,
    start,
    temperature,
)
from icm_engine.runs.replay import OpenRun
from icm_engine.runs.store import Store

TOLERANCE = 1e-9  # relative: sums of floats, taken in another order


def verify(store: Store, opened: OpenRun) -> tuple[int, list[str]]:
    """Return the number of steps checked and what is wrong with them, in words; nothing is scored again."""
    opened = opened.whole()
    objective, state, steps, wrong = _objective(opened), None, 0, list[str]()
    for event in store.read_after(opened.name, kinds=("initial", "step")):
        where = f"event {event.number}"
        try:
            if event.kind == "initial":
                state = start(opened.codec.decode_initial(event.body))
            elif state is not None:
                info = opened.codec.decode_step(event.body, state)
                wrong += [f"{where}: {problem}" for problem in _step_problems(info, state, objective, opened)]
                state, steps = apply(state, info), steps + 1
            else:
                return steps, [f"{where} is a step before the initial labels"]
        except (ValueError, KeyError, TypeError, IndexError, zlib.error, struct.error) as error:
            return steps, [*wrong, f"{where} cannot be read ({error}), nor anything after it"]
        wrong += [f"{where}: {problem}" for problem in _utility_problems(state, objective)]
    return steps, wrong


def _step_problems(info: StepInfo, state: State, objective: Objective, opened: OpenRun) -> Iterator[str]:
    config = opened.spec.search
    if info.number != state.step + 1:
        yield f"follows step {state.step}"
    if info.temperature != temperature(state.step + 1, state.accepted, config):
        yield f"temperature {info.temperature} is not the schedule's"
    drawn = draw_example(state.labeling, objective, config, random_of(config.seed, state.step + 1))
    if info.example != drawn:
        yield f"drew {opened.codec.ids[info.example]!r}, the seed draws {opened.codec.ids[drawn]!r}"
    if info.proposed != objective.task.labels[info.scores.argmax]:
        yield f"proposed {info.proposed!r}, which is not the likeliest label"
    if info.before.utility != state.evaluation.utility and not config.paired:
        yield f"U before is {info.before.utility}, the accepted labeling has {state.evaluation.utility}"
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


def _objective(opened: OpenRun) -> Objective:
    """The run's objective without a model: what is checked here never asks for a score."""
    config, dataset = opened.spec.search, opened.dataset
    return Objective(
        dataset.examples, dataset.task, opened.rule, TableScorer(lambda _: ()),
        config.predictability, config.alpha, config.pair_weight,
    )  # fmt: skip
