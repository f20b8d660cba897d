"""The life cycle of runs and jobs: one vocabulary of phases, derived from the log and the lease, and stored nowhere.

created      asked for, never started
starting     a process has it, or is about to, and is not ready yet
running      its process works
paused       a run that waits for a command
interrupted  its process is gone, and what was asked is not done
failed       it ended with an error
stopped      a run that a person ended
cancelled    a job that a person no longer wants
finished     a run whose steps are all taken, or whose labels are all there
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
LEFT: frozenset[Phase] = BROKEN | {"created", "paused"}  # to be started, or gone on with

LAUNCH_GRACE = 20.0  # seconds within which what was asked of a run or job that nobody holds is about to begin


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run or a job stands, and a sentence about it."""

    phase: Phase
    message: str

    @property
    def moving(self) -> bool:
        """Whether it works, or is about to."""
        return self.phase in MOVING

    @property
    def settled(self) -> bool:
        """Whether nothing happens until somebody asks for it."""
        return not self.moving

    @property
    def complete(self) -> bool:
        """Whether it came to its end with all that was asked."""
        return self.phase in COMPLETE

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it: it is complete, or a person ended it."""
        return self.phase in OVER

    @property
    def broken(self) -> bool:
        """Whether it failed, or its process is gone."""
        return self.phase in BROKEN

    @property
    def left(self) -> bool:
        """Whether it is still to be started, or to be gone on with."""
        return self.phase in LEFT


@dataclass(frozen=True, slots=True)
class Holding:
    """Who has a run or job: is there a lease, does its process live, and is that ready."""

    leased: bool
    lives: bool
    ready: bool

    @property
    def lost(self) -> bool:
        """Whether its process died: what was asked waits for another one, which somebody must ask for."""
        return self.leased and not self.lives


def held(row: Json | None, lives: bool) -> Holding:
    """Return who has a run or job, from the row of its lease and whether its process lives."""
    return Holding(row is not None, lives, bool(row is not None and lives and row["ready"]))


def phase_of(rests: Phase | None, holding: Holding, asked: float | None = None, ending: bool = False) -> Phase:
    """Return the phase of a run or job.

    `rests` is where its last deciding event leaves it, None if that has it go on. `asked` is when what nobody has taken
    up yet was asked, None if there is nothing. `ending` says that a living process is about to leave it at rest.
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
    """Whether a launch may still be under way; what seems to lie ahead was before the clock was set."""
    return 0 <= time.time() - asked < LAUNCH_GRACE
