"""A batched run in numbers and rows: its line, its tiles, its table of batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from icm_engine.analysis.batch_gold import GoldCounts
from icm_engine.analysis.batches import Standing
from icm_engine.analysis.strip import Tile
from icm_engine.analysis.wording import DASH, count, decimal, duration, escaped, percent
from icm_engine.runs import control
from icm_engine.runs.ends import End
from icm_engine.runs.store import Store

PAGE = 50  # batches in a table


def about(now: Standing) -> str:
    """Return what a batched run is, in a line."""
    spec = now.whole.spec
    facts = (spec.dataset, f"{now.examples:,} examples", f"{now.whole.of:,} batches of at most {now.whole.size:,}",
             spec.model, spec.quantization, f"preset {spec.preset}", f"seed {spec.search.seed}")  # fmt: skip
    return " · ".join(facts)


def tiles(now: Standing) -> tuple[Tile, ...]:
    """Return the numbers over all finished batches, the accuracy only where there is gold."""
    values, balance = now.utilities, now.balance
    spread = f"{decimal(values[0])} to {decimal(values[2])}" if values else "no batch yet"
    counts = " · ".join(f"{count:,} {escaped(label)}" for label, count in sorted(balance.items()))
    tokens = sum(end.tokens_encoded for end in now.ends)
    pairs = sum(end.inconsistency for end in now.ends)
    return (
        Tile("Batches", f"{len(now.ends):,}", f"of {now.whole.of:,} finished", "Batches whose search has ended."),
        Tile("U(D), median", decimal(values[1] if values else None), spread,
             "U of each finished batch is about its own examples: the middle one, and the least to the greatest."),
        Tile("Labelled", f"{now.labelled:,}", counts or f"of {now.examples:,} examples",
             f"Labels of the finished batches; the data set has {now.examples:,} examples."),
        *_accuracy_tile(now),
        Tile("Inconsistency", decimal(pairs, 0), f"rule {now.rule}", "I(D), summed over the finished batches."),
        Tile("Tokens encoded", count(tokens), duration(now.seconds),
             f"Tokens the model has read, and the time it took. {sum(end.prompts for end in now.ends):,} prompts, "
             f"{sum(end.set_evaluations for end in now.ends):,} labelings scored."),
    )  # fmt: skip


def _accuracy_tile(now: Standing) -> tuple[Tile, ...]:
    if now.counted is None:
        return ()
    meant = "Share of all examples labelled as gold says; unlabelled counts as wrong, also in batches not finished."
    if now.accuracy is None:
        return (Tile("Accuracy", DASH, f"{now.counted:,} of {len(now.ends):,} counted", meant),)
    flipped = "" if now.accuracy.flipped is None else f" · flipped {percent(now.accuracy.flipped)}"
    note = f"balanced {percent(now.accuracy.balanced)}{flipped}"
    return (Tile("Accuracy", percent(now.accuracy.raw), note, meant),)


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One batch of the table; what is None is not known yet, or not to be seen."""

    number: int
    run: str
    phase: str
    steps: int
    labelled: int | None
    utility: float | None
    accuracy: float | None
    seconds: float | None


def lines(store: Store, now: Standing, first: int, counts: GoldCounts, count: int = PAGE) -> list[BatchLine]:
    """Return batches of a batched run from this number on, at most `count` of them."""
    ended = {end.run: end for end in now.ends}
    numbers = range(first, min(first + count, now.whole.of + 1))
    return [_line(store, now, number, ended.get(now.whole.run(number)), counts) for number in numbers]


def _line(store: Store, now: Standing, number: int, end: End | None, counts: GoldCounts) -> BatchLine:
    run = now.whole.run(number)
    if not store.has_run(run):
        return BatchLine(number, run, "waiting", 0, None, None, None, None)
    status = control.status(store, run)
    if end is None:
        return BatchLine(number, run, status.phase, status.steps, None, None, None, None)
    accuracy = counts.count(store, now.whole.spec.dataset, end).accuracy if now.counted is not None else None
    return BatchLine(number, run, status.phase, end.steps, end.labelled, end.utility, accuracy, end.seconds)


def lines_frame(found: Sequence[BatchLine], gold: bool) -> pd.DataFrame:
    """Return the table, with the address of each begun batch's run."""
    frame = pd.DataFrame(
        [
            {"batch": one.number, "run": f"/search?run={one.run}" if one.phase != "waiting" else None,
             "status": one.phase, "steps": one.steps, "labelled": one.labelled, "U": one.utility,
             "accuracy": one.accuracy, "seconds": one.seconds}
            for one in found
        ]
    )  # fmt: skip
    return frame if gold else frame.drop(columns="accuracy")
