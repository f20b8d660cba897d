"""Conflicts and repairs in every state, drawn by Streamlit's own tester."""

import pytest
from streamlit.testing.v1 import AppTest

from icm_engine.analysis import views
from icm_engine.analysis.conflicts import pair_code, pair_line, pairs_ever, pairs_now, pairs_prevented
from icm_engine.analysis.repairs import repair_code, repairs_of
from icm_engine.analysis.run_history import Reading
from icm_engine.store.store import Store
from tests.support.drawn_pages import page, shown_markup, texts
from tests.support.stores import CARELESS, HOSTILE, add_run, small_dataset


def begun(store: Store, steps: int = 80) -> Reading:
    """Store a run with inconsistent pairs."""
    small_dataset(store, groups=30)
    reading = views.load(store, add_run(store, "paused", steps, **CARELESS))
    assert pairs_now(reading)
    return reading


def drawn(reading: Reading, **query: str) -> AppTest:
    return page("consistency", run=reading.run.name, **query)


def tables(test: AppTest, column: str) -> list:  # type: ignore[type-arg]
    return [frame.value for frame in test.dataframe if column in frame.value]


def test_without_a_run_the_page_says_what_it_needs(store: Store) -> None:
    assert "No runs yet" in shown_markup(page("consistency"))
    add_run(store, "paused")
    assert "Choose a run above" in shown_markup(page("consistency"))


def test_a_run_without_a_rule_is_told_plainly(store: Store) -> None:
    small_dataset(store)
    run = add_run(store, "paused", rule="none")
    test = page("consistency", run=run)
    assert "This run has no consistency rule" in test.info[0].value
    assert not test.metric


def test_a_run_that_has_not_begun_has_nothing_to_show(store: Store) -> None:
    assert "This run has no labels yet." in texts(page("consistency", run=add_run(store, "created")))


def test_the_numbers_are_those_of_the_reading(store: Store) -> None:
    reading = begun(store)
    values = {metric.label: metric.value for metric in drawn(reading).metric}
    assert values["Inconsistent pairs"] == str(len(pairs_now(reading)))
    assert values["Repairs"] == str(len(reading.repairs))
    assert values["Repairs kept"] == str(sum(mark.kept for mark in reading.repairs))


@pytest.mark.parametrize(("show", "pairs"), [("now", pairs_now), ("ever", pairs_ever)])
def test_pairs_now_and_ever(store: Store, show: str, pairs: object) -> None:
    reading = begun(store)
    (table,) = tables(drawn(reading, show=show), "steps in all")
    assert len(table) == len(pairs(reading))  # type: ignore[operator]
    assert table["now"].str.startswith("✕ since step").sum() == len(pairs_now(reading))


def test_conflicts_that_were_prevented_are_listed(store: Store) -> None:
    run = add_run(store, "paused", 60)
    reading = views.load(store, run)
    prevented = pairs_prevented(reading)
    assert prevented
    (table,) = tables(page("consistency", run=run, show="prevented"), "steps in all")
    assert len(table) == len(prevented)
    assert set(table["now"]) == {"○ never inconsistent"}
    assert table["repairs"].sum() == sum(mark.pair in prevented for mark in reading.repairs)
    shown = page("consistency", run=run, view="Groups", show="prevented")
    assert "in a proposal" not in texts(shown)


def test_a_pair_in_the_address_is_shown_whole(store: Store) -> None:
    reading = begun(store)
    line = pair_line(reading, pairs_ever(reading)[-1])
    test = drawn(reading, pair=pair_code(line.ids))
    assert [code.value for code in test.code] == list(line.texts)
    assert f"example {line.ids[0]} · labelled {line.labels[0] or '–'} · answer {line.answers[0]}" in texts(test)


def test_from_a_pair_to_its_repairs_and_back(store: Store) -> None:
    reading = begun(store)
    mark = reading.repairs[-1]
    code = pair_code(pair_line(reading, mark.pair).ids)
    test = drawn(reading, pair=code)
    test.button(key="to_repairs").click().run()
    (table,) = tables(test, "result")
    assert len(table) == len(repairs_of(reading, pair=mark.pair))
    assert (test.query_params["view"], test.query_params["only"]) == ("Repairs", "pair")
    test.button(key="to_pair").click().run()
    assert test.query_params["view"] == "Pairs"
    assert tables(test, "steps in all")


def test_filters_of_repairs_are_in_the_address(store: Store) -> None:
    reading = begun(store)
    (kept,) = tables(drawn(reading, view="Repairs", repairs="kept"), "result")
    assert set(kept["result"]) == {"● kept"}
    assert list(kept["step"]) == sorted(kept["step"], reverse=True)
    assert "No repair matches." in texts(drawn(reading, view="Repairs", repairs="withheld"))


def test_a_repair_in_the_address_is_shown_with_its_options_as_a_table(store: Store) -> None:
    reading = begun(store)
    mark = next(mark for mark in reading.repairs if mark.kept)
    code = repair_code(mark)
    test = drawn(reading, repair=code)
    assert f"round {mark.round + 1} · ● kept" in texts(test)
    test.toggle(key=f"table_options_{code}_{reading.run.name}").set_value(True).run()
    (options,) = tables(test, "outcome")
    assert options["outcome"].iloc[0] == "before"
    assert (options["outcome"] == "● taken").sum() == 1


def test_groups_can_be_read_as_a_table(store: Store) -> None:
    reading = begun(store)
    test = drawn(reading, view="Groups")
    test.toggle(key=f"table_groups_now_1_{reading.run.name}").set_value(True).run()
    (table,) = tables(test, "in conflict with")
    in_conflict = {i for pair in pairs_now(reading) for i in pair_line(reading, pair).ids}
    assert set(table[table["in conflict with"] != ""]["example"]) == in_conflict


def test_nonsense_in_the_address_does_no_harm(store: Store) -> None:
    reading = begun(store)
    for view in ("Pairs", "Groups", "Repairs", "Nothing"):
        drawn(reading, view=view, show="x", pair="a,b,c", repair="9999.9", page="-1", groups="99", repairs="x")


def test_text_from_outside_is_never_markup(store: Store) -> None:
    reading = begun(store)
    for view in ("Pairs", "Groups", "Repairs"):
        assert HOSTILE not in shown_markup(drawn(reading, view=view, show="ever"))
