"""Batched runs as pages and commands show them: phase, numbers and tables, compared with gold.

A finished batch is read from one summary row. Gold is counted once per batch.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from icm_engine import jobs
from icm_engine.analysis.formatting import DASH, count, decimal, duration, escaped, percent
from icm_engine.analysis.label_history import Accuracy, LabelCounts, counted
from icm_engine.analysis.run_cache import RunCache, run_overview
from icm_engine.analysis.run_form import put_sample
from icm_engine.analysis.status_tiles import Tile
from icm_engine.analysis.views import STATUSES, Overview, Progress, has_status, mentions
from icm_engine.cluster import ClusterSpec
from icm_engine.core.custom_rules import rule_title
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Label
from icm_engine.data.gold import gold_of, open_gold
from icm_engine.jobs import batches
from icm_engine.jobs.batches import BatchedRun, BatchResult, read_ends
from icm_engine.jobs.batches import at_work as at_work
from icm_engine.jobs.batches import batched as batched
from icm_engine.jobs.batches import is_batched as is_batched
from icm_engine.jobs.batches import names as names
from icm_engine.runs import control
from icm_engine.runs.life_cycle import Phase
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.replay import current_state, open_run
from icm_engine.store.store import Store

if TYPE_CHECKING:
    import pandas


@dataclass
class GoldCounts:
    """Cached counts against gold, batch by batch; each refresh reads only what changed."""

    read: dict[tuple[str, str, float], tuple[int, dict[str, BatchResult]]] = field(default_factory=dict)
    known: dict[str, tuple[int, LabelCounts]] = field(default_factory=dict)
    labels: dict[tuple[str, str, int, int], Mapping[Label, int]] = field(default_factory=dict)

    def ends(self, store: Store, whole: BatchedRun) -> list[BatchResult]:
        """Return how the finished batches ended; only runs with new events are read again."""
        key = (str(store.path), whole.name, jobs.created(store, whole.name))
        newest = int(store.db.execute("select max(rowid) from events").fetchone()[0] or 0)  # rows are only ever added
        if key not in self.read:
            self.read[key] = newest, {end.run: end for end in batches.ends(store, whole)}
        seen, found = self.read[key]
        if newest != seen:
            moved = "select distinct run from events where rowid > ? and rowid <= ? and run >= ? and run < ?"
            for (run,) in store.db.execute(moved, [seen, newest, *whole.between]).fetchall():
                found |= {end.run: end for end in read_ends(store, run, f"{run}!")}  # "!" sorts before every digit
            self.read[key] = newest, found
        return list(found.values())

    def gold(self, store: Store, dataset: str, places: Sequence[int]) -> Mapping[Label, int]:
        """Return the number of each gold label at these places of a data set; empty without gold."""
        labels = store.dataset_info(dataset).gold
        key = (str(store.path), dataset, len(places) if isinstance(places, range) else -len(places), labels)
        if labels and key not in self.labels:
            self.labels[key] = open_gold(store, dataset, places).counts
        return self.labels.get(key, {})

    def count(self, store: Store, dataset: str, end: BatchResult) -> LabelCounts:
        """Return a batch's counts against gold, from the cache if its run has not changed."""
        if not self.fresh(store, end):
            self.known[f"{store.path}\n{end.run}"] = end.number, _counted(store, dataset, end)
        return self.known[f"{store.path}\n{end.run}"][1]

    def fresh(self, store: Store, end: BatchResult) -> bool:
        """Say whether the cached count of a batch is current."""
        kept = self.known.get(f"{store.path}\n{end.run}")
        return kept is not None and kept[0] == end.number


def _counted(store: Store, dataset: str, end: BatchResult) -> LabelCounts:
    kept = store.snapshot(end.run, end.number)
    if kept is not None and kept[0] == end.number:
        labels = dict(kept[1]["labels"])
    else:
        opened = open_run(store, end.run)
        state = current_state(store, opened)
        labels = {opened.codec.ids[i]: label for i, label in state.labeling.items()} if state else {}
    spec = store.spec(end.run)
    assert spec.part is not None
    positions = store.places(dataset, spec.cut, spec.part)
    of, names = open_gold(store, dataset, positions).counts, store.dataset_info(dataset).task.labels
    return counted(names, labels, gold_of(store, dataset, list(labels)), of)


AT_ONCE = 40  # batches counted against gold per refresh of their page, some 2 ms each
AT_HOME = 5  # and per refresh of the list of runs

PHASES: Mapping[Phase, Phase] = {
    "done": "finished",
    "cancelled": "paused",
}  # phases of a job that have another name for runs; the others are equal


@dataclass(frozen=True)
class BatchedRunStatus:
    """Status of a batched run: its phase, how its finished batches ended, and their agreement with gold.

    `accuracy` covers all examples that have gold; examples of unfinished batches count as unlabelled. It is None
    without gold, and while finished batches are still being counted.
    """

    whole: BatchedRun
    phase: Phase
    message: str
    pid: int | None
    examples: int
    ends: Sequence[BatchResult]
    accuracy: Accuracy | None
    rule: str
    counted: int | None  # finished batches counted against gold; None without gold
    blind: bool = False  # a person annotates one of the batches blind

    @property
    def utilities(self) -> tuple[float, float, float] | None:
        """Minimum, median and maximum U of the finished batches, each computed on its own examples."""
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


def batched_status(
    store: Store, name: str, counts: GoldCounts, at_once: int | None = None, shelf: RunCache | None = None
) -> BatchedRunStatus:
    """Return the status of a batched run; `at_once` limits how many more batches are counted against gold now.

    With a `shelf` (as pages have), gold is left out while a batch is annotated blind. Raises NotFound.
    """
    whole, now = batched(store, name), jobs.status(store, name)
    ends = counts.ends(store, whole)
    places = store.places(whole.spec.dataset, whole.spec.cut)
    phase = PHASES.get(now.phase, now.phase)
    blind = shelf is not None and any(shelf.reading(store, run).blind for run in _touched(store, whole))
    gold = {} if blind else counts.gold(store, whole.spec.dataset, places)
    accuracy, counted = None, None
    rule = rule_title(whole.spec.rule or store.dataset_info(whole.spec.dataset).task.rule)
    if gold:
        counted = _count(store, whole, ends, counts, at_once)
        accuracy = _accuracy(store, whole, ends, counts, gold) if counted == len(ends) else None
    return BatchedRunStatus(whole, phase, now.message, now.pid, len(places), ends, accuracy, rule, counted, blind)


def _touched(store: Store, whole: BatchedRun) -> list[str]:
    """The batches that a person has changed or asked to change."""
    query = "select distinct run from commands where run >= ? and run < ? and verb = 'hand'"
    return [row[0] for row in store.db.execute(query, whole.between)]


def _count(
    store: Store, whole: BatchedRun, ends: Sequence[BatchResult], counts: GoldCounts, at_once: int | None
) -> int:
    """Count the next batches against gold; return how many were counted."""
    waiting = [end for end in ends if not counts.fresh(store, end)]
    for end in waiting[:at_once]:
        counts.count(store, whole.spec.dataset, end)
    return len(ends) - len(waiting[at_once:] if at_once is not None else ())


def _accuracy(
    store: Store, whole: BatchedRun, ends: Sequence[BatchResult], counts: GoldCounts, gold: Mapping[Label, int]
) -> Accuracy | None:
    labels, right, wrong = store.dataset_info(whole.spec.dataset).task.labels, Counter[Label](), 0
    for end in ends:
        one = counts.count(store, whole.spec.dataset, end)
        right.update(one.right)
        wrong += one.wrong
    return LabelCounts(labels, gold, {}, right, wrong).accuracy


def summary(store: Store, name: str) -> Json:
    """Return what `run --batch-size` and `show` print as JSON; the accuracies only where there is gold."""
    now = batched_status(store, name, GoldCounts())
    low, middle, high = now.utilities or (None, None, None)
    result: Json = {
        "run": name,
        "status": now.phase,
        "message": now.message,
        "dataset": now.whole.spec.dataset,
        "model": now.whole.spec.model,
        "batch_size": now.whole.size,
        "batches": now.whole.of,
        "finished": len(now.ends),
        "steps": sum(end.steps for end in now.ends),
        "labelled": now.labelled,
        "examples": now.examples,
        "label_balance": dict(now.balance),
        "utility_min": low,
        "utility_median": middle,
        "utility_max": high,
        "inconsistency": sum(end.inconsistency for end in now.ends),
        "prompts_scored": sum(end.prompts for end in now.ends),
        "tokens_encoded": sum(end.tokens_encoded for end in now.ends),
        "set_evaluations": sum(end.set_evaluations for end in now.ends),
        "seconds": now.seconds,
        "pid": now.pid,
    }
    if now.accuracy is not None:
        result |= {"accuracy": now.accuracy.raw, "balanced_accuracy": now.accuracy.balanced}
        result["accuracy_flipped"] = now.accuracy.flipped
    return result


def overview(store: Store, name: str, counts: GoldCounts, shelf: RunCache) -> Overview:
    """Return a batched run's line in the list of runs; its U is the median over batches."""
    now = batched_status(store, name, counts, AT_HOME, shelf)
    utility = now.utilities[1] if now.utilities else None
    spec = now.whole.spec
    return Overview(
        name,
        now.phase,
        now.progress,
        spec.dataset,
        spec.model,
        now.labelled,
        now.examples,
        utility,
        now.accuracy,
        source="batches",
        preset=spec.preset_name,
        alpha=spec.search.alpha,
        seed=spec.search.seed,
        created=jobs.created(store, name),
    )


def run_list(store: Store, words: str = "", status: str = STATUSES[0]) -> list[str]:
    """Return the runs that people asked for, newest first, batched runs as one entry.

    Only those that mention `words`, if there are any, and whose phase belongs to this one of STATUSES.
    """
    made = [(store.created(run), run) for run in store.run_names(of_experiments=False)]
    whole = [(jobs.created(store, name), name) for name in names(store)]
    apart = {name for _, name in whole}
    newest = [name for _, name in sorted([*made, *whole], key=lambda pair: -pair[0])]
    if words.strip():
        newest = [name for name in newest if mentions(name, _spec(store, name, apart), words)]
    return newest if status == STATUSES[0] else [n for n in newest if has_status(_phase(store, n, apart), status)]


def _spec(store: Store, name: str, apart: Collection[str]) -> RunSpec:
    return batched(store, name).spec if name in apart else store.spec(name)


def _phase(store: Store, name: str, apart: Collection[str]) -> Phase:
    if name not in apart:
        return control.status(store, name).phase
    phase = jobs.status(store, name).phase
    return PHASES.get(phase, phase)


def any_moves(store: Store) -> bool:
    """Say whether any run or batched run is at work. Only runs with a lease or a request can be."""
    asked = "select run from leases union select run from commands where applied is null"
    whole = names(store)
    held = [row[0] for row in store.db.execute(asked)]
    return any(control.status(store, run).moving for run in held if store.has_run(run)) or any(
        jobs.status(store, name).moving for name in whole
    )


def run_lines(store: Store, shelf: RunCache, counts: GoldCounts, listed: Sequence[str]) -> list[Overview]:
    """Return these runs and batched runs as lines of the list."""
    apart = set(names(store))
    return [
        overview(store, name, counts, shelf) if name in apart else run_overview(store, shelf, name) for name in listed
    ]


def run_choices(store: Store, looked_at: str | None, wholes: bool = False) -> list[str]:
    """Return the runs to choose from, newest first. A batch is included only if viewed, batched runs with `wholes`."""
    listed_runs = store.run_names()
    batch = [looked_at] if looked_at and looked_at not in listed_runs and store.has_run(looked_at) else []
    return [*batch, *(names(store) if wholes else []), *listed_runs]


def submit(store: Store, spec: RunSpec, size: int, side_by_side: int = 1, where: ClusterSpec | None = None) -> str:
    """Start a batched run, first putting a sample data set into the database; return its name."""
    put_sample(store, spec.dataset)
    return batches.submit(store, spec, size, side_by_side, where=where)


def begin_batches(store: Store, spec: RunSpec, size: int, chains: int) -> str:
    """Start a batched run and return its name. Raises SettingError if several chains are asked for."""
    if chains > 1:
        raise SettingError(f"{chains} chains and a batch size of {size} cannot be combined: use one")
    return submit(store, spec, size)


PAGE = 50  # batches in a table


def about(now: BatchedRunStatus) -> str:
    """Describe a batched run in a line."""
    spec = now.whole.spec
    facts = (
        spec.dataset,
        f"{now.examples:,} examples",
        f"{now.whole.of:,} batches of at most {now.whole.size:,}",
        spec.model,
        spec.quantization,
        f"preset {spec.preset_name}",
        f"seed {spec.search.seed}",
    )
    return " · ".join(facts)


def tiles(now: BatchedRunStatus) -> tuple[Tile, ...]:
    """Return the tiles of a batched run; accuracy only where there is gold."""
    values, balance = now.utilities, now.balance
    spread = f"{decimal(values[0])} to {decimal(values[2])}" if values else "no batch yet"
    counts = " · ".join(f"{count:,} {escaped(label)}" for label, count in sorted(balance.items()))
    tokens = sum(end.tokens_encoded for end in now.ends)
    pairs = sum(end.inconsistency for end in now.ends)
    return (
        Tile("Batches", f"{len(now.ends):,}", f"of {now.whole.of:,} finished", "Batches whose search has ended."),
        Tile(
            "U(D), median",
            decimal(values[1] if values else None),
            spread,
            "Each finished batch has its own U: median, minimum and maximum.",
        ),
        Tile(
            "Labelled",
            f"{now.labelled:,}",
            counts or f"of {now.examples:,} examples",
            f"Labels of the finished batches; the data set has {now.examples:,} examples.",
        ),
        *_accuracy_tile(now),
        Tile("Inconsistency", decimal(pairs, 0), f"rule {now.rule}", "I(D), summed over the finished batches."),
        Tile(
            "Tokens encoded",
            count(tokens),
            duration(now.seconds),
            f"Tokens the model has read, and the time it took. {sum(end.prompts for end in now.ends):,} prompts, "
            f"{sum(end.set_evaluations for end in now.ends):,} labelings scored.",
        ),
    )


def _accuracy_tile(now: BatchedRunStatus) -> tuple[Tile, ...]:
    if now.counted is None:
        return ()
    meant = (
        "Share of all examples whose label equals gold; unlabelled examples count as wrong, also in unfinished batches."
    )
    if now.accuracy is None:
        return (Tile("Accuracy", DASH, f"{now.counted:,} of {len(now.ends):,} counted", meant),)
    flipped = "" if now.accuracy.flipped is None else f" · flipped {percent(now.accuracy.flipped)}"
    note = f"balanced {percent(now.accuracy.balanced)}{flipped}"
    return (Tile("Accuracy", percent(now.accuracy.raw), note, meant),)


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One batch in the table; None marks values that are not known yet or must not be seen."""

    number: int
    run: str
    phase: str
    steps: int
    labelled: int | None
    utility: float | None
    accuracy: float | None
    seconds: float | None


def lines(store: Store, now: BatchedRunStatus, first: int, counts: GoldCounts, count: int = PAGE) -> list[BatchLine]:
    """Return batches of a batched run from this number on, at most `count` of them."""
    ended = {end.run: end for end in now.ends}
    numbers = range(first, min(first + count, now.whole.of + 1))
    return [_line(store, now, number, ended.get(now.whole.run(number)), counts) for number in numbers]


def _line(store: Store, now: BatchedRunStatus, number: int, end: BatchResult | None, counts: GoldCounts) -> BatchLine:
    run = now.whole.run(number)
    if not store.has_run(run):
        return BatchLine(number, run, "waiting", 0, None, None, None, None)
    status = control.status(store, run)
    if end is None:
        return BatchLine(number, run, status.phase, status.steps, None, None, None, None)
    found = counts.count(store, now.whole.spec.dataset, end).accuracy if now.counted is not None else None
    right = found.raw if found else None
    return BatchLine(number, run, status.phase, end.steps, end.labelled, end.utility, right, end.seconds)


def lines_frame(found: Sequence[BatchLine], gold: bool) -> "pandas.DataFrame":
    """Return the table, with the address of the run of each batch that has begun."""
    import pandas

    frame = pandas.DataFrame(
        [
            {
                "batch": one.number,
                "run": f"/search?run={one.run}" if one.phase != "waiting" else None,
                "status": one.phase,
                "steps": one.steps,
                "labelled": one.labelled,
                "U": one.utility,
                "accuracy": one.accuracy,
                "seconds": one.seconds,
            }
            for one in found
        ]
    )
    return frame if gold else frame.drop(columns="accuracy")
