"""Steps of a run taken again with its own model, and how far the log-probabilities have drifted since.

The log is checked without a model (`verify`); what only the model can tell is asked again here. Other hardware, another
version of torch, or a changed checkpoint show as drift; a log that somebody changed shows as a jump.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import fsum

from icm_engine.core.draws import random_of, sample
from icm_engine.core.errors import SettingError
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import leave_one_out_prompt
from icm_engine.core.scoring import LabelLogProbs, Scorer
from icm_engine.core.search import State, StepInfo, step
from icm_engine.runs.events import Json
from icm_engine.runs.reading_notes import READING
from icm_engine.runs.replay import OpenRun, config_at, open_run, state_at
from icm_engine.runs.store import Event, Store

KIND = "rescore"
SEED = 0  # of the sample of steps
SHOWN = 20  # steps that are named among those that would go another way

Progress = Callable[[int, int | None, str], None]


@dataclass
class _Drift:
    """What was compared so far: absolute differences of log-probabilities, and steps that would go another way."""

    differences: list[float] = field(default_factory=list)
    largest: float = -1.0
    worst: Json | None = None
    other: list[Json] = field(default_factory=list)

    def compare(self, number: int, then: LabelLogProbs, now: LabelLogProbs) -> None:
        for one, other in zip(then.raw, now.raw, strict=True):
            if abs(one - other) > self.largest:
                self.largest, self.worst = abs(one - other), {"step": number, "logged": one, "now": other}
            self.differences.append(abs(one - other))


def rescore(store: Store, run: str, steps: int, scorer: Scorer, progress: Progress) -> Json:
    """Take a sample of a run's steps again and return the drift, as JSON. Raises SettingError, NotFound.

    Each step begins in the state that the log leads to. Compared are the log-probabilities of the drawn example and,
    of accepted steps, those of all labelled examples after it; the verdicts and U are compared for all.
    """
    opened = open_run(store, run).whole()
    taken = store.read_after(run, kinds=("step",))
    if not taken:
        raise SettingError(f"run {run!r} has no steps to score again: verify it once it has taken some")
    chosen = sorted(sample(random_of(SEED, 0), len(taken), min(steps, len(taken))))
    drift, used = _Drift(), scorer.usage
    utilities = list[float]()
    for done, place in enumerate(chosen):
        progress(done, len(chosen), "scoring steps again")
        utilities += _again(store, opened, taken[place], scorer, drift)
    told = store.last_event(run, ("model",))
    return {
        "run": run, "steps": len(chosen), "of": len(taken), "sampled": [taken[k].body["step"] for k in chosen],
        "compared": len(drift.differences),
        "largest_difference": drift.largest,
        "mean_difference": fsum(drift.differences) / len(drift.differences),
        "largest_at": drift.worst, "largest_utility_difference": max(utilities, default=0.0),
        "other_way": len(drift.other), "other": drift.other[:SHOWN],
        "model": dict(scorer.describe()), "model_changes": _changes(told.body if told else {}, scorer),
        "prompts": (scorer.usage - used).prompts, "tokens_encoded": (scorer.usage - used).tokens_encoded,
    }  # fmt: skip


def _again(store: Store, opened: OpenRun, event: Event, scorer: Scorer, drift: _Drift) -> Iterator[float]:
    """Take one step again; yield how far U of its proposal has drifted, where it proposes the same."""
    state = state_at(store, opened, event.number - 1)
    assert state is not None  # a step follows the initial labels
    config = config_at(store, opened, event.number - 1)
    objective, then = opened.objective(config, scorer), opened.codec.decode_step(event.body, state)
    _, now = step(state, objective, config)
    drift.compare(then.number, then.scores, _asked(objective, state, now))
    if (then.proposed, then.verdict, then.flips) != (now.proposed, now.verdict, now.flips):
        drift.other.append(_other_way(then, now))
    if then.after is None or now.after is None or then.flips != now.flips:
        return
    for example, scores in then.after.scores.items():  # kept of accepted steps alone
        drift.compare(then.number, scores, now.after.scores[example])
    yield abs(then.after.utility - now.after.utility)


def _asked(objective: Objective, state: State, now: StepInfo) -> LabelLogProbs:
    """What the model says of the drawn example, also where the step took it from the labeling before."""
    if not now.reused:
        return now.scores
    prompt = leave_one_out_prompt(objective.task, objective.examples, state.labeling, now.example)
    return objective.scorer.score([prompt])[0]


def _other_way(then: StepInfo, now: StepInfo) -> Json:
    return {
        "step": then.number, "proposed": then.proposed, "proposed_now": now.proposed,
        "verdict": then.verdict, "verdict_now": now.verdict, "delta": then.delta, "delta_now": now.delta,
    }  # fmt: skip


def _changes(then: Json, scorer: Scorer) -> Json:
    """What the model's own description says otherwise than when the run was scored."""
    now = dict(scorer.describe())
    return {name: [then[name], now.get(name)] for name in then if name != READING and then[name] != now.get(name)}
