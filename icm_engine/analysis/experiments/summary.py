"""The results of a suite as JSON: a row for each arm and data set, the differences asked for, and every cell.

The report and the page show this and nothing else, so a stored result is the whole record.
"""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import groupby
from statistics import fmean

import icm_engine
from icm_engine.analysis.alerts import collapsed
from icm_engine.analysis.experiments.intervals import Estimate, Right, difference, estimate
from icm_engine.analysis.experiments.outcomes import Outcome
from icm_engine.analysis.experiments.predictors import agreement_of, predictors
from icm_engine.analysis.experiments.suites import Suite
from icm_engine.analysis.using import Used
from icm_engine.core.predictability import PREDICTABILITY
from icm_engine.runs.events import SEARCH, Json
from icm_engine.runs.jobs import ModelChoice
from icm_engine.runs.proposal import Chain, propose

PACKAGES = ("torch", "transformers", "bitsandbytes", "plotly", "pandas", "scikit-learn", "statsmodels")
TRAINERS = ("trl", "peft")
BEST = "best of {} by U"
MIRRORED = 0.65  # of the examples right with every label swapped
STALLED = 0.75  # of the examples labelled at the end: with fewer, growth has stopped


def results(
    suite: Suite, outcomes: Sequence[Outcome], model: ModelChoice, command: str, quick: bool, seconds: float
) -> Json:
    """Return everything there is to report of a finished suite."""
    rows = [rows_of for _, some in _by_row(outcomes) for rows_of in _rows(list(some))]
    told = [_cell(one, outcomes) for one in outcomes]
    return {
        "suite": suite.name, "title": suite.title, "question": suite.question, "quick": quick,
        "datasets": list(suite.datasets), "examples": suite.examples, "seeds": list(suite.seeds),
        "use": asdict(suite.use) if suite.use else None, "model": asdict(model), "command": command,
        "seconds": seconds, "versions": {"python": platform.python_version(), **_versions(suite)},
        "arms": [asdict(arm) for arm in suite.arms],
        "tune": asdict(suite.tune) if suite.tune else None,
        "rows": rows, "differences": _differences(suite, outcomes) + _gains(outcomes), "cells": told,
        "predictors": predictors(told),
    }  # fmt: skip


def _versions(suite: Suite) -> dict[str, str]:
    return {"icm-workbench": icm_engine.__version__} | {
        name: version(name) for name in (*PACKAGES, *(TRAINERS if suite.tune else ()))
    }


def _by_row(outcomes: Sequence[Outcome]):  # type: ignore[no-untyped-def]
    return groupby(outcomes, key=lambda one: (one.cell.dataset, one.cell.arm.name))


def _rows(some: list[Outcome]) -> list[Json]:
    """An arm's row, and for a search with several seeds the row of the chain that restarts would propose."""
    done = [one for one in some if one.reason is None]
    row = _row(some[0].cell.arm.name, some, done)
    if some[0].cell.arm.source != SEARCH or len(done) < 2:
        return [row]
    chains = [Chain(o.run or "", o.cell.seed, "finished", "", False, o.utility, o.labels) for o in done]
    best = propose(chains, PREDICTABILITY[done[0].form].per_example)
    chosen = [one for one in done if best is not None and one.run == best.run]
    return [row, _row(f"{some[0].cell.arm.name}, {BEST.format(len(done))}", some, chosen)] if chosen else [row]


def _row(name: str, some: Sequence[Outcome], done: Sequence[Outcome]) -> Json:
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
        "balance": _balance(done),
        "ends": _ends(done),
        "cost": {
            "prompts": fmean(one.prompts for one in done),
            "tokens": fmean(one.tokens for one in done),
            "set_evaluations_per_label": fmean(one.set_evaluations / max(1, one.labelled) for one in done),
            "seconds": fmean(one.seconds for one in done),
        },
        "curves": [list(map(list, one.curve)) for one in done] if first.cell.arm.source == SEARCH else [],
    }


def _ends(done: Sequence[Outcome]) -> Json:
    """How many runs ended with nearly all labels the same, nearly all as gold's mirror, or with few labels at all."""
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
    """An estimate for each number of shots that every seed has been used with, and for the most of each seed."""
    by_shots = [{used.shots: used for used in cell} for cell in done]
    if not all(by_shots):
        return []
    common = [shots for shots in by_shots[0] if all(shots in one for one in by_shots)]
    most = [max(one) for one in by_shots]
    cells: list[tuple[int | list[int], list[Right]]] = [
        (shots, [one[shots].right for one in by_shots]) for shots in common
    ]
    if len(set(most)) > 1:  # "fit" differs where runs labelled different numbers of examples
        cells.append((most, [one[shots].right for one, shots in zip(by_shots, most, strict=True)]))
    return [{"shots": shots, **estimate(rights).to_json()} for shots, rights in cells if all(rights)]


def _balance(done: Sequence[Outcome]) -> dict[str, float]:
    counts: Counter[str] = Counter()
    for one in done:
        counts.update(one.balance)
    return {label: count / counts.total() for label, count in counts.items()}


def _differences(suite: Suite, outcomes: Sequence[Outcome]) -> list[Json]:
    """For each pair of arms the suite compares: labels beside gold, and labels in use, by data set."""
    done: dict[tuple[str, str], list[Outcome]] = {}
    for one in outcomes:
        if one.reason is None:
            done.setdefault((one.cell.arm.name, one.cell.dataset), []).append(one)
    found = []
    for a, b in suite.compare:
        for dataset in suite.datasets:
            pair = done.get((a, dataset)), done.get((b, dataset))
            if pair[0] and pair[1]:
                found += _compared(pair[0], pair[1], {"one": a, "other": b, "dataset": dataset})
    return found


def _compared(one: Sequence[Outcome], other: Sequence[Outcome], head: Mapping[str, str]) -> list[Json]:
    found = []
    for what, measure in (("labels", _labels), ("use", _most_shots), ("tuned", _tuned)):
        sides = [[measure(o) for o in side] for side in (one, other)]
        if all(right for side in sides for right in side):
            try:
                made: Estimate = difference([r for r in sides[0] if r], [r for r in sides[1] if r])
            except ValueError:  # the two label different examples
                continue
            found.append({**head, "what": what, **made.to_json()})
    return found


def _labels(one: Outcome) -> Right | None:
    return one.right


def _most_shots(one: Outcome) -> Right | None:
    return one.used[-1].right if one.used else None


def _tuned(one: Outcome) -> Right | None:
    return one.tuned[0].right if one.tuned else None


def _gains(outcomes: Sequence[Outcome]) -> list[Json]:
    """For each arm that a model was tuned on: that model without shots, less the base model with none and with most."""
    found = []
    for _, some in _by_row(outcomes):
        done = [one for one in some if one.tuned and one.used]
        for what, place in (("zero-shot", 0), ("many-shot", -1)) if done else ():
            base = [one.used[place].right for one in done]
            made = difference([one.tuned[0].right for one in done], base)
            head = {"one": f"{done[0].cell.arm.name}, tuned", "other": f"base model, {what}", "what": "gain"}
            found.append({**head, "dataset": done[0].cell.dataset, **made.to_json()})
    return found


def _cell(one: Outcome, outcomes: Sequence[Outcome]) -> Json:
    """A cell's own line: what the search over predictors without gold looks at, and where to find its run."""
    arm = one.cell.arm
    head = {"arm": arm.name, "source": arm.source, "dataset": one.cell.dataset, "seed": one.cell.seed, "run": one.run}
    if one.reason is not None:
        return {**head, "reason": one.reason}
    return {
        **head, "reason": None, "supervised": one.supervised, "labelled": one.labelled, "examples": one.examples,
        "accuracy": fmean(estimate([one.right]).values) if one.right else None,
        "used": estimate([one.used[-1].right]).mean if one.used and one.used[-1].right else None,
        "tuned": estimate([one.tuned[0].right]).mean if one.tuned and one.tuned[0].right else None,
        "utility": one.utility, "pairs": one.pairs, "margin": one.margin, "label_mass": one.label_mass,
        "balance": dict(one.balance), "agreement": agreement_of(one, outcomes), "steps": one.steps,
    }  # fmt: skip
