"""Forks: the tree of runs, where two runs diverge, and what-if questions about one label."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from icm_engine import jobs
from icm_engine.analysis.formatting import count, decimal, duration, percent
from icm_engine.analysis.run_history import Reading
from icm_engine.core.folds import ROUNDS
from icm_engine.core.labeling import Label
from icm_engine.jobs import JobSpec
from icm_engine.runs import control, fork, model_registry
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.store import Store

STEPS = 100  # that a fork takes, unless asked otherwise


@dataclass(frozen=True, slots=True)
class Branch:
    """One run of a tree: its depth, where it diverged from its parent, and which settings differ."""

    run: str
    depth: int
    step: int | None  # event of the parent at which it diverged; None for the root
    changes: Mapping[str, tuple[Any, Any]]  # setting -> (parent's, its own)


def tree(store: Store, run: str) -> tuple[Branch, ...]:
    """Return the tree of runs that a run belongs to, each parent before its forks."""
    root = run
    while (parent := store.spec(root).forked_from) is not None and store.has_run(parent):
        root = parent
    return tuple(_branches(store, root, 0))


def _branches(store: Store, run: str, depth: int) -> list[Branch]:
    spec = store.spec(run)
    parted = store.last_event(run, ("forked",))
    parent = spec.forked_from if depth else None
    changes = _changes(store.spec(parent), spec) if parent else {}
    found = [Branch(run, depth, parted.step["step"] if parted and parent else None, changes)]
    for child in fork.children(store, run):
        found += _branches(store, child, depth + 1)
    return found


def _changes(parent: RunSpec, child: RunSpec) -> dict[str, tuple[Any, Any]]:
    """The settings and the rule that a fork changes."""
    before = {**asdict(parent.search), "rule": parent.rule}
    after = {**asdict(child.search), "rule": child.rule}
    return {name: (before[name], after[name]) for name in after if before[name] != after[name]}


@dataclass(frozen=True, slots=True)
class Differing:
    """One example on which two runs differ."""

    example: str
    ours: Label | None
    theirs: Label | None
    pinned: bool  # in either run


@dataclass(frozen=True, slots=True)
class ForkDifference:
    """Where two runs diverge, and on which examples they differ now."""

    steps: tuple[int, int]
    parted: int | None  # the first step that they took differently; None if there is none
    labelled_by_both: int
    differing: tuple[Differing, ...]
    unit: str = "step"

    @property
    def words(self) -> str:
        """The difference in one or two sentences."""
        where = (
            f"They diverge at {self.unit} {self.parted:,}."
            if self.parted is not None
            else "They have not diverged yet."
        )
        return f"{where} {len(self.differing):,} examples differ; {self.labelled_by_both:,} are labelled by both."


def difference(store: Store, ours: Reading, theirs: Reading) -> ForkDifference:
    """Return how two runs on the same examples differ now, and the first step at which their logs diverge."""
    a, b, ids = ours.labeling, theirs.labeling, ours.run.codec.ids
    pins = ours.pins | theirs.pins
    differing = [Differing(ids[i], a.get(i), b.get(i), i in pins) for i in sorted({*a, *b}) if a.get(i) != b.get(i)]
    steps = tuple(reading.trajectory.last.step if reading.trajectory.last else 0 for reading in (ours, theirs))
    both = sum(i in b for i in a)
    return ForkDifference((steps[0], steps[1]), _parted(store, ours, theirs), both, tuple(differing), ours.unit)


def _parted(store: Store, ours: Reading, theirs: Reading) -> int | None:
    """The first step or round that both took differently: another example, proposal, verdict or label change."""
    first = max(_begun(ours), _begun(theirs)) + 1
    for left, right in zip(_steps(store, ours, first), _steps(store, theirs, first), strict=False):
        if any(left.get(name) != right.get(name) for name in ("example", "proposed", "verdict", "kept", "flips")):
            return int(left["step"])
    return None


def _begun(reading: Reading) -> int:
    """The step before the first in the run's own log."""
    return reading.trajectory.points[0].step if reading.trajectory.points else 0


def _steps(store: Store, reading: Reading, first: int) -> Any:
    start = next((p.event for p in reading.trajectory.points if p.step >= first), reading.cursor + 1)
    events = store.read_between(reading.run.name, start - 1, reading.cursor, ("step", "round"))
    return (event.body for event in events if event.body["step"] >= first)


def event_of(reading: Reading, step: int) -> int:
    """Return the last event that led to the state after this step, or after the last step before it."""
    events = [point.event for point in reading.trajectory.points if point.step <= step]
    return events[-1] if events else 0


def usual_steps(reading: Reading) -> int:
    """Return how many steps or rounds a fork takes unless asked otherwise."""
    return ROUNDS if reading.by_folds else STEPS


def begin_fork(
    store: Store, reading: Reading, step: int, more: int, settings: Mapping[str, Any], rule: str | None = None
) -> str:
    """Create and start a fork that diverges after a step and takes `more` steps; return its name.

    Only settings that differ are changed. Raises SettingError, NotFound.
    """
    begun = event_of(reading, step)
    child = fork.fork(store, reading.run.name, begun, {**settings, "max_steps": step + more}, rule)
    control.start(store, child)
    return child


def begin_influence(store: Store, run: str, example: str, steps: int) -> tuple[str, str]:
    """Start two forks that differ in one pin; return the pinned one, then the other. Raises SettingError."""
    return fork.influence_of_pin(store, run, example, steps)


def begin_with_label(store: Store, run: str, event: int, example: str, label: Label) -> str:
    """Create a fork in which one example is pinned to a label, and start it. Raises SettingError, NotFound."""
    child = fork.fork(store, run, event)
    control.submit_intervention(store, child, "pin", [example], [label])
    control.start(store, child)
    return child


def comparable(store: Store, reading: Reading, names: Sequence[str]) -> list[str]:
    """Return the runs on the same examples, relatives of this run first."""
    mine = reading.run.spec
    specs = {name: store.spec(name) for name in names}
    examples = (mine.dataset, mine.limit, mine.part)
    same = [name for name, spec in specs.items() if (spec.dataset, spec.limit, spec.part) == examples]
    relatives = {branch.run for branch in tree(store, reading.run.name)}
    return sorted(same, key=lambda name: name not in relatives)


WHAT_IF = "what-if"


@dataclass(frozen=True, slots=True)
class WhatIfCost:
    """Estimated cost of one what-if question, from the run's mean cost per evaluation; repairs are not included."""

    prompts: int
    tokens: float
    seconds: float

    @property
    def words(self) -> str:
        return (
            f"About {self.prompts:,} prompts, {count(round(self.tokens))} tokens and {duration(self.seconds)} to score "
            "the labels once, and again for each option of a repair; loading the model comes first."
        )


def price(reading: Reading) -> WhatIfCost:
    """Return the cost of asking about one label: one evaluation of all labelled examples."""
    spent, labelled = reading.spent, reading.tally.labelled
    share = labelled / max(1, spent.prompts)
    return WhatIfCost(labelled, spent.tokens_encoded * share, spent.seconds * share)


def other_labels(reading: Reading, example: str) -> tuple[Label, ...]:
    """Return the labels that an example does not have; none if it is unlabelled. Raises KeyError."""
    now = reading.labeling.get(reading.run.codec.index(example))
    return tuple(label for label in reading.tally.labels if label != now) if now else ()


def submit_what_if(store: Store, reading: Reading, event: int, example: str, label: Label) -> str:
    """Start a what-if question as a job and return the job's name."""
    run = reading.run
    body = {"run": run.name, "event": event, "example": example, "label": label, "dataset": run.spec.dataset}
    return jobs.request(store, JobSpec(WHAT_IF, body, model_registry.model_of_run(store, run.name)))


def asked_before(store: Store, run: str, example: str) -> list[str]:
    """Return the what-if questions about one example of a run, newest first."""
    mine = (job for job in jobs.names(store, WHAT_IF))
    return [job for job in mine if (b := jobs.spec(store, job).body)["run"] == run and b["example"] == example]


def answer_words(answer: Json) -> list[str]:
    """Return the answer to a what-if question, one sentence per fact."""
    before, after, repaired = (answer[name]["utility"] for name in ("before", "after", "repaired"))
    lines = [
        f"After step {answer['step']:,}, with {answer['label']} in place of {answer['old']}: U from "
        f"{decimal(before, 2)} to {decimal(after, 2)}, delta {decimal(answer['delta_unrepaired'], 2)}."
    ]
    if answer["flips"]:
        others = ", ".join(f"{flip['example']} to {flip['new']}" for flip in answer["flips"])
        lines.append(f"Repaired ({others}): U {decimal(repaired, 2)}, delta {decimal(answer['delta'], 2)}.")
    chance = percent(answer["accept_probability"])
    lines.append(f"At the next step's T = {decimal(answer['temperature'], 2)} it would be accepted with {chance}.")
    cost = answer["usage"]
    lines.append(f"Cost {cost['prompts']:,} prompts, {cost['tokens_encoded']:,} tokens, {duration(answer['seconds'])}.")
    return lines
