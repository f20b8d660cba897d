"""Jobs that score a run again: other labels (what-if, the landscape), or its own steps.

Reference labelings come with a name but without their origin. Only zero-shot labels are made here, because they need
the model. Every labeling has the run's own slots, so all are scored in the same orders.

`verify` checks a log without a model; rescoring checks the scores. Other hardware, another version of torch or a
changed checkpoint appear as drift, an edited log as a jump.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from math import fsum

from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.folds import FOLDS
from icm_engine.core.labeling import Label, Labeling
from icm_engine.core.objective import Evaluation, Objective
from icm_engine.core.prompting import leave_one_out_prompt, query_prompt
from icm_engine.core.repair import CachedEvaluator, ConsistencyFix
from icm_engine.core.rng import random_of, sample
from icm_engine.core.scoring import LabelLogProbs, Scorer, Usage
from icm_engine.core.search import State, StepInfo, accept_probability, step, temperature
from icm_engine.jobs.job_process import Job
from icm_engine.store.bodies import READING
from icm_engine.store.events import SEARCH, Codec, Json
from icm_engine.store.replay import OpenRun, config_at, open_run, state_at
from icm_engine.store.store import Event, Store


def try_label(job: Job, scorer: Scorer) -> Json:
    """Return what U would be after an event if an example had another label, before and after repair, as JSON.

    The labels are scored as the run scores its own proposals; repairs leave the example and all pins unchanged. The
    acceptance probability is that at the next step's temperature. Raises SettingError, NotFound.
    """
    run, event, example, label = (job.spec.body[key] for key in ("run", "event", "example", "label"))
    job.progress(0, None, "scoring the other label")
    opened = prompted(job.store, run).whole()
    state, i = _standing(job.store, opened, event), _place(opened, example)
    _require_other(state.labeling.get(i), label, example, opened)
    config, began, used = config_at(job.store, opened, event), time.perf_counter(), scorer.usage
    objective = opened.objective(config, scorer)
    proposal = state.labeling.assign(i, label)
    known = objective.evaluate(state.labeling) if state.estimated else state.evaluation
    score = CachedEvaluator(objective, state.labeling, known, config.paired)
    before, (after,) = score([proposal])
    pins = state.hand.pins | {i}
    repaired = ConsistencyFix(score, opened.rule, config, pins)(proposal, random_of(config.seed, state.step))
    heat = temperature(state.step + 1, state.accepted, config)
    delta = repaired.after.utility - repaired.before.utility
    return {
        "run": run,
        "event": event,
        "step": state.step,
        "example": example,
        "old": state.labeling[i],
        "label": label,
        "before": opened.codec.encode_evaluation(before),
        "after": opened.codec.encode_evaluation(after),
        "repaired": opened.codec.encode_evaluation(repaired.after),
        "repairs": len(repaired.repairs),
        "flips": _others(opened.codec, proposal, repaired.labeling),
        "delta_unrepaired": after.utility - before.utility,
        "delta": delta,
        "temperature": heat,
        "accept_probability": accept_probability(delta, heat),
        "set_evaluations": score.set_evaluations,
        "usage": asdict(scorer.usage - used),
        "seconds": time.perf_counter() - began,
    }


def prompted(store: Store, run: str) -> OpenRun:
    """Return a run whose U comes from prompts. Raises SettingError, NotFound."""
    opened = open_run(store, run)
    if opened.spec.source == FOLDS:
        raise SettingError(
            f"run {run!r} takes U from models tuned on folds, which are not kept, and prompts would give another U: "
            f"use a run of the search on this data (--source {SEARCH}), or check its log alone (`verify`)"
        )
    return opened


def _require_other(now: str | None, label: str, example: str, opened: OpenRun) -> None:
    """Raise SettingError unless the example has a label and this is another one of the task."""
    if now in (None, label) or label not in opened.dataset.task.labels:
        has = now or "no label"
        raise SettingError(f"{example!r} has {has}, and was tried with {label!r}: try another label of the task")


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
    """The other labels that repair changed."""
    changed = [i for i in repaired if repaired[i] != proposal[i]]
    return [{"example": codec.ids[i], "old": proposal[i], "new": repaired[i]} for i in changed]


FOUND = "found"  # the run's own labels
ZERO_SHOT = "zero-shot"

References = Mapping[str, Mapping[str, Label]]


def score_landscape(job: Job, scorer: Scorer) -> Json:
    """Return U and its terms for a run's labels and reference labelings. Raises IcmError, NotFound.

    The body names the run, the event whose labels to score, the reference labelings (each labels exactly the examples
    labelled at that event), and whether to add zero-shot labels. Rows that are already stored are not scored again.
    """
    store, body = job.store, job.spec.body
    opened = prompted(store, body["run"]).whole()
    state = _state(store, opened, body["event"])
    objective = opened.objective(config_at(store, opened, body["event"]), scorer)
    labelings = {FOUND: state.labeling} | {
        name: _reference(name, opened, state.labeling, labels) for name, labels in body["labelings"].items()
    }
    names = [*labelings, *([ZERO_SHOT] if body["zero_shot"] else [])]
    parts = {part["name"]: part for part in job.kept()}
    for name in names:
        if name not in parts:
            job.progress(len(parts), len(names), "scoring labelings")
            before = scorer.usage
            labeling = _zero_shot(objective, state.labeling) if name == ZERO_SHOT else labelings[name]
            row = _scored(name, labeling, objective)
            parts[name] = row | {"usage": asdict(scorer.usage - before)}
            job.keep(parts[name])
    used = sum((Usage(**part.get("usage", {})) for part in parts.values()), Usage())  # in killed processes too
    return {
        "run": body["run"],
        "event": body["event"],
        "step": state.step,
        "examples": len(state.labeling),
        "rows": [{key: value for key, value in part.items() if key != "usage"} for part in parts.values()],
        "model": dict(scorer.describe()),
        "usage": asdict(used),
    }


def _state(store: Store, opened: OpenRun, event: int) -> State:
    state = state_at(store, opened, event)
    if state is None or not state.labeling:
        raise SettingError(f"run {opened.name!r} has no labels at event {event}: take a step first")
    return state


def _reference(name: str, opened: OpenRun, found: Labeling, labels: Mapping[str, Label]) -> Labeling:
    """A labeling by id, in the run's own slots."""
    ids, known = opened.codec.ids, opened.dataset.task.labels
    if missing := next((ids[i] for i in found if labels.get(ids[i]) not in known), None):
        raise SettingError(f"labeling {name!r} has no label of the task for example {missing!r}: give one for each")
    return Labeling({i: labels[ids[i]] for i in found})


def _zero_shot(objective: Objective, found: Labeling) -> Labeling:
    """The most likely label of each example without demonstrations."""
    nothing = Labeling()
    scores = objective.scorer.score([query_prompt(objective.task, objective.examples, nothing, i) for i in found])
    return Labeling({i: objective.task.labels[score.argmax] for i, score in zip(found, scores, strict=True)})


def _scored(name: str, labeling: Labeling, objective: Objective) -> Json:
    """One row: U with its terms, the label mass, the labels, and what the model predicts of each from all others."""
    before = objective.scorer.usage
    found: Evaluation = objective.evaluate(labeling)
    cost: Usage = objective.scorer.usage - before
    return {
        "name": name,
        "utility": found.utility,
        "weighted_predictability": found.weighted_predictability,
        "mutual_predictability": found.mutual_predictability,
        "inconsistency": found.inconsistency,
        "pairs": len(found.pairs),
        "label_mass": found.label_mass,
        "balance": dict(Counter(labeling.values())),
        "labels": list(labeling.values()),
        "predicted": [
            [objective.examples[i].id, objective.proposed(found.scores, i, found.scores[i])] for i in labeling
        ],
        "tokens_encoded": cost.tokens_encoded,
    }


KIND = "rescore"
SEED = 0  # of the sample of steps
SHOWN = 20  # maximum number of listed steps that would be decided otherwise


@dataclass
class _Drift:
    """Comparison so far: absolute differences of log-probabilities, and steps that would be decided otherwise."""

    differences: list[float] = field(default_factory=list)
    largest: float = -1.0
    worst: Json | None = None
    other: list[Json] = field(default_factory=list)

    def compare(self, number: int, then: LabelLogProbs, now: LabelLogProbs) -> None:
        for one, other in zip(then.raw, now.raw, strict=True):
            if abs(one - other) > self.largest:
                self.largest, self.worst = abs(one - other), {"step": number, "logged": one, "now": other}
            self.differences.append(abs(one - other))


def rescore(job: Job, scorer: Scorer) -> Json:
    """Take a sample of a run's steps again and return the drift, as JSON. Raises SettingError, NotFound.

    Each step starts from the state in the log. Log-probabilities are compared for the drawn example and, in accepted
    steps, for all examples labelled after the step; verdicts and U are compared in all steps.
    """
    store, run = job.store, job.spec.body["run"]
    opened = prompted(store, run).whole()
    taken = store.read_after(run, kinds=("step",))
    if not taken:
        raise SettingError(f"run {run!r} has no steps to score again: verify it once it has taken some")
    chosen = sorted(sample(random_of(SEED, 0), len(taken), min(job.spec.body["steps"], len(taken))))
    drift, used = _Drift(), scorer.usage
    utilities = list[float]()
    for done, place in enumerate(chosen):
        job.progress(done, len(chosen), "scoring steps again")
        utilities += _again(store, opened, taken[place], scorer, drift)
    told = store.last_event(run, ("model",))
    return {
        "run": run,
        "steps": len(chosen),
        "of": len(taken),
        "sampled": [taken[k].step["step"] for k in chosen],
        "compared": len(drift.differences),
        "largest_difference": drift.largest,
        "mean_difference": fsum(drift.differences) / len(drift.differences),
        "largest_at": drift.worst,
        "largest_utility_difference": max(utilities, default=0.0),
        "other_way": len(drift.other),
        "other": drift.other[:SHOWN],
        "model": dict(scorer.describe()),
        "model_changes": _changes(told.body if told else {}, scorer),
        "prompts": (scorer.usage - used).prompts,
        "tokens_encoded": (scorer.usage - used).tokens_encoded,
    }


def _again(store: Store, opened: OpenRun, event: Event, scorer: Scorer, drift: _Drift) -> Iterator[float]:
    """Take one step again; yield the drift of its proposal's U if the proposal is the same."""
    state = state_at(store, opened, event.number - 1)
    assert state is not None  # a step follows the initial labels
    config = config_at(store, opened, event.number - 1)
    objective, then = opened.objective(config, scorer), opened.codec.decode_step(event.step, state)
    _, now = step(state, objective, config)
    drift.compare(then.number, then.scores, _asked(objective, state, now))
    if (then.proposed, then.verdict, then.flips) != (now.proposed, now.verdict, now.flips):
        drift.other.append(_other_way(then, now))
    if then.after is None or now.after is None or then.flips != now.flips:
        return
    for example, scores in then.after.scores.items():  # stored for accepted steps only
        drift.compare(then.number, scores, now.after.scores[example])
    yield abs(then.after.utility - now.after.utility)


def _asked(objective: Objective, state: State, now: StepInfo) -> LabelLogProbs:
    """The model's scores of the drawn example, even if the step reused earlier ones."""
    if not now.reused:
        return now.scores
    prompt = leave_one_out_prompt(objective.task, objective.examples, state.labeling, now.example)
    return objective.scorer.score([prompt])[0]


def _other_way(then: StepInfo, now: StepInfo) -> Json:
    return {
        "step": then.number,
        "proposed": then.proposed,
        "proposed_now": now.proposed,
        "verdict": then.verdict,
        "verdict_now": now.verdict,
        "delta": then.delta,
        "delta_now": now.delta,
    }


def _changes(then: Json, scorer: Scorer) -> Json:
    """The differences between the model's description now and when the run was scored."""
    now = dict(scorer.describe())
    return {name: [then[name], now.get(name)] for name in then if name != READING and then[name] != now.get(name)}
