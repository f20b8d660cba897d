"""What came of each cell: its labels beside gold, its use beside gold, the numbers that need no gold, and its cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from icm_engine.analysis.experiments.driving import Driven
from icm_engine.analysis.experiments.intervals import Right
from icm_engine.analysis.experiments.plan import Cell
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.using import Used, by_group, used
from icm_engine.analysis.views import load
from icm_engine.core.labeling import Label
from icm_engine.core.predictability import OF_TWO_LABELS, PREDICTABILITY, mean
from icm_engine.core.scoring import LabelLogProbs, no_scorer
from icm_engine.runs.store import Store


@dataclass(frozen=True)
class Outcome:
    """One cell's results; `reason` says why there are none. What needs gold is None where there is none."""

    cell: Cell
    run: str | None = None
    use: str | None = None
    reason: str | None = None
    supervised: bool = False
    examples: int = 0
    labelled: int = 0
    right: Right | None = None
    flipped: Right | None = None
    utility: float = 0.0
    form: str = ""  # the run's own form of P
    forms: Mapping[str, float] = field(default_factory=dict)  # U with each form of P, the same alpha and I
    pairs: int = 0
    label_mass: float = 0.0
    margin: float = 0.0  # mean over labelled examples of log p(own label) - log p(likeliest other one)
    balance: Mapping[Label, int] = field(default_factory=dict)
    prompts: int = 0
    tokens: int = 0
    set_evaluations: int = 0
    seconds: float = 0.0
    steps: int = 0
    curve: tuple[tuple[int, float], ...] = ()  # accuracy by step
    labels: Mapping[str, Label] = field(default_factory=dict)
    used: tuple[Used, ...] = ()
    tuned: tuple[Used, ...] = ()  # the same of the model that was tuned on the cell's labels
    untuned: str | None = None  # why there is no such model


def outcome(store: Store, one: Driven) -> Outcome:
    """Return what came of a cell."""
    if one.run is None or one.reason is not None:
        return Outcome(one.cell, one.run, one.use, one.reason)
    reading = load(store, one.run)
    found = _outcome(reading, one)
    shown = used(store, one.use) if one.use else ()
    tuned = used(store, one.tuned_use) if one.tuned_use else ()
    return replace(found, used=shown, tuned=tuned, untuned=one.untuned)


def _outcome(reading: Reading, one: Driven) -> Outcome:
    state, run, spent = reading.state, reading.run, reading.spent
    assert state is not None
    examples, labeling, labels = run.dataset.examples, state.labeling, run.codec.labels
    own = {i: reading.gold[example.id] for i, example in enumerate(examples) if example.id in reading.gold}
    other = dict(zip(labels, reversed(labels), strict=True)) if len(labels) == 2 else {}
    right = by_group([(examples[i].group, labeling.get(i) == gold) for i, gold in own.items()])
    flipped = by_group([(examples[i].group, labeling.get(i) == other.get(gold, "")) for i, gold in own.items()])
    scores = state.evaluation.scores
    return Outcome(
        one.cell, one.run, one.use,
        supervised=run.spec.supervised, examples=len(examples), labelled=len(labeling),
        right=right or None, flipped=flipped if right and other else None,
        utility=state.evaluation.utility, form=reading.config.predictability, forms=_forms(reading),
        pairs=len(state.evaluation.pairs), label_mass=state.evaluation.label_mass,
        margin=mean([_margin(score, labels.index(labeling[i])) for i, score in scores.items()]),
        balance=dict(zip(labels, reading.tally.balance, strict=True)),
        prompts=spent.prompts, tokens=spent.tokens_encoded,
        set_evaluations=spent.set_evaluations, seconds=spent.seconds, steps=state.step, curve=_curve(reading),
        labels={examples[i].id: label for i, label in labeling.items()},
    )  # fmt: skip


def _margin(score: LabelLogProbs, own: int) -> float:
    return score.raw[own] - max(value for k, value in enumerate(score.raw) if k != own)


def _forms(reading: Reading) -> dict[str, float]:
    """U of the labels with each form of P, put together from the same log-probabilities."""
    state, config = reading.state, reading.config
    assert state is not None
    forms = [form for form in PREDICTABILITY if form not in OF_TWO_LABELS or len(reading.run.codec.labels) == 2]
    return {
        form: reading.run.objective(replace(config, predictability=form), no_scorer())
        .evaluation(state.labeling, state.evaluation.scores)
        .utility
        for form in forms
    }


def _curve(reading: Reading) -> tuple[tuple[int, float], ...]:
    points = [(p.step, p.accuracy.raw) for p in reading.trajectory.points if p.accuracy is not None]
    return tuple(points[:: max(1, len(points) // 100)])
