"""Read models against numbers worked by hand, on a log of four examples written by hand."""

import math
import re
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import pytest

from icm_engine.analysis import figures, run_history, status_tiles, views
from icm_engine.analysis import run_cache as shelf_module
from icm_engine.analysis.batches import run_list
from icm_engine.analysis.run_cache import FORGOTTEN, RefreshThrottle, RunCache
from icm_engine.analysis.run_history import WINDOW, Reading
from icm_engine.analysis.traces import BLOCK, Points, every_nth, extremes, packed
from icm_engine.runs import control
from icm_engine.store import store as store_module
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.store import Event, Store
from tests.support.four_examples import CODEC, COST, IDS, add_four, initial_info, steps, write_four
from tests.support.paths import ROOT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a database with the data set and a run that has not begun."""
    store = Store(tmp_path / "icm.db")
    add_four(store)
    return store


@pytest.fixture
def reading(store: Store) -> Reading:
    write_four(store)
    return views.load(store, "four-1")


def test_curves_have_one_point_for_the_initial_labels_and_one_a_step(reading: Reading) -> None:
    points = reading.trajectory.points
    assert [p.step for p in points] == [0, 1, 2, 3, 4]
    assert [p.utility for p in points] == [9.0, 14.0, 14.0, 14.0, 20.0]  # a rejected step changes nothing
    assert [p.weighted_predictability for p in points] == [10.0, 15.0, 15.0, 15.0, 20.0]
    assert [p.inconsistency for p in points] == [1.0, 1.0, 1.0, 1.0, 0.0]
    assert [p.temperature for p in points] == [None, 10.0, 6.0, 5.0, 4.0]
    assert [p.balance for p in points] == [(2, 0), (3, 0), (3, 0), (3, 0), (2, 1)]


def test_acceptance_counts_proposals_and_not_unchanged_steps(reading: Reading) -> None:
    # accepted; rejected; unchanged; accepted: 1/1, 1/2, still 1/2, 2/3
    assert [p.acceptance_rate for p in reading.trajectory.points] == [None, 1.0, 0.5, 0.5, pytest.approx(2 / 3)]
    assert (reading.proposals, reading.accepted) == (3, 2)


def test_acceptance_looks_back_on_fifty_proposals(store: Store) -> None:
    write_four(store, 1)
    rejected = steps()[1]
    for number in range(2, 2 + WINDOW):
        body = CODEC.encode_step(rejected[0], COST, rejected[1]) | {"step": number}
        store.append("four-1", "step", body)
    reading = views.load(store, "four-1")
    last, one_before = reading.trajectory.points[-1], reading.trajectory.points[-2]
    assert last.acceptance_rate == 0.0  # fifty rejected ones; the accepted one has left the window
    assert one_before.acceptance_rate == 1 / WINDOW
    assert views.acceptance_rate(reading) == 1 / (1 + WINDOW)


def test_accuracy_counts_unlabelled_as_wrong(reading: Reading) -> None:
    found = [(p.accuracy.raw, p.accuracy.balanced, p.accuracy.flipped) for p in reading.trajectory.points if p.accuracy]
    assert len(found) == 5
    # a right, b wrong, c and d unlabelled: 1 of 4; recall of True 1 of 2, of False 0 of 2; swapped, only b is right
    assert found[0] == (0.25, 0.25, 0.25)
    # c right too: 2 of 4; recall 2 of 2 and 0 of 2; swapped, only b would be right
    assert found[1] == (0.5, 0.5, 0.25)
    # b repaired to False: 3 of 4; recall 2 of 2 and 1 of 2; swapped, none would be right
    assert found[4] == (0.75, 0.75, 0.0)


def test_reading_on_is_the_same_as_reading_at_once(store: Store) -> None:
    reading = views.open_reading(store, "four-1")
    store.append("four-1", "control", {"verb": "start"})
    store.append("four-1", "model", {"model": "sample", "trained_context": 120})
    store.append("four-1", "initial", CODEC.encode_initial(initial_info(), COST), 1.0)
    seen = []
    for info, before in steps():
        store.append("four-1", "step", CODEC.encode_step(info, COST, before), 2.0)
        reading = views.refreshed(store, reading)
        seen.append(len(reading.trajectory.points))
    at_once = views.load(store, "four-1")
    assert seen == [2, 3, 4, 5]
    assert (reading.trajectory, reading.tally, reading.changes, reading.steps, reading.spent, reading.cursor) == (
        at_once.trajectory, at_once.tally, at_once.changes, at_once.steps, at_once.spent, at_once.cursor,
    )  # fmt: skip


def test_an_older_reading_is_not_touched_by_reading_on(store: Store) -> None:
    write_four(store, 1)
    before = views.load(store, "four-1")
    body = CODEC.encode_step(steps()[3][0], COST, steps()[3][1])
    store.append("four-1", "step", body)
    views.refreshed(store, before)
    assert (len(before.trajectory.points), before.tally.balance, before.changes[1].last) == (2, (3, 0), 0)


def test_labels_have_probability_last_change_and_flips(reading: Reading) -> None:
    rows = {row.example: row for row in views.labels_table(reading)}
    assert list(rows) == list(IDS)
    assert (rows["a"].label, rows["a"].last_change, rows["a"].flips, rows["a"].gold) == ("True", 0, 0, "True")
    assert (rows["b"].label, rows["b"].last_change, rows["b"].flips) == ("False", 4, 1)  # the rejected flip is not one
    assert (rows["c"].last_change, rows["c"].flips) == (1, 0)
    assert (rows["d"].label, rows["d"].probability, rows["d"].last_change) == (None, None, None)
    assert rows["a"].probability == pytest.approx(0.9)  # 0.72 of 0.80
    assert rows["b"].probability == pytest.approx(0.1)
    assert [row.example for row in views.labels_table(reading, 2)] == ["a", "b"]


def test_conflicts_are_those_of_the_accepted_labeling(store: Store) -> None:
    write_four(store, 3)
    (pair,) = views.conflicts_now(views.load(store, "four-1"))
    assert (pair.rule, pair.examples, pair.labels, pair.answers) == (
        "same-answer",
        ("a", "b"),
        ("True", "True"),
        ("1", "1"),
    )
    assert pair.texts == ("Q a\nC a", "Q b\nC b")
    store.append("four-1", "step", CODEC.encode_step(steps()[3][0], COST, steps()[3][1]))
    assert views.conflicts_now(views.load(store, "four-1")) == ()


def test_steps_have_words_for_their_verdicts(reading: Reading) -> None:
    assert [row.words for row in reading.steps] == ["● accepted", "○ rejected", "– unchanged", "● accepted"]
    assert [row.repair_words for row in reading.steps] == ["", "", "", "⟲ repaired 1"]
    assert reading.steps[2].delta is None  # nothing was proposed
    newest_first = figures.steps_frame(reading).data
    assert list(newest_first["step"]) == [4, 3, 2, 1]
    assert list(newest_first["label"]) == ["True", "True", "True → False", "· → True"]


def test_summary_has_the_keys_of_the_command_line(store: Store) -> None:
    write_four(store)
    assert views.run_summary(store, "four-1") == {
        "run": "four-1", "status": "interrupted", "steps": 4, "labelled": 3, "examples": 4,
        "best_utility": 20.0, "best_step": 4, "best_event": 7,
        "label_balance": {"True": 2, "False": 1}, "utility": 20.0, "mutual_predictability": 0.4, "inconsistency": 0.0,
        "temperature": 4.0, "acceptance_rate": 2 / 3, "prompts_scored": 10, "tokens_encoded": 500,
        "set_evaluations": 7, "seconds": 9.0, "pid": None, "accuracy": 0.75, "balanced_accuracy": 0.75,
        "accuracy_flipped": 0.0,
    }  # fmt: skip


def test_without_gold_there_is_no_accuracy_anywhere(store: Store) -> None:
    write_four(store)
    store.db.execute("delete from gold")
    reading = views.load(store, "four-1")
    assert not {"accuracy", "balanced_accuracy", "accuracy_flipped"} & set(views.run_summary(store, "four-1"))
    assert "Accuracy" not in {tile.name for tile in status_tiles.tiles(reading)}
    assert [chart.title for chart in figures.all_charts(reading.trajectory)] == [
        "Utility", "Temperature and acceptance", "Labels",
    ]  # fmt: skip
    assert "gold" not in figures.labels_frame(views.labels_table(reading)).columns


def test_a_run_before_its_first_event_can_be_looked_at(store: Store) -> None:
    reading, status = views.load(store, "four-1"), control.status(store, "four-1")
    assert views.summary(reading, status)["utility"] is None
    assert views.progress(reading, status) == views.Progress(0, 16, 0.0, None)
    assert {tile.value for tile in status_tiles.tiles(reading)} == {"–", "0"}
    assert status_tiles.offers(status) == {"start", "step"}


def test_time_left_goes_by_the_pace_of_the_last_steps(store: Store) -> None:
    write_four(store)
    running = control.RunStatus("running", "", 4, 16, 1, 0.0, ())
    done = views.progress(views.load(store, "four-1"), running)
    assert (done.share, done.seconds_left) == (0.25, 24.0)  # 12 steps at 2 s
    assert done.words == "4 of 16 steps · about 24 s left"


def test_what_must_be_said_about_the_model_is_said(reading: Reading) -> None:
    said = {notice.kind: notice.text for notice in views.notices(reading)}
    assert "mean nothing" in said["sample-model"]  # the sample model, on data that is not sample data
    assert "150" in said["context"]  # 300 tokens in 2 prompts
    assert "120" in said["context"]  # trained on so many


def test_resampling_keeps_every_extreme() -> None:
    values = [math.sin(k / 7) for k in range(10_000)]
    values[1234], values[8765] = 5.0, -5.0
    kept = extremes(values, points=200)
    assert len(kept) <= 202
    assert {0, 1234, 8765, 9999} <= set(kept)
    assert kept == sorted(kept)
    assert extremes([None, None, 1.0], points=2) == [0, 2]
    assert every_nth(10, 5) == [1, 3, 5, 7, 9]
    assert every_nth(0, 5) == []


def test_accepted_and_rejected_differ_by_colour_shape_and_word(reading: Reading) -> None:
    for dark in (False, True):
        marks = {t.name: t.marker for t in figures.utility(reading.trajectory, dark).figure.data if t.mode == "markers"}
        assert (marks["accepted"].symbol, marks["rejected"].symbol) == ("circle", "circle-open")
        assert marks["accepted"].color != marks["rejected"].color
    chart = figures.utility(reading.trajectory)
    assert chart.alt == "Utility U(D): 9.00 at step 0, 20.00 at step 4."
    assert chart.figure.layout.uirevision == "kept"


@pytest.mark.parametrize(("theme", "colours"), [("light", figures.LIGHT), ("dark", figures.DARK)])
def test_colours_stand_out_on_the_page_and_texts_on_them(theme: str, colours: figures.Palette) -> None:
    page = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"][theme]
    shown = {name: getattr(colours, name) for name in colours.__slots__ if name != "grid"}
    assert not [name for name, colour in shown.items() if figures.contrast(colour, page["backgroundColor"]) < 3]
    assert not [name for name, colour in shown.items() if figures.contrast(colour, figures.ink(colour)) < 4.5]


def test_one_of_many_lines_has_its_own_colour_and_dash() -> None:
    looks = [tuple(figures.line_look(k, dark=True).values()) for k in range(26)]
    assert looks[:2] == [(figures.DARK.strong, "solid"), (figures.DARK.rejected, "dash")]
    assert looks[5] == (figures.DARK.strong, "dash")  # the first colour again
    assert len(set(looks)) == 25
    assert looks[25] == looks[0]


def test_every_figure_begins_as_a_blank_one_which_has_the_theme() -> None:
    own = re.compile(r"go\.Figure\((?!chart\.figure)|make_subplots|plotly\.express")
    paths = [path for room in ("icm_engine", "pages") for path in (ROOT / room).rglob("*.py")]
    assert [path.name for path in paths if own.search(path.read_text(encoding="utf-8"))] == ["figures.py"]


def test_the_shelf_forgets_the_oldest_reading(store: Store) -> None:
    shelf = RunCache(size=1)
    store.add_run(RunSpec("four", "fake"))
    write_four(store)
    assert shelf.reading(store, "four-1").cursor == 7
    assert shelf.reading(store, "four-2").cursor == 0
    assert run_list(store) == ["four-2", "four-1"]


def test_a_run_is_read_one_event_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_four(store)
    shelf, decoded, waiting = RunCache(), list[int](), list[int]()
    event, take = store_module._event, run_history._Fold.take

    def decoding(row: Json) -> Event:
        decoded.append(row["number"])
        return event(row)

    def taking(fold: run_history._Fold, taken: Event) -> None:
        waiting.append(decoded[-1] - taken.number)
        take(fold, taken)

    monkeypatch.setattr(store_module, "_event", decoding)
    monkeypatch.setattr(run_history._Fold, "take", taking)
    assert shelf.unread(store, "four-1") == 7
    shelf.reading(store, "four-1")
    assert decoded == list(range(1, 8))
    assert waiting == [0] * 7
    assert shelf.unread(store, "four-1") == 0


def test_many_who_look_at_once_read_every_event_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_four(store)
    looked, together, opened = RunCache(), Barrier(2), list[str]()

    def opening(store: Store, run: str, withheld: bool) -> Reading:
        opened.append(run)
        with suppress(BrokenBarrierError):
            together.wait(timeout=0.3)  # for one who does the same; nobody may
        return views.open_reading(store, run, withheld)

    monkeypatch.setattr(shelf_module, "open_reading", opening)

    def look(_: int) -> int:
        with Store(store.path) as own:
            return looked.reading(own, "four-1").cursor

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(look, range(8))) == [7] * 8
    assert opened == ["four-1"]


def test_tabs_share_the_pace_of_three() -> None:
    """Ten tabs tick four times less often, together 2.5 times a second; those that have gone slow nobody down."""
    now = 0.0
    pace = RefreshThrottle(clock=lambda: now)
    assert [pace.stretch(f"tab {k}") for k in range(10)] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    assert pace.stretch("tab 0") == 4
    now = FORGOTTEN - 1
    assert pace.stretch("tab 9") == 4
    now = FORGOTTEN
    assert [pace.stretch("tab 9"), pace.stretch("tab 0")] == [1, 1]


@pytest.mark.parametrize("blocks", range(4))
def test_packed_points_are_the_points(reading: Reading, blocks: int) -> None:
    """Up to three whole blocks and a rest, with None among the numbers, as a plain sequence has them."""
    made = [p._replace(step=k) for k, p in enumerate((*reading.trajectory.points,) * 160)]
    assert (len(made), made[0].acceptance_rate, made[-1].acceptance_rate) == (800, None, pytest.approx(2 / 3))
    whole = [made[BLOCK * k : BLOCK * (k + 1)] for k in range(blocks)]
    points = Points([packed(block) for block in whole], made[BLOCK * blocks :])
    assert list(points) == made
    assert points == made
    assert points != [*made[1:], made[0]]
    assert [type(p.step) for p in points[:1]] == [int]
    for place in (0, 249, 250, 749, 750, 799, -1, -51, -800):
        assert points[place] == made[place]
    for first, end in ((0, 0), (0, 800), (240, 260), (250, 500), (760, 770), (-60, None), (700, 100), (None, 751)):
        assert list(points[first:end]) == made[first:end]
    for outside in (800, -801):
        with pytest.raises(IndexError):
            points[outside]


def test_the_outline_of_a_long_run_keeps_every_extreme_and_the_newest_points(store: Store, reading: Reading) -> None:
    """2,300 steps: the sketch grows with the reading, whichever way it was read on."""
    (event,) = [e for e in store.read_after(reading.run.name, kinds=("step",)) if e.body["verdict"] == "unchanged"]
    long, many = reading, [replace(event, number=reading.cursor + k) for k in range(1, 2301)]
    assert long.outline is long.trajectory
    for first in range(0, 2300, 700):
        long = long.extended(many[first : first + 700])
    points, kept = long.trajectory.points, long.outline.points
    assert long.sketch == reading.extended(many).sketch
    assert len(kept) < 300
    assert kept[-1] == points[-1]
    assert set(kept) <= set(points)
    assert {p.utility for p in points} == {p.utility for p in kept}
    assert list(kept) == sorted(kept, key=lambda p: p.event)
