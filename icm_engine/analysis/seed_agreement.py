"""Agreement between runs: how far seeds agree, and on which examples runs differ. No gold is needed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from icm_engine.analysis.formatting import one_line
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import example_text
from icm_engine.core.labeling import Label, equal_share
from icm_engine.jobs.restarts import OPPOSITE, Labels
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store

ENOUGH = 10  # examples below which no agreement is stated


def siblings(store: Store, run: str) -> list[str]:
    """Return the runs that differ from this one only in their seed, oldest first. Raises NotFound.

    Forks are excluded: they share the beginning of another run, so their labels agree for that reason.
    """
    wanted = _but_seed(store.spec(run))
    if wanted.forked_from:
        return []
    return [name for name in reversed(store.run_names()) if name != run and _but_seed(store.spec(name)) == wanted]


def _but_seed(spec: RunSpec) -> RunSpec:
    """The spec without its seed and preset name, because two presets may have the same values."""
    return replace(spec, preset="", search=replace(spec.search, seed=0))


def labels_of(reading: Reading) -> dict[str, Label]:
    """Return the labels of a run by example id, so that runs with different limits can be compared."""
    ids = reading.run.codec.ids
    return {ids[i]: label for i, label in reading.labeling.items()}


@dataclass(frozen=True, slots=True)
class SeedAgreement:
    """Agreement of labelings on the examples that all of them label.

    `raw` is the mean over pairs of labelings of the share of equal labels; `kappa` is Cohen's for two, Fleiss' for
    more: 1 is full agreement, 0 chance level for these label balances. None where undefined.
    """

    examples: int
    raw: float | None
    kappa: float | None
    kind: str


def agreement(labelings: Sequence[Labels]) -> SeedAgreement:
    """Return the agreement of two or more labelings."""
    common = _common(labelings)
    kind = "Cohen's kappa" if len(labelings) == 2 else "Fleiss' kappa"
    if not common:
        return SeedAgreement(0, None, None, kind)
    rows = [[labeling[name] for labeling in labelings] for name in common]
    raw = sum(_equal_pairs(row) for row in rows) / len(rows)
    if len({label for row in rows for label in row}) == 1:  # all labels equal: chance agreement is complete too
        return SeedAgreement(len(rows), raw, None, kind)
    return SeedAgreement(len(rows), raw, _cohen(rows) if len(labelings) == 2 else _fleiss(rows), kind)


def _common(labelings: Sequence[Labels]) -> list[str]:
    first, *others = labelings
    return [name for name in first if all(name in other for other in others)]


def _equal_pairs(row: Sequence[Label]) -> float:
    return equal_share(combinations(row, 2)) or 0.0


def _cohen(rows: Sequence[Sequence[Label]]) -> float:
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score([row[0] for row in rows], [row[1] for row in rows]))


def _fleiss(rows: Sequence[Sequence[Label]]) -> float:
    from statsmodels.stats.inter_rater import fleiss_kappa

    labels = sorted({label for row in rows for label in row})
    return float(fleiss_kappa([[row.count(label) for label in labels] for row in rows]))


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two runs and their agreement."""

    runs: tuple[str, str]
    agreement: SeedAgreement


def pairs_of(labelings: Mapping[str, Labels]) -> tuple[PairAgreement, ...]:
    """Return the agreement of every two runs."""
    return tuple(PairAgreement((a, b), agreement([labelings[a], labelings[b]])) for a, b in combinations(labelings, 2))


def verdict(found: SeedAgreement, pairs: Sequence[PairAgreement], two_labels: bool = True) -> str:
    """Say in a sentence what the agreement of seeds means; only labelings with two labels have a mirror."""
    if found.raw is None:
        return "No example is labelled in all of these runs yet."
    if found.examples < ENOUGH:
        return f"Only {found.examples:,} examples are labelled in all of these runs: too few to judge."
    opposite = [pair for pair in pairs if pair.agreement.raw is not None and pair.agreement.raw < OPPOSITE]
    if opposite and two_labels:
        a, b = opposite[0].runs
        return f"{a} and {b} are nearly opposite: one of them may be the mirror of the other."
    if found.kappa is None:
        return "All of them give every example the same label: the labels have collapsed."
    if found.kappa > 0.8:
        return "The seeds find the same labels, so these are unlikely to be due to chance."
    if found.kappa > 0.4:
        return "The seeds agree in part: look at the examples on which they differ."
    return "The seeds hardly agree: these labels depend on the search rather than the data."


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One example with its label in every run (None: unlabelled), and the share of pairs of runs that agree."""

    example: str  # id
    text: str
    labels: tuple[Label | None, ...]
    agreeing: float
    gold: Label | None


def per_example(
    readings: Sequence[Reading], gold: Labels, limit: int, names: Sequence[str] | None = None
) -> tuple[Disagreement, ...]:
    """Return these examples, or those labelled in all runs, least agreement first, at most `limit`."""
    labelings = [labels_of(reading) for reading in readings]
    return _rows(readings[0], labelings, _common(labelings) if names is None else names, gold, limit)


def differing(readings: Sequence[Reading], gold: Labels, limit: int) -> tuple[Disagreement, ...]:
    """Return the examples labelled differently in runs that all label them, at most `limit`."""
    labelings = [labels_of(reading) for reading in readings]
    return _rows(readings[0], labelings, _apart(labelings), gold, limit)


def _apart(labelings: Sequence[Labels]) -> list[str]:
    return [name for name in _common(labelings) if len({labeling[name] for labeling in labelings}) > 1]


def _rows(
    reading: Reading, labelings: Sequence[Labels], names: Sequence[str], gold: Labels, limit: int
) -> tuple[Disagreement, ...]:
    found = [(name, tuple(labeling.get(name) for labeling in labelings)) for name in names]
    judged = sorted(((_equal_pairs([y or "" for y in row]), name, row) for name, row in found), key=lambda one: one[0])
    place = reading.run.codec.index
    return tuple(
        Disagreement(name, one_line(example_text(reading, place(name))), row, agreeing, gold.get(name))
        for agreeing, name, row in judged[:limit]
    )


@dataclass(frozen=True, slots=True)
class RunDifference:
    """How runs compare: the examples labelled in all of them, labelled differently, and labelled in only some."""

    common: int
    apart: int
    partly: int

    @property
    def words(self) -> str:
        """The difference, in words."""
        if not self.common:
            return "No example is labelled in all of these runs."
        partly = f" {self.partly:,} more are labelled in some of the runs only." if self.partly else ""
        return f"Labels differ on {self.apart:,} of the {self.common:,} examples that all of them label.{partly}"


def difference(readings: Sequence[Reading]) -> RunDifference:
    """Return on how many examples runs differ."""
    labelings = [labels_of(reading) for reading in readings]
    common = len(_common(labelings))
    return RunDifference(common, len(_apart(labelings)), len(set().union(*labelings)) - common)


def other_settings(one: RunSpec, other: RunSpec) -> tuple[str, ...]:
    """Return the settings in which two runs differ, because U has another scale with other data or another alpha."""
    first, second = ({**spec.to_json(), **spec.to_json()["search"]} for spec in (one, other))
    named = [name for name in first if name not in ("search", "preset") and first[name] != second[name]]
    return tuple(name.replace("_", " ") for name in named)


def balance(reading: Reading) -> Counter[Label]:
    """Return how many examples of a run have each label."""
    return Counter(reading.labeling.values())
