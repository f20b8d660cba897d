"""Read models of runs: what a page or a command shows, computed from events after a cursor.

Gold is read here and in nothing that the search reaches; it only ever stands beside the labels.
"""

import math
from dataclasses import dataclass

from icm_engine.analysis.reading import Reading, Source, empty_reading
from icm_engine.analysis.tally import Accuracy
from icm_engine.analysis.wording import duration, one_line
from icm_engine.core.labeling import Label
from icm_engine.data.gold import load_gold
from icm_engine.runs import control
from icm_engine.runs.control import RunStatus
from icm_engine.runs.events import Codec, Json
from icm_engine.runs.store import Store

BATCH = 2000  # events read at once, so that a long run is not held in memory twice


def open_reading(store: Store, run: str) -> Reading:
    """Return a reading of a run at its beginning. Raises NotFound for a run or data set that does not exist."""
    spec = store.spec(run)
    dataset = store.dataset(spec.dataset, spec.limit)
    ids = [example.id for example in dataset.examples]
    known = load_gold(store, spec.dataset).labels
    gold = {name: known[name] for name in ids if name in known}
    return empty_reading(Source(run, spec, dataset, Codec(ids, dataset.task.labels), gold))


def refreshed(store: Store, reading: Reading) -> Reading:
    """Return the reading with every event that has come since."""
    while events := store.read_after(reading.source.run, reading.cursor, limit=BATCH):
        reading = reading.extended(events)
    return reading


def load(store: Store, run: str) -> Reading:
    """Return everything there is to read of a run."""
    return refreshed(store, open_reading(store, run))


# -- the run as a whole


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: `share` is between 0 and 1, `seconds_left` None where there is nothing to judge it by."""

    steps: int
    max_steps: int
    share: float
    seconds_left: float | None

    @property
    def words(self) -> str:
        """The progress as a person reads it."""
        left = "" if self.seconds_left is None else f" · about {duration(self.seconds_left)} left"
        return f"{self.steps:,} of {self.max_steps:,} steps{left}"


def progress(reading: Reading, status: RunStatus) -> Progress:
    """Return how far the run is; the time left goes by the mean of the last 50 steps, while it runs."""
    steps, most = status.steps, status.max_steps
    share = min(1.0, steps / most) if most else 0.0
    running = status.phase == "running" and reading.pace and most > steps
    left = (most - steps) * sum(reading.pace) / len(reading.pace) if running else None
    return Progress(steps, most, share, left)


@dataclass(frozen=True, slots=True)
class Overview:
    """One line of the list of runs."""

    run: str
    phase: str
    progress: Progress
    dataset: str
    model: str
    labelled: int
    examples: int
    utility: float | None
    accuracy: Accuracy | None


def overview(reading: Reading, status: RunStatus) -> Overview:
    """Return a run's line of the list."""
    source, last = reading.source, reading.trajectory.last
    return Overview(
        source.run,
        status.phase,
        progress(reading, status),
        source.spec.dataset,
        source.spec.model,
        reading.tally.labelled,
        len(source.dataset.examples),
        last.utility if last else None,
        reading.tally.accuracy if last else None,
    )


def run_summary(store: Store, run: str) -> Json:
    """Return what `run`, `resume` and `show` print as JSON; the accuracies only where there is gold."""
    return summary(load(store, run), control.status(store, run))


def summary(reading: Reading, status: RunStatus) -> Json:
    """Return the summary of a run already read; `acceptance_rate` is over all its proposals."""
    last, spent, tally = reading.trajectory.last, reading.spent, reading.tally
    result: Json = {
        "run": reading.source.run,
        "status": status.phase,
        "steps": status.steps,
        "labelled": tally.labelled,
        "examples": len(reading.source.dataset.examples),
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
    if (accuracy := tally.accuracy) is not None:
        result |= {"accuracy": accuracy.raw, "balanced_accuracy": accuracy.balanced}
        result["accuracy_flipped"] = accuracy.flipped
    return result


def acceptance_rate(reading: Reading) -> float | None:
    """Return the share of all proposals that were accepted; unchanged steps proposed nothing."""
    return reading.accepted / reading.proposals if reading.proposals else None


# -- examples


@dataclass(frozen=True, slots=True)
class Conflict:
    """One pair that is inconsistent now, with what the rule read of it."""

    rule: str
    examples: tuple[str, str]  # ids
    texts: tuple[str, str]
    answers: tuple[str | None, str | None]
    labels: tuple[Label, Label]


def conflicts_now(reading: Reading) -> tuple[Conflict, ...]:
    """Return the inconsistent pairs of the accepted labeling."""
    if reading.state is None:
        return ()
    examples, labeling = reading.source.dataset.examples, reading.labeling
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
    """Return the consistency rule that this run goes by."""
    return reading.source.spec.rule or reading.source.dataset.task.rule


def example_text(reading: Reading, i: int) -> str:
    """Return an example's texts, one field a line: text from outside, never markup."""
    return "\n".join(reading.source.dataset.examples[i].fields.values())


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One example with its label now; `probability` is of that label given all the others, over the labels."""

    example: str  # id
    text: str
    label: Label | None
    probability: float | None
    last_change: int | None  # step
    flips: int
    gold: Label | None


def labels_table(reading: Reading, limit: int | None = None) -> tuple[LabelRow, ...]:
    """Return the examples in data set order; with `limit`, the labelled ones first and only so many."""
    order: list[int] = list(range(len(reading.source.dataset.examples)))
    if limit is not None:
        order = sorted(order, key=lambda i: i not in reading.labeling)[:limit]
    return tuple(_label_row(reading, i) for i in order)


def _label_row(reading: Reading, i: int) -> LabelRow:
    name = reading.source.dataset.examples[i].id
    label, change = reading.labeling.get(i), reading.changes.get(i)
    return LabelRow(
        name,
        one_line(example_text(reading, i)),
        label,
        _probability(reading, i, label),
        change.last if change else None,
        change.flips if change else 0,
        reading.source.gold.get(name),
    )


def _probability(reading: Reading, i: int, label: Label | None) -> float | None:
    if reading.state is None or label is None or i not in reading.state.evaluation.scores:
        return None
    return math.exp(reading.state.evaluation.scores[i].normalized[reading.tally.labels.index(label)])


# -- what a person must know about the model


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to know before believing what is shown: a title of ours, and a detail."""

    kind: str
    text: str


def notices(reading: Reading) -> tuple[Notice, ...]:
    """Return what must be said about this run's labels: a stand-in model, a supervised start, a long context."""
    found = []
    spec, source = reading.source.spec, reading.source.dataset.source
    if spec.model == "sample" and not source.startswith("sample"):
        text = "A sample model is in use: its labels on data that is not sample data mean nothing."
        found.append(Notice("sample-model", text))
    if spec.model == "fake":
        found.append(Notice("fake-model", "A stand-in for a model is in use: its labels mean nothing."))
    if spec.supervised:
        found.append(Notice("supervised", "Supervised: this run started from labels that a person or gold gave."))
    if too_long := _beyond_training(reading.model):
        found.append(Notice("context", too_long))
    return tuple(found)


def _beyond_training(model: Json) -> str | None:
    trained, longest = model.get("trained_context"), model.get("longest_prompt")
    if not trained or not longest or longest <= trained:
        return None
    return (
        f"The longest prompt of this run may have {longest:,} tokens, the model was trained on up to {trained:,}: "
        "expect worse labels, or use a smaller limit."
    )
