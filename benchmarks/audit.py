"""The interval of an audit: whether it ever misses the accuracy, its width after 10, 20 and 40 answers, other designs.

    python -m benchmarks.audit --audits 10000
    python -m benchmarks.audit --audits 10000 --db icm.db --runs facts-1 sun-1

Designs (docs/design.md has the rule that was written before this was run, and chose `simple`):

simple       what `icm audit` does: every example not yet asked about is equally likely
stratified   lower and upper half of the model's probabilities, times label, drawn in turn in proportion; each stratum
             has its own likelihood, and a total is excluded where its most favourable split is
active       half by uncertainty, half uniform; the difference estimator with the model's probability that its label is
             right; bets of 20 sizes for and against each total (Waudby-Smith and Ramdas 2023, arXiv 2010.09686)

Beside them:

half, ends   `simple` with the mixtures Beta(1/2, 1/2), and Beta(1, 1), Beta(2, 8) and Beta(8, 2) in equal shares
wilson       the draws of `simple` with the usual interval for one number of answers fixed before: what it misses when a
             person looks after every answer

Each interval is what all intervals so far have in common. A made-up case has the stated share of right labels, and
probabilities that know something about which (`informed`) or nothing. With --runs, labels, gold and probabilities are
those of stored runs; mirrored, every label is swapped.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from math import lgamma, log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row, reported, show
from icm_engine.analysis.audit import Bounds, intervals, plausible, verdict_of
from icm_engine.analysis.gold_agreement import LEVEL, Share
from icm_engine.analysis.views import load
from icm_engine.data.gold import load_gold
from icm_engine.store.replay import audited_places
from icm_engine.store.store import Store

Floats = NDArray[np.float64]
ASKED = 40
LOOKS = (10, 20, 40)
WIDTHS = tuple(f"width at {look}" for look in LOOKS)
ROUNDING = 1e-9
LIMIT = -log(1 - LEVEL)
Betas = tuple[tuple[float, float], ...]
UNIFORM: Betas = ((1.0, 1.0),)
MIXTURES: dict[str, Betas] = {"half": ((0.5, 0.5),), "ends": ((1.0, 1.0), (2.0, 8.0), (8.0, 2.0))}
SIZES = (64, 128, 256)


@dataclass(frozen=True)
class Case:
    """Labels to audit: which are right, the probability that the model gives each, and its label (0 or 1)."""

    name: str
    right: NDArray[np.bool_]
    probability: Floats
    label: NDArray[np.int64]

    def mirrored(self) -> "Case":
        """The same with every label swapped; the model is as sure of them."""
        return replace(self, name=f"{self.name}, mirrored", right=~self.right, label=1 - self.label)


def made_up(name: str, size: int, share: float, informed: bool, of_one_label: float = 0.5) -> Case:
    """A case whose wrong labels are among the less probable ones, if `informed`, or anywhere."""
    rng = np.random.default_rng(size)
    margin = np.abs(rng.normal(2.0, 1.5, size))
    order = np.argsort(rng.exponential(size=size) * np.exp(margin * informed))
    right = np.ones(size, dtype=bool)
    right[order[: size - round(size * share)]] = False
    label = (rng.permutation(size) >= round(of_one_label * size)).astype(np.int64)
    return Case(name, right, 1 / (1 + np.exp(-margin)), label)


def made_up_cases() -> Iterator[Case]:
    """Yield 60, 80 and 95 % right, their mirrors, and nearly constant labels, each of three sizes."""
    for size in SIZES:
        for share in (0.6, 0.8, 0.95):
            for informed in (True, False):
                case = made_up(f"{share:.0%} right{', informed' if informed else ''}", size, share, informed)
                yield from (case, case.mirrored()) if share > 0.6 else (case,)
        yield made_up("82% right, 90% one label", size, 0.82, True, 0.9)


def stored_case(store: Store, run: str) -> Case:
    """The labels of a stored run against gold, with the model's probabilities."""
    reading = load(store, run)
    gold, ids = load_gold(store, reading.run.dataset.name).labels, reading.run.codec.ids
    places = [i for i in audited_places(reading.run, reading.labeling, reading.pins) if ids[i] in gold]
    right = np.array([reading.labeling[i] == gold[ids[i]] for i in places])
    label = np.array([reading.tally.labels.index(reading.labeling[i]) for i in places])
    return Case(run, right, np.array([reading.probability(i) or 0.5 for i in places]), label)


# -- designs: one audit each, as the interval after every answer, in shares


def simple(case: Case, rng: np.random.Generator) -> list[Bounds]:
    """What `icm audit` does."""
    return list(intervals(len(case.right), case.right[rng.permutation(len(case.right))[:ASKED]].tolist()))


@cache
def _log_likelihood(size: int, right: int, wrong: int) -> Floats:
    """Of every number of right labels among `size`."""
    total = np.arange(size + 1)
    falling = np.array([lgamma(n + 1) for n in range(size + 1)])
    found = np.full(size + 1, -np.inf)
    fits = (total >= right) & (size - total >= wrong)
    k = total[fits]
    found[fits] = falling[k] - falling[k - right] + falling[size - k] - falling[size - k - wrong]
    found -= falling[size] - falling[size - right - wrong]
    return found


def _log_mixture(right: int, wrong: int, betas: Betas = UNIFORM) -> float:
    """The mean of the likelihood over beta-binomial totals, each with an equal share."""
    parts = [_log_beta(a + right, b + wrong) - _log_beta(a, b) for a, b in betas]
    return float(np.logaddexp.reduce(parts)) - log(len(parts))


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


@cache
def _bounds(size: int, right: int, wrong: int, betas: Betas) -> Bounds:
    inside = np.flatnonzero(_log_mixture(right, wrong, betas) - _log_likelihood(size, right, wrong) < LIMIT)
    return float(inside[0]) / size, float(inside[-1]) / size


def mixed(betas: Betas, case: Case, rng: np.random.Generator) -> list[Bounds]:
    """The draws of `simple` with another mixture."""
    right = np.cumsum(case.right[rng.permutation(len(case.right))[:ASKED]])
    return [_bounds(len(case.right), int(r), n - int(r), betas) for n, r in enumerate(right, start=1)]


def _largest_of_splits(parts: Sequence[Floats]) -> Floats:
    """The largest sum of one value of each part, for every sum of their places."""
    found = np.zeros(1)
    for part in parts:
        wider = np.full(len(found) + len(part) - 1, -np.inf)
        for place, value in enumerate(found):
            np.maximum(wider[place : place + len(part)], value + part, out=wider[place : place + len(part)])
        found = wider
    return found


def stratified(case: Case, rng: np.random.Generator) -> list[Bounds]:
    """Draw from the strata in turn, in proportion to their sizes."""
    upper = (case.probability > np.median(case.probability)).astype(np.int64)
    strata = [rng.permutation(np.flatnonzero(2 * upper + case.label == k)) for k in range(4)]
    strata = [stratum for stratum in strata if len(stratum)]
    size, sizes = len(case.right), np.array([len(stratum) for stratum in strata])
    right, asked, found = np.zeros_like(sizes), np.zeros_like(sizes), list[Bounds]()
    for count in range(1, min(ASKED, size) + 1):
        k = int(np.argmax(np.where(asked < sizes, sizes * count / size - asked, -np.inf)))
        right[k] += case.right[strata[k][asked[k]]]
        asked[k] += 1
        said = list(zip(map(int, sizes), map(int, right), map(int, asked - right), strict=True))
        apart = sum(_log_mixture(r, w) for _, r, w in said)
        together = _log_mixture(int(right.sum()), int((asked - right).sum()))
        mixture = np.logaddexp(apart, together) - log(2)
        inside = np.flatnonzero(mixture - _largest_of_splits([_log_likelihood(*one) for one in said]) < LIMIT)
        found.append((inside[0] / size, inside[-1] / size))
    return found


BETS = ((np.arange(20) + 0.5) / 20)[:, None]


def active(case: Case, rng: np.random.Generator) -> list[Bounds]:
    """Draw by uncertainty, mixed half and half with uniform draws; bet on the difference estimator's terms."""
    size, totals, expected = len(case.right), np.arange(len(case.right) + 1), case.probability
    for_, against = np.zeros((len(BETS), size + 1)), np.zeros((len(BETS), size + 1))
    left, known, kept, found = np.ones(size, dtype=bool), 0, np.ones(size + 1, dtype=bool), list[Bounds]()
    for count in range(1, min(ASKED, size) + 1):
        places = np.flatnonzero(left)
        unsure = np.minimum(expected[places], 1 - expected[places]) + 1e-3
        chances = 0.5 / len(places) + 0.5 * unsure / unsure.sum()
        low, high = (-expected[places] / chances).min(), ((1 - expected[places]) / chances).max()
        k = rng.choice(len(places), p=chances)
        term = (case.right[places[k]] - expected[places[k]]) / chances[k]
        mean = totals - known - expected[places].sum()
        kept &= (mean >= low - 1e-9) & (mean <= high + 1e-9)
        with np.errstate(all="ignore"):
            for_ += np.log1p(BETS * np.where(mean > low, (term - mean) / (mean - low), 0))
            against += np.log1p(BETS * np.where(mean < high, (mean - term) / (high - mean), 0))
        known, left[places[k]] = known + int(case.right[places[k]]), False
        wealth = np.logaddexp(np.logaddexp.reduce(for_), np.logaddexp.reduce(against)) - log(2 * len(BETS))
        inside = np.flatnonzero(kept & (wealth < LIMIT) & (totals >= known) & (size - totals >= count - known))
        found.append((inside[0] / size, inside[-1] / size) if len(inside) else (1.0, 0.0))
    return found


def wilson(case: Case, rng: np.random.Generator) -> list[Bounds]:
    """The usual interval of a share, which is for one look."""
    right = np.cumsum(case.right[rng.permutation(len(case.right))[:ASKED]])
    return [_wilson(int(count), asked) for asked, count in enumerate(right, start=1)]


@cache
def _wilson(count: int, asked: int) -> Bounds:
    bounds = Share(count, asked).interval
    assert bounds is not None
    return bounds


Design = Callable[[Case, np.random.Generator], list[Bounds]]
DESIGNS: dict[str, Design] = {
    "simple": simple,
    "stratified": stratified,
    "active": active,
    "wilson": wilson,
    **{name: partial(mixed, betas) for name, betas in MIXTURES.items()},
}


def shrinking(found: Sequence[Bounds]) -> list[Bounds]:
    """Return what each interval has in common with those before it; the interval alone where that is nothing."""
    low, high, kept = 0.0, 1.0, list[Bounds]()
    for now in found:
        both = max(low, now[0]), min(high, now[1])
        low, high = both if both[0] <= both[1] else now
        kept.append((low, high))
    return kept


def simulated(case: Case, design: str, audits: int, seed: int = 0) -> Row:
    """Audit a case many times: the share that ever misses, mean widths, and verdicts within 15 and 20 answers."""
    rng, true = np.random.default_rng(seed), float(case.right.mean())
    missed, widths, verdicts = 0, np.zeros(len(LOOKS)), dict.fromkeys(("right", "mirrored"), 0)
    for _ in range(audits):
        found = shrinking(DESIGNS[design](case, rng))
        missed += any(not low - ROUNDING <= true <= high + ROUNDING for low, high in found)
        widths += [found[min(look, len(found)) - 1][1] - found[min(look, len(found)) - 1][0] for look in LOOKS]
        for verdict in verdicts:
            verdicts[verdict] += any(verdict_of(low, high, 2) == verdict for low, high in found[:20])
    return {
        "case": case.name,
        "n": len(case.right),
        "right": true,
        "design": design,
        "audits": audits,
        **{name: float(width / audits) for name, width in zip(WIDTHS, widths, strict=True)},
        "ever missed": missed / audits,
        **{f"{verdict} by 20": count / audits for verdict, count in verdicts.items()},
    }


def ever(
    size: int, right: int, asked: int, happens: Callable[[float, float], bool], assumed: int | None = None
) -> float:
    """Return the exact probability that an interval of a simple audit is ever as described.

    Follows every sequence of answers; those with equal counts and equal intervals are one. The intervals are those of
    `assumed` labels, where it is not known how many of them can be judged.
    """
    of = assumed or size
    now, found = {(0, 0.0, 1.0): 1.0}, 0.0
    for count in range(1, min(asked, size) + 1):
        then = defaultdict[tuple[int, float, float], float](float)
        for (agree, low, high), chance in now.items():
            left, more = size - count + 1, right - agree
            for mark, share in ((1, more / left), (0, (left - more) / left)):
                few, most = plausible(of, agree + mark, count)
                bounds = max(low, few / of), min(high, most / of)
                bounds = bounds if bounds[0] <= bounds[1] else (few / of, most / of)
                if share > 0 and happens(*bounds):
                    found += chance * share
                elif share > 0:
                    then[agree + mark, *bounds] += chance * share
        now = then
    return found


def exact_rows() -> Iterator[Row]:
    """Yield the exact chance of ever missing the accuracy within 40 answers, for the least favourable accuracy."""
    for size in SIZES:
        chances = {k: ever(size, k, ASKED, lambda low, high, k=k, n=size: not low <= k / n <= high)  # type: ignore[misc]
                   for k in range(0, size + 1, size // 32)}  # fmt: skip
        worst = max(chances, key=chances.__getitem__)
        yield {"n": size, "least favourable accuracy": worst / size, "ever missed, exactly": chances[worst]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audits", type=int, default=1000, help="simulated audits of each case, of the simple design")
    parser.add_argument("--others", type=int, default=100, help="of the other designs, which are slow; 0: none")
    parser.add_argument("--db", type=Path, help="database of the runs")
    parser.add_argument("--runs", nargs="+", default=[], metavar="RUN", help="runs to audit in place of made-up cases")
    parser.add_argument("--output", type=Path, help="JSON file")
    with reported(parser) as given:
        if given.runs:
            with Store(given.db) as store:
                stored = [stored_case(store, run) for run in given.runs]
            cases = [one for case in stored for one in (case, case.mirrored())]
        else:
            cases = list(made_up_cases())
        counts = {name: given.others if name in ("stratified", "active") else given.audits for name in DESIGNS}
        rows = [simulated(case, design, audits) for case in cases for design, audits in counts.items() if audits]
        show(rows, given.output)
        print()
        show(mean_rows(rows), None)
        print()
        show(list(exact_rows()), None)


def mean_rows(rows: Sequence[Row]) -> list[Row]:
    """The mean of each design over all cases: widths, and the most audits that ever missed."""
    found = list[Row]()
    for design in dict.fromkeys(str(row["design"]) for row in rows):
        mine = [row for row in rows if row["design"] == design]
        widths = {name: float(np.mean([float(str(row[name])) for row in mine])) for name in WIDTHS}
        missed = max(float(str(row["ever missed"])) for row in mine)
        found.append(
            {"design": design, **widths, "mean width": float(np.mean(list(widths.values()))), "most missed": missed}
        )
    return found


if __name__ == "__main__":
    main()
