"""The results of a suite as JSON: cells, rows with intervals, and what predicts accuracy without gold.

Predictors are measured by Spearman's rank correlation within each data set, and its mean over data sets. Correlations
across data sets would measure how hard the data sets are; across forms of P, the scale of U. Only unsupervised runs
count.

The report and the page show nothing else, so a stored result is the whole record.
"""

import json
import platform
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import groupby, product
from statistics import fmean

import numpy as np
import numpy.typing as npt

from icm_engine.analysis.alerts import collapsed
from icm_engine.analysis.evaluation import Estimate, Right, Used, by_group, difference, estimate, recovered, used
from icm_engine.analysis.label_history import is_right, is_right_flipped
from icm_engine.analysis.paired import mcnemar
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import load
from icm_engine.core import __version__
from icm_engine.core.folds import FOLDS
from icm_engine.core.labeling import Example, Label, judgements
from icm_engine.core.objective import OF_TWO_LABELS, PREDICTABILITY, mean
from icm_engine.core.scoring import no_scorer
from icm_engine.core.settings import ModelChoice
from icm_engine.experiments.plan import Cell, Driven
from icm_engine.experiments.suites import Suite
from icm_engine.jobs.restarts import Chain, propose
from icm_engine.store.events import SEARCH, Json
from icm_engine.store.store import Store

Table = npt.NDArray[np.float64]  # (runs, 2): the number, and the accuracy
RESAMPLES = 500
SAME = 1e-9
FEWEST = 5  # minimum number of runs of a data set for a correlation


def agreement_of(one: "CellOutcome", outcomes: Sequence["CellOutcome"]) -> float | None:
    """Return the agreement of this run's labels with other seeds of its arm and data set; None if there are none."""
    others = [
        o
        for o in outcomes
        if o is not one and o.reason is None and (o.cell.arm, o.cell.dataset) == (one.cell.arm, one.cell.dataset)
    ]
    shares = [fmean(o.labels.get(i) == y for i, y in one.labels.items()) for o in others if one.labels]
    return fmean(shares) if shares else None


def _balance_of_labels(cell: Json) -> float:
    """How even the labels are: the share of the rarest, 0 if a label is unused."""
    counts = list(cell["balance"].values())
    return min(counts) / sum(counts) if len(counts) > 1 else 0.0


NUMBERS: dict[str, Callable[[Json], float | None]] = {
    "U": lambda cell: float(cell["utility"]),
    "agreement across seeds": lambda cell: cell["agreement"],
    "label mass": lambda cell: float(cell["label_mass"]),
    "balance": _balance_of_labels,
    "margin": lambda cell: float(cell["margin"]),
    "inconsistent pairs, fewer": lambda cell: -float(cell["pairs"]),
}
ON_A_SCALE = ("U",)  # numbers that only runs with one form of P, the same weights and one way to predict share
_SCALE = ("predictability", "alpha", "centring", "pair_weight")  # settings that decide the scale of U


def predictors(cells: Sequence[Json]) -> list[Json]:
    """Return, for every number, its mean rank correlation with accuracy and a 95 % interval; runs are resampled.

    Runs are ranked within a data set. For U they are also ranked within one form of P with the same weights, because
    forms share no scale. If the number or the accuracy is constant, nothing can be ranked; `datasets` and `runs` say
    how many are included.
    """
    known = [c for c in cells if c.get("reason") is None and c["accuracy"] is not None and not c["supervised"]]
    return [_predictor(name, number, known) for name, number in NUMBERS.items()]


def _predictor(name: str, number: Callable[[Json], float | None], cells: Sequence[Json]) -> Json:
    comparable: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for cell in cells:
        if (value := number(cell)) is not None:
            scale = json.dumps(cell["scale"]) if name in ON_A_SCALE else ""
            comparable[cell["dataset"], scale].append((value, cell["accuracy"]))
    rows = {key: np.array(pairs) for key, pairs in comparable.items() if len(pairs) >= FEWEST}
    rows = {key: table for key, table in rows.items() if _varies(table)}
    tables = list(rows.values())
    head = {
        "number": name,
        "datasets": len({dataset for dataset, _ in rows}),
        "runs": sum(len(table) for table in tables),
    }
    if not tables:  # nothing varies, or there are too few runs
        return {**head, "correlation": None}
    rng = np.random.default_rng(0)
    means = [_mean_correlation([t[rng.integers(len(t), size=len(t))] for t in tables]) for _ in range(RESAMPLES)]
    some = [value for value in means if value is not None]
    low, high = np.quantile(some, [0.025, 0.975])
    return {**head, "correlation": _mean_correlation(tables), "low": float(low), "high": float(high)}


def _varies(table: Table) -> bool:
    """Whether both columns vary, beyond rounding."""
    return bool((np.ptp(table, axis=0) > SAME).all())


def _mean_correlation(tables: Sequence[Table]) -> float | None:
    """The mean of the defined rank correlations; a resample may have none."""
    from scipy.stats import spearmanr  # imported late: it takes a second

    found = [float(spearmanr(table[:, 0], table[:, 1]).statistic) for table in tables if _varies(table)]
    return fmean(found) if found else None


@dataclass(frozen=True)
class CellOutcome:
    """One cell's results; `reason` says why there are none. Fields that need gold are None without it."""

    cell: Cell
    run: str | None = None
    use: str | None = None
    reason: str | None = None
    supervised: bool = False
    examples: int = 0
    labelled: int = 0
    right: Right | None = None
    flipped: Right | None = None
    marks: Mapping[str, bool] = field(default_factory=dict)  # whether each example with gold is right; no twins
    utility: float = 0.0
    form: str = ""  # the run's own form of P
    scale: Mapping[str, str | float] = field(default_factory=dict)  # settings that decide the scale of U
    forms: Mapping[str, float] = field(default_factory=dict)  # U with each form of P, the same alpha and I
    pairs: int = 0
    label_mass: float = 0.0
    margin: float = 0.0  # mean over labelled examples
    balance: Mapping[Label, int] = field(default_factory=dict)
    prompts: int = 0
    tokens: int = 0  # scored
    fits: int = 0  # models tuned
    tokens_tuned: int = 0  # read in tuning, each as often as it was read
    set_evaluations: int = 0
    seconds: float = 0.0
    steps: int = 0
    curve: tuple[tuple[int, float], ...] = ()  # accuracy by step
    labels: Mapping[str, Label] = field(default_factory=dict)
    used: tuple[Used, ...] = ()
    tuned: tuple[Used, ...] = ()  # use of the model tuned on the cell's labels
    untuned: str | None = None  # why no model was tuned


def outcome(store: Store, one: Driven) -> CellOutcome:
    """Return the results of a cell."""
    if one.run is None or one.reason is not None:
        return CellOutcome(one.cell, one.run, one.use, one.reason)
    reading = load(store, one.run)
    found = _outcome(reading, one)
    if one.tested is not None:
        return _as_use(found, one.tested, reading.run.dataset.task.true_label)
    shown = used(store, one.use) if one.use else ()
    tuned = used(store, one.tuned_use) if one.tuned_use else ()
    return replace(found, used=shown, tuned=tuned, untuned=one.untuned)


def _as_use(found: CellOutcome, dataset: str, truth: Label) -> CellOutcome:
    """The outcome of a cell that labelled the test examples of a data set: a use without demonstrations."""
    right = {f"{dataset} {group}": counts for group, counts in (found.right or {}).items()}
    said = found.balance.get(truth, 0) / found.labelled if found.labelled else 0.0
    return replace(found, used=(Used(0, right, said, found.tokens),), right=None, flipped=None)


def _outcome(reading: Reading, one: Driven) -> CellOutcome:
    state, run, spent = reading.state, reading.run, reading.spent
    assert state is not None
    examples, labeling, labels = run.dataset.examples, state.labeling, run.codec.labels
    own = {i: reading.gold[example.id] for i, example in enumerate(examples) if example.id in reading.gold}
    right = by_group([(examples[i].group, is_right(labeling.get(i), gold)) for i, gold in own.items()])
    flipped = by_group([(examples[i].group, is_right_flipped(labeling.get(i), gold)) for i, gold in own.items()])
    scores = state.evaluation.scores
    return CellOutcome(
        one.cell,
        one.run,
        one.use,
        supervised=run.spec.supervised,
        examples=len(examples),
        labelled=len(labeling),
        right=right or None,
        flipped=flipped if right and len(labels) == 2 else None,
        marks=_marks([(examples[i], is_right(labeling.get(i), gold)) for i, gold in own.items()]),
        utility=state.evaluation.utility,
        form=reading.config.predictability,
        scale={name: getattr(reading.config, name) for name in _SCALE} | _predicted_by(run.spec.source),
        forms=_forms(reading),
        pairs=len(state.evaluation.pairs),
        label_mass=state.evaluation.label_mass,
        margin=mean([score.margin(labels.index(labeling[i])) for i, score in scores.items()]),
        balance=dict(zip(labels, reading.tally.balance, strict=True)),
        prompts=spent.prompts,
        tokens=spent.tokens_encoded,
        fits=spent.fits,
        tokens_tuned=spent.tokens_tuned,
        set_evaluations=spent.set_evaluations,
        seconds=spent.seconds,
        steps=state.step,
        curve=_curve(reading),
        labels={examples[i].id: label for i, label in labeling.items()},
    )


def _predicted_by(source: str) -> dict[str, str]:
    """What tells scales of U apart beside the settings: tuned models predict otherwise than prompted ones."""
    return {"source": FOLDS} if source == FOLDS else {}


def _marks(right: Sequence[tuple[Example, bool]]) -> dict[str, bool]:
    """Whether each example is right, by id; a pair and its swapped twin are one judgement."""
    marks = {example.id: mark for example, mark in right}
    return {name: marks[name] for name in judgements({example.id: example for example, _ in right})}


def _forms(reading: Reading) -> dict[str, float]:
    """U of the labels with each form of P, computed from the same log-probabilities."""
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


PACKAGES = ("torch", "transformers", "bitsandbytes", "plotly", "pandas", "scikit-learn", "statsmodels")
TRAINERS = ("trl", "peft")
BEST = "best of {} by U"
MIRRORED = 0.65  # share of examples correct after swapping every label
STALLED = 0.75  # share of examples labelled at the end; below it, growth has stalled


def results(
    suite: Suite, outcomes: Sequence[CellOutcome], model: ModelChoice, command: str, quick: bool, seconds: float
) -> Json:
    """Return everything to report about a finished suite."""
    rows = [rows_of for _, some in _by_row(outcomes) for rows_of in _rows(list(some))]
    told = [_cell(one, outcomes) for one in outcomes]
    return {
        "suite": suite.name,
        "title": suite.title,
        "question": suite.question,
        "quick": quick,
        "datasets": list(suite.datasets),
        "examples": suite.examples,
        "seeds": list(suite.seeds),
        "use": asdict(suite.use) if suite.use else None,
        "model": asdict(model),
        "command": command,
        "seconds": seconds,
        "versions": {"python": platform.python_version(), **_versions(suite)},
        "arms": [asdict(arm) for arm in suite.arms],
        "tune": asdict(suite.tune) if suite.tune else None,
        "rows": rows,
        "differences": _differences(suite, outcomes) + _gains(outcomes),
        "recovered": _recovered(suite, outcomes),
        "cells": told,
        "predictors": predictors(told),
    }


def _versions(suite: Suite) -> dict[str, str]:
    return {"icm-workbench": __version__} | {
        name: version(name) for name in (*PACKAGES, *(TRAINERS if suite.tune else ()))
    }


def _by_row(outcomes: Sequence[CellOutcome]):  # type: ignore[no-untyped-def]
    return groupby(outcomes, key=lambda one: (one.cell.dataset, one.cell.arm.name))


def _rows(some: list[CellOutcome]) -> list[Json]:
    """An arm's row; for a search with several seeds, also the row of the chain that restarts would propose."""
    done = [one for one in some if one.reason is None]
    row = _row(some[0].cell.arm.name, some, done)
    if some[0].cell.arm.source != SEARCH or len(done) < 2:
        return [row]
    chains = [Chain(o.run or "", o.cell.seed, "finished", "", False, o.utility, o.labels) for o in done]
    best = propose(chains, PREDICTABILITY[done[0].form].per_example)
    chosen = [one for one in done if best is not None and one.run == best.run]
    return [row, _row(f"{some[0].cell.arm.name}, {BEST.format(len(done))}", some, chosen)] if chosen else [row]


def _row(name: str, some: Sequence[CellOutcome], done: Sequence[CellOutcome]) -> Json:
    first = some[0]
    head = {"arm": name, "source": first.cell.arm.source, "dataset": first.cell.dataset, "runs": [o.run for o in some]}
    if not done:
        return {**head, "reason": first.reason}
    return {
        **head,
        "reason": next((one.reason or one.untuned for one in some if one.reason or one.untuned), None),
        "supervised": any(one.supervised for one in done),
        "seeds": [one.cell.seed for one in done],
        "accuracy": _estimated([one.right for one in done]),
        "flipped": _estimated([one.flipped for one in done]),
        "used": _used([one.used for one in done]),
        "tuned": _used([one.tuned for one in done]),
        "used_true": fmean(o.used[-1].predicted_true for o in done) if all(o.used for o in done) else None,
        "utility": [one.utility for one in done],
        "forms": {form: [one.forms[form] for one in done] for form in done[0].forms},
        "pairs": [one.pairs for one in done],
        "labelled": fmean(one.labelled / one.examples for one in done),
        "label_mass": fmean(one.label_mass for one in done),
        "balance": _balance_of_row(done),
        "ends": _ends(done),
        "cost": {
            "prompts": fmean(one.prompts for one in done),
            "tokens": fmean(one.tokens for one in done),
            "fits": fmean(one.fits for one in done),
            "tokens_tuned": fmean(one.tokens_tuned for one in done),
            "set_evaluations_per_label": fmean(one.set_evaluations / max(1, one.labelled) for one in done),
            "seconds": fmean(one.seconds for one in done),
        },
        "curves": [list(map(list, one.curve)) for one in done] if first.cell.arm.source in (SEARCH, FOLDS) else [],
    }


def _ends(done: Sequence[CellOutcome]) -> Json:
    """How many runs collapsed (nearly one label), mirrored gold, or stalled (few labels)."""
    return {
        "runs": len(done),
        "collapsed": sum(collapsed(one.balance) is not None for one in done),
        "mirrored": sum(one.flipped is not None and _share(one.flipped) >= MIRRORED for one in done),
        "stalled": sum(one.labelled < STALLED * one.examples for one in done),
    }


def _share(right: Right) -> float:
    counts, totals = zip(*right.values(), strict=True) if right else ((0.0,), (1,))
    return float(sum(counts) / sum(totals))


def _estimated(rights: Sequence[Right | None]) -> Json | None:
    known = [right for right in rights if right]
    return estimate(known).to_json() if known and len(known) == len(rights) else None


def _used(done: Sequence[Sequence[Used]]) -> list[Json]:
    """An estimate for each number of demonstrations that all seeds share, and for each seed's largest."""
    by_shots = [{used.shots: used for used in cell} for cell in done]
    if not all(by_shots):
        return []
    common = [shots for shots in by_shots[0] if all(shots in one for one in by_shots)]
    most = [max(one) for one in by_shots]
    cells: list[tuple[int | list[int], list[Right]]] = [
        (shots, [one[shots].right for one in by_shots]) for shots in common
    ]
    if len(set(most)) > 1:  # "fit" differs if runs labelled different numbers of examples
        cells.append((most, [one[shots].right for one, shots in zip(by_shots, most, strict=True)]))
    return [{"shots": shots, **estimate(rights).to_json()} for shots, rights in cells if all(rights)]


def _balance_of_row(done: Sequence[CellOutcome]) -> dict[str, float]:
    counts: Counter[str] = Counter()
    for one in done:
        counts.update(one.balance)
    return {label: count / counts.total() for label, count in counts.items()}


def _differences(suite: Suite, outcomes: Sequence[CellOutcome]) -> list[Json]:
    """For each pair of arms that the suite compares: labels against gold, and labels in use, by data set."""
    done, found = _done(outcomes), []
    for a, b in suite.compare:
        for dataset in suite.datasets:
            pair = done.get((a, dataset)), done.get((b, dataset))
            if pair[0] and pair[1]:
                found += _compared(pair[0], pair[1], {"one": a, "other": b, "dataset": dataset})
    return found


def _done(outcomes: Sequence[CellOutcome]) -> dict[tuple[str, str], list[CellOutcome]]:
    """The finished cells by arm and data set."""
    done: dict[tuple[str, str], list[CellOutcome]] = {}
    for one in outcomes:
        if one.reason is None:
            done.setdefault((one.cell.arm.name, one.cell.dataset), []).append(one)
    return done


def _recovered(suite: Suite, outcomes: Sequence[CellOutcome]) -> list[Json]:
    """The performance gap recovered by each arm that the suite names, by weak labels and data set."""
    done, found = _done(outcomes), []
    for gap in suite.recover:
        for dataset, name in ((dataset, name) for dataset in suite.datasets for name in gap.arms):
            sides = [[one.right for one in done.get((arm, dataset), [])] for arm in (gap.weak, name, gap.ceiling)]
            known = [[right for right in side if right] for side in sides]
            if not all(known):
                continue
            try:
                made = recovered(*known)
            except ValueError:  # they label different examples, as weak labels of some examples do
                continue
            head = {"arm": name, "weak": gap.weak, "ceiling": gap.ceiling, "dataset": dataset}
            accuracies = dict(zip(("from", "to", "of"), (estimate(side).mean for side in known), strict=True))
            found.append({**head, **accuracies, **made.to_json()})
    return found


def _compared(one: Sequence[CellOutcome], other: Sequence[CellOutcome], head: Mapping[str, str]) -> list[Json]:
    found = []
    for what, measure in (("labels", _labels), ("use", _most_shots), ("tuned", _tuned)):
        sides = [[measure(o) for o in side] for side in (one, other)]
        if all(right for side in sides for right in side):
            try:
                made: Estimate = difference([r for r in sides[0] if r], [r for r in sides[1] if r])
            except ValueError:  # the two label different examples
                continue
            tests = {"mcnemar": _mcnemar(one, other)} if what == "labels" else {}
            found.append({**head, "what": what, **made.to_json(), **tests})
    return found


def _mcnemar(one: Sequence[CellOutcome], other: Sequence[CellOutcome]) -> list[Json]:
    """The exact McNemar test of each two runs with one seed; an arm that no seed changes is compared with them all."""
    found = []
    for a, b in product(one, other):
        if a.cell.seed != b.cell.seed and not (a.cell.arm.once or b.cell.arm.once):
            continue
        counts = Counter((mark, b.marks[name]) for name, mark in a.marks.items() if name in b.marks)
        split = counts[True, False], counts[False, True]
        found.append({"runs": [a.run, b.run], "only_one": split[0], "only_other": split[1], "p": mcnemar(*split)})
    return found


def _labels(one: CellOutcome) -> Right | None:
    return one.right


def _most_shots(one: CellOutcome) -> Right | None:
    return one.used[-1].right if one.used else None


def _tuned(one: CellOutcome) -> Right | None:
    return one.tuned[0].right if one.tuned else None


def _gains(outcomes: Sequence[CellOutcome]) -> list[Json]:
    """For each tuned arm: the tuned model without demonstrations, minus the base model without and with most."""
    found = []
    for _, some in _by_row(outcomes):
        done = [one for one in some if one.tuned and one.used]
        for what, place in (("zero-shot", 0), ("many-shot", -1)) if done else ():
            base = [one.used[place].right for one in done]
            made = difference([one.tuned[0].right for one in done], base)
            head = {"one": f"{done[0].cell.arm.name}, tuned", "other": f"base model, {what}", "what": "gain"}
            found.append({**head, "dataset": done[0].cell.dataset, **made.to_json()})
    return found


def _cell(one: CellOutcome, outcomes: Sequence[CellOutcome]) -> Json:
    """A cell's own record: the input to the predictors, and where to find its run."""
    arm = one.cell.arm
    head = {"arm": arm.name, "source": arm.source, "dataset": one.cell.dataset, "seed": one.cell.seed, "run": one.run}
    if one.reason is not None:
        return {**head, "reason": one.reason}
    return {
        **head,
        "reason": None,
        "supervised": one.supervised,
        "labelled": one.labelled,
        "examples": one.examples,
        "accuracy": fmean(estimate([one.right]).values) if one.right else None,
        "used": estimate([one.used[-1].right]).mean if one.used and one.used[-1].right else None,
        "tuned": estimate([one.tuned[0].right]).mean if one.tuned and one.tuned[0].right else None,
        "utility": one.utility,
        "scale": dict(one.scale),
        "pairs": one.pairs,
        "margin": one.margin,
        "label_mass": one.label_mass,
        "balance": dict(one.balance),
        "agreement": agreement_of(one, outcomes),
        "steps": one.steps,
    }
