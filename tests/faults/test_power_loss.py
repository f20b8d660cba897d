"""Power loss: copies of the files of a running search, taken at any moment and torn, are opened and gone on with.

A worker is stopped (SIGSTOP) in the middle of whatever it does, which gives the files as they are at one moment. Of
what it wrote last, a power cut may leave any part: the WAL is cut anywhere behind what a checkpoint has already copied
into the database, which SQLite only does once the WAL is on the disk.
"""

import random
import shutil
import signal
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control, worker
from icm_engine.runs.verify import verify
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.support.faults import Fault

FRAME, HEADER = 24 + 4096, 32  # bytes of the WAL: a frame is a header and a page
CHECKPOINTED, LAST = 96, 16  # places in the shm of how many frames are in the database, and how many there are


@pytest.fixture
def pairs_and_steps(pairs: Dataset, fault: Fault) -> tuple[Dataset, int]:
    """A run of the long form writes some ten times as much as SQLite keeps in a WAL."""
    return pairs, 1500 if fault.torture else 60


def log(path: Path) -> list[tuple[int, str, str]]:
    with closing(sqlite3.connect(path)) as db:
        query = "select number, kind, body from events where run = 'pairs-1' order by number"
        return db.execute(query).fetchall()


@contextmanager
def running(path: Path, pairs: Dataset, steps: int) -> Iterator[psutil.Process]:
    """A worker of its own process that searches."""
    with Store(path) as store:
        store.add_dataset(pairs)
        control.create_run(store, RunSpec("pairs", "fake", search=SearchConfig(seed=11, max_steps=steps)))
        control.start(store, "pairs-1")
        while (now := control.status(store, "pairs-1")).pid is None or now.steps == 0:
            assert now.phase in ("starting", "running"), now
            time.sleep(0.01)
    process = psutil.Process(now.pid)
    try:
        yield process
    finally:
        if process.is_running():
            process.send_signal(signal.SIGCONT)
            process.kill()
        psutil.wait_procs([process], timeout=30)


def images(process: psutil.Process, path: Path, folder: Path, rng: random.Random, most: int) -> Iterator[Path]:
    """The files of a running search at moments that nobody chose, until it ends or there are enough."""
    for k in range(most):
        time.sleep(rng.random() * 0.05)
        try:
            process.suspend()
            while process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
                pass
            image = folder / str(k)
            image.mkdir(parents=True)
            for end in ("", "-wal", "-shm"):
                if Path(f"{path}{end}").exists():
                    shutil.copy(f"{path}{end}", image / f"icm.db{end}")
            process.resume()
        except psutil.NoSuchProcess:
            return
        if (image / "icm.db-wal").exists():
            yield image / "icm.db"


def torn(image: Path, rng: random.Random, way: str) -> Path:
    """A copy of an image of which a part was lost on its way to the disk."""
    folder = image.parent / way.replace(" ", "-")
    folder.mkdir()
    shutil.copy(image, folder)
    wal, shm = Path(f"{image}-wal").read_bytes(), Path(f"{image}-shm").read_bytes()
    frames, copied = (struct.unpack_from("=I", shm, at)[0] for at in (LAST, CHECKPOINTED))
    safe = min(len(wal), HEADER + FRAME * copied if copied < frames else HEADER + FRAME * frames)
    kept = wal[: rng.randrange(safe, len(wal) + 1)] if way == "WAL cut" else wal
    if way == "WAL torn":  # its end is there, and is not what was written
        start = rng.randrange(safe, len(wal) + 1)
        kept = wal[:start] + rng.randbytes(len(wal) - start)
    if way != "database alone" or 0 < copied < frames:
        (folder / "icm.db-wal").write_bytes(kept)
    if way == "with shm":
        (folder / "icm.db-shm").write_bytes(shm)
    return folder / "icm.db"


WAYS = ("as it is", "with shm", "WAL cut", "WAL torn", "database alone")


@pytest.mark.fault(
    "a power cut at any moment, with the end of the WAL torn or lost",
    "the database opens, is intact and holds the beginning of the log; `resume` leads to the same log",
)
def test_a_power_cut(fault: Fault, tmp_path: Path, pairs_and_steps: tuple[Dataset, int]) -> None:
    pairs, steps = pairs_and_steps
    times, rng = fault.times(quick=10, long=400), random.Random(8)
    path, copies = tmp_path / "icm.db", list[tuple[str, Path]]()
    with running(path, pairs, steps) as process:
        for image in images(process, path, tmp_path / "images", rng, times // len(WAYS)):
            copies += [(way, image) for way in WAYS]
        process.resume()
        psutil.wait_procs([process], timeout=240)
    whole = log(path)
    assert whole[-1][1] == "finished"
    assert len(copies) >= times // 2
    kept, gone_on = [], 0
    for k, (way, image) in enumerate(copies):
        copy = torn(image, rng, way)
        with closing(sqlite3.connect(copy)) as db:
            assert db.execute("pragma integrity_check").fetchall() == [("ok",)], (way, k)
        if not there(copy):
            continue  # cut off before the data set was there: nothing was promised yet
        found = log(copy)
        assert found == whole[: len(found)], (way, k)
        kept.append(len(found))
        if k % (4 if not fault.torture else 10) == 0:
            go_on(copy, whole)
            gone_on += 1
        shutil.rmtree(copy.parent)
    fault.tried = len(copies)
    fault.happened = (
        f"all intact, with the first {min(kept)} to {max(kept)} of {len(whole)} events; {gone_on} of them were resumed "
        "and reached the same log"
    )


def there(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as db:
        known = db.execute("select count(*) from sqlite_master where name = 'runs'").fetchone()[0]
        return bool(known and db.execute("select count(*) from runs").fetchone()[0])


def go_on(path: Path, whole: list[tuple[int, str, str]]) -> None:
    """The machine is on again: the run is resumed, and its search is that of the whole run."""
    with Store(path) as store:
        store.db.execute("delete from leases")  # of a process of this machine, which in truth was off
        store.send("pairs-1", "resume", "after the cut")
        assert worker.main(["--db", str(path), "pairs-1"]) == 0
        assert verify(store, open_run(store, "pairs-1"))[1] == []
    searched = ("initial", "step", "finished")
    assert [row[1:] for row in log(path) if row[1] in searched] == [row[1:] for row in whole if row[1] in searched]


def test_a_commit_is_on_the_disk_when_it_is_done(tmp_path: Path) -> None:
    """What a person asked may not vanish with the power: 2 is `full`, with which a WAL is synced at every commit."""
    with Store(tmp_path / "icm.db") as store:
        assert store.db.execute("pragma synchronous").fetchone()[0] == 2
        assert store.db.execute("pragma journal_mode").fetchone()[0] == "wal"
        with store.again() as other:
            assert other.db.execute("pragma synchronous").fetchone()[0] == 2
