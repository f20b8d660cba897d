"""Gold is radioactive: permute it or take it away, and every event of the search stays the same."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from icm_engine.analysis import audit
from icm_engine.analysis.batches import summary
from icm_engine.analysis.views import load, run_summary
from icm_engine.core.settings import SearchConfig
from icm_engine.data.importing import import_file
from icm_engine.jobs import batches
from icm_engine.runs import control, worker
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.support.gold_changes import ROWS, Change, inverted, permuted, removed
from tests.support.stores import add_batches


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def labelled(
    store: Store, path: Path, rows: list[dict[str, str]], spec: RunSpec | None = None
) -> tuple[list[str], dict[str, object]]:
    """Import the rows, run the search, and return its events and the summary."""
    write(path, rows)
    import_file(store, path, "maths-verification")
    spec = spec or RunSpec("", "fake", search=SearchConfig(seed=2, max_steps=80))
    run = control.create_run(store, replace(spec, dataset=path.stem))
    store.send(run, "start", f"start-{path.stem}")
    assert worker.main(["--db", str(store.path), run]) == 0
    return [json.dumps([event.kind, event.body]) for event in store.read_after(run)], run_summary(store, run)


@pytest.mark.parametrize("change", [permuted, inverted, removed])
def test_every_event_is_the_same_without_the_gold_it_had(store: Store, tmp_path: Path, change: Change) -> None:
    events, told = labelled(store, tmp_path / "true.csv", ROWS)
    others, other = labelled(store, tmp_path / "changed.csv", change(ROWS))
    assert len(events) == 84  # start, model, initial labels, 80 steps, finished
    assert events == others
    if change is removed:
        assert "accuracy" in told
        assert "accuracy" not in other
    else:
        assert told["accuracy"] != other["accuracy"]  # so gold was read, where it may be


@pytest.mark.parametrize("change", [inverted, removed])
def test_every_fold_and_round_is_the_same_without_the_gold_it_had(
    store: Store, tmp_path: Path, change: Change, moody_model: None
) -> None:
    options, search = {"folds": 3}, SearchConfig(seed=2, max_steps=3)
    spec = RunSpec("", "fake", limit=12, source="folds", source_options=options, search=search)
    events, told = labelled(store, tmp_path / "true.csv", ROWS, spec)
    others, other = labelled(store, tmp_path / "changed.csv", change(ROWS), spec)
    assert sum('"round"' in event[:8] for event in events) > 2
    assert events == others
    assert ("accuracy" in told, "accuracy" in other) == (True, change is not removed)
    assert other.get("accuracy") != told["accuracy"]  # so gold was read, where it may be


def test_an_audit_that_gold_answers_leaves_the_log_as_it_was(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answered by true and by inverted gold while the run is paused: other findings, and the same log in the end."""
    monkeypatch.setattr(worker, "IDLE", 0.0)
    logs, found = [], []
    for name, rows in (("true", ROWS), ("inverted", inverted(ROWS))):
        write(path := tmp_path / f"{name}.csv", rows)
        import_file(store, path, "maths-verification")
        run = control.create_run(store, RunSpec(name, "fake", search=SearchConfig(seed=2, max_steps=60)))
        store.send(run, "step", f"step-{name}", 30)
        assert worker.main(["--db", str(store.path), run]) == 0
        before = store.last_number(run)
        found.append(audit.answered_by(store, load(store, run), "gold", 12, 7).finding)
        assert store.last_number(run) == before
        store.send(run, "resume", f"resume-{name}")
        assert worker.main(["--db", str(store.path), run]) == 0
        logs.append([json.dumps([event.kind, event.body]) for event in store.read_after(run)])
    assert found[0].right == found[1].wrong  # so gold was read, where it may be
    assert logs[0] == logs[1]


def labelled_in_batches(
    store: Store, path: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], dict[str, object]]:
    """Import the rows, label them in batches, and return every event of every batch, the split, and the summary."""

    write(path, rows)
    import_file(store, path, "maths-verification")
    job = add_batches(store, monkeypatch, dataset=path.stem, seed=2)
    whole = batches.batched(store, job)
    runs = [whole.run(number) for number in range(1, whole.of + 1)]
    events = [json.dumps([event.kind, event.body]) for run in runs for event in store.read_after(run)]
    parts = [json.dumps(list(open_run(store, run).codec.ids)) for run in runs]
    return events + parts, summary(store, job)


@pytest.mark.parametrize("change", [permuted, inverted, removed])
def test_every_batch_is_the_same_without_the_gold_it_had(
    store: Store, tmp_path: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, told = labelled_in_batches(store, tmp_path / "true.csv", ROWS, monkeypatch)
    others, other = labelled_in_batches(store, tmp_path / "changed.csv", change(ROWS), monkeypatch)
    assert len(events) == 3 * (34 + 1)  # 8 groups of 3 in batches of 9: start, model, initial, 30 steps, finished
    assert events == others
    if change is removed:
        assert "accuracy" in told
        assert "accuracy" not in other
    else:
        assert told["accuracy"] != other["accuracy"]


def test_a_consistency_key_comes_from_the_text(store: Store, tmp_path: Path) -> None:
    labelled(store, tmp_path / "true.csv", ROWS)
    labelled(store, tmp_path / "changed.csv", inverted(ROWS))
    one, other = store.dataset("true"), store.dataset("changed")
    assert one.examples == other.examples  # ids, groups and answers
    assert one.inputs == other.inputs  # and what the worker loads of the file
    assert not any("gold" in row for row in one.inputs)
