"""Faults of the disk and of the database file: one clear error each, and a run that goes on when the fault is gone."""

import contextlib
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import psutil
import pytest

from icm_engine.cli.main import main
from icm_engine.core.errors import StoreError
from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control, worker
from icm_engine.store import store
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.drawn_pages import app
from tests.support.faults import Fault
from tests.support.paths import ROOT
from tests.support.unprivileged_user import bound_by_permissions

STEPS = 60
SPEC = RunSpec("pairs", "fake", search=SearchConfig(seed=11, max_steps=STEPS))
WHOLE: list[str] = []
Icm = Callable[..., tuple[int, str, str]]


@pytest.fixture
def icm(capsys: pytest.CaptureFixture[str]) -> Icm:
    """The command line, in this process: exit status, what it printed, what it complained of."""

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(words)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def made(path: Path, dataset: Dataset) -> Path:
    """A database with a run that has not begun."""
    with Store(path) as made:
        made.add_dataset(dataset)
        control.create_run(made, SPEC)
    return path


def sent(path: Path, verb: str = "resume", steps: int = 0) -> None:
    with Store(path) as asked:
        asked.send("pairs-1", verb, f"{verb} {time.time_ns()}", steps)


def work(path: Path) -> int:
    return worker.main(["--db", str(path), "pairs-1"])


def steps(path: Path) -> int:
    with Store(path) as asked:
        return control.status(asked, "pairs-1").steps


def log(path: Path) -> list[str]:
    """What must be equal in two logs of a run: all that the search did."""
    with closing(sqlite3.connect(path)) as db:
        query = "select kind || body from events where run = 'pairs-1' and kind in ('initial', 'step') order by number"
        return [row[0] for row in db.execute(query)]


@pytest.fixture
def whole(tmp_path: Path, pairs: Dataset) -> list[str]:
    """The log of a run that nothing happened to, made once for all tests."""
    if not WHOLE:
        path = made(tmp_path / "whole" / "icm.db", pairs)
        sent(path, "start")
        assert work(path) == 0
        WHOLE.extend(log(path))
    assert len(WHOLE) == STEPS + 1
    return WHOLE


@contextlib.contextmanager
def running(path: Path, until: int) -> Iterator[psutil.Process]:
    """A worker of its own process that has taken this many steps; killed at the end if it still lives."""
    with Store(path) as asked:
        control.start(asked, "pairs-1")
        while (now := control.status(asked, "pairs-1")).steps < until or now.pid is None:
            assert now.phase in ("starting", "running"), now
            time.sleep(0.01)
    process = psutil.Process(now.pid)
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
        psutil.wait_procs([process], timeout=30)


def ended(process: psutil.Process) -> None:
    """Wait until a worker has gone by itself."""
    gone, _ = psutil.wait_procs([process], timeout=120)
    assert gone


def one_line(complaint: str, *named: str) -> None:
    """What a person is told: one line, what and remedy, and no traceback."""
    assert complaint.count("\n") == 1, complaint
    assert complaint.startswith(("icm: ", "process "))
    assert "Traceback" not in complaint
    for word in named:
        assert word in complaint


def resumed(icm: Icm, path: Path, whole: list[str]) -> None:
    """The run goes on to its end by the command line, and its log is that of one that nothing happened to."""
    code, _, err = icm("resume", "pairs-1", "--db", str(path))
    assert code == 0, err
    assert log(path) == whole
    assert icm("verify", "pairs-1", "--db", str(path))[0] == 0


# -- the disk


@pytest.mark.skipif("COVERAGE_RUN" in os.environ, reason="the limit also ends what coverage writes, and so the worker")
@pytest.mark.fault(
    "a limit on file size is reached in the middle of a step",
    "the worker stops with the reason; `resume` leads to the same log",
)
def test_a_limit_on_the_size_of_files(fault: Fault, tmp_path: Path, pairs: Dataset, whole: list[str], icm: Icm) -> None:
    kept = []
    for k in range(fault.times(quick=1, long=20)):
        path = made(tmp_path / str(k) / "icm.db", pairs)
        with running(path, until=3 + 2 * k) as process:
            full = os.stat(f"{path}-wal").st_size
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (full, full))
            ended(process)
        code, out, err = icm("show", "pairs-1", "--db", str(path), "--json")
        assert (code, err) == (0, "")
        assert '"status": "interrupted"' in out
        with Store(path) as asked:
            told = control.status(asked, "pairs-1").message
        assert "cannot be used (disk I/O error): check its disk: the space left" in told
        assert "nothing is lost, resume continues from the last step" in told
        kept.append(steps(path))
        assert log(path) == whole[: kept[-1] + 1]
        resumed(icm, path, whole)
    fault.happened = f"stopped after {min(kept)} to {max(kept)} of {STEPS} steps, each resumed to the same log"


@pytest.mark.smoke
@pytest.mark.fault("the disk is full in the middle of a step", "no partial step; `resume` leads to the same log")
def test_a_full_disk(
    fault: Fault, tmp_path: Path, pairs: Dataset, whole: list[str], icm: Icm, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """SQLite takes no more pages from an early enough step on: it says what it says when the disk is full."""
    kept, advance = [], worker.Worker._advance
    for k in range(fault.times(quick=2, long=50, push=1)):
        path = made(tmp_path / str(k) / "icm.db", pairs)

        def fills(self: worker.Worker, *given: object, at: int = 2 + 2 * (k % 22)) -> None:
            if self.state is not None and self.state.step == at:
                pages = self.store.db.execute("pragma page_count").fetchone()[0]
                self.store.db.execute(f"pragma max_page_count = {pages}")
            advance(self, *given)  # type: ignore[arg-type]

        sent(path, "start")
        with monkeypatch.context() as patch:
            patch.setattr(worker.Worker, "_advance", fills)
            assert work(path) == 1
        complaint = capsys.readouterr().err
        with Store(path) as asked:
            now = control.status(asked, "pairs-1")
        if now.phase == "interrupted":  # else there was room to write down that it failed
            one_line(complaint, "(database or disk is full): free some space on its disk")
        else:
            assert "(database or disk is full): free some space on its disk" in now.message
        kept.append(now.steps)
        assert log(path) == whole[: now.steps + 1]
        resumed(icm, path, whole)
    fault.happened = f"stopped after {min(kept)} to {max(kept)} of {STEPS} steps, each resumed to the same log"


@pytest.mark.fault(
    "a file system of 600 kB that is full, or read-only",
    "one line; once writable with free space, `resume` leads to the same log",
)
def test_a_small_file_system(fault: Fault, tmp_path: Path, pairs: Dataset, whole: list[str], icm: Icm) -> None:
    """A real one, where it may be mounted: as root, with --torture. Elsewhere the folder alone is read-only."""
    mounted = fault.torture and os.geteuid() == 0
    kept = []
    for k in range(fault.times(quick=1, long=10)):
        folder = tmp_path / str(k)
        folder.mkdir()
        with tmpfs(folder, 600 + 8 * k) if mounted else contextlib.nullcontext():
            path = made(folder / "icm.db", pairs)
            if mounted:
                with running(path, until=1) as process:
                    ended(process)
                complaint = icm("resume", "pairs-1", "--db", str(path))[2]
                one_line(complaint, "(database or disk is full): free some space on its disk")
                subprocess.run(["mount", "-o", "remount,size=20M", str(folder)], check=True)
                kept.append(steps(path))
                assert log(path) == whole[: kept[-1] + 1]
                for worker_of_resume in psutil.process_iter(["cmdline"]):
                    if str(path) in (worker_of_resume.info["cmdline"] or ()):
                        ended(worker_of_resume)
                subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
            else:
                sent(path, "step", 5)
                assert work_until_idle(path) == 0
                closed_to_writing(path, False)
            for words in (("resume", "pairs-1", "--detach"), ("pause", "pairs-1")):
                done = bound_by_permissions(partial(icm_process, *words, db=path))
                assert done.returncode == 1
                one_line(done.stderr, "see that the file and its folder can be read and written by this user")
            if mounted:
                subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
            else:
                closed_to_writing(path, True)
            resumed(icm, path, whole)
    fault.happened = (
        f"full after {min(kept)} to {max(kept)} of {STEPS} steps, then read-only: resumed to the same log"
        if kept else "read-only: refused, then resumed to the same log"
    )  # fmt: skip


@contextlib.contextmanager
def tmpfs(folder: Path, kilobytes: int) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def closed_to_writing(path: Path, writable: bool) -> None:
    for file in path.parent.glob("icm.db*"):
        file.chmod(0o644 if writable else 0o444)
    path.parent.chmod(0o755 if writable else 0o555)


def icm_process(*words: str, db: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "icm_engine", *words, "--db", str(db)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def work_until_idle(path: Path) -> int:
    """Be the worker, which leaves at once when it has to wait."""
    with Store(path) as asked:
        return worker.run_in_process(asked, "pairs-1", idle=0.0)


# -- the file


@pytest.mark.fault(
    "the file or its folder is read-only", "one line with the remedy; once writable, `resume` leads to the same log"
)
def test_a_read_only_file_or_folder(fault: Fault, tmp_path: Path, pairs: Dataset, whole: list[str], icm: Icm) -> None:
    path = made(tmp_path / "here" / "icm.db", pairs)
    sent(path, "step", 5)
    assert work_until_idle(path) == 0
    ways = {"file": [path], "folder": [path.parent], "both": [path, path.parent]}
    fault.times(len(ways), len(ways))
    for way, places in ways.items():
        for place in places:
            place.chmod(0o555)
        done = bound_by_permissions(partial(icm_process, "resume", "pairs-1", db=path))
        assert done.returncode == 1, way
        one_line(done.stderr, "see that the file and its folder can be read and written by this user")
        assert log(path) == whole[:6]
        for place in (*places, *path.parent.glob("icm.db-*")):  # SQLite makes these as writable as the file is
            place.chmod(0o755)
    resumed(icm, path, whole)
    fault.happened = f"{', '.join(ways)}: refused in one line, and resumed to the same log"


@pytest.mark.fault(
    "another process holds the database longer than a writer waits",
    "one line; once it is free, `resume` leads to the same log",
)
def test_a_locked_database(
    fault: Fault, tmp_path: Path, pairs: Dataset, whole: list[str], icm: Icm, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(store, "BUSY_TIMEOUT", 0.2)
    kept, advance = [], worker.Worker._advance
    for k in range(fault.times(quick=2, long=30)):
        path, locks = made(tmp_path / str(k) / "icm.db", pairs), contextlib.ExitStack()

        def locked(self: worker.Worker, *given: object, at: int = 1 + 3 * (k % 19)) -> None:
            if self.state is not None and self.state.step == at:
                locks.enter_context(lock(self.store.path))  # noqa: B023 - called in this round
            advance(self, *given)  # type: ignore[arg-type]

        sent(path, "start")
        with locks:
            with monkeypatch.context() as patch:
                patch.setattr(worker.Worker, "_advance", locked)
                assert work(path) == 1
            one_line(capsys.readouterr().err, "(database is locked): another program holds it: end that one")
            code, out, err = icm("show", "pairs-1", "--db", str(path), "--json")
            assert (code, err) == (0, "")  # who only reads waits for nobody
            code, out, err = icm("pause", "pairs-1", "--db", str(path))
            assert (code, out) == (1, "")
            one_line(err, "(database is locked): another program holds it: end that one, or let it finish")
        with Store(path) as asked:  # the worker's process, whose end ends its lease, is this one
            asked.db.execute("delete from leases")
        kept.append(steps(path))
        assert log(path) == whole[: kept[-1] + 1]
        resumed(icm, path, whole)
    fault.happened = f"stopped after {min(kept)} to {max(kept)} of {STEPS} steps, each resumed to the same log"


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Another process that writes, and does not end."""
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('begin immediate'); print('', flush=True); "
    )
    code += "input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


@pytest.mark.fault(
    "the database, or its WAL, is removed or replaced under a worker", "it stops; `resume` leads to the same log"
)
def test_a_file_that_is_removed_under_a_worker(
    fault: Fault, tmp_path: Path, pairs: Dataset, whole: list[str], icm: Icm
) -> None:
    kept, ways = [], ("database", "wal", "replaced")
    other = made(tmp_path / "other" / "icm.db", pairs)
    for k in range(fault.times(quick=3, long=45)):
        way, path = ways[k % 3], made(tmp_path / str(k) / "icm.db", pairs)
        aside, until = tmp_path / f"{k} aside", 1 + k
        with running(path, until) as process:
            if way == "wal":
                os.unlink(f"{path}-wal")
            else:
                os.link(path, aside)
                os.unlink(path)
            if way == "replaced":
                shutil.copy(other, path)
            ended(process)
        last = (path.parent / "logs" / "icm-pairs-1.log").read_text()  # the database itself is not touched meanwhile
        one_line(last, f"icm.db{'-wal' if way == 'wal' else ''} was removed or replaced while it was in use")
        if way != "wal":
            os.replace(aside, path)
        kept.append(steps(path))
        assert kept[-1] >= until  # what a look had seen is still there
        assert log(path) == whole[: kept[-1] + 1]
        resumed(icm, path, whole)
    fault.happened = f"stopped after {min(kept)} to {max(kept)} of {STEPS} steps, each resumed to the same log"


# -- what is in the file

Damage = Callable[[bytearray], bytes | bytearray]


def _cut(at: int) -> Damage:
    return lambda good: good[:at]


def _over(start: int, put: bytes) -> Damage:
    return lambda good: good[:start] + put + good[start + len(put) :]


def damages(size: int, page: int, rng: random.Random) -> Iterator[tuple[str, Damage]]:
    """Ways to damage a database of so many bytes, again and again: by name, each from its bytes to others."""
    yield "text", lambda _: b"To do: buy milk. " * 400
    yield "empty", lambda _: b""
    yield "header", lambda good: bytes(100) + good[100:]
    yield "half", _cut(size // 2)
    while True:
        number, cut, noise = rng.randrange(1, size // page), rng.randrange(1, size), rng.randbytes(page)
        start = number * page
        yield f"page {number} zeroed", _over(start, bytes(page))
        yield f"cut at {cut}", _cut(cut)
        yield f"page {number} overwritten", _over(start, noise)
        sector = start + 512 * rng.randrange(page // 512)
        yield f"sector at {sector} zeroed", _over(sector, bytes(512))


@pytest.mark.fault(
    "the database file is truncated, overwritten (header, pages or sectors) or replaced by another file",
    "every command works as before or says in one line what is wrong; nothing is lost silently or made up",
)
def test_a_damaged_database(
    fault: Fault, tmp_path: Path, pairs: Dataset, icm: Icm, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made(tmp_path / "good" / "icm.db", pairs)
    sent(path, "start")
    assert work(path) == 0
    good = bytearray(path.read_bytes())
    assert not path.with_name("icm.db-wal").exists()
    questions = (("list", "--json"), ("show", "pairs-1", "--json"), ("log", "pairs-1"), ("verify", "pairs-1", "--json"),
                 ("export", "pairs-1", "--output", str(tmp_path / "out.csv")))  # fmt: skip
    answers = {words: answer(icm, path, words, tmp_path) for words in questions}
    assert all(code == 0 for code, _, _ in answers.values())
    found = {"unnoticed": 0, "one line": 0}
    ways = damages(len(good), 4096, random.Random(5))
    for k in range(fault.times(quick=16, long=800)):
        way, damage = next(ways)
        bad = tmp_path / f"bad{k}" / "icm.db"
        bad.parent.mkdir()
        bad.write_bytes(damage(good))
        for words in questions:
            code, out, err = answer(icm, bad, words, tmp_path)
            if code == 1:
                one_line(err)
                found["one line"] += 1
            elif way == "empty":  # an empty file is a new database
                assert (out, err) == ("[]\n", "")
            else:
                assert (code, out, err) == answers[words], (way, words)
                found["unnoticed"] += 1
        shutil.rmtree(bad.parent)
    fault.happened = (
        f"{found['one line']:,} errors of one line, {found['unnoticed']:,} answers as before the damage, nothing else"
    )


def answer(icm: Icm, path: Path, words: tuple[str, ...], folder: Path) -> tuple[int, str, str]:
    """What a command answers, and for an export what is in the file."""
    file = folder / "out.csv"
    file.unlink(missing_ok=True)
    code, out, err = icm(*words, "--db", str(path))
    return code, out + (file.read_text() if file.exists() else ""), err


@pytest.mark.fault(
    "a worker meets a damaged page",
    "it stops with the reason and no traceback; with the file restored, `resume` leads to the same log",
)
def test_a_worker_on_a_damaged_database(
    fault: Fault, tmp_path: Path, pairs: Dataset, whole: list[str], icm: Icm, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made(tmp_path / "good" / "icm.db", pairs)
    sent(path, "step", 40)
    assert work_until_idle(path) == 0
    good = bytearray(path.read_bytes())
    ways, stopped, times = damages(len(good), 4096, random.Random(6)), 0, fault.times(quick=12, long=300)
    for k in range(times):
        way, damage = next(ways)
        if way == "empty":
            continue
        bad = tmp_path / f"bad{k}" / "icm.db"
        bad.parent.mkdir()
        bad.write_bytes(damage(good))
        capsys.readouterr()
        with contextlib.suppress(StoreError):
            sent(bad)
            if work(bad):
                stopped += 1
            else:
                assert log(bad)[-1] == whole[-1], way  # what it had read was whole
        complaint = capsys.readouterr().err
        assert "Traceback" not in complaint, (way, complaint)
        assert complaint.count("\n") <= 1, (way, complaint)
        shutil.rmtree(bad.parent)
    resumed(icm, path, whole)
    fault.happened = f"{stopped} of {times} workers stopped with one line, the others finished correctly"


@pytest.mark.parametrize("damage", ["text", "cut", "newer"])
def test_a_page_says_what_is_wrong_with_the_database(
    damage: str, tmp_path: Path, pairs: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path / "here" / "icm.db", pairs)
    sent(path, "start")
    assert work(path) == 0
    good = path.read_bytes()
    if damage == "newer":
        with closing(sqlite3.connect(path)) as db:
            db.execute("pragma user_version = 9")
    else:
        path.write_bytes(b"To do: buy milk. " * 400 if damage == "text" else good[: len(good) // 2])
    monkeypatch.setenv("ICM_DB", str(path))
    named = {"text": "file is not a database", "cut": "database disk image is malformed", "newer": "has the version 9"}
    pages = ("search", "steps", "data", "experiments", "annotate", "training") if damage == "cut" else ("search",)
    for name in (None, *pages):
        test = app()
        test.run()
        if name:
            test.query_params["run"] = "pairs-1"
            test.switch_page(f"pages/{name}.py").run()
        assert not test.exception, name
        assert "That did not work." in [element.value for element in test.error], name
        assert any(named[damage] in element.value for element in test.code), name
