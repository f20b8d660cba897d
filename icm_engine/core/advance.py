"""A search from one person's command to the next: steps with all that they need, and the breakpoints that end them.

With sampled terms (`sampled_terms`), a sample is drawn and U is evaluated exactly from time to time, between two steps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from icm_engine.core.errors import SettingError
from icm_engine.core.objective import Objective
from icm_engine.core.rng import random_of
from icm_engine.core.sampled_terms import Block, block_of, connected, next_size
from icm_engine.core.search import Reason, RefreshInfo, State, StepInfo, apply, draw_example, step
from icm_engine.core.settings import SearchConfig

QUIET = 0.25  # of a block's steps: while no more were accepted, the next block asks about its draws together


def advance(state: State, objective: Objective, config: SearchConfig) -> Iterator[tuple[State, StepInfo | RefreshInfo]]:
    """Take one step, and yield each state and record on the way: the step's own is the last one.

    With sampled terms, a new block or an exact evaluation may come first, and a step whose standard error is too large
    is dropped and taken again with twice the terms. A search that stops in between goes on from the last state.
    """
    while True:
        refresh = refreshed(state, objective, config) if config.terms else None
        if refresh is not None:
            state = apply(state, refresh)
            yield state, refresh
        after, info = step(state, objective, config)
        if not info.too_coarse:
            yield after, info
            return
        assert state.block is not None
        refresh = _new_block(state, objective, config, "larger", 2 * state.block.size)
        state = apply(state, refresh)
        yield state, refresh


def refreshed(state: State, objective: Objective, config: SearchConfig) -> RefreshInfo | None:
    """Return what the next step of a search with sampled terms begins with; None if it goes on with the block."""
    wanted = due(state, objective, config)
    if wanted is None:
        return None
    why, size = wanted
    if why != "exact":
        return _new_block(state, objective, config, why, size)
    after, exact = evaluated(state, objective, why)
    return replace(exact, block=_new_block(replace(after, block=state.block), objective, config, why, size).block)


def due(state: State, objective: Objective, config: SearchConfig) -> tuple[Reason, int] | None:
    """Return why a search with sampled terms needs another block now, and of how many terms; None if it does not."""
    block = state.block
    if state.exact_at is None or state.step // config.exact_every > state.exact_at // config.exact_every:
        return "exact", next_size(block, config.terms)
    if block is None or block.number != state.step // config.redraw_every:
        return "next" if block else "first", next_size(block, config.terms)
    if not block.holds(_in_play(state, objective, _drawn(state, objective, config, state.step + 1))):
        return "drawn", block.size
    return None


def evaluated(state: State, objective: Objective, why: Reason) -> tuple[State, RefreshInfo]:
    """Evaluate U exactly, and end the block. Returns the state after it, and the record."""
    exact = objective.evaluate(state.labeling)
    last = state.exact_utility if state.exact_utility is not None else state.evaluation.utility
    changes = state.evaluation.utility - last, exact.utility - last
    info = RefreshInfo(why, None, exact, *changes, set_evaluations=1)
    return apply(state, info), info


def _new_block(state: State, objective: Objective, config: SearchConfig, why: Reason, size: int) -> RefreshInfo:
    """A block for the steps up to the next redrawing; while few proposals are accepted, its draws are asked about."""
    block, asked = planned_block(state, objective, config, size)
    if block.prefix:
        held = state.block if why != "exact" else None  # an exact evaluation leaves no prefix
        before = held.kept(objective, state.labeling) if held is not None else None
        objective.keep(block.kept(objective, state.labeling), before)
    scores = objective.scorer.score([block.prompt(objective, state.labeling, i) for i in asked])
    return RefreshInfo(why, replace(block, read={**block.read, **dict(zip(asked, scores, strict=True))}))


def planned_block(state: State, objective: Objective, config: SearchConfig, size: int) -> tuple[Block, tuple[int, ...]]:
    """Return the next block, and whom to ask about: functions of the state, the rule and the seed.

    If the state has a block of the same number, the new one keeps its old scores and its front. If it only lacks
    unlabelled examples, they join the front, and nothing moves. The draws of a block that begins are asked about
    together if the last block changed few labels: an answer holds until a label changes.
    """
    number, last = state.step // config.redraw_every, state.block
    begun = last if last is not None and last.number == number else None
    draws = [_drawn(state, objective, config, n) for n in range(state.step + 1, (number + 1) * config.redraw_every + 1)]
    front = dict.fromkeys(begun.front if begun else ())
    front |= dict.fromkeys(j for i in draws for j in _in_play(state, objective, i))
    if begun is not None and begun.size == size and not any(i in state.labeling for i in front if not begun.holds([i])):
        block = replace(begun, front=(*begun.front, *(i for i in front if not begun.holds([i]))))
    else:
        old = begun.old if begun else state.evaluation.scores
        strata = begun.strata if begun else {i: objective.label_index(y) for i, y in state.labeling.items()}
        block = block_of(state.labeling, strata, old, config.seed, number, size, tuple(front))
        block = replace(block, strain=begun.strain if begun else 0.0, changes=begun.changes if begun else 0)
    quiet = begun is None and last is not None and last.changes <= config.redraw_every * QUIET
    return block, tuple(i for i in dict.fromkeys(draws) if i not in block.read) if quiet else ()


def _drawn(state: State, objective: Objective, config: SearchConfig, n: int) -> int:
    """The example that step n draws, if the labels stay as they are."""
    return draw_example(state.labeling, objective, config, random_of(config.seed, n), state.hand.pins)


def _in_play(state: State, objective: Objective, drawn: int) -> list[int]:
    """The examples whose labels a step can change: the drawn one, those in conflict, and all that constraints connect
    with them.
    """
    return connected(objective.rule, [drawn, *(i for pair in state.evaluation.pairs for i in pair)])


@dataclass(frozen=True, slots=True)
class Breakpoints:
    """Breakpoints: a label change of one of these examples (ids), a step that lowers U by this much, or a pair
    inconsistent for this many steps.
    """

    flips: tuple[str, ...] = ()
    utility_falls: float | None = None
    inconsistent_for: int | None = None

    def __post_init__(self) -> None:
        if self.utility_falls is not None and self.utility_falls <= 0:
            raise SettingError(f"utility_falls is {self.utility_falls}: use a value above 0, or none")
        if self.inconsistent_for is not None and self.inconsistent_for < 1:
            raise SettingError(f"inconsistent_for is {self.inconsistent_for}: use 1 step or more, or none")


def reached(points: Breakpoints, before: State, info: StepInfo, after: State, ids: Sequence[str]) -> str | None:
    """Return why to stop after this step, in one sentence; None to continue."""
    if before.labeling != after.labeling:
        for flip in info.flips:
            old, new = before.labeling.get(flip.example), after.labeling.get(flip.example)
            if ids[flip.example] in points.flips and old != new:
                return f"{ids[flip.example]} went from {old or 'no label'} to {new} at step {info.number}"
        fall = before.evaluation.utility - after.evaluation.utility
        if points.utility_falls is not None and fall >= points.utility_falls:
            return f"U fell by {fall:.2f} at step {info.number}, a drop of {points.utility_falls:g} was waited for"
    for (i, j), since in after.since.items():
        if after.step - since == points.inconsistent_for:
            return f"{ids[i]} and {ids[j]} have been inconsistent for {after.step - since} steps, since step {since}"
    return None
