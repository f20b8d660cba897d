"""A run whose labels come at once: from a label source that asks the model, or from its spec."""

from collections import Counter
from dataclasses import asdict
from typing import cast

from icm_engine.baselines.generation import GenerationUsage
from icm_engine.baselines.label_sources import FROM_GIVEN, Labelled, label_by, label_from
from icm_engine.baselines.llm_judge import CHAT_SOURCES, Chat, JudgedLabels, label_by_chat
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Labeling
from icm_engine.core.objective import Objective
from icm_engine.core.rng import random_of, sample
from icm_engine.core.scoring import Usage
from icm_engine.core.search import State
from icm_engine.core.settings import SearchConfig
from icm_engine.store.bodies import LabelledBody, RoundBody
from icm_engine.store.events import GIVEN, encode_state, encode_usage
from icm_engine.store.replay import OpenRun


def label_at_once(
    opened: OpenRun, objective: Objective, config: SearchConfig, chat: Chat
) -> tuple[State, LabelledBody]:
    """Return the state after a run's label source, and the body of its `labelled` event. Raises IcmError.

    U of the labels is scored as a search scores its own, so that all sources can be compared without gold; the cost of
    that evaluation is counted separately from that of the labels.
    """
    spec, used = opened.spec, objective.scorer.usage
    judged = JudgedLabels(Labelled(Labeling()))
    if spec.source == GIVEN:
        found = Labelled(given_labels(opened))
    elif spec.source in FROM_GIVEN:
        found = label_from(spec.source, objective, given_labels(opened), spec.source_options)
    elif spec.source in CHAT_SOURCES:
        judged = label_by_chat(spec.source, objective, config.seed, spec.source_options, chat)
        found = judged.labelled
    else:
        found = label_by(spec.source, objective, config.seed, spec.source_options)
    scored = objective.scorer.usage - used
    evaluation = objective.evaluate(found.labeling)
    state = State(Labeling(), evaluation).relabelled(found.labeling, evaluation, step=0)
    body = {
        "source": spec.source,
        "options": spec.source_options,
        "given_from": spec.given_from,
        "rounds": [_round(labeling) for labeling in found.rounds],
        "set_evaluations": found.set_evaluations,
        "verdicts": [asdict(verdict) for verdict in judged.verdicts],
        "usage": encode_usage(scored + _as_usage(judged.usage)),
        "utility_usage": encode_usage(objective.scorer.usage - used - scored),
        **encode_state(opened.codec, state),
    }
    return state, cast(LabelledBody, body)


def _as_usage(usage: GenerationUsage) -> Usage:
    """Generation requests as prompts, and all tokens read or generated as tokens seen by the model."""
    tokens = usage.tokens_read + usage.tokens_generated
    return Usage(usage.requests, tokens, tokens)


def given_labels(opened: OpenRun) -> Labeling:
    """Return the labels in a run's spec, in data set order. Raises SettingError.

    With the option `shuffled` their slots are in random order, by the seed: U varies with the order alone.
    """
    places = {opened.codec.ids[i]: i for i in range(len(opened.dataset.examples))}
    given, known = opened.spec.given or {}, opened.dataset.task.labels
    if not given:
        raise SettingError(f"run {opened.name!r} has source {opened.spec.source} and no labels: give some (given)")
    if unknown := next((example for example, label in given.items() if label not in known), None):
        raise SettingError(f"label {given[unknown]!r} of example {unknown!r} does not exist: use {', '.join(known)}")
    order = [example for example in places if example in given]
    if opened.spec.source_options.get("shuffled"):
        rng = random_of(opened.spec.search.seed, 0)
        order = [order[k] for k in sample(rng, len(order), len(order))]
    return Labeling({places[example]: given[example] for example in order})


def _round(labeling: Labeling) -> RoundBody:
    """What is stored of a round: how many labels, and of which."""
    return {"labelled": len(labeling), "balance": dict(Counter(labeling.values()))}
