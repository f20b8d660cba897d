"""What a million rows need: a survey instead of the rows, rows read where they lie, counts that are stored."""

import json
import random
import sqlite3
import threading
from collections import defaultdict
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from icm_engine.analysis.views import labels_table, load, open_reading
from icm_engine.core.batching import Cut
from icm_engine.core.errors import NotFound, StoreError
from icm_engine.core.settings import SearchConfig
from icm_engine.data import gold, importing
from icm_engine.data.gold import add_gold, load_gold, open_gold
from icm_engine.data.import_plan import COUNTED, preview
from icm_engine.data.importing import delete_dataset, import_file
from icm_engine.data.row_parser import matched
from icm_engine.runs import control, worker
from icm_engine.store import lazy_examples
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.migrations import migrations
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.support.data_files import PAIRS, csv_import

# -- the survey


def matched_by_hand(pairs: list[tuple[int, int]]) -> list[int]:
    """Each row goes with the first earlier row that is its swap and still waits."""
    waiting: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    partners = []
    for k, (a, b) in enumerate(pairs):
        if waiting[b, a]:
            partners.append(waiting[b, a].pop(0))
        else:
            waiting[a, b].append(k)
            partners.append(-1)
    return partners


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_swapped_pairs_are_matched_first_come_first_served(pairs: list[tuple[int, int]]) -> None:
    forward, swapped = (np.array([10 * p[s] + p[1 - s] for p in pairs], dtype=np.int64) for s in (0, 1))
    assert matched(forward, swapped).tolist() == matched_by_hand(pairs)


def test_batches_leave_no_mark(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twins, repeated texts, gold and human labels are the same however many rows are stored at once."""
    rng = random.Random(3)
    rows = [f"q{rng.randrange(3)},a{rng.randrange(3)},a{rng.randrange(3)},{rng.randrange(2)},yes" for _ in range(60)]
    text = "query,response_a,response_b,gold,human\n" + "\n".join(rows)
    for batch in (1, 7, 2000):
        monkeypatch.setattr(importing, "BATCH", batch)
        csv_import(store, text, "preference", name=f"d{batch}")
    first, *others = (store.dataset(f"d{batch}") for batch in (1, 7, 2000))
    for other in others:
        assert (other.examples, other.inputs, other.notes) == (first.examples, first.inputs, first.notes)
        assert load_gold(store, other.name).labels == load_gold(store, "d1").labels
    twins = [example.twin_of for example in first.examples if example.twin_of]
    assert len(set(twins)) == len(twins) == len(first.examples) / 2
    ids = {example.id: example for example in first.examples}
    for example in first.examples:
        if example.twin_of:
            assert example.fields["response_a"] == ids[example.twin_of].fields["response_b"]


def test_progress_is_told_twice_and_ends_at_the_rows(store: Store) -> None:
    told: list[tuple[int, int | None]] = []
    rows = "".join(f"q,c{k}\n" for k in range(1200))
    csv_import(store, "question,claim\n" + rows, progress=lambda done, total: told.append((done, total)))
    assert told == [(500, None), (1000, None), (1200, 1200), (500, 1200), (1000, 1200), (1200, 1200)]


def test_an_import_does_not_hold_the_database_while_it_reads(store: Store) -> None:
    """A running search appends its steps while a file is read."""
    done: list[int] = []

    def append(rows: int, total: int | None) -> None:
        with Store(store.path) as other:
            add_gold(other, "first", {})
        done.append(rows)

    csv_import(store, "question,claim\nq,c\n", name="first")
    csv_import(store, "question,claim\n" + "".join(f"q,c{k}\n" for k in range(600)), progress=append)
    assert len(done) == 4


# -- counts, prefixes and deletion


def test_counts_are_stored(store: Store) -> None:
    csv_import(store, PAIRS.replace(",no", ","), "preference", mapping={"human": []})
    info = store.dataset_info("data")
    assert (info.examples, info.groups, info.gold, info.human) == (4, 2, 2, 0)
    assert (info.task.name, info.source) == ("preference", "data.csv")
    assert info.columns == ("query", "response_a", "response_b")
    add_gold(store, "data", {store.dataset("data").examples[0].id: "True"})
    assert store.dataset_info("data").gold == 1
    with pytest.raises(NotFound, match="'moon' does not exist"):
        store.dataset_info("moon")


def test_an_older_database_is_counted_once(tmp_path: Path, pairs: Dataset) -> None:
    """As the first version left it: no counts, no index of groups."""
    old = Database(tmp_path / "old.db")
    migrations.apply(old, stop_before="m002_counts")
    old.table("datasets").insert({"name": "pairs", "task": json.dumps(asdict(pairs.task)), "source": "pairs.csv",
                            "columns": '["text"]', "notes": "[]", "created": 1.0})  # fmt: skip
    old.table("examples").insert_all(
        {"dataset": "pairs", "position": k, "id": e.id, "fields": json.dumps(e.fields), "consistency_group": e.group,
         "answer": None, "twin_of": None, "input": json.dumps(pairs.inputs[k])}
        for k, e in enumerate(pairs.examples)
    )  # fmt: skip
    old.table("gold").insert({"dataset": "pairs", "example": "e3", "label": "True"})
    old.close()
    with Store(tmp_path / "old.db") as store:
        info = store.dataset_info("pairs")
        assert (info.examples, info.groups, info.gold, info.human) == (40, 20, 1, 0)
        assert store.dataset("pairs", 7).examples == pairs.examples[:6]


def test_a_prefix_reads_no_more_than_it_needs(store: Store) -> None:
    rows = "".join(f"q{k // 3 if k < 90 else 0},c{k}\n" for k in range(93))
    csv_import(store, "question,claim\n" + rows)
    assert store.dataset_size("data") == 93
    assert store.dataset_size("data", Cut(50, version=1)) == 0  # the first group ends with the file
    assert store.dataset_size("data", Cut(50, "exclusive")) == 48  # that group of six, and 14 of three
    csv_import(store, "question,claim\n" + rows.replace("q0,", "z,", 3), name="tidy")
    assert (
        store.dataset_size("tidy", Cut(50, version=1)) == 48 == len(store.dataset("tidy", Cut(50, version=1)).examples)
    )


def test_a_data_set_that_runs_use_is_not_deleted(store: Store) -> None:
    csv_import(store, "question,claim,gold,crowd\nq,c,1,1\n")
    csv_import(store, "question,claim,gold,crowd\nq,c,1,1\n", name="other")
    run = control.create_run(store, RunSpec("data", "fake"))
    with pytest.raises(StoreError, match=rf"'data' is used by 1 runs \({run}\): delete these first"):
        delete_dataset(store, "data")
    delete_dataset(store, "other")
    with pytest.raises(NotFound):
        delete_dataset(store, "other")
    assert store.dataset_names() == ["data"]
    for table in ("examples", "gold", "human"):
        assert store.db.execute(f"select distinct dataset from {table}").fetchall() == [("data",)]


# -- runs on a data set that is not read whole


@pytest.fixture
def stored(store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Forty examples with gold, too many to be read whole."""
    monkeypatch.setattr(lazy_examples, "FEW", 10)
    monkeypatch.setattr(lazy_examples, "KEPT", 7)
    store.add_dataset(pairs)
    add_gold(store, "pairs", {f"e{i}": str(i % 2 == 0) for i in range(36)})
    return store


def test_rows_are_read_where_they_are_looked_at(stored: Store, pairs: Dataset) -> None:
    opened = stored.open_dataset("pairs", 31)
    assert len(opened.examples) == len(opened.inputs) == 30
    assert tuple(opened.examples) == pairs.examples[:30]
    assert [opened.examples[i] for i in (29, 0, -1)] == [pairs.examples[i] for i in (29, 0, 29)]
    assert opened.examples[3:5] == pairs.examples[3:5]
    assert opened.inputs[7] == pairs.inputs[7]
    with pytest.raises(IndexError):
        opened.examples[30]
    codec = open_run(stored, control.create_run(stored, RunSpec("pairs", "fake", limit=31))).codec
    assert [codec.index(name) for name in ("e29", "e0")] == [29, 0]
    assert codec.ids[4] == "e4"
    with pytest.raises(KeyError):
        codec.index("e30")


def test_gold_is_counted_and_read_where_it_is_looked_at(stored: Store) -> None:
    whole, part = open_gold(stored, "pairs", range(40)), open_gold(stored, "pairs", range(5))
    assert (whole.counts, len(whole)) == ({"True": 18, "False": 18}, 36)
    assert (part.counts, sorted(part)) == ({"True": 3, "False": 2}, ["e0", "e1", "e2", "e3", "e4"])
    assert (whole["e1"], whole.get("e39"), whole.get("e39", "none")) == ("False", None, "none")
    assert whole.get("unknown") is None


def test_gold_is_read_for_many_examples_at_once(stored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, look_into = list[Path](), lazy_examples.look_into

    def counted(path: Path) -> AbstractContextManager[sqlite3.Connection]:
        looks.append(path)
        return look_into(path)

    monkeypatch.setattr("icm_engine.data.gold.look_into", counted)
    monkeypatch.setattr(gold, "READ_AT_ONCE", 15)
    opened = open_gold(stored, "pairs", range(40))
    assert {f"e{i}": label for i in range(40) if (label := opened.get(f"e{i}"))} == load_gold(stored, "pairs").labels
    assert len(looks) == 3  # examples 0 to 14, 15 to 29, 30 to 39


def test_a_run_looks_the_same_however_its_data_set_is_read(stored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = RunSpec("pairs", "fake", search=SearchConfig(max_steps=60, seed=2))
    run = control.create_run(stored, spec)
    stored.send(run, "start", "a")
    assert worker.main(["--db", str(stored.path), run]) == 0
    shown = load(stored, run)
    monkeypatch.setattr(lazy_examples, "FEW", 10_000)
    whole = load(stored, run)
    assert shown.trajectory == whole.trajectory
    assert labels_table(shown) == labels_table(whole)
    assert labels_table(shown, 5) == labels_table(whole, 5)
    assert [row.label is None for row in labels_table(whole, 30)] == sorted(
        row.label is None for row in labels_table(whole, 30)
    )


def test_threads_may_share_what_was_opened(stored: Store, pairs: Dataset) -> None:
    reading = open_reading(stored, control.create_run(stored, RunSpec("pairs", "fake")))
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(tuple(reading.run.dataset.examples))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [pairs.examples] * 4


# -- a look at a large file


def test_a_large_file_is_not_counted_for_a_look(store: Store) -> None:
    few = "question,claim\n" + "".join(f"q,c{k}\n" for k in range(30))
    many = "question,claim\n" + "".join(f"q,c{k}\n" for k in range(COUNTED + 1))
    assert preview("d.csv", content=few.encode()).total == 30
    found = preview("d.csv", rows=3, content=many.encode())
    assert (found.total, len(found.rows)) == (None, 3)
    assert import_file(store, "d.csv", "truthfulness", content=many.encode()).rows == COUNTED + 1
