"""The tables of the Compare page, in which every text from outside is a cell and never markup."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from icm_engine.analysis.agreement_with_gold import Against, CellRow, Share, cells
from icm_engine.analysis.between_runs import Disagreement, PairAgreement, balance
from icm_engine.analysis.calibration import Calibration
from icm_engine.analysis.compare_figures import AXES
from icm_engine.analysis.landscape import Landscape, meaning
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.resample import every_nth
from icm_engine.analysis.wording import DASH, decimal

CURVE_ROWS = 300


def share_words(share: Share | None) -> str:
    """Return a share with its interval.

    >>> share_words(Share(3, 4))
    '75% (30 to 95%)'
    """
    if share is None or share.value is None or share.interval is None:
        return DASH
    low, high = share.interval
    return f"{share.value:.0%} ({100 * low:.0f} to {high:.0%})"


def accuracy_frame(against: Against) -> pd.DataFrame:
    """Return accuracy raw and flipped, of the labelled examples and of all, each with its interval."""
    rows: list[dict[str, Any]] = []
    for words, only in (("labelled only", True), ("all examples", False)):
        for kind, share in (("raw", against.accuracy(only)), ("flipped", against.flipped(only))):
            if share is not None:
                told = f"{share.count:,} of {share.total:,}"
                rows.append({"accuracy": kind, "over": words, "share": share_words(share), "examples": told})
    return pd.DataFrame(rows)


def classes_frame(against: Against) -> pd.DataFrame:
    """Return precision and recall of every label."""
    return pd.DataFrame(
        [
            {
                "label": found.label,
                "precision": share_words(found.precision),
                "labelled": found.precision.total,
                "recall": share_words(found.recall),
                "in gold": found.recall.total,
            }
            for found in against.per_class
        ]
    )


def accuracy_steps_frame(reading: Reading) -> pd.DataFrame:
    """Return the accuracy after each step, thinned evenly, the newest first."""
    points = reading.trajectory.points
    kept = [points[k] for k in reversed(every_nth(len(points), CURVE_ROWS)) if points[k].accuracy]
    return pd.DataFrame(
        [
            {"step": point.step, "labelled": point.labelled, **(asdict(point.accuracy) if point.accuracy else {})}
            for point in kept
        ]
    ).rename(columns={"raw": "accuracy"})


def confusion_frame(against: Against) -> pd.DataFrame:
    """Return the confusion matrix as a table."""
    rows: list[dict[str, Any]] = []
    flat = [n for row in against.confusion for n in row]
    for (gold, given), n in zip(cells(against.labels).values(), flat, strict=True):
        rows.append({"gold": gold, "label": given, "examples": n})
    return pd.DataFrame(rows)


def cell_frame(rows: Sequence[CellRow]) -> pd.DataFrame:
    """Return the examples of a cell."""
    return pd.DataFrame(
        [
            {"label": row.label, "gold": row.gold, "probability": row.probability, "flips": row.flips,
             "text": row.text, "example": row.example}
            for row in rows
        ]
    )  # fmt: skip


def reliability_frame(found: Calibration) -> pd.DataFrame:
    """Return the bins of the reliability diagram."""
    return pd.DataFrame(
        [
            {"from": one.low, "to": one.high, "labels": one.count, "mean probability": one.probability,
             "share right": one.right, "gap": one.gap}
            for one in found.bins
        ]
    )  # fmt: skip


def pairs_frame(pairs: Sequence[PairAgreement]) -> pd.DataFrame:
    """Return the agreement of every two runs."""
    return pd.DataFrame(
        [
            {"run": pair.runs[0], "and": pair.runs[1], "in both": pair.agreement.examples,
             "agreement": pair.agreement.raw, "kappa": pair.agreement.kappa}
            for pair in pairs
        ]
    )  # fmt: skip


def balances_frame(readings: Sequence[Reading]) -> pd.DataFrame:
    """Return how often each run gives each label."""
    rows = []
    for reading in readings:
        counts, labelled = balance(reading), len(reading.labeling)
        shares = {f"share {y}": counts[y] / labelled if labelled else None for y in reading.tally.labels}
        rows.append({"run": reading.run.name, "seed": reading.run.spec.search.seed, "labelled": labelled, **shares})
    return pd.DataFrame(rows)


def disagreements_frame(rows: Sequence[Disagreement], runs: Sequence[str]) -> pd.DataFrame:
    """Return examples with their label in every run; gold only where there is any."""
    frame = pd.DataFrame(
        [
            {**dict(zip(runs, row.labels, strict=True)), "agreement": row.agreeing, "gold": row.gold,
             "text": row.text, "example": row.example}
            for row in rows
        ]
    )  # fmt: skip
    return frame.drop(columns="gold") if rows and all(row.gold is None for row in rows) else frame


def utilities_frame(readings: Sequence[Reading], by: str) -> pd.DataFrame:
    """Return the curves of several runs as a table, each thinned evenly, the newest points first."""
    unit, place = AXES[by]
    rows = []
    for reading in readings:
        points = reading.trajectory.points
        for k in reversed(every_nth(len(points), CURVE_ROWS)):
            rows.append({"run": reading.run.name, unit: place(points[k]), "U": points[k].utility})
    return pd.DataFrame(rows)


def landscape_frame(found: Landscape) -> pd.DataFrame:
    """Return the landscape, the highest U first."""
    return pd.DataFrame(
        [
            {
                "labeling": place.name,
                "what it is": meaning(place.name),
                "U": decimal(place.utility, 2),
                "alpha · P": decimal(place.predictability, 2),
                "I": decimal(place.inconsistency, 2),
                "inconsistent pairs": place.pairs,
                "same as found": place.same,
                "labels": " · ".join(f"{n:,} {label}" for label, n in sorted(place.balance.items())),
                "label mass": place.label_mass,
            }
            for place in found.places
        ]
    )
