"""Label changes: filters, queues and pictures against numbers worked by hand and against a replay of the log."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icm_engine.analysis import step_figures, views
from icm_engine.analysis.flips import (
    QUEUES,
    Filter,
    changes_frame,
    counts,
    cycles_sentence,
    cycling,
    doubt_words,
    filtered,
    margins,
    queue_frame,
    queues,
    returns,
)
from icm_engine.analysis.label_history import CAUSES, LabelChange
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.step_figures import grid_chart, grid_frame, label_grid, stretches, strip_chart
from icm_engine.analysis.time_travel import changes_of
from icm_engine.core.labeling import Labeling
from icm_engine.core.scoring import LabelLogProbs
from icm_engine.store.replay import STATE_KINDS, after_event, state_at
from icm_engine.store.store import Store
from tests.support.drawn_pages import button, page, shown_markup, texts
from tests.support.steered_runs import forked_run, steered_run
from tests.support.stores import HOSTILE, add_run, small_dataset


@pytest.fixture
def reading(store: Store, monkeypatch: pytest.MonkeyPatch) -> Reading:
    return views.load(store, steered_run(store, monkeypatch))


def with_history(reading: Reading, *labels: str) -> Reading:
    """The reading, but with example 0 having had these labels, at steps 0, 10, 20, ..."""
    old: list[str | None] = [None, *labels]
    changes = tuple(
        LabelChange(10 * k, 3 + k, 0, old[k], new, "proposal" if k else "initial") for k, new in enumerate(labels)
    )
    return replace(reading, history=changes, changes=changes_of(changes))


def test_every_change_of_the_log_is_listed_with_its_cause(store: Store, reading: Reading) -> None:
    state, found = None, list[tuple[int, int, object, object]]()
    for event in store.read_after(reading.run.name, kinds=STATE_KINDS):
        before: Mapping[int, str] = state.labeling if state else {}
        state = after_event(reading.run.codec, event, state)
        assert state is not None
        moved = sorted(i for i in {*before, *state.labeling} if before.get(i) != state.labeling.get(i))
        found += [(event.number, i, before.get(i), state.labeling.get(i)) for i in moved]
    listed = [(c.event, c.example, c.old, c.new) for c in filtered(reading, Filter())]
    assert sorted(listed, key=lambda row: row[:2]) == found
    assert set(counts(reading.history)) == {"initial", "proposal", "repair", "person"}
    assert sum(counts(reading.history).values()) == len(reading.history)


def test_a_fork_begins_with_all_labels_of_its_parent(store: Store, reading: Reading) -> None:
    child = views.load(store, forked_run(store, reading.run.name))
    begun = filtered(child, Filter(cause="fork"))
    state = state_at(store, child.run, 1)
    assert state is not None
    assert {change.example: change.new for change in begun} == dict(state.labeling)
    assert len(begun) == child.trajectory.points[0].labelled


def test_filters(reading: Reading) -> None:
    everything = list(reading.history)
    for cause in CAUSES:
        assert filtered(reading, Filter(cause=cause)) == [c for c in everything if c.cause == cause]
    assert filtered(reading, Filter(example=3)) == [c for c in everything if c.example == 3]
    assert filtered(reading, Filter(first=5, last=30)) == [c for c in everything if 5 <= c.step <= 30]
    kept = filtered(reading, Filter(kept=True))
    assert {c.example: c.new for c in kept} == dict(reading.labeling)
    assert len(kept) == len(reading.labeling)


def test_a_return_is_a_label_had_before() -> None:
    assert returns(["True", "False"]) == {}
    assert returns(["True", "False", "True"]) == {"True": 1}
    assert returns(["True", "False", "True", "False", "True"]) == {"True": 2, "False": 1}
    assert returns(["True", None, "True"]) == {"True": 1}  # a person took it away, and it came back
    assert returns(["a", "b", "c", "a"]) == {"a": 1}


@given(st.lists(st.sampled_from(["True", "False", None]), max_size=30))
def test_returns_and_first_times_make_up_all_labels(labels: list[str | None]) -> None:
    given_labels = [label for label in labels if label is not None]
    assert sum(returns(labels).values()) == len(given_labels) - len(set(given_labels))


def test_cycling_is_two_returns_and_is_said_in_words(reading: Reading) -> None:
    assert cycling(with_history(reading, "True", "False", "True")) == []  # one return
    (found,) = cycling(with_history(reading, "True", "False", "True", "False"))
    assert (found.example, found.why) == (0, "went back to True 1 time, to False 1 time")
    assert cycles_sentence([found]).startswith("1 example oscillates: it returned to an earlier label at least 2 times")
    assert cycles_sentence([found, found]).startswith("2 examples oscillate: they returned")
    assert cycles_sentence([]) == ""


def test_queues_hold_what_their_names_say(store: Store, reading: Reading) -> None:
    found = {queue.name: queue.find(reading) for queue in queues(reading)}
    assert list(found) == ["most-flipped", "lowest-margin", "in-conflict", "gold", "pinned", "cycling"]
    times = Counter(c.example for c in reading.history)
    flips = [times[row.example] - 1 for row in found["most-flipped"]]
    assert flips == sorted((n - 1 for n in times.values() if n > 1), reverse=True)
    assert {row.example for row in found["in-conflict"]} == {
        i for p in reading.run.rule.conflicts(reading.labeling) for i in p
    }
    ids = reading.run.codec.ids
    wrong = [i for i, label in sorted(reading.labeling.items()) if reading.gold[ids[i]] != label]
    assert [row.example for row in found["gold"]] == wrong
    assert {row.example for row in found["pinned"]} == reading.pins
    assert [row.why for row in found["pinned"]] == ["pinned, noted"]


def test_a_margin_is_the_log_odds_of_the_label_there_is(reading: Reading) -> None:
    assert reading.state is not None
    for margin, i in margins(reading):
        raw = reading.state.evaluation.scores[i].raw
        assert margin == (raw[0] - raw[1] if reading.labeling[i] == "True" else raw[1] - raw[0])
    order = [row.example for row in QUEUES[1].find(reading)]
    assert order == [i for _, i in sorted((m, i) for m, i in margins(reading))]
    assert len(order) == len(reading.labeling)


@pytest.mark.parametrize(
    ("labels", "margin", "changed"),
    [(("True", "False", "True"), "Margin −0.69", "Flips: 2, conflicts: 2, last set at step 20 (proposal)."),
     (("True", "False"), "Margin +0.69", "Flips: 1, conflicts: 2, last set at step 10 (proposal).")],
)  # fmt: skip
def test_a_doubt_is_the_odds_of_the_labels_the_flips_and_what_set_it(
    reading: Reading, labels: tuple[str, ...], margin: str, changed: str
) -> None:
    """p(True) = 0.3 and p(False) = 0.6, so False is favoured by 2 to 1; ln 2 = 0.69. Example 0 is in two conflicts."""
    assert reading.state is not None
    scores = {0: LabelLogProbs((math.log(0.3), math.log(0.6)))}
    evaluation = replace(reading.state.evaluation, scores=scores, pairs=((0, 1), (0, 2), (3, 4)))
    state = replace(reading.state, labeling=Labeling({0: labels[-1]}), evaluation=evaluation)
    found = doubt_words(with_history(replace(reading, state=state), *labels), 0)
    assert found == f"{margin}: given all other labels, the model favours False over True by 2.0 to 1. {changed}"


def test_an_example_without_a_label_has_no_margin(reading: Reading) -> None:
    unlabelled = replace(with_history(reading), state=None)
    assert doubt_words(unlabelled, 0) == "Flips: 0, conflicts: 0."


def test_without_gold_no_queue_and_no_column_know_of_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    small_dataset(store, gold=False)
    reading = views.load(store, steered_run(store, monkeypatch))
    assert "gold" not in {queue.name for queue in queues(reading)}
    assert "gold" not in queue_frame(reading, QUEUES[1].find(reading)).columns
    assert "gold" not in {queue.name for queue in queues(replace(reading, gold={}))}
    test = page("flips", run=reading.run.name, queue="gold")
    assert "gold" not in texts(test).lower()
    assert "gold" not in "".join(column for frame in test.dataframe for column in map(str, frame.value.columns))


# -- the pictures


def test_the_grid_is_the_labels_after_every_step(store: Store, reading: Reading) -> None:
    """Column by column against a replay: the label after all events of a step."""
    grid = label_grid(reading)
    assert grid.steps == tuple(range(76))  # one column a step
    code = {None: 0, "True": 1, "False": 2}
    state, columns = None, dict[int, list[int]]()
    for event in store.read_after(reading.run.name, kinds=STATE_KINDS):
        state = after_event(reading.run.codec, event, state)
        assert state is not None
        columns[state.step] = [code[state.labeling.get(i)] for i in grid.examples]
    assert np.array_equal(grid.codes, np.array([columns[step] for step in range(76)]).T)
    assert grid.sentence == (
        f"One column a step; all {len(grid.examples)} examples, in the order in which they were first labelled."
    )


def test_a_long_run_is_thinned_by_a_rule_that_is_said(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_figures, "COLUMNS", 10)
    monkeypatch.setattr(step_figures, "ROWS", 4)
    grid, whole = label_grid(reading), step_figures.label_grid(reading, [])
    assert grid.steps == (7, 15, 23, 31, 39, 47, 55, 63, 71, 75)  # 76 steps in stretches of 8, the last one shorter
    assert len(grid.examples) == 4
    assert "One column for 8 steps: the label at their end; 4 of" in grid.sentence
    assert "evenly chosen" in grid.sentence
    assert whole.examples == ()
    queued = label_grid(reading, QUEUES[1].find(reading))
    assert queued.examples == tuple(row.example for row in QUEUES[1].find(reading)[:4])
    assert "the first 4 of" in queued.sentence


def test_thinning_keeps_the_label_at_the_end_of_each_stretch(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    every_step = label_grid(reading)
    monkeypatch.setattr(step_figures, "COLUMNS", 10)
    thin = label_grid(reading)
    assert np.array_equal(thin.codes, every_step.codes[:, list(thin.steps)])


def test_the_picture_has_words_and_shapes_beside_colours_and_a_table(reading: Reading) -> None:
    grid = label_grid(reading)
    for dark in (False, True):
        chart = grid_chart(reading, grid, dark)
        heat, *legend = chart.figure.data
        assert [trace.name for trace in legend] == ["True", "False"]
        assert len({trace.marker.symbol for trace in legend}) == 2
        colours = [colour for _, colour in heat.colorscale]
        assert [trace.marker.color for trace in legend] == [colours[2], colours[4]]  # 0 is no label
        assert not [name for name in (*heat.y, *chart.figure.layout.yaxis.ticktext) if "<b" in name]
    end = Counter(reading.labeling.values())
    assert f"{end['True']} True" in chart.alt
    frame = grid_frame(reading, grid)
    assert len(frame) == len(grid.examples)
    last = dict(zip(frame["example"], frame["step 75"], strict=True))
    assert {name: label for name, label in last.items() if isinstance(label, str)} == {
        reading.run.codec.ids[i]: label for i, label in reading.labeling.items()
    }


def test_a_strip_is_one_example_from_change_to_change(reading: Reading) -> None:
    changed = with_history(reading, "True", "False", "True")
    found = stretches(changed, 0)
    assert [(part.label, part.first, part.last, part.event) for part in found] == [
        ("True", 0, 10, 3), ("False", 10, 20, 4), ("True", 20, 75, 5),
    ]  # fmt: skip
    true, false = strip_chart(changed, found).figure.data
    assert (true.base, true.x, true.customdata) == ((0, 20), (10, 55), ("3", "5"))
    assert (false.base, false.x, false.customdata) == ((10,), (10,), ("4",))
    assert found[1].words == "step 10: False (proposal)"
    assert stretches(changed, 7) == []


def test_the_table_links_to_the_card_of_each_change(reading: Reading) -> None:
    frame = changes_frame(reading, reading.history)
    assert list(frame["step"]) == [change.step for change in reversed(reading.history)]
    assert frame["card"].iloc[0] == f"steps?run=sums-1&event={reading.history[-1].event}"


# -- the page


def test_the_page_has_queues_filters_and_one_example(store: Store, reading: Reading) -> None:
    run, ids = reading.run.name, reading.run.codec.ids
    example = QUEUES[0].find(reading)[0].example
    test = page("flips", run=run, queue="most-flipped", example=ids[example], cause="proposal")
    mine = filtered(reading, Filter(cause="proposal", example=example))
    assert f"{len(mine)} of {len(reading.history)} label changes" in texts(test)
    assert test.selectbox(key="cause").value == "proposal"
    assert f"example {ids[example]}" in texts(test)
    queue = next(frame.value for frame in test.dataframe if "why" in frame.value)
    assert list(queue["example"]) == [ids[row.example] for row in QUEUES[0].find(reading)]
    button(test, "close_example").click().run()
    assert "example" not in test.query_params
    test.selectbox(key="cause").set_value("repair").run()
    assert test.query_params["cause"] == "repair"
    assert f"{len(filtered(reading, Filter(cause='repair')))} of" in texts(test)
    test.number_input(key="from").set_value(20).run()
    assert test.query_params["from"] == "20"
    test.toggle(key="kept").set_value(True).run()
    wanted = Filter(cause="repair", first=20, kept=True)
    assert f"{len(filtered(reading, wanted))} of" in texts(test)
    assert not test.exception


@pytest.mark.parametrize("queue", [queue.name for queue in QUEUES])
def test_every_queue_by_its_link_with_the_picture_as_a_table(store: Store, reading: Reading, queue: str) -> None:
    test = page("flips", run=reading.run.name, queue=queue)
    found = next(q for q in QUEUES if q.name == queue).find(reading)
    if found:
        test.toggle(key="grid_table").set_value(True).run()
        assert [len(frame.value) for frame in test.dataframe if "step 75" in frame.value] == [len(found)]
    else:
        assert "No example is in this queue." in texts(test)
    assert HOSTILE not in shown_markup(test)


def test_a_run_without_labels_says_so(store: Store) -> None:
    run = add_run(store, "created")
    assert "no labels yet" in texts(page("flips", run=run))
    assert "Choose a run" in shown_markup(page("flips"))
