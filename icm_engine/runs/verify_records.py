"""Contents of a log beside its decisions: evaluations, prompts, movers, interventions, starts of forks.

Each check yields problems in words and asks no model.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil, isclose, isfinite
from typing import Any

from icm_engine.core.errors import IcmError
from icm_engine.core.folds import FOLDS, UNTUNED, TriedLabels, at_end, begin, decide, fold_settings, folds_of, tried
from icm_engine.core.interventions import AppliedIntervention
from icm_engine.core.labeling import Example, Label, Labeling, Task
from icm_engine.core.objective import Evaluation, Objective
from icm_engine.core.prompting import demonstration, leave_one_out_order, render
from icm_engine.core.sampled_terms import Block, certain_of, estimated_change
from icm_engine.core.scoring import Usage, no_scorer
from icm_engine.core.search import InitialInfo, Reason, RefreshInfo, State, StepInfo, apply, flipped, resolved
from icm_engine.core.settings import SearchConfig
from icm_engine.runs.baseline_run import given_labels, labels_hash
from icm_engine.runs.fork import most_after
from icm_engine.store.bodies import AuditBody, FoldBody, ForkedBody, HandBody, RefreshedBody, RoundOfFoldsBody, StepBody
from icm_engine.store.events import GIVEN, MOVERS, Codec, Cost, decode_hand
from icm_engine.store.replay import SIMPLE, OpenRun, audit_draw, audited_places, open_run, state_at
from icm_engine.store.store import Event, Store

Due = Callable[[State], tuple[Reason, int] | None]
Planned = Callable[[State, int], tuple[Block, tuple[int, ...]]]
OF_FOLDS = ("fold", "round")  # events of a search with folds
OF_OTHERS = ("initial", "labelled", "step", "refreshed")  # and of other sources
TOLERANCE = 1e-9  # relative: sums of floats, taken in another order


def close(one: float, other: float) -> bool:
    """Whether two numbers are equal up to the order of summation."""
    return isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


class Prompts:
    """The prompts of a search by their hashes; every example is rendered once with each label."""

    def __init__(self, task: Task, examples: Sequence[Example]) -> None:
        self._task, self._examples = task, examples
        self._shown: dict[tuple[int, Label], bytes] = {}

    def sha256(self, state: State, i: int, placed: bool) -> str:
        """Return the hash of the prompt about example i: in the block's order, that of an evaluation, or slot order."""
        labeling = state.labeling
        if state.block is not None:
            order = tuple(j for j in state.block.order(i) if j in labeling)
        elif placed:
            order = leave_one_out_order(tuple(labeling) if i in labeling else (*labeling, i), i)
        else:
            order = tuple(j for j in labeling if j != i)
        shown = b"".join([self._demonstration(j, labeling[j]) for j in order])
        return hashlib.sha256(shown + render(self._task, self._examples[i]).encode()).hexdigest()

    def _demonstration(self, j: int, label: Label) -> bytes:
        if (j, label) not in self._shown:
            pieces = demonstration(render(self._task, self._examples[j]), label)
            self._shown[j, label] = "".join(pieces).encode()
        return self._shown[j, label]


def before_problems(info: StepInfo, body: StepBody, state: State) -> Iterator[str]:
    """The evaluation before a step must be that of the accepted labeling or, if paired, have its pairs."""
    if set(info.before.pairs) != set(state.evaluation.pairs) or len(info.before.pairs) != len(state.evaluation.pairs):
        yield f"has {len(info.before.pairs)} inconsistent pairs before, the accepted labeling other ones"
    names = ("inconsistency",) if info.paired else ("inconsistency", "mutual_predictability", "weighted_predictability")
    for name in names:
        if getattr(info.before, name) != getattr(state.evaluation, name):
            said, has = getattr(info.before, name), getattr(state.evaluation, name)
            yield f"{name.replace('_', ' ')} before is {said}, the accepted labeling has {has}"
    known = state.evaluation.label_mass
    masses = {"before": body["before"]["label_mass"]}
    if info.after is not None and info.verdict == "unchanged":
        masses["after"] = mass_after(body)
    for name, mass in masses.items():
        if not info.paired and not close(mass, known):
            yield f"label mass {name} is {mass}, the accepted labeling has {known}"


def mass_after(body: StepBody) -> float:
    """Return the label mass of the proposal of a step that scored one."""
    assert body["after"] is not None
    return body["after"]["label_mass"]


def evaluation_problems(name: str, said: Evaluation, mass: float, objective: Objective) -> Iterator[str]:
    """The parts of an evaluation must agree where the log has no log-probabilities for it."""
    if not close(said.weighted_predictability, objective.alpha * said.mutual_predictability):
        yield f"weighted predictability {name} is not alpha times P"
    if not close(said.inconsistency, objective.pair_weight * len(said.pairs)):
        yield f"inconsistency {name} is {said.inconsistency}, for {len(said.pairs)} pairs"
    if not 0 <= mass <= 1 + TOLERANCE:  # 0: too small for a float
        yield f"label mass {name} is {mass}, which is no probability"


def pairs_problems(info: StepInfo, after: Evaluation, state: State, objective: Objective) -> Iterator[str]:
    """The inconsistent pairs of a proposal, rejected ones included, must be those of its labels.

    A proposal that changes nothing has the evaluation before it, which is in `before` unless the step was paired.
    """
    if (
        info.verdict == "unchanged"
        and not info.paired
        and after.mutual_predictability != info.before.mutual_predictability
    ):
        yield "changes no label, and has another P after than before"
    found = objective.rule.conflicts(flipped(state.labeling, info.flips))
    if sorted(after.pairs) != sorted(found):
        yield f"has {len(after.pairs)} inconsistent pairs after, its labels have {len(found)}, or other ones"


def refresh_problems(info: RefreshInfo, body: RefreshedBody, state: State, due: Due, planned: Planned) -> Iterator[str]:
    """A new block must be the one that the state, the rule and the seed give, when one is due.

    `due` says whether and why the state needs another block; `planned` returns the block of a size after a state.
    """
    if body["step"] != state.step:
        yield f"follows step {body['step']}, the log has {state.step} before it"
    if info.why in ("larger", "memory", "end"):
        size = 2 * state.block.size if state.block is not None and info.why == "larger" else 0
    else:
        wanted = due(state)
        if wanted is None or wanted[0] != info.why:
            yield f"has the reason {info.why!r}, its state gives {wanted[0] if wanted else 'none'}"
        size = wanted[1] if wanted else 0
    last = state.exact_utility if state.exact_utility is not None else state.evaluation.utility
    if info.exact is not None:
        changes = state.evaluation.utility - last, info.exact.utility - last
        if changes != (info.estimated_change, info.exact_change):
            yield f"says that U changed by {info.estimated_change} and {info.exact_change}, its log gives {changes}"
        state = replace(apply(state, replace(info, block=None)), block=state.block)
    if info.block is None:
        return
    found, asked = planned(state, size)
    for name in ("number", "size", "prefix", "front", "sample"):
        if getattr(info.block, name) != getattr(found, name):
            yield f"has another {name} in its block than the state, the rule and the seed give"
    read = info.block.read
    if tuple(read) != (*found.read, *asked) or any(read[i] != score for i, score in found.read.items()):
        yield "has scores in its block of other examples than those it goes on with, and those to be drawn"


def estimate_problems(info: StepInfo, state: State, objective: Objective, config: SearchConfig) -> Iterator[str]:
    """An estimated step must say what its sample gives: fully if accepted, else which terms were scored."""
    if bool(config.terms) != (state.block is not None):
        yield f"has {'no' if state.block is None else 'a'} sample of terms against its settings"
    if (info.estimate is None) != (state.block is None or info.after is None):
        yield f"has {'no' if info.estimate is None else 'an'} estimate against its settings"
    if info.estimate is None or state.block is None or info.after is None or info.verdict == "unchanged":
        return
    after = flipped(state.labeling, info.flips)
    if info.estimate.certain != certain_of(state.block, objective.rule, state.labeling, after):
        yield "scored other examples for themselves than its proposal touches"
    if info.too_coarse:
        yield f"has a standard error of {info.estimate.error} at temperature {info.temperature}, which is too large"
    if info.verdict != "accepted":
        return
    then = {**state.block.read, info.example: info.scores, **info.estimate.before}
    change, error, terms, of = estimated_change(objective, state.block, state.labeling, after, then, info.after.scores)
    if not close(info.after.mutual_predictability, state.evaluation.mutual_predictability + change):
        yield f"P after is {info.after.mutual_predictability}, its estimate gives a change of {change}"
    same_terms = (info.estimate.terms, info.estimate.of) == (terms, of)
    if not (same_terms and close(info.estimate.error, objective.alpha * error)):
        yield f"has a standard error of {info.estimate.error} from {info.estimate.terms} terms, its scores give another"


def form_problems(body: Mapping[str, Any], info: StepInfo, codec: Codec, before: Labeling) -> Iterator[str]:
    """A step's body must be exactly its encoded record."""
    bare = replace(info, after=info.after and replace(info.after, scores={}))
    again: Mapping[str, Any] = codec.encode_step(bare, Cost(Usage()), before)
    apart = {"label_mass", "movers", "usage", "prompt_sha256", "scores"}  # checked elsewhere, or unknowable
    for name in body:
        said, found = body[name], again.get(name)
        if name in ("before", "after") and said and found:
            said, found = ({k: v for k, v in d.items() if k != "label_mass"} for d in (said, found))
        if name not in apart and (name not in again or said != found):
            yield f"has {name.replace('_', ' ')} in a form that no step has"
    if (body["scores"] is not None) != (again["scores"] is not None):
        yield "has log-probabilities, or none, against its verdict"


def initial_form_problems(body: Mapping[str, Any], info: InitialInfo, codec: Codec) -> Iterator[str]:
    """The body of the initial event must be exactly its encoded record."""
    again: Mapping[str, Any] = codec.encode_initial(replace(info, after=replace(info.after, scores={})), Cost(Usage()))
    for name in set(again) - {"usage", "scores", "after"}:
        if body[name] != again[name]:
            yield f"has {name.replace('_', ' ')} in a form that no initial labels have"


def undecided_problems(info: StepInfo, body: Mapping[str, Any]) -> Iterator[str]:
    """A step that scored no proposal must not describe one."""
    nothing = {"delta": 0, "accept_probability": 0, "draw": 0, "set_evaluations": 0, "repairs": [], "flips": []}
    for name in (name for name, empty in nothing.items() if body[name] != empty):
        yield f"scored no proposal, and has {name.replace('_', ' ')}"
    if info.verdict != "unchanged" or body["movers"] or body["scores"] or info.paired:
        yield "scored no proposal, and has what only a proposal has"


def movers_problems(body: StepBody, info: StepInfo, state: State, codec: Codec) -> Iterator[str]:
    """The movers must be right: fully where the log has the log-probabilities, else their values before."""
    said, then = body["movers"], state.evaluation.scores
    if not said and info.after is None:
        return
    if info.verdict != "rejected" and not info.paired and info.after is not None:
        now = info.after.scores if info.verdict == "accepted" else then
        known = codec.movers(now, then, flipped(state.labeling, info.flips), state.labeling)
        if said != known:
            yield "the examples that moved most are not what its log-probabilities give"
        return
    places = [codec.index(row["example"]) for row in said]
    if len(set(places)) != len(said) or not set(places) <= set(then) or len(said) != min(MOVERS, len(then)):
        yield "the examples that moved most are not among those labelled before"
        return
    if any(abs(a["after"] - a["before"]) < abs(b["after"] - b["before"]) for a, b in pairwise(said)):
        yield "the examples that moved most are not in order"
    own = {i: codec.own(then[i], state.labeling[i]) for i in places}
    if not info.paired and any(row["before"] != own[i] for i, row in zip(places, said, strict=True)):
        yield "the examples that moved most had other log-probabilities before"


def hand_problems(codec: Codec, body: HandBody, state: State, history: Sequence[AppliedIntervention]) -> Iterator[str]:
    """The recorded changes must be what a person's acts change."""
    info = decode_hand(codec, body, state)
    again = resolved(state, [done.act for done in info.done], history)
    if again.done != info.done or again.flips != info.flips:
        yield "its changes are not what these acts lead to"
    if (info.after is None) != (not info.flips) or body["set_evaluations"] != bool(info.flips):
        yield "scores its labels, or does not, against its label changes"


def data_problems(opened: OpenRun, body: Mapping[str, Any]) -> Iterator[str]:
    """The run must still label what it began with; older logs do not record that."""
    if body.get("data_sha256", opened.data_sha256) != opened.data_sha256:
        yield "began with other texts, or another task, than the data set has now"


def beginning_problems(store: Store, opened: OpenRun, event: Event, state: State) -> Iterator[str]:
    """A fork must begin where its parent stood, and given labels must be as given."""
    if event.kind == "labelled" and opened.spec.source == GIVEN and state.labeling != given_labels(opened):
        yield "its labels are not those that were given"
    if event.kind == "forked" and store.has_run(event.forked["run"]):
        yield from _fork_problems(store, opened, event.forked, state)


def _fork_problems(store: Store, opened: OpenRun, body: ForkedBody, state: State) -> Iterator[str]:
    if (body["run"], body["event"]) != (opened.spec.forked_from, opened.spec.forked_at):
        yield "began elsewhere than its run was forked"
    try:
        parent = open_run(store, body["run"])
        stood = state_at(store, parent, body["event"])
    except IcmError as error:
        yield f"began in run {body['run']!r}, whose log cannot be read ({error})"
        return
    kept = ("labeling", "step", "accepted", "hand")
    if stood is None or any(getattr(stood, name) != getattr(state, name) for name in kept):
        yield f"begins with another state than run {body['run']!r} had after event {body['event']}"
    elif dict(stood.evaluation.scores) != dict(state.evaluation.scores):
        yield f"begins with other log-probabilities than run {body['run']!r} had after event {body['event']}"
    elif state.most != most_after(store, parent, opened.spec, stood):
        yield f"may change {state.most} groups, after event {body['event']} of run {body['run']!r} another number"


def end_problems(event: Event, state: State, config: SearchConfig) -> Iterator[str]:
    """A search must end with its last step and take none after it."""
    if event.kind == "step" and state.step >= config.max_steps > 0:
        yield f"is a step after all {config.max_steps}"
    if event.kind == "refreshed" and event.refreshed["why"] == "end" and state.step < config.max_steps:
        yield f"is an evaluation at the end after {state.step} of {config.max_steps} steps"
    if event.kind == "finished" and state.estimated:
        yield "finished without an exact evaluation of the last labels"
    if event.kind == "finished" and event.finished["steps"] < config.max_steps:
        yield f"finished after {event.finished['steps']} of {config.max_steps} steps"


@dataclass
class FoldsWalk:
    """What a walk through a log with folds keeps: those fitted since the last round, and whether the run has ended."""

    opened: OpenRun
    fitted: list[FoldBody] = field(default_factory=list)
    ended: bool = False
    planned: tuple[State, SearchConfig, TriedLabels] | None = None  # what the next round tries, for which state

    def again(self) -> "FoldsWalk":
        """Return another one with the same contents."""
        return replace(self, fitted=list(self.fitted))

    def problems(self, event: Event, state: State | None, config: SearchConfig) -> Iterator[str]:
        """The folds, rounds and end of a log must be those that its source, seed and predictions give."""
        if (event.kind in OF_FOLDS) != (self.opened.spec.source == FOLDS) and event.kind in (*OF_FOLDS, *OF_OTHERS):
            yield f"is a {event.kind} in a run of source {self.opened.spec.source}"
            return
        if self.opened.spec.source != FOLDS:
            return
        if event.kind in (*OF_FOLDS, "finished"):
            yield from self._end_problems(event, state, config)
        if event.kind == "hand" and event.hand["flips"]:
            yield "changes labels, whose U no fold predicts"
        if event.kind == "fold":
            yield from self._fold_problems(event.fold, state, config)
            self.fitted.append(event.fold)
        if event.kind == "round":
            yield from self._round_problems(event.round, state, config)
            self.fitted = []

    def _end_problems(self, event: Event, state: State | None, config: SearchConfig) -> Iterator[str]:
        over = state is not None and at_end(state, self._proposal(state, config), config)
        if event.kind == "finished" and not over:
            yield "finished before the last round"
        if event.kind != "finished" and (over or self.ended):
            yield f"is a {event.kind} after the last round"
        self.ended = self.ended or event.kind == "finished"

    def _proposal(self, state: State, config: SearchConfig) -> TriedLabels:
        if self.planned is None or self.planned[0] is not state or self.planned[1] != config:
            self.planned = state, config, tried(state, self.opened.objective(config, no_scorer()), config)
        return self.planned[2]

    def _wanted(self, state: State | None, config: SearchConfig) -> tuple[str, dict[int, tuple[int, ...]]]:
        """The hash of the labels that the next round tries, and the places of each fold that it needs."""
        settings, examples = fold_settings(self.opened.spec.source_options, config.seed), self.opened.dataset.examples
        if state is None:
            return "", {UNTUNED: tuple(range(len(examples)))} if settings.start == "zero-shot" else {}
        folds = folds_of(examples, settings.folds, config.seed)
        return labels_hash(self._proposal(state, config).labeling), dict(enumerate(folds, 1))

    def _fold_problems(self, body: FoldBody, state: State | None, config: SearchConfig) -> Iterator[str]:
        labels, folds = self._wanted(state, config)
        if body["labels"] != labels:
            yield "was tuned on other labels than the next round tries"
            return
        done = [fold["fold"] for fold in self.fitted if fold["labels"] == labels]
        if body["fold"] != (due := next((number for number in folds if number not in done), None)):
            yield f"is fold {body['fold']}, where {due} is due"
            return
        again = fold_form(body, self.opened, folds[body["fold"]], 0 if state is None else state.step + 1, config)
        yield from _unlike(body, again, "fold")
        scores = self.opened.codec.decode_fold(body)
        if not all(isfinite(value) and value <= TOLERANCE for score in scores.values() for value in score.raw):
            yield "has log-probabilities that are none"

    def _round_problems(self, body: RoundOfFoldsBody, state: State | None, config: SearchConfig) -> Iterator[str]:
        labels, folds = self._wanted(state, config)
        codec, objective = self.opened.codec, self.opened.objective(config, no_scorer())
        mine = [fold for fold in self.fitted if fold["labels"] == labels]
        if {fold["fold"] for fold in mine} != set(folds):
            yield f"comes after {len(mine)} of {len(folds)} folds of the labels that it tries"
            return
        scores = {i: score for fold in mine for i, score in codec.decode_fold(fold).items()}
        if state is None:
            now, info = begin(objective, config, scores or None)
        else:
            now, info = decide(state, self._proposal(state, config), scores, objective, config)
        sha256 = body["data_sha256"] if state is None else None  # `data_problems` judges that of round 0
        yield from _unlike(body, codec.encode_round(info, now, sha256), "round")
        if dict(codec.unpack(body["scores"], now.labeling)) != dict(now.evaluation.scores):
            yield "has other log-probabilities than its folds, or the round that it goes on from"


def fold_form(body: FoldBody, opened: OpenRun, held_out: Sequence[int], number: int, config: SearchConfig) -> FoldBody:
    """Return what a fold must say; what only the model can tell (scores, usage, tokens and losses) is taken from it."""
    rows = len(opened.dataset.examples) - len(held_out)
    found: FoldBody = {
        **body,
        "round": number,
        "held_out": [opened.codec.ids[i] for i in held_out],
        "rows": rows,
        "set_evaluations": 0,
    }
    if not rows or opened.spec.model == "fake":  # nothing was tuned
        return {**found, "steps": 0, "tokens": 0, "first_loss": None, "last_loss": None}
    tuning = fold_settings(opened.spec.source_options, config.seed).tuning
    return {
        **found,
        "steps": tuning.epochs * ceil(rows / tuning.batch_size),
        "tokens": tuning.epochs * max(rows, body["tokens"] // tuning.epochs),
        "first_loss": abs(body["first_loss"] or 0.0),
        "last_loss": abs(body["last_loss"] or 0.0),
    }


def _unlike(body: Mapping[str, Any], again: Mapping[str, Any], what: str) -> Iterator[str]:
    """Name the parts of a body that differ from what its log gives; the packed log-probabilities are compared apart."""
    for name in dict.fromkeys((*body, *again)):
        if name not in body or name not in again or (name != "scores" and not _alike(body[name], again[name])):
            yield f"has another {name.replace('_', ' ')} than its log gives, or {what}s have none"


def _alike(one: Any, other: Any) -> bool:
    """Whether two parts of bodies are equal, numbers with decimals up to the order of summation."""
    if isinstance(one, float) and isinstance(other, float):
        return close(one, other)
    if type(one) is not type(other) or not isinstance(one, list | dict):
        return type(one) is type(other) and bool(one == other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_alike(value, other[key]) for key, value in one.items())
    return len(one) == len(other) and all(map(_alike, one, other))


@dataclass
class Audited:
    """What a walk through a log keeps for the audits in it: the labels after the events that they are about."""

    wanted: frozenset[int]
    states: dict[int, State] = field(default_factory=dict)
    said: dict[int, list[AuditBody]] = field(default_factory=dict)  # by audit, the first answer to each question

    @property
    def latest(self) -> int:
        """The number of the latest audit that has answers."""
        return max((number for number, said in self.said.items() if said), default=0)

    def again(self) -> "Audited":
        """Return another one with the same contents."""
        return Audited(self.wanted, dict(self.states), {number: list(said) for number, said in self.said.items()})

    def reach(self, number: int, state: State | None) -> None:
        """Keep the state after an event if an audit is about it."""
        if number in self.wanted and state is not None:
            self.states[number] = state


def audit_problems(body: AuditBody, opened: OpenRun, audited: Audited) -> Iterator[str]:
    """An audit must ask about the examples that its seed draws among the labels that it is about."""
    state, before = audited.states.get(body["after"]), audited.said.setdefault(body["audit"], [])
    if state is None:
        yield f"audits the labels after event {body['after']}, which has none or comes later"
        return
    if body["audit"] not in (max(1, audited.latest), audited.latest + 1):
        yield f"belongs to audit {body['audit']}, where {audited.latest} is the latest"
    if before and any(body[name] != before[0][name] for name in ("after", "seed", "design")):
        yield f"is about other labels than the first answer of audit {body['audit']}, or of another design"
    places = audited_places(opened, state.labeling, state.hand.pins)
    if body["design"] != SIMPLE or not 1 <= body["number"] <= min(len(before) + 1, len(places)):
        yield f"is question {body['number']} of design {body['design']!r}, where {len(before)} are answered"
        return
    place = places[audit_draw(body["seed"], len(places), body["number"])]
    if body["example"] != opened.codec.ids[place]:
        yield f"asks about {body['example']!r}, the seed draws {opened.codec.ids[place]!r}"
    if body["label"] != state.labeling[place]:
        yield f"says that the label was {body['label']!r}, it was {state.labeling[place]!r}"
    if body["probability"] != 1 / (len(places) - body["number"] + 1):
        yield f"was drawn with another probability than {body['probability']}"
    if body["answer"] not in (None, *opened.dataset.task.labels):
        yield f"has the answer {body['answer']!r}, which is no label"
    if body["number"] == len(before) + 1:
        before.append(body)
