"""A run whose labels come from elsewhere than a search: at once from a label source or its spec, or by folds."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, cast

from icm_engine.baselines.generation import GenerationUsage
from icm_engine.baselines.label_sources import FROM_GIVEN, Labelled, label_by, label_from
from icm_engine.baselines.llm_judge import CHAT_SOURCES, Chat, JudgedLabels, label_by_chat
from icm_engine.core.errors import SettingError
from icm_engine.core.folds import (
    UNTUNED,
    Fit,
    Fitter,
    TriedLabels,
    at_end,
    begin,
    decide,
    fold_settings,
    folds_of,
    tried,
    untuned,
)
from icm_engine.core.labeling import Labeling
from icm_engine.core.objective import Objective
from icm_engine.core.rng import random_of, sample
from icm_engine.core.scoring import Usage, no_scorer
from icm_engine.core.search import State
from icm_engine.core.settings import SearchConfig
from icm_engine.store.bodies import FoldBody, LabelledBody, RoundBody
from icm_engine.store.events import GIVEN, encode_state, encode_usage
from icm_engine.store.replay import OpenRun, config_at
from icm_engine.store.store import Store


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


# -- folds


class Found(NamedTuple):
    """An event to append, and the state after it (None: as before)."""

    kind: str
    body: Mapping[str, Any]
    state: State | None


@dataclass
class FoldsRun:
    """A search with folds: one fit after the other, each an event of its own, so that a killed run repeats one fit."""

    store: Store
    opened: OpenRun
    _planned: tuple[State, SearchConfig, TriedLabels] | None = None  # what was worked out last, and for which state

    def next(self, state: State | None, objective: Objective, config: SearchConfig, fitter: Fitter) -> Found | None:
        """Fit one fold, or end a round whose folds are all fitted; None if a person asked to pause or stop meanwhile.

        Raises IcmError.
        """
        settings = fold_settings(self.opened.spec.source_options, config.seed)
        if state is None:
            if settings.start == "zero-shot" and not self.fitted(""):
                return self._fold(untuned(objective), 0, UNTUNED, "")
            return self._round(None, "", objective, config)
        proposal = self.proposal(state, config)
        folds = folds_of(objective.examples, settings.folds, config.seed)
        labels = labels_hash(proposal.labeling)
        done = [body["fold"] for body in self.fitted(labels)]
        if left := [number for number in range(1, len(folds) + 1) if number not in done]:
            held_out = folds[left[0] - 1]
            shown = Labeling({i: y for i, y in proposal.labeling.items() if i not in held_out})
            fit = fitter.fit(shown, held_out)
            return None if fit is None else self._fold(fit, state.step + 1, left[0], labels)
        return self._round(state, labels, objective, config)

    def proposal(self, state: State, config: SearchConfig) -> TriedLabels:
        """Return the labels that the next round tries."""
        known = self._planned
        if known is None or known[0] is not state or known[1] != config:
            objective = self.opened.objective(config, no_scorer())
            known = self._planned = state, config, tried(state, objective, config)
        return known[2]

    def fitted(self, labels: str) -> list[FoldBody]:
        """Return the folds of the round in progress that were fitted to these labels."""
        last = self.store.last_event(self.opened.name, ("round", "forked"))
        found = self.store.read_after(self.opened.name, last.number if last else 0, ("fold",))
        return [event.fold for event in found if event.fold["labels"] == labels]

    def at_end(self, state: State) -> bool:
        """Say whether no round is left."""
        config = config_at(self.store, self.opened, self.store.last_number(self.opened.name))
        return at_end(state, self.proposal(state, config), config)

    def _fold(self, fit: Fit, number: int, fold: int, labels: str) -> Found:
        return Found("fold", self.opened.codec.encode_fold(fit, number, fold, labels), None)

    def _round(self, state: State | None, labels: str, objective: Objective, config: SearchConfig) -> Found:
        folds, codec = self.fitted(labels), self.opened.codec
        scores = {i: score for body in folds for i, score in codec.decode_fold(body).items()}
        if state is None:
            now, info = begin(objective, config, scores or None)
        else:
            now, info = decide(state, self.proposal(state, config), scores, objective, config)
        return Found("round", codec.encode_round(info, now, None if state else self.opened.data_sha256), now)


def labels_hash(labeling: Labeling) -> str:
    """Return the hash of labels in their order, by which a fold is known to belong to them."""
    return hashlib.sha256(json.dumps(list(labeling.items()), ensure_ascii=False).encode()).hexdigest()
