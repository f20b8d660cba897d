"""Many tabs and many runs at once: ticks of the pages, lost events, memory.

    python -m benchmarks.load --runs 1 --tabs 10 --minutes 3      # ten tabs on one live run
    python -m benchmarks.load --runs 10 --tabs 10 --minutes 60    # ten runs at once, each with a tab, for an hour

Runs use the fake scorer, held at `--rate` steps a second, each in a worker of its own; tabs are pages of one real
browser, each with its own connection. A tick is the time from a fragment's wish to be drawn, as it leaves the browser,
to the end of its script, as the browser hears of it. Memory is what a process holds itself (USS). The time counts
from when every tab is open, and ends with the runs being stopped, which every tab must then say.
"""

import argparse
import base64
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, Page
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from benchmarks.app_server import ROOT, browsing, serving
from benchmarks.report import reported, show
from icm_engine.core.labeling import Example, Task
from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control
from icm_engine.runs.verify import verify
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store

DATASET, EXAMPLES = "load", 24
ENDLESS = 10**7  # steps
LOOK_SECONDS = 5.0  # between two looks at memory
PATIENCE = 300_000  # milliseconds: a loaded machine is slow, not wrong
SERVER = "the server"


@dataclass(frozen=True)
class Figures:
    """What was seen: milliseconds of ticks, megabytes after a tenth of the time and at its end."""

    steps: int
    problems: int  # numbers that are missing in a log, steps that its replay does not confirm
    pace: float  # steps a second of a run
    ticks: int
    median: float
    percentile95: float
    longest: float
    server: tuple[float, float]
    worker: tuple[float, float]  # the largest


@dataclass
class Ticks:
    """What one tab waits for: fragments that asked to be drawn, and when; the seconds that each took."""

    seconds: list[float] = field(default_factory=list)
    asked: dict[str, float] = field(default_factory=dict)
    started: list[float] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Read along on the page's connection, with the browser's own clock."""
        session = page.context.new_cdp_session(page)
        session.on("Network.webSocketFrameSent", lambda frame: self.sent(*_message(BackMsg, frame)))
        session.on("Network.webSocketFrameReceived", lambda frame: self.received(*_message(ForwardMsg, frame)))
        session.send("Network.enable")

    def sent(self, message: BackMsg, at: float) -> None:
        """Note a fragment's wish, the first of those that one script will answer."""
        if message.rerun_script.fragment_id:
            self.asked.setdefault(message.rerun_script.fragment_id, at)

    def received(self, message: ForwardMsg, at: float) -> None:
        """A script begins with the names of its fragments, none if it draws the whole page, and ends."""
        kind = message.WhichOneof("type")
        if kind == "new_session":
            drawn = list(message.metadata.run.fragment_ids)
            self.started = [self.asked[name] for name in drawn if name in self.asked]
            self.asked = {name: moment for name, moment in self.asked.items() if drawn and name not in drawn}
        elif kind == "script_finished":
            self.seconds += [at - moment for moment in self.started]
            self.started = []


def _message(kind: Any, frame: dict[str, Any]) -> tuple[Any, float]:
    payload = frame["response"]["payloadData"]
    return kind.FromString(base64.b64decode(payload)), float(frame["timestamp"])


def prepared(database: Path, runs: int) -> list[str]:
    """Store a small data set and the runs on it."""
    task = Task("pairs", "{text} is", rule="exactly-one", fields=("text",))
    examples = tuple(Example(f"e{i}", {"text": f"claim {i}"}, f"g{i // 2}") for i in range(EXAMPLES))
    with Store(database) as store:
        store.add_dataset(
            Dataset(DATASET, task, examples, tuple({"text": e.fields["text"]} for e in examples), ("text",))
        )
        specs = [RunSpec(DATASET, "fake", search=SearchConfig(seed=k, max_steps=ENDLESS)) for k in range(runs)]
        names = [control.create_run(store, spec) for spec in specs]
        for name in names:
            store.send(name, "start", name)
    return names


@contextmanager
def working(database: Path, run: str, rate: float) -> Iterator[int]:
    """Work at a run in a process of its own until the end of the block."""
    command = [sys.executable, "-m", "benchmarks.paced_worker", str(rate), "--db", str(database), run]
    worker = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        yield worker.pid
    finally:
        worker.kill()
        worker.wait()


def measured(browser: Browser, database: Path, runs: int, tabs: int, minutes: float, rate: float = 20.0) -> Figures:
    """Run all that for a while, and return what was seen."""
    names = prepared(database, runs)
    ticks, memory = [Ticks() for _ in range(tabs)], dict[str, list[float]]()
    with ExitStack() as stack:
        served = stack.enter_context(serving(database))
        pids = {name: stack.enter_context(working(database, name, rate)) for name in names}
        context = stack.enter_context(browser.new_context(viewport={"width": 1280, "height": 900}))
        pages = [context.new_page() for _ in ticks]
        for k, page in enumerate(pages):
            page.goto(f"{served.url}/search?run={names[k % runs]}")
            page.wait_for_selector(".icm-curve.js-plotly-plot", timeout=PATIENCE)
            ticks[k].watch(page)
        for tab in ticks:
            tab.seconds.clear()  # of the time in which others were still being opened
        pace = _watched(database, names, pages[0], minutes, {SERVER: served.pid, **pids}, memory) / runs
        for page in pages:
            page.get_by_text("Stopped", exact=False).first.wait_for(timeout=PATIENCE)
    seconds = sorted(second for tab in ticks for second in tab.seconds)
    server, largest = memory.pop(SERVER), max(memory.values(), key=max)
    return Figures(
        *_kept(database, names), pace, len(seconds), 1000 * statistics.median(seconds),
        1000 * seconds[int(0.95 * len(seconds))], 1000 * seconds[-1], _ends(server), _ends(largest),
    )  # fmt: skip


def _watched(
    database: Path,
    names: Sequence[str],
    page: Page,
    minutes: float,
    pids: dict[str, int],
    memory: dict[str, list[float]],
) -> float:
    """Look at memory while the time lasts, then stop the runs; return the steps of all in a second."""
    with Store(database) as store:
        began, before = time.monotonic(), _steps(store, names)
        while not memory or time.monotonic() - began < 60 * minutes:
            page.wait_for_timeout(1000 * LOOK_SECONDS)  # the browser's events are read meanwhile
            _look(memory, pids)
        pace = (_steps(store, names) - before) / (time.monotonic() - began)
        for name in names:
            control.stop(store, name)
        while any(not control.status(store, name).settled for name in names):
            page.wait_for_timeout(200)
    return pace


def _steps(store: Store, names: Sequence[str]) -> int:
    return sum(control.status(store, name).steps for name in names)


def _look(memory: dict[str, list[float]], pids: dict[str, int]) -> None:
    """Add what each process holds now, in MB."""
    for name, pid in pids.items():
        memory.setdefault(name, []).append(psutil.Process(pid).memory_full_info().uss / 1e6)


def _ends(held: Sequence[float]) -> tuple[float, float]:
    return held[len(held) // 10], held[-1]


def _kept(database: Path, names: Sequence[str]) -> tuple[int, int]:
    """Check every log against itself: its events without a gap, its whole search. Returns steps and problems."""
    steps, problems = 0, 0
    with Store(database) as store:
        for name in names:
            numbers = [event.number for event in store.stored_after(name)]
            problems += numbers != list(range(1, len(numbers) + 1))
            checked, found = verify(store, open_run(store, name).whole())
            steps, problems = steps + checked, problems + len(found)
    return steps, problems


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--tabs", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--output", type=Path)
    with reported(parser) as given:
        with tempfile.TemporaryDirectory(prefix="icm-load-") as folder, browsing() as browser:
            os.environ["ICM_DB"] = str(Path(folder) / "icm.db")
            found = measured(browser, Path(folder) / "icm.db", given.runs, given.tabs, given.minutes, given.rate)
        show([{"runs": given.runs, "tabs": given.tabs, "minutes": given.minutes, **asdict(found)}], given.output)


if __name__ == "__main__":
    main()
