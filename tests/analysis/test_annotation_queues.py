"""Queues of an annotator, acts in words, a person's labels, and blind runs: read models alone."""

import csv
import io
import math
from dataclasses import fields, replace

import pytest

from icm_engine.analysis.annotation import (
    QUEUES,
    bulk,
    bulk_body,
    card,
    margin,
    moved,
    offered_queues,
    own_labels,
    queue,
    save_labels,
    sent,
    sent_words,
    turns,
)
from icm_engine.analysis.forks import begin_influence
from icm_engine.analysis.run_cache import RunCache, run_overview
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.status_tiles import tiles
from icm_engine.analysis.views import labels_table, load
from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.objective import Evaluation
from icm_engine.core.scoring import LabelLogProbs
from icm_engine.data.export import csv_bytes
from icm_engine.data.gold import load_human
from icm_engine.runs import control, worker
from icm_engine.store.store import Store
from tests.support.stores import add_run, small_dataset

pytestmark = pytest.mark.usefixtures("no_processes")


def obey(store: Store, run: str) -> None:
    assert worker.main(["--db", str(store.path), run]) == 0


@pytest.fixture
def run(store: Store) -> str:
    return add_run(store)


def scored(reading: Reading, shares: dict[int, float]) -> Reading:
    """The reading with these probabilities of "True" for labelled examples, and two pairs in conflict."""
    assert reading.state is not None
    scores = {i: LabelLogProbs((math.log(p), math.log(1 - p))) for i, p in shares.items()}
    evaluation = Evaluation(1.0, 1.0, 0.0, ((4, 5), (0, 4)), scores)
    return replace(reading, state=replace(reading.state, evaluation=evaluation))


def test_queues_by_hand(store: Store, run: str) -> None:
    reading = load(store, run)
    one, two, three = list(reading.labeling)[:3]
    sure = {"True": 0.9, "False": 0.1}  # p(True) that gives the label 0.9
    shares = {one: sure[reading.labeling[one]], two: 1 - sure[reading.labeling[two]], three: 0.5}
    reading = scored(reading, shares)
    assert margin(reading, one) == pytest.approx(math.log(0.9 / 0.1))
    assert margin(reading, two) == pytest.approx(math.log(0.1 / 0.9))
    assert queue(store, reading, "margin") == (two, three, one)
    assert queue(store, reading, "conflict") == (4, 5, 0)
    assert list(queue(store, reading, "order")) == list(range(18))
    assert set(queue(store, reading, "unlabelled")) == set(range(18)) - set(reading.labeling)
    flips = [reading.changes[i].flips for i in queue(store, reading, "flipped")]
    assert flips == sorted(flips, reverse=True)
    assert 0 not in flips
    wrong = [i for i, label in reading.labeling.items() if label != reading.gold[reading.run.codec.ids[i]]]
    assert set(queue(store, reading, "gold")) == set(wrong)


def test_a_text_finds_fields_ids_and_notes(store: Store, run: str) -> None:
    control.submit_intervention(store, run, "note", ["sums-2-1"], text="Odd one")
    control.submit_intervention(store, run, "pin", ["sums-3-0"], ["True"])
    obey(store, run)
    reading = load(store, run)
    assert queue(store, reading, "order", "WHAT IS 1 +") == (3, 4, 5)
    assert queue(store, reading, "order", "sums-4-2") == (14,)
    assert queue(store, reading, "order", "odd one") == queue(store, reading, "notes") == (7,)
    assert queue(store, reading, "pinned") == (9,)
    assert queue(store, reading, "pinned", "nothing") == ()


def test_a_run_without_labels_has_the_queues_that_need_none(store: Store) -> None:
    reading = load(store, add_run(store, "created"))
    full = [name for name in QUEUES if queue(store, reading, name)]
    assert full == ["order", "unlabelled"]
    assert card(store, reading, 0).words == "No label yet."


def test_walking_past_what_left_the_queue() -> None:
    assert [moved((4, 2, 9), 2, 1, by) for by in (-1, 1)] == [0, 2]
    assert [moved((4, 9), 2, 1, by) for by in (-1, 1)] == [0, 1]  # 2 is gone: 9 stands where it stood
    assert [moved((), None, 0, by) for by in (-1, 1)] == [None, None]
    assert moved((4, 2, 9), 9, 2, 1) is None


def test_a_card_shows_the_group_and_the_last_changes(store: Store, run: str) -> None:
    control.submit_intervention(store, run, "pin", ["sums-0-0"], ["True"])
    control.submit_intervention(store, run, "pin", ["sums-0-0"], ["False"])
    obey(store, run)
    found = card(store, load(store, run), 0)
    assert [member.example for member in found.members] == ["sums-0-1", "sums-0-2"]
    assert found.members[1].text == "(2) It is 3."  # they have the question in common
    assert (found.label, found.pinned, found.rest) == ("False", True, 0)
    assert (found.changes[0].new, found.changes[0].cause) == ("False", "person")


def test_what_was_sent_is_said_and_counts_for_undo(store: Store, run: str) -> None:
    control.submit_intervention(store, run, "pin", ["sums-0-0", "sums-0-1"], ["True", "False"])
    control.submit_intervention(store, run, "note", ["sums-1-0"], text="why?")
    reading = load(store, run)
    waiting = sent(store, reading)
    assert sent_words(reading, waiting, 0) == [
        "Sent, not applied yet: pin sums-0-0 as True.",
        "Sent, not applied yet: note on sums-1-0: why?.",
    ]
    found = turns(reading, waiting)
    assert (found.undo, found.redo, found.undo_at) == ("note on sums-1-0: why?", None, "sums-1-0")
    control.submit_intervention(store, run, "undo")
    found = turns(reading, sent(store, reading))
    assert (found.undo, found.undo_at, found.redo) == ("pin 2 examples as False, True", None, "note on sums-1-0: why?")


def test_a_command_about_a_stranger_is_left_to_the_worker(store: Store, run: str) -> None:
    control.submit_intervention(store, run, "pin", ["nobody"], ["True"])
    assert sent(store, load(store, run)) == ()


def test_one_act_on_many_says_whom_it_leaves_out(store: Store, run: str) -> None:
    reading = load(store, run)
    free = [i for i in range(18) if i not in reading.labeling]
    kept, everything = list(reading.labeling), list(range(18))
    as_is = bulk(reading, everything, "pin")
    assert as_is.words == f"Pin {len(kept)} examples as they are"
    assert as_is.left_out == f"{len(free)} without a label are left out."
    assert bulk_body(reading, as_is) == (
        [reading.run.codec.ids[i] for i in sorted(kept)],
        [reading.labeling[i] for i in sorted(kept)],
    )
    assert bulk_body(reading, bulk(reading, everything, "pin", "False"))[1] == ["False"] * 18
    assert bulk(reading, everything, "unpin").places == []
    assert bulk(reading, kept[:1], "pin").words == "Pin 1 example as they are"


def test_own_labels_are_pins_and_what_was_not_changed_since(store: Store, run: str) -> None:
    reading = load(store, run)
    labelled = reading.run.codec.ids[next(iter(reading.labeling))]
    free = next(reading.run.codec.ids[i] for i in range(18) if i not in reading.labeling)
    assert own_labels(reading) == {}
    with pytest.raises(SettingError, match="you have not labelled anything in this run yet"):
        save_labels(store, reading, "me")
    own = reading.labeling[reading.run.codec.index(labelled)]
    control.submit_intervention(store, run, "pin", [labelled], [own])  # changes no label, and is a judgement
    control.submit_intervention(store, run, "override", [free], ["False"])
    obey(store, run)
    reading = load(store, run)
    assert own_labels(reading) == {labelled: own, free: "False"}
    assert save_labels(store, reading, " me ") == 2
    assert load_human(store, "sums")["me"].labels == own_labels(reading)
    with pytest.raises(SettingError, match="'me' has labels already"):
        save_labels(store, reading, "me")
    assert save_labels(store, reading, "me", replace=True) == 2
    with pytest.raises(SettingError, match="cannot be a name"):
        save_labels(store, reading, "a\nb")


# -- blind


def everything_of(reading: Reading) -> str:
    """All that a page can get from a reading, but the run that it is of."""
    return "\n".join(repr(getattr(reading, field.name)) for field in fields(reading) if field.name != "run")


def test_a_blind_reading_is_that_of_a_run_without_gold(store: Store) -> None:
    small_dataset(store, "bare", gold=False)
    run, bare = add_run(store, "running"), add_run(store, "running", dataset="bare")
    assert load(store, run).tally != load(store, bare).tally
    for name in (run, bare):
        control.submit_intervention(store, name, "pin", [f"{store.spec(name).dataset}-0-0"], ["True"])
        control.submit_intervention(store, name, "blind")
        store.drop_lease(name, "test")
        obey(store, name)
    blind, without = (RunCache().reading(store, name) for name in (run, bare))
    assert (blind.blind, dict(blind.gold)) == (True, {})
    assert blind.tally == without.tally
    assert [point._replace(tokens=0) for point in blind.trajectory.points] == [
        point._replace(tokens=0) for point in without.trajectory.points
    ]
    assert "Accuracy(" in everything_of(load(store, run))
    assert "Accuracy(" not in everything_of(blind)
    assert "OpenGold" not in everything_of(blind)
    assert "gold" not in offered_queues(blind)
    assert all(row.gold is None for row in labels_table(blind))
    assert "Accuracy" not in [tile.name for tile in tiles(blind)]


def test_a_wish_to_be_blind_counts_at_once_and_one_to_see_when_it_is_logged(store: Store, run: str) -> None:
    shelf = RunCache()
    assert shelf.reading(store, run).gold
    control.submit_intervention(store, run, "blind")
    assert not shelf.reading(store, run).gold
    obey(store, run)
    assert not shelf.reading(store, run).gold
    assert run_overview(store, shelf, run).accuracy is None
    control.submit_intervention(store, run, "unblind")
    assert not shelf.reading(store, run).gold
    obey(store, run)
    assert shelf.reading(store, run).gold
    assert shelf.reading(store, run).tally == load(store, run).tally


def test_forks_of_a_blind_run_are_blind_until_they_are_unblinded(store: Store, run: str) -> None:
    control.submit_intervention(store, run, "pin", ["sums-0-0"], ["True"])
    obey(store, run)
    pair = begin_influence(store, run, "sums-0-0", 2)  # from before the run went blind
    for name in pair:
        obey(store, name)
    shelf = RunCache()
    assert shelf.reading(store, pair[0]).gold
    control.submit_intervention(store, run, "blind")
    obey(store, run)
    assert not any(shelf.reading(store, name).gold for name in pair)
    control.submit_intervention(store, pair[0], "unblind")
    obey(store, pair[0])
    assert [bool(shelf.reading(store, name).gold) for name in pair] == [True, False]


def test_a_download_leaves_gold_out(store: Store, run: str) -> None:
    columns = [csv.reader(io.StringIO(csv_bytes(store, run, gold).decode())).__next__() for gold in (True, False)]
    assert set(columns[0]) - set(columns[1]) == {"icm_gold"}


def test_a_run_that_is_gone_is_said_so(store: Store) -> None:
    with pytest.raises(NotFound):
        RunCache().reading(store, "nothing-1")
