"""What happens to a run beside its steps, to and from JSON: a person's hand, other settings, a whole state.

A whole state is how a fork begins, and what a snapshot keeps.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from icm_engine.core.breakpoints import Breakpoints
from icm_engine.core.hand import Act, Change, Done, Hand, Mark
from icm_engine.core.labeling import Labeling
from icm_engine.core.search import HandInfo, State, TuneInfo, apply
from icm_engine.core.settings import SearchConfig
from icm_engine.runs.events import Codec, Cost, Json

# settings that can change while a run is on its way; the others would make the steps before them another algorithm's
RETUNABLE = ("alpha", "initial_temperature", "final_temperature", "cooling_rate", "neighbour_weight")


def encode_hand(codec: Codec, info: HandInfo, state: State, cost: Cost) -> Json:
    """Return the body of a `hand` event; `state` is the one before it."""
    return {
        "step": state.step,
        "acts": [_encode_done(codec, done) for done in info.done],
        "flips": [codec.encode_flip(flip) for flip in info.flips],
        "after": codec.encode_evaluation(info.after) if info.after else None,
        "scores": codec.pack(info.after.scores) if info.after else None,
        "set_evaluations": info.set_evaluations,
        "usage": asdict(cost.usage),
    }


def decode_hand(codec: Codec, body: Json, state: State) -> HandInfo:
    """Return the record of a `hand` event; `state` is the one before it."""
    info = HandInfo(tuple(decode_done(codec, done) for done in body["acts"]), codec.decode_flips(body))
    if body["after"] is None:
        return info
    order = apply(state, replace(info, after=state.evaluation)).labeling  # the order that the scores were packed in
    after = codec.decode_evaluation(body["after"], codec.unpack(body["scores"], order))
    return replace(info, after=after, set_evaluations=body["set_evaluations"])


def _encode_done(codec: Codec, done: Done) -> Json:
    return {
        "verb": done.act.verb,
        "examples": [codec.ids[i] for i in done.act.examples],
        "labels": list(done.act.labels),
        "text": done.act.text,
        "changes": [
            {"example": codec.ids[c.example], "before": asdict(c.before), "after": asdict(c.after)}
            for c in done.changes
        ],
    }


def decode_done(codec: Codec, body: Json) -> Done:
    """Return one act with what it changed."""
    changes = tuple(Change(codec.index(c["example"]), Mark(**c["before"]), Mark(**c["after"])) for c in body["changes"])
    return Done(decode_act(codec, body), changes)


def decode_act(codec: Codec, body: Json) -> Act:
    """Return what a person did, from an event's or a command's body. Raises KeyError for an unknown example."""
    examples = tuple(codec.index(example) for example in body.get("examples", []))
    return Act(body["verb"], examples, tuple(body.get("labels", [])), body.get("text", ""))


def encode_tune(codec: Codec, info: TuneInfo, state: State) -> Json:
    """Return the body of a `retuned` event."""
    return {"step": state.step, "settings": dict(info.settings), "after": codec.encode_evaluation(info.after)}


def decode_tune(codec: Codec, body: Json, state: State) -> TuneInfo:
    """Return the record of a `retuned` event; the log-probabilities are those of the state before it."""
    return TuneInfo(body["settings"], codec.decode_evaluation(body["after"], state.evaluation.scores))


def encode_state(codec: Codec, state: State) -> Json:
    """Return a whole state: the body of a `forked` event, and of a snapshot."""
    return {
        "step": state.step,
        "accepted": state.accepted,
        "labels": [[codec.ids[i], label] for i, label in state.labeling.items()],
        "after": codec.encode_evaluation(state.evaluation),
        "scores": codec.pack(state.evaluation.scores),
        "hopeless": [[codec.ids[i], codec.ids[j]] for i, j in sorted(state.hopeless)],
        "pins": [codec.ids[i] for i in sorted(state.hand.pins)],
        "notes": {codec.ids[i]: note for i, note in state.hand.notes.items()},
        "since": [state.since[pair] for pair in state.evaluation.pairs],
    }


def decode_state(codec: Codec, body: Json) -> State:
    """Return the state that `encode_state` wrote down."""
    labeling = Labeling({codec.index(example): label for example, label in body["labels"]})
    evaluation = codec.decode_evaluation(body["after"], codec.unpack(body["scores"], labeling))
    return State(
        labeling, evaluation, body["step"], body["accepted"],
        frozenset((codec.index(a), codec.index(b)) for a, b in body["hopeless"]),
        Hand(frozenset(map(codec.index, body["pins"])), {codec.index(k): v for k, v in body["notes"].items()}),
        dict(zip(evaluation.pairs, body["since"], strict=True)),
        codec.version,
    )  # fmt: skip


def breakpoints_of(body: Json) -> Breakpoints:
    """Return the breakpoints of a command or an event."""
    return Breakpoints(tuple(body["flips"]), body["utility_falls"], body["inconsistent_for"])


def tuned(config: SearchConfig, settings: Mapping[str, Any]) -> SearchConfig:
    """Return the settings in force after a retuning."""
    return replace(config, **settings)
