"""Cards of events other than steps: initial labels, a person's acts, changed settings, exact evaluations, forks."""

from collections.abc import Sequence
from dataclasses import dataclass

from icm_engine.analysis.formatting import decimal, one_line
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.step_card import RepairLine, Terms, repairs, terms
from icm_engine.analysis.time_travel import Moment
from icm_engine.analysis.views import ExampleView, shown
from icm_engine.baselines.llm_judge import EXPLANATIONS
from icm_engine.core.interventions import AppliedIntervention, ExampleState
from icm_engine.core.labeling import Label
from icm_engine.core.objective import Evaluation
from icm_engine.core.search import Reason
from icm_engine.store.bodies import (
    EvaluationBody,
    ForkedBody,
    HandBody,
    InitialBody,
    LabelledBody,
    RefreshedBody,
    RoundBody,
)
from icm_engine.store.events import Json, decode_done

VERBS = {
    "pin": "Pinned", "override": "Relabelled", "unpin": "Unpinned", "note": "Noted", "undo": "Took back",
    "redo": "Did again", "blind": "Hid gold", "unblind": "Showed gold again",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChangedExample:
    """One example that an event touched: its label before and after, and what was done, in words."""

    example: ExampleView
    old: Label | None
    new: Label | None
    words: str


@dataclass(frozen=True, slots=True)
class EventCard:
    """An event between two steps: what happened, the examples it touched, U before and after."""

    kind: str
    step: int
    event: int
    title: str
    sentences: tuple[str, ...]
    changed: tuple[ChangedExample, ...]
    repairs: tuple[RepairLine, ...]
    before: Terms | None
    after: Terms
    parent: dict[str, str]  # the run and step a fork came from; empty for other events


def event_card(reading: Reading, moment: Moment) -> EventCard:
    """Return the card of an event that is not a step."""
    make = {
        "initial": _initial,
        "hand": _hand,
        "retuned": _retuned,
        "refreshed": _refreshed,
        "forked": _forked,
        "labelled": _labelled,
    }[moment.event.kind]
    title, sentences, changed = make(reading, moment)
    after: EvaluationBody | None = moment.event.body["after"]  # every kind that has a card has one
    before = None if moment.before is None else _terms_of(moment.before.evaluation)
    return EventCard(
        moment.event.kind,
        moment.state.step,
        moment.event.number,
        title,
        tuple(sentences),
        tuple(changed),
        repairs(reading, moment.event.initial["repairs"]) if moment.event.kind == "initial" else (),
        before,
        terms(after) if after else _terms_of(moment.state.evaluation),
        _origin(moment.event.forked) if moment.event.kind == "forked" else {},
    )


def _origin(body: ForkedBody) -> dict[str, str]:
    """The address of the event that a fork began at."""
    return {"run": body["run"], "event": str(body["event"])}


Made = tuple[str, Sequence[str], Sequence[ChangedExample]]


def _initial(reading: Reading, moment: Moment) -> Made:
    body, labeling = moment.event.initial, moment.state.labeling
    drawn = {row["example"]: row["label"] for row in body["drawn"]}
    names = dict.fromkeys((*drawn, *(flip["example"] for flip in body["flips"])))
    found = []
    for name in names:
        example = shown(reading, name)
        found.append(_started(example, drawn.get(name), labeling.get(example.place)))
    asked = reading.run.spec.search.initial_draw.replace("-", " ")
    said = f"{len(drawn):,} random examples were labelled at random ({asked}), then repaired."
    return "Initial labels", [said, _cost(body)], found


def _started(example: ExampleView, drawn: Label | None, label: Label | None) -> ChangedExample:
    words = "drawn" if drawn == label else f"drawn {drawn}, repaired" if drawn else "repaired"
    return ChangedExample(example, None, label, words)


def _hand(reading: Reading, moment: Moment) -> Made:
    done = [decode_done(reading.run.codec, body) for body in moment.event.hand["acts"]]
    ids, changes = reading.run.codec.ids, [change for entry in done for change in entry.changes]
    found = [
        ChangedExample(shown(reading, ids[c.example]), c.before.label, c.after.label, _touched(c.before, c.after))
        for c in changes
    ]
    scored = _cost(moment.event.hand) if moment.event.hand["after"] else "No label changed: nothing was scored."
    return "A person's hand", [*map(act_words, done), scored], found


def act_words(done: AppliedIntervention) -> str:
    """Say what a person did, and to how many examples it applied."""
    if done.act.verb in ("blind", "unblind"):
        return f"{VERBS[done.act.verb]}."
    count = len(done.changes)
    touched = "nothing changed" if not count else "1 example" if count == 1 else f"{count:,} examples"
    return f"{VERBS[done.act.verb]}: {touched}."


def _touched(before: ExampleState, after: ExampleState) -> str:
    """What happened to an example, in words."""
    said = []
    if before.label != after.label:
        said.append(f"label {before.label or 'none'} → {after.label or 'none'}")
    if before.pinned != after.pinned:
        said.append("pinned" if after.pinned else "unpinned")
    if before.note != after.note:
        said.append(f"note: {one_line(after.note, 80)}" if after.note else "note removed")
    return ", ".join(said)


def _retuned(reading: Reading, moment: Moment) -> Made:
    said = [
        f"{name.replace('_', ' ')}: {getattr(moment.config, name):g} → {value:g}"
        for name, value in moment.event.retuned["settings"].items()
    ]
    return "Other settings", [*said, "Labels and log-probabilities stayed; U was recomputed."], ()


def _refreshed(_: Reading, moment: Moment) -> Made:
    body = moment.event.refreshed
    said = []
    if body["after"]:
        changes = f"{decimal(body['estimated_change'], 2)} by estimates, {decimal(body['exact_change'], 2)} exactly"
        said = [f"All terms of U were scored. U had changed since the last time by {changes}."]
    if body["block"]:
        terms = len(body["block"]["sample"])
        said.append(
            f"The next steps estimate changes of U from a new sample of {terms:,} terms: {DRAWN_FOR[body['why']]}."
        )
    return "An exact evaluation" if body["after"] else "Another sample", [*said, _cost(body)], ()


DRAWN_FOR: dict[Reason, str] = {
    "first": "it is the first one",
    "next": "the last one has served its number of steps",
    "exact": "U was evaluated exactly",
    "drawn": "the next example to be drawn was among those that stay in place",
    "larger": "the standard error of the last proposal was too large for the temperature",
    "memory": "the model reads fewer tokens per call, since memory ran out",
    "end": "all steps are taken",
}


def _forked(reading: Reading, moment: Moment) -> Made:
    spec, state = reading.run.spec, moment.state
    said = (
        f"This run began in the state of run {spec.forked_from} after its event {spec.forked_at}: step {state.step:,}, "
        f"{len(state.labeling):,} labels, {len(state.hand.pins):,} pins."
    )
    return "A fork", [said], ()


def _labelled(reading: Reading, moment: Moment) -> Made:
    body = moment.event.labelled
    about = EXPLANATIONS.get(body["source"], body["given_from"])
    said = f"{len(moment.state.labeling):,} labels at once, from the source {body['source']}: {about}."
    return "A label source", [said, *_rounds(body["rounds"]), *_silent(body["verdicts"]), _cost(body)], ()


def _silent(verdicts: Sequence[Json]) -> list[str]:
    """The examples that a judge left without a verdict, in words."""
    without = [verdict["why"] for verdict in verdicts if verdict["label"] is None]
    return [f"No verdict on {len(without):,} of {len(verdicts):,} examples, first: {without[0]}."] if without else []


def _rounds(rounds: Sequence[RoundBody]) -> list[str]:
    balances = [" / ".join(f"{n:,} {label}" for label, n in one["balance"].items()) for one in rounds]
    return [f"Round {k}: {balance}." for k, balance in enumerate(balances)]


def _cost(body: InitialBody | HandBody | LabelledBody | RefreshedBody) -> str:
    usage = body["usage"]
    scored = f"{body['set_evaluations']:,} labelings scored"
    return f"{scored}, {usage['prompts']:,} prompts, {usage['tokens_encoded']:,} tokens."


def _terms_of(evaluation: Evaluation) -> Terms:
    return Terms(
        evaluation.mutual_predictability,
        evaluation.weighted_predictability,
        len(evaluation.pairs),
        evaluation.inconsistency,
        evaluation.utility,
    )


def change_words(card: EventCard) -> str:
    """Say how the event changed U."""
    if card.before is None:
        return f"U begins at {decimal(card.after.utility, 2)}."
    return f"U went from {decimal(card.before.utility, 2)} to {decimal(card.after.utility, 2)}."
