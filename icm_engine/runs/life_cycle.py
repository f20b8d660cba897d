"""The life cycle of runs and jobs: one vocabulary of phases, derived from the log and the lease, never stored.

created      requested, never started
starting     held by a process, or about to be, and not ready yet
running      its process works
paused       a run that waits for a command
interrupted  its process is gone before the end
failed       it ended with an error
stopped      a run ended by a person
cancelled    a job cancelled by a person
finished     a run with all its steps or labels
done         a job that has its result
"""

import time
from dataclasses import dataclass
from typing import Literal

from icm_engine.store.events import Json

Phase = Literal[
    "created", "starting", "running", "paused", "interrupted", "failed", "stopped", "cancelled", "finished", "done"
]

MOVING: frozenset[Phase] = frozenset({"starting", "running"})  # things happen by themselves
COMPLETE: frozenset[Phase] = frozenset({"finished", "done"})
OVER: frozenset[Phase] = COMPLETE | {"stopped", "cancelled"}  # nothing more comes of it: whoever ended it meant it
BROKEN: frozenset[Phase] = frozenset({"failed", "interrupted"})  # not as anybody wanted
LEFT: frozenset[Phase] = BROKEN | {"created", "paused"}  # to be started or continued

LAUNCH_GRACE = 20.0  # seconds during which an unheld run or job counts as about to start


@dataclass(frozen=True, slots=True)
class Status:
    """The phase of a run or job, and a sentence about it."""

    phase: Phase
    message: str

    @property
    def moving(self) -> bool:
        """Whether it works or is about to."""
        return self.phase in MOVING

    @property
    def settled(self) -> bool:
        """Whether nothing will happen until somebody asks for it."""
        return not self.moving

    @property
    def complete(self) -> bool:
        """Whether it ended with everything done."""
        return self.phase in COMPLETE

    @property
    def over(self) -> bool:
        """Whether it is over: complete, or ended by a person."""
        return self.phase in OVER

    @property
    def broken(self) -> bool:
        """Whether it failed, or its process is gone."""
        return self.phase in BROKEN

    @property
    def left(self) -> bool:
        """Whether it can be started or resumed."""
        return self.phase in LEFT


@dataclass(frozen=True, slots=True)
class Holding:
    """Who holds a run or job: whether there is a lease, whether its process is alive, and whether that is ready."""

    leased: bool
    lives: bool
    ready: bool

    @property
    def lost(self) -> bool:
        """Whether its process died; pending requests then wait for another process, which somebody must request."""
        return self.leased and not self.lives


def held(row: Json | None, lives: bool) -> Holding:
    """Return who holds a run or job, from its lease row and whether its process is alive."""
    return Holding(row is not None, lives, bool(row is not None and lives and row["ready"]))


def phase_of(rests: Phase | None, holding: Holding, asked: float | None = None, ending: bool = False) -> Phase:
    """Return the phase of a run or job.

    `rests` is the phase in which its last deciding event leaves it, None if it should continue. `asked` is the time of
    a request that no process has taken up yet, None if there is none. `ending`: a living process is about to leave.
    """
    if asked is not None and holding.lost:
        return "interrupted"
    if asked is not None and (not holding.ready if holding.lives else _is_recent(asked)):
        return "starting"
    if holding.lives and ending:
        return "running"
    if holding.lives and rests == "created":
        return "starting"
    if rests is not None:
        return rests
    if not holding.lives:
        return "interrupted"
    return "running" if holding.ready else "starting"


def _is_recent(asked: float) -> bool:
    """Whether a launch may still be in progress; a future time means the clock was set and counts as old."""
    return 0 <= time.time() - asked < LAUNCH_GRACE
