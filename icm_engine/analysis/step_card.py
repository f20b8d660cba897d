"""The card of a step: one step of the search with all of its arithmetic, in numbers and sentences.

It is computed from the step's event, the state before it and the settings at the time; nothing is scored again.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from icm_engine.analysis.formatting import chance, decimal, duration, figures
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.status_tiles import Tile
from icm_engine.analysis.time_travel import Moment
from icm_engine.analysis.views import ExampleView, shown
from icm_engine.core.labeling import Label
from icm_engine.core.scoring import LabelLogProbs, no_scorer
from icm_engine.core.search import asked
from icm_engine.core.settings import SearchConfig
from icm_engine.store.bodies import EstimateBody, EvaluationBody, RepairBody, StepBody


@dataclass(frozen=True, slots=True)
class LabelScore:
    """The model's score for one label: its log-probability, and its share among the labels."""

    label: Label
    log_prob: float
    probability: float
    role: str  # old, proposed, both in words, or nothing


@dataclass(frozen=True, slots=True)
class Terms:
    """U of one labeling and its parts."""

    predictability: float
    weighted: float  # alpha * P(D)
    pairs: int
    inconsistency: float
    utility: float


@dataclass(frozen=True, slots=True)
class RepairOption:
    """One consistent option of a repair: its U, and the change from the U before the repair."""

    labels: tuple[Label, Label]
    utility: float
    gain: float
    taken: bool


@dataclass(frozen=True, slots=True)
class RepairLine:
    """One repair inside a step: the pair, every option with its U, the chosen one, and options not tried."""

    number: int
    pair: tuple[ExampleView, ExampleView]
    labels: tuple[Label, Label]
    utility: float
    options: tuple[RepairOption, ...]
    taken: tuple[Label, Label] | None
    withheld: tuple[tuple[Label, Label], ...]

    @property
    def sentence(self) -> str:
        """The outcome, in words."""
        if self.taken is not None:
            best = next(option for option in self.options if option.taken)
            moved = "rises" if best.gain > 0 else "falls"
            return f"Took {two(self.taken)}: U {moved} from {decimal(self.utility, 2)} to {decimal(best.utility, 2)}."
        if not self.options:
            return "Nothing was tried: every consistent option changes a pinned label."
        return f"Took none: no option raises U above {decimal(self.utility, 2)}."

    @property
    def withheld_words(self) -> str:
        """Why consistent options were not tried; empty if all were."""
        names = ", ".join(map(two, self.withheld))
        return f"Not tried, since a label is pinned: {names}." if names else ""


@dataclass(frozen=True, slots=True)
class Mover:
    """An example whose log-probability of its own label changed with the proposal."""

    example: ExampleView
    before: float
    after: float

    @property
    def change(self) -> float:
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Decision:
    """One step: the proposal, every number of the decision, the verdict and the cost."""

    step: int
    event: int
    example: ExampleView
    old: Label | None
    proposed: Label
    scores: tuple[LabelScore, ...]
    label_mass: float
    before: Terms
    after: Terms | None  # None where nothing was proposed
    alpha: float
    pair_weight: float
    delta: float | None
    temperature: float
    probability: float | None  # exp(delta / T), 1 for a gain
    draw: float | None
    verdict: str
    repairs: tuple[RepairLine, ...]
    movers: tuple[Mover, ...]
    paired: bool
    reused: bool
    pins: int
    prompts: int
    tokens_encoded: int
    tokens_full: int
    set_evaluations: int
    seconds: float
    prompt_sha256: str
    tied: tuple[Label, ...] = ()  # labels with exactly equal scores; the first was proposed
    estimate: EstimateBody | None = None  # how delta was estimated from sampled terms; None: it is exact

    @property
    def threshold(self) -> float | None:
        """The lowest temperature at which this draw accepts the loss: delta / ln(draw).

        None for a gain, and for an estimated delta, whose correction depends on the temperature too.
        """
        if self.estimate is not None:
            return None
        if self.delta is None or self.draw is None or self.delta >= 0 or not 0 < self.draw < 1:
            return None
        return self.delta / math.log(self.draw)


def decision(reading: Reading, moment: Moment) -> Decision:
    """Return the card of a `step` event; it shows gold only if the reading has gold."""
    body, before, usage = moment.event.step, moment.before, moment.event.step["usage"]
    after = body["after"]
    decided = after is not None
    return Decision(
        step=body["step"],
        event=moment.event.number,
        example=shown(reading, body["example"]),
        old=body["old"],
        proposed=body["proposed"],
        scores=_scores(body),
        label_mass=body["label_mass"],
        before=terms(body["before"]),
        after=terms(after) if after is not None else None,
        alpha=moment.config.alpha,
        pair_weight=moment.config.pair_weight,
        delta=body["delta"] if decided else None,
        temperature=body["temperature"],
        probability=body["accept_probability"] if decided else None,
        draw=body["draw"] if decided else None,
        verdict=body["verdict"],
        repairs=repairs(reading, body["repairs"]),
        movers=_movers(reading, body),
        paired=body.get("paired", False),
        reused=body.get("reused", False),
        tied=tuple(body.get("tied", ())),
        estimate=body.get("estimate"),
        pins=len(before.hand.pins) if before else 0,
        prompts=usage["prompts"],
        tokens_encoded=usage["tokens_encoded"],
        tokens_full=usage["tokens_full"],
        set_evaluations=body["set_evaluations"],
        seconds=moment.event.seconds,
        prompt_sha256=body["prompt_sha256"],
    )


def terms(body: EvaluationBody) -> Terms:
    """Return U and its parts from an evaluation in an event."""
    return Terms(
        body["mutual_predictability"],
        body["weighted_predictability"],
        len(body["pairs"]),
        body["inconsistency"],
        body["utility"],
    )


def repairs(reading: Reading, made: Sequence[RepairBody]) -> tuple[RepairLine, ...]:
    """Return the repairs of a `step` or an `initial` event."""
    return tuple(_repaired(reading, number, repair) for number, repair in enumerate(made, 1))


def _repaired(reading: Reading, number: int, body: RepairBody) -> RepairLine:
    taken = _pair(body["taken"]) if body["taken"] else None
    options = tuple(
        RepairOption(_pair(o["labels"]), o["utility"], o["utility"] - body["utility"], _pair(o["labels"]) == taken)
        for o in body["options"]
    )
    first, second = (shown(reading, example) for example in body["pair"])
    withheld = tuple(map(_pair, body.get("withheld", ())))
    return RepairLine(number, (first, second), _pair(body["labels"]), body["utility"], options, taken, withheld)


def _pair(labels: Sequence[Label]) -> tuple[Label, Label]:
    one, other = labels
    return one, other


def _scores(body: StepBody) -> tuple[LabelScore, ...]:
    raw = body["log_probs"]
    shares = LabelLogProbs(tuple(raw.values())).normalized
    return tuple(
        LabelScore(label, value, math.exp(share), _role(label, body["old"], body["proposed"]))
        for (label, value), share in zip(raw.items(), shares, strict=True)
    )


def _role(label: Label, old: Label | None, proposed: Label) -> str:
    if label == old == proposed:
        return "its label, kept"
    return "proposed" if label == proposed else "its label before" if label == old else ""


def _movers(reading: Reading, body: StepBody) -> tuple[Mover, ...]:
    found = [Mover(shown(reading, row["example"]), row["before"], row["after"]) for row in body["movers"]]
    return tuple(sorted(found, key=lambda mover: mover.change))


def two(labels: Sequence[Label]) -> str:
    """Return the labels of a pair as one string."""
    return " / ".join(labels)


def sentence(card: Decision) -> str:
    """Return the verdict with its reason."""
    if card.delta is None:
        return "Unchanged: the model prefers the label it has, and nothing was proposed."
    if card.verdict == "unchanged":
        return _unchanged(card)
    said = f"delta = {delta_words(card)}"
    if card.estimate is not None and card.probability != 1:
        given = f"at T = {figures(card.temperature)} is accepted with probability {chance(card.probability)}"
        return f"{card.verdict.capitalize()}: {said} {given}, draw {figures(card.draw)}."
    if card.delta > 0:
        return f"Accepted: {said} is a gain, and gains are always accepted."
    against = f"{said} at T = {figures(card.temperature)} gives {chance(card.probability)}, draw {figures(card.draw)}."
    return f"Accepted, although it is not a gain: {against}" if card.verdict == "accepted" else f"Rejected: {against}"


def delta_words(card: Decision) -> str:
    """Return delta U, with its standard error if it is an estimate."""
    error = card.estimate and card.estimate["error"]
    return decimal(card.delta, 2) + (f" ± {error:.2f}" if error else "")


def _unchanged(card: Decision) -> str:
    if any(repair.taken for repair in card.repairs):
        return "Unchanged: the repair took the proposal back."
    return "Unchanged: the label stays, and no repair raised U."


def threshold_sentence(card: Decision) -> str:
    """Say at which temperature the verdict would differ; empty if there is none."""
    if card.threshold is None or card.verdict == "unchanged":
        return ""
    said = f"= delta / ln(draw) = {decimal(card.delta, 2)} / ln {figures(card.draw)}"
    if card.verdict == "accepted":
        return f"It would be rejected at T below {figures(card.threshold)} ({said[2:]})."
    return f"It would be accepted at T of at least {figures(card.threshold)} ({said[2:]})."


def proposal_sentence(card: Decision) -> str:
    """Say what was proposed for the drawn example."""
    tie = f" {' and '.join(card.tied)} tie exactly: the first label was proposed." if card.tied else ""
    if card.old == card.proposed:
        return f"Drawn with label {card.old}; the model would give it the same.{tie}"
    return f"Drawn {'unlabelled' if card.old is None else f'with label {card.old}'}; proposed: {card.proposed}.{tie}"


def scored_sentence(card: Decision) -> str:
    """Say how the labelings before and after were scored, and where the example's own scores come from."""
    said = (
        "The model was not asked again about the drawn example: these are its scores from the labels before."
        if card.reused
        else "The model was asked about the drawn example, with all other labels as demonstrations."
    )
    if card.after is None:
        return said
    if card.estimate is not None:
        found = card.estimate
        terms = (
            f"{len(found['certain']):,} examples that the proposal touches were scored, and {found['terms']:,} drawn "
        )
        return f"{said} Delta is estimated: {terms}at random for the other {found['of']:,}."
    if card.paired:
        return f"{said} Before and after were scored together, in the same orders of demonstrations."
    return f"{said} Before was scored when it was accepted; before and after each in their own orders."


def cost_sentence(card: Decision) -> str:
    """Say what the step cost."""
    saved = f" ({card.tokens_full:,} in separate full prompts)" if card.tokens_full > card.tokens_encoded else ""
    pins = "no pins" if not card.pins else "1 pin" if card.pins == 1 else f"{card.pins:,} pins"
    return (
        f"{card.set_evaluations:,} labelings scored, {card.prompts:,} prompts, {card.tokens_encoded:,} tokens{saved}, "
        f"{duration(card.seconds)}; {pins} in force."
    )


def settings_words(config: SearchConfig) -> str:
    """Name the form of U that the numbers of a card belong to."""
    return f"U = {config.alpha:g} · P − {config.pair_weight:g} a pair; P is {config.predictability}"


DELTA_EXACT = "U after minus U before. A gain is always accepted."
DELTA_ESTIMATED = "U after minus U before, estimated from a sample of the terms, ± its standard error."
CHANCE_ESTIMATED = (
    "min(1, exp(delta / T − error² / 2T²)): the second part corrects for the standard error of the estimated delta."
)


def decision_tiles(card: Decision) -> tuple[Tile, ...]:
    """Return the numbers behind the decision, each with its explanation."""
    after = card.after.utility if card.after else None
    return (
        Tile(
            "U",
            f"{decimal(card.before.utility, 2)} → {decimal(after, 2)}",
            "",
            "U(D) before → after the proposal and its repairs.",
        ),
        Tile("delta U", delta_words(card), "", DELTA_ESTIMATED if card.estimate else DELTA_EXACT),
        Tile("T", figures(card.temperature), "", "The temperature of this step, on the scale of U."),
        Tile(
            "Probability" if card.estimate else "exp(delta / T)",
            chance(card.probability),
            "",
            CHANCE_ESTIMATED if card.estimate else "The probability of accepting a loss; 100 % for a gain.",
        ),
        Tile("Draw", figures(card.draw), "", "A loss is accepted if the draw is below its probability."),
        Tile("Label mass", chance(card.label_mass), "", "Probability on the labels before renormalising."),
    )


@dataclass(frozen=True, slots=True)
class PromptRead:
    """A prompt with its demonstrations; `matches`: whether its hash is the recorded one (None: not recorded)."""

    text: str
    demonstrations: int
    sha256: str
    matches: bool | None

    @property
    def sentence(self) -> str:
        """What is known about it, in words."""
        shown = f"{self.demonstrations:,} demonstrations, then the drawn example; {len(self.text):,} characters."
        if self.matches is None:
            return f"{shown} The log has no hash to compare with."
        if self.matches:
            return f"{shown} Its hash equals the logged one: this is what the model read."
        return f"{shown} Its hash differs from the logged one: this is not what the model read."


def prompt_read(reading: Reading, moment: Moment) -> PromptRead:
    """Return the prompt of a `step` event; if scores were reused, the prompt that first produced them."""
    body, objective = moment.event.step, reading.run.objective(moment.config, no_scorer())
    assert moment.before is not None  # a step follows the initial labels
    prompt = asked(moment.before, objective, reading.run.codec.index(body["example"]), body.get("reused", False))
    found = hashlib.sha256(prompt.text.encode()).hexdigest()
    recorded = body["prompt_sha256"]
    return PromptRead(prompt.text, len(prompt.segments) - 1, found, found == recorded if recorded else None)
