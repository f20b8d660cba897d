"""What the header, the curve of U and the table of runs show, worked by hand on the log of four examples."""

from dataclasses import replace

import pytest

from icm_engine.analysis import status_tiles, views
from icm_engine.analysis.figures import CurveMarks, curve_marks, runs_frame, utility
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.traces import Trajectory
from icm_engine.core.settings import PRESETS
from icm_engine.runs.life_cycle import Phase
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.four_examples import add_four, write_four
from tests.support.stores import HOSTILE, add_run


@pytest.fixture
def reading(store: Store) -> Reading:
    add_four(store)
    write_four(store)
    return views.load(store, "four-1")


# -- the header


def test_the_headline_has_the_numbers_in_one_line(reading: Reading) -> None:
    # U = 20; 2 of 3 proposals accepted; no conflict left; a, b and c right, d unlabelled and so wrong
    assert (
        status_tiles.headline(reading)
        == "U 20.00 · T 4.00 · accepted 67% · conflicts 0 · 3 of 4 labelled · accuracy 75%"
    )
    assert status_tiles.headline(reading, accuracy=False).endswith("3 of 4 labelled")


def test_the_headline_leaves_out_what_a_run_has_not(store: Store) -> None:
    add_four(store)
    assert status_tiles.headline(views.load(store, "four-1")) == "0 of 4 labelled"
    store.db.execute("delete from gold")
    write_four(store, 0)
    assert (
        status_tiles.headline(views.load(store, "four-1"))
        == "U 9.00 · T – · accepted – · conflicts 1 · 2 of 4 labelled"
    )
    run = add_run(store, rule="none", steps=3)
    assert "conflicts" not in status_tiles.headline(views.load(store, run))


@pytest.mark.parametrize(
    ("upto", "step", "sentence"),
    [
        (1, 1, "Step 1 ● accepted: unlabelled → True, ΔU 5.00 at T 10.00 · Q c C c"),
        (2, 2, "Step 2 ○ rejected: True → False, ΔU −2.00 at T 6.00 · Q b C b"),
        (3, 3, "Step 3 – unchanged: True · Q a C a"),
        (4, 4, "Step 4 ● accepted: True, ΔU 6.00 at T 4.00, ⟲ repaired 1 · Q a C a"),
    ],
)
def test_the_last_decision_is_a_sentence(store: Store, upto: int, step: int, sentence: str) -> None:
    add_four(store)
    write_four(store, upto)
    assert status_tiles.last_decision(views.load(store, "four-1")) == status_tiles.LastDecision(step, sentence)


def test_before_the_first_step_there_is_no_last_decision(store: Store) -> None:
    add_four(store)
    write_four(store, 0)
    assert status_tiles.last_decision(views.load(store, "four-1")) is None


# -- the curve of U


def traces(trajectory: Trajectory, marks: CurveMarks | None = None) -> dict[str, object]:
    return {trace.name: trace for trace in utility(trajectory, marks=marks).figure.data}


def test_the_axis_is_fitted_to_u_with_some_room(reading: Reading) -> None:
    # U goes from 9 to 20: 6 % of 11 is 0.66. I(D), near 0, does not count
    low, high = utility(reading.trajectory).figure.layout.yaxis.range
    assert (low, high) == (pytest.approx(8.34), pytest.approx(20.66))


def test_a_level_curve_and_an_empty_one_have_an_axis_too(reading: Reading) -> None:
    level = replace(reading.trajectory, points=tuple(reading.trajectory.points)[1:3])
    assert utility(level).figure.layout.yaxis.range == (13.0, 15.0)
    empty = replace(reading.trajectory, points=())
    assert utility(empty).figure.layout.yaxis.range is None


def test_the_two_terms_are_off_at_first_and_u_is_on(reading: Reading) -> None:
    found = traces(reading.trajectory)
    assert (found["alpha · P(D)"].visible, found["I(D)"].visible) == ("legendonly", "legendonly")  # type: ignore[attr-defined]
    assert found["U(D)"].visible is None  # type: ignore[attr-defined]


def test_repaired_steps_are_diamonds_and_no_longer_circles(reading: Reading) -> None:
    marks = curve_marks(reading)
    (event,) = marks.repaired  # of step 4, the only one with a kept repair
    assert [point.step for point in reading.trajectory.points if point.event == event] == [4]
    found = traces(reading.trajectory, marks)
    repaired, accepted = found["repaired"], found["accepted"]
    assert (list(repaired.x), repaired.marker.symbol) == ([4], "diamond")  # type: ignore[attr-defined]
    assert list(accepted.x) == [1]  # type: ignore[attr-defined]
    assert "repaired" not in traces(reading.trajectory)


def test_the_best_state_is_a_star(store: Store, reading: Reading) -> None:
    best = traces(reading.trajectory, curve_marks(reading))["best U"]
    assert (list(best.x), list(best.y), best.marker.symbol) == ([4], [20.0], "star")  # type: ignore[attr-defined]
    points = tuple(reading.trajectory.points)
    worse = replace(reading.trajectory, points=(*points, points[-1]._replace(step=5, event=99, utility=19.0)))
    later = traces(worse, CurveMarks(best=points[-1]))["best U"]
    assert list(later.x) == [4]  # type: ignore[attr-defined]  # not where the run stands


# -- the table of runs


def row(run: str, phase: Phase = "paused", **facts: object) -> views.Overview:
    made = views.Overview(run, phase, views.Progress(0, 1, 0.0, None), "claims", "fake", 0, 4, None, None)
    return replace(made, **facts)  # type: ignore[arg-type]


PHASES: tuple[Phase, ...] = (
    "created", "starting", "running", "paused", "interrupted", "failed", "stopped", "finished", "cancelled",
)  # fmt: skip


@pytest.mark.parametrize(
    ("status", "phases"),
    [
        ("Any status", set(PHASES)),
        ("Moving", {"starting", "running"}),
        ("Waiting", {"created", "paused", "interrupted", "failed"}),
        ("Ended", {"stopped", "finished", "cancelled"}),
    ],
)
def test_a_status_keeps_its_phases(status: str, phases: set[str]) -> None:
    assert status in views.STATUSES
    assert {phase for phase in PHASES if views.has_status(phase, status)} == phases


@pytest.mark.parametrize(
    ("words", "names"),
    [("", "abc"), ("SUMS", "b"), (" qwen ", "c"), ("a", "abc"), ("zero-shot", "b"), ("paper", "c"), ("nothing", "")],
)
def test_words_are_sought_in_name_data_set_model_source_and_preset(words: str, names: str) -> None:
    specs = {
        "a": RunSpec("claims", "fake"),
        "b": RunSpec("sums", "fake", source="zero-shot"),
        "c": RunSpec("claims", "Qwen/Qwen3", preset="paper", search=PRESETS["paper"]),
    }
    assert "".join(run for run, spec in specs.items() if views.mentions(run, spec, words)) == names


def test_the_frame_of_runs_leaves_out_columns_without_any_value() -> None:
    frame = runs_frame([row("a", utility=2.0), row("b", edited=True)])
    assert list(frame["run"]) == ["a", "b"]
    assert frame["U"].tolist()[0] == 2.0
    assert frame["edited"].tolist()[1] == "by hand"
    assert not {"accuracy", "best U", "alpha", "seed"} & set(frame)
    assert list(frame)[-4:] == ["created", "edited", "source", "preset"]  # the page says that these are to the right
    assert len(runs_frame([])) == 0


def test_texts_of_examples_are_in_the_sentence_as_they_are(store: Store) -> None:
    decided = status_tiles.last_decision(views.load(store, add_run(store, steps=3)))
    assert decided is not None
    assert HOSTILE[:20] in decided.sentence  # pages escape it


def test_a_run_from_before_the_centred_form_has_the_present_name_of_its_preset() -> None:
    assert RunSpec("sums", "fake").preset_name == "mean-log-odds"  # stored as "default"
    assert RunSpec("sums", "fake", search=PRESETS["default"]).preset_name == "default"
    assert RunSpec("sums", "fake", preset="paper", search=PRESETS["paper"]).preset_name == "paper"
