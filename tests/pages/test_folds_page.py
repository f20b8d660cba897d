"""A search with folds on every page, drawn by Streamlit's own tester, and the form that starts one."""

import pytest
from streamlit.testing.v1 import AppTest

from icm_engine.analysis.run_form import PROMPTING
from icm_engine.analysis.views import load, progress
from icm_engine.core.folds import FOLDS
from icm_engine.experiments.report import share_run
from icm_engine.runs import control, model_registry
from icm_engine.store.store import Event, Store
from tests.support.drawn_pages import button, frame, page, shown_markup, texts, write
from tests.support.in_process_runs import work
from tests.support.stored_logs import LOGS, put
from tests.support.stores import small_dataset

LOG = LOGS / "arithmetic-folds.jsonl.gz"  # four folds from random labels: five rounds, the last two not kept
PAGES = ("search", "steps", "examples", "flips", "consistency", "annotate", "forks", "tour")


@pytest.fixture
def run(store: Store) -> str:
    return put(store, LOG)


def rounds(store: Store, run: str) -> list[Event]:
    return store.read_after(run, kinds=("round",))


def everything(test: AppTest) -> str:
    labels = [one.label for one in (*test.button, *test.number_input, *test.selectbox, *test.metric)]
    links = [one.proto.label for one in test.main if one.type == "page_link"]
    return "\n".join([texts(test), shown_markup(test), *labels, *links])


@pytest.mark.parametrize("name", PAGES)
def test_pages_speak_of_rounds_and_never_of_temperature(store: Store, run: str, name: str) -> None:
    said = everything(page(name, run=run))
    about_run = said.split("A tour of one run")[-1]  # Help also explains the search by prompting
    assert "emperature" not in about_run
    assert "Take one step" not in about_run
    assert "kept 3 of 5 rounds" in said or name == "tour"


def test_the_overview_says_why_the_run_ended_what_it_decided_last_and_what_it_cost(store: Store, run: str) -> None:
    test = page("search", run=run)
    said, last = everything(test), rounds(store, run)[-1].round
    assert "Ended after round 5: it changed one group and was not kept, so no smaller change is left" in said
    assert last["before"]
    fell, labels = last["before"]["utility"] - last["tried"]["utility"], len(last["flips"])
    decided = f"Round 5 ○ not kept: {labels} labels changed in 1 group, ΔU −{fell:.2f}, ⟲ repaired 1 · nothing is left"
    assert decided in said.replace("\\", "")
    fits = [event.fold for event in store.read_after(run, kinds=("fold",))]
    numbers = {one.label: one.value for one in test.metric}
    assert (numbers["Rounds"], numbers["Fits"]) == ("5", str(len(fits)))
    assert numbers["Tokens tuned on"].startswith(f"{sum(fit['tokens'] for fit in fits) / 1000:.1f}")
    assert {"Tokens scored", "Time", "Utility U(D)"} <= numbers.keys()
    assert "Acceptance" not in numbers
    table = frame(test, "U tried")
    assert list(table["round"]) == [5, 4, 3, 2, 1, 0]
    assert list(table["verdict"])[:3] == ["○ not kept", "○ not kept", "● kept"]
    assert list(table["U tried"])[:5] == [event.round["tried"]["utility"] for event in rounds(store, run)[:0:-1]]


def test_the_settings_are_those_that_a_run_with_folds_reads(store: Store, run: str) -> None:
    shown = frame(page("search", run=run), "setting")
    found = dict(zip(shown["setting"], shown["value"], strict=True))
    assert (found["folds"], found["start"], found["epochs"]) == ("4", "random", "10")
    assert found["rounds, at most"] == "8"
    assert not {"initial temperature", "cooling", "max steps", "source options"} & found.keys()


def test_a_round_that_was_not_kept_shows_the_labels_it_tried_and_their_u(store: Store, run: str) -> None:
    event = rounds(store, run)[5]
    test = page("steps", run=run, step="5")
    assert f"round 5 of 5 · event {event.number}" in texts(test)
    assert "U did not rise: the labels before stayed." in texts(test)
    numbers = {one.label: one.value for one in test.metric}
    assert numbers["U tried"] == f"{event.round['tried']['utility']:.2f}"
    changed = frame(test, "what")
    assert list(changed["example"]) == [flip["example"] for flip in event.round["flips"]]
    assert all("predicted with" in what for what in changed["what"])
    tried = frame(test, "tried")
    assert list(tried["tried"])[-1] == pytest.approx(event.round["tried"]["utility"])
    labels = frame(page("steps", run=run, step="5", view="Labels"), "last change")
    before = frame(page("steps", run=run, step="4", view="Labels"), "last change")
    assert list(labels["label"]) == list(before["label"])


def test_a_fit_is_opened_by_its_event_or_by_its_fold_with_its_predictions(store: Store, run: str) -> None:
    fit = next(e for e in store.read_after(run, kinds=("fold",)) if (e.fold["round"], e.fold["fold"]) == (2, 3))
    for query in ({"event": str(fit.number)}, {"step": "2", "fold": "3"}):
        test = page("steps", run=run, **query)
        assert "round 2 of 5" in texts(test)
        table = frame(test, "favoured")
        assert sorted(table["example"]) == sorted(fit.fold["held_out"])
        assert all(0 < share <= 1 for share in table["share"])
    fits = frame(test, "held out")
    assert list(fits["fold"]) == [f"fold {number}" for number in (1, 2, 3, 4)]
    assert list(fits["last loss"])[2] == fit.fold["last_loss"]
    assert list(fits["tokens tuned"])[2] == fit.fold["tokens"]


def test_round_0_has_the_labels_to_start_from(store: Store, run: str) -> None:
    test = page("steps", run=run, step="0")
    assert "drawn at random, then repaired" in texts(test)
    assert "Round 1 tries these labels." in texts(test)
    assert len(frame(test, "what")) == len(rounds(store, run)[0].round["flips"])


def test_repairs_of_rounds_are_listed_with_the_round_they_belong_to(store: Store, run: str) -> None:
    test = page("consistency", run=run, view="Repairs")
    repairs = sum(len(event.round["repairs"]) for event in rounds(store, run))
    listed = frame(test, "result")
    assert len(listed) == repairs > 0
    assert {"round", "repair"} <= set(listed)
    assert "By the predictions of the round before" in texts(test)


def test_the_share_and_the_download_say_how_the_labels_were_found(store: Store, run: str) -> None:
    shared = share_run(store, run)
    told = ("ICM with fine-tuned folds", "after tuning on the labels of the other folds", "finished, 5 rounds", "kept")
    assert [words for words in told if words not in shared] == []
    assert "initial temperature" not in shared


@pytest.mark.parametrize("taken", [1, 3, 5, 7])
def test_a_run_in_the_middle_of_a_round_says_how_many_folds_are_fitted(store: Store, run: str, taken: int) -> None:
    """The log up to an event, as it was then: one fold of round 1, three, its end, and two folds of round 2."""
    with store.transaction():
        store.db.execute("delete from events where run = ? and number > ?", [run, 3 + taken])
    number, fits = len(rounds(store, run)), store.read_after(run, rounds(store, run)[-1].number, ("fold",))
    done = progress(load(store, run), control.status(store, run))
    within = f" · {len(fits)} of 4 folds fitted" if fits else ""
    assert done.words == f"{number - 1} of at most 8 rounds{within}"
    assert done.share == (number - 1 + len(fits) / 4) / 8
    assert len(frame(page("search", run=run), "held out")) == len(store.read_after(run, kinds=("fold",)))
    assert bool(fits) == (f"Fits so far of round {number}" in shown_markup(page("steps", run=run)))


# -- the form


def form(dataset: str, model: str = "fake") -> AppTest:
    test = page("search", dataset=dataset)
    test.button_group(key="method").set_value(FOLDS).run()
    write(test, "model", model)
    test.run()
    assert not test.exception
    return test


def warned(test: AppTest) -> str:
    return "\n".join(element.value.replace("\\", "") for element in test.warning)


def test_the_form_starts_a_run_with_folds_that_goes_to_its_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    small_dataset(store)
    test = form("sums")
    assert warned(test) == ""
    assert "At most 40 fits (8 rounds of 5 folds)" in texts(test)
    assert "max_steps" not in [one.key for one in test.number_input]
    test.number_input(key="folds_folds").set_value(3)
    test.number_input(key="folds_rounds").set_value(2).run()
    assert "At most 6 fits (2 rounds of 3 folds)" in texts(test)
    monkeypatch.setattr(control, "launch", lambda *_: None)
    button(test, "start_new").click().run()
    assert not test.exception
    (run,) = store.run_names()
    spec = store.spec(run)
    assert (spec.source, spec.source_options, spec.search.max_steps) == (FOLDS, {"folds": 3}, 2)
    assert work(store, run) == 0
    assert control.status(store, run).phase == "finished"
    assert "Ended after round" in texts(page("search", run=run))


@pytest.mark.parametrize(
    ("model", "words"), [("http://127.0.0.1:9/v1", "A model behind a server"), ("trained:mine", "A model tuned here")]
)
def test_a_model_that_cannot_be_tuned_is_said_before_start(store: Store, model: str, words: str) -> None:
    small_dataset(store)
    test = form("sums", model)
    assert words in warned(test)
    assert button(test, f"mend_method_{PROMPTING.value}").label == PROMPTING.words


def test_missing_packages_are_said_before_start_and_prompting_needs_none(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_dataset(store)
    monkeypatch.setattr(model_registry, "NEEDED", ("no_such_package",))
    test = form("sums", "sample")
    assert "training needs no_such_package" in warned(test)
    button(test, f"mend_method_{PROMPTING.value}").click().run()
    assert not test.exception
    assert warned(test) == ""
    assert "steps for" in texts(test)


def test_too_few_groups_are_said_before_start_with_fewer_folds(store: Store) -> None:
    small_dataset(store)
    test = form("sums")
    groups = store.dataset_info("sums").groups
    test.number_input(key="folds_folds").set_value(groups + 1).run()
    assert f"{groups} groups of examples cannot fill {groups + 1} folds" in warned(test)
    button(test, f"mend_folds_folds_{groups}").click().run()
    assert warned(test) == ""


def test_settings_that_do_not_fit_are_said_before_start(store: Store) -> None:
    small_dataset(store)
    test = form("sums")
    test.number_input(key="folds_batch_size").set_value(24).run()
    assert "batch_size 24 is not a multiple of rows_at_once 16" in warned(test)
