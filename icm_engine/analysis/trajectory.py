"""A run's curves: one point for each event that a state follows from, and what a drawing keeps of many of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from icm_engine.analysis.points import Point, Points
from icm_engine.analysis.resample import extremes_of
from icm_engine.core.labeling import Label

WHOLE = 2000  # points that are drawn as they are


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A run's curves: one point a step, the initial labels first."""

    labels: tuple[Label, ...]
    points: Sequence[Point] = field(default_factory=Points)

    @property
    def last(self) -> Point | None:
        return self.points[-1] if self.points else None


def sketched(block: Sequence[Point]) -> list[Point]:
    """Return what curves keep of some points: the extremes of what jumps, and every act of a person."""
    jumping: list[list[float | None]] = [
        [point.utility for point in block],
        [point.acceptance_rate for point in block],
        [float(point.pairs) for point in block],
        [point.accuracy.raw if point.accuracy else None for point in block],
    ]
    acts = [place for place, point in enumerate(block) if point.verdict in ("hand", "retuned")]
    return [block[place] for place in sorted({*extremes_of(jumping), *acts})]
