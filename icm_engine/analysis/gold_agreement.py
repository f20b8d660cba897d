"""Labels against gold: accuracy with intervals, and calibration of probabilities.

Every function counts only the examples it is given, so labels fixed by a person can be left out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from icm_engine.analysis.formatting import one_line
from icm_engine.analysis.label_history import LabelCounts, counted, is_right
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import example_text
from icm_engine.core.labeling import Label, Labeling
from icm_engine.core.scoring import LabelLogProbs
from icm_engine.data.gold import gold_of
from icm_engine.store.store import Store

BINS = 10  # of equal width


@dataclass(frozen=True, slots=True)
class Bin:
    """Labels with a probability from `low` up to `high`: their number, mean probability and correct share."""

    low: float
    high: float
    count: int
    probability: float
    right: float

    @property
    def gap(self) -> float:
        return abs(self.probability - self.right)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The non-empty bins, and the expected calibration error: the mean gap, bins weighted by their labels."""

    bins: tuple[Bin, ...]
    error: float | None

    @property
    def count(self) -> int:
        return sum(one.count for one in self.bins)


def calibration(
    labels: Sequence[Label],
    scores: Mapping[int, LabelLogProbs],
    given: Mapping[int, Label],
    gold: Mapping[int, Label],
    counted: Sequence[int],
) -> Calibration:
    """Return how well p of the given label (renormalised over the labels) predicts agreement with gold."""
    judged = [
        (math.exp(scores[i].normalized[labels.index(given[i])]), is_right(given[i], gold[i]))
        for i in _known(scores, gold, counted)
        if i in given
    ]
    return reliability(judged)


def reliability(judged: Sequence[tuple[float, bool]]) -> Calibration:
    """Return the calibration of pairs of a probability and whether its label was correct.

    >>> found = reliability([(0.9, True), (0.95, False), (0.5, True)])
    >>> [(one.low, one.count, one.right) for one in found.bins]  # gaps 0.5 of one label, 0.425 of two
    [(0.5, 1, 1.0), (0.9, 2, 0.5)]
    >>> round(found.error, 4)  # (1 * 0.5 + 2 * 0.425) / 3
    0.45
    """
    bins = []
    for k in range(BINS):
        inside = [(p, right) for p, right in judged if min(BINS - 1, int(p * BINS)) == k]
        if inside:
            p, right = (math.fsum(column) / len(inside) for column in zip(*inside, strict=True))
            bins.append(Bin(k / BINS, (k + 1) / BINS, len(inside), p, right))
    error = math.fsum(one.count * one.gap for one in bins) / len(judged) if judged else None
    return Calibration(tuple(bins), error)


def log_odds(scores: LabelLogProbs, k: int) -> float:
    """Return log p of label k minus log p of all other labels together, for any number of labels."""
    others = [value for j, value in enumerate(scores.raw) if j != k]
    top = max(others)
    return scores.raw[k] - top - math.log(math.fsum(math.exp(value - top) for value in others))


def area_under_curve(
    labels: Sequence[Label],
    true_label: Label,
    scores: Mapping[int, LabelLogProbs],
    gold: Mapping[int, Label],
    counted: Sequence[int],
) -> float | None:
    """Return the AUROC of the log-odds of the true label against gold; None if gold has one class only.

    The given labels are not used: this measures whether the model orders the examples as gold does.
    """
    places = _known(scores, gold, counted)
    truth = [gold[i] == true_label for i in places]
    if len(set(truth)) < 2:
        return None
    from sklearn.metrics import roc_auc_score

    k = labels.index(true_label)
    return float(roc_auc_score(truth, [log_odds(scores[i], k) for i in places]))


def _known(scores: Mapping[int, LabelLogProbs], gold: Mapping[int, Label], counted: Sequence[int]) -> list[int]:
    return [i for i in counted if i in scores and i in gold]


UNLABELLED = "unlabelled"  # the last column of the confusion matrix
LEVEL = 0.95  # of every interval


def counted_examples(reading: Reading) -> Sequence[int]:
    """Return the examples that count: all but those whose labels a person fixed."""
    everything, pins = range(len(reading.run.dataset.examples)), reading.pins
    return [i for i in everything if i not in pins] if pins else everything


def gold_shown(reading: Reading) -> bool:
    """Say whether there is gold that may be shown: not while a person annotates this run blind."""
    return bool(reading.gold) and not reading.blind


def no_gold_words(reading: Reading) -> str:
    """Say why nothing can be compared with gold."""
    why = "This run is annotated blind: its gold is hidden." if reading.blind else "This data set has no gold labels."
    return f"{why} Seeds, Runs, Pair, Concepts, Landscape and Audit need none."


def pins_words(reading: Reading) -> str:
    """Say which examples are excluded from these numbers, and where they still count."""
    pins = len(reading.pins)
    named = "1 example that a person pinned does" if pins == 1 else f"{pins:,} examples that a person pinned do"
    return f"{named} not count here; the curve over steps has all examples."


def gold_by_place(store: Store, reading: Reading, counted: Sequence[int]) -> dict[int, Label]:
    """Return the gold of the examples that count; empty if there is none or it must not be shown."""
    if not gold_shown(reading):
        return {}
    ids = reading.run.codec.ids
    known = gold_of(store, reading.run.dataset.name, [ids[i] for i in counted])
    return {i: known[ids[i]] for i in counted if ids[i] in known}


@dataclass(frozen=True, slots=True)
class Share:
    """A count out of a total, with the 95 % Wilson interval of the share (independent draws assumed)."""

    count: int
    total: int

    @property
    def value(self) -> float | None:
        return self.count / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval of the share; None if the total is 0.

        >>> low, high = Share(3, 4).interval
        >>> round(low, 3), round(high, 3)
        (0.301, 0.954)
        """
        if not self.total:
            return None
        from statsmodels.stats.proportion import proportion_confint

        low, high = proportion_confint(self.count, self.total, alpha=1 - LEVEL, method="wilson")
        return float(low), float(high)


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """One label against gold; `recall` covers all examples with this gold label, unlabelled ones counted as wrong."""

    label: Label
    precision: Share
    recall: Share


@dataclass(frozen=True)
class Against:
    """The labels of the examples that count, with their gold; examples without gold are left out."""

    labels: tuple[Label, ...]
    gold: Mapping[int, Label]
    given: Mapping[int, Label]  # may contain examples without gold, which are ignored

    @cached_property
    def labelled(self) -> tuple[int, ...]:
        return tuple(i for i in self.gold if i in self.given)

    @cached_property
    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """Examples by gold label (rows) and label (columns; the last one is unlabelled)."""
        from sklearn.metrics import confusion_matrix

        if not self.gold:
            return ((0,) * (len(self.labels) + 1),) * len(self.labels)
        said = [self.given.get(i, UNLABELLED) for i in self.gold]
        counts = confusion_matrix(list(self.gold.values()), said, labels=[*self.labels, UNLABELLED])
        return tuple(tuple(map(int, row)) for row in counts[:-1])

    @cached_property
    def counts(self) -> LabelCounts:
        return counted(self.labels, self.given, self.gold)

    def accuracy(self, labelled_only: bool) -> Share:
        """Share of correct labels: among the labelled examples, or among all with unlabelled ones counted as wrong."""
        return Share(sum(self.counts.right.values()), len(self.labelled if labelled_only else self.gold))

    def flipped(self, labelled_only: bool) -> Share | None:
        """The same share with both labels swapped; None unless there are two labels."""
        if len(self.labels) != 2:
            return None
        return Share(self.counts.wrong, len(self.labelled if labelled_only else self.gold))

    @property
    def per_class(self) -> tuple[ClassAgreement, ...]:
        """Precision and recall for each label."""
        columns = list(zip(*self.confusion, strict=True))
        return tuple(
            ClassAgreement(
                label,
                Share(self.confusion[k][k], sum(columns[k])),
                Share(self.confusion[k][k], sum(self.confusion[k])),
            )
            for k, label in enumerate(self.labels)
        )

    @property
    def balanced(self) -> float | None:
        """Mean recall over the labels in gold; unlabelled examples count as wrong."""
        found = self.counts.accuracy
        return found.balanced if found else None

    def cell(self, gold: Label, given: Label) -> tuple[int, ...]:
        """Return the examples in one cell of the confusion matrix; `given` may be UNLABELLED."""
        return tuple(i for i, true in self.gold.items() if true == gold and self.given.get(i, UNLABELLED) == given)


def against_gold(reading: Reading, gold: Mapping[int, Label], counted: Sequence[int]) -> Against:
    """Return the labels of a run against gold, over the examples that count."""
    labeling = reading.labeling
    return Against(
        reading.tally.labels,
        {i: gold[i] for i in counted if i in gold},
        {i: labeling[i] for i in _among(labeling, counted)},
    )


def _among(labeling: Labeling, counted: Sequence[int]) -> list[int]:
    chosen = counted if isinstance(counted, range) else frozenset(counted)
    return [i for i in labeling if i in chosen]


# -- one cell, in a URL and as a table


def cells(labels: Sequence[Label]) -> dict[str, tuple[Label, Label]]:
    """Return every cell (gold, label) by its address, row by row.

    >>> list(cells(("True", "False")))[:3]
    ['True,True', 'True,False', 'True,unlabelled']
    """
    return {f"{gold},{given}": (gold, given) for gold in labels for given in (*labels, UNLABELLED)}


@dataclass(frozen=True, slots=True)
class CellRow:
    """One example of a cell."""

    example: str  # id
    text: str
    gold: Label
    label: Label | None
    probability: float | None  # of the label it has, given all the others
    flips: int


def cell_rows(reading: Reading, against: Against, places: Sequence[int]) -> tuple[CellRow, ...]:
    """Return examples with details that help to understand a mistake, most confident first."""
    rows = [
        CellRow(
            reading.run.codec.ids[i],
            one_line(example_text(reading, i)),
            against.gold[i],
            against.given.get(i),
            reading.probability(i),
            reading.changes[i].flips if i in reading.changes else 0,
        )
        for i in places
    ]
    return tuple(sorted(rows, key=lambda row: -(row.probability or 0.0)))


def cell_caption(count: int, limit: int) -> str:
    """Say how many examples a cell has, and whether all are shown."""
    named = "1 example" if count == 1 else f"{count:,} examples, most confident first"
    return f"{named}; the first {limit:,} are shown." if count > limit else f"{named}."
