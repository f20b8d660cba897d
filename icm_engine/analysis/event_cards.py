"""Cards of events other than steps: initial labels, rounds and their fits, a person's acts, changed settings, forks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from icm_engine.analysis.formatting import count, counted, decimal, duration, one_line, percent
from icm_engine.analysis.run_history import FitRow, Reading, RoundRow, round_row
from icm_engine.analysis.status_tiles import Tile, next_words
from icm_engine.analysis.step_card import RepairLine, Terms, repairs, terms
from icm_engine.analysis.time_travel import Moment
from icm_engine.analysis.views import ExampleView, shown
from icm_engine.baselines.llm_judge import EXPLANATIONS
from icm_engine.core.folds import UNTUNED, Scores
from icm_engine.core.interventions import AppliedIntervention, ExampleState
from icm_engine.core.labeling import Label, Labeling
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
from icm_engine.store.store import Store

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
        f"This run began in the state of run {spec.forked_from} after its event {spec.forked_at}: {reading.unit} "
        f"{state.step:,}, "
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


# -- rounds of a search with folds


@dataclass(frozen=True, slots=True)
class RoundCard:
    """A round: the labels that it tried, U before and as predicted anew, the verdict, and the fits it took."""

    row: RoundRow
    tiles: tuple[Tile, ...]
    sentences: tuple[str, ...]
    changed: tuple[ChangedExample, ...]
    repairs: tuple[RepairLine, ...]
    before: Terms | None
    tried: Terms
    fits: tuple[FitRow, ...]


def round_card(store: Store, reading: Reading, moment: Moment) -> RoundCard:
    """Return the card of a `round` event; reads the events of its fits."""
    body = moment.event.round
    fits = fits_of(reading, moment)
    row = round_row(body, moment.event.number, moment.event.seconds + sum(fit.seconds for fit in fits))
    scores = {i: score for fit in fits for i, score in _scores(store, reading, fit).items()}
    return RoundCard(
        row,
        _round_tiles(row),
        (*_round_sentences(row, fits), f"{_upper(next_words(reading, row))}.", _cost_of_fits(fits, row)),
        tuple(
            _tried(reading, flip["example"], flip["old"], flip["new"], flip["cause"], scores) for flip in body["flips"]
        ),
        repairs(reading, body["repairs"]),
        terms(body["before"]) if body["before"] else None,
        terms(body["tried"]),
        fits,
    )


def fits_of(reading: Reading, moment: Moment) -> tuple[FitRow, ...]:
    """Return the fits that a round counted: the last to each of its folds before its event."""
    number, event = moment.state.step, moment.event.number
    found = [fit for fit in reading.fits if fit.round == number and fit.event < event]
    return tuple(fit for fit in found if fit.labels == found[-1].labels)


def _tried(
    reading: Reading, name: str, old: Label | None, new: Label | None, cause: str, scores: Scores
) -> ChangedExample:
    example = shown(reading, name)
    known = scores.get(example.place)
    if known is None or new is None:
        return ChangedExample(example, old, new, cause)
    share = percent(math.exp(known.normalized[reading.tally.labels.index(new)]))
    return ChangedExample(example, old, new, f"{cause}, predicted with {share}")


def _round_tiles(row: RoundRow) -> tuple[Tile, ...]:
    changed = f"in {counted(row.groups, 'group')}" if row.number else "all of them"
    return (
        Tile("U before", decimal(row.before, 2), "", "U of the labels kept so far, by the models tuned on them."),
        Tile("U tried", decimal(row.tried, 2), "", "U of the labels tried, by the models tuned on them."),
        Tile("Change of U", decimal(row.delta, 2), "", "Above 0: the labels are kept. Chance plays no part."),
        Tile("Labels changed", f"{row.changed:,}", changed, "Compared with the labels kept so far."),
    )


def _round_sentences(row: RoundRow, fits: Sequence[FitRow]) -> list[str]:
    if not row.number and not fits:
        return ["The labels to start from were drawn at random, then repaired. No model has read them yet."]
    if not row.number:
        return [
            "The labels to start from: those that stand out in the predictions of the untuned model, then repaired. U "
            "by these predictions is not comparable with that of later rounds."
        ]
    if row.before is None:
        return ["It tried the labels of round 0 as they were, and kept them: no tuned model had given a U before."]
    changes = f"{counted(row.changed, 'label')} in {counted(row.groups, 'group')}"
    said = f"It changed {changes}: those that raise U most if the predictions stayed as they were."
    if row.verdict == "accepted":
        return [said, "Predicted by models tuned on the new labels, U rose: the labels were kept."]
    return [said, "Predicted by models tuned on the new labels, U did not rise: the labels before stayed."]


def _cost_of_fits(fits: Sequence[FitRow], row: RoundRow) -> str:
    tuned, read = sum(fit.tokens for fit in fits), sum(fit.scored for fit in fits)
    many = counted(sum(fit.fold != UNTUNED for fit in fits), "fit")
    return f"{many}, {count(tuned)} tokens tuned on, {count(read)} tokens scored, {duration(row.seconds)}."


def _upper(words: str) -> str:
    return words[:1].upper() + words[1:]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One example held out from a fit: the label tried for it, its probability, and the most probable label."""

    example: ExampleView
    tried: Label | None  # None while the round is in progress
    probability: float | None
    favoured: Label
    favoured_probability: float


def predictions(store: Store, reading: Reading, fit: FitRow, moment: Moment | None = None) -> list[Prediction]:
    """Return what a fit predicted, the labels tried least likely first; `moment` is that of its round, if it ended."""
    labels, ids = reading.tally.labels, reading.run.codec.ids
    given = Labeling() if moment is None else _labels_tried(reading, moment)
    found = []
    for i, score in _scores(store, reading, fit).items():
        shares = [math.exp(value) for value in score.normalized]
        best = max(range(len(shares)), key=shares.__getitem__)
        label = given.get(i)
        share = None if label is None else shares[labels.index(label)]
        found.append(Prediction(shown(reading, ids[i]), label, share, labels[best], shares[best]))
    return sorted(found, key=lambda row: row.favoured_probability if row.probability is None else row.probability)


def _labels_tried(reading: Reading, moment: Moment) -> Labeling:
    before = moment.before.labeling if moment.before else Labeling()
    flips = {reading.run.codec.index(flip["example"]): flip["new"] for flip in moment.event.round["flips"]}
    return Labeling({**before, **{i: label for i, label in flips.items() if label is not None}})


def _scores(store: Store, reading: Reading, fit: FitRow) -> Scores:
    return reading.run.codec.decode_fold(store.event(reading.run.name, fit.event).fold)
