"""The decision card: one step of the search with all of its arithmetic, also if it was rejected.

Everything comes from the step's own event, the state before it and the settings then; nothing is scored again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from icm_engine.analysis.reading import Reading
from icm_engine.analysis.shown import Shown, shown
from icm_engine.analysis.travel import Moment
from icm_engine.analysis.wording import decimal
from icm_engine.core.labeling import Label
from icm_engine.core.scoring import LabelLogProbs
from icm_engine.runs.events import Json


@dataclass(frozen=True, slots=True)
class LabelScore:
    """What the model gave one label: its log-probability, and its share among the labels."""

    label: Label
    log_prob: float
    probability: float
    role: str  # old, proposed, both in words, or nothing


@dataclass(frozen=True, slots=True)
class Terms:
    """U of one labeling with its parts."""

    predictability: float
    weighted: float  # alpha * P(D)
    pairs: int
    inconsistency: float
    utility: float


@dataclass(frozen=True, slots=True)
class Option:
    """One consistent pair of labels that a repair tried: its U, and the change against U of what was repaired."""

    labels: tuple[Label, Label]
    utility: float
    gain: float
    taken: bool


@dataclass(frozen=True, slots=True)
class Repaired:
    """One repair inside a step: the pair, every option with its U, the one taken, and those not tried."""

    number: int
    pair: tuple[Shown, Shown]
    labels: tuple[Label, Label]
    utility: float
    options: tuple[Option, ...]
    taken: tuple[Label, Label] | None
    withheld: tuple[tuple[Label, Label], ...]

    @property
    def sentence(self) -> str:
        """What came of it, in words."""
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
    """An example whose log p of its own label changed with the proposal."""

    example: Shown
    before: float
    after: float

    @property
    def change(self) -> float:
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Decision:
    """One step: what was proposed, every number of the decision, the verdict, and what it cost."""

    step: int
    event: int
    example: Shown
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
    repairs: tuple[Repaired, ...]
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
    tied: tuple[Label, ...] = ()  # that the model prefers exactly alike; the first one was proposed

    @property
    def threshold(self) -> float | None:
        """The temperature from which on a loss is accepted with this draw: delta / ln(draw); None if it is no loss."""
        if self.delta is None or self.draw is None or self.delta >= 0 or not 0 < self.draw < 1:
            return None
        return self.delta / math.log(self.draw)


def decision(reading: Reading, moment: Moment) -> Decision:
    """Return the card of a `step` event; gold stands on it only where the reading has some."""
    body, before, usage = moment.body, moment.before, moment.body["usage"]
    decided = body["after"] is not None
    return Decision(
        step=body["step"], event=moment.event.number, example=shown(reading, body["example"]),
        old=body["old"], proposed=body["proposed"], scores=_scores(body), label_mass=body["label_mass"],
        before=terms(body["before"]), after=terms(body["after"]) if decided else None,
        alpha=moment.config.alpha, pair_weight=moment.config.pair_weight,
        delta=body["delta"] if decided else None, temperature=body["temperature"],
        probability=body["accept_probability"] if decided else None, draw=body["draw"] if decided else None,
        verdict=body["verdict"], repairs=repairs(reading, body), movers=_movers(reading, body),
        paired=body.get("paired", False), reused=body.get("reused", False),
        tied=tuple(body.get("tied", ())),
        pins=len(before.hand.pins) if before else 0,
        prompts=usage["prompts"], tokens_encoded=usage["tokens_encoded"], tokens_full=usage["tokens_full"],
        set_evaluations=body["set_evaluations"], seconds=moment.event.seconds, prompt_sha256=body["prompt_sha256"],
    )  # fmt: skip


def terms(body: Json) -> Terms:
    """Return U and its parts from the evaluation in an event."""
    return Terms(
        body["mutual_predictability"], body["weighted_predictability"], len(body["pairs"]), body["inconsistency"],
        body["utility"],
    )  # fmt: skip


def repairs(reading: Reading, body: Json) -> tuple[Repaired, ...]:
    """Return the repairs of a `step` or an `initial` event."""
    return tuple(_repaired(reading, number, repair) for number, repair in enumerate(body["repairs"], 1))


def _repaired(reading: Reading, number: int, body: Json) -> Repaired:
    taken = tuple(body["taken"]) if body["taken"] else None
    options = tuple(
        Option(tuple(o["labels"]), o["utility"], o["utility"] - body["utility"], tuple(o["labels"]) == taken)
        for o in body["options"]
    )
    first, second = (shown(reading, example) for example in body["pair"])
    withheld = tuple(tuple(labels) for labels in body.get("withheld", ()))
    return Repaired(number, (first, second), tuple(body["labels"]), body["utility"], options, taken, withheld)


def _scores(body: Json) -> tuple[LabelScore, ...]:
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


def _movers(reading: Reading, body: Json) -> tuple[Mover, ...]:
    found = [Mover(shown(reading, row["example"]), row["before"], row["after"]) for row in body["movers"]]
    return tuple(sorted(found, key=lambda mover: mover.change))


def two(labels: Sequence[Label]) -> str:
    """Return the labels of a pair in one word."""
    return " / ".join(labels)
