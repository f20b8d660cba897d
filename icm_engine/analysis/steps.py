"""One step as a row: what was proposed, the arithmetic, and the verdict in a word."""

from dataclasses import dataclass

from icm_engine.core.labeling import Label
from icm_engine.runs.events import Json

# A shape and a word beside the colour: filled for accepted, hollow for rejected.
VERDICT_WORDS = {"accepted": "● accepted", "rejected": "○ rejected", "unchanged": "– unchanged"}


@dataclass(frozen=True, slots=True)
class StepRow:
    """A decision: `repaired` counts the repairs that changed labels, inside the proposal."""

    step: int
    example: str  # id
    old: Label | None
    proposed: Label
    delta: float | None  # None where nothing was proposed
    temperature: float
    accept_probability: float | None
    draw: float | None
    verdict: str
    repaired: int
    label_mass: float
    seconds: float

    @property
    def words(self) -> str:
        """The verdict as a person reads it."""
        return VERDICT_WORDS[self.verdict]

    @property
    def repair_words(self) -> str:
        return f"⟲ repaired {self.repaired}" if self.repaired else ""


def step_row(body: Json, seconds: float) -> StepRow:
    """Return the row of a `step` event's body."""
    decided = body["after"] is not None
    return StepRow(
        step=body["step"],
        example=body["example"],
        old=body["old"],
        proposed=body["proposed"],
        delta=body["delta"] if decided else None,
        temperature=body["temperature"],
        accept_probability=body["accept_probability"] if decided else None,
        draw=body["draw"] if decided else None,
        verdict=body["verdict"],
        repaired=sum(repair["taken"] is not None for repair in body["repairs"]),
        label_mass=body["label_mass"],
        seconds=seconds,
    )
