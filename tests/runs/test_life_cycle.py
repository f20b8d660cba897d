"""One life cycle of runs and jobs: every phase from where the log leaves it, the lease, and what was asked."""

import time
from itertools import product
from typing import get_args

import pytest

from icm_engine.analysis.formatting import OFFERS, PHASE_STYLES
from icm_engine.runs import life_cycle
from icm_engine.runs.life_cycle import COMPLETE, LEFT, MOVING, OVER, Holding, Phase, Status, held, phase_of

NOBODY, DEAD = Holding(False, False, False), Holding(True, False, False)
LOADING, READY = Holding(True, True, False), Holding(True, True, True)
PHASES: tuple[Phase, ...] = get_args(Phase)


def test_every_phase_is_moving_over_or_left_and_only_one_of_them() -> None:
    assert set(PHASES) == MOVING | OVER | LEFT
    assert len(MOVING) + len(OVER) + len(LEFT) == len(PHASES)
    assert COMPLETE < OVER
    for phase in PHASES:
        status = Status(phase, "")
        assert [status.moving, status.over, status.left].count(True) == 1
        assert status.settled is not status.moving


def test_pages_have_a_look_and_offers_for_every_phase_of_a_run() -> None:
    assert set(PHASE_STYLES) == set(OFFERS) == set(PHASES) - {"done", "cancelled"}


def test_a_lease_says_who_holds_it() -> None:
    row = {"ready": 1}
    assert (held(None, False), held(row, False), held({"ready": 0}, True), held(row, True)) == (
        NOBODY, DEAD, LOADING, READY
    )  # fmt: skip
    assert [holding.lost for holding in (NOBODY, DEAD, LOADING, READY)] == [False, True, False, False]


@pytest.mark.parametrize(
    ("holding", "phase"),
    [(NOBODY, "interrupted"), (DEAD, "interrupted"), (LOADING, "starting"), (READY, "running")],
)
def test_what_is_to_go_on_depends_on_its_process_alone(holding: Holding, phase: Phase) -> None:
    assert phase_of(None, holding) == phase


def test_what_rests_stays_unless_something_is_asked() -> None:
    resting: tuple[Phase, ...] = ("paused", "failed", "stopped", "finished", "done")
    for phase, holding in product(resting, (NOBODY, DEAD, LOADING, READY)):
        assert phase_of(phase, holding) == phase
    assert [phase_of("created", holding) for holding in (NOBODY, DEAD, LOADING)] == ["created", "created", "starting"]


def test_what_was_asked_just_now_is_starting_until_it_is_taken_up() -> None:
    now = time.time()
    for rests in (None, "created", "paused", "failed"):
        assert phase_of(rests, NOBODY, now) == phase_of(rests, LOADING, now) == "starting"
        assert phase_of(rests, DEAD, now) == "interrupted"
    assert phase_of("paused", READY, now) == "paused"  # its process looks at it next


def test_what_nobody_took_up_in_time_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = time.time() - 5
    assert phase_of("paused", NOBODY, asked) == "starting"
    assert phase_of("paused", NOBODY, time.time() + 60) == "paused"  # the clock was set
    monkeypatch.setattr(life_cycle, "LAUNCH_GRACE", 4.0)
    assert (phase_of("paused", NOBODY, asked), phase_of(None, NOBODY, asked)) == ("paused", "interrupted")


def test_an_ending_process_is_still_at_work() -> None:
    assert [phase_of("cancelled", holding, ending=True) for holding in (READY, NOBODY)] == ["running", "cancelled"]
