"""A batched run as a person reads it: how far it is, what its batches say together, and a table of them.

What finished batches say is read from a row each; gold is counted once a batch, and stands beside.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import pandas as pd

from icm_engine.analysis.choices import put_sample
from icm_engine.analysis.shelf import Shelf
from icm_engine.analysis.tally import Accuracy, Tally
from icm_engine.analysis.views import Overview, Progress
from icm_engine.core.labeling import Label
from icm_engine.data.gold import gold_at, gold_of, open_gold
from icm_engine.runs import batches, control, jobs
from icm_engine.runs.batches import Batched as Batched
from icm_engine.runs.batches import batched as batched
from icm_engine.runs.batches import batched_of as batched_of
from icm_engine.runs.batches import is_batched as is_batched
from icm_engine.runs.batches import names as names
from icm_engine.runs.ends import End
from icm_engine.runs.events import Json, RunSpec
from icm_engine.runs.parts import read_part
from icm_engine.runs.replay import current_state, open_run
from icm_engine.runs.store import Store

PAGE = 50  # batches in a table
AT_ONCE = 200  # batches whose labels are counted against gold at one look of a page

PHASES = {"done": "finished", "cancelled": "paused"}  # of a job, in the words of runs; the others have the same


@dataclass(frozen=True, slots=True)
class Right:
    """A batch's labels against gold, after an event of its run: how many are right, by gold label, and wrong.

    `total` are the examples of the batch that have gold, labelled or not.
    """

    number: int
    right: Mapping[Label, int]
    wrong: int
    total: int

    @property
    def accuracy(self) -> float | None:
        """Share of right labels, unlabelled examples counted as wrong."""
        return sum(self.right.values()) / self.total if self.total else None


@dataclass
class GoldCounts:
    """What was counted of batches against gold, kept between looks, so that no batch is counted twice."""

    known: dict[str, Right] = field(default_factory=dict)

    def count(self, store: Store, dataset: str, end: End) -> Right:
        """Return a batch's count, from what is kept if its run has not moved since."""
        kept = self.known.get(key := f"{store.path}\n{end.run}")
        if kept is None or kept.number != end.number:
            kept = self.known[key] = _counted(store, dataset, end)
        return kept

    def fresh(self, store: Store, end: End) -> bool:
        """Whether the count of a batch is kept."""
        kept = self.known.get(f"{store.path}\n{end.run}")
        return kept is not None and kept.number == end.number


def _counted(store: Store, dataset: str, end: End) -> Right:
    kept = store.snapshot(end.run, end.number)
    if kept is not None and kept[0] == end.number:
        labels = dict(kept[1]["labels"])
    else:
        opened = open_run(store, end.run)
        state = current_state(store, opened)
        labels = {opened.codec.ids[i]: label for i, label in state.labeling.items()} if state else {}
    gold = gold_of(store, dataset, list(labels))
    right = Counter(label for example, label in gold.items() if labels[example] == label)
    spec = store.spec(end.run)
    assert spec.part is not None
    positions = read_part(store.db, dataset, store.dataset_size(dataset, spec.limit), spec.part)
    return Right(end.number, right, len(gold) - right.total(), gold_at(store, dataset, positions))


@dataclass(frozen=True)
class Standing:
    """Where a batched run is: its phase, the ends of its finished batches, and gold beside them.

    `accuracy` is over all examples that have gold, those of unfinished batches counted as unlabelled; None without
    gold, and while some finished batches are still to be counted.
    """

    whole: Batched
    phase: str
    message: str
    pid: int | None
    examples: int
    ends: Sequence[End]
    accuracy: Accuracy | None
    counted: int | None  # finished batches counted against gold; None where there is no gold

    @property
    def utilities(self) -> tuple[float, float, float] | None:
        """The least, the median and the greatest U of the finished batches, each of its own examples."""
        values = [end.utility for end in self.ends]
        return (min(values), median(values), max(values)) if values else None

    @property
    def labelled(self) -> int:
        return sum(end.labelled for end in self.ends)

    @property
    def seconds(self) -> float:
        return sum(end.seconds for end in self.ends)

    @property
    def balance(self) -> Counter[Label]:
        counts = Counter[Label]()
        for end in self.ends:
            counts.update(end.balance)
        return counts

    @property
    def progress(self) -> Progress:
        done = len(self.ends)
        return Progress(done, self.whole.of, done / self.whole.of, None, "batches")


def standing(store: Store, name: str, counts: GoldCounts | None = None, at_once: int | None = None) -> Standing:
    """Return where a batched run is; with `at_once`, at most so many more batches are counted against gold.

    Without `counts`, gold is left alone. Raises NotFound.
    """
    whole, now = batched(store, name), jobs.status(store, name)
    ends = batches.ends(store, whole)
    size = store.dataset_size(whole.spec.dataset, whole.spec.limit)
    phase = PHASES.get(now.phase, now.phase)
    gold = open_gold(store, whole.spec.dataset, size).counts if counts is not None else {}
    accuracy, counted = None, None
    if counts is not None and gold:
        counted = _count(store, whole, ends, counts, at_once)
        accuracy = _accuracy(store, whole, ends, counts, gold) if counted == len(ends) else None
    return Standing(whole, phase, now.message, now.pid, size, ends, accuracy, counted)


def _count(store: Store, whole: Batched, ends: Sequence[End], counts: GoldCounts, at_once: int | None) -> int:
    """Count the next batches against gold; return how many have been counted."""
    waiting = [end for end in ends if not counts.fresh(store, end)]
    for end in waiting[:at_once]:
        counts.count(store, whole.spec.dataset, end)
    return len(ends) - len(waiting[at_once:] if at_once is not None else ())


def _accuracy(
    store: Store, whole: Batched, ends: Sequence[End], counts: GoldCounts, gold: Mapping[Label, int]
) -> Accuracy | None:
    labels, right, wrong = store.dataset_info(whole.spec.dataset).task.labels, Counter[Label](), 0
    for end in ends:
        one = counts.count(store, whole.spec.dataset, end)
        right.update(one.right)
        wrong += one.wrong
    return Tally(labels, gold, {}, right, wrong).accuracy


def summary(store: Store, name: str) -> Json:
    """Return what `run --batch-size` and `show` print as JSON; the accuracies only where there is gold."""
    now = standing(store, name, GoldCounts())
    low, middle, high = now.utilities or (None, None, None)
    result: Json = {
        "run": name, "status": now.phase, "message": now.message, "dataset": now.whole.spec.dataset,
        "model": now.whole.spec.model, "batch_size": now.whole.size, "batches": now.whole.of,
        "finished": len(now.ends), "steps": sum(end.steps for end in now.ends), "labelled": now.labelled,
        "examples": now.examples, "label_balance": dict(now.balance), "utility_min": low, "utility_median": middle,
        "utility_max": high, "inconsistency": sum(end.inconsistency for end in now.ends),
        "prompts_scored": sum(end.prompts for end in now.ends),
        "tokens_encoded": sum(end.tokens_encoded for end in now.ends),
        "set_evaluations": sum(end.set_evaluations for end in now.ends), "seconds": now.seconds, "pid": now.pid,
    }  # fmt: skip
    if now.accuracy is not None:
        result |= {"accuracy": now.accuracy.raw, "balanced_accuracy": now.accuracy.balanced}
        result["accuracy_flipped"] = now.accuracy.flipped
    return result


def overview(store: Store, name: str, counts: GoldCounts) -> Overview:
    """Return a batched run's line of the list of runs; its U is the median of its batches."""
    now = standing(store, name, counts, at_once=AT_ONCE)
    utility = now.utilities[1] if now.utilities else None
    spec = now.whole.spec
    return Overview(
        name, now.phase, now.progress, spec.dataset, spec.model, now.labelled, now.examples, utility, now.accuracy
    )


def ask(store: Store, spec: RunSpec, size: int, side_by_side: int = 1) -> str:
    """Start a batched run, first putting a sample data set into the database; return its name."""
    put_sample(store, spec.dataset)
    return batches.ask(store, spec, size, side_by_side)


def membership(store: Store, run: str) -> tuple[Batched, int] | None:
    """Return of which batched run a run is a batch, and which one; None of any other run."""
    return batched_of(store, run)


# -- the table


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


def lines(
    store: Store, now: Standing, first: int, counts: GoldCounts | None, shelf: Shelf, count: int = PAGE
) -> list[BatchLine]:
    """Return batches of a batched run from this number on, at most `count` of them."""
    ended = {end.run: end for end in now.ends}
    numbers = range(first, min(first + count, now.whole.of + 1))
    return [_line(store, now, number, ended.get(now.whole.run(number)), counts, shelf) for number in numbers]


def _line(
    store: Store, now: Standing, number: int, end: End | None, counts: GoldCounts | None, shelf: Shelf
) -> BatchLine:
    run = now.whole.run(number)
    if not store.has_run(run):
        return BatchLine(number, run, "waiting", 0, None, None, None, None)
    status = control.status(store, run)
    if end is None:
        return BatchLine(number, run, status.phase, status.steps, None, None, None, None)
    accuracy = _accuracy_of(store, now, end, counts, shelf) if counts is not None else None
    return BatchLine(number, run, status.phase, end.steps, end.labelled, end.utility, accuracy, end.seconds)


def _accuracy_of(store: Store, now: Standing, end: End, counts: GoldCounts, shelf: Shelf) -> float | None:
    """Of a batch in which a person had a hand, nothing while it is annotated blind."""
    if store.last_event(end.run, ("hand",)) is not None or store.pending(end.run):
        seen = shelf.reading(store, end.run)
        if seen.blind:
            return None
    return counts.count(store, now.whole.spec.dataset, end).accuracy


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
