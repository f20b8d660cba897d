"""A batched run as a person reads it: how far it is, and what its batches say together.

What finished batches say is read from a row each; gold is counted once a batch, and stands beside: `batch_gold`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from icm_engine.analysis.batch_gold import GoldCounts as GoldCounts
from icm_engine.analysis.choices import put_sample
from icm_engine.analysis.shelf import Shelf, run_overview
from icm_engine.analysis.tally import Accuracy, Tally
from icm_engine.analysis.views import Overview, Progress
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Label
from icm_engine.core.own_rules import rule_title
from icm_engine.runs import batches, jobs
from icm_engine.runs.batches import Batched as Batched
from icm_engine.runs.batches import at_work as at_work
from icm_engine.runs.batches import batched as batched
from icm_engine.runs.batches import batched_of as batched_of
from icm_engine.runs.batches import is_batched as is_batched
from icm_engine.runs.batches import names as names
from icm_engine.runs.ends import End
from icm_engine.runs.events import Json, RunSpec
from icm_engine.runs.on_ray import Where
from icm_engine.runs.store import Store

AT_ONCE = 40  # batches whose labels are counted against gold at one look of their page: some 2 ms each
AT_HOME = 5  # and at one look of the list of runs

PHASES = {"done": "finished", "cancelled": "paused"}  # of a job, in the words of runs; the others have the same


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
    rule: str
    counted: int | None  # finished batches counted against gold; None where there is no gold
    blind: bool = False  # a person annotates one of the batches without seeing gold

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


def standing(
    store: Store, name: str, counts: GoldCounts, at_once: int | None = None, shelf: Shelf | None = None
) -> Standing:
    """Return where a batched run is; with `at_once`, at most so many more batches are counted against gold.

    With a `shelf`, as pages have it, nothing of gold is in it while a batch is annotated blind. Raises NotFound.
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
    return Standing(whole, phase, now.message, now.pid, len(places), ends, accuracy, rule, counted, blind)


def _touched(store: Store, whole: Batched) -> list[str]:
    """The batches that a person had a hand in, or wants to: every act was sent."""
    query = "select distinct run from commands where run >= ? and run < ? and verb = 'hand'"
    return [row[0] for row in store.db.execute(query, whole.between)]


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


def overview(store: Store, name: str, counts: GoldCounts, shelf: Shelf) -> Overview:
    """Return a batched run's line of the list of runs; its U is the median of its batches."""
    now = standing(store, name, counts, AT_HOME, shelf)
    utility = now.utilities[1] if now.utilities else None
    spec = now.whole.spec
    return Overview(
        name, now.phase, now.progress, spec.dataset, spec.model, now.labelled, now.examples, utility, now.accuracy
    )


def listed(store: Store, shelf: Shelf, counts: GoldCounts, limit: int) -> list[Overview]:
    """Return the newest runs that people asked for one by one, a batched run as one of them."""
    made = [(store.created(run), run) for run in store.run_names(of_experiments=False)[:limit]]
    whole = [(jobs.created(store, name), name) for name in names(store)]
    newest = sorted([*made, *whole], key=lambda pair: -pair[0])[:limit]
    apart = {name for _, name in whole}
    return [
        overview(store, name, counts, shelf) if name in apart else run_overview(store, shelf, name)
        for _, name in newest
    ]  # fmt: skip


def run_choices(store: Store, looked_at: str | None, wholes: bool = False) -> list[str]:
    """Return the runs to choose from, the newest first: of batches only the one looked at, and with `wholes` those."""
    listed_runs = store.run_names()
    batch = [looked_at] if looked_at and looked_at not in listed_runs and store.has_run(looked_at) else []
    return [*batch, *(names(store) if wholes else []), *listed_runs]


def ask(store: Store, spec: RunSpec, size: int, side_by_side: int = 1, where: Where | None = None) -> str:
    """Start a batched run, first putting a sample data set into the database; return its name."""
    put_sample(store, spec.dataset)
    return batches.ask(store, spec, size, side_by_side, where=where)


def begin_batches(store: Store, spec: RunSpec, size: int, chains: int) -> str:
    """Start a batched run and return its name. Raises SettingError for several chains, which batches do not have."""
    if chains > 1:
        raise SettingError(f"{chains} chains and a batch size of {size} do not go together: use one")
    return ask(store, spec, size)
