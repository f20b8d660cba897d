"""Algorithm 2: repair of inconsistencies, in a proposal and never in the accepted labels.

This is `ConsistencyFix`, called by lines 2 and 8 of Algorithm 1 in `search` (Wen et al. 2025, arXiv 2506.10139).
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from icm_engine.core.consistency import Pair, Rule
from icm_engine.core.labeling import Label, Labeling
from icm_engine.core.objective import Evaluation, Objective
from icm_engine.core.rng import randbelow
from icm_engine.core.settings import SearchConfig

LabelPair = tuple[Label, Label]
Score = Callable[[Sequence[Labeling]], tuple[Evaluation, list[Evaluation]]]  # as `CachedEvaluator` documents it


@dataclass(frozen=True)
class Option:
    """One consistent pair of labels that a repair tried, and its utility."""

    labels: LabelPair
    utility: float


@dataclass(frozen=True)
class Repair:
    """One round of Algorithm 2: the pair drawn, its labels, every option, and the one taken, if any.

    `withheld` are consistent options that were not tried, since they change a pinned label.
    """

    pair: tuple[int, int]
    labels: LabelPair
    utility: float
    options: tuple[Option, ...]
    taken: LabelPair | None
    withheld: tuple[LabelPair, ...] = ()


@dataclass(frozen=True)
class RepairedLabeling:
    """The labeling after Algorithm 2, and the evaluations before the step and after it, which decide the step."""

    labeling: Labeling
    before: Evaluation
    after: Evaluation
    repairs: tuple[Repair, ...] = ()


class CachedEvaluator:
    """Scores candidate labelings together with the pre-step labeling.

    Separate: each labeling once, in its own orders; the pre-step labeling keeps the score with which it was accepted.
    Paired: all labelings in the same orders, in one walk, so that a delta is free of order noise.
    """

    def __init__(self, objective: Objective, before: Labeling, known: Evaluation, paired: bool = False) -> None:
        self.objective, self.before, self.paired = objective, before, paired
        self.set_evaluations = 0
        self._seen = {before: known}

    def __call__(self, labelings: Sequence[Labeling]) -> tuple[Evaluation, list[Evaluation]]:
        """Return the evaluation of the pre-step labeling, and those of the candidates."""
        if self.paired:
            self._seen = {}
        new = [labeling for labeling in dict.fromkeys((self.before, *labelings)) if labeling not in self._seen]
        groups = [new] if self.paired else [[labeling] for labeling in new]
        for group in groups:
            self._seen.update(zip(group, self.objective.evaluate_together(group), strict=True))
        self.set_evaluations += len(new)
        return self._seen[self.before], [self._seen[labeling] for labeling in labelings]


@dataclass(frozen=True)
class ConsistencyFix:
    """Repairs a labeling: holds the scores, the rule, the settings, and what must not be changed.

    `pins` are examples fixed by a person; `unrepairable` pairs are those that no option helps, which are not drawn
    again until a label changes. With `keep_worse` the best option is kept even if U falls (the authors' code).
    """

    score: Score
    rule: Rule
    config: SearchConfig
    pins: frozenset[int] = frozenset()
    unrepairable: frozenset[Pair] = frozenset()
    keep_worse: bool = False

    def __call__(self, labeling: Labeling, rng: random.Random) -> RepairedLabeling:
        """Draw an inconsistent pair, try every consistent option, keep the best if U rises; repeat for some rounds."""
        now: RepairedLabeling | None = None
        unrepairable = self.unrepairable
        for _ in range(self.config.max_repairs):
            pairs = [pair for pair in self.rule.conflicts(labeling) if pair not in unrepairable]
            if not pairs:
                break
            pair = pairs[randbelow(rng, len(pairs))]
            done = self._repair_pair(labeling, pair)
            now = replace(done, repairs=(*(now.repairs if now else ()), *done.repairs))
            unrepairable = frozenset() if done.repairs[0].taken else unrepairable | {pair}
            labeling = done.labeling
        if now is None:
            before, (after,) = self.score([labeling])
            return RepairedLabeling(labeling, before, after)
        return now

    def _repair_pair(self, labeling: Labeling, pair: Pair) -> RepairedLabeling:
        """One round: score every option for the pair; take the best if U rises, or in any case with `keep_worse`."""
        i, j = pair
        options, withheld = self._options(labeling, pair)
        candidates = [labeling.assign(i, a).assign(j, b) for a, b in options]
        before, (current, *scored) = self.score([labeling, *candidates])
        best = max(range(len(scored)), key=lambda k: scored[k].utility, default=-1)  # -1: there is no option
        taken = best >= 0 and (self.keep_worse or scored[best].utility > current.utility)
        tried = tuple(Option(labels, result.utility) for labels, result in zip(options, scored, strict=True))
        chosen = options[best] if taken else None
        record = Repair(pair, (labeling[i], labeling[j]), current.utility, tried, chosen, withheld)
        return RepairedLabeling(
            candidates[best] if taken else labeling, before, scored[best] if taken else current, (record,)
        )

    def _options(self, labeling: Labeling, pair: Pair) -> tuple[list[LabelPair], tuple[LabelPair, ...]]:
        """Every consistent pair of labels that respects pins, and those that do not.

        FF is left out where the pair excludes TT and the config asks for that.
        """
        i, j = pair
        options = self.rule.consistent_options(i, j, labeling)
        true = self.rule.true_label
        if not self.config.offer_neither and (true, true) not in options:
            options = [labels for labels in options if true in labels]
        if self.pins.isdisjoint(pair):
            return options, ()
        fits = [self._fits(labeling, pair, labels) for labels in options]
        kept = [labels for labels, fit in zip(options, fits, strict=True) if fit]
        return kept, tuple(labels for labels, fit in zip(options, fits, strict=True) if not fit)

    def _fits(self, labeling: Labeling, pair: Pair, labels: LabelPair) -> bool:
        return all(labeling[k] == y for k, y in zip(pair, labels, strict=True) if k in self.pins)
