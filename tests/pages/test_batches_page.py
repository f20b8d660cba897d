"""Batched runs on the pages: asked for on the form, one card at home, their page, and a line on each batch."""

from typing import Any

import pytest

from icm_engine import jobs
from icm_engine.analysis.views import load
from icm_engine.data.label_export import read_labels
from icm_engine.jobs import batches
from icm_engine.runs import control, worker
from icm_engine.store.store import Store
from tests.support.drawn_pages import page, texts
from tests.support.machines import BATCHED, BatchMachine
from tests.support.stores import add_run


def table(test: Any) -> Any:
    return next(found.value for found in test.dataframe if "batch" in found.value)


def tiles(test: Any) -> dict[str, str]:
    return {metric.label: metric.value for metric in test.metric}


def test_the_form_starts_a_batched_run_and_shows_it(store: Store, batch_machine: BatchMachine) -> None:
    test = page("search")
    test.selectbox(key="dataset").set_value("sums")
    test.selectbox(key="model").set_value("fake")
    test.number_input(key="batch_size").set_value(7)
    test.button(key="start_new").click().run()
    assert not test.exception
    (job,) = jobs.names(store)
    assert (batches.batched(store, job).size, batches.batched(store, job).of) == (7, 3)
    assert test.query_params["run"] in (job, [job])
    assert "sums · 18 examples · 3 batches of at most 7 · fake" in texts(test)
    assert tiles(test)["Batches"] == "0"
    assert list(table(test)["status"]) == ["waiting"] * 3


def test_chains_and_batches_are_not_asked_for_together(store: Store, batch_machine: BatchMachine) -> None:
    test = page("search")
    test.selectbox(key="dataset").set_value("sums")
    test.number_input(key="batch_size").set_value(7)
    test.number_input(key="chains").set_value(2)
    test.button(key="start_new").click().run()
    assert "cannot be combined" in "\n".join(code.value for code in test.code)
    assert jobs.names(store) == []


def test_the_page_has_the_numbers_of_all_batches_and_a_way_to_each(store: Store, batch_machine: BatchMachine) -> None:
    job = batches.submit(store, BATCHED, 7)
    batch_machine.do(job)
    whole = batches.batched(store, job)
    readings = [load(store, whole.run(number)) for number in (1, 2, 3)]
    test = page("search", run=job)
    shown, rows = tiles(test), table(test)
    assert shown["Batches"] == "3"
    assert shown["Labelled"] == str(sum(len(reading.labeling) for reading in readings))
    assert list(rows["run"]) == [f"/search?run={whole.run(number)}" for number in (1, 2, 3)]
    assert list(rows["status"]) == ["finished"] * 3
    for row, reading in zip(rows.to_dict("records"), readings, strict=True):
        accuracy = reading.tally.accuracy
        assert accuracy is not None
        assert (row["U"], row["labelled"]) == (reading.trajectory.points[-1].utility, len(reading.labeling))
        assert row["accuracy"] == pytest.approx(accuracy.raw)
    mean = sum(row["accuracy"] for row in rows.to_dict("records")) / 3  # six examples each
    assert shown["Accuracy"] == f"{mean:.0%}"


def test_home_has_one_row_and_the_choice_of_runs_one_line(store: Store, batch_machine: BatchMachine) -> None:
    run = add_run(store, "finished")
    job = batches.submit(store, BATCHED, 7)
    batch_machine.do(job)
    test = page()
    shown = test.dataframe[0].value
    assert list(shown["run"]) == [job, run]
    assert list(shown["progress"]) == [1.0, 1.0]
    assert list(shown["source"]) == ["batches", "icm"]
    options = page("search", run=job).selectbox(key=f"pick_{job}").options
    assert options == ["New run", job, run]
    assert page("steps", run=run).selectbox(key=f"pick_{run}").options == ["Choose a run", run]


def test_a_batch_has_its_page_and_the_way_to_the_others(store: Store, batch_machine: BatchMachine) -> None:
    job = batches.submit(store, BATCHED, 7)
    batch_machine.do(job)
    test = page("search", run=f"{job}-2")
    assert "Batch 2 of 3, at most 7 examples each." in texts(test)
    links = [link.proto.label for link in test.get("page_link")]
    assert {"All batches", "Batch before", "Next batch"} <= set(links)
    assert test.selectbox(key=f"pick_{job}-2").options == ["New run", f"{job}-2", job]
    for name in ("steps", "flips", "consistency", "compare", "annotate", "forks"):
        assert page(name, run=f"{job}-2").selectbox(key=f"pick_{job}-2").value == f"{job}-2"
    assert "Batch " not in texts(page("search", run=add_run(store, "finished")))


def test_a_group_is_found_in_its_batch(store: Store, batch_machine: BatchMachine) -> None:
    """The Annotate page names the others of an example's group, wherever these stand in the data set."""
    job = batches.submit(store, BATCHED, 7)
    batch_machine.do(job)
    from icm_engine.analysis.annotation import card

    for number in (1, 2, 3):
        reading = load(store, f"{job}-{number}")
        examples = list(reading.run.dataset.examples)
        for place, example in enumerate(examples):
            others = {one.id for one in examples if one.group == example.group} - {example.id}
            assert {member.example for member in card(store, reading, place).members} == others
            assert len(others) == 2


def test_cancelled_is_paused_and_can_go_on(store: Store, batch_machine: BatchMachine) -> None:
    job = batches.submit(store, BATCHED, 7)
    jobs.cancel(store, job)
    test = page("search", run=job)
    test.button(key="go_on").click().run()
    assert not test.exception
    assert jobs.status(store, job).phase == "starting"


def test_gold_is_hidden_while_a_batch_is_annotated_blind(store: Store, batch_machine: BatchMachine) -> None:
    job = batches.submit(store, BATCHED, 7)
    batch_machine.do(job)
    assert "Accuracy" in tiles(page("search", run=job))
    control.submit_intervention(store, f"{job}-2", "blind")
    for _ in range(2):  # as soon as it is sent, and when it is in the log
        test = page("search", run=job)
        assert "Accuracy" not in tiles(test)
        assert "accuracy" not in table(test)
        worker.main(["--db", str(store.path), f"{job}-2"])
    control.submit_intervention(store, f"{job}-2", "unblind")
    worker.main(["--db", str(store.path), f"{job}-2"])
    assert "Accuracy" in tiles(page("search", run=job))


def test_a_small_label_set_is_downloaded_without_gold(store: Store, batch_machine: BatchMachine) -> None:
    from icm_engine.data.export import csv_bytes

    job = batches.submit(store, BATCHED, 7)
    batch_machine.do(job)
    header = csv_bytes(store, job, gold=False).decode().splitlines()[0]
    assert "icm_label" in header
    assert "icm_gold" not in header
    assert len(list(read_labels(store, f"{job}-1").examples())) == 6
    assert page("search", run=job).get("download_button")[0].proto.label == "Download CSV"
