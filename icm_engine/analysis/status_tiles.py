"""The status tiles: the main numbers of a run, and the actions that are possible now."""

from dataclasses import dataclass

from icm_engine.analysis.formatting import (
    DASH,
    OFFERS,
    PHASE_STYLES,
    PhaseStyle,
    balance_words,
    count,
    counted,
    decimal,
    duration,
    escaped,
    one_line,
    percent,
)
from icm_engine.analysis.run_history import WINDOW, Reading, RoundRow
from icm_engine.analysis.views import acceptance_rate, example_text, searches
from icm_engine.core.folds import UNTUNED
from icm_engine.runs.control import RunStatus

SILENT = 15.0  # seconds without a heartbeat (one every two seconds) after which a worker is reported as silent


@dataclass(frozen=True, slots=True)
class Tile:
    """One number with its name, a note below, and an explanation on hover (Markdown, labels escaped)."""

    name: str
    value: str
    note: str
    explanation: str


def tiles(reading: Reading) -> tuple[Tile, ...]:
    """Return the tiles of a run; accuracy only where there is gold."""
    found = (_utility(reading), _labelled(reading), _balance(reading), *_accuracy(reading))
    if reading.by_folds:
        return (*found, _pairs(reading), _rounds(reading), *_cost_of_folds(reading))
    if not searches(reading):
        return (*found, _pairs(reading), _tokens(reading))
    return (*found, _temperature(reading), _acceptance(reading), _pairs(reading), _tokens(reading))


def headline(reading: Reading, accuracy: bool = True) -> str:
    """Return the numbers of a run in one line: U, T, acceptance, conflicts, labelled, accuracy where there is gold.

    Without `accuracy`, gold says nothing: an audit would not be a person's own judgement.
    """
    last, total = reading.trajectory.last, len(reading.run.dataset.examples)
    if last is None:
        return f"0 of {total:,} labelled"
    found = [f"U {decimal(last.utility, 2)}"]
    if searches(reading):
        found += [f"T {decimal(last.temperature, 2)}", f"accepted {percent(last.acceptance_rate)}"]
    if reading.by_folds:
        kept = f"kept {reading.accepted:,} of {counted(reading.proposals, 'round')}"
        found.append(kept if reading.proposals else "round 0")
    if reading.run.rule_name != "none":
        found.append(f"conflicts {last.pairs:,}")
    found.append(f"{reading.tally.labelled:,} of {total:,} labelled")
    known = reading.tally.accuracy if accuracy else None
    return " · ".join([*found, *([f"accuracy {percent(known.raw)}"] if known else [])])


@dataclass(frozen=True, slots=True)
class LastDecision:
    """The last step or round of a run in a sentence, and its number."""

    step: int
    sentence: str


def last_decision(reading: Reading) -> LastDecision | None:
    """Return the last decision of a search; None before its first step or round."""
    if reading.rounds:
        return LastDecision(reading.rounds[-1].number, round_sentence(reading, reading.rounds[-1]))
    if not reading.steps:
        return None
    row = reading.steps[-1]
    text = one_line(example_text(reading, reading.run.codec.index(row.example)), 60)
    change = row.proposed if row.old == row.proposed else f"{row.old or 'unlabelled'} → {row.proposed}"
    numbers = "" if row.delta is None else f", ΔU {decimal(row.delta, 2)} at T {decimal(row.temperature, 2)}"
    repaired = f", {row.repair_words}" if row.repaired else ""
    return LastDecision(row.step, f"Step {row.step:,} {row.words}: {change}{numbers}{repaired} · {text}")


def round_sentence(reading: Reading, row: RoundRow) -> str:
    """Say what a round tried, whether its labels were kept, and what the next one may try."""
    if not row.number:
        drawn = "predicted by the untuned model" if _untuned_first(reading) else "drawn at random"
        return f"Round 0 {row.words}: {drawn}, then repaired"
    tried = "the labels of round 0" if row.before is None else f"{counted(row.changed, 'label')} changed"
    tried += f" in {counted(row.groups, 'group')}" if row.groups and row.groups != row.changed else ""
    change = f"U {decimal(row.tried, 2)}" if row.delta is None else f"ΔU {decimal(row.delta, 2)}"
    repaired = f", ⟲ repaired {row.repaired}" if row.repaired else ""
    return f"Round {row.number:,} {row.words}: {tried}, {change}{repaired} · {next_words(reading, row)}"


def _untuned_first(reading: Reading) -> bool:
    return any(fit.fold == UNTUNED for fit in reading.fits)


def next_words(reading: Reading, row: RoundRow) -> str:
    """Say how many groups the round after this one changes."""
    if not row.number:
        return "round 1 tries these labels"
    if not row.left:
        return "nothing is left to try"
    if row.number >= reading.run.spec.search.max_steps:
        return f"all rounds are taken; {counted(row.left, 'group')} would change next"
    return f"the next round changes {counted(row.left, 'group')}"


def tiles_then(reading: Reading) -> tuple[Tile, ...]:
    """Return the tiles of a run as of an earlier event: labels and scores, no costs."""
    return (_utility(reading), _labelled(reading), _balance(reading), *_accuracy(reading), _pairs(reading))


def _utility(reading: Reading) -> Tile:
    last = reading.trajectory.last
    terms = f"{decimal(last.weighted_predictability)} − {decimal(last.inconsistency)}" if last else "no labels yet"
    explanation = "U(D) = alpha · P(D) − I(D): how well the labels predict each other, minus the cost of conflicts."
    if reading.by_folds:
        explanation += " Each label is predicted by a model tuned on the labels of the other folds."
        if reading.state is not None and not reading.state.step:
            terms += " · round 0"
            explanation = "By the predictions that the labels of round 0 come from; not comparable with later rounds."
    if reading.state is not None and reading.state.estimated:
        terms += " · an estimate"
        since = "the settings changed" if reading.state.exact_at is None else f"step {reading.state.exact_at:,}"
        explanation += f" Since {since}, it is not exact: its changes are estimated from sampled terms."
    return Tile("Utility U(D)", decimal(last.utility if last else None), terms, explanation)


def _labelled(reading: Reading) -> Tile:
    total, now = len(reading.run.dataset.examples), reading.tally.labelled
    return Tile("Labelled", f"{now:,}", f"of {total:,} examples", "Examples that have a label now.")


def _balance(reading: Reading) -> Tile:
    tally = reading.tally
    two = len(tally.labels) == 2
    share = percent((tally.balance[0] if two else max(tally.balance)) / tally.labelled) if tally.labelled else DASH
    counts = balance_words({escaped(label): n for label, n in zip(tally.labels, tally.balance, strict=True)})
    near = "0 % or 100 %" if two else "100 %"
    explanation = f"Label balance. Near {near} the labels have collapsed to a constant, which U may prefer."
    return Tile(f"Labelled {escaped(tally.labels[0])}" if two else "Most frequent label", share, counts, explanation)


def _accuracy(reading: Reading) -> tuple[Tile, ...]:
    known = reading.tally.accuracy
    if known is None:
        return ()
    if reading.state is None:
        return (Tile("Accuracy", DASH, "no labels yet", "Compared with gold, once there are labels."),)
    flipped = "" if known.flipped is None else f" · flipped {percent(known.flipped)}"
    explanation = (
        "Share of examples whose label equals gold; unlabelled examples count as wrong. The search never sees gold. "
        "Flipped: with both labels swapped; far above the accuracy, it shows a mirrored labeling."
    )
    return (Tile("Accuracy", percent(known.raw), f"balanced {percent(known.balanced)}{flipped}", explanation),)


def _temperature(reading: Reading) -> Tile:
    last = reading.trajectory.last
    explanation = "How much loss of U the search still accepts; on the scale of U. Nothing is sampled from the model."
    return Tile("Temperature", decimal(last.temperature if last else None, 2), "cools with every step", explanation)


def _acceptance(reading: Reading) -> Tile:
    last = reading.trajectory.last
    overall = (
        f"{percent(acceptance_rate(reading))} of all {reading.proposals:,}" if reading.proposals else "no proposals yet"
    )
    explanation = f"Accepted share of the last {WINDOW} proposals. A step that changes no label proposes nothing."
    return Tile("Acceptance", percent(last.acceptance_rate if last else None), overall, explanation)


def _pairs(reading: Reading) -> Tile:
    rule, shown = reading.run.rule_name, DASH
    if reading.state:
        shown = f"{len(reading.state.evaluation.pairs):,}"
    return Tile("Inconsistent pairs", shown, f"rule {rule}", "Pairs of labels that violate the rule now.")


def _tokens(reading: Reading) -> Tile:
    spent = reading.spent
    saved = spent.tokens_full / spent.tokens_encoded if spent.tokens_encoded else 1.0
    note = f"{saved:.1f}× fewer than {count(spent.tokens_full)}" if saved >= 1.05 else f"{count(spent.prompts)} prompts"
    explanation = (
        "Tokens the model has read, compared with separate full prompts. "
        f"{spent.prompts:,} prompts, {spent.set_evaluations:,} labelings scored, {duration(spent.seconds)} computing."
    )
    return Tile("Tokens encoded", count(spent.tokens_encoded), note, explanation)


def _rounds(reading: Reading) -> Tile:
    spec, done = reading.run.spec, sum(row.number > 0 for row in reading.rounds)
    explanation = (
        "A round tunes one model for each fold and lets it predict that fold. Its labels are kept if U is higher; else "
        "the next round changes half as many groups. A run ends when nothing would change, or after all rounds."
    )
    return Tile("Rounds", f"{done:,}", f"{reading.accepted:,} kept · at most {spec.search.max_steps:,}", explanation)


def _cost_of_folds(reading: Reading) -> tuple[Tile, ...]:
    spent = reading.spent
    each = f"{duration(sum(reading.pace) / len(reading.pace))} a fit" if reading.pace else "no fit yet"
    read = "Read while models were tuned, each token as often as it was read. A fake model is not tuned."
    scored = f"Read to predict, without demonstrations. {spent.prompts:,} prompts."
    return (
        Tile("Fits", f"{spent.fits:,}", f"{reading.folds} folds a round", "Models tuned so far, one for each fold."),
        Tile("Tokens tuned on", count(spent.tokens_tuned), "read in tuning", read),
        Tile("Tokens scored", count(spent.tokens_encoded), f"{count(spent.prompts)} prompts", scored),
        Tile("Time", duration(spent.seconds), each, "Computing: tuning, predicting and working out the next labels."),
    )


def look(status: RunStatus) -> PhaseStyle:
    """Return how a run's phase is shown."""
    return PHASE_STYLES[status.phase]


def phase_sentence(status: RunStatus, unit: str) -> str:
    """Say in what phase a run is, and what the buttons do; `unit` is what it counts."""
    return look(status).sentence.replace("step", unit)


def silence(status: RunStatus) -> str | None:
    """Say that a worker which should be searching has no recent heartbeat; None if it has."""
    if not status.moving or status.silent_for is None or status.silent_for < SILENT:
        return None
    return f"The worker is silent: no heartbeat for {duration(status.silent_for)}. Resume takes over if it is gone."


def offers(status: RunStatus) -> frozenset[str]:
    """Return the actions that are possible now; resume also while the worker has no recent heartbeat."""
    return OFFERS[status.phase] | ({"resume"} if silence(status) else frozenset())


def waiting(status: RunStatus, unit: str = "step") -> str:
    """Say which commands the worker has not answered yet; empty if none."""
    if not status.pending:
        return ""
    when = "after the step in progress" if unit == "step" else "within a fit's next steps, or after it"
    return f"Sent: {', '.join(status.pending)}. The worker answers {when}."
