"""Sampled steps: the change of U estimated from some of its terms, so that a step need not score every example again.

An exact step scores every labelled example again. A sampled one scores those that the proposal touches (they are
*certain*) and a random sample of the others, which stands for the rest. For a number of steps, a *block*, most
demonstrations stay where they are: they form the prefix, which is encoded once. Behind it stand the sample and the
*front*, the examples that the block's steps can change. No query sees its own label.

P is linear in the scores, P = sum over i of w_i * z_i, with weights w that depend on the labels alone. With w', z' of
the proposal and z_old the scores known when the sample was drawn, and N and m the terms that are not certain and those
of them in the sample,

    delta P = sum over all of (w' - w) z_old  +  sum over the certain of r  +  N / m * sum over the sample of r,
    r = w' z' - w z - (w' - w) z_old.

The last term is a sum over the labels, with N and m of each. The weights come from all labels, so only r is estimated.
Its standard error is that of a stratified sample without replacement.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from icm_engine.core.batching import SPLIT
from icm_engine.core.consistency import Rule
from icm_engine.core.labeling import Label, Labeling
from icm_engine.core.objective import Evaluation, Objective
from icm_engine.core.prompting import Prompt, leave_one_out_order, render
from icm_engine.core.rng import random_of, shuffled
from icm_engine.core.scoring import LabelLogProbs

Scores = Mapping[int, LabelLogProbs]
LARGEST_ERROR = 0.5  # of the temperature: a larger standard error enlarges the sample
CLEAR = 2.0  # standard errors between delta and the threshold of acceptance: more terms are not needed
CALM = LARGEST_ERROR / 2  # after a block in which no error was larger, half of the sample would do


@dataclass(frozen=True)
class Block:
    """What stays in place for some steps, and the scores that its estimates start from.

    `prefix` are labelled examples whose labels do not change; `front` are those that the steps can draw or change, a
    place each whether labelled or not; `sample` is a random part of those labelled when it was drawn. `old` are the
    scores of all labelled examples at that time; `read` are scores for the present labels, in the block's orders.
    `size` is the wanted number of terms; `strain` is the largest `strain` of a step so far, and `changes`
    counts the accepted proposals. `strata` are the labels, by their places in the task, when the sample was drawn: it
    is drawn from each of them in proportion, since what a proposal does to all examples with one label alike would
    otherwise be the largest part of the error.
    """

    number: int
    size: int
    prefix: tuple[int, ...]
    front: tuple[int, ...]
    sample: tuple[int, ...]
    strata: Mapping[int, int] = field(repr=False)
    old: Scores = field(repr=False)
    read: Scores = field(repr=False)
    strain: float = 0.0
    changes: int = 0

    def holds(self, examples: Iterable[int]) -> bool:
        """Whether none of these examples is in the prefix, which a label change would break, and each has a place."""
        return {*self.front, *self.sample}.issuperset(examples)

    def order(self, i: int) -> tuple[int, ...]:
        """Return the examples shown before a question about example i, as far as they are labelled."""
        if i in self.sample:
            return (*self.prefix, *self.front, *leave_one_out_order(self.sample, i))
        return (*self.prefix, *self.sample, *leave_one_out_order(self.front, i))

    def kept(self, objective: Objective, labeling: Labeling) -> Prompt:
        """Return the prompt of the prefix alone."""
        shown = [objective.shown(j, labeling[j]) for j in self.prefix]
        return Prompt(tuple(shown), objective.task.labels, kept=len(shown))

    def prompt(self, objective: Objective, labeling: Labeling, i: int) -> Prompt:
        """Return the question about example i under this labeling; the prefix is kept from call to call."""
        shown = [objective.shown(j, labeling[j]) for j in self.order(i) if j in labeling]
        query = (render(objective.task, objective.examples[i]),)
        return Prompt((*shown, query), objective.task.labels, kept=len(self.prefix))


@dataclass(frozen=True)
class DeltaEstimate:
    """How the change of U by a proposal was estimated.

    `error` is the standard error of delta, in units of U; `terms` of the sample stand for `of` terms. `certain` are
    the examples scored for themselves. `before` are the scores that were read for the labels before the step.
    """

    error: float
    terms: int
    of: int
    certain: tuple[int, ...]
    before: Scores = field(repr=False)


def connected(rule: Rule, examples: Iterable[int]) -> list[int]:
    """Return these examples and all that a chain of constraints connects with them."""
    found = dict.fromkeys(examples)
    waiting = list(found)
    while waiting:
        new = [j for j in rule.neighbours(waiting.pop()) if j not in found]
        found |= dict.fromkeys(new)
        waiting += new
    return list(found)


def block_of(
    labeling: Labeling, strata: Mapping[int, int], old: Scores, seed: int, number: int, size: int, front: Sequence[int]
) -> Block:
    """Return the block of this number, with nothing read; its sample is of the examples with an old score.

    A larger sample of the same block contains the smaller one.
    """
    pool = [i for i in labeling if i in old]
    shuffle = [pool[place] for place in shuffled(random_of(seed, SPLIT - 1 - number), len(pool))]
    chosen = frozenset(drawn(shuffle, strata, size))
    sample = tuple(i for i in pool if i in chosen)
    front = tuple(i for i in front if i not in chosen)
    prefix = tuple(i for i in labeling if i not in chosen and i not in front)
    return Block(number, size, prefix, front, sample, dict(strata), dict(old), {})


def drawn(shuffle: Sequence[int], strata: Mapping[int, int], size: int) -> Iterator[int]:
    """Yield the first of each stratum of a random order, in proportion and rounded up, at least two of each.

    >>> list(drawn([4, 1, 0, 3, 2, 5], {0: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: 0}, 4))
    [1, 0, 2, 4, 3]
    """
    for stratum in sorted({strata[i] for i in shuffle}):
        members = [i for i in shuffle if strata[i] == stratum]
        yield from members[: max(2, math.ceil(size * len(members) / len(shuffle)))]


def next_size(block: Block | None, terms: int) -> int:
    """Return how many terms the next block samples: as many as the last one needed, at least `terms`."""
    if block is None:
        return terms
    return max(terms, block.size if block.strain > CALM else block.size // 2)


def certain_of(block: Block, rule: Rule, before: Labeling, after: Labeling) -> tuple[int, ...]:
    """Return the examples scored for themselves: changed ones, those constrained with them, and the block's new ones.

    They are in the order of the labeling after the proposal.
    """
    changed = [i for i, label in after.items() if before.get(i) != label]
    near = {j for i in changed for j in rule.neighbours(i)}
    wanted = near.union(changed, (i for i in before if i not in block.old))
    return tuple(i for i in after if i in wanted)


def estimated_change(
    objective: Objective, block: Block, before: Labeling, after: Labeling, then: Scores, now: Scores
) -> tuple[float, float, int, int]:
    """Return the estimated change of P, its standard error, and how many terms stand for how many.

    `then` and `now` have the scores of the certain examples and of the sample before and after. The error is infinite
    if fewer than two terms stand for more.
    """
    certain = frozenset(certain_of(block, objective.rule, before, after))
    old_weights, new_weights = Weights(objective, before), Weights(objective, after)

    def by_weights(i: int) -> float:
        """(w' - w) z_old of one example; 0 without an old score, which then is no part of the remainder either."""
        if i not in block.old:
            return 0.0
        row = objective.form.row(block.old[i])
        return new_weights.times(after.get(i), row) - old_weights.times(before.get(i), row)

    def remainder(i: int) -> float:
        """The part r of one example's change that the old scores do not give."""
        later = new_weights.times(after.get(i), objective.form.row(now[i]))
        earlier = old_weights.times(before.get(i), objective.form.row(then[i])) if i in before else 0.0
        return later - earlier - by_weights(i)

    change = [by_weights(i) for i in after] + [remainder(i) for i in sorted(certain)]
    variance, terms, rest = 0.0, 0, 0
    for stratum in sorted(set(block.strata.values())):
        sampled = [remainder(i) for i in block.sample if block.strata[i] == stratum and i not in certain]
        of = sum(block.strata[i] == stratum and i not in certain for i in before if i in block.strata)
        if sampled:
            change.append(of * math.fsum(sampled) / len(sampled))
        variance += _variance(sampled, of)
        terms, rest = terms + len(sampled), rest + of
    return math.fsum(change), math.sqrt(variance), terms, rest


def _variance(sampled: Sequence[float], of: int) -> float:
    """The variance of a total of `of` terms, estimated from a sample of them without replacement."""
    count = len(sampled)
    if count >= of:
        return 0.0
    if count < 2:
        return math.inf
    middle = math.fsum(sampled) / count
    variance = math.fsum((value - middle) ** 2 for value in sampled) / (count - 1)
    return of * of * variance / count * (1 - count / of)


class Weights:
    """The weights w of P for one labeling: a row over the labels for each label that an example can have."""

    def __init__(self, objective: Objective, labeling: Labeling) -> None:
        self._objective = objective
        self._counts = Counter(labeling.values())
        self._rows: dict[Label, tuple[float, ...]] = {}

    def times(self, label: Label | None, row: Sequence[float]) -> float:
        """Return w * z for an example with this label; 0 for one without."""
        if label is None:
            return 0.0
        if label not in self._rows:
            counts = [self._counts[each] for each in self._objective.task.labels]
            place = self._objective.label_index(label)
            self._rows[label] = self._objective.form.weights(place, counts, self._objective.centring)
        return math.fsum(w * z for w, z in zip(self._rows[label], row, strict=True))


class SampledEvaluator:
    """Estimates U of candidate labelings; stands in for `repair.CachedEvaluator` in a sampled step.

    U of a candidate is U before the step plus alpha times the estimated change of P; inconsistency is exact. `asked`
    are the scores of the drawn example for the labels before the step, for which the sample is scored too, once.
    """

    set_evaluations = 0

    def __init__(self, objective: Objective, block: Block, before: Labeling, known: Evaluation, asked: Scores) -> None:
        self.objective, self.block, self.before, self.known = objective, block, before, known
        self.then: dict[int, LabelLogProbs] = {**block.read, **asked}
        self.read: dict[int, LabelLogProbs] = {}
        self.estimates: dict[Labeling, DeltaEstimate] = {before: DeltaEstimate(0.0, 0, 0, (), {})}
        self._drawn = dict(asked)
        self._seen = {before: known}

    def __call__(self, labelings: Sequence[Labeling]) -> tuple[Evaluation, list[Evaluation]]:
        """Return the evaluation of the labeling before the step, and those of the candidates."""
        new = [labeling for labeling in dict.fromkeys(labelings) if labeling not in self._seen]
        wanted = {labeling: certain_of(self.block, self.objective.rule, self.before, labeling) for labeling in new}
        asked = [(self.before, tuple(self._unread(wanted.values())))]
        asked += [(labeling, tuple(self._to_read(labeling, certain))) for labeling, certain in wanted.items()]
        prompts = [self.block.prompt(self.objective, labeling, i) for labeling, some in asked for i in some]
        scores = iter(self.objective.scorer.score(prompts))
        then, *later = [{i: next(scores) for i in some} for _, some in asked]
        self.read |= then
        self.then |= then
        for (labeling, certain), now in zip(wanted.items(), later, strict=True):
            self._take_in(labeling, certain, self._unmoved(labeling) | now)
        return self.known, [self._seen[labeling] for labeling in labelings]

    def _unread(self, wanted: Iterable[Sequence[int]]) -> Iterator[int]:
        """The certain and the sampled examples whose scores before the step are not known in the block's orders."""
        needed = dict.fromkeys(i for certain in wanted for i in (*certain, *self.block.sample))
        yield from (i for i in needed if i in self.before and i not in self.then)

    def _to_read(self, labeling: Labeling, certain: Sequence[int]) -> Iterator[int]:
        """The examples to score for a candidate, each once."""
        unmoved = self._unmoved(labeling)
        yield from (i for i in dict.fromkeys((*certain, *self.block.sample)) if i not in unmoved)

    def _unmoved(self, labeling: Labeling) -> dict[int, LabelLogProbs]:
        """The drawn example's scores, if the candidate changes no label but its own, which it does not see."""
        changed = {i for i, label in labeling.items() if self.before.get(i) != label}
        return self._drawn if changed <= set(self._drawn) else {}

    def _take_in(self, labeling: Labeling, certain: tuple[int, ...], now: Scores) -> None:
        objective, block = self.objective, self.block
        change, error, terms, of = estimated_change(objective, block, self.before, labeling, self.then, now)
        self.estimates[labeling] = DeltaEstimate(objective.alpha * error, terms, of, certain, self.read)
        predictability = self.known.mutual_predictability + change
        pairs = tuple(objective.rule.conflicts(labeling))
        scores = {i: now[i] if i in now else self.known.scores[i] for i in labeling}
        self._seen[labeling] = Evaluation(
            objective.alpha * predictability, predictability, objective.pair_weight * len(pairs), pairs, scores
        )
