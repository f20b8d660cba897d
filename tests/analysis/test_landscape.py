"""The landscape: every number by hand, scored without gold, and resumed without scoring anything twice."""

import math
from dataclasses import replace

import pytest

from icm_engine import jobs
from icm_engine.analysis import landscape, views
from icm_engine.analysis.compare_figures import landscape_chart
from icm_engine.analysis.gold_agreement import gold_by_place, gold_shown
from icm_engine.analysis.landscape import Landscape, Place
from icm_engine.core.errors import SettingError
from icm_engine.core.interventions import Act, AppliedIntervention
from icm_engine.core.labeling import Example, Task
from icm_engine.core.scoring import TableScorer
from icm_engine.core.settings import SearchConfig
from icm_engine.data.gold import add_gold
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.jobs.job_process import main
from icm_engine.jobs.job_worker import perform
from icm_engine.jobs.rescoring import score_landscape
from icm_engine.runs import control, worker
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.store import Store
from tests.support.four_examples import CODEC, COST, GOLD, IDS, initial_info, steps
from tests.support.held_jobs import HeldJob
from tests.support.processes import spawn_by
from tests.support.stores import add_run, small_dataset

BELIEF = (math.log(0.8), math.log(0.2))  # of every prompt: four to one for True
ODDS = 50 * math.log(4)  # alpha times the log-odds of one label True


@pytest.fixture
def four(store: Store) -> Store:
    """Four claims that must have equal labels, and a run that ended at a True, b False, c True."""
    examples = tuple(Example(i, {"question": f"Q {i}", "claim": f"C {i}"}, "g", answer="1") for i in IDS)
    task = Task("truthfulness", "{question} {claim}", rule="same-answer", fields=("question", "claim"))
    store.add_dataset(Dataset("four", task, examples, tuple(dict(e.fields) for e in examples)))
    store.add_run(RunSpec("four", "fake", search=SearchConfig(max_steps=16)))
    store.append("four-1", "model", {"model": "fake"})
    store.append("four-1", "initial", CODEC.encode_initial(initial_info(), COST), 1.0)
    for info, before in steps():
        store.append("four-1", "step", CODEC.encode_step(info, COST, before), 2.0)
    return store


def nobody(*_: object) -> None:
    """Nobody looks."""


def score(store: Store, scorer: TableScorer, kept: tuple[Json, ...] = (), **body: object) -> Json:
    asked = {"run": "four-1", "event": store.last_number("four-1"), "labelings": {}, "zero_shot": False, **body}
    return score_landscape(HeldJob(store, asked, kept), scorer)


def table() -> TableScorer:
    return TableScorer(lambda prompt: BELIEF)


def test_u_and_its_terms_by_hand(four: Store) -> None:
    """Labels T, F, T: log-odds +, -, +; the pairs (a, b) and (b, c) break the rule; I = 2."""
    labelings = {
        "mirror": {"a": "False", "b": "True", "c": "False"},
        "all False": dict.fromkeys("abc", "False"),
    }
    found = score(four, table(), labelings=labelings, zero_shot=True)
    rows = {row["name"]: row for row in found["rows"]}
    assert (found["step"], found["examples"]) == (4, 3)
    assert rows["found"]["weighted_predictability"] == pytest.approx(ODDS * (1 - 1 + 1) / 3)
    assert rows["found"]["inconsistency"] == 2.0
    assert rows["found"]["utility"] == pytest.approx(ODDS / 3 - 2)
    assert rows["mirror"]["utility"] == pytest.approx(-ODDS / 3 - 2)
    assert rows["all False"]["utility"] == pytest.approx(-ODDS)
    assert rows["zero-shot"]["labels"] == ["True"] * 3  # four to one for True, without demonstrations too
    assert rows["zero-shot"]["utility"] == pytest.approx(ODDS)
    assert found["usage"]["prompts"] == 4 * 3 + 3  # four labelings, and three questions for the zero-shot one


def test_it_is_about_the_labels_after_one_event(four: Store) -> None:
    assert score(four, table(), event=2)["examples"] == 2  # the initial labels
    with pytest.raises(SettingError, match="has no labels at event 1"):
        score(four, table(), event=1)


def test_a_labeling_must_label_the_same_examples(four: Store) -> None:
    with pytest.raises(SettingError, match="labeling 'gold' has no label of the task for example 'c'"):
        score(four, table(), labelings={"gold": {"a": "True", "b": "False"}})


def test_what_was_scored_before_a_crash_is_not_scored_again(four: Store) -> None:
    labelings = {"all True": dict.fromkeys("abc", "True")}
    whole = score(four, table(), labelings=labelings)
    again = table()
    assert score(four, again, kept=tuple(whole["rows"][:1]), labelings=labelings)["rows"] == whole["rows"]
    assert again.usage.prompts == 3


def test_references_are_of_the_labelled_examples_alone(four: Store) -> None:
    reading = views.load(four, "four-1")
    named = landscape.references(reading, {0: "True", 1: "False", 2: "True", 3: "False"})
    assert list(named) == ["all True", "all False", "mirror", "random 1", "random 2", "random 3", "gold"]
    assert all(list(labels) == ["a", "b", "c"] for labels in named.values())
    assert named["mirror"] == {"a": "False", "b": "True", "c": "False"}
    assert named["gold"] == {i: GOLD[i] for i in "abc"}
    assert "gold" not in landscape.references(reading, {0: "True", 1: "False"})  # not all of them have gold


def test_gold_is_asked_for_only_where_it_is_seen(four: Store) -> None:
    add_gold(four, "four", GOLD)
    reading = views.load(four, "four-1")
    assert set(gold_by_place(four, reading, (0, 1, 2))) == {0, 1, 2}
    assert gold_by_place(four, replace(reading, gold={}), (0, 1, 2)) == {}


def test_a_blind_run_shows_no_gold(four: Store) -> None:
    add_gold(four, "four", GOLD)
    reading = views.load(four, "four-1")
    for verbs, shown in ((("blind",), False), (("blind", "unblind"), True), (("unblind", "blind"), False)):
        blind = replace(reading, acts=tuple(AppliedIntervention(Act(verb)) for verb in verbs))  # type: ignore[arg-type]
        assert gold_shown(blind) == shown
        assert bool(gold_by_place(four, blind, (0, 1, 2))) == shown
    found = score(four, table(), labelings={"gold": dict.fromkeys("abc", "True")})
    assert landscape.landscape(found, with_gold=False).named("gold") is None
    assert landscape.landscape(found).named("gold") is not None


def test_the_price_is_that_of_the_last_step_that_scored(four: Store) -> None:
    """Step 4 scored three labelings for 100 tokens and 2 seconds; nine labelings cost three times that."""
    price = landscape.price(four, views.load(four, "four-1"), 7)
    assert (price.labelings, price.examples, price.prompts) == (9, 3, 30)
    assert (price.tokens, price.seconds) == (300, 6.0)
    assert "9 labelings of the 3 labelled examples: 30 prompts, about 300 tokens and 6 s" in price.words


def place(name: str, utility: float) -> Place:
    return Place(name, utility, utility, 0.0, 0, 1.0, {}, 1.0)


@pytest.mark.parametrize(
    ("utilities", "said"),
    [
        ({"found": 5.0, "all True": 6.0, "gold": 4.0}, "the search failed (all True: U = 6.00, found: 5.00)"),
        ({"found": 5.0, "all True": 6.0, "gold": 4.0}, "Gold scores lower than the found labels (4.00 against 5.00)"),
        ({"found": 5.0, "gold": 7.0}, "the search failed (gold: U = 7.00"),
        ({"found": 5.0, "mirror": 4.0, "gold": 4.5}, "the objective prefers other labels"),
        ({"found": 5.0, "mirror": 5.0, "gold": 5.0}, "Gold scores as high as the found labels"),
        ({"found": 5.0, "mirror": 5.0}, "No reference scores higher than the found labels"),
    ],
)
def test_the_verdict(utilities: dict[str, float], said: str) -> None:
    places = sorted((place(*one) for one in utilities.items()), key=lambda one: -one.utility)
    assert said in landscape.verdict(Landscape("r", 1, 3, tuple(places)))


def test_a_small_gap_is_called_small() -> None:
    """0.5 of a spread of 100 is under a hundredth of it; 2 is not."""
    for gold, small in ((49.5, True), (48.0, False)):
        places = (place("found", 50.0), place("gold", gold), place("mirror", -50.0))
        assert ("the gap is small" in landscape.verdict(Landscape("r", 1, 3, places))) == small


def test_the_chart_and_the_caption(four: Store) -> None:
    found = landscape.landscape(score(four, table(), labelings={"mirror": dict.fromkeys("abc", "False")}))
    chart = landscape_chart(found)
    assert chart.alt.startswith("U of each labeling, the highest first: found ")
    assert list(chart.figure.data[0].x) == sorted(chart.figure.data[0].x, reverse=True)
    assert landscape.when(found, views.load(four, "four-1")).endswith("in the same orders.")
    early = landscape.landscape(score(four, table(), event=2))
    assert landscape.when(early, views.load(four, "four-1")).endswith("The run has taken 4 steps since.")


def test_a_real_process_scores_it(store: Store) -> None:
    small_dataset(store)
    reading = views.load(store, add_run(store, "finished"))
    before = store.read_after(reading.run.name)
    job = landscape.submit(store, reading, gold_by_place(store, reading, tuple(reading.labeling)))
    assert jobs.wait_until_settled(store, job).phase == "done", jobs.log_tail(store, job)
    found = jobs.result(store, job)
    assert found is not None
    assert {row["name"] for row in found["rows"]} >= {"found", "gold", "mirror", "zero-shot", "all True", "random 3"}
    assert store.read_after(reading.run.name) == before  # gold was among the labelings: nothing of it reaches a run
    assert jobs.names(store, "landscape", run=reading.run.name) == [job]
    assert jobs.names(store, "landscape", run="sums-2") == []


@pytest.mark.model
def test_the_found_labels_score_what_the_search_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their own slots the labels get the very prompts in which they were accepted."""
    spawn_by(monkeypatch, nobody)
    ensure_sample_dataset(store, "arithmetic")
    spec = RunSpec("arithmetic", "sample", "none", limit=12, search=SearchConfig(max_steps=6, initial_labels=4))
    run = control.create_run(store, spec)
    store.send(run, "start", "token")
    assert worker.main(["--db", str(store.path), run]) == 0
    reading = views.load(store, run)
    job = landscape.submit(store, reading, gold_by_place(store, reading, tuple(reading.labeling)))
    assert main(perform, ["--db", str(store.path), job]) == 0
    result = jobs.result(store, job)
    assert result is not None
    found = landscape.landscape(result)
    own, last = found.named("found"), reading.trajectory.last
    assert own is not None
    assert last is not None
    assert own.utility == pytest.approx(last.utility, abs=1e-4)
    assert len(found.places) == 9
    assert landscape.verdict(found)
