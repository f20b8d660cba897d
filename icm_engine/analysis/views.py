"""Read models of runs: what a page or a command shows, computed from the events after a cursor.

Gold is read here, in no module that the search can import, and is only compared with the labels.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain, islice

from icm_engine.analysis.formatting import decimal, duration, escaped, one_line
from icm_engine.analysis.label_history import Accuracy
from icm_engine.analysis.run_history import Reading, empty_reading
from icm_engine.analysis.traces import Point
from icm_engine.core.folds import UNTUNED
from icm_engine.core.labeling import Label
from icm_engine.core.objective import form_of
from icm_engine.data.gold import gold_of, open_gold
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.runs import control
from icm_engine.runs.control import RunStatus
from icm_engine.runs.life_cycle import LEFT, MOVING, OVER, Phase
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import SEARCH, Json, RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store

ANEW = ("retuned", "forked")  # after these events, U has another scale


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The last state of a run and its best one; they are the same if no earlier state has a higher U."""

    run: str
    last: Point
    best: Point
    unit: str = "step"

    @property
    def differs(self) -> bool:
        return self.best.event != self.last.event

    @property
    def words(self) -> str:
        """How the end compares with the best state, in sentences; empty if the run ended at its best."""
        if not self.differs:
            return ""
        more = "as many" if self.best.labelled == self.last.labelled else f"{self.best.labelled:,}"
        return (
            f"U is {decimal(self.last.utility, 2)} now and was {decimal(self.best.utility, 2)} after {self.unit} "
            f"{self.best.step:,}, with {more} examples labelled."
        )


def run_end(reading: Reading) -> RunEnd | None:
    """Return a run's current state and its best one under the current settings; None before it has labels.

    Only states that label at least as many examples as the current one count; they are compared as the form of P
    declares. Of equal states the latest is the best, so a run whose U no longer changes is at its best.
    """
    last = reading.trajectory.last
    if last is None:
        return None
    per_example = form_of(reading.config.predictability).per_example
    best, worth = last, _worth(last, per_example)
    for point in reading.trajectory.points:
        if point.verdict in ANEW or (point.step == 1 and is_first_round(reading, point)):
            best, worth = last, _worth(last, per_example)
        if point.labelled >= last.labelled and _worth(point, per_example) > worth:
            best, worth = point, _worth(point, per_example)
    return RunEnd(reading.run.name, last, best, reading.unit)


def is_first_round(reading: Reading, point: Point) -> bool:
    """Say whether no tuned model had predicted the labels before this point: U of round 0 is of another scale."""
    return reading.by_folds and point.step <= 1 and point.verdict == "accepted"


def _worth(point: Point, per_example: bool) -> float:
    return point.utility / point.labelled if per_example and point.labelled else point.utility


def open_reading(store: Store, run: str, withheld: bool = False) -> Reading:
    """Return a reading of a run at its beginning, without gold if `withheld`. Raises NotFound."""
    opened = open_run(store, run)
    if withheld:
        return replace(empty_reading(opened, {}), withheld=True)
    if opened.spec.part is not None:  # a batch is small, and its examples can be anywhere in the data set
        return empty_reading(opened, gold_of(store, opened.dataset.name, list(opened.codec.ids)))
    gold = open_gold(store, opened.dataset.name, store.places(opened.dataset.name, opened.spec.cut))
    return empty_reading(opened, gold, gold.counts)


def refreshed(store: Store, reading: Reading) -> Reading:
    """Return the reading extended by all events since.

    They are taken one by one: a list of thousands of decoded events keeps the garbage collector busy for far longer
    than it takes to read them.
    """
    run, newest = reading.run.name, store.last_number(reading.run.name)
    return reading.extended(store.read_between(run, reading.cursor, newest)) if newest > reading.cursor else reading


def load(store: Store, run: str) -> Reading:
    """Return the full reading of a run."""
    return refreshed(store, open_reading(store, run))


# -- the run as a whole


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run: `share` is between 0 and 1, `seconds_left` None if it cannot be estimated.

    `steps` counts steps, or batches for a batched run, or rounds, which may end early; `within` says how far the round
    in progress is.
    """

    steps: int
    max_steps: int
    share: float
    seconds_left: float | None
    unit: str = "steps"
    within: str = ""

    @property
    def words(self) -> str:
        """The progress, in words."""
        most = "at most " if self.unit == ROUNDS else ""
        left = "" if self.seconds_left is None else f" · {most or 'about '}{duration(self.seconds_left)} left"
        return f"{self.steps:,} of {most}{self.max_steps:,} {self.unit}{self.within}{left}"


ROUNDS = "rounds"


def progress(reading: Reading, status: RunStatus) -> Progress:
    """Return the progress. The time left is estimated from the mean of the last 50 steps while the run is moving."""
    if reading.by_folds:
        return _progress_by_folds(reading, status)
    steps, most = status.steps, status.max_steps
    share = min(1.0, steps / most) if most else float(status.complete)
    running = status.phase == "running" and reading.pace and most > steps
    left = (most - steps) * sum(reading.pace) / len(reading.pace) if running else None
    return Progress(steps, most, share, left)


def _progress_by_folds(reading: Reading, status: RunStatus) -> Progress:
    """The time left is at most that of all rounds, at the mean time of the last fits."""
    steps, most, folds = status.steps, status.max_steps, reading.folds
    done = 0 if status.complete else sum(fit.fold != UNTUNED for fit in reading.fitted)
    share = 1.0 if status.complete else min(1.0, (steps + done / folds) / most)
    running = status.phase == "running" and reading.pace and most > steps
    left = ((most - steps) * folds - done) * sum(reading.pace) / len(reading.pace) if running else None
    within = f" · {done} of {folds} folds fitted" if done else ""
    return Progress(steps, most, share, left, ROUNDS, within)


def ended_words(reading: Reading, status: RunStatus) -> str:
    """Say after which step or round a run ended, and why if it is one with folds."""
    last = reading.trajectory.last
    ended = f"Ended at step {status.steps:,}" if not reading.by_folds else f"Ended after round {status.steps:,}"
    if not reading.by_folds or last is None:
        return ended
    if status.phase != "finished" or not reading.rounds:
        return f"{ended}, stopped by a person"
    if reading.rounds[-1].left:
        return f"{ended}, the last of at most {status.max_steps:,}"
    if reading.rounds[-1].most == 0:
        return f"{ended}: it changed one group and was not kept, so no smaller change is left"
    return f"{ended}: no other labels would have a higher U by the last predictions"


@dataclass(frozen=True, slots=True)
class Overview:
    """One line in the list of runs."""

    run: str
    phase: Phase
    progress: Progress
    dataset: str
    model: str
    labelled: int
    examples: int
    utility: float | None
    accuracy: Accuracy | None
    source: str = SEARCH
    preset: str = ""
    alpha: float | None = None
    seed: int | None = None
    best: float | None = None  # the highest U of a state with as many labels
    conflicts: int | None = None  # inconsistent pairs now
    edited: bool = False  # a person changed labels, pins or settings
    created: float = 0.0  # seconds since 1970

    @property
    def moving(self) -> bool:
        """Whether the numbers change without a person."""
        return self.phase in MOVING

    @property
    def label(self) -> str:
        """The run's name as a link text, escaped for Streamlit's Markdown."""
        return escaped(self.run)


def overview(reading: Reading, status: RunStatus, created: float = 0.0) -> Overview:
    """Return a run's line in the list of runs."""
    source, last, end = reading.run, reading.trajectory.last, run_end(reading)
    return Overview(
        source.name,
        status.phase,
        progress(reading, status),
        source.spec.dataset,
        source.spec.model,
        reading.tally.labelled,
        len(source.dataset.examples),
        last.utility if last else None,
        reading.tally.accuracy if last else None,
        source.spec.source,
        source.spec.preset_name,
        reading.config.alpha,
        source.spec.search.seed,
        end.best.utility if end else None,
        last.pairs if last else None,
        bool(reading.moments) or any(point.verdict == "retuned" for point in reading.outline.points),
        created,
    )


STATUSES = ("Any status", "Moving", "Waiting", "Ended")


def has_status(phase: Phase, status: str) -> bool:
    """Say whether a run in this phase has one of STATUSES."""
    found = {"Moving": phase in MOVING, "Waiting": phase in LEFT, "Ended": phase in OVER}
    return found.get(status, True)


def mentions(run: str, spec: RunSpec, words: str) -> bool:
    """Say whether a run's name, data set, model, label source or preset contains `words`, in any case."""
    text = " ".join((run, spec.dataset, spec.model, spec.source, spec.preset_name))
    return words.strip().casefold() in text.casefold()


def run_summary(store: Store, run: str) -> Json:
    """Return what `run`, `resume` and `show` print as JSON; accuracies only where there is gold."""
    return summary(load(store, run), control.status(store, run))


def summary(reading: Reading, status: RunStatus) -> Json:
    """Return the summary of a reading; `acceptance_rate` covers all proposals."""
    last, spent, tally = reading.trajectory.last, reading.spent, reading.tally
    result: Json = {
        "run": reading.run.name,
        "status": status.phase,
        "steps": status.steps,
        "labelled": tally.labelled,
        "examples": len(reading.run.dataset.examples),
        "label_balance": dict(zip(tally.labels, tally.balance, strict=True)),
        "utility": last.utility if last else None,
        "mutual_predictability": reading.state.evaluation.mutual_predictability if reading.state else None,
        "inconsistency": last.inconsistency if last else None,
        "temperature": last.temperature if last else None,
        "acceptance_rate": acceptance_rate(reading),
        "prompts_scored": spent.prompts,
        "tokens_encoded": spent.tokens_encoded,
        "set_evaluations": spent.set_evaluations,
        "seconds": spent.seconds,
        "pid": status.pid,
    }
    if reading.by_folds:
        result |= {"fits": spent.fits, "tokens_tuned": spent.tokens_tuned}
    if (end := run_end(reading)) is not None:
        result |= {"best_utility": end.best.utility, "best_step": end.best.step, "best_event": end.best.event}
    if reading.shrunk is not None:
        result["tokens_at_once"] = reading.shrunk["tokens"]
    if reading.retries.count:
        result["retries"] = reading.retries.count
    if (accuracy := tally.accuracy) is not None:
        result |= {"accuracy": accuracy.raw, "balanced_accuracy": accuracy.balanced}
        result["accuracy_flipped"] = accuracy.flipped
    return result


def acceptance_rate(reading: Reading) -> float | None:
    """Return the share of proposals that were accepted; unchanged steps proposed nothing."""
    return reading.accepted / reading.proposals if reading.proposals else None


# -- examples


@dataclass(frozen=True, slots=True)
class Conflict:
    """One inconsistent pair, with the answers that the rule read from it."""

    rule: str
    examples: tuple[str, str]  # ids
    texts: tuple[str, str]
    answers: tuple[str | None, str | None]
    labels: tuple[Label, Label]


def conflicts_now(reading: Reading) -> tuple[Conflict, ...]:
    """Return the inconsistent pairs of the accepted labeling."""
    if reading.state is None:
        return ()
    examples, labeling = reading.run.dataset.examples, reading.labeling
    rule = rule_name(reading)
    return tuple(
        Conflict(
            rule,
            (examples[i].id, examples[j].id),
            (example_text(reading, i), example_text(reading, j)),
            (examples[i].answer, examples[j].answer),
            (labeling[i], labeling[j]),
        )
        for i, j in reading.state.evaluation.pairs
    )


def rule_name(reading: Reading) -> str:
    """Return the run's consistency rule."""
    return reading.run.rule_name


def example_text(reading: Reading, i: int) -> str:
    """Return an example's texts, one field per line, unescaped."""
    return "\n".join(reading.run.dataset.examples[i].fields.values())


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One example and its label; `probability` is the label's given all others, renormalised over the labels.

    With folds, it is that of the model tuned on the labels of the other folds.
    """

    example: str  # id
    text: str
    label: Label | None
    probability: float | None
    last_change: int | None  # step
    flips: int
    gold: Label | None


def labels_table(reading: Reading, limit: int | None = None) -> tuple[LabelRow, ...]:
    """Return the examples in data set order; with `limit`, at most this many, labelled ones first."""
    order: Iterable[int] = range(len(reading.run.dataset.examples))
    if limit is not None:
        unlabelled = (i for i in order if i not in reading.labeling)
        order = islice(chain(sorted(reading.labeling), unlabelled), limit)
    return tuple(_label_row(reading, i) for i in order)


def _label_row(reading: Reading, i: int) -> LabelRow:
    name = reading.run.dataset.examples[i].id
    label, change = reading.labeling.get(i), reading.changes.get(i)
    return LabelRow(
        name,
        one_line(example_text(reading, i)),
        label,
        reading.probability(i),
        change.last if change else None,
        change.flips if change else 0,
        reading.gold.get(name),
    )


# -- notices about the labels


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to know before trusting what is shown: a title and a detail."""

    kind: str
    text: str


def notices(reading: Reading) -> tuple[Notice, ...]:
    """Return the notices about a run's labels: a stand-in model, a supervised start, a long context."""
    found = []
    spec, dataset = reading.run.spec, reading.run.dataset
    if spec.model == "sample" and not is_sample(dataset):
        text = "A sample model is in use: its labels on data that is not sample data mean nothing."
        found.append(Notice("sample-model", text))
    if spec.model == "fake":
        found.append(Notice("fake-model", "The fake model is in use: its labels mean nothing."))
    if spec.supervised:
        where = f" ({spec.given_from})" if spec.given_from else ""
        found.append(Notice("supervised", f"Supervised: this run has labels from a person or from gold{where}."))
    if too_long := _beyond_training(reading):
        found.append(Notice("context", too_long))
    return tuple(found)


def searches(reading: Reading) -> bool:
    """Say whether a run is a search by prompting; other label sources take no steps."""
    return reading.run.spec.source == SEARCH


def moves(reading: Reading) -> bool:
    """Say whether a run takes steps or rounds; other label sources label everything at once."""
    return searches(reading) or reading.by_folds


NOT_KEPT = (
    "This run takes its predictions from models tuned on folds, which are not kept, and prompts would give another U: "
    "other labels cannot be scored here. A fork goes on from any of its rounds with other settings."
)


def is_sample(dataset: Dataset) -> bool:
    """Say whether the sample model was trained for this data set, and not merely for one of the same name."""
    return dataset.name in SAMPLE_DATASETS and dataset.task.name == dataset.name


def _beyond_training(reading: Reading) -> str | None:
    trained, reached = reading.model.get("trained_context"), reading.spent.prompt_tokens
    if not trained or reached <= trained:
        return None
    return (
        f"Prompts have reached {reached:,} tokens on average, the model was trained on up to {trained:,}: "
        "expect worse labels; a smaller limit keeps prompts shorter."
    )


@dataclass(frozen=True, slots=True)
class ExampleView:
    """An example as a card shows it; its texts are untrusted."""

    place: int
    id: str
    text: str
    group: str
    answer: str | None
    gold: Label | None  # None also where gold must not be shown


def shown(reading: Reading, example: str) -> ExampleView:
    """Return the example of this id as a card shows it. Raises KeyError."""
    i = reading.run.codec.index(example)
    found = reading.run.dataset.examples[i]
    return ExampleView(i, example, example_text(reading, i), found.group, found.answer, reading.gold.get(example))


def known(reading: Reading, example: str) -> ExampleView | None:
    """Return the example of this id; None if the run has none (a URL may name anything)."""
    try:
        return shown(reading, example)
    except KeyError:
        return None
