"""A copy of a database that is made while a run works, and a disk that has no room for the reason why one stopped."""

import shutil
import sqlite3
from collections import namedtuple
from contextlib import closing
from pathlib import Path

import pytest

from icm_engine.core.errors import RunBusy
from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control, worker
from icm_engine.runs.lease import claim
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store

SPEC = RunSpec("pairs", "fake", search=SearchConfig(max_steps=12))


def copied(path: Path, to: Path) -> Path:
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)
    return to


def test_a_copy_made_while_a_run_works_can_be_resumed(tmp_path: Path, pairs: Dataset) -> None:
    with Store(tmp_path / "icm.db") as store:
        store.add_dataset(pairs)
        run = control.create_run(store, SPEC)
        store.send(run, "step", "first", 5)
        worker.run_in_process(store, run, idle=0.0)
        claim(store, run)  # this process, which lives, works on it
        store.append(run, "control", {"verb": "resume"})
        assert control.status(store, run).phase == "starting"
        with pytest.raises(RunBusy):
            worker.run_in_process(store, run, idle=0.0)
        path = copied(store.path, tmp_path / "copy.db")
        with Store(path) as copy:
            assert control.status(copy, run).phase == "interrupted"
            copy.send(run, "resume", "go on")
            assert worker.main(["--db", str(path), run]) == 0
            assert control.status(copy, run).phase == "finished"
        assert control.status(store, run).steps == 5  # the original is still where it was, and still held


def test_a_moved_database_keeps_its_lease(tmp_path: Path, pairs: Dataset) -> None:
    with Store(tmp_path / "icm.db") as store:
        store.add_dataset(pairs)
        run = control.create_run(store, SPEC)
        claim(store, run)
    with Store(shutil.move(tmp_path / "icm.db", tmp_path / "moved.db")) as store, pytest.raises(RunBusy):
        claim(store, run)


def test_a_full_disk_is_named_where_nobody_could_write_why(
    tmp_path: Path, pairs: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    with Store(tmp_path / "icm.db") as store:
        store.add_dataset(pairs)
        run = control.create_run(store, SPEC)
        store.append(run, "control", {"verb": "start"})
        assert "the worker is gone; nothing is lost" in control.status(store, run).message
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 100, 100))
        said = control.status(store, run).message
        assert said == (
            f"the worker is gone, and the disk of {tmp_path} is full (100 bytes are left): free some space, then "
            "resume; nothing is lost"
        )
