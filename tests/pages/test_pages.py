"""Every page in every state, drawn by Streamlit's own tester on a database filled with events."""

import importlib

import pytest

from icm_engine.analysis.formatting import OFFERS, PHASE_STYLES
from icm_engine.runs.life_cycle import Phase
from icm_engine.store.store import Store
from pages.parts import home, run_controls
from tests.support.drawn_pages import PHASES, button, page, shown_markup, texts
from tests.support.stores import HOSTILE, add_run, small_dataset

VERBS = {"start": "Start", "step": "Step", "pause": "Pause", "resume": "Resume", "stop": "Stop"}


def test_home_without_runs_says_so_and_offers_one_button(store: Store) -> None:
    test = page()
    assert test.title[0].value == "ICM Workbench"
    assert button(test, "first_run").label == "Start a run on sample data"
    assert "No runs yet" in test.info[0].value


@pytest.mark.parametrize("phase", PHASES)
def test_home_lists_a_run_with_its_status(store: Store, phase: Phase) -> None:
    run = add_run(store, phase)
    test = page()
    (row,) = test.dataframe[0].value.to_dict("records")
    assert (row["run"], row["data set"], row["model"]) == (run, "sums", "fake")
    assert row["status"] == f"{PHASE_STYLES[phase].icon} {PHASE_STYLES[phase].word}"
    assert ("U" in row) == (phase not in ("created", "starting"))  # a column without any value is left out


def test_the_table_of_runs_is_filtered_by_words_and_status(store: Store) -> None:
    finished, paused = add_run(store, "finished"), add_run(store, "paused")
    test = page()
    assert list(test.dataframe[0].value["run"]) == [paused, finished]  # newest first
    test.selectbox(key="run_status").set_value("Ended").run()
    assert list(test.dataframe[0].value["run"]) == [finished]
    test.selectbox(key="run_status").set_value("Any status").run()
    test.text_input(key="find_runs").set_value(paused).run()
    assert list(test.dataframe[0].value["run"]) == [paused]


def test_the_table_of_runs_has_pages_and_finds_every_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "SHOWN", 2)
    runs = [add_run(store, "finished", steps=3) for _ in range(5)]
    test = page()
    assert list(test.dataframe[0].value["run"]) == [runs[4], runs[3]]
    assert "1 to 2 of 5 runs" in shown_markup(test)
    test.session_state["runs_page"] = 3
    assert list(test.run().dataframe[0].value["run"]) == [runs[0]]
    test.text_input(key="find_runs").set_value(runs[1]).run()
    assert list(test.dataframe[0].value["run"]) == [runs[1]]


def test_selected_runs_are_deleted_after_a_question(store: Store) -> None:
    kept, gone = add_run(store, "finished"), add_run(store, "finished")
    test = page()
    test.session_state["selected_runs"] = [gone]
    button(test.run(), "delete_runs").click().run()
    assert gone in texts(test)
    assert store.run_names() == [gone, kept]  # the question alone deletes nothing
    button(test, "delete_runs_really").click().run()
    assert store.run_names() == [kept]
    assert list(test.dataframe[0].value["run"]) == [kept]


def test_a_run_that_cannot_be_deleted_stays_and_the_page_says_why(store: Store) -> None:
    run = add_run(store, "running")
    test = page()
    test.session_state["selected_runs"] = [run]
    button(test.run(), "delete_runs").click().run()
    button(test, "delete_runs_really").click().run()
    assert store.run_names() == [run]
    assert f"run '{run}' is at work: pause or stop it first" in "\n".join(code.value for code in test.code)


def test_search_without_a_run_is_the_form_of_a_new_one(store: Store) -> None:
    test = page("search")
    assert test.title[0].value == "New run"
    assert test.selectbox(key="dataset").options[:4] == ["arithmetic", "facts", "comparisons", "sun"]
    assert test.number_input(key="default_alpha").value == 1.5
    assert "alpha * P(D)" in test.number_input(key="default_alpha").help
    assert button(test, "start_new").label == "Start"


def test_a_preset_shows_its_own_values(store: Store) -> None:
    test = page("search")
    test.selectbox(key="preset").set_value("authors-code").run()
    assert test.number_input(key="authors-code_alpha").value == 30.0
    assert test.toggle(key="authors-code_offer_neither").value is False
    assert test.selectbox(key="authors-code_cooling").value == "per-acceptance"


def test_start_makes_the_run_that_was_chosen(store: Store) -> None:
    small_dataset(store)
    test = page("search")
    test.selectbox(key="dataset").set_value("sums")
    test.selectbox(key="model").set_value("fake")
    test.number_input(key="limit").set_value(9)
    test.number_input(key="seed").set_value(7)
    test.number_input(key="default_alpha").set_value(20.0)
    button(test, "start_new").click().run()
    assert not test.exception
    spec = store.spec("sums-1")
    assert (spec.dataset, spec.model, spec.limit, spec.search.seed, spec.search.alpha) == ("sums", "fake", 9, 7, 20.0)
    assert spec.search.max_steps == 36  # four times nine
    assert [command.verb for command in store.pending("sums-1")] == ["start"]
    assert test.query_params["run"] == "sums-1"
    assert PHASE_STYLES["starting"].sentence in texts(test)


def test_a_setting_that_cannot_be_is_refused_in_words(store: Store) -> None:
    small_dataset(store)
    test = page("search")
    test.selectbox(key="dataset").set_value("sums")
    test.number_input(key="default_final_temperature").set_value(0.0)
    button(test, "start_new").click().run()
    assert store.run_names() == []
    assert "final_temperature is 0.0: use a value above 0" in test.code[0].value


@pytest.mark.parametrize("phase", PHASES)
def test_search_shows_each_phase_with_its_own_look(store: Store, phase: Phase) -> None:
    run = add_run(store, phase)
    test = page("search", run=run)
    assert f"{PHASE_STYLES[phase].icon} {PHASE_STYLES[phase].word}" in shown_markup(test)
    assert (PHASE_STYLES[phase].sentence in texts(test)) == (phase not in run_controls.TOLD)
    drawn = {one.key: one.label for one in test.button}
    assert {verb for verb in VERBS if f"do_{verb}" in drawn} == OFFERS[phase]
    assert all(drawn[f"do_{verb}"] == VERBS[verb] for verb in OFFERS[phase])
    begun = phase not in ("created", "starting")
    assert {metric.label: metric.value for metric in test.metric}["Labelled"] == ("12" if begun else "0")
    assert ("No step has been taken yet." in texts(test)) != begun
    assert "The fake model is in use" in shown_markup(test)


def test_a_failed_run_shows_its_error_as_plain_text_and_can_be_resumed(store: Store) -> None:
    run = add_run(store, "failed")
    test = page("search", run=run)
    assert f"PromptTooLong: prompt has 5,120 tokens {HOSTILE}" in [code.value for code in test.code]
    button(test, "do_resume").click().run()
    assert [command.verb for command in store.pending(run)] == ["resume"]


def test_text_from_outside_is_never_markup(store: Store) -> None:
    for phase in PHASES:
        add_run(store, phase)
    assert HOSTILE not in shown_markup(page())
    for run in store.run_names():
        assert HOSTILE not in shown_markup(page("search", run=run))


def test_last_steps_labels_and_pairs_are_tables(store: Store) -> None:
    run = add_run(store, "paused")
    test = page("search", run=run)
    steps, *others = [frame.value for frame in test.dataframe]
    assert list(steps["step"])[:2] == [30, 29]
    assert {"● accepted", "○ rejected"} <= set(steps["verdict"])
    assert any("repaired" in words for words in steps["repairs"])
    (labels,) = [frame for frame in others if "probability" in frame]
    assert len(labels) == 18
    assert labels["text"].str.contains(HOSTILE, regex=False).all()


def test_pause_and_step_n_send_one_command_each(store: Store) -> None:
    run = add_run(store, "running")
    button(page("search", run=run), "do_pause").click().run()
    assert [command.verb for command in store.pending(run)] == ["pause"]
    paused = add_run(store, "paused")
    test = page("search", run=paused)
    test.number_input(key="step_count").set_value(5)
    button(test, "do_steps").click().run()
    assert [(command.verb, command.steps) for command in store.pending(paused)] == [("step", 5)]
    assert "Sent: step." in texts(test)


def test_curves_can_be_read_as_a_table(store: Store) -> None:
    run = add_run(store, "finished")
    test = page("search", run=run)
    test.toggle(key="as_table").set_value(True).run()
    curves = next(frame.value for frame in test.dataframe if "alpha P" in frame.value)
    assert list(curves["step"])[-1] == 0
    assert len(curves) == 31


def test_a_run_that_does_not_exist_shows_the_form(store: Store) -> None:
    assert page("search", run="nothing-1").title[0].value == "New run"


@pytest.mark.parametrize(
    ("part", "box", "drawn", "said"),
    [
        ("home", "pick_None", (None, "New run"), "New run"),
        ("datasets", "open_None", (None,), "All data sets"),
        ("job_line", "check_context-check.1", ("check", "context-check.1"), "context-check.1"),
        ("job_line", "job_landscape.1", ("job", "landscape.1"), "landscape.1"),
    ],
)
def test_a_box_that_says_what_it_was_drawn_with_leaves_the_address(
    monkeypatch: pytest.MonkeyPatch, part: str, box: str, drawn: tuple[str | None, ...], said: str
) -> None:
    """A slow browser's tick brings the box of the page before: without this, a run just started was left again."""
    module = importlib.import_module(f"pages.parts.{part}")
    address = {"run": "sums-1", "dataset": "sums", "check": "context-check.2", "job": "landscape.2"}
    monkeypatch.setattr(module.st, "query_params", address)
    monkeypatch.setattr(module.st, "session_state", {box: said})
    before = dict(address)
    module._picked(*drawn)
    assert address == before
    module.st.session_state[box] = "another"
    module._picked(*drawn)
    assert "another" in address.values()


@pytest.mark.parametrize(
    ("name", "query", "said"),
    [("search", {"run": HOSTILE}, "No run"), ("steps", {"run": HOSTILE}, "No run"), ("annotate", {"run": ""}, "No run"),
     ("data", {"dataset": HOSTILE}, "No data set"), ("search", {"dataset": HOSTILE}, "No data set")],
)  # fmt: skip
def test_a_link_to_what_is_not_there_says_so(store: Store, name: str, query: dict[str, str], said: str) -> None:
    small_dataset(store)
    add_run(store, "paused", steps=3)
    test = page(name, **query)
    assert [element.value.startswith(said) for element in test.warning] == [True]
    assert [element.value for element in test.code] == [*query.values()]
    assert HOSTILE not in shown_markup(test)


@pytest.mark.parametrize(
    ("name", "query"), [("search", {"run": "sums-1"}), ("data", {"dataset": "sums"}), ("data", {})]
)
def test_a_link_to_what_is_there_warns_of_nothing(store: Store, name: str, query: dict[str, str]) -> None:
    small_dataset(store)
    add_run(store, "paused", steps=3)
    assert not [element for element in page(name, **query).warning if "of this name" in element.value]


SHOWING_A_RUN = ("search", "steps", "examples", "flips", "consistency", "compare", "annotate", "forks")


@pytest.mark.parametrize("name", SHOWING_A_RUN)
def test_every_page_draws_a_run_with_sampled_terms(store: Store, name: str) -> None:
    run = add_run(store, "paused", terms=3, redraw_every=4, exact_every=8)
    drawn = page(name, run=run)
    assert not drawn.exception
    if name == "examples":
        assert "scored at step" in drawn.dataframe[0].value.columns


def test_a_sampled_step_shows_its_error_and_an_exact_evaluation_has_a_card(store: Store) -> None:
    run = add_run(store, "paused", terms=3, redraw_every=4, exact_every=8)
    steps = store.read_after(run, kinds=("step",))
    inexact = next(event for event in steps if "estimate" in event.step and event.step["estimate"]["error"])
    shown = page("steps", run=run, event=str(inexact.number))
    assert any("±" in metric.value for metric in shown.metric if metric.label == "delta U")
    exact = next(event for event in store.read_after(run, kinds=("refreshed",)) if event.refreshed["after"])
    assert "An exact evaluation" in shown_markup(page("steps", run=run, event=str(exact.number)))
