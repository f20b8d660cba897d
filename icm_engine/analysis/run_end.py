"""How a run ended against the best it has been: the highest U among states that label at least as many examples."""

from dataclasses import dataclass

from icm_engine.analysis.reading import Point, Reading
from icm_engine.analysis.wording import decimal
from icm_engine.core.predictability import form_of

ANEW = ("retuned", "forked")  # from here on U has another scale


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The last state of a run and its best one, the same where no earlier state has a higher U."""

    run: str
    last: Point
    best: Point

    @property
    def differs(self) -> bool:
        return self.best.event != self.last.event

    @property
    def words(self) -> str:
        """What to know of it, in sentences; empty where the run is at its best."""
        if not self.differs:
            return ""
        more = "as many" if self.best.labelled == self.last.labelled else f"{self.best.labelled:,}"
        return (
            f"U is {decimal(self.last.utility, 2)} now and was {decimal(self.best.utility, 2)} after step "
            f"{self.best.step:,}, with {more} examples labelled."
        )


def run_end(reading: Reading) -> RunEnd | None:
    """Return where a run is and the best it has been under its settings of now; None before it has labels.

    Only states count that label at least as many examples as now, and they are compared as the form of P compares. Of
    equals the last one is the best, so that a run that rests is at its best.
    """
    last = reading.trajectory.last
    if last is None:
        return None
    per_example = form_of(reading.config.predictability).per_example
    best, worth = last, _worth(last, per_example)
    for point in reading.trajectory.points:
        if point.verdict in ANEW:
            best, worth = last, _worth(last, per_example)
        if point.labelled >= last.labelled and _worth(point, per_example) > worth:
            best, worth = point, _worth(point, per_example)
    return RunEnd(reading.run.name, last, best)


def _worth(point: Point, per_example: bool) -> float:
    return point.utility / point.labelled if per_example and point.labelled else point.utility
